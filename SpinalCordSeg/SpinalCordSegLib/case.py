"""The folder of one case: written beside, then put in place whole; told apart from folders that are not ours."""

from __future__ import annotations

import csv
import io
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import compress
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SpinalCordSegLib.errors import (
    ConfigurationError,
    GeometryError,
    InputFileError,
    MissingPackageError,
    ModelFileError,
    OutputError,
    WouldReplaceError,
)
from SpinalCordSegLib.files import explain, is_plain_name, parse_json, remove_abandoned_parts
from SpinalCordSegLib.flags import Flag, merge_flags
from SpinalCordSegLib.image_io import atomic_write, read_labels, write_json, write_text, write_volume
from SpinalCordSegLib.metrics import mask_changes, mask_sha256
from SpinalCordSegLib.model.checkpoint import REPEATABILITY, default_model, find_models, verified_card
from SpinalCordSegLib.morphometry import InSlices, with_pv_areas
from SpinalCordSegLib.pipeline import CaseResult, ModelSummary, measure_mask
from SpinalCordSegLib.postprocessing import SIGMA_MM
from SpinalCordSegLib.quality_control import HEADER_KINDS, PIXEL_KINDS, queue_of_report
from SpinalCordSegLib.report import (
    SCHEMA,
    SCHEMA_VERSION,
    SLICE_COLUMNS,
    SUMMARY_COLUMNS,
    CordScene,
    MontageSlice,
    MontageText,
    area_points,
    csv_text,
    draw_montage,
    page,
    report,
    slice_rows,
    summary_row,
    updated_page,
)
from SpinalCordSegLib.review import CORRECTED, DECISIONS, Review, edited
from SpinalCordSegLib.vertebral_levels import LevelOptions, parse_disc
from SpinalCordSegLib.volume import Volume, input_slice_index

if TYPE_CHECKING:
    from SpinalCordSegLib.image_io import Image


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


# What a finished case was segmented with, by its report: a second look at it must not use something else.


@dataclass(frozen=True)
class CaseSettings:
    """``threshold``: probability. ``along_mm``: SD of the averaging along the cord, 0 without.

    ``model``: name and version, ``model_sha256``: of its file; both "" where no model drew the mask.
    """

    threshold: float = 0.5
    along_mm: float = SIGMA_MM
    model: str = ""
    model_sha256: str = ""

    @classmethod
    def of_report(cls, content: Mapping[str, Any]) -> CaseSettings:
        """Of a report.json; the defaults where no model drew the mask, or ``content`` is empty.

        A report from before there was averaging states no ``along_mm``: then 0.
        """
        model = content.get("model")
        if not model:
            return cls()
        threshold, along_mm = content.get("threshold"), content.get("along_mm")
        return cls(
            threshold=cls.threshold if threshold is None else float(threshold),
            along_mm=0.0 if along_mm is None else float(along_mm),
            model=f"{model.get('name')} {model.get('version')}",
            model_sha256=str(model.get("sha256") or ""),
        )

    def find_model(self) -> Path:
        """The weights file of the case's own model among those that are installed; the default one where no model drew
        the mask. Raises ModelFileError (there is none at all), ConfigurationError (the case's own is not here)."""
        if not self.model_sha256:
            return default_model()
        for path in find_models():
            if _sha256(path) == self.model_sha256:
                return path
        raise ConfigurationError(
            f"the case was segmented by {self.model} (SHA-256 {self.model_sha256[:12]}…), which is not among the models"
            " here: name its weights file by --model, or the one to ask in its place"
        )


def _sha256(path: Path) -> str | None:
    """None for a file that is no model any more: it is not the one that is looked for."""
    try:
        return verified_card(path).sha256
    except ModelFileError:
        return None


# summary.csv: one row per case, kept over several runs into the same folder, and right while people correct cases.


class Summary:
    """The table of a folder of cases. It is read anew for every row that is put: in between a person may have corrected
    a case, or another run into the folder may have ended one."""

    def __init__(self, path: Path) -> None:
        """Raises OutputError when there is a table of somebody else's."""
        self._path = path
        self._unwritten: dict[str, dict[str, Any]] = {}
        self._read()

    def has(self, case_name: str) -> bool:
        return case_name in self._read()

    def put(self, row: dict[str, Any]) -> None:
        """Add or replace a case's row. Raises OutputError when it cannot be written (the table is open in Excel): then
        it is kept, and written with the next row or by ``finish``."""
        self._unwritten[row["case"]] = row
        self.finish()

    def finish(self) -> None:
        """Write what could not be written before. Raises OutputError."""
        if not self._unwritten:
            return
        write_text(self._path, csv_text(SUMMARY_COLUMNS, (self._read() | self._unwritten).values()))
        self._unwritten = {}

    def _read(self) -> dict[str, dict[str, Any]]:
        with output_errors(self._path):
            if not self._path.exists():
                return {}
        try:
            with output_errors(self._path), self._path.open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file)
                names = tuple(reader.fieldnames or ())
                rows = {row["case"]: dict(row) for row in reader} if "case" in names else {}
        except (UnicodeDecodeError, csv.Error):
            names, rows = (), {}
        if names[:3] != SUMMARY_COLUMNS[:3]:
            raise OutputError(
                f"{self._path} is not a summary of SpinalCordSeg; move it or choose another output folder"
            )
        return rows


# The review of a case in its result folder: in report.json, which decides, and on the page that people read.


AI_MASK, GIVEN_MASK = "mask_ai", "mask_given"
_OF_THE_NETWORK = ("low_confidence", "unclear_edge", "doubts_add_up", "below_end")
_OF_THE_RUN = ("header", "device", "component", "unclear_edges")


def read_review(folder: Path) -> Review:
    """The review of a finished case; of one nobody has looked at: Review(). Raises InputFileError."""
    return Review.from_dict(_content(folder).get("review"))


def write_review(folder: Path, review: Review) -> None:
    """Put ``review`` into the case's report.json and report.html. Raises InputFileError, OutputError.

    Each file is replaced whole; should the page miss it (a crash in between), report.json is what counts.
    """
    content = _content(folder)
    content["review"] = review.as_dict()
    write_json(folder / "report.json", content)
    page = folder / "report.html"
    with output_errors(page):
        if page.is_file():  # a damaged page keeps its damage; nothing is read back from it
            write_text(page, updated_page(page.read_text(encoding="utf-8", errors="replace"), content))


def read_mask(folder: Path, name: str = "mask") -> Volume | None:
    """A mask of a finished case, bool: "mask", or AI_MASK or GIVEN_MASK, the one a correction began from; None where
    there is none. Raises as read_labels does."""
    files = sorted(folder.glob(f"{name}.*"))
    if not files:
        return None
    labels = read_labels(files[0])
    return labels.with_voxels(labels.voxels != 0)


def store_correction(
    folder: Path, mask: Volume, who: str = "", *, image: Image | None = None, levels: LevelOptions | None = None
) -> dict[str, Any]:
    """Take a corrected mask into a finished case: measured anew, all files replaced at once; gives the report.

    ``mask``: cord where not zero, on the grid of the case's mask. ``who``: the person who corrected. ``image``: for the
    pictures; what was told of the case's header stands unless this one has a header of its own. ``levels``: None takes
    the discs that were marked. The mask before any correction stays as mask_ai.* (or mask_given.* where a person or
    other software had made it), never changed. The state becomes "corrected", and an earlier decision no longer holds.
    Raises InputFileError (no finished case), GeometryError (another grid), OutputError.
    """
    content = _content(folder)
    now = mask.with_voxels(np.asarray(mask.voxels) != 0)
    original_name = GIVEN_MASK if content.get("mask_state") == "given" else AI_MASK
    original = read_mask(folder, original_name)
    first_correction = original is None
    before = read_mask(folder) if original is None else original
    if before is None:
        raise InputFileError(f"{folder} holds no mask; segment again with --force")
    if not now.same_grid(before):
        raise GeometryError(
            f"the corrected mask (shape {now.shape}) lies on another grid than the case's (shape {before.shape}):"
            " save it on the grid of the image that was segmented"
        )
    with damaged_report(folder):
        result = _measured(content, now, image, levels)
        changes = mask_changes(result.mask, before)
        result = _with_standing_doubts(result, content, {one.slice for one in changes.slices}, _not_seen_by(image))
        rows = _earlier_rows(folder)
        areas = _standing_areas(rows, {one.canonical_slice for one in changes.slices})
        result = replace(
            result, measures=with_pv_areas(result.measures, areas), instance_numbers=_instance_numbers(rows)
        )
    review = edited(Review.from_dict(content.get("review")), who)
    extra = {
        "review": review.as_dict(),
        "changes": changes.as_dict(),
        "input": content.get("input") if image is None or image.dicom is None else None,
        "levels_asked": content.get("levels_asked") if levels is None else None,
    }
    keep = sorted(folder.glob(f"{original_name}.*"))
    current = next(iter(sorted(folder.glob("mask.*"))))
    copies = {current.name.replace("mask.", f"{original_name}.", 1): current} if first_correction else {}
    copies |= {path.name: path for path in [*keep, *folder.glob("probability.*")]}
    told = replace_case(
        result,
        folder,
        mask_format=current.name.partition(".")[2],
        extra={name: value for name, value in extra.items() if value is not None},
        copies=copies,
    )
    _refresh_summary(folder.parent / "summary.csv", told)
    return told


def _not_seen_by(image: Image | None) -> set[str]:
    """Kinds of doubt about the whole case that measuring a mask, with ``image`` beneath, does not judge again."""
    unseen = set(_OF_THE_RUN)
    if image is None:
        unseen.update(PIXEL_KINDS)
    if image is None or image.dicom is None:
        unseen.update(HEADER_KINDS)
    return unseen


def _with_standing_doubts(
    result: CaseResult, content: Mapping[str, Any], edited_slices: set[int], whole_kinds: set[str]
) -> CaseResult:
    """What the network gave to doubt stands where nobody edited, and doubts of ``whole_kinds`` about the whole case:
    measuring cannot tell them again."""
    standing = []
    for flag in content.get("flags") or ():
        number = flag["slice"]
        whole = number is None and flag["kind"] in whole_kinds
        if whole or (number is not None and flag["kind"] in _OF_THE_NETWORK and number not in edited_slices):
            canonical = None if number is None else input_slice_index(result.mask, number)
            standing.append(Flag(number, canonical, flag["kind"], flag["message"]))
    doubtful = {flag.slice for flag in standing if flag.slice is not None} - {one.slice for one in result.queue}
    queue = [*result.queue, *(one for one in queue_of_report(content) if one.slice in doubtful)]
    queue.sort(key=lambda one: (-one.score, one.canonical_slice))
    return replace(result, flags=merge_flags(standing, result.flags), queue=tuple(queue))


def _earlier_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of slices.csv before the correction. A table that cannot be read holds up no correction."""
    try:
        return read_slice_rows(folder)
    except InputFileError as error:
        _log.warning("%s; nothing of it is kept", error)
        return []


def _instance_numbers(rows: Sequence[Mapping[str, str]]) -> dict[int, int]:
    """By the input's own slice; a whole number below 0 is a table's word for none."""
    told = {row.get("slice") or "": row.get("instance_number") or "" for row in rows}
    return {int(k): int(number) for k, number in told.items() if k.isdecimal() and number.isdecimal()}


def _standing_areas(rows: Sequence[Mapping[str, str]], edited_slices: set[int]) -> dict[int, float]:
    """Areas in the slice from the probability, mm², where nobody edited: visits are compared by them, and by the
    pixels of the masks where the table is damaged."""
    try:
        areas = InSlices.of_rows(rows).pv_mm2
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        _log.warning("slices.csv cannot be read, its areas from the probability are not kept: %s", type(error).__name__)
        return {}
    return {k: area for k, area in areas.items() if k not in edited_slices}


def _refresh_summary(path: Path, content: dict[str, Any]) -> None:
    """The case's row in the batch's table, where it has one: it must not go on telling the former volume."""
    if not path.is_file():
        return
    try:
        summary = Summary(path)
        if summary.has(str(content["case"])):
            summary.put(summary_row(content))
    except OutputError as error:
        _log.warning("summary.csv still tells the numbers before the correction: %s", error)


def _content(folder: Path) -> dict[str, Any]:
    content = read_result(folder)
    if content is None:
        raise InputFileError(f"{folder} holds no finished result: give the folder of one case, with report.json in it")
    return content


def _measured(content: Mapping[str, Any], mask: Volume, image: Image | None, levels: LevelOptions | None) -> CaseResult:
    chosen = content.get("range")
    was_compared = bool((content.get("levels") or {}).get("norm"))
    result = measure_mask(
        mask,
        str(content["case"]),
        image=image,
        slice_range=None if chosen is None else (int(chosen[0]), int(chosen[1])),
        levels=replace(levels or _levels_asked(content), was_compared=was_compared),
    )
    model = content.get("model")
    settings = CaseSettings.of_report(content)
    source = content.get("input") or {}
    had_date = source.get("acquisition_date") is not None
    options = replace(result.options, threshold=settings.threshold, along_mm=settings.along_mm, keep_date=had_date)
    return replace(
        result,
        mask_state="corrected" if model else "given",
        model=_model(model) if model else None,
        device=content.get("device"),
        engine=content.get("engine"),
        n_windowed=int(content.get("slices_computed_around_the_cord_only") or 0),
        n_steadied=content.get("slices_steadied"),
        batch_size=content.get("batch_size"),
        fingerprint=str(source.get("fingerprint") or ""),
        # What a given mask was drawn on stays the image it was first measured with. A network's mask has but one.
        image_fingerprint="" if model else str(source.get("image_fingerprint") or result.image_fingerprint),
        options=options,
    )


def _model(told: Mapping[str, Any]) -> ModelSummary:
    """The model of a report, with what its card said of repeatability."""
    return ModelSummary(
        told["name"], told["version"], told["sha256"], told["licence"], scores={REPEATABILITY: told.get(REPEATABILITY)}
    )


def _levels_asked(content: Mapping[str, Any]) -> LevelOptions:
    asked = content.get("levels_asked") or {}
    return LevelOptions(
        discs=tuple(parse_disc(text) for text in asked.get("discs") or ()),
        around_mm=asked.get("around_mm"),
        declared=frozenset(asked.get("declared") or ()),
    )
