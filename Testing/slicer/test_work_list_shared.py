"""A folder of results that two people work on: nobody's decision or mask is written over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer
from slicer_standins.desktop import finish
from work_list_cases import erase_slice, measured, stored, visible

from SpinalCordSegLib.case import Case, update_review
from SpinalCordSegLib.correction import store_correction
from SpinalCordSegLib.image_io import read_labels
from SpinalCordSegLib.review import ACCEPTED, decided
from SpinalCordSegNodes.segmentations import cord_segment_id, mask_of_segment

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def work(panel, tmp_path):
    """The work list of two measured cases; a was opened, b is current."""
    results = measured(tmp_path / "results", tmp_path / "images", "a", "b")
    work = panel.panel.work_list
    assert work.choose(results, tmp_path / "images")
    work.next()
    work.next()
    assert work.case == "b"
    return work


def _accept(case: Path) -> None:
    """As a colleague does elsewhere."""
    sha256 = Case.load(case).mask_sha256
    update_review(case, lambda review: decided(review, ACCEPTED, "Colleague", mask_sha256=sha256), decides_on=sha256)


def _correct(case: Path, erased: int) -> None:
    """As a colleague does elsewhere."""
    mask = read_labels(next(case.glob("mask.*")))
    voxels = mask.ijk != 0
    voxels[:, :, erased] = False
    store_correction(case, mask.with_ijk(voxels), "Colleague")


def test_a_decision_made_elsewhere_is_shown_and_stays(panel, work):
    case = work.folder / "a"
    _accept(case)
    work.open("a")
    assert panel.panel.review.review.state == ACCEPTED and not work.work.item("a").is_open
    work.open("b")
    assert work.choose(work.folder)
    work.open("a")
    assert panel.panel.review.review.state == ACCEPTED
    panel.panel.review.go(4)
    work.next()
    assert (Case.load(case).review.state, Case.load(case).review.who) == (ACCEPTED, "Colleague")


def test_a_mask_corrected_elsewhere_is_read_anew_and_its_correction_stays(panel, work):
    case = work.folder / "a"
    earlier = work._open[case].segmentation
    _correct(case, erased=7)
    work.previous()
    node = panel.panel.current.node
    assert node is not earlier and not earlier.GetDisplayNode().GetVisibility()
    assert not mask_of_segment(node, cord_segment_id(node)).ijk[:, :, 7].any()
    erase_slice(panel, 4)
    work.store()
    finish(panel.panel)
    assert not stored(case)[:, :, 4].any() and not stored(case)[:, :, 7].any()
    work.next()
    work.previous()
    assert panel.panel.current.node is node, "what was stored from here is no news"


def test_what_both_changed_is_told_and_neither_is_written_over(panel, work):
    case, sections = work.folder / "a", panel.panel
    work.previous()
    node = sections.current.node
    _correct(case, erased=7)
    before = (case / "report.json").read_bytes()
    drawn = erase_slice(panel, 4)
    sections.review.go(4)  # a review that goes into the folder at once

    def is_told() -> bool:
        return "folder of a " in panel.ui.statusLabel.text

    for act in (work.store, sections.measure, work.next, work.previous):
        sections.show_message("")
        act()
        finish(panel.panel)
        assert is_told(), act
    assert work.case == "a" and sections.current.node is node
    assert np.array_equal(mask_of_segment(node, cord_segment_id(node)).ijk, drawn)
    assert (case / "report.json").read_bytes() == before and stored(case)[:, :, 4].any()


def test_a_review_is_not_written_over_a_newer_decision(panel, work):
    work.previous()
    _accept(work.folder / "a")
    panel.panel.review.go(4)
    assert Case.load(work.folder / "a").review.state == ACCEPTED
    assert "folder of a " in panel.ui.statusLabel.text


def test_a_case_whose_segment_was_removed_is_told_and_stays_until_it_can_be_stored(panel, work):
    sections, status = panel.panel, panel.ui.statusLabel
    node = sections.current.node
    node.GetSegmentation().RemoveSegment(cord_segment_id(node))
    for act in (work.store, work.next, work.previous, lambda: work.open("a")):
        sections.show_message("")
        act()
        assert work.case == "b" and status.text.startswith("b: "), act
    work.note_review()
    sections.show_message("")
    assert work.choose(work.folder) and status.text.startswith("b: ")
    slicer.mrmlScene.RemoveNode(node)
    work.next()
    assert work.case == "a" and sections.current.node is work._open[work.folder / "a"].segmentation


def test_a_hidden_mask_of_the_list_that_is_taken_in_hand_is_seen(panel, work):
    hidden = work._open[work.folder / "a"].segmentation
    assert visible() == ["b spinal cord AI"]
    panel.ui.maskSelector.setCurrentNode(hidden)
    assert "a spinal cord AI" in visible()
    hidden.GetDisplayNode().SetVisibility(False)  # the user's own wish
    panel.panel.current.refresh()
    assert "a spinal cord AI" not in visible()
