"""The folder of a case and the table beside it, whatever is wrong with them: masks, names and digests of its files, an
earlier result put back, summary.csv. No patient data."""

from __future__ import annotations

import csv
import hashlib
import logging
import os
import re
import secrets
import shutil
import zipfile  # noqa: TID251  (for the error that numpy raises)
import zlib
from collections.abc import Iterable, Mapping
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from SpinalCordSegLib.errors import InputFileError, OutputError, SpinalCordSegError, WouldReplaceError
from SpinalCordSegLib.files import is_locked, is_plain_name, json_object, locked, output_errors, write_text
from SpinalCordSegLib.identity import safe_case_name
from SpinalCordSegLib.image_io import read_labels
from SpinalCordSegLib.mask_versions import MaskVersions
from SpinalCordSegLib.slice_table import csv_text
from SpinalCordSegLib.version import SOFTWARE_VERSION
from SpinalCordSegLib.vertebral_levels import BELOW_UPPER_END
from SpinalCordSegLib.volume import Volume, bounding_box, mask_sha256

SCHEMA = "SpinalCordSeg report"
AI_MASK, GIVEN_MASK = "mask_ai", "mask_given"
"""The mask that corrections begin from, beside "mask": the AI's lies there from the start."""
BACKDROP = "pictures.npz"
"""Grey values about the cord, so that the pictures of a correction show the image though it is not at hand."""
VERSIONS = "versions"
"""The folder in a case's own with every mask that a person made or accepted."""
_REPLACED = re.compile(r"\.(.+)\.[0-9a-f]{12}\.old", re.DOTALL)
_AROUND_MM = 50.0  # of the image about the cord is kept for the pictures
UNREADABLE_MASK = (
    "the mask cannot be read. What is written here appears whole, so another program saves it just now, or broke off:"
    " wait, or save it again there; the mask before it lies in versions or as mask_ai"
)

_log = logging.getLogger(__name__)


def raw_report(folder: Path) -> dict[str, Any] | None:
    """Of a case of ours, whatever else is wrong with it; None for any other folder."""
    content = json_object(folder / "report.json")
    return content if content.get("schema") == SCHEMA else None


def names_of(folder: Path) -> set[str]:
    """The files that the case in ``folder`` is made of, by its report."""
    names = (raw_report(folder) or {}).get("files")
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()


def file_sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def is_mask_of_case(path: Path) -> bool:
    """Whether it is the mask in use of a finished case."""
    return path.name.partition(".")[0] == "mask" and path.name in names_of(path.parent)


def case_name_of_mask(path: Path) -> str:
    """What a mask that is measured is called: after its file, or after its folder where it is a finished case's own."""
    if is_mask_of_case(path):
        return safe_case_name(path.parent / f"{path.parent.name}.nii.gz")
    return safe_case_name(path)


def read_mask(folder: Path, name: str = "mask") -> Volume | None:
    """A mask of a case's folder, bool, whoever drew it: "mask", or AI_MASK or GIVEN_MASK, the one a correction began
    from; None where there is none. Raises InputFileError."""
    labels = _read_labels(folder, name)
    return None if labels is None else labels.with_voxels(labels.voxels != 0)


def _read_labels(folder: Path, name: str) -> Volume | None:
    files = sorted(folder.glob(f"{name}.*"))
    own = [path for path in files if path.name in names_of(folder)] or files
    if not own:
        return None
    try:
        return read_labels(own[0])
    except SpinalCordSegError as error:
        raise InputFileError(f"{folder}: {UNREADABLE_MASK}") from error


def case_mask(folder: Path) -> Volume:
    """The mask in a case's folder as it is now. Raises InputFileError where there is none."""
    mask = read_mask(folder)
    if mask is None:
        raise InputFileError(f"{folder} holds no mask: give the folder of one finished case")
    return mask


def own_mask_sha256(folder: Path) -> str | None:
    """None where there is no mask, "" for one that cannot be read; one of several labels is nobody's but a person's."""
    try:
        labels = _read_labels(folder, "mask")
    except SpinalCordSegError:
        return ""
    if labels is None:
        return None
    return "several labels " * (len(np.unique(labels.voxels)) > 2) + mask_sha256(labels)


def versions(folder: Path) -> MaskVersions:
    """Every mask of a case that a person made or accepted, whoever replaced it since."""
    return MaskVersions(folder / VERSIONS)


def altered_files(folder: Path, sha256: Mapping[str, Any]) -> tuple[str, ...]:
    """Files with other bytes than were written; the mask itself is known by its voxels."""
    found = {name: file_sha256(folder / name) for name in sha256 if is_plain_name(name) and name[:5] != "mask."}
    return tuple(name for name, now in found.items() if now not in ("", sha256[name]))


def fingerprints(folder: Path) -> tuple[str, ...]:
    """Of the report and of every file that may be its mask, by their bytes."""
    return file_sha256(folder / "report.json"), *(
        file_sha256(path) for path in sorted(folder.glob("mask*")) if path.is_file()
    )


def refuse_strangers(folder: Path, names: Iterable[str]) -> None:
    """A person's own file under a name that is to be written, such as mask.nrrd beside our mask.nii.gz, stays."""
    own = names_of(folder)
    there = [name for name in names if name not in own and (folder / name).exists()]
    if there and own:
        raise WouldReplaceError(
            f"{folder / there[0]} is not of this case and would be replaced: move it away, or choose another format"
        )


# Grey values for the pictures of a correction.


def write_backdrop(path: Path, image: Volume, mask: Volume) -> None:
    """Keep grey values (0..255) of the image about the cord, along all its slices: a correction draws the pictures
    anew, and by then the image often lies elsewhere (in an archive, on another computer)."""
    box = bounding_box(mask.ijk)
    if box is None:
        return
    along = mask.axes[0]
    window = tuple(
        slice(None)
        if axis == along
        else slice(max(0, part.start - round(_AROUND_MM / mm)), part.stop + round(_AROUND_MM / mm))
        for axis, (part, mm) in enumerate(zip(box, mask.ijk_spacing_mm, strict=True))
    )
    values = image.ijk[window].astype(np.float32)
    low, high = np.percentile(values[:: max(1, len(values) // 64)], (0.5, 99.9))
    values -= low
    values *= 255 / max(float(high - low), 1e-6)
    grey = np.clip(values, 0, 255, out=values).astype(np.uint8)
    np.savez_compressed(path, grey=grey, corner=[part.start or 0 for part in window])


def read_backdrop(folder: Path, mask: Volume) -> Volume | None:
    """The grey values kept for the pictures, on the grid of the case's ``mask``, 0 elsewhere; None where there are none
    that can be read."""
    try:
        with np.load(folder / BACKDROP, allow_pickle=False) as kept:  # noqa: TID251  (allow_pickle=False)
            grey, corner = kept["grey"], kept["corner"].tolist()
        voxels = np.zeros(mask.ijk_shape, np.uint8)
        voxels[tuple(slice(low, low + n) for low, n in zip(corner, grey.shape, strict=True))] = grey
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error):
        return None
    return mask.with_ijk(voxels)


# An earlier result is taken away, the new one put in its place; what a killed program took away comes back.


def restore_interrupted(parent: Path, held: str = "") -> None:
    """Put earlier results in ``parent`` back that a program took away to replace them, and was killed before it did.

    What a running program has just taken away (its lock is there) is left to it, but the one called ``held``, whose
    lock is the caller's own. What cannot be moved stays under its hidden name.
    """
    try:
        hidden = [(path, match[1]) for path in parent.iterdir() if (match := _REPLACED.fullmatch(path.name))]
        ours = [path.is_dir() and not path.is_symlink() and is_plain_name(name) for path, name in hidden]
    except OSError:  # no such folder, or not ours to read: then nothing can be put back either
        return
    for path, name in sorted(compress(hidden, ours)):
        if name != held and is_locked(parent / name):
            continue
        try:
            if not (parent / name).exists():
                os.replace(path, parent / name)
                _log.warning("%s was being replaced when a program ended: the earlier result is back", name)
            else:
                _keep_foreign(path, parent / name)
        except OSError as error:
            _log.warning("%s could not be put back: %s", path.name, error.strerror)


def put_in_place(temporary: Path, folder: Path) -> None:
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
    """Files of an earlier result's folder that are not of the case go into the new one, and a mask that another program
    saved in the last moment; the rest goes."""
    own = names_of(replaced)
    for path in replaced.glob("mask.*") if _is_saved_late(replaced, folder) else ():
        os.replace(path, folder / f"mask_{secrets.token_hex(3)}.{path.name.partition('.')[2]}")
    for left in replaced.iterdir():
        if left.name not in own and left.name != "report.json" and not (folder / left.name).exists():
            os.replace(left, folder / left.name)
    shutil.rmtree(replaced, ignore_errors=True)


def _is_saved_late(replaced: Path, folder: Path) -> bool:
    digest = own_mask_sha256(replaced)
    known = (None, (raw_report(replaced) or {}).get("mask_sha256"))
    return digest not in known and not any(versions(one).holds(digest or "") for one in (replaced, folder))


# summary.csv: one row per case, kept over several runs into the same folder, and right while people correct cases.


SUMMARY_COLUMNS = {
    "case": "name of the case",
    "state": "done or failed",
    "reason": "why it failed",
    "source": "path of the input below the folder that all inputs share; “…” where the path would name the patient, or"
    " no DICOM header gives the name; empty with `--code`",
    "volume_mm3": "of the whole cord found; it follows coverage, so read them together",
    "length_mm": "along the centreline of the whole cord found",
    "mean_csa_mm2": "length-weighted over the measured slices (`--range`: those of the range), imputed ones left out",
    "mean_csa_95_mm2": "half of the mean area's 95 % band; none where a person drew a slice",
    "sd_csa_mm2": "standard deviation between the same slices",
    "n_slices": "those that the mean rests on",
    "coverage": "share 0 to 1 of the range's slices that have cord",
    "imputed_share": "share 0 to 1 of the measured slices that are imputed, and so no part of the mean",
    "c2_mean_csa_mm2": "mean area over the vertebral level C2",
    "c3_mean_csa_mm2": "mean area over the vertebral level C3",
    "c2_c3_mean_csa_mm2": "mean area over C2 and C3",
    "c2_c3_mean_csa_95_mm2": "half of its 95 % band",
    "c2_c3_sd_csa_mm2": "standard deviation between the slices of C2 and C3",
    "c2_c3_coverage": "share 0 to 1 of C2 and C3 that the measured cord covers",
    "below_upper_end_mean_csa_mm2": f"mean area {BELOW_UPPER_END} of the cord, at the foramen magnum, where the program"
    " found that end in the image; whatever the discs are",
    "below_upper_end_coverage": "share 0 to 1 of that interval that the measured cord covers",
    "disc": "where the levels come from: marked, or found by the program; empty where there are none",
    "n_flags": "number of flags",
    "flags": "their kinds, separated by blanks",
    "review_state": "ai, given, in review, to correct, corrected, accepted or rejected",
    "scanner": "manufacturer, model and field strength, where a DICOM header or the JSON file beside a NIfTI states"
    " them",
    "contrast": "of the image by its grey values: T1w-like (fluid darker than cord), T2w-like (far brighter than cord,"
    " muscle and fat), T2*w-like (brighter than these, but not so far), other",
    "device": "what the network was computed on",
    "model": "name of the model; empty for a mask made elsewhere",
    "model_version": "its version",
    "software_version": "of SpinalCordSeg",
    "seconds": "computing time",
}
"""Of summary.csv: the meaning of each column."""


def failed_row(case_name: str, reason: str) -> dict[str, Any]:
    """The row of a case without a result."""
    row: dict[str, Any] = dict.fromkeys(SUMMARY_COLUMNS)
    return row | {"case": case_name, "state": "failed", "reason": reason, "software_version": SOFTWARE_VERSION}


def refresh_summary(path: Path, row: dict[str, Any]) -> None:
    """A case's row in the batch's table, where it has one: it must not keep what was before a person's act."""
    if not path.is_file():
        return
    try:
        summary = Summary(path)
        if summary.has(row["case"]):
            summary.put(row)
    except OutputError as error:
        _log.warning("%s still has what was before: %s", path, error)


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
        with output_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self._path):
            rows = self._read()
            for name, row in self._unwritten.items():
                rows[name] = rows.get(name, {}) | row
            columns = dict.fromkeys([*SUMMARY_COLUMNS, *(name for row in rows.values() for name in row if name)])
            write_text(self._path, csv_text(columns, rows.values()))  # a person's own columns stay
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
        if names[:3] != (*SUMMARY_COLUMNS,)[:3]:
            raise OutputError(
                f"{self._path} is not a summary of SpinalCordSeg; move it or choose another output folder"
            )
        return rows
