"""A case of a work list in the scene: its mask, measures and review, on its image where that is found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from SpinalCordSegLib.errors import GeometryError, SpinalCordSegError
from SpinalCordSegLib.images.volume import Volume
from SpinalCordSegNodes.case_folder import CaseFolder, read_case_folder
from SpinalCordSegNodes.image_folder import ImageFolder
from SpinalCordSegNodes.results import Result, add_result
from SpinalCordSegNodes.volumes import node_from_volume


@dataclass(frozen=True, eq=False)
class OpenedCase:
    """``image``: the file that the volume came from, None where only the mask is there; then ``problem`` says why."""

    result: Result
    image: Path | None
    problem: str = ""


def open_case(scene: Any, folder: Path, case: str, images: ImageFolder | None) -> OpenedCase:
    """Read a finished case into the scene. ``images``: where its image is looked for.

    Raises InputFileError when the case cannot be read.
    """
    found = read_case_folder(folder)
    image, volume, problem = _image_of(found, case, images)
    if volume is None:  # something to scroll through: the mask's own voxels
        volume = found.mask.with_voxels(np.asarray(found.mask.voxels).astype(np.uint8))
    node = node_from_volume(scene, volume, case if image is not None else f"{case} (mask only)")
    return OpenedCase(add_result(scene, found, node, _ai_mask(folder)), image, problem)


def _image_of(found: CaseFolder, case: str, images: ImageFolder | None) -> tuple[Path | None, Volume | None, str]:
    if images is None:
        return None, None, "no folder of images was chosen: only the mask is shown"
    source = found.report.get("input") or {}  # of a given mask the first is of its image, the other its own
    try:
        image = images.find(case, str(source.get("image_fingerprint") or source.get("fingerprint") or ""))
        if image is None:
            return None, None, "the folder of images holds none of this case's name: only the mask is shown"
        if not image.volume.same_grid(found.mask):
            raise GeometryError("its image lies on another grid than its mask")
    except SpinalCordSegError as error:
        return None, None, f"{error}: only the mask is shown"
    return image.path, image.volume, ""


def _ai_mask(folder: Path) -> Volume | None:
    """What the AI had drawn, where a person corrected the case."""
    from SpinalCordSegLib.correction.review_store import AI_MASK, read_mask

    return read_mask(folder, AI_MASK)
