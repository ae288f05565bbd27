"""A measured cord as one typed object, read from its folder and written into it.

report.json holds the fields of Case, slices.csv its SliceTable; beside them lie the mask, the montage and the page. A
folder appears whole or not at all. Every decision about replacing a mask rests on its fingerprint, not on a state that
somebody wrote: what a person drew, corrected or accepted is never replaced by the machine. No patient data.
"""

# ruff: noqa: RUF009  (what these defaults call makes fields of a dataclass)

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from SpinalCordSegLib.case_folder import (
    AI_MASK,
    BACKDROP,
    GIVEN_MASK,
    SCHEMA,
    SUMMARY_COLUMNS,
    UNREADABLE_MASK,
    VERSIONS,
    altered_files,
    case_mask,
    file_sha256,
    fingerprints,
    own_mask_sha256,
    put_in_place,
    raw_report,
    read_mask,
    refresh_summary,
    refuse_strangers,
    restore_interrupted,
    versions,
    write_backdrop,
)
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
    is_plain_name,
    locked,
    output_errors,
    parse_json,
    remove_abandoned_parts,
    to_json,
    write_json,
    write_text,
)
from SpinalCordSegLib.identity import Identity, scanner_text, stated_scanner
from SpinalCordSegLib.image_io import Image, is_volume_file, read_labels, write_volume
from SpinalCordSegLib.metrics import MaskChanges, mask_changes
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
from SpinalCordSegLib.slice_table import SliceTable, counted
from SpinalCordSegLib.version import SOFTWARE_VERSION
from SpinalCordSegLib.vertebral_levels import BELOW_UPPER_END, LevelOptions, LevelReport
from SpinalCordSegLib.volume import Volume, mask_sha256, place_on

SCHEMA_VERSION = 2
MASK_FORMATS = ("nii.gz", "seg.nrrd", "nrrd")

# Of the DICOM header, what tells how the image was made; nothing that tells of whom.
_ACQUISITION = (
    "number", "modality", "manufacturer", "model", "field_strength_t", "sequence", "dimension",
    "repetition_time_ms", "echo_time_ms", "inversion_time_ms", "flip_angle_deg", "slice_thickness_mm", "contrast_agent",
)  # fmt: skip
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
    time. ``contrast``: of the image by its grey values, "T1w-like", "T2w-like", "T2*w-like" or "other"; "" without one.
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
            found.append(f"{folder}: {UNREADABLE_MASK if own_mask_sha256(folder) == '' else _ANOTHER_MASK}")
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
        return () if self.folder is None else altered_files(self.folder, self.sha256)

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
        return scanner_text(self.input.acquisition)

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

    def with_marked_discs(self, asked: LevelOptions) -> LevelOptions:
        """What is ``asked``, with the discs that a person marked in this case where no others are given."""
        had = self.levels_asked
        if had is None or asked.discs or not asked.find:
            return asked
        is_marked = any(mark.by_person or not had.automatic for mark in had.discs)
        return replace(asked, discs=had.discs, automatic=had.automatic) if is_marked else asked

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
    def load(cls, folder: str | Path, *, needs_slices: bool = True) -> Case:
        """Read a finished case. One that a killed program took away and did not replace is put back first.

        ``needs_slices`` False: a slices.csv that cannot be read gives an empty table. What can be made anew from the
        mask may be gone (see ``remarks``). Raises InputFileError where there is no finished case, or a damaged one.
        """
        if not (folder := Path(folder)).exists():
            restore_interrupted(folder.parent)
        try:
            data = (folder / "report.json").read_bytes()
            case = replace(cls.from_json(parse_json(data)), folder=folder)
        except (OSError, ValueError) as error:
            beside = [path.parent.name for path in folder.parent.glob("*/report.json")]
            meant = get_close_matches(folder.name, beside, 1)
            hint = f"did you mean {folder.parent / meant[0]}? Give" if meant else "give"
            raise InputFileError(
                f"{folder} holds no finished result: {hint} the folder of one case, with report.json in it"
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


_ANOTHER_MASK = (
    "the mask was changed after it was measured, so the figures do not belong to it: take it in by spinalcordseg"
    " correct CASE_FOLDER MASK, or measure it into another folder"
)
_ALTERED = "was changed after it was written, so it is not what the figures rest on"
CHANGED_MEANWHILE = "was changed by somebody else meanwhile, and nothing was replaced: look at it and do it again"


def with_measures(case: Case, measures: CordMeasures) -> Case:
    """The case with these measures in the place of its own, their flags on its slices."""
    found = {one.name: getattr(measures, one.name) for one in fields(CordMeasures)}
    return replace(case, **found | {"slices": measures.slices.with_flags(measures.flags)})


# A case on the disk.


def original_mask(case: Case, folder: Path) -> Volume | None:
    """The mask that corrections begin from; None where it is gone or was changed since."""
    name = GIVEN_MASK if case.mask_state == "given" else AI_MASK
    return None if any(one.startswith(name) for one in case.altered) else read_mask(folder, name)


def save_case(
    case: Case,
    folder: str | Path,
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
    folder = Path(os.path.realpath(folder) if os.path.islink(folder) else folder)
    if len(os.fsencode(folder.name)) > _LONGEST_BYTES:
        raise OutputError(f"cannot write {folder}: the name is too long; choose a shorter one")
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.part")
    with output_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with output_errors(folder), locked(folder):
        restore_interrupted(folder.parent, folder.name)
        remove_abandoned_parts(folder.parent)
        there = fingerprints(folder)
        if replaces is None:
            case = _with_past(case, check_replaceable(folder))
            given = read_mask(folder) if (raw_report(folder) or {}).get("mask_state") == "given" else None
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
            refuse_strangers(folder, case.files)
            if fingerprints(folder) != there:  # the pictures took a while
                raise WouldReplaceError(f"{folder} {CHANGED_MEANWHILE}")
            put_in_place(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return replace(case, folder=folder, report_sha256=file_sha256(folder / "report.json"))


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
    content = raw_report(folder)
    if content is None:
        raise WouldReplaceError(
            f"{folder} holds files that are not a result of SpinalCordSeg and would be replaced;"
            " choose another output folder"
        )
    review = content.get("review")
    state = review.get("state") if isinstance(review, dict) else None
    if done := _persons_act(content.get("mask_state"), content.get("changes"), state):
        raise WouldReplaceError(
            f"{folder} holds a case that a person has {done}; it is never replaced by the machine: correct"
            " it (its mask, or with --disc a disc), choose another output folder, or move this one away first"
        )
    own = own_mask_sha256(folder)
    if own == "":
        raise WouldReplaceError(f"{folder}: {UNREADABLE_MASK}")
    if own not in (None, content.get("mask_sha256")):
        raise WouldReplaceError(f"{folder}: {_ANOTHER_MASK}")
    if own and versions(folder).holds(own):  # whatever the report says
        raise WouldReplaceError(
            f"{folder} holds a mask that a person made or accepted (it is in {VERSIONS}); it is never replaced by the"
            " machine: choose another output folder, or move this one away first"
        )
    sha256 = content.get("sha256")
    for name in altered_files(folder, sha256 if isinstance(sha256, dict) else {}):
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
    if case.sha256.get(case.mask_file, "") == file_sha256(case.folder / case.mask_file) != "":
        return True
    grid = Volume.from_ijk(np.zeros(case.input.shape, bool), np.array(case.input.ijk_to_ras))
    try:  # as voxels alone do not tell where they lie
        return own_mask_sha256(case.folder) == case.mask_sha256 and place_on(case_mask(case.folder), grid) is not None
    except SpinalCordSegError:
        return False


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
            write_backdrop(folder / BACKDROP, case.image.volume, case.mask)
        picture = montage_png(case)
        if picture is not None:
            (folder / "montage.png").write_bytes(picture)
        _write_page(case, folder)
    names = tuple(sorted([*(path.name for path in folder.iterdir()), "report.json"]))
    sha256 = {name: file_sha256(folder / name) for name in names if name.startswith("mask") or name == "slices.csv"}
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
        if file_sha256(folder / "report.json") != case.report_sha256:
            raise WouldReplaceError(f"{folder} {CHANGED_MEANWHILE}")
        write_json(folder / "report.json", case.as_json())
        if len(case.slices) or not case.volume_mm3:  # without the table the page would lose it too
            with output_errors(folder / "report.html"):
                _write_page(case, folder)
    if is_new_state:
        refresh_summary(folder.parent / "summary.csv", case.summary_row())
    return replace(case, report_sha256=file_sha256(folder / "report.json"))


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
                else "the mask in use"
            )
            lines.append(f"{number}: {about}: {differs}")
        except ConfigurationError:  # it has never been corrected
            continue
        except SpinalCordSegError as error:
            lines.append(f"{number}: {about}: {error}")
    return lines
