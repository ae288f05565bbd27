"""BIDS 1.9: the images of a folder, and finished cases as a derivative data set of masks and tables."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from SpinalCordSegLib.case import Case, is_as_measured
from SpinalCordSegLib.case_folder import SUMMARY_COLUMNS
from SpinalCordSegLib.errors import ConfigurationError, InputFileError, OutputError
from SpinalCordSegLib.files import file_stem, output_errors, read_table, remove_abandoned_parts, write_json, write_text
from SpinalCordSegLib.image_io import find_inputs, write_volume
from SpinalCordSegLib.review import REJECTED
from SpinalCordSegLib.slice_table import columns, rounded
from SpinalCordSegLib.version import SOFTWARE_VERSION
from SpinalCordSegLib.vertebral_levels import pam50_vertebrae
from SpinalCordSegLib.work_list import WorkList

_ENTITY = re.compile(r"[a-z]+-[A-Za-z0-9]+")


def bids_images(folder: Path, labels: Iterable[str] | None) -> list[Path]:
    """The anatomical images (anat) of these participants of a BIDS folder, None: of all.

    Raises InputFileError where a participant, or every image, is missing."""
    names = [f"sub-{label.removeprefix('sub-')}" for label in labels or ()]
    names = names or sorted(path.name for path in folder.glob("sub-*") if path.is_dir())
    missing = [name for name in names if not (folder / name).is_dir()]
    if missing or not names:
        raise InputFileError(f"{folder} is no BIDS folder with {', '.join(missing) or 'sub-…'}: check path and labels")
    anat = [place for name in names for place in sorted(folder.glob(f"{name}/**/anat"))]
    if not (found := [path for place in anat for path in find_inputs([place]) if path != place]):
        raise InputFileError(f"{folder} holds no image in the folders anat of {', '.join(names[:20])}")
    return found


def scan_date(image: Path) -> date | None:
    """The day of a scan by the table of scans, or of sessions, of its subject; None where they do not state it."""
    session = image.parent.parent
    for tables, column, name in (
        (session.glob("sub-*_scans.tsv"), "filename", f"{image.parent.name}/{image.name}"),
        (session.parent.glob("sub-*_sessions.tsv"), "session_id", session.name),
    ):
        for row in (row for table in tables for _, row in read_table(table) if row.get(column) == name):
            with suppress(ValueError):
                return date.fromisoformat(row.get("acq_time", "")[:10])
    return None


def write_bids(work: WorkList, folder: Path) -> tuple[int, list[str]]:
    """Put the cases of ``work`` into ``folder``; gives how many, and which were left out and why.

    Subject, session and further entities are those of a BIDS input, else the subject is called after the case; the
    suffix of the input stands in ``desc``, so that T1w and T2w of a session stay apart. The folder appears whole or not
    at all. Raises ConfigurationError where two cases would have one name, OutputError, also where the folder holds
    anything.
    """
    with output_errors(folder):
        if folder.exists() and any(folder.iterdir()):
            raise OutputError(f"{folder} is not empty: choose another folder, or move it away")
    chosen, left_out, origins = dict[str, Case](), list[str](), dict[str, str]()
    for item in work.items:
        case = item.content
        why = item.problem or ("rejected in review" if item.state == REJECTED else "")
        if case is None or why or not is_as_measured(case):
            left_out.append(f"{item.case}: {why or 'the mask was changed after it was measured'}")
            continue
        name = _entities(case)
        origin = case.input.source.partition("sub-")[0] if _is_bids(case) else case.name
        of_subject = origins.setdefault(name.partition("_")[0], origin)
        if name in chosen or of_subject != origin:
            both = chosen[name].name if name in chosen else f"a case of {of_subject or 'the same folder'}"
            raise ConfigurationError(f"{both} and {item.case} would both be {name}: export them apart")
        chosen[name] = case
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.part")
    raw = folder.absolute().parents[1]  # BIDS_DIR/derivatives/NAME
    is_within = any(_is_bids(case) and (raw / case.input.source).exists() for case in chosen.values())
    try:
        for name, case in chosen.items():
            _write_case(case, part, name, is_within)
        _write_about(chosen, part, {"DatasetLinks": {"raw": "../.."}} if is_within else {})
        with output_errors(folder):
            remove_abandoned_parts(folder.parent)
            if folder.exists():
                folder.rmdir()
            os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return len(chosen), left_out


def _write_about(chosen: Mapping[str, Case], folder: Path, links: dict[str, Any]) -> None:
    """The files of the whole data set."""
    about: dict[str, Any] = {"Name": "Spinal cord masks and areas", "BIDSVersion": "1.9.0", "DatasetType": "derivative"}
    made_by = {"GeneratedBy": [{"Name": "SpinalCordSeg", "Version": SOFTWARE_VERSION}]}
    write_json(folder / "dataset_description.json", about | made_by | links)
    meanings = {one.name: {"Description": one.meaning, "Units": one.unit} for one in columns()}
    meanings |= {name: {"Description": meaning} for name, meaning in PAM50_COLUMNS.items()}
    write_json(folder / "label-SC_morph.json", meanings)
    rows = ({"participant_id": name.partition("_")[0]} | case.summary_row() for name, case in chosen.items())
    write_text(folder / "summary.tsv", _tsv(["participant_id", *SUMMARY_COLUMNS], rows))
    write_json(folder / "summary.json", {name: {"Description": text} for name, text in SUMMARY_COLUMNS.items()})
    write_text(folder / ".bidsignore", "summary.*\n")


def _stem(case: Case) -> str:
    stem = file_stem(Path(PurePosixPath(case.input.source).name))
    return stem if stem.startswith("sub-") else case.name


def _is_bids(case: Case) -> bool:
    *found, suffix = _stem(case).split("_")
    return _stem(case).startswith("sub-") and all(map(_ENTITY.fullmatch, found)) and "-" not in suffix


def _entities(case: Case) -> str:
    """Of all its files but space and suffix: "sub-01_ses-02_label-SC_desc-T1w"."""
    *found, suffix = _stem(case).split("_")
    if not _is_bids(case):
        found, suffix = ["sub-" + re.sub(r"[^A-Za-z0-9]", "", case.name)], ""
    if found[0] == "sub-":
        raise ConfigurationError(f"{case.name} has no letter or digit for a BIDS label: measure it with --code CODE")
    return "_".join([*found, "label-SC", *([f"desc-{suffix}"] if suffix.isalnum() else [])])


def _write_case(case: Case, folder: Path, name: str, is_within: bool) -> None:
    assert case.folder is not None
    session = re.search(r"_(ses-[A-Za-z0-9]+)", name)
    place = folder / name.partition("_")[0] / (session[1] if session else "") / "anat"
    with output_errors(place):
        place.mkdir(parents=True, exist_ok=True)
    before, after = name.split("_label-")

    def path(space: str, end: str) -> Path:
        return place / f"{before}_space-{space}_label-{after}_{end}"

    with output_errors(place):
        if case.mask_file.endswith(".nii.gz"):
            shutil.copyfile(case.folder / case.mask_file, path("orig", "mask.nii.gz"))
        else:
            write_volume(case.mask, path("orig", "mask.nii.gz"))
    model = None if case.model is None else f"{case.model.name} {case.model.version}"
    about: dict[str, Any] = {"Type": "ROI", "Manual": case.mask_state != "AI", "MaskState": case.mask_state}
    about |= {"ReviewState": case.review.state, "Model": model, "MaskSHA256": case.mask_sha256}
    if _is_bids(case) and is_within:
        about["Sources"] = [f"bids:raw:{case.input.source}"]
    write_json(path("orig", "mask.json"), about)
    cells = case.slices.texts()
    rows = (dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True))
    write_text(path("orig", "morph.tsv"), _tsv(cells, rows))
    if rows_of_template := pam50_rows(case):
        write_text(path("PAM50", "morph.tsv"), _tsv(PAM50_COLUMNS, rows_of_template))


def _tsv(names: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> str:
    names = list(names)
    lines = [names, *([_cell(row.get(name)) for name in names] for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines)


def _cell(value: Any) -> str:
    text = " ".join(str("" if value is None else value).split())
    return text or "n/a"


# Measures slice by slice of the PAM50 template, as the Spinal Cord Toolbox has them.


_OF_PAM50 = {
    "MEAN(area)": "csa_sct_mm2", "MEAN(angle_AP)": "angle_ap_deg", "MEAN(angle_RL)": "angle_rl_deg",
    "MEAN(diameter_AP)": "ap_ellipse_mm", "MEAN(diameter_RL)": "rl_mm", "MEAN(eccentricity)": "eccentricity",
    "MEAN(orientation)": "orientation_deg", "MEAN(solidity)": "solidity", "csa_mm2": "csa_mm2",
}  # fmt: skip
PAM50_COLUMNS = {
    "Timestamp": "when the case was made, UTC",
    "SCT Version": "SpinalCordSeg and its version, which made this table in the Spinal Cord Toolbox's layout",
    "Filename": "the input below the folder that all inputs share, else the case's name",
    "Slice (I->S)": "slice of the PAM50 template, from inferior, from 0",
    "VertLevel": "vertebral level of the template there, 2 is C2",
    "DistancePMJ": "empty",
    **_OF_PAM50,
    "MEAN(area)": "csa_sct_mm2, linear between the slices around; empty beside an imputed one, as all below",
    "csa_mm2": "this program's own area, as in slices.csv",
}
"""Of pam50.csv: as ``sct_process_segmentation -normalize-PAM50 1 -perslice 1 -append 1`` has them."""


def pam50_rows(case: Case) -> list[dict[str, Any]]:
    """The case's measures at the whole slices of PAM50 that it covers, by PAM50_COLUMNS; [] where fewer than two discs
    are known. A value that would rest on an imputed slice or a gap is None."""
    rows = np.flatnonzero(np.isfinite(case.slices.pam50_slice))
    if len(rows) < 2:
        return []
    between = np.arange(rows[0], rows[-1] + 1)  # with gaps, which must not be bridged
    at = np.interp(between, rows, case.slices.pam50_slice[rows])
    slices = np.arange(np.ceil(at[0]), np.floor(at[-1]) + 1)
    measured = {}
    for name, column in _OF_PAM50.items():
        values = np.where(case.slices.is_imputed, np.nan, getattr(case.slices, column))[between]
        measured[name] = np.interp(slices, at, values).tolist()
    source = case.input.source
    about = {"Timestamp": case.created, "SCT Version": f"SpinalCordSeg {case.software_version}"}
    about["Filename"] = case.name if source in ("", "…") else source
    return [
        about
        | {"Slice (I->S)": int(slices[n]), "VertLevel": int(level)}
        | {name: rounded(values[n], 4) for name, values in measured.items()}
        for n, level in enumerate(pam50_vertebrae(slices))
    ]
