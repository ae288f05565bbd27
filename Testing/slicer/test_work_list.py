"""The work list in the panel: which image and masks are shown, which image a case finds, what is stored where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
from slicer_standins.desktop import wait_until

from SpinalCordSegLib.cli import main
from SpinalCordSegLib.images.files import read_labels, write_volume
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegNodes.segmentations import cord_segment_id, mask_of_segment

_RUN_S = 300
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def results(tmp_path, monkeypatch) -> Path:
    """Two measured cases, a and b, and their images beside them in "images"."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return _measured(tmp_path / "results", tmp_path / "images", "a", "b")


def _measured(results: Path, images: Path, *names: str) -> Path:
    for name in names:
        phantom = make_phantom(PhantomConfig(shape=(64, 64, 10)))
        write_volume(phantom.image, images / f"{name}.nii.gz")
        mask = results.parent / "masks" / f"{name}.nrrd"
        write_volume(phantom.mask, mask)
        assert main(["measure", str(mask), "--output", str(results)]) == 0
    return results


def _erase_slice(panel, number: int) -> np.ndarray:
    """As a brush does, in the mask in hand; gives the mask as it is now."""
    node = panel.sections.desk.segmentation
    segment_id = cord_segment_id(node)
    voxels = mask_of_segment(node, segment_id).voxels.copy()
    assert voxels[:, :, number].any()
    voxels[:, :, number] = False
    array = np.ascontiguousarray(voxels.astype(np.uint8).transpose())
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, segment_id, panel.sections.desk.volume)
    wait_until(lambda: not panel.panel.measures._settle.isActive())
    return voxels


def _wait(panel) -> None:
    wait_until(lambda: not panel.panel.control.running, _RUN_S)
    assert panel.panel.control.failure is None, panel.panel.control.failure


def _stored(case: Path) -> np.ndarray:
    return read_labels(next(case.glob("mask.*"))).voxels != 0


def _visible() -> list[str]:
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [node.GetName() for node in nodes if node.GetDisplayNode().GetVisibility() and not node.GetHideFromEditors()]


def test_the_views_show_the_case_in_hand_and_no_other(panel, scene, results):
    scene.AddNewNodeByClass("vtkMRMLSliceNode", "Red").SetLayoutName("Red")
    view = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    view.SetLayoutName("Red")
    work = panel.sections.work_list
    assert work.choose(results, results.parent / "images")

    def behind() -> str:
        return scene.GetNodeByID(view.GetBackgroundVolumeID()).GetName()

    work.next()
    assert (work.case, behind(), _visible()) == ("a", "a", ["a spinal cord AI"])
    view.SetForegroundVolumeID(panel.sections.desk.volume.GetID())
    work.next()
    assert (work.case, behind(), _visible()) == ("b", "b", ["b spinal cord AI"])
    assert view.GetForegroundVolumeID() is None
    work.previous()
    assert (work.case, behind(), _visible()) == ("a", "a", ["a spinal cord AI"])


@pytest.mark.parametrize("again", ["the same folder", "another folder"])
def test_a_correction_reaches_its_folder_though_a_folder_is_chosen_meanwhile(panel, results, again):
    work, images = panel.sections.work_list, results.parent / "images"
    other = _measured(results.parent / "other", images, "a") if again == "another folder" else results
    work.choose(results, images)
    work.next()
    drawn = _erase_slice(panel, 4)
    assert work.choose(other)
    _wait(panel)
    assert not np.any(_stored(results / "a")[:, :, 4]) and np.array_equal(_stored(results / "a"), drawn)
    table = (results / "review.csv").read_text(encoding="utf-8")
    assert "a,corrected," in table and "b,ai," in table
    assert work.folder == other and work.case == ("a" if other == results else "")
    assert other == results or not (other / "review.csv").exists()

    # and so does one that is made later, in a mask of a list that is no longer shown
    drawn = _erase_slice(panel, 6)
    panel.sections.desk.measure()
    _wait(panel)
    assert np.array_equal(_stored(results / "a"), drawn) and _stored(other / "a").any()


def test_no_folder_is_chosen_while_a_run_goes_on(panel, results):
    work = panel.sections.work_list
    work.ui.section.collapsed = False
    work.choose(results, results.parent / "images")
    work.next()
    _erase_slice(panel, 4)
    work.store()
    assert not work.ui.workFolderButton.enabled and "run" in work.ui.workFolderButton.toolTip
    _wait(panel)
    assert work.ui.workFolderButton.enabled
