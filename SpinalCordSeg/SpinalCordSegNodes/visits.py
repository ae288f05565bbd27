"""The visits of a person: masks of the scene, or result folders."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer

from SpinalCordSegLib.errors import ConfigurationError, InputFileError
from SpinalCordSegNodes.results import is_measured, is_measured_on, result_of, write_result_folder
from SpinalCordSegNodes.segmentations import cropped_mask, image_node_of, known_cord_id, volume_node_of
from SpinalCordSegNodes.views import C2_C3, Discs, Point
from SpinalCordSegNodes.volumes import day_of, image_state, label_of, volume_from_node


@dataclass
class Visit:
    """A mask of the scene (``segmentation``) or a result folder. ``day``: YYYY-MM-DD, "" while nobody gave it."""

    day: str = ""
    segmentation: Any = None
    folder: Path | None = None

    @property
    def volume(self) -> Any:
        """The node of its image, or of what stands for it; None where that is not in the scene."""
        return None if self.segmentation is None else volume_node_of(self.segmentation)

    @property
    def has_image(self) -> bool:
        return image_node_of(self.segmentation) is not None

    @property
    def name(self) -> str:
        if self.segmentation is not None:
            return label_of(slicer.mrmlScene, self.volume or self.segmentation)
        return "" if self.folder is None else self.folder.name

    @property
    def disc(self) -> str:
        """The disc C2/C3 where it was marked in the scene, as the command line takes it; else ""."""
        place = Discs(self.volume or self.segmentation).marked.get(C2_C3)
        return "" if place is None else ",".join(f"{value:.3f}" for value in place)

    def write(self, folder: Path, number: int) -> None:
        """A mask of the scene as the result folder visitN, beside its image imageN.nrrd. Raises SpinalCordSegError."""
        from SpinalCordSegLib.image_io import write_volume  # SimpleITK: not when the panel opens

        result, segment_id = result_of(self.segmentation), known_cord_id(self.segmentation)
        if not segment_id:
            raise ConfigurationError(f"{self.name} has several segments: which is the cord? Keep one.")
        digest = cropped_mask(self.segmentation, segment_id).digest()
        if result is None or not is_measured(result, digest) or not is_measured_on(result, image_state(self.volume)):
            raise InputFileError(
                f"{self.name} was not measured as it is now: choose it in section Segment, and measure it"
            )
        write_result_folder(result, segment_id, folder / f"visit{number}")
        if self.has_image:
            write_volume(volume_from_node(self.volume), folder / f"image{number}.nrrd", compress=False)


def disc_of(segmentation: Any) -> Point | None:
    """The disc C2/C3 of a visit, as it was marked in the scene, else as its report has it; None where neither does."""
    marked = Discs(volume_node_of(segmentation) or segmentation).marked.get(C2_C3)
    result = result_of(segmentation)
    asked = None if result is None else result.case.levels_asked
    known = [] if asked is None else [mark.ras_mm for mark in asked.discs if mark.disc == C2_C3]
    return marked or next(iter(known), None)


def kept_day(folder: Path) -> str:
    """The day a report keeps (``segment --keep-date``); "" where it keeps none, or is no report."""
    try:
        content = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return day_of(str((content.get("input") or {}).get("acquisition_date") or ""))
