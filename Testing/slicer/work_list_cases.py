"""Measured cases in a folder of results, and what a user of the work list does with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer.util
from cord_cases import erase, paint

from SpinalCordSegLib.cli import main
from SpinalCordSegLib.image_io import read_labels, write_volume
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom


def measured(results: Path, images: Path, *names: str) -> Path:
    for name in names:
        phantom = make_phantom(PhantomConfig(shape=(64, 64, 10)))
        write_volume(phantom.image, images / f"{name}.nii.gz")
        mask = results.parent / "masks" / f"{name}.nrrd"
        write_volume(phantom.mask, mask)
        assert main(["measure", str(mask), "--output", str(results)]) == 0
    return results


def erase_slice(panel, number: int) -> np.ndarray:
    return paint(panel, erase(number))


def stored(case: Path) -> np.ndarray:
    return read_labels(next(case.glob("mask.*"))).ijk != 0


def visible() -> list[str]:
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [node.GetName() for node in nodes if node.GetDisplayNode().GetVisibility() and not node.GetHideFromEditors()]
