"""One image, one answer: Python API, command line, batch, Slicer's nodes and the panel's job give the same voxels."""

import time
from pathlib import Path

import numpy as np
import pytest
import slicer.util
from cord_cases import rotation
from threshold_model import SPACING_MM, neck_image, write_threshold_model

from SpinalCordSegLib.case import Case
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.image_io import read_image, write_volume
from SpinalCordSegLib.model.checkpoint import load_checkpoint
from SpinalCordSegLib.pipeline import SegmentOptions, segment_image
from SpinalCordSegLib.volume import Volume
from SpinalCordSegNodes.segmentations import add_segmentation, cord_segment_id, mask_of_segment
from SpinalCordSegNodes.volumes import volume_from_node


@pytest.fixture(scope="module")
def model(tmp_path_factory, qt_application) -> Path:
    return write_threshold_model(tmp_path_factory.mktemp("models") / "threshold.safetensors", size=32)


@pytest.fixture(scope="module")
def headless(model):
    """Segments an image by the Python API."""
    checkpoint = load_checkpoint(model)
    return lambda path: segment_image(read_image(path), checkpoint, SegmentOptions(device="cpu"))


def _by_panel(node, model: Path) -> Case:
    from SpinalCordSegWidgets.jobs import segment_job

    job = segment_job(node, model, "cpu")
    while job.running:
        job.poll()
        time.sleep(0.02)
    job.close()
    assert job.failure is None, job.failure
    return job.result


def _same(ours: Volume, wanted: Volume) -> None:
    a, b = ours.reoriented("RAS"), wanted.reoriented("RAS")
    assert np.array_equal(a.ijk, b.ijk) and np.allclose(a.voxel_to_ras, b.voxel_to_ras, atol=1e-4)


def _through_nodes(scene, node, case: Case) -> Volume:
    """The mask as the segmentation node has it; its volume in the report is Slicer's own count."""
    voxels = volume_from_node(node).with_ijk(case.mask.ijk)
    segmentation = add_segmentation(scene, voxels, node)
    mask = mask_of_segment(segmentation, cord_segment_id(segmentation))
    count = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, cord_segment_id(segmentation), node).sum()
    assert count == mask.ijk.sum()
    volume_mm3 = float(count * np.prod(node.GetSpacing()))
    assert volume_mm3 == pytest.approx(case.volume_mm3, rel=1e-6, abs=0.0051)  # the report has two decimals
    return mask


@pytest.mark.parametrize(
    ("name", "degrees", "left_handed", "storage"),
    [
        ("left-handed.nii.gz", 0.0, True, (0, 1, 2)),
        ("left-handed oblique.nii.gz", 14.0, True, (0, 1, 2)),
        ("sagittal oblique.nrrd", 17.0, False, (1, 2, 0)),
    ],
)
def test_nodes_of_a_file(scene, headless, tmp_path, name, degrees, left_handed, storage):
    matrix = np.eye(4)
    spacing = np.array(SPACING_MM) * [-1 if left_handed else 1, 1, 1]
    matrix[:3, :3] = rotation((1, 0.3, 0.2), degrees) @ np.diag(spacing)
    matrix[:3, 3] = (20.0, -31.0, 12.5)
    write_volume(neck_image(matrix, storage), tmp_path / name)
    wanted = headless(tmp_path / name)
    assert wanted.mask.ijk.sum() > 24 * 20
    node = slicer.util.loadVolume(str(tmp_path / name))
    write_volume(volume_from_node(node), tmp_path / "node.nrrd")
    _same(_through_nodes(scene, node, headless(tmp_path / "node.nrrd")), wanted.mask)


def test_all_ways_give_the_same_voxels_and_numbers(scene, headless, model, tmp_path, shared_data):
    path = shared_data / "t1w_masked" / "sct-testing_T1w.nii.gz"
    options = ["--model", str(model), "--device", "cpu"]
    assert main(["segment", str(path), "--output", str(tmp_path / "results"), *options]) == 0
    wanted, node = headless(path), slicer.util.loadVolume(str(path))
    written = Case.load(tmp_path / "results" / read_image(path).case_name)
    for case in (written, _by_panel(node, model)):
        _same(case.mask, wanted.mask)
        numbers, expected = case.as_json(), wanted.as_json()
        for key in ("volume_mm3", "length_mm", "mean_csa_mm2", "n_slices"):
            assert numbers[key] == pytest.approx(expected[key], rel=1e-6), key
        assert case.slices.csa_mm2 == pytest.approx(wanted.slices.csa_mm2, rel=1e-4, nan_ok=True)
