"""Follow-up in the panel: by discs, from result folders, by images; the child processes really run."""

from __future__ import annotations

import json

import pytest
from cord_cases import read_column
from phantom_visits import DISC_RAS, mark, visit
from slicer_standins.desktop import click, finish, wait_until

from SpinalCordSegNodes.results import follow_up_of, latest_follow_up

pytestmark = pytest.mark.timeout(900)


def test_follow_up_says_first_what_forbids_it(panel, scene, tmp_path):
    first = visit(panel, scene, "visit A")
    second = visit(panel, scene, "visit B", csa_mm2=71.0, moved_mm=6.0)
    section, ui = panel.panel.follow_up, panel.panel.follow_up.ui
    ui.followUpSection.collapsed = False
    for node, shift in ((first, 0.0), (second, 6.0)):
        panel.panel.current.set(node)
        mark(scene, panel.panel.current.volume, 3, (*DISC_RAS[:2], DISC_RAS[2] + shift))
        click(ui.addMaskButton)
    assert not ui.trackButton.isEnabled() and "day" in ui.trackButton.toolTip
    for row, day in enumerate(("2022-01-10", "2024-01-10")):
        ui.visitTable.item(row, 1).setText(day)
    click(ui.trackButton)
    finish(panel.panel)
    found = follow_up_of(latest_follow_up(scene))
    rate = found.content["runs"][0]["rate"]["percent_per_year"]
    assert rate == pytest.approx(100 * (71.0 / 75.0 - 1) / 2, abs=0.6)
    assert (
        f"{rate:+.1f} %/year".replace("-", "−") in ui.runsLabel.text and " % / ±" in ui.outcomeTable.item(1, 3).text()
    )
    assert not ui.breakFrame.isVisible() and "scanner" in ui.followUpDoubts.text
    wait_until(lambda: not ui.coursePicture.pixmap.isNull())
    section.export(tmp_path)
    written = sorted(path.name for path in (tmp_path / "follow-up").iterdir())
    assert written == ["follow_up.csv", "follow_up.html", "follow_up.json"]

    content = dict(found.content)
    content["visits"][1]["differences"].insert(
        0, {"kind": "scanner", "message": "scanner changed from A to B", "breaks": True}
    )
    table = latest_follow_up(scene)
    table.GetNodeReference("SpinalCordSeg.FollowUp.json").SetText(json.dumps(content))
    section.refresh()
    assert (
        ui.breakFrame.isVisible() and "NOT COMPARABLE" in ui.breakLabel.text and "visits 1 and 2" in ui.breakLabel.text
    )
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
    ui.followUpSection.collapsed = False
    rows = [[ui.visitTable.item(row, column).text() for column in range(3)] for row in range(2)]
    assert rows == [["kept", "2022-01-10", "as reported"], ["unknown", "", "as reported"]]
    ui.visitTable.selectRow(1)
    assert "day of: unknown" in ui.trackButton.toolTip
    section.visits[1].day = "2023-01-10"
    given = section.arguments()
    assert f"--date={section.visits[1].day}" in given and str(tmp_path / "kept") in given
    assert not any(argument.startswith("--image") for argument in given)
    ui.visitTable.selectRow(0)
    click(ui.removeVisitButton)
    assert [visit.name for visit in section.visits] == ["unknown"]


def test_masks_without_a_disc_are_compared_by_their_images(panel, scene):
    ui = panel.panel.follow_up.ui
    ui.followUpSection.collapsed = False
    for name, csa_mm2, moved_mm in (("first", 75.0, 6.0), ("second", 71.0, 0.0)):
        visit(panel, scene, name, csa_mm2, moved_mm)
        click(ui.addMaskButton)
    for row, day in enumerate(("2022-01-10", "2024-01-10")):
        ui.visitTable.item(row, 1).setText(day)
    click(ui.trackButton)
    finish(panel.panel)
    content = follow_up_of(latest_follow_up(scene)).content
    assert content["aligned_by"] == "rigid registration of the images" and max(content["residuals_mm"]) < 1.0
    assert content["visits"][1]["change"]["percent"] == pytest.approx(100 * (71.0 / 75.0 - 1), abs=1.0)
