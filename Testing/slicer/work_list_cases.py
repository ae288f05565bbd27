"""Measured cases in a folder of results, and what a user of the work list does with them."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import slicer.util
from cord_cases import erase, paint

from SpinalCordSegLib.cli import main
from SpinalCordSegLib.image_io import read_labels, write_volume
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom


@cache
def _made() -> Path:
    """A folder with the image and the measured case of a and b, made once."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    phantom = make_phantom(PhantomConfig(shape=(64, 64, 10)))
    for name in ("a", "b"):
        write_volume(phantom.image, folder / "images" / f"{name}.nii.gz")
        write_volume(phantom.mask, folder / f"{name}.nrrd")
        image = str(folder / "images" / f"{name}.nii.gz")
        given = ["measure", str(folder / f"{name}.nrrd"), "--image", image]
        assert main([*given, "--output", str(folder / "results")]) == 0
    return folder


def measured(results: Path, images: Path, *names: str) -> Path:
    """Copies of the cases a and b in a folder of results, and of their images."""
    images.mkdir(exist_ok=True)
    for name in names:
        shutil.copytree(_made() / "results" / name, results / name)
        shutil.copy(_made() / "images" / f"{name}.nii.gz", images)
    return results


def erase_slice(panel, number: int) -> np.ndarray:
    return paint(panel, erase(number))


def stored(case: Path) -> np.ndarray:
    return read_labels(next(case.glob("mask.*"))).ijk != 0


def visible() -> list[str]:
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [node.GetName() for node in nodes if node.GetDisplayNode().GetVisibility() and not node.GetHideFromEditors()]
