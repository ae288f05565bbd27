"""Cases on disk, and both their files read onto one grid.

Data is a folder (``NAME`` beside ``NAME_seg``, ``NAME_seg-manual`` or ``NAME.seg.nrrd``; BIDS with the label maps in
``derivatives/labels``; DICOM folders; ITK-SNAP workspaces), a manifest (CSV), or one workspace.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SpinalCordSegLib.errors import SpinalCordSegError, TrainingDataError
from SpinalCordSegLib.images.dicom import DicomSeries
from SpinalCordSegLib.images.files import read_image, select_label
from SpinalCordSegLib.images.volume import Volume
from SpinalCordSegTrainerLib.datasets import manifest, workspace
from SpinalCordSegTrainerLib.datasets.case import LABEL_ENDINGS, Case, MatchedFiles, subject_of
from SpinalCordSegTrainerLib.datasets.folder_cases import match_folder, scanner_words
from SpinalCordSegTrainerLib.datasets.label_map import Match, place_mask, read_label_map
from SpinalCordSegTrainerLib.datasets.label_names import cord_value

__all__ = [
    "LABEL_ENDINGS",
    "Case",
    "LoadedCase",
    "MatchedFiles",
    "chosen_label",
    "find_cases",
    "grid_words",
    "load_case",
    "match_files",
    "subject_of",
]
_log = logging.getLogger(__name__)
_MOST_COVERED = 0.5  # of the image; a cord is a few per cent even of a tight crop


@dataclass(frozen=True, eq=False)
class LoadedCase:
    """``image``: float32 voxels. ``mask``: bool voxels on the same grid; it may be empty.

    ``match``: how the label map came onto the grid; ``notes``: what was done to it, mostly nothing. ``facts``: the
    case's, and the scanner where the image's own header says it.
    """

    case: Case
    image: Volume
    mask: Volume
    match: Match = "same"
    notes: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()


def find_cases(data: Path) -> list[Case]:
    """All images that have a label map, by name; images without one are told in the log and left out.

    Raises TrainingDataError when the data is missing, holds no pair, a label map has no image, two label maps belong
    to one image, a row of a manifest or a workspace cannot be used; all such problems are in the text.
    """
    matched = match_files(data)
    for path in matched.unlabelled:
        _log.info("%s has no label map and is left out", path)
    if matched.problems:
        raise TrainingDataError("; ".join(f"{path}: {reason}" for path, reason in matched.problems))
    if not matched.cases:
        raise TrainingDataError(
            f"{data}: no image with a label map; expected NAME.nii.gz beside NAME_seg.nii.gz (or NAME_seg-manual),"
            " BIDS with derivatives/labels, an ITK-SNAP workspace, or a manifest (CSV) with image,label"
        )
    return list(matched.cases)


def match_files(data: Path) -> MatchedFiles:
    """Images and label maps, by name, with whatever does not fit together told instead of refused.

    A folder with a ``manifest.csv`` is what that table says. Raises TrainingDataError when ``data`` is missing or of
    another kind.
    """
    data = Path(data)
    if data.is_file() and data.suffix.lower() in manifest.SUFFIXES:
        return manifest.read_manifest(data)
    if data.is_file() and data.suffix.lower() == workspace.SUFFIX:
        return MatchedFiles((workspace.read_workspace(data),), ())
    if not data.is_dir():
        raise TrainingDataError(
            f"{data}: is not a folder; give the folder that holds images and label maps, a manifest (.csv) or an"
            " ITK-SNAP workspace (.itksnap)"
        )
    table = data / "manifest.csv"
    return manifest.read_manifest(table) if table.is_file() else match_folder(data)


def load_case(case: Case, label: int | None = None, *, tolerant: bool = False) -> LoadedCase:
    """Read one case; ``label`` is the value of the cord, None takes the one that the case tells or the only one there
    is. ``tolerant`` resamples a label map that lies on another grid.

    Raises TrainingDataError naming the file: unreadable, NaN, several labels, another grid than the image's, an image
    without contrast, a label that covers most of it.
    """
    try:
        read = read_image(case.image, case.series)
        label_map = read_label_map(case.label)
        chosen = chosen_label(case, label)
        mask = select_label(label_map.labels, chosen, case.label.name)
        placed = place_mask(mask, label_map.oriented, read.volume, case.label.name, tolerant=tolerant)
        _check_content(read.volume, placed.mask, case)
    except SpinalCordSegError as error:
        raise TrainingDataError(f"case {case.name}: {error}") from error
    notes = [f"{case.label.name}: {placed.note}"] if placed.note else []
    if label is None and case.label_value is None and chosen is not None:
        notes.append(f"label {chosen} taken as the cord by its name, {dict(case.label_names)[chosen]}")
    return LoadedCase(case, read.volume, placed.mask, placed.match, tuple(notes), _facts(case, read.dicom))


def chosen_label(case: Case, label: int | None) -> int | None:
    """The cord's value: as asked for, as the case says, or by its name; None when nothing tells."""
    if label is not None:
        return label
    return case.label_value if case.label_value is not None else cord_value(case.label_names)


def _check_content(image: Volume, mask: Volume, case: Case) -> None:
    if image.voxels.min() == image.voxels.max():
        raise TrainingDataError(f"{case.image.name} holds the same value everywhere; export it again")
    covered = float(np.count_nonzero(mask.voxels)) / mask.voxels.size
    if covered > _MOST_COVERED:
        raise TrainingDataError(
            f"{case.label.name} calls {100 * covered:.0f} % of the image cord; cord and background may be swapped:"
            " name the cord's value with --label N"
        )


def _facts(case: Case, dicom: DicomSeries | None) -> tuple[tuple[str, str], ...]:
    if dicom is None or "scanner" in dict(case.facts):
        return case.facts
    scanner = scanner_words(dicom.manufacturer, dicom.model, dicom.field_strength_t)
    return (*case.facts, ("scanner", scanner)) if scanner else case.facts


def grid_words(volume: Volume) -> str:
    """Shape, spacing and orientation, for a person."""
    shape = "×".join(map(str, volume.shape))
    return f"{shape} of {'×'.join(f'{mm:.3g}' for mm in volume.spacing_mm)} mm, {volume.orientation}"
