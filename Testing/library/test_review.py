"""The review of a case: states, what was seen, and where both are kept; a person's work is never replaced."""

import json
import shutil
from datetime import datetime, timezone

import numpy as np
import pytest

from SpinalCordSegLib.batch import read_work_list, write_review_table
from SpinalCordSegLib.case import (
    AI_MASK,
    read_mask,
    read_result,
    read_review,
    read_slice_rows,
    store_correction,
    write_review,
)
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.errors import ConfigurationError, GeometryError, InputFileError, OutputError
from SpinalCordSegLib.flags import Flag, case_flag
from SpinalCordSegLib.image_io import read_image, write_json, write_text, write_volume
from SpinalCordSegLib.metrics import mask_sha256
from SpinalCordSegLib.quality_control import queue_of_report, rank_doubts, unseen
from SpinalCordSegLib.report import SLICE_COLUMNS, csv_text
from SpinalCordSegLib.review import (
    ACCEPTED,
    AI,
    CORRECTED,
    IN_REVIEW,
    REJECTED,
    Review,
    decided,
    edited,
    opened,
    review_words,
    with_seen,
)
from SpinalCordSegLib.vertebral_levels import DiscMark, LevelOptions
from SpinalCordSegLib.volume import Volume

NOON = datetime(2024, 1, 31, 12, 0, 0, tzinfo=timezone.utc)


def test_a_review_goes_its_way_and_comes_back_from_json() -> None:
    review = opened(Review(), "A. Meyer", NOON)
    review = decided(with_seen(review, [7, 3]), ACCEPTED, "A. Meyer", NOON, mask_sha256="ab")
    assert (review.state, review.seen, review.who, review.mask_sha256) == (ACCEPTED, (3, 7), "A. Meyer", "ab")
    assert [event.state for event in review.events] == [IN_REVIEW, ACCEPTED]
    assert review.when == "2024-01-31T12:00:00+00:00" and review.is_finished
    assert Review.from_dict(json.loads(json.dumps(review.as_dict()))) == review
    assert review_words(review) == "accepted by A. Meyer on 2024-01-31"
    assert with_seen(review, [3], seen=False).seen == (7,)


def test_an_edit_makes_a_decision_void() -> None:
    review = edited(decided(Review(), ACCEPTED, "B", NOON, mask_sha256="ab"), "C", NOON)
    assert (review.state, review.who, review.mask_sha256, review.is_finished) == (CORRECTED, "C", "", False)
    assert opened(review).state == CORRECTED  # looking takes nothing back
    assert decided(review, IN_REVIEW, "").state == IN_REVIEW


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: decided(Review(), REJECTED, "  "), "give the reviewer's name"),
        (lambda: decided(Review(), "perfect", "A"), 'set to "perfect"'),
        (lambda: decided(Review(), ACCEPTED, "A" * 65), "at most 64"),
        (lambda: Review("done"), "no review state"),
        (lambda: Review.from_dict({"state": ACCEPTED, "seen": ["x"]}), "cannot be read"),
        (lambda: Review.from_dict({}), "cannot be read"),
    ],
)
def test_what_is_no_review_is_refused(call, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        call()


def test_the_queue_puts_the_worst_first_and_forgets_the_seen() -> None:
    flags = [
        case_flag("tilt", "the case"), Flag(4, 4, "tilt", "a"), Flag(9, 9, "border_contact", "b"),
        Flag(6, 6, "area", "c"), Flag(6, 6, "low_confidence", "d"), Flag(2, 2, "tilt", "e"),
    ]  # fmt: skip
    queue = rank_doubts(flags)
    assert [one.slice for one in queue] == [9, 6, 2, 4]
    assert queue[1].kinds == ("area", "low_confidence") and queue[1].message == "c; d"
    assert [one.slice for one in unseen(queue, Review(seen=(9, 2)))] == [6, 4]
    assert queue_of_report({"review_queue": [one.as_dict() for one in queue]}) == queue
    old = {"flags": [{"slice": f.slice, "kind": f.kind, "message": f.message} for f in flags]}
    assert [one.slice for one in queue_of_report(old)][:2] == [9, 6]
    assert queue_of_report({"flags": []}) == ()


@pytest.fixture
def case(neck, tmp_path):
    """A finished case on a DICOM series, and that series."""
    series = neck.write(tmp_path / "series")
    return neck.finish(series, tmp_path / "results" / "neck"), series


def _mask_bytes(folder):
    return (folder / "mask.nii.gz").read_bytes()


def test_a_decision_lands_in_the_report_and_on_the_page(case) -> None:
    folder, _ = case
    assert read_review(folder) == Review()
    before = (folder / "report.html").read_text(encoding="utf-8")
    assert "AI segmentation, not reviewed by a person." in before and "☐ accepted" in before
    sha256 = mask_sha256(read_mask(folder))
    write_review(folder, decided(Review(), ACCEPTED, "A. <Meyer>", NOON, mask_sha256=sha256))
    content = read_result(folder)
    assert (content["review"]["state"], content["review"]["who"]) == (ACCEPTED, "A. <Meyer>")
    assert content["mask_sha256"] == sha256
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "AI segmentation, accepted by A. &lt;Meyer&gt; on 2024-01-31." in page
    assert "☐ accepted" not in page and "ATTENTION" not in page
    write_review(folder, decided(read_review(folder), REJECTED, "B", NOON, mask_sha256="of another"))
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Rejected by B" in page and "Meyer" not in page and "ATTENTION: decided on another mask" in page


def test_a_correction_is_measured_and_the_ais_mask_stays(case, neck) -> None:
    folder, series = case
    write_review(folder, decided(Review(), ACCEPTED, "A", NOON, mask_sha256="x"))
    ai, original = read_mask(folder), _mask_bytes(folder)
    voxels = ai.voxels.copy()
    voxels[:, :, 3] = np.roll(voxels[:, :, 3], 2, axis=1)
    voxels[:, :, 6] = False
    content = store_correction(folder, ai.with_voxels(voxels), "C. Ruiz", image=read_image(series))
    assert content["mask_state"] == "corrected" and content["review"]["state"] == CORRECTED
    assert [one["slice"] for one in content["changes"]["slices"]] == [3, 6]
    assert content["volume_mm3"] == pytest.approx(voxels.sum() * ai.voxel_volume_mm3, abs=0.01)
    assert np.array_equal(read_mask(folder).voxels, voxels)
    assert next(folder.glob("mask_ai.*")).read_bytes() == original
    again = store_correction(folder, ai, "C. Ruiz")  # taken back by hand; no image this time
    assert again["changes"]["slices"] == [] and again["changes"]["dice"] == 1
    assert again["mask_state"] == "corrected" and again["input"] == content["input"]
    assert mask_sha256(read_mask(folder, AI_MASK)) == again["changes"]["ai_sha256"] == mask_sha256(ai)
    assert again["model"] == content["model"] and again["model"]["name"] == "tiny"
    assert "corrected by a person" in (folder / "report.html").read_text(encoding="utf-8")


def test_what_the_network_doubted_stands_where_nobody_edited(case) -> None:
    folder, _ = case
    content = read_result(folder)
    doubts = [{"slice": k, "kind": "low_confidence", "message": "the network was unsure"} for k in (2, 3)]
    doubts += [{"slice": k, "kind": "unclear_edge", "message": "the edge is 2.0 mm wide"} for k in (3, 4)]
    doubts += [{"slice": k, "kind": "low_confidence", "message": "each within its limit"} for k in (3, 5)]
    doubts += [{"slice": 0, "kind": "cord_end", "message": "no cord found here, but 3 mm above"}]
    content["slices_steadied"] = 4
    content["flags"] += [*doubts, {"slice": None, "kind": "device", "message": "memory ran out"}]
    content["slices_computed_around_the_cord_only"] = 5
    del content["review_queue"]
    write_json(folder / "report.json", content)
    mask = read_mask(folder)
    voxels = mask.voxels.copy()
    voxels[20, 19, 3] = False
    voxels[:, :, 3] = np.roll(voxels[:, :, 3], 1, axis=0)
    after = store_correction(folder, mask.with_voxels(voxels))
    told = {(flag["slice"], flag["kind"]) for flag in after["flags"]}
    assert {(2, "low_confidence"), (4, "unclear_edge"), (5, "low_confidence"), (0, "cord_end")} <= told
    assert (None, "device") in told
    assert not {(3, "low_confidence"), (3, "unclear_edge"), (3, "low_confidence")} & told
    assert after["slices_steadied"] == 4, "as the run told"
    assert 2 in [one["slice"] for one in after["review_queue"]]
    assert after["slices_computed_around_the_cord_only"] == 5, "as the run told, which measuring cannot tell again"


def test_areas_from_the_probability_stand_where_nobody_edited(case) -> None:
    folder, _ = case
    rows = read_slice_rows(folder)
    for row in rows:
        row["csa_pv_mm2"] = f"{0.9 * float(row['csa_mm2']):.3f}"
    write_text(folder / "slices.csv", csv_text(SLICE_COLUMNS, rows))
    before = {int(row["canonical_slice"]): row for row in rows}
    mask = read_mask(folder)
    voxels = mask.voxels.copy()
    voxels[:, :, 3] = np.roll(voxels[:, :, 3], 1, axis=0)
    for _ in range(2):  # a second correction leaves them as the first did
        store_correction(folder, mask.with_voxels(voxels))
        after = {int(row["canonical_slice"]): row for row in read_slice_rows(folder)}
        assert after[3]["csa_pv_mm2"] == ""
        for k in before.keys() - {3}:
            in_slice = [float(row["csa_pv_mm2"]) / float(row["csa_mm2"]) for row in (before[k], after[k])]
            assert in_slice[1] == pytest.approx(in_slice[0], rel=1e-3)


@pytest.mark.parametrize("table", [None, "canonical_slice,csa_pv_mm2\n3,4\n", "canonical_slice,csa_pv_mm2\nx,y\n"])
def test_a_damaged_table_holds_up_no_correction(case, table) -> None:
    folder, _ = case
    mask = read_mask(folder)
    voxels = mask.voxels.copy()
    voxels[:, :, 3] = np.roll(voxels[:, :, 3], 1, axis=0)
    (folder / "slices.csv").write_bytes(b"\xff\xfe\x00" if table is None else table.encode())
    store_correction(folder, mask.with_voxels(voxels))
    assert np.array_equal(read_mask(folder).voxels, voxels)
    assert {row["csa_pv_mm2"] for row in read_slice_rows(folder)} == {""}


def test_marked_discs_survive_a_correction(tmp_path) -> None:
    x, y, z = np.ogrid[:30, :30, :60]
    mask = Volume(np.hypot(x - 15, y - 15) + 0 * z <= 6, np.diag([0.8, 0.8, 1.0, 1.0]))
    write_volume(mask, tmp_path / "m.nii.gz")
    main(["measure", str(tmp_path / "m.nii.gz"), "--output", str(tmp_path / "out"), "--disc", "C2/C3=30"])
    folder = tmp_path / "out" / "m"
    before = read_result(folder)["levels"]["levels"]
    voxels = mask.voxels.copy()
    voxels[:, :, 34] = False
    after = store_correction(folder, mask.with_voxels(voxels), "C")
    assert [row["name"] for row in after["levels"]["levels"]] == [row["name"] for row in before] != []
    assert after["mask_state"] == "given" and after["review"]["state"] == CORRECTED
    assert read_mask(folder, "mask_given").voxels[:, :, 34].any()


@pytest.mark.parametrize("levels", [None, LevelOptions((DiscMark(3, slice=31),))], ids=["as before", "marked anew"])
def test_a_correction_says_that_it_is_not_compared_with_healthy_adults(tmp_path, levels) -> None:
    mask = Volume(np.pad(np.ones((12, 9, 60), bool), ((9, 9), (9, 9), (0, 0))), np.diag([0.8, 0.8, 1.0, 1.0]))
    write_volume(mask, tmp_path / "m.nii.gz")
    command = ["measure", str(tmp_path / "m.nii.gz"), "--output", str(tmp_path / "out"), "--disc", "C2/C3=30"]
    folder = tmp_path / "out" / "m"
    for person, told in ((["--age", "47", "--sex", "male"], "age and sex are not kept"), ([], "")):
        assert main([*command, *person, "--force"]) == 0
        for _ in range(2):
            after = store_correction(folder, mask, "", levels=levels)
            norm, page = after["levels"]["norm"], (folder / "report.html").read_text(encoding="utf-8")
            assert told in norm["text"] and "47" not in norm["text"] if told else norm is None
            assert ("not compared again" in page) == bool(told)
        shutil.rmtree(folder)


def test_a_correction_on_another_grid_or_without_a_case_is_refused(case, tmp_path) -> None:
    folder, _ = case
    with pytest.raises(GeometryError, match="another grid"):
        store_correction(folder, Volume(np.ones((3, 3, 3)), np.eye(4)))
    with pytest.raises(InputFileError, match="no finished result"):
        read_review(tmp_path)


def test_the_machine_never_replaces_what_a_person_did(case, neck, tmp_path) -> None:
    folder, series = case
    write_review(folder, opened(Review(), "A", NOON))
    neck.finish(series, folder)  # only looked at: may be made again
    store_correction(folder, read_mask(folder), "A")
    kept = _mask_bytes(folder)
    with pytest.raises(OutputError, match="a person has corrected"):
        neck.finish(series, folder)
    assert _mask_bytes(folder) == kept
    other = neck.finish(series, tmp_path / "results" / "other")
    write_review(other, decided(Review(), REJECTED, "A", NOON))
    with pytest.raises(OutputError, match="a person has rejected"):
        neck.finish(series, other)


@pytest.fixture
def cases(neck, tmp_path):
    series = neck.write(tmp_path / "series")
    for name in ("c", "a", "b"):
        neck.finish(series, tmp_path / "results" / name)
    (tmp_path / "results" / "broken").mkdir()
    (tmp_path / "results" / "broken" / "report.json").write_text("{", encoding="utf-8")
    (tmp_path / "results" / "notes").mkdir()
    return tmp_path / "results"


def test_a_work_list_is_taken_up_where_it_was_left(cases) -> None:
    work = read_work_list(cases)
    assert [item.folder.name for item in work.items] == ["a", "b", "broken", "c"]
    first = work.next_open()
    assert first.folder.name == "a" and work.counts["unreadable"] == 1 and work.counts[AI] == 3
    write_review(first.folder, decided(read_review(first.folder), ACCEPTED, "A", NOON))
    assert read_work_list(cases).next_open().folder.name == "b"
    for name in "bc":
        write_review(cases / name, decided(Review(), REJECTED, "A", NOON))
    assert read_work_list(cases).next_open() is None
    write_review_table(read_work_list(cases), cases / "review.csv")
    rows = (cases / "review.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 5 and rows[1].startswith("neck,accepted,A,2024-01-31T12:00:00+00:00,AI")
    assert rows[3].startswith("broken,unreadable")
