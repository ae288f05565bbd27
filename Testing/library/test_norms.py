"""The comparison with healthy adults: a range, or every reason why not."""

import json
from dataclasses import replace

import pytest

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.vertebral_levels import C2Area, NoNorm, NormRange, Person, c2_percentile, load_norms, norms_file

AREA = C2Area(csa_mm2=71.1, coverage=1.0, t1w=True, corrected_3d=True)
MAN = Person(35, "male")


def test_the_table_ships_with_licence_and_citation():
    table = load_norms()
    assert table["licence"] == "MIT"
    assert "10.1162/imag_a_00075" in table["citation"]
    assert "participant" not in json.dumps(table["t1w_c2"])
    assert norms_file().is_file()


def test_it_is_the_table_of_the_project(shared_data):
    source = json.loads((shared_data.parent / "norms.json").read_text(encoding="utf-8"))
    assert load_norms()["t1w_c2"] == source["t1w_c2"]


def test_a_median_man_is_a_range_around_the_median():
    found = c2_percentile(AREA, MAN)
    assert isinstance(found, NormRange)
    assert (found.band_years, found.n_persons) == ("30-40", 63)
    # 71.1 ∓ 5 %: 67.5 lies 3.555 below, with SD (71.1 - 62.8)/1.645; 74.7 above, with SD (80.7 - 71.1)/1.645
    assert (found.low, found.high) == (pytest.approx(24.1, abs=0.2), pytest.approx(72.9, abs=0.2))
    assert "uncalibrated" in found.sentence()
    assert "not a diagnosis" in found.sentence()


def test_the_band_of_old_men_is_wide_and_ends_are_not_overstated():
    assert c2_percentile(replace(AREA, csa_mm2=45.0), Person(75, "male")).low == 1
    assert "under 1" in c2_percentile(replace(AREA, csa_mm2=45.0), Person(75, "female")).sentence()
    assert c2_percentile(replace(AREA, csa_mm2=110.0), Person(90, "male")).high == 99


@pytest.mark.parametrize(
    ("area", "person", "words"),
    [
        ({"csa_mm2": float("nan"), "is_placed": False}, MAN, "mark the disc"),
        ({"csa_mm2": float("nan")}, MAN, "no area"),
        ({"coverage": 0.9}, MAN, "90 % of C2"),
        ({"t1w": False}, MAN, "not T1-weighted"),
        ({"t1w": None}, MAN, "not known"),
        ({"corrected_3d": None}, MAN, "is not known"),
        ({"corrected_3d": False}, MAN, "is off"),
        ({"contrast_agent": True}, MAN, "contrast agent"),
        ({}, Person(None, "male"), "age"),
        ({}, Person(17, "male"), "18 to 90"),
        ({}, Person(91, "male"), "18 to 90"),
        ({}, Person(40, None), "sex"),
    ],
)
def test_it_is_refused_with_the_reason(area, person, words):
    found = c2_percentile(replace(AREA, **area), person)
    assert isinstance(found, NoNorm)
    assert len(found.reasons) == 1
    assert words in found.sentence()


def test_all_reasons_are_told_at_once():
    assert len(c2_percentile(replace(AREA, t1w=None, corrected_3d=None), Person()).reasons) == 4


def test_impossible_persons():
    with pytest.raises(ConfigurationError):
        Person(40, "unknown")
    with pytest.raises(ConfigurationError):
        Person(-1, "male")
