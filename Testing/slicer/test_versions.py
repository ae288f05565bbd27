"""Nothing is lost: autosaves kept while correcting, restored after a crash."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import slicer
from cord_cases import cord_mask, finished_case, grey_volume
from slicer_standins.desktop import click, wait_until

from SpinalCordSegLib.case import CaseInput
from SpinalCordSegLib.mask_versions import MaskVersions
from SpinalCordSegNodes.editing import replace_mask
from SpinalCordSegNodes.results import add_result
from SpinalCordSegNodes.segmentations import cord_segment_id, mask_of_segment
from SpinalCordSegNodes.volumes import node_from_volume

_FINGERPRINT = "ab12" * 16
_CODE = "case-" + _FINGERPRINT[:16]


def _open(panel, scene):
    """One finished case opened, section Correct open."""
    known = replace(CaseInput.of(cord_mask()), fingerprint=_FINGERPRINT)
    volume = node_from_volume(scene, grey_volume(cord_mask()), "t1")
    result = add_result(slicer.mrmlScene, finished_case(cord_mask(), input=known), volume)
    panel.panel.current.set(result.segmentation)
    panel.panel.review.button.collapsed = False
    return result.segmentation


def _stroke(panel, node, number: int) -> np.ndarray:
    """Erase slice ``number``, as a brush would."""
    voxels = mask_of_segment(node, cord_segment_id(node)).ijk.copy()
    voxels[:, :, number] = False
    replace_mask(node, cord_segment_id(node), cord_mask().with_ijk(voxels))
    wait_until(lambda: not panel.panel.current.settle.isActive())
    return voxels


@pytest.fixture
def no_settings(qt_application):
    from slicer_standins.pythonqt import qt

    yield
    qt.QSettings().clear()


def test_the_first_stroke_is_on_the_disk_within_half_a_minute(panel, scene, tmp_path, no_settings):
    from SpinalCordSegWidgets.versions import WAIT_MS

    node, versions = _open(panel, scene), panel.panel.review.versions
    _stroke(panel, node, 2)
    assert not versions._timer.isActive()  # nobody chose a folder: nothing is written
    versions.choose(tmp_path / "kept")
    _stroke(panel, node, 3)
    timer = versions._timer
    assert versions._timer.isActive() and timer.interval == WAIT_MS <= 25_000
    left = timer.remainingTime
    now = _stroke(panel, node, 4)
    assert timer.remainingTime <= left  # painting on and on does not put it off
    timer.timeout.emit()  # 20 s later
    (kept,) = MaskVersions(tmp_path / "kept" / f"{_CODE}.corrections").versions()
    assert np.array_equal(kept.read().ijk, now)
    assert "Saved:" in panel.panel.review.ui.versionsLabel.text and not versions._timer.isActive()
    assert "t1" not in str(kept.path.relative_to(tmp_path))


def test_after_a_crash_the_newest_autosave_is_named_and_restored(panel, scene, tmp_path, no_settings):
    node, versions, ui = _open(panel, scene), panel.panel.review.versions, panel.panel.review.ui
    versions.choose(tmp_path)
    work = _stroke(panel, node, 2)
    versions.flush()
    scene.Clear(0)  # the program is gone, and with it the scene
    node = _open(panel, scene)
    assert "does not contain its autosave" in ui.versionsLabel.text
    menu = ui.versionsButton.menu()
    menu.aboutToShow.emit()
    assert [action.text[:8] for action in menu.actions()] == ["Autosave", "Autosave", "Restore "]
    menu.actions()[2].trigger()
    assert np.array_equal(mask_of_segment(node, cord_segment_id(node)).ijk, work)
    assert "was restored" in ui.versionsLabel.text
    click(ui.undoButton)
    assert np.array_equal(mask_of_segment(node, cord_segment_id(node)).ijk, cord_mask().ijk)


def test_closing_the_scene_saves_what_waits(panel, scene, tmp_path, no_settings):
    node = _open(panel, scene)
    panel.panel.review.versions.choose(tmp_path)
    work = _stroke(panel, node, 5)
    scene.Clear(0)
    (kept,) = MaskVersions(tmp_path / f"{_CODE}.corrections").versions()
    assert np.array_equal(kept.read().ijk, work)


def test_a_folder_that_cannot_be_written_is_told(panel, scene, tmp_path, no_settings):
    node = _open(panel, scene)
    (tmp_path / "file").write_text("in the way")
    panel.panel.review.versions.choose(tmp_path / "file")
    _stroke(panel, node, 5)
    panel.panel.review.versions.flush()
    assert "NOT saved" in panel.panel.review.ui.versionsLabel.text
