"""The visits that were chosen for a follow-up, and the command line that compares them. No Qt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from SpinalCordSegLib.errors import ConfigurationError, InputFileError
from SpinalCordSegNodes.discs import marked_discs
from SpinalCordSegNodes.result_folder import write_result_folder
from SpinalCordSegNodes.results import result_of
from SpinalCordSegNodes.segmentations import known_cord_id, volume_node_of
from SpinalCordSegNodes.volumes import volume_from_node
from SpinalCordSegWidgets.task_run import RESULTS

_C2_C3 = 3


@dataclass
class Visit:
    """A mask of the scene (``segmentation``) or a result folder. ``day``: YYYY-MM-DD, "" while nobody gave it.

    ``image``: a file to lay the visit over the others by, where no disc is marked; a mask of the scene has its own.
    """

    day: str = ""
    segmentation: Any = None
    folder: Path | None = None
    image: Path | None = None

    @property
    def name(self) -> str:
        if self.segmentation is not None:
            return str((volume_node_of(self.segmentation) or self.segmentation).GetName())
        return "" if self.folder is None else self.folder.name

    @property
    def disc(self) -> tuple[float, float, float] | None:
        """The disc C2/C3 where it was marked in the scene."""
        if self.segmentation is None:
            return None
        return marked_discs(volume_node_of(self.segmentation) or self.segmentation).get(_C2_C3)


@dataclass(frozen=True)
class FollowUpRequest:
    """What is asked of ``track``."""

    visits: tuple[Visit, ...]
    person: str
    age_years: int = 0
    keep_dates: bool = False

    def why_not(self) -> str:
        """The reason why it cannot be compared; "" when it can be tried."""
        if len(self.visits) < 2:
            return _("Add at least two visits.")
        without = [visit.name for visit in self.visits if not visit.day]
        return _("Give the day of: {names}.").format(names=", ".join(without)) if without else ""

    def arguments(self) -> list[str]:
        """The command line; names relative to the folder that ``prepare`` fills."""
        told: list[str] = ["track"]
        told += [str(visit.folder or f"visit{n}") for n, visit in enumerate(self.visits, 1)]
        told += [f"--date={visit.day}" for visit in self.visits]
        told += [f"--disc={_numbers(visit.disc)}" for visit in self.visits]
        images = [self._image(n, visit) for n, visit in enumerate(self.visits, 1)]
        if all(images):
            told += [f"--image={image}" for image in images]
        told += ["--person", self.person, "--output", RESULTS, "--drawings"]
        told += ["--age", str(self.age_years)] if self.age_years else []
        return told + (["--keep-dates"] if self.keep_dates else [])

    def prepare(self, folder: Path) -> None:
        """Write the visits that are in the scene. Raises InputFileError, GeometryError, OutputError."""
        from SpinalCordSegLib.images.files import write_volume  # SimpleITK: only now

        for number, visit in enumerate(self.visits, 1):
            if visit.segmentation is None:
                continue
            result = result_of(visit.segmentation)
            if result is None:
                raise InputFileError(_("{name} was not measured: measure it first").format(name=visit.name))
            write_result_folder(result, _cord_of(visit), folder / f"visit{number}")
            if volume_node_of(visit.segmentation) is not None:
                volume = volume_from_node(volume_node_of(visit.segmentation))
                write_volume(volume, folder / _image_name(number))

    def _image(self, number: int, visit: Visit) -> str:
        if visit.image is not None:
            return str(visit.image)
        there = visit.segmentation is not None and volume_node_of(visit.segmentation) is not None
        return _image_name(number) if there else ""


def _image_name(number: int) -> str:
    return f"image{number}.nrrd"


def _numbers(place: Sequence[float] | None) -> str:
    return "" if place is None else ",".join(f"{value:.3f}" for value in place)


def _cord_of(visit: Visit) -> str:
    """The segment's id. Raises ConfigurationError."""
    segment_id = known_cord_id(visit.segmentation)
    if not segment_id:
        raise ConfigurationError(_("{name} has several segments: which is the cord? Keep one.").format(name=visit.name))
    return segment_id
