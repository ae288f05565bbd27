"""Cases on disk: which image belongs to which label map, whose it is, and both read onto one grid.

Two conventions: ``NAME`` beside ``NAME_seg``, ``NAME_seg-manual`` or ``NAME.seg.nrrd`` in one folder, and BIDS,
where the label map lies in ``derivatives/labels`` (or another folder there) under the same relative folder.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SpinalCordSegLib.errors import SpinalCordSegError, TrainingDataError
from SpinalCordSegLib.files import file_suffix, read_image, read_labels, select_label
from SpinalCordSegLib.volume import Volume
from SpinalCordSegLib.volume_file import is_volume_file

_log = logging.getLogger(__name__)
LABEL_ENDINGS = ("_seg-manual", "_seg", "_label-SC_seg", "_label-SC_mask")
_SUBJECT = re.compile(r"sub-([a-zA-Z0-9]+)")
_SESSION = re.compile(r"(?<=[A-Za-z0-9])[_-]?ses(sion)?-?[0-9a-z]+$", re.IGNORECASE)


@dataclass(frozen=True)
class Case:
    """``subject``: whose case; all cases of one subject stay on one side of a split."""

    name: str
    subject: str
    image: Path
    label: Path


@dataclass(frozen=True, eq=False)
class LoadedCase:
    """``image``: float32 voxels. ``mask``: bool voxels on the same grid; it may be empty."""

    case: Case
    image: Volume
    mask: Volume


@dataclass(frozen=True)
class MatchedFiles:
    """``problems``: files that cannot belong to a case, each with the reason. ``unlabelled``: images without map."""

    cases: tuple[Case, ...]
    problems: tuple[tuple[Path, str], ...]
    unlabelled: tuple[Path, ...]


def find_cases(folder: Path) -> list[Case]:
    """All images that have a label map, by name; images without one are told in the log and left out.

    Raises TrainingDataError when the folder is missing, holds no pair, a label map has no image, or two label
    maps belong to one image.
    """
    matched = match_files(folder)
    for path in matched.unlabelled:
        _log.info("%s has no label map and is left out", path)
    if matched.problems:
        raise TrainingDataError("{}: {}".format(*matched.problems[0]))
    if not matched.cases:
        raise TrainingDataError(
            f"{folder}: no image with a label map; expected NAME.nii.gz beside NAME_seg.nii.gz"
            " (or NAME_seg-manual), or BIDS with derivatives/labels"
        )
    return list(matched.cases)


def match_files(folder: Path) -> MatchedFiles:
    """Images and label maps of a folder, by name, with whatever does not fit together told instead of refused.

    Raises TrainingDataError when the folder is missing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise TrainingDataError(f"{folder}: is not a folder; give the folder that holds images and label maps")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and is_volume_file(path))
    images = {_place(path, folder): path for path in files if _label_stem(path) is None}
    found: dict[tuple[str, str], Path] = {}
    problems: list[tuple[Path, str]] = []
    for label in (path for path in files if _label_stem(path) is not None):
        place = (_place(label, folder)[0], _label_stem(label) or "")
        if place not in images:
            problems.append((label, f"no image {place[1]} belongs to this label map; add it or remove the map"))
        elif place in found:
            problems.append((label, f"{found[place].name} labels the same image; keep one of the two"))
        else:
            found[place] = label
    cases: dict[str, Case] = {}
    for place, label in sorted(found.items()):
        case = _case(images[place], label, folder)
        if case.name in cases:
            problems.append((images[place], f"two cases are called {case.name}; give them different names"))
        cases.setdefault(case.name, case)
    unlabelled = tuple(images[place] for place in sorted(set(images) - set(found)))
    return MatchedFiles(tuple(cases.values()), tuple(problems), unlabelled)


def _stem(path: Path) -> str:
    return path.name[: len(path.name) - len(file_suffix(path))]


def _label_stem(path: Path) -> str | None:
    """The name of the image this file labels; None for an image."""
    stem = _stem(path)
    ending = next((one for one in sorted(LABEL_ENDINGS, key=len, reverse=True) if stem.endswith(one)), None)
    if ending is None:
        return stem if file_suffix(path) == ".seg.nrrd" else None
    return stem[: -len(ending)]


def _place(path: Path, folder: Path) -> tuple[str, str]:
    """Relative folder, without derivatives/NAME in it, and the stem: the same for an image and its BIDS label."""
    parts = list(path.relative_to(folder).parent.parts)
    if "derivatives" in parts:
        at = parts.index("derivatives")
        del parts[at : at + 2]
    return "/".join(parts), _stem(path)


def _case(image: Path, label: Path, folder: Path) -> Case:
    return Case(_stem(image), subject_of(image.relative_to(folder)), image, label)


def subject_of(path: Path) -> str:
    """Whose image: BIDS "sub-X" of the name or a folder, else the file's stem; session endings are cut off.

    "sub-9709Ses1_run-1_T2starw" and "sub-9709Ses2_…" are both 9709; "patient3_ses-02" is patient3.
    """
    found = _SUBJECT.search(path.name) or _SUBJECT.search(str(path))
    name = found.group(1) if found else _stem(path)
    return _SESSION.sub("", name)


def load_case(case: Case, label: int | None = None) -> LoadedCase:
    """Read one case; ``label`` is the value of the cord, None takes the only one there is.

    Raises TrainingDataError naming the file: unreadable, NaN, several labels, or another grid than the image's.
    """
    try:
        image = read_image(case.image).volume
        mask = select_label(read_labels(case.label), label, case.label.name)
    except SpinalCordSegError as error:
        raise TrainingDataError(f"case {case.name}: {error}") from error
    if not image.same_grid(mask):
        raise TrainingDataError(
            f"case {case.name}: {case.label.name} lies on another grid than {case.image.name}"
            f" ({_difference(mask, image)});"
            " resample the label map to the image (nearest neighbour)"
        )
    return LoadedCase(case, image, mask)


def _difference(label: Volume, image: Volume) -> str:
    if grid_words(label) != grid_words(image):
        return f"{grid_words(label)} instead of {grid_words(image)}"
    apart_mm = np.linalg.norm(label.ijk_to_ras[:3, 3] - image.ijk_to_ras[:3, 3])
    return f"its first voxel lies {apart_mm:.1f} mm away" if apart_mm > 0.05 else "turned against it"


def grid_words(volume: Volume) -> str:
    """Shape, spacing and orientation, for a person."""
    shape = "×".join(map(str, volume.shape))
    return f"{shape} of {'×'.join(f'{mm:.3g}' for mm in volume.spacing_mm)} mm, {volume.orientation}"
