"""Follow-up in the panel: by discs, from result folders, by images; the child processes really run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from phantom_visits import DISC_RAS, mark, neck, visit
from slicer_standins.desktop import click, finish, picture, wait_until

from SpinalCordSegLib.cli import main
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.volume import Volume
from SpinalCordSegNodes.results import follow_up_of, latest_follow_up
from SpinalCordSegNodes.tables import read_column

pytestmark = pytest.mark.timeout(900)


def test_follow_up_says_first_what_forbids_it(panel, scene, pictures, tmp_path):
    first = visit(panel, scene, "visit A")
    second = visit(panel, scene, "visit B", csa_mm2=71.0, moved_mm=6.0)
    section, ui = panel.panel.follow_up, panel.panel.follow_up.ui
    ui.section.collapsed = False
    for node, shift in ((first, 0.0), (second, 6.0)):
        panel.panel.show_mask(node)
        mark(scene, panel.panel.volume, 3, (*DISC_RAS[:2], DISC_RAS[2] + shift))
        click(ui.addMaskButton)
    assert not ui.trackButton.isEnabled() and "day" in ui.trackButton.toolTip
    for row, day in enumerate(("2022-01-10", "2024-01-10")):
        ui.visitTable.item(row, 1).setText(day)
    click(ui.trackButton)
    finish(panel.panel)
    found = follow_up_of(latest_follow_up(scene))
    rate = found.content["runs"][0]["rate"]["percent_per_year"]
    assert rate == pytest.approx(100 * (71.0 / 75.0 - 1) / 2, abs=0.6)
    assert f"{rate:+.1f} % per year" in ui.runsLabel.text and " % / ±" in ui.outcomeTable.item(1, 3).text()
    assert not ui.breakFrame.isVisible() and "scanner" in ui.followUpDoubts.text
    wait_until(lambda: not ui.coursePicture.pixmap.isNull())
    picture(panel, pictures / "section-follow-up.png")
    for suffix in (".csv", ".json", ".html"):
        assert section.export(tmp_path / f"person{suffix}") and (tmp_path / f"person{suffix}").stat().st_size > 300

    content = dict(found.content)
    content["visits"][1]["differences"].insert(
        0, {"kind": "scanner", "message": "scanner changed from A to B", "breaks": True}
    )
    table = latest_follow_up(scene)
    table.GetNodeReference("SpinalCordSeg.FollowUp.json").SetText(json.dumps(content))
    section.refresh()
    assert ui.breakFrame.isVisible() and "NOT COMPARABLE" in ui.breakLabel.text and "1 → 2" in ui.breakLabel.text
    picture(panel, pictures / "section-follow-up-broken.png")
    areas = [visit["mean_csa_mm2"] for visit in content["visits"]]
    assert read_column(table, "mean_csa_mm2") == pytest.approx(areas) and read_column(table, "state") == [
        "done",
        "done",
    ]


def test_a_result_folder_is_a_visit_with_the_day_it_keeps(panel, tmp_path):
    for name, day in (("kept", "20220110"), ("unknown", None)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps({"input": {"acquisition_date": day}}))
        panel.panel.follow_up.add_folder(tmp_path / name)
    section, ui = panel.panel.follow_up, panel.panel.follow_up.ui
    ui.section.collapsed = False
    rows = [[ui.visitTable.item(row, column).text() for column in range(3)] for row in range(2)]
    assert rows == [["kept", "2022-01-10", "as reported"], ["unknown", "", "as reported"]]
    ui.visitTable.selectRow(1)
    assert "day of: unknown" in ui.trackButton.toolTip
    section.give_image(1, tmp_path / "image.nii.gz")
    section.visits[1].day = "2023-01-10"
    given = section.arguments()
    assert f"--date={section.visits[1].day}" in given and str(tmp_path / "kept") in given
    assert not any(argument.startswith("--image") for argument in given)  # the first visit has none
    ui.visitTable.selectRow(0)
    click(ui.removeVisitButton)
    assert [visit.name for visit in section.visits] == ["unknown"]


def _finished(folder: Path, csa_mm2: float, moved_mm: float) -> None:
    """A result folder with a disc of its own, and the image beside it."""
    image, mask = (one.ijk_to_ras.copy() for one in neck(csa_mm2))
    for matrix in (image, mask):
        matrix[2, 3] += moved_mm
    voxels = [one.ijk for one in neck(csa_mm2)]
    write_volume(Volume.from_ijk(voxels[0], image), folder / "image.nii.gz")
    write_volume(Volume.from_ijk(voxels[1], mask), folder / "visit.nii.gz")
    disc = ",".join(f"{mm:g}" for mm in (*DISC_RAS[:2], DISC_RAS[2] + moved_mm))
    command = ["measure", str(folder / "visit.nii.gz"), f"--disc=C2/C3={disc}"]
    assert main([*command, "--output", str(folder)]) == 0


def _compared(panel, scene):
    click(panel.panel.follow_up.ui.trackButton)
    finish(panel.panel)
    return follow_up_of(latest_follow_up(scene)).content


def test_result_folders_by_their_discs_and_with_a_mask_by_their_images(panel, scene, tmp_path):
    section, ui = panel.panel.follow_up, panel.panel.follow_up.ui
    ui.section.collapsed = False
    for name, csa_mm2, moved_mm in (("first", 75.0, 0.0), ("second", 71.0, 6.0)):
        _finished(tmp_path / name, csa_mm2, moved_mm)
        section.add_folder(tmp_path / name / "visit")
    for row, day in enumerate(("2022-01-10", "2024-01-10")):
        ui.visitTable.item(row, 1).setText(day)
    content = _compared(panel, scene)
    assert content["aligned_by"] == "distance from the disc C2/C3"
    change = content["visits"][1]["change"]["percent"]
    assert change == pytest.approx(100 * (71.0 / 75.0 - 1), abs=1.0)

    # a mask of the scene has no disc: now the images lay the visits over each other
    ui.visitTable.selectRow(0)
    click(ui.removeVisitButton)
    visit(panel, scene, "first again")
    click(ui.addMaskButton)
    ui.visitTable.item(1, 1).setText("2022-01-10")
    section.give_image(0, tmp_path / "second" / "image.nii.gz")
    content = _compared(panel, scene)
    assert content["aligned_by"] == "rigid registration of the images" and max(content["residuals_mm"]) < 1.0
    assert content["visits"][1]["change"]["percent"] == pytest.approx(change, abs=1.0)
