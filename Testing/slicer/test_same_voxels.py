"""The mask through Slicer's nodes is the headless mask, voxel for voxel: nothing is flipped, shifted or resampled."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
from cord_cases import rotation
from label_statistics import label_statistics
from threshold_model import SPACING_MM, neck_image, write_threshold_model

from SpinalCordSegLib.image_io import read_image, write_volume
from SpinalCordSegLib.model.checkpoint import default_model, load_checkpoint
from SpinalCordSegLib.pipeline import segment_image
from SpinalCordSegLib.volume import Volume, to_canonical
from SpinalCordSegNodes.segmentations import Provenance, add_segmentation, cord_segment_id, mask_of_segment
from SpinalCordSegNodes.volumes import volume_from_node

# SPINALCORDSEG_FULL=1: with the model that ships, on the whole DICOM series; some minutes.
_FULL = os.environ.get("SPINALCORDSEG_FULL") == "1"


@pytest.fixture(scope="module")
def model(tmp_path_factory, qt_application) -> Path:
    if _FULL:
        return default_model()
    return write_threshold_model(tmp_path_factory.mktemp("models") / "threshold.safetensors", size=32)


@pytest.fixture(scope="module")
def checkpoint(model):
    return load_checkpoint(model)


def _grid(degrees: float, left_handed: bool) -> np.ndarray:
    matrix = np.eye(4)
    spacing = np.array(SPACING_MM) * [-1 if left_handed else 1, 1, 1]
    matrix[:3, :3] = rotation((1, 0.3, 0.2), degrees) @ np.diag(spacing)
    matrix[:3, 3] = (20.0, -31.0, 12.5)
    return matrix


def _in_this_process(volume: Volume, model: Path, folder: Path) -> tuple[Volume, float]:
    """The node's voxels to a file, that file segmented: mask and mm³."""
    write_volume(volume, folder / "volume.nrrd")
    case = segment_image(read_image(folder / "volume.nrrd"), load_checkpoint(model))
    return case.mask, case.measures.volume_mm3


def _in_a_child(volume: Volume, model: Path, folder: Path) -> tuple[Volume, float]:
    """The same as the panel has it done."""
    from SpinalCordSegWidgets.jobs import segment_job

    run = segment_job(volume, folder / "temp", model=model, device="cpu")
    while run.running:
        run.poll()
        time.sleep(0.02)
    run.close()
    assert run.failure is None, run.failure
    return run.result.mask, run.result.number("volume_mm3")


def _through_nodes(scene, node, model: Path, folder: Path, way=_in_this_process) -> tuple[Volume, float]:
    """The mask as the segmentation node has it; its volume in the report is Slicer's own count."""
    volume = volume_from_node(node)
    found, volume_mm3 = way(volume, model, folder)
    segmentation = add_segmentation(scene, volume.with_voxels(found.voxels), node, Provenance())
    mask = mask_of_segment(segmentation, cord_segment_id(segmentation))
    count, slicer_mm3 = label_statistics(scene, segmentation, cord_segment_id(segmentation), node)
    assert count == mask.voxels.sum()
    assert slicer_mm3 == pytest.approx(volume_mm3, rel=1e-6, abs=0.0051)  # the report has two decimals
    assert slicer_mm3 == pytest.approx(mask.voxels.sum() * mask.voxel_volume_mm3, rel=1e-6)
    return mask, volume_mm3


@pytest.mark.parametrize(
    ("name", "degrees", "left_handed", "storage"),
    [
        ("left-handed.nii.gz", 0.0, True, (0, 1, 2)),
        ("left-handed oblique.nii.gz", 14.0, True, (0, 1, 2)),
        ("sagittal oblique.nrrd", 17.0, False, (1, 2, 0)),
    ],
)
def test_files(scene, checkpoint, model, tmp_path, name, degrees, left_handed, storage):
    image = neck_image(_grid(degrees, left_handed), storage)
    write_volume(image, tmp_path / name)
    headless = segment_image(read_image(tmp_path / name), checkpoint)
    assert _FULL or headless.mask.voxels.sum() > 24 * 20
    node = slicer.util.loadVolume(str(tmp_path / name))
    through_nodes, volume_mm3 = _through_nodes(scene, node, model, tmp_path)
    _same(through_nodes, headless.mask)
    assert volume_mm3 == pytest.approx(headless.measures.volume_mm3, rel=1e-6)


def test_dicom_series(scene, checkpoint, model, tmp_path, shared_data):
    """Its 32 lowest slices are enough here; that the whole series is the same volume is a test of volume nodes."""
    folder = tmp_path / "series"
    folder.mkdir()
    files = sorted((shared_data / "dicom_t1w_head").glob("N2D_*.dcm"))
    for path in files if _FULL else files[:32]:
        shutil.copy(path, folder)
    headless = segment_image(read_image(folder), checkpoint)
    assert headless.mask.voxels.any()
    node = slicer.util.loadVolume(str(folder / files[0].name))
    through_nodes, _ = _through_nodes(scene, node, model, tmp_path, _in_a_child)
    _same(through_nodes, headless.mask)


def _same(ours: Volume, headless: Volume) -> None:
    a, b = to_canonical(ours), to_canonical(headless)
    assert np.array_equal(a.voxels, b.voxels)
    assert a.same_grid(b)
    assert ours.voxels.sum() * ours.voxel_volume_mm3 == pytest.approx(
        headless.voxels.sum() * headless.voxel_volume_mm3, rel=1e-6
    )
