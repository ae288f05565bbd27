"""Four ways to one answer: Python API, command line, batch, and the panel's child process through Slicer's nodes.

On one public volume; with SPINALCORDSEG_FULL=1 on all of them, with the model that ships (some minutes).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import slicer.util
from threshold_model import write_threshold_model

from SpinalCordSegLib.cli import main
from SpinalCordSegLib.image_io import read_image
from SpinalCordSegLib.model.checkpoint import default_model, load_checkpoint
from SpinalCordSegLib.pipeline import SegmentOptions, segment_image
from SpinalCordSegLib.report import report
from SpinalCordSegLib.volume import to_canonical
from SpinalCordSegNodes.case_data import CaseFolder, read_case_folder
from SpinalCordSegNodes.volumes import volume_from_node

_FULL = os.environ.get("SPINALCORDSEG_FULL") == "1"
_FOLDERS = ("t2star_masked", "t1w_masked", "mt_masked", "t1w_scanners", "t2_masked")
_NUMBERS = ("volume_mm3", "length_mm", "mean_csa_mm2", "n_slices")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, qt_application: object) -> Path:
    if _FULL:
        return default_model()
    return write_threshold_model(tmp_path_factory.mktemp("models") / "threshold.safetensors", size=32)


@pytest.fixture(scope="module")
def inputs(shared_data: Path) -> list[Path]:
    files = [path for name in _FOLDERS for path in sorted((shared_data / name).glob("*.nii.gz"))]
    images = [path for path in files if "_seg" not in path.name]
    return images if _FULL else images[:1]


@pytest.fixture(scope="module")
def batch(inputs: list[Path], model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of all inputs, by one call of the command line."""
    folder = tmp_path_factory.mktemp("batch")
    assert main(["segment", *map(str, inputs), "--output", str(folder), *_options(model)]) == 0
    assert len(list(folder.glob("*/report.json"))) == len(inputs)
    return folder


def _options(model: Path) -> list[str]:
    return ["--model", str(model), "--device", "cpu", "--save-probability"]


def test_all_ways_give_the_same_voxels_and_numbers(
    scene: object, inputs: list[Path], batch: Path, model: Path, tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(model)
    for number, path in enumerate(inputs):
        image = read_image(path)
        case = segment_image(image, checkpoint, SegmentOptions(device="cpu"))
        told = report(case)
        alone = tmp_path / f"alone-{number}"
        assert main(["segment", str(path), "--output", str(alone), *_options(model)]) == 0
        found = {
            "batch": read_case_folder(batch / image.case_name),
            "command line": read_case_folder(alone / image.case_name),
            "panel": _by_panel(path, model, tmp_path / f"panel-{number}"),
        }
        for way, result in found.items():
            ours, wanted_mask = to_canonical(result.mask), to_canonical(case.mask)
            assert ours.same_grid(wanted_mask) and np.array_equal(ours.voxels, wanted_mask.voxels), (way, path.name)
            for name in _NUMBERS:
                assert result.report[name] == pytest.approx(told[name], rel=1e-6), (way, path.name, name)
            areas = [row["csa_mm2"] for row in result.slices]
            wanted = [item.csa_mm2 for item in case.measures.slices]
            assert areas == pytest.approx(wanted, rel=1e-4, nan_ok=True), (way, path.name)


def _by_panel(path: Path, model: Path, folder: Path) -> CaseFolder:
    """As the panel has it done: the node's volume to the child process, its result read back."""
    from SpinalCordSegWidgets.jobs import segment_job

    folder.mkdir()
    node = slicer.util.loadVolume(str(path))
    run = segment_job(volume_from_node(node), folder, model=model, device="cpu")
    while run.running:
        run.poll()
        time.sleep(0.02)
    run.close()
    assert run.failure is None, run.failure
    assert run.result is not None
    return run.result
