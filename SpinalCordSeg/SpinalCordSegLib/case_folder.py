"""The folder of one case: written beside, then put in place whole; told apart from folders that are not ours."""

from __future__ import annotations

import csv
import io
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import compress
from math import isfinite
from pathlib import Path
from typing import Any

from SpinalCordSegLib.doubts.review import CORRECTED, DECISIONS
from SpinalCordSegLib.errors import (
    ConfigurationError,
    InputFileError,
    MissingPackageError,
    OutputError,
    WouldReplaceError,
)
from SpinalCordSegLib.images.files import atomic_write, write_json, write_text, write_volume
from SpinalCordSegLib.measurement.mask_changes import mask_sha256
from SpinalCordSegLib.pipeline import CaseResult
from SpinalCordSegLib.plain_json import parse_json
from SpinalCordSegLib.reporting.montage import MontageSlice, MontageText, draw_montage
from SpinalCordSegLib.reporting.montage_view import CordScene
from SpinalCordSegLib.reporting.page import area_points, page
from SpinalCordSegLib.reporting.report import SCHEMA, SCHEMA_VERSION, SLICE_COLUMNS, csv_text, report, slice_rows
from SpinalCordSegLib.writing import explain, is_plain_name, remove_abandoned_parts

MASK_FORMATS = ("nii.gz", "seg.nrrd", "nrrd")
_OURS = {"report.json", "slices.csv", "montage.png", "report.html"} | {
    f"{kind}.{suffix}" for kind in ("mask", "probability") for suffix in MASK_FORMATS
}
_REPLACED = re.compile(r"\.(.+)\.[0-9a-f]{12}\.old", re.DOTALL)
_LONGEST_BYTES = 230  # of a folder's name, so that the hidden names beside it are not too long for the disk
_AROUND_MM = 30.0
_PNG_LEVEL = 3  # half the time of Pillow's 6 for a few per cent more bytes

_log = logging.getLogger(__name__)


def write_case(
    result: CaseResult, folder: Path, *, mask_format: str = "nii.gz", save_probability: bool = False
) -> dict[str, Any]:
    """Write everything about a case into ``folder``, replacing an earlier result; gives the report.

    All of it appears at once or not at all. Files in an earlier result's folder that are not ours are kept.
    Raises OutputError when the system refuses, when ``folder`` is there and is no result of ours, or when a person
    corrected or accepted what is in it. What a person saw of this very mask stays seen.
    """
    if mask_format not in MASK_FORMATS:
        raise ConfigurationError(f"unknown mask format {mask_format}: choose one of {', '.join(MASK_FORMATS)}")
    refuse_foreign(folder)
    extra = _standing_review(result, folder)
    return replace_case(result, folder, mask_format=mask_format, save_probability=save_probability, extra=extra)


def replace_case(
    result: CaseResult,
    folder: Path,
    *,
    mask_format: str,
    save_probability: bool = False,
    extra: Mapping[str, Any] | None = None,
    copies: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """The same without asking whose result is replaced; of a link, where it leads.

    ``extra``: entries of the report that take the place of those made from ``result``; ``copies``: further files to be
    in the folder, by their name in it.
    """
    if len(os.fsencode(folder.name)) > _LONGEST_BYTES:
        raise OutputError(f"cannot write {folder}: the name is too long; choose a shorter one")
    folder = Path(os.path.realpath(folder)) if folder.is_symlink() else folder
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.part")
    with output_errors(folder):
        restore_interrupted(folder.parent)
        remove_abandoned_parts(folder.parent)
        try:
            temporary.mkdir(parents=True)
            for name, source in (copies or {}).items():
                shutil.copyfile(source, temporary / name)
            content = _fill(result, temporary, mask_format, save_probability, extra or {})
            _put_in_place(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return content


def read_result(folder: Path) -> dict[str, Any] | None:
    """The report of a finished result; None when there is none, or it is incomplete, or from a newer version.

    A result that a killed program took away and did not replace is put back first."""
    if not folder.exists():
        restore_interrupted(folder.parent)
    try:
        content = parse_json((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        return None
    files = content.get("files")
    if content.get("schema_version") != SCHEMA_VERSION or not isinstance(files, list):
        return None
    return content if all(is_plain_name(str(name)) and (folder / str(name)).is_file() for name in files) else None


def read_slice_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of a finished result's slices.csv, "" where there is no answer. Raises InputFileError."""
    try:
        with (folder / "slices.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise InputFileError(f"{folder / 'slices.csv'} cannot be read: measure or segment again") from error


def refuse_foreign(folder: Path) -> None:
    """Raise WouldReplaceError when ``folder`` holds what must not be replaced: no report of ours, or the mask of a case
    that a person corrected or decided on; OutputError where a file of that name is in the way."""
    with output_errors(folder):
        restore_interrupted(folder.parent)
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"cannot write {folder}: a file of that name is in the way; choose another output folder")
        if not folder.is_dir() or not any(folder.iterdir()):
            return
    try:
        content = parse_json((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise WouldReplaceError(
            f"{folder} holds files that are not a result of SpinalCordSeg and would be replaced;"
            " choose another output folder"
        )
    review = content.get("review")
    state = review.get("state") if isinstance(review, dict) else None
    # "changes" is written by a correction alone, and stays when its review is opened again.
    is_corrected = content.get("mask_state") == "corrected" or bool(content.get("changes"))
    if is_corrected or state in (CORRECTED, *DECISIONS):
        done = state if state in (CORRECTED, *DECISIONS) else CORRECTED
        raise WouldReplaceError(
            f"{folder} holds a case that a person has {done}; it is never replaced by the machine: choose"
            " another output folder, or move this one away first"
        )


def _standing_review(result: CaseResult, folder: Path) -> dict[str, Any]:
    """The review of the result that is replaced, where it was of the very same mask."""
    earlier = read_result(folder)
    if earlier is None or not earlier.get("review") or earlier.get("mask_sha256") != mask_sha256(result.mask):
        return {}
    return {"review": earlier["review"]}


@contextmanager
def damaged_report(folder: Path) -> Iterator[None]:
    """A report that holds other kinds of values than were written becomes an InputFileError that names ``folder``."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise InputFileError(f"{folder / 'report.json'} is damaged: segment or measure again") from error


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """What the system refuses inside becomes an OutputError that names ``path``."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {explain(error)}") from error


def _fill(
    result: CaseResult, folder: Path, mask_format: str, save_probability: bool, extra: Mapping[str, Any]
) -> dict[str, Any]:
    write_volume(result.mask, folder / f"mask.{mask_format}")
    if save_probability and result.probability is not None:
        # A .seg.nrrd holds segments; a probability is an image.
        write_volume(result.probability, folder / f"probability.{mask_format.replace('seg.', '')}")
    write_text(folder / "slices.csv", csv_text(SLICE_COLUMNS, slice_rows(result)))
    content = report(result) | dict(extra)
    picture = montage_png(result, content)
    if picture is not None:
        with atomic_write(folder / "montage.png") as temporary:
            temporary.write_bytes(picture)
    write_text(folder / "report.html", page(result, content, picture))
    content["files"] = sorted([*(path.name for path in folder.iterdir()), "report.json"])
    write_json(folder / "report.json", content)
    return content


def restore_interrupted(parent: Path) -> None:
    """Put earlier results in ``parent`` back that a program took away to replace them, and was killed before it did.

    What cannot be moved stays under its hidden name.
    """
    try:
        hidden = [(path, match[1]) for path in parent.iterdir() if (match := _REPLACED.fullmatch(path.name))]
        ours = [path.is_dir() and not path.is_symlink() and is_plain_name(name) for path, name in hidden]
    except OSError:  # no such folder, or not ours to read: then nothing can be put back either
        return
    for path, name in sorted(compress(hidden, ours)):
        try:
            if not (parent / name).exists():
                os.replace(path, parent / name)
                _log.warning("%s was being replaced when a program ended: the earlier result is back", name)
            else:
                _keep_foreign(path, parent / name)
        except OSError as error:
            _log.warning("%s could not be put back: %s", path.name, error.strerror)


def _put_in_place(temporary: Path, folder: Path) -> None:
    if not folder.exists():
        os.replace(temporary, folder)
        return
    replaced = temporary.with_suffix(".old")
    os.replace(folder, replaced)
    try:
        os.replace(temporary, folder)
    finally:
        if not folder.exists():  # refused or cancelled in between: the earlier result goes back
            os.replace(replaced, folder)
    _keep_foreign(replaced, folder)


def _keep_foreign(replaced: Path, folder: Path) -> None:
    """Files of an earlier result's folder that are not ours go into the new one; the rest goes."""
    for left in replaced.iterdir():
        if left.name not in _OURS and not (folder / left.name).exists():
            os.replace(left, folder / left.name)
    shutil.rmtree(replaced, ignore_errors=True)


def montage_png(result: CaseResult, content: dict[str, Any]) -> bytes | None:
    """The montage as PNG; None, with a word in the log, where Pillow is missing."""
    scene = CordScene.of(None if result.image is None else result.image.volume, result.mask, _AROUND_MM)
    measured = result.measures.slices
    slices = [
        MontageSlice(item.canonical_slice, point) for item, point in zip(measured, area_points(result), strict=True)
    ]
    step = scene.spacing_mm[2]
    lowest = measured[0].z_mm - (measured[0].canonical_slice + 0.5) * step if measured else 0.0
    span = (lowest, lowest + scene.mask.shape[2] * step)
    try:
        picture = draw_montage(scene, slices, span, result.measures.mean_csa_mm2, _text(result, content))
    except MissingPackageError as missing:
        _log.warning("%s", missing)
        return None
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=_PNG_LEVEL)
    return buffer.getvalue()


def _text(result: CaseResult, content: dict[str, Any]) -> MontageText:
    measures = result.measures
    if not measures.slices:
        found = "no cord found"
    else:
        area = f"{measures.mean_csa_mm2:.1f} mm²" if isfinite(measures.mean_csa_mm2) else "not reported"
        found = (
            f"mean area {area} · volume {measures.volume_mm3:.0f} mm³ · length {measures.length_mm:.1f} mm ·"
            f" {measures.n_slices} slices · {len(result.flags)} flags"
        )
    model = f"{result.model.name} {result.model.version}" if result.model else "mask made elsewhere"
    made = f"{model} · SpinalCordSeg {content['software_version']} · research use, not for diagnosis"
    return MontageText(result.case_name, (found, made))
