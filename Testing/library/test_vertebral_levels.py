"""Vertebral levels from marked discs, and the comparison with healthy adults: a range, or every reason why not."""

import numpy as np
import pytest

from SpinalCordSegLib.disc_files import DISCS, read_discs
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.image_io import read_labels
from SpinalCordSegLib.morphometry import Centreline, centreline, measure
from SpinalCordSegLib.postprocessing import clean
from SpinalCordSegLib.vertebral_levels import (
    BELOW_UPPER_END,
    TEMPLATE_LENGTH_MM,
    UPPER_END,
    DiscMark,
    LevelOptions,
    c2_percentile,
    find_levels,
    measure_levels,
    pam50_slices,
    parse_disc,
)
from SpinalCordSegLib.volume import Volume

N = 60


def _line():
    """180 mm of straight cord along z = 0 … 180."""
    z = np.arange(N) * 3.0 + 1.5
    return Centreline(np.arange(N), np.stack([0 * z, 0 * z, z], axis=1), z, np.full(N, 3.0), 0 * z, 0 * z)


def _at(disc, z):
    return disc, (4.0, 12.0, z)


def test_one_disc_gives_c2_and_c3_by_the_templates_lengths():
    found = find_levels(_line(), [_at(3, 100.0)])
    assert [(v.name, v.low_mm, v.high_mm, v.basis) for v in found.places] == [
        ("C2", 100, 115.5, "approximate"),
        ("C3", 81.5, 100, "approximate"),
    ]
    assert {flag.kind for flag in found.flags} == {"levels"}
    assert any("no level from C4 down" in flag.message for flag in found.flags)


def test_two_discs_fit_the_templates_proportions():
    between = sum(TEMPLATE_LENGTH_MM[name] for name in ("C3", "C4", "C5", "C6", "C7"))
    found = find_levels(_line(), [_at(8, 150 - 1.1 * between), _at(3, 150.0)])
    assert [v.name for v in found.places] == ["C1", "C2", "C3", "C4", "C5", "C6", "C7"]
    by_name = {level.name: level for level in found.places}
    c5 = by_name["C5"]
    assert c5.high_mm - c5.low_mm == pytest.approx(1.1 * 16.5)
    assert (c5.basis, "disc 5 (C4/C5)" in c5.remark) == ("fitted", True)
    assert by_name["C2"].basis == "approximate"


def test_doubtful_marks_are_said_and_impossible_ones_refused():
    far = find_levels(_line(), [_at(3, 150), _at(4, 100)])
    assert any("270 %" in flag.message for flag in far.flags)
    beyond = find_levels(_line(), [_at(3, 185)])
    assert any("beyond the end" in flag.message for flag in beyond.flags)
    for marks, words in (
        ([_at(3, 100), _at(4, 110)], "lies above"),
        ([_at(3, 100), _at(4, 230)], "lies above"),
        ([_at(3, 100), _at(3, 101)], "twice"),
        ([(3, (60, 60, 100))], "from the cord"),
        ([(3, (60, 60, 230))], "from the cord"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            find_levels(_line(), marks)
    with pytest.raises(ConfigurationError, match="not known"):
        DiscMark(12, (0, 0, 0))


def test_a_disc_far_beyond_the_cord_found_costs_its_own_levels_only():
    near = find_levels(_line(), [_at(4, 100)])
    far = find_levels(_line(), [_at(3, 230), _at(4, 100)])
    assert (far.places, far.discs_mm) == (near.places, {"C3/C4": 100})
    (said,) = {flag.message for flag in far.flags} - {flag.message for flag in near.flags}
    assert said == (
        "disc C2/C3 lies 50 mm beyond the end of the cord found, at most 15 mm can be bridged: it is left out"
    )
    # the neck bends: the straight line that goes on says less and less
    assert find_levels(_line(), [_at(3, 100), (8, (4, -45, -40))]).discs_mm == {"C2/C3": 100}
    none = find_levels(_line(), [_at(3, 230)])
    assert (none.places, none.discs_mm) == ((), {})


def test_a_missing_disc_never_merges_levels(shared_data):
    """Public mask and discs: only 3 and 5 are marked; slice 10 lies 1 mm above disc 5, so it is C4."""
    folder = shared_data / "morphometry"
    cleaned = clean(read_labels(folder / "t2_seg-manual.nii.gz"))
    marks = read_discs(folder / "t2_discs.nii.gz", DISCS)
    assert [mark.disc for mark in marks] == [3, 5]
    found = measure_levels(cleaned.mask, measure(cleaned, shape=False), LevelOptions(marks, around_mm=10))
    assert (found.by_slice[10], found.by_slice[30], found.by_slice[44]) == ("C4", "C3", "C3")
    assert any("disc 4 missing" in flag.message for flag in found.flags)
    rows = {row.name: row for row in found.rows}
    assert rows["C3"].coverage == rows["C4"].coverage == 1
    assert rows["C2"].coverage == pytest.approx(0.68, abs=0.01)
    assert rows["C2/C3 ±10 mm"].length_mm == pytest.approx(20)
    assert rows["C2-C3"].basis == "approximate"
    assert any("C2 (68 %)" in flag.message for flag in found.flags)


def test_the_templates_lengths_are_those_of_the_template(shared_data):
    labels = read_labels(shared_data / "atlas" / "PAM50_levels.nii.gz")
    counts = {n: int((labels.ijk == n).any(axis=(0, 1)).sum()) for n in range(1, 9)}
    assert [0.5 * counts[n] for n in range(1, 9)] == list(TEMPLATE_LENGTH_MM.values())
    tops = {n: np.flatnonzero((labels.voxels == n).any(axis=(1, 2))).max() + 0.5 for n in range(3, 9)}
    at = np.arange(-3.0, -9.0, -1.0)
    assert pam50_slices(dict(zip(tops, at.tolist(), strict=True)), at).tolist() == list(tops.values())


def test_slices_of_pam50_are_linear_between_discs_and_end_one_vertebra_further():
    """Discs C2/C3 (907.5) and C4/C5 (833.5) of a neck of 0.9 times the template's size."""
    top, scale = 100.0, 0.9
    discs_mm = {3: top, 5: top - scale * 37}
    arc_mm = top - scale * np.array([30.0, 37.0, 18.5, 0.0, -15.0, -16.0, 53.0, 54.0])
    assert pam50_slices(discs_mm, arc_mm) == pytest.approx(
        [847.5, 833.5, 870.5, 907.5, 937.5, np.nan, 801.5, np.nan], nan_ok=True
    )
    discs_mm[4] = top - 10.0  # C3 is short, C4 long: 870.5 at the disc
    assert pam50_slices(discs_mm, np.array([top - 5.0, top - 10.0])) == pytest.approx([889.0, 870.5])
    assert np.isnan(pam50_slices({3: 100.0}, arc_mm)).all()


def _rod(orientation_flip=False):
    voxels = np.zeros((20, 16, 30), bool)
    voxels[6:14, 5:11] = True
    matrix = np.diag([0.9, 0.7, 2.0, 1.0])
    if orientation_flip:
        matrix[2, 2] = -2.0
    return Volume.from_ijk(voxels, matrix)


@pytest.mark.parametrize("flip", [False, True])
def test_a_slice_marks_a_disc_as_a_point_does(flip):
    mask = _rod(flip)
    measures = measure(mask, shape=False)
    k = 15
    z = centreline(mask).ras_mm[k, 2]
    by_slice = measure_levels(mask, measures, LevelOptions((DiscMark(3, slice=mask.to_input_slice(k)),)))
    by_point = measure_levels(mask, measures, LevelOptions((DiscMark(3, ras_mm=(9, 20, z)),)))
    assert by_slice.discs_mm == pytest.approx(by_point.discs_mm)
    assert by_slice.rows[0].name == "C2"
    with pytest.raises(ConfigurationError, match="slice 30"):
        measure_levels(mask, measures, LevelOptions((DiscMark(3, slice=30),)))


def test_norms_need_more_than_a_disc():
    mask = _rod()
    measures = measure(mask, shape=False)
    mark = (DiscMark(3, slice=15),)
    assert measure_levels(mask, measures, LevelOptions(mark)).norm is None
    refused = measure_levels(mask, measures, LevelOptions(mark, age_years=40, sex="male"))
    assert refused.norm["reasons"]
    declared = ("t1w", "corrected-3d")
    given = measure_levels(mask, measures, LevelOptions(mark, age_years=40, sex="male", declared=declared))
    assert "uncalibrated" in given.norm["text"]
    told = measure_levels(
        mask, measures, LevelOptions(mark, age_years=40, sex="male", declared=declared), facts={"t1w": False}
    )
    assert told.norm["reasons"]  # a header knows better than a declaration


def test_areas_below_the_upper_end_need_no_disc_and_a_disc_may_contradict_it():
    """A rod of 180 slices of 1 mm that ends in slice 149; thicker 10 to 30 mm below its end."""
    x, y, z = np.ogrid[:30, :30, :180]
    radius = np.where((z >= 120) & (z < 140), 7, 5)
    mask = Volume.from_ijk((np.hypot(x - 15, y - 15) <= radius) & (z < 150), np.eye(4)).reoriented("ILP")
    measures = measure(mask, shape=False)
    found = measure_levels(mask, measures, LevelOptions(), upper_end=149)
    assert (found.upper_end.slice, found.upper_end.at_mm) == (30, pytest.approx(150))
    (row,) = found.rows
    assert (row.name, row.basis, row.coverage) == (BELOW_UPPER_END, UPPER_END, pytest.approx(1))
    assert row.mean_csa_mm2 == pytest.approx(np.count_nonzero(mask.voxels[130]), rel=1e-6)
    assert found.below_upper_end_mm[149] == pytest.approx(0.5) and found.below_upper_end_mm[0] == pytest.approx(149.5)
    assert [flag.kind for flag in found.flags] == ["levels"] and not found.discs_mm and not found.by_slice
    both = measure_levels(mask, measures, LevelOptions((DiscMark(3, ras_mm=(15, 15, 105)),)), upper_end=149)
    assert [row.basis for row in both.rows] == ["approximate"] * 3 + [UPPER_END]
    assert both.rows[-1].mean_csa_mm2 == row.mean_csa_mm2
    for far in (145, 60):
        against = measure_levels(mask, measures, LevelOptions((DiscMark(3, ras_mm=(15, 15, far)),)), upper_end=149)
        assert against.upper_end is None and not against.below_upper_end_mm
        assert UPPER_END not in [row.basis for row in against.rows]
        assert any("check both" in flag.message for flag in against.flags)


def test_empty_mask_has_no_level():
    mask = _rod()
    mask = mask.with_ijk(np.zeros_like(mask.ijk))
    found = measure_levels(mask, measure(mask, shape=False), LevelOptions((DiscMark(3, slice=3),)))
    assert (found.rows, found.flags[0].kind) == ((), "levels")


def test_a_disc_is_understood_or_refused():
    assert parse_disc("C7/T1=1.5,-20,33") == DiscMark(8, ras_mm=(1.5, -20.0, 33.0))
    for name in ("3", "C2/C3", "c2-c3", "C2C3", " 3 "):
        assert parse_disc(f"{name}=44") == DiscMark(3, slice=44)
    for text in ("C2/C3", "C2/C3=1,2", "C2/C4=1", "L1/L2=3", "C2/C3=a,b,c", "C2/C3=nan,1,2", "C2/C3=1.5"):
        with pytest.raises(ConfigurationError):
            parse_disc(text)


FACTS = {"t1w": True, "corrected_3d": True, "contrast_agent": False}
MAN = (35, "male")


def test_a_median_man_is_a_range_around_the_median():
    found = c2_percentile(71.1, 1.0, *MAN, FACTS)
    assert (found["band_years"], found["n_persons"]) == ("30-40", 63)
    # 71.1 ∓ 5 %: 67.5 lies 3.555 below, with SD (71.1 - 62.8)/1.645; 74.7 above, with SD (80.7 - 71.1)/1.645
    assert (found["low"], found["high"]) == (pytest.approx(24.1, abs=0.2), pytest.approx(72.9, abs=0.2))
    assert "uncalibrated" in found["text"] and "not a diagnosis" in found["text"]


def test_the_band_of_old_men_is_wide_and_ends_are_not_overstated():
    assert c2_percentile(45.0, 1.0, 75, "male", FACTS)["low"] == 1
    assert "under 1" in c2_percentile(45.0, 1.0, 75, "female", FACTS)["text"]
    assert c2_percentile(110.0, 1.0, 90, "male", FACTS)["high"] == 99


@pytest.mark.parametrize(
    ("changed", "person", "words"),
    [
        ({"csa_mm2": float("nan"), "coverage": None}, MAN, "mark the disc"),
        ({"coverage": 0.9}, MAN, "90 % of C2"),
        ({"t1w": False}, MAN, "not T1-weighted"),
        ({"t1w": None}, MAN, "not known"),
        ({"corrected_3d": False}, MAN, "is off"),
        ({"contrast_agent": True}, MAN, "contrast agent"),
        ({}, (None, "male"), "age"),
        ({}, (17, "male"), "18 to 90"),
        ({}, (40, None), "sex"),
    ],
)
def test_it_is_refused_with_the_reason(changed, person, words):
    area = {"csa_mm2": 71.1, "coverage": 1.0} | {name: changed[name] for name in changed if name not in FACTS}
    facts = FACTS | {name: changed[name] for name in changed if name in FACTS}
    found = c2_percentile(**area, age=person[0], sex=person[1], facts=facts)
    assert len(found["reasons"]) == 1
    assert words in found["text"]
