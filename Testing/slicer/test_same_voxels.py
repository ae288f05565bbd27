"""The mask through Slicer's nodes is the headless mask, voxel for voxel: nothing is flipped, shifted or resampled."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
from cord_cases import rotation
from label_statistics import label_statistics
from threshold_model import SPACING_MM, neck_image, write_threshold_model

from SpinalCordSegLib.checkpoint import load_checkpoint
from SpinalCordSegLib.files import read_image, write_volume
from SpinalCordSegLib.pipeline import CaseResult, segment_image
from SpinalCordSegLib.volume import Volume, to_canonical
from SpinalCordSegNodes.provenance import Provenance
from SpinalCordSegNodes.segmentations import add_segmentation, cord_segment_id, mask_of_segment
from SpinalCordSegNodes.volumes import volume_from_node


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return load_checkpoint(write_threshold_model(tmp_path_factory.mktemp("models") / "threshold.safetensors", size=32))


def _grid(degrees: float, left_handed: bool) -> np.ndarray:
    matrix = np.eye(4)
    spacing = np.array(SPACING_MM) * [-1 if left_handed else 1, 1, 1]
    matrix[:3, :3] = rotation((1, 0.3, 0.2), degrees) @ np.diag(spacing)
    matrix[:3, 3] = (20.0, -31.0, 12.5)
    return matrix


def _through_nodes(scene, node, checkpoint, folder: Path) -> tuple[Volume, CaseResult]:
    """As the panel does it: the node's voxels to a file, that file segmented, the mask into a segmentation node."""
    volume = volume_from_node(node)
    write_volume(volume, folder / "volume.nrrd")
    case = segment_image(read_image(folder / "volume.nrrd"), checkpoint)
    segmentation = add_segmentation(scene, volume.with_voxels(case.mask.voxels), node, Provenance())
    mask = mask_of_segment(segmentation, cord_segment_id(segmentation))
    count, slicer_mm3 = label_statistics(scene, segmentation, cord_segment_id(segmentation), node)
    assert count == mask.voxels.sum()
    assert slicer_mm3 == pytest.approx(case.measures.volume_mm3, rel=1e-6)
    assert slicer_mm3 == pytest.approx(mask.voxels.sum() * mask.voxel_volume_mm3, rel=1e-6)
    return mask, case


@pytest.mark.parametrize(
    ("name", "degrees", "left_handed", "storage"),
    [
        ("left-handed.nii.gz", 0.0, True, (0, 1, 2)),
        ("left-handed oblique.nii.gz", 14.0, True, (0, 1, 2)),
        ("sagittal oblique.nrrd", 17.0, False, (1, 2, 0)),
    ],
)
def test_files(scene, checkpoint, tmp_path, name, degrees, left_handed, storage):
    image = neck_image(_grid(degrees, left_handed), storage)
    write_volume(image, tmp_path / name)
    headless = segment_image(read_image(tmp_path / name), checkpoint)
    assert headless.mask.voxels.sum() > 24 * 20
    node = slicer.util.loadVolume(str(tmp_path / name))
    through_nodes, case = _through_nodes(scene, node, checkpoint, tmp_path)
    _same(through_nodes, headless.mask)
    assert case.measures.volume_mm3 == pytest.approx(headless.measures.volume_mm3, rel=1e-6)
    assert case.measures.mean_csa_mm2 == pytest.approx(headless.measures.mean_csa_mm2, rel=1e-4)


def test_dicom_series(scene, checkpoint, tmp_path, shared_data):
    """Its 32 lowest slices are enough here; that the whole series is the same volume is a test of volume nodes."""
    folder = tmp_path / "series"
    folder.mkdir()
    for number in range(1, 33):
        shutil.copy(shared_data / "dicom_t1w_head" / f"N2D_{number:04}.dcm", folder)
    headless = segment_image(read_image(folder), checkpoint)
    assert headless.mask.voxels.any()
    node = slicer.util.loadVolume(str(folder / "N2D_0001.dcm"))
    through_nodes, _ = _through_nodes(scene, node, checkpoint, tmp_path)
    _same(through_nodes, headless.mask)


def _same(ours: Volume, headless: Volume) -> None:
    a, b = to_canonical(ours), to_canonical(headless)
    assert np.array_equal(a.voxels, b.voxels)
    assert a.same_grid(b)
    assert ours.voxels.sum() * ours.voxel_volume_mm3 == pytest.approx(
        headless.voxels.sum() * headless.voxel_volume_mm3, rel=1e-6
    )
