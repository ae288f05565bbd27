"""Areas below a point, repeatability and the ends of the cord, on measures written down by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from Recipes.validation.public_volumes import (
    C1,
    C2_C3,
    FORAMEN_MAGNUM,
    HEAD,
    LAST_CLEAR_SLICE,
    area_below,
    cov_percent,
    head_row,
    read_landmarks,
    scanner_row,
)
from SpinalCordSegLib.errors import InputFileError
from SpinalCordSegLib.flags import Flag
from SpinalCordSegLib.slice_table import SliceTable


def _measures(areas: dict[int, float], length_mm: float = 5.0) -> SliceTable:
    """Slices of the given areas and length along the cord; NaN is a gap."""
    numbers = sorted(areas)
    found = np.array([areas[k] for k in numbers], float)
    length = np.where(np.isnan(found), math.nan, length_mm)
    return SliceTable.of(
        len(numbers), slice=numbers, canonical_slice=numbers, csa_mm2=found, csa_pv_mm2=found + 1, length_mm=length
    )


def test_area_below_a_point_takes_part_of_the_first_and_the_last_slice() -> None:
    # Slice 10 spans 9.5..10.5: below 10.3 lies 0.8 of it, 4 mm; then 5 mm of slice 9 and the last 3 mm of slice 8.
    found = area_below(_measures({8: 60.0, 9: 70.0, 10: 80.0, 11: 900.0}), 5.0, 10.3, 12.0)
    assert found.covered_mm == pytest.approx(12.0)
    assert found.mean_csa_mm2 == pytest.approx((4 * 80 + 5 * 70 + 3 * 60) / 12)
    assert found.mean_csa_pv_mm2 == pytest.approx(found.mean_csa_mm2 + 1)


def test_a_tilted_cord_is_longer_than_its_slices() -> None:
    assert area_below(_measures({0: 50.0, 1: 70.0}, length_mm=6.0), 5.0, 1.5, 9.0).mean_csa_mm2 == pytest.approx(
        (6 * 70 + 3 * 50) / 9
    )


def test_a_gap_counts_as_length_without_area_and_nothing_is_nothing() -> None:
    found = area_below(_measures({8: 60.0, 9: math.nan, 10: 80.0}), 5.0, 10.5, 15.0)
    assert (found.covered_mm, found.mean_csa_mm2) == (10.0, 70.0)
    assert math.isnan(area_below(_measures({}), 5.0, 10.5, 15.0).mean_csa_mm2)


def test_cov_by_hand() -> None:
    assert cov_percent([98.0, 100.0, 102.0]) == pytest.approx(2.0)
    assert math.isnan(cov_percent([98.0]))
    assert math.isnan(cov_percent([98.0, math.nan]))


def test_scanner_counts_empty_slices_between_c2_and_c7() -> None:
    # C2/C3 at 14: from 14 - 17 = -3, cut at 0, to 14 + 4 = 18; slices 3 and 18 are empty there.
    areas = {k: 70.0 for k in range(18) if k != 3} | {3: math.nan}
    flags = [Flag(3, 3, "gap", "."), Flag(None, None, "tilt", ".")]
    row = scanner_row("a", _measures(areas), flags, 22, 5.0, 14.0)
    assert (row.empty_slices, row.first_slice, row.last_slice, row.flagged_slices) == (2, 0, 17, 1)
    assert row.flags == ("gap", "tilt")


def test_head_against_its_landmarks() -> None:
    places = {(HEAD, FORAMEN_MAGNUM): 20.0, (HEAD, C1): 15.0}
    places[HEAD, LAST_CLEAR_SLICE] = 2.0
    row = head_row(_measures(dict.fromkeys(range(1, 22), 70.0) | {5: math.nan}), [], 0.5, places)
    assert (row.first_slice, row.last_slice, row.gaps) == (1, 21, 1)
    assert (row.above_foramen_mm, row.from_c1_mm, row.above_last_clear_mm) == (0.5, 3.0, -0.5)
    assert head_row(_measures({}), [], 0.5, places).above_foramen_mm == -math.inf


def test_landmarks_hold_every_scanner_and_the_head() -> None:
    places = read_landmarks()
    assert sum(name == C2_C3 and volume.startswith("sub-") for volume, name in places) == 6
    assert {name for volume, name in places if volume == HEAD} >= {FORAMEN_MAGNUM, C1}


def test_landmarks_that_cannot_be_read(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputFileError, match="cannot be read"):
        read_landmarks(tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_text("volume,landmark,slice\na,C1,high\n", encoding="utf-8")
    with pytest.raises(InputFileError, match="expected the columns"):
        read_landmarks(tmp_path / "bad.csv")
