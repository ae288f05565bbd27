"""One labelled case as it lies on disk, and what its file names say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from SpinalCordSegLib.images.volume_file import UNORIENTED_SUFFIXES, is_volume_file
from SpinalCordSegLib.writing import file_suffix

LABEL_ENDINGS = ("_seg-manual", "_seg", "_label-SC_seg", "_label-SC_mask")
_SUBJECT = re.compile(r"sub-([a-zA-Z0-9]+)")
_VISIT = r"((?=[a-z]*[0-9])[0-9a-z]+|(?<=-)[a-z]+)"  # "1", "02", "m12"; letters alone as BIDS has them: "ses-pre"
# What follows a session is cut off only behind a number, the patient's: of "MS_session1_001" it is yet to come.
_SESSION_ON = re.compile(rf"^(.*?[0-9](.*?[0-9a-z])?)[_-]ses(sion)?[_-]?{_VISIT}([_-].*)?$", re.IGNORECASE)
_SESSION_END = re.compile(rf"(?<=[0-9a-z])([_-]ses(sion)?[_-]?|ses(sion)?-?){_VISIT}$", re.IGNORECASE)
_SESSION = re.compile(r"ses(?:sion)?-?([0-9a-zA-Z]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Case:
    """``image``: a file or a DICOM folder. ``subject``: whose case; all cases of one stay on one side of a split.

    ``label_value``: the cord's, where it is told. ``label_names``: (value, name) of the labels. ``series``: which of
    several DICOM series. ``facts``: further columns, as ("site", "Oslo"), names in lower case.
    """

    name: str
    subject: str
    image: Path
    label: Path
    session: str = ""
    label_value: int | None = None
    label_names: tuple[tuple[int, str], ...] = ()
    series: str | None = None
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class MatchedFiles:
    """``problems``: files that cannot belong to a case, each with the reason. ``unlabelled``: images without map."""

    cases: tuple[Case, ...]
    problems: tuple[tuple[Path, str], ...]
    unlabelled: tuple[Path, ...] = ()


def subject_of(path: Path) -> str:
    """Whose image: BIDS "sub-X" of the name or a folder, else the file's stem up to a session that follows a number; a
    session at the end of either is cut off, too.

    "sub-9709Ses1_run-1_T2starw" and "sub-9709Ses2_…" are both 9709; "P07_ses-1_T1w" and "P07_ses-02" are both P07;
    "MS_session1_001" stays whole.
    """
    found = _SUBJECT.search(path.name) or _SUBJECT.search(str(path))
    name = found.group(1) if found else _SESSION_ON.sub(r"\1", stem(path))
    return _SESSION_END.sub("", name)


def session_of(path: Path) -> str:
    """Which visit: "ses-02" of the name or a folder gives "02", "" where nothing says so."""
    found = _SESSION.search(path.name) or _SESSION.search(str(path.parent))
    return found.group(1) if found else ""


def stem(path: Path) -> str:
    """The name without its suffix, ".nii.gz" counted as one."""
    return path.name[: len(path.name) - len(file_suffix(path))]


def label_stem(path: Path) -> str | None:
    """The name of the image that this file labels; None for an image."""
    name = stem(path)
    ending = next((one for one in sorted(LABEL_ENDINGS, key=len, reverse=True) if name.endswith(one)), None)
    if ending is None:
        return name if file_suffix(path) == ".seg.nrrd" else None
    return name[: -len(ending)]


def is_label_file(path: Path) -> bool:
    """True when the suffix is one that a label map may have."""
    return is_volume_file(path) or (file_suffix(path) in UNORIENTED_SUFFIXES and not path.name.startswith("."))
