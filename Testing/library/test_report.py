"""report.json, slices.csv and summary rows: the fields that others build on, and how nothing is said."""

import csv
import io
import json
from dataclasses import replace
from math import inf, isnan, nan
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from SpinalCordSegLib.image_io import Image
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.pipeline import SegmentOptions, measure_mask
from SpinalCordSegLib.report import (
    SLICE_COLUMNS,
    SUMMARY_COLUMNS,
    csv_text,
    failed_row,
    report,
    rounded,
    slice_rows,
    summary_row,
)
from SpinalCordSegLib.vertebral_levels import DiscMark, LevelOptions, Person
from SpinalCordSegLib.volume import Volume

CONFIG = PhantomConfig(shape=(60, 48, 6), spacing_mm=(0.6, 0.8, 3.0), orientation="LPI")


@pytest.fixture(scope="module")
def result():
    phantom = make_phantom(CONFIG)
    mask = phantom.mask.voxels.copy()
    mask[:, :, 2] = False  # stored from superior: canonical slice 3
    return measure_mask(phantom.mask.with_voxels(mask), "neck")


def test_report_has_what_was_promised(result):
    content = report(result)
    promised = (
        "volume_mm3 length_mm mean_csa_mm2 n_slices flags device model software_version input seconds schema_version"
        " removed_mm3 filled_mm3 coverage range mask_state"
    )
    assert set(promised.split()) <= set(content)
    assert content["input"]["shape"] == [60, 48, 6]
    assert content["input"]["spacing_mm"] == [0.6, 0.8, 3.0]
    assert content["input"]["orientation"] == "LPI"
    assert content["n_slices"] == 5
    assert {"slice": 2, "kind": "gap"}.items() <= next(f for f in content["flags"] if f["kind"] == "gap").items()
    assert set(content["flags"][0]) == {"slice", "kind", "message"}
    json.dumps(content, allow_nan=False)


def test_truth_gives_the_error_in_percent(result):
    content = report(replace(result, truth_volume_mm3=result.measures.volume_mm3 / 1.02))
    assert content["volume_error_percent"] == pytest.approx(2.0, abs=1e-3)


def test_slices_run_from_inferior_to_superior_with_gaps(result):
    rows = list(csv.DictReader(io.StringIO(csv_text(SLICE_COLUMNS, slice_rows(result)))))
    assert [row["slice"] for row in rows] == list("543210")
    assert [row["canonical_slice"] for row in rows] == list("012345")
    heights = [float(row["z_mm"]) for row in rows]
    assert heights == sorted(heights)
    gap = rows[3]
    assert (gap["csa_mm2"], gap["rl_mm"], gap["flags"].split()) == ("", "", ["gap"])
    assert float(rows[0]["csa_mm2"]) == pytest.approx(75, rel=0.15)
    assert list(rows[0]) == list(SLICE_COLUMNS)


def _dicom(**changes):
    described = SimpleNamespace(
        number=3, modality="MR", manufacturer="X", model="Y", field_strength_t=3.0, sequence="GR", dimension="3D",
        repetition_time_ms=8.2, echo_time_ms=2.7, inversion_time_ms=None, flip_angle_deg=12.0,
        slice_thickness_mm=3.0, contrast_agent=False, image_type=("ORIGINAL",), body_part="", description="secret name",
        instance_numbers=(11, 12, 13, 14, 15, 16),
    )  # fmt: skip
    described.__dict__.update(changes)
    return described


def test_instance_numbers_go_with_axial_dicom_only(result):
    image = Image(result.mask, Path("series"), "neck", _dicom())
    assert [row["instance_number"] for row in slice_rows(replace(result, image=image))] == [16, 15, 14, 13, 12, 11]
    sagittal = make_phantom(replace(CONFIG, orientation="SPR")).mask
    other = replace(measure_mask(sagittal, "neck"), image=Image(sagittal, Path("series"), "neck", _dicom()))
    assert {row["instance_number"] for row in slice_rows(other)} == {None}


def test_acquisition_is_told_but_no_description(result):
    content = report(replace(result, image=Image(result.mask, Path("x"), "neck", _dicom())))
    assert content["input"]["acquisition"]["manufacturer"] == "X"
    assert "secret" not in json.dumps(content)


def test_range_is_reported(result):
    chosen = replace(result, options=SegmentOptions(slice_range=(1, 4)))
    assert report(chosen)["range"] == [1, 4]


def test_summary_rows(result):
    row = summary_row(report(result))
    assert tuple(row) == SUMMARY_COLUMNS
    assert (row["case"], row["state"], row["n_slices"]) == ("neck", "done", 5)
    assert "gap" in row["flags"].split()
    failed = failed_row("other", "it is not an image")
    assert (failed["state"], failed["reason"], failed["volume_mm3"]) == ("failed", "it is not an image", None)


def test_a_slice_without_a_shape_does_not_cost_the_case_its_diameters():
    """A leaning rod that ends in a single pixel: shrunk by its tilt, that is less than half of any pixel."""
    x, y, z = np.indices((60, 60, 20))
    voxels = (x - 20 - 0.3 * z) ** 2 + (y - 30) ** 2 < 25
    voxels[:, :, 19] = False
    voxels[26, 30, 19] = True
    whole = measure_mask(Volume(voxels, np.eye(4)), "rod")
    *others, last = whole.measures.slices
    assert isnan(last.rl_mm) and last.csa_mm2 > 0
    content = report(whole)
    for name in ("ap_ellipse_mm", "rl_mm"):
        mean = sum(getattr(one, name) * one.length_mm for one in others) / sum(one.length_mm for one in others)
        assert content[f"mean_{name}"] == pytest.approx(mean, abs=1e-3)


def test_coarse_voxels_give_a_volume_and_no_area_in_any_words():
    """2 mm from left to right: volume over length would be the area that may not be told."""
    phantom = make_phantom(PhantomConfig(shape=(24, 48, 4), spacing_mm=(2.0, 0.8, 3.0)))
    content = report(measure_mask(phantom.mask, "coarse"))
    assert content["volume_mm3"] > 0
    assert [content[name] for name in ("mean_csa_mm2", "volume_per_length_mm2", "mean_rl_mm")] == [None] * 3


def test_coarse_voxels_give_no_level_a_volume_of_nothing():
    phantom = make_phantom(PhantomConfig(shape=(24, 48, 20), spacing_mm=(2.0, 0.8, 3.0)))
    marked = LevelOptions((DiscMark(3, slice=10),), around_mm=10, person=Person(40, "female"))
    levels = report(measure_mask(phantom.mask, "coarse", levels=marked))["levels"]
    rows = {
        row["name"]: [row[name] for name in ("mean_csa_mm2", "volume_mm3", "length_mm")] for row in levels["levels"]
    }
    assert rows == dict.fromkeys(("C2", "C3", "C2-C3", "C2/C3 ±10 mm"), [None] * 3)
    assert "no area at vertebral level C2;" in levels["norm"]["text"], "the disc is marked"


def test_spreadsheets_are_not_made_to_compute():
    text = csv_text(("case", "reason"), [{"case": "=1+1", "reason": None}])
    assert text == "case,reason\n'=1+1,\n"


def test_nothing_is_null():
    assert (rounded(nan, 2), rounded(inf, 2), rounded(1.23456, 2)) == (None, None, 1.23)
    assert str(rounded(-0.0001, 2)) == "0.0"
