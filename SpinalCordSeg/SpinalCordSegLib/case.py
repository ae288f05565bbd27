"""A measured cord as one typed object, and the folder it is kept in.

report.json holds the fields of Case, slices.csv its SliceTable; beside them lie the mask, the montage and the page. A
folder appears whole or not at all. Every decision about replacing a mask rests on its fingerprint, not on a state that
somebody wrote: what a person drew, corrected or accepted is never replaced by the machine. No patient data.
"""

# ruff: noqa: RUF009  (what these defaults call makes fields of a dataclass)

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
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import compress
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from SpinalCordSegLib.errors import (
    ConfigurationError,
    InputFileError,
    MissingPackageError,
    OutputError,
    SpinalCordSegError,
    VoxelError,
    WouldReplaceError,
)
from SpinalCordSegLib.files import (
    from_json,
    is_locked,
    is_plain_name,
    json_object,
    locked,
    output_errors,
    parse_json,
    remove_abandoned_parts,
    to_json,
    write_json,
    write_text,
)
from SpinalCordSegLib.identity import Identity, safe_case_name, stated_scanner
from SpinalCordSegLib.image_io import Image, is_volume_file, read_labels, write_volume
from SpinalCordSegLib.mask_versions import MaskVersions
from SpinalCordSegLib.metrics import MaskChanges, mask_changes, mask_sha256
from SpinalCordSegLib.morphometry import NO_LINE, Centreline, CordMeasures
from SpinalCordSegLib.quality_control import FlaggedSlice
from SpinalCordSegLib.review import (
    ACCEPTED,
    CORRECTED,
    DECISIONS,
    GIVEN,
    IN_REVIEW,
    TO_CORRECT,
    Act,
    Review,
    acts_between,
    with_act,
    with_seen,
)
from SpinalCordSegLib.slice_table import SliceTable, counted, csv_text
from SpinalCordSegLib.version import SOFTWARE_VERSION
from SpinalCordSegLib.vertebral_levels import BELOW_UPPER_END, LevelOptions, LevelReport
from SpinalCordSegLib.volume import Volume, bounding_box, place_on

SCHEMA = "SpinalCordSeg report"
SCHEMA_VERSION = 2
MASK_FORMATS = ("nii.gz", "seg.nrrd", "nrrd")
AI_MASK, GIVEN_MASK = "mask_ai", "mask_given"
"""The mask that corrections begin from, beside "mask": the AI's lies there from the start."""
BACKDROP = "pictures.npz"
"""Grey values about the cord, so that the pictures of a correction show the image though it is not at hand."""
VERSIONS = "versions"
"""The folder in a case's own with every mask that a person made or accepted."""

# Of the DICOM header, what tells how the image was made; nothing that tells of whom.
_ACQUISITION = (
    "number", "modality", "manufacturer", "model", "field_strength_t", "sequence", "dimension",
    "repetition_time_ms", "echo_time_ms", "inversion_time_ms", "flip_angle_deg", "slice_thickness_mm", "contrast_agent",
)  # fmt: skip
_REPLACED = re.compile(r"\.(.+)\.[0-9a-f]{12}\.old", re.DOTALL)
_AROUND_MM = 50.0  # of the image about the cord is kept for the pictures
_MOST_LABELS = 64  # a file with more different values is an image
_LONGEST_BYTES = 230  # of a folder's name, so that the hidden names beside it are not too long for the disk

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelSummary:
    """What a reader of a result must know of the model behind it. ``provenance``, ``scores``: of its card."""

    name: str
    version: str
    sha256: str | None
    licence: str
    provenance: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CaseInput:
    """The grid that was measured. ``fingerprint``: of the input (see volume.fingerprint), "" where not known;
    ``image_fingerprint``: of the image that a mask made elsewhere was measured with, "" without one. ``acquisition``:
    how the image was made, as far as a DICOM header tells, or of a NIfTI by which scanner, by the JSON file beside it;
    ``acquisition_date`` only where it was asked for;
    ``identity``: whose it is, as salted hashes; ``source``: the file, from the folder that all inputs of the batch
    shared, "…" where that would tell the patient."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float] = field(metadata={"decimals": 5})
    orientation: str
    ijk_to_ras: tuple[tuple[float, float, float, float], ...] = field(metadata={"decimals": 6})
    fingerprint: str = ""
    image_fingerprint: str = ""
    acquisition: dict[str, Any] | None = None
    acquisition_date: str | None = None
    identity: Identity | None = None
    source: str = ""

    @classmethod
    def of(cls, volume: Volume, image: Image | None = None, keep_date: bool = False) -> CaseInput:
        series = None if image is None else image.dicom
        found = cls(
            shape=volume.ijk_shape,
            spacing_mm=volume.ijk_spacing_mm,
            orientation=volume.orientation,
            ijk_to_ras=tuple(tuple(row) for row in volume.ijk_to_ras.tolist()),
            identity=None if image is None else image.identity,
        )
        if series is None:
            return replace(found, acquisition=None if image is None else stated_scanner(image.path))
        acquisition = {name: getattr(series, name) for name in _ACQUISITION} | {"image_type": list(series.image_type)}
        return replace(
            found, acquisition=acquisition, acquisition_date=(series.acquisition_date or None) if keep_date else None
        )


def _memory_only(default: Any = None) -> Any:
    return field(default=default, repr=False, metadata={"json": False})


@dataclass(frozen=True, eq=False, kw_only=True)
class Case(CordMeasures):
    """One measured cord: what report.json holds, and what belongs to it in memory.

    ``mask_state``: "AI", "corrected" (the AI's, by a person) or "given" (made elsewhere). ``mask_sha256``: of the mask
    that was measured. ``range``: of the measures, half-open, the input's own slices; None: the whole cord found.
    ``queue``: the flagged slices, the most doubtful first. ``changes``: against the mask that a correction began from,
    None where there was none or it is not known. ``levels_asked``: so that a correction is measured at the same levels.
    ``threshold``, ``smooth_z_mm``: of the network's mask, None for one made elsewhere. ``seconds_by_stage``: computing
    time. ``contrast``: of the image by its grey values, "T1w-like", "T2w-like" or "other"; "" without an image.
    ``history``: every act on the case, oldest first. ``sha256``: by name, of the files that figures rest on, as they
    were written.

    In memory only: ``slices``, the table of slices.csv; ``line``, empty once the case was read from its folder;
    ``image`` and ``probability`` (0..1), None where they are not at hand; ``backdrop``: grey values about the cord, for
    the pictures of a case whose image is not at hand; ``drawn``, see ``mask``; ``folder``: where the case was read from
    or written to.
    """

    name: str = field(metadata={"key": "case"})
    mask_state: str
    mask_sha256: str
    created: str
    software_version: str = SOFTWARE_VERSION
    range: tuple[int, int] | None = None
    contrast: str = ""
    queue: tuple[FlaggedSlice, ...] = field(default=(), metadata={"key": "review_queue"})
    review: Review = field(default_factory=Review)
    history: tuple[Act, ...] = ()
    changes: MaskChanges | None = None
    levels_asked: LevelOptions | None = None
    levels: LevelReport | None = field(default=None, metadata={"decimals": 4})
    threshold: float | None = None
    smooth_z_mm: float | None = None
    device: str | None = None
    engine: str | None = None
    model: ModelSummary | None = None
    input: CaseInput
    seconds_by_stage: dict[str, float] = field(default_factory=dict, metadata={"decimals": 3})
    files: tuple[str, ...] = ()
    sha256: dict[str, str] = field(default_factory=dict)

    slices: SliceTable = _memory_only(SliceTable.of())
    line: Centreline = _memory_only(NO_LINE)
    drawn: Volume | None = _memory_only()
    image: Image | None = _memory_only()
    backdrop: Volume | None = _memory_only()
    probability: Volume | None = _memory_only()
    folder: Path | None = _memory_only()
    report_sha256: str = _memory_only("")

    def __post_init__(self) -> None:
        if self.mask_state not in ("AI", "corrected", "given"):
            raise ConfigurationError(f'"{self.mask_state}" is not a state of a mask: expected AI, corrected or given')
        if not is_plain_name(self.name):
            raise ConfigurationError("the case's name is no name for a folder")

    # What follows from the fields.

    @property
    def mask(self) -> Volume:
        """Bool, the mask that was measured: at hand, or read from the folder.

        Raises InputFileError where the folder has none, or another one by now."""
        if self.drawn is not None:
            return self.drawn
        assert self.folder is not None
        found = case_mask(self.folder)
        if not is_as_measured(self):
            raise InputFileError(f"{self.folder}: {_ANOTHER_MASK}")
        return found

    @cached_property
    def remarks(self) -> tuple[str, ...]:
        """What everybody who uses the figures has to know of the folder (looked at once), each with what to do: a mask
        that they are not of, in the place of the case's own or beside it, and files that are gone."""
        folder = self.folder
        if folder is None:
            return ()
        found = []
        if not is_as_measured(self):
            found.append(f"{folder}: {_UNREADABLE_MASK if own_mask_sha256(folder) == '' else _ANOTHER_MASK}")
        for name in _masks_beside(self, folder):
            found.append(
                f"{folder / name} was not taken in: the figures are of {self.mask_file}, not of it; to take it in:"
                f" {_take_in(self, folder, name)}"
            )
        for path in sorted(folder.glob("report*.json")):
            if path.name != "report.json":  # as a program that syncs folders leaves where two people worked at once
                found.append(f"{path} is a second report of this case: what was done in it is not in report.json")
        for name in self.altered:
            remedy = (
                f"to take it in: {_take_in(self, folder, name)}" if name[:4] == "mask" else _anew(self, folder, name)
            )
            found.append(f"{folder / name} {_ALTERED}; {remedy}")
        if self.lost:
            found.append(f"{folder} lacks {', '.join(self.lost)}; {_anew(self, folder, *self.lost)}")
        return tuple(found)

    @property
    def altered(self) -> tuple[str, ...]:
        """Files beside the mask that figures rest on and that somebody changed: the table, the mask it began as."""
        return () if self.folder is None else _altered(self.folder, self.sha256)

    @property
    def lost(self) -> tuple[str, ...]:
        """Its files that are gone from the folder."""
        return () if self.folder is None else tuple(name for name in self.files if not (self.folder / name).is_file())

    @property
    def background(self) -> Volume | None:
        """What the pictures show beneath the mask; None where nothing of an image is at hand."""
        return self.backdrop if self.image is None else self.image.volume

    @property
    def unseen(self) -> tuple[FlaggedSlice, ...]:
        """The flagged slices that nobody has looked at yet, the most doubtful first."""
        return self.review.unseen(self.queue)

    @property
    def seconds(self) -> float:
        return sum(self.seconds_by_stage.values())

    @property
    def n_imputed(self) -> int:
        """Slices of the range that are no part of the means."""
        table, (first, end) = self.slices, self.range or (-np.inf, np.inf)
        return int(np.count_nonzero(table.is_imputed & (table.slice >= first) & (table.slice < end)))

    @property
    def counted_text(self) -> str:
        """What the means rest on, as "12 slices, 3 imputed ones left out"."""
        return counted(self.n_slices, "slice") + (f", {self.n_imputed} imputed ones left out" if self.n_imputed else "")

    @property
    def imputed_share(self) -> float:
        """Of the range's slices, 0 to 1; NaN where none was measured."""
        n = self.n_slices + self.n_imputed
        return self.n_imputed / n if n else np.nan

    @property
    def scanner(self) -> str:
        """Manufacturer, model and field strength, as far as a DICOM header states them."""
        known = self.input.acquisition or {}
        tesla = known.get("field_strength_t")
        return " ".join(filter(None, (known.get("manufacturer"), known.get("model"), f"{tesla:g} T" if tesla else "")))

    @property
    def is_by_person(self) -> bool:
        """A person corrected it or decided on it: the machine never replaces it."""
        return bool(_persons_act(self.mask_state, self.changes, self.review.state))

    @property
    def mask_file(self) -> str:
        """The name of the mask's file in the folder; "" before it is written."""
        return next((name for name in self.files if name.startswith("mask.")), "")

    def upper_end_in(self, mask: Volume) -> int | None:
        """Canonical slice of the cord's upper end as the run of the network found it, where ``mask`` ends there too."""
        end, filled = self.levels and self.levels.upper_end, np.flatnonzero(mask.voxels.any(axis=(1, 2)))
        if not end or not filled.size or mask.from_input_slice(end.slice) != filled[-1]:
            return None
        return int(filled[-1])

    @property
    def discs_from(self) -> str:
        """ "marked", "found, not confirmed" (by the program), or "found, accepted" with the case; "" without discs."""
        if self.levels is None or not self.levels.discs_mm:
            return ""
        if self.levels_asked is None or not self.levels_asked.automatic:
            return "marked"
        return "found, accepted" if self.review.state == ACCEPTED else "found, not confirmed"

    def level_rows(self) -> list[dict[str, Any]]:
        """The measures of each level, as in report.json."""
        return [] if self.levels is None else to_json(self.levels.rows, 4)

    def has_levels(self, asked: LevelOptions) -> bool:
        """Whether it has the levels that are ``asked``, so that it need not be made again."""
        if asked == LevelOptions(find=asked.find):
            return True
        had = self.levels_asked
        if had is None or (had.around_mm, had.declared) != (asked.around_mm, asked.declared):
            return False
        marks = [replace(mark, from_points=False) for mark in asked.discs]
        if marks and (had.automatic or marks != list(had.discs)):
            return False
        if asked.age_years is None and asked.sex is None:
            return True
        norm = (self.levels and self.levels.norm) or {}  # holds the band of ages alone, which is all that counts
        low, _, high = norm.get("band_years", "").partition("-")
        return bool(low) and norm["sex"] == asked.sex and float(low) <= (asked.age_years or -1.0) < float(high)

    def summary_row(self) -> dict[str, Any]:
        """By SUMMARY_COLUMNS."""
        content = replace(self, model=None, levels=None, history=()).as_json()
        levels: dict[str, dict[str, Any]] = {row["name"]: row for row in self.level_rows()}
        of_levels = {
            f"{short}_{column}": levels.get(name, {}).get(column)
            for short, name in {"c2": "C2", "c3": "C3", "c2_c3": "C2-C3", "below_upper_end": BELOW_UPPER_END}.items()
            for column in ("mean_csa_mm2", "mean_csa_95_mm2", "sd_csa_mm2", "coverage")
        }
        return {name: content.get(name, of_levels.get(name)) for name in SUMMARY_COLUMNS} | {
            "imputed_share": to_json(self.imputed_share, 4),
            "review_state": self.review.state,
            "scanner": self.scanner,
            "disc": self.discs_from.partition(",")[0] or None,
            "state": "done",
            "reason": None,
            "source": self.input.source,
            "n_flags": len(self.flags),
            "flags": " ".join(dict.fromkeys(flag.kind for flag in self.flags)),
            "model": None if self.model is None else self.model.name,
            "model_version": None if self.model is None else self.model.version,
        }

    def as_json(self) -> dict[str, Any]:
        """The content of report.json."""
        content = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, "case": self.name} | to_json(self)
        return content | to_json({"seconds": self.seconds}, 3)

    @classmethod
    def from_json(cls, content: Any) -> Case:
        """Of report.json alone, without slices. Raises InputFileError for anything that is not as it was written."""
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise InputFileError("this is no report of SpinalCordSeg")
        if content.get("schema_version") != SCHEMA_VERSION:
            raise InputFileError("the report is of another version of SpinalCordSeg: segment or measure again")
        try:
            return from_json(cls, content)
        except (ValueError, OverflowError, ConfigurationError) as error:
            raise InputFileError(f"the report is damaged ({error}): segment or measure again") from error

    @classmethod
    def load(cls, folder: Path, *, needs_slices: bool = True) -> Case:
        """Read a finished case. One that a killed program took away and did not replace is put back first.

        ``needs_slices`` False: a slices.csv that cannot be read gives an empty table. What can be made anew from the
        mask may be gone (see ``remarks``). Raises InputFileError where there is no finished case, or a damaged one.
        """
        if not folder.exists():
            restore_interrupted(folder.parent)
        try:
            data = (folder / "report.json").read_bytes()
            case = replace(cls.from_json(parse_json(data)), folder=folder)
        except (OSError, ValueError) as error:
            raise InputFileError(
                f"{folder} holds no finished result: give the folder of one case, with report.json in it"
            ) from error
        except InputFileError as error:
            raise InputFileError(f"{folder / 'report.json'}: {error}") from error
        if not case.mask_file or not all(map(is_plain_name, case.files)) or case.mask_file in case.lost:
            newest = f"copy the newest of {folder / VERSIONS} there under that name, or "
            raise InputFileError(
                f"{folder} is not complete ({case.mask_file or 'the name of the mask'} is gone):"
                f" {newest if case.mask_file.endswith('.nii.gz') else ''}segment or measure again into another folder"
            )
        try:
            if "slices.csv" in case.altered:
                raise InputFileError(f"{folder / 'slices.csv'} {_ALTERED}")
            slices = SliceTable.read(folder / "slices.csv")
        except InputFileError as error:
            if needs_slices:
                raise InputFileError(
                    f"{folder / 'slices.csv'} is gone, damaged or was changed after it was written;"
                    f" {_anew(case, folder, 'slices.csv')}"
                ) from error
            _log.warning("%s", error)
            slices = SliceTable.of()
        return replace(case, slices=slices, report_sha256=hashlib.sha256(data).hexdigest())


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
    " muscle and fat), other",
    "device": "what the network was computed on",
    "model": "name of the model; empty for a mask made elsewhere",
    "model_version": "its version",
    "software_version": "of SpinalCordSeg",
    "seconds": "computing time",
}
"""Of summary.csv: the meaning of each column."""
_ANOTHER_MASK = (
    "the mask was changed after it was measured, so the figures do not belong to it: take it in by spinalcordseg"
    " correct CASE_FOLDER MASK, or measure it into another folder"
)
_ALTERED = "was changed after it was written, so it is not what the figures rest on"
_UNREADABLE_MASK = (
    "the mask cannot be read. What is written here appears whole, so another program saves it just now, or broke off:"
    " wait, or save it again there; the mask before it lies in versions or as mask_ai"
)
CHANGED_MEANWHILE = "was changed by somebody else meanwhile, and nothing was replaced: look at it and do it again"


def with_measures(case: Case, measures: CordMeasures) -> Case:
    """The case with these measures in the place of its own, their flags on its slices."""
    found = {one.name: getattr(measures, one.name) for one in fields(CordMeasures)}
    return replace(case, **found | {"slices": measures.slices.with_flags(measures.flags)})


# A case on the disk.


def read_mask(folder: Path, name: str = "mask") -> Volume | None:
    """A mask of a case's folder, bool, whoever drew it: "mask", or AI_MASK or GIVEN_MASK, the one a correction began
    from; None where there is none. Raises InputFileError."""
    labels = _read_labels(folder, name)
    return None if labels is None else labels.with_voxels(labels.voxels != 0)


def original_mask(case: Case, folder: Path) -> Volume | None:
    """The mask that corrections begin from; None where it is gone or was changed since."""
    name = GIVEN_MASK if case.mask_state == "given" else AI_MASK
    return None if any(one.startswith(name) for one in case.altered) else read_mask(folder, name)


def _read_labels(folder: Path, name: str) -> Volume | None:
    files = sorted(folder.glob(f"{name}.*"))
    own = [path for path in files if path.name in _names_of(folder)] or files
    if not own:
        return None
    try:
        return read_labels(own[0])
    except SpinalCordSegError as error:
        raise InputFileError(f"{folder}: {_UNREADABLE_MASK}") from error


def case_mask(folder: Path) -> Volume:
    """The mask in a case's folder as it is now. Raises InputFileError where there is none."""
    mask = read_mask(folder)
    if mask is None:
        raise InputFileError(f"{folder} holds no mask: give the folder of one finished case")
    return mask


def case_name_of_mask(path: Path) -> str:
    """What a mask that is measured is called: after its file, or after its folder where it is a finished case's own."""
    if path.name.partition(".")[0] == "mask" and path.name in _names_of(path.parent):
        return safe_case_name(path.parent / f"{path.parent.name}.nii.gz")
    return safe_case_name(path)


def save_case(
    case: Case,
    folder: Path,
    *,
    mask_format: str = "nii.gz",
    save_probability: bool = False,
    has_pictures: bool = True,
    replaces: Case | None = None,
    copies: Mapping[str, Path] | None = None,
) -> Case:
    """Write everything about a case into ``folder``; gives the case as it is there.

    All of it appears at once or not at all, while no other program of ours can write there. ``replaces``: the case in
    this folder that a person's act began from; it must still be the one that is there. None: the machine writes, which
    replaces no person's work (see ``check_replaceable``); what a person saw of this very mask stays seen. ``copies``:
    further files to be in the folder, by their name in it. ``has_pictures``: with montage and page. Files in the folder
    that are not of the case are kept, its versions too. Raises OutputError when the system refuses, WouldReplaceError
    when something of worth is there.
    """
    if mask_format not in MASK_FORMATS:
        raise ConfigurationError(f"unknown mask format {mask_format}: choose one of {', '.join(MASK_FORMATS)}")
    if len(os.fsencode(folder.name)) > _LONGEST_BYTES:
        raise OutputError(f"cannot write {folder}: the name is too long; choose a shorter one")
    folder = Path(os.path.realpath(folder)) if folder.is_symlink() else folder
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.part")
    with output_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with output_errors(folder), locked(folder):
        restore_interrupted(folder.parent, folder.name)
        remove_abandoned_parts(folder.parent)
        there = _fingerprints(folder)
        if replaces is None:
            case = _with_past(case, check_replaceable(folder))
            given = read_mask(folder) if (_raw_report(folder) or {}).get("mask_state") == "given" else None
            if given is not None and mask_sha256(given) != case.mask_sha256:
                versions(folder).save(given, state=GIVEN)
        else:
            now = _check_unchanged(folder, replaces)
            new_acts = case.history[len(replaces.history) :]
            case = replace(case, review=with_seen(case.review, now.review.seen), history=(*now.history, *new_acts))
        try:
            temporary.mkdir(parents=True)
            for name, source in (copies or {}).items():
                shutil.copyfile(source, temporary / name)
            case = _fill(case, temporary, mask_format, save_probability, has_pictures)
            _refuse_strangers(folder, case.files)
            if _fingerprints(folder) != there:  # the pictures took a while
                raise WouldReplaceError(f"{folder} {CHANGED_MEANWHILE}")
            _put_in_place(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return replace(case, folder=folder, report_sha256=_file_sha256(folder / "report.json"))


def _with_past(case: Case, earlier: Case | None) -> Case:
    """A case that the machine made, with what is known of the one it takes the place of."""
    if earlier is not None and earlier.mask_sha256 == case.mask_sha256:
        case = replace(case, review=earlier.review)
    what, who = ("measured", "") if case.model is None else ("segmented", f"{case.model.name} {case.model.version}")
    act = Act(what, who, case.created, "" if earlier is None else earlier.mask_sha256, case.mask_sha256)
    return replace(case, history=(*(() if earlier is None else earlier.history), act))


def check_replaceable(folder: Path) -> Case | None:
    """The case in ``folder`` that the machine may replace; None where there is none.

    Raises WouldReplaceError where there is what must not be replaced: files that are not ours, a mask that is not the
    one that was measured, a case that a person corrected or decided on; OutputError where a file is in the way.
    """
    with output_errors(folder):
        restore_interrupted(folder.parent)
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"cannot write {folder}: a file of that name is in the way; choose another output folder")
        if not folder.is_dir() or not any(folder.iterdir()):
            return None
    content = _raw_report(folder)
    if content is None:
        raise WouldReplaceError(
            f"{folder} holds files that are not a result of SpinalCordSeg and would be replaced;"
            " choose another output folder"
        )
    review = content.get("review")
    state = review.get("state") if isinstance(review, dict) else None
    if done := _persons_act(content.get("mask_state"), content.get("changes"), state):
        raise WouldReplaceError(
            f"{folder} holds a case that a person has {done}; it is never replaced by the machine: choose"
            " another output folder, or move this one away first"
        )
    own = own_mask_sha256(folder)
    if own == "":
        raise WouldReplaceError(f"{folder}: {_UNREADABLE_MASK}")
    if own not in (None, content.get("mask_sha256")):
        raise WouldReplaceError(f"{folder}: {_ANOTHER_MASK}")
    if own and versions(folder).holds(own):  # whatever the report says
        raise WouldReplaceError(
            f"{folder} holds a mask that a person made or accepted (it is in {VERSIONS}); it is never replaced by the"
            " machine: choose another output folder, or move this one away first"
        )
    sha256 = content.get("sha256")
    for name in _altered(folder, sha256 if isinstance(sha256, dict) else {}):
        if name.startswith("mask"):
            raise WouldReplaceError(f"{folder / name} {_ALTERED}, and would be replaced: move it away first")
    try:
        return Case.load(folder, needs_slices=False)
    except InputFileError:  # damaged or not complete, and nobody's work
        return None


def _persons_act(mask_state: Any, changes: Any, review_state: Any) -> str:
    """What a person did with a case, as its report has it; "" where nobody corrected it or decided on it."""
    if review_state in (CORRECTED, *DECISIONS):
        return str(review_state)
    # "changes" is written by a correction alone, and stays when its review is opened again.
    return CORRECTED if mask_state == "corrected" or changes else ""


def is_as_measured(case: Case) -> bool:
    """Whether the folder still has the mask that was measured, where it lay; one that cannot be read is another."""
    if case.folder is None:
        return False
    # to read the bytes takes a hundredth of the time that their voxels take
    if case.sha256.get(case.mask_file, "") == _file_sha256(case.folder / case.mask_file) != "":
        return True
    grid = Volume.from_ijk(np.zeros(case.input.shape, bool), np.array(case.input.ijk_to_ras))
    try:  # as voxels alone do not tell where they lie
        return own_mask_sha256(case.folder) == case.mask_sha256 and place_on(case_mask(case.folder), grid) is not None
    except SpinalCordSegError:
        return False


def own_mask_sha256(folder: Path) -> str | None:
    """None where there is no mask, "" for one that cannot be read; one of several labels is nobody's but a person's."""
    try:
        labels = _read_labels(folder, "mask")
    except SpinalCordSegError:
        return ""
    if labels is None:
        return None
    return "several labels " * (len(np.unique(labels.voxels)) > 2) + mask_sha256(labels)


def _altered(folder: Path, sha256: Mapping[str, Any]) -> tuple[str, ...]:
    """Files with other bytes than were written; the mask itself is known by its voxels."""
    found = {name: _file_sha256(folder / name) for name in sha256 if is_plain_name(name) and name[:5] != "mask."}
    return tuple(name for name, now in found.items() if now not in ("", sha256[name]))


def _fingerprints(folder: Path) -> tuple[str, ...]:
    """Of the report and of every file that may be its mask, by their bytes."""
    return _file_sha256(folder / "report.json"), *(
        _file_sha256(path) for path in sorted(folder.glob("mask*")) if path.is_file()
    )


def _take_in(case: Case, folder: Path, name: str) -> str:
    """The command that measures a mask in the folder."""
    reopen = " --reopen" if case.review.state == ACCEPTED else ""
    return f"spinalcordseg correct {quote(str(folder))} {quote(str(folder / name))} --by NAME{reopen}"


def _anew(case: Case, folder: Path, *names: str) -> str:
    """How files that are gone or were changed are made anew. The network's areas are in slices.csv alone."""
    if case.is_by_person:
        pixels = "; its areas will be those of the mask's pixels" if "slices.csv" in names else ""
        return f"to make the case anew from its mask: {_take_in(case, folder, case.mask_file)}{pixels}"
    again = "measure MASK" if case.model is None else "segment IMAGE"
    return f"to make the case anew: spinalcordseg {again} --output {quote(str(folder.parent))} --force"


def _masks_beside(case: Case, folder: Path) -> list[str]:
    """Label maps in the folder, or in one within it, that are not of the case and were not taken in, and what cannot be
    read."""
    with output_errors(folder):
        within = [path for path in folder.glob("[!.]*/*") if path.parent.name != VERSIONS]
        within = [path for path in within if not (path.parent / "report.json").exists()]  # another case
        there = sorted(path for path in (*folder.iterdir(), *within) if is_volume_file(path) and path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in there}
    return [name for name, path in names.items() if name not in case.files and _is_untaken(path, case, folder)]


def _is_untaken(path: Path, case: Case, folder: Path) -> bool:
    try:
        labels = read_labels(path)
    except VoxelError:  # fractions: an image, or a probability
        return False
    except SpinalCordSegError:
        return True
    with suppress(SpinalCordSegError):  # of another grid, or no mask to compare it with
        own = read_mask(folder)
        labels = labels if own is None else place_on(labels, own)
    present = [n for n in np.unique(labels.voxels).tolist() if n]
    if np.count_nonzero(labels.voxels) < case.n_slices or len(present) > _MOST_LABELS:  # marked discs; an image
        return False
    known = {case.mask_sha256, "" if case.changes is None else case.changes.ai_sha256}
    masks = [labels.voxels != 0, *(labels.voxels == n for n in present if len(present) > 1)]
    digests = [mask_sha256(labels.with_voxels(mask)) for mask in masks]
    return known.isdisjoint(digests) and not any(map(versions(folder).holds, digests))


def _check_unchanged(folder: Path, replaces: Case) -> Case:
    """What is in ``folder`` now. Raise WouldReplaceError unless it is what was read as ``replaces``, its mask included
    (``drawn``); that somebody looked at slices meanwhile changes nothing."""
    mask = read_mask(folder)
    same_mask = replaces.drawn is None or (mask is not None and mask_sha256(mask) == mask_sha256(replaces.drawn))
    now = Case.load(folder, needs_slices=False)
    looked_at = replace(now, review=replaces.review, history=replaces.history)
    is_decided = now.review.state not in (replaces.review.state, IN_REVIEW, TO_CORRECT)
    if not same_mask or is_decided or looked_at.as_json() != replaces.as_json():
        raise WouldReplaceError(f"{folder} {CHANGED_MEANWHILE}")
    return now


def _refuse_strangers(folder: Path, names: Iterable[str]) -> None:
    """A person's own file under a name that is to be written, such as mask.nrrd beside our mask.nii.gz, stays."""
    own = _names_of(folder)
    there = [name for name in names if name not in own and (folder / name).exists()]
    if there and own:
        raise WouldReplaceError(
            f"{folder / there[0]} is not of this case and would be replaced: move it away, or choose another format"
        )


def _raw_report(folder: Path) -> dict[str, Any] | None:
    """Of a case of ours, whatever else is wrong with it; None for any other folder."""
    content = json_object(folder / "report.json")
    return content if content.get("schema") == SCHEMA else None


def _names_of(folder: Path) -> set[str]:
    """The files that the case in ``folder`` is made of, by its report."""
    names = (_raw_report(folder) or {}).get("files")
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()


def _file_sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _fill(case: Case, folder: Path, mask_format: str, save_probability: bool, has_pictures: bool) -> Case:
    from SpinalCordSegLib.report import montage_png

    write_volume(case.mask, folder / f"mask.{mask_format}")
    if case.mask_state == "AI":  # the reference for what a person changes later
        shutil.copyfile(folder / f"mask.{mask_format}", folder / f"{AI_MASK}.{mask_format}")
    if save_probability and case.probability is not None:
        # A .seg.nrrd holds segments; a probability is an image.
        write_volume(case.probability, folder / f"probability.{mask_format.replace('seg.', '')}")
    write_text(folder / "slices.csv", case.slices.csv())
    if has_pictures:
        if case.image is not None:
            _write_backdrop(folder / BACKDROP, case.image.volume, case.mask)
        picture = montage_png(case)
        if picture is not None:
            (folder / "montage.png").write_bytes(picture)
        _write_page(case, folder)
    names = tuple(sorted([*(path.name for path in folder.iterdir()), "report.json"]))
    sha256 = {name: _file_sha256(folder / name) for name in names if name.startswith("mask") or name == "slices.csv"}
    case = replace(case, files=names, sha256=sha256)
    write_json(folder / "report.json", case.as_json())
    return case


def _write_page(case: Case, folder: Path) -> None:
    """Make report.html from the case, and the pictures that are in ``folder``; left out where a package for it is
    missing."""
    from SpinalCordSegLib.report import render

    picture = folder / "montage.png"
    montage = picture.read_bytes() if picture.is_file() else None
    try:
        write_text(folder / "report.html", render(case, montage))
    except MissingPackageError as missing:
        _log.warning("%s", missing)


def _write_backdrop(path: Path, image: Volume, mask: Volume) -> None:
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
    """Files of an earlier result's folder that are not of the case go into the new one, and a mask that another program
    saved in the last moment; the rest goes."""
    own = _names_of(replaced)
    for path in replaced.glob("mask.*") if _is_saved_late(replaced, folder) else ():
        os.replace(path, folder / f"mask_{secrets.token_hex(3)}.{path.name.partition('.')[2]}")
    for left in replaced.iterdir():
        if left.name not in own and left.name != "report.json" and not (folder / left.name).exists():
            os.replace(left, folder / left.name)
    shutil.rmtree(replaced, ignore_errors=True)


def _is_saved_late(replaced: Path, folder: Path) -> bool:
    digest = own_mask_sha256(replaced)
    known = (None, (_raw_report(replaced) or {}).get("mask_sha256"))
    return digest not in known and not any(versions(one).holds(digest or "") for one in (replaced, folder))


# The review of a case.


def update_review(
    folder: Path, change: Callable[[Review], Review], *, decides_on: str | None = None, who: str = "", did: str = ""
) -> Case:
    """Put ``change`` of the review that is there now into report.json, with what was done and by whom, and into
    report.html where slices.csv can be read; gives the case.

    ``decides_on``: mask_sha256 of the mask that somebody looked at and accepts or rejects; an accepted one is kept as
    a version. ``who``: looks at slices. ``did``: a further act of theirs, such as "exported". Raises InputFileError,
    ConfigurationError (``change``; the mask is another one), WouldReplaceError, OutputError.
    """
    with locked(folder):
        case = Case.load(folder, needs_slices=False)
        review = change(case.review)
        if decides_on is not None and review.state in DECISIONS:
            mask = case.mask
            if decides_on != case.mask_sha256:
                raise ConfigurationError(f"{folder}: another mask is there by now than the one that was looked at")
            if review.state == ACCEPTED:
                versions(folder).save(mask, who=review.who, state=ACCEPTED)
        history = case.history
        for what, by in (*acts_between(case.review, review, who), *([(did, who)] if did else [])):
            history = with_act(history, Act.now(what, by, case.mask_sha256, case.mask_sha256))
        is_new_state = review.state != case.review.state
        case = replace(case, review=review, history=history)
        if _file_sha256(folder / "report.json") != case.report_sha256:
            raise WouldReplaceError(f"{folder} {CHANGED_MEANWHILE}")
        write_json(folder / "report.json", case.as_json())
        if len(case.slices) or not case.volume_mm3:  # without the table the page would lose it too
            with output_errors(folder / "report.html"):
                _write_page(case, folder)
    if is_new_state:
        refresh_summary(folder.parent / "summary.csv", case)
    return replace(case, report_sha256=_file_sha256(folder / "report.json"))


def versions(folder: Path) -> MaskVersions:
    """Every mask of a case that a person made or accepted, whoever replaced it since."""
    return MaskVersions(folder / VERSIONS)


def version_mask(case: Case, number: int) -> Volume:
    """A mask that the case's folder keeps, by the number of its version; 0: the one that corrections began from.

    Raises ConfigurationError where there is no such one, InputFileError for a damaged one."""
    assert case.folder is not None
    known = versions(case.folder).versions()
    if found := [version for version in known if version.number == number]:
        if len({version.fingerprint for version in found}) > 1:  # two people worked at once in copies of the folder
            files = " or ".join(quote(str(version.path)) for version in found)
            raise ConfigurationError(f"several versions have the number {number}: take one by correct CASE {files}")
        return found[0].read()
    mask = None
    if number == 0:
        mask = original_mask(case, case.folder)
    if mask is None:
        listed = ", ".join(map(str, sorted(version.number for version in known))) or "none"
        raise ConfigurationError(f"{case.folder} keeps no version {number} of its mask: found {listed}")
    return mask


def listed_versions(case: Case) -> list[str]:
    """A line for every mask that is kept, the newest first: its number, who made it, and how the case's own differs."""
    assert case.folder is not None
    lines = []
    for number, when, maker in [
        *((one.number, f"{one.when:%Y-%m-%d %H:%M}", one.maker()) for one in versions(case.folder).versions()),
        (0, "", ("", "the mask it began as")),
    ]:
        about = " ".join(filter(None, (when, maker[1], maker[0] and f"by {maker[0]}")))
        try:
            changes = mask_changes(case.mask, version_mask(case, number))
            differs = (
                f"{counted(len(changes.slices), 'slice')} changed, Dice {changes.dice:.4f}"
                if changes.slices
                else "the same"
            )
            lines.append(f"{number}: {about}: {differs}")
        except ConfigurationError:  # it has never been corrected
            continue
        except SpinalCordSegError as error:
            lines.append(f"{number}: {about}: {error}")
    return lines


# summary.csv: one row per case, kept over several runs into the same folder, and right while people correct cases.


def failed_row(case_name: str, reason: str) -> dict[str, Any]:
    """The row of a case without a result."""
    row: dict[str, Any] = dict.fromkeys(SUMMARY_COLUMNS)
    return row | {"case": case_name, "state": "failed", "reason": reason, "software_version": SOFTWARE_VERSION}


def refresh_summary(path: Path, case: Case) -> None:
    """The case's row in the batch's table, where it has one: it must not keep what was before a person's act."""
    if not path.is_file():
        return
    try:
        summary = Summary(path)
        if summary.has(case.name):
            summary.put(case.summary_row())
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
