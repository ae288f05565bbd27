"""What ``follow-up`` measures areas by: the probability where every visit has it, else the masks, and it says so."""

import csv
import io
import json
import shutil

import pytest

from SpinalCordSegLib.cli import main
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two visits, the same neck with 5 % less cord at the second."""
    folder = tmp_path_factory.mktemp("visits")
    for n, csa_mm2 in enumerate((75.0, 71.25)):
        config = PhantomConfig(shape=(52, 44, 20), spacing_mm=(0.5, 0.6, 3.0), cord_csa_mm2=csa_mm2)
        write_volume(make_phantom(config).mask, folder / f"visit{n}.nii.gz")
        assert main(["measure", str(folder / f"visit{n}.nii.gz"), "--disc", "C2/C3=10", "--output", str(folder)]) == 0
    return folder


def _track(results, output):
    folders = [str(results / f"visit{n}") for n in range(2)]
    dates = ["--date", "2020-01-10", "--date", "2021-01-09"]
    return main(["follow-up", *folders, *dates, "--output", str(output), "--person", "P-01"])


def _read(folder):
    return json.loads((folder / "follow_up.json").read_text(encoding="utf-8"))


def test_areas_come_from_the_probability_where_every_visit_has_it(results, tmp_path):
    assert _track(results, tmp_path / "masks") == 0
    masks = _read(tmp_path / "masks")
    assert masks["areas_from"] == "mask" and not [one for one in masks["remarks"] if "pixels" in one]

    for n, share in enumerate((1.0, 0.9)):
        shutil.copytree(results / f"visit{n}", tmp_path / f"visit{n}")
        _as_if_segmented(tmp_path / f"visit{n}", share)
    assert _track(tmp_path, tmp_path / "both") == 0
    both = _read(tmp_path / "both")
    areas = [[visit["mean_csa_mm2"] for visit in content["visits"]] for content in (masks, both)]
    assert both["areas_from"] == "probability"
    assert areas[1] == pytest.approx([areas[0][0], 0.9 * areas[0][1]], rel=1e-4)
    page = (tmp_path / "both" / "follow_up.html").read_text(encoding="utf-8")
    assert "from the network&#x27;s probability" in page
    rows = list(csv.DictReader(io.StringIO((tmp_path / "both" / "follow_up.csv").read_text(encoding="utf-8"))))
    assert [row["areas_from"] for row in rows] == ["probability"] * 2

    _as_if_segmented(tmp_path / "visit1", 0.9, threshold=0.4, kinds=("unclear_edge",))
    assert _track(tmp_path, tmp_path / "cut") == 0
    _as_if_segmented(tmp_path / "visit1", None)
    assert _track(tmp_path, tmp_path / "one") == 0
    unclear = "visit 2: the cord's edge is not sharp in most slices"
    assert [unclear in " ".join(_read(tmp_path / name)["remarks"]) for name in ("both", "cut")] == [False, True]
    _as_if_segmented(tmp_path / "visit1", 0.9, drawn=(4, 5))
    assert _track(tmp_path, tmp_path / "drawn") == 0
    drawn = _read(tmp_path / "drawn")
    assert drawn["areas_from"] == "probability"
    assert "slices that a person drew have the areas of their pixels: 2 in visit 2" in drawn["remarks"]
    for name, why in (("cut", "visit 2 was cut at another threshold than 0.5"), ("one", "visit 2 has none")):
        content = _read(tmp_path / name)
        assert content["areas_from"] == "mask" and [one for one in content["remarks"] if why in one]
        assert [visit["mean_csa_mm2"] for visit in content["visits"]] == areas[0]


def _as_if_segmented(folder, share, threshold=0.5, kinds=(), drawn=()):
    """Areas from a probability that are ``share`` of the mask's, or none, and none in slices that are ``drawn``."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    report["threshold"] = threshold
    report["flags"] = [{"slice": None, "kind": kind, "message": "of the case"} for kind in kinds]
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    path = folder / "slices.csv"
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    for row in rows:
        k = int(row["canonical_slice"])
        has_none = share is None or not row["csa_mm2"] or k in drawn
        row["csa_pv_mm2"] = "" if has_none else f"{share * float(row['csa_mm2']):.6f}"
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
