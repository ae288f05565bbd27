import math

import numpy as np
import pytest

from SpinalCordSegLib.metrics import ConfusionCounts, csa_error_percent, dice, hd95_mm


def _block(shape: tuple[int, ...], *ranges: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in ranges)] = True
    return mask


def test_overlap_scores_of_two_blocks_counted_by_hand() -> None:
    found = _block((10, 10), (0, 4), (0, 4))  # 16 pixels
    truth = _block((10, 10), (2, 4), (0, 6))  # 12 pixels, 8 of them shared
    counts = ConfusionCounts.of(found, truth)
    assert counts == ConfusionCounts(8, 80, 8, 4)
    assert dice(found, truth) == pytest.approx(16 / 28) == dice(truth, found)
    assert (counts.sensitivity(), counts.precision()) == pytest.approx((8 / 12, 8 / 16))


def test_empty_masks_have_stated_answers() -> None:
    empty, full = np.zeros((3, 4, 5), bool), np.ones((3, 4, 5), bool)
    assert dice(empty, empty) == 1.0
    assert dice(empty, full) == 0.0
    missed, invented = ConfusionCounts.of(empty, full), ConfusionCounts.of(full, empty)
    assert math.isnan(invented.sensitivity()) and math.isnan(missed.precision())
    assert missed.sensitivity() == 0.0 == invented.precision()
    assert math.isnan(hd95_mm(empty, empty, (1, 1, 1)))
    assert hd95_mm(empty, full, (1, 1, 1)) == math.inf == hd95_mm(full, empty, (1, 1, 1))
    assert ConfusionCounts.of(empty, empty).mcc() == 0.0


def test_hd95_of_a_shifted_pixel_uses_the_spacing_of_each_axis() -> None:
    a = _block((6, 7, 8), (1, 2), (2, 3), (3, 4))
    for axis, (step, expected) in enumerate([(2, 1.0), (3, 2.4), (4, 20.0)]):
        assert hd95_mm(a, np.roll(a, step, axis), (0.5, 0.8, 5.0)) == pytest.approx(expected)


def test_hd95_is_the_larger_direction_and_forgives_five_percent() -> None:
    line = _block((1, 400), (0, 1), (0, 100))
    longer = _block((1, 400), (0, 1), (0, 104))  # 4 of 104 surface pixels stick out: under 5 %
    spike = _block((1, 400), (0, 1), (0, 200))  # 100 of 200 stick out by up to 100 pixels of 0.7 mm
    assert hd95_mm(line, longer, (3.0, 0.7)) == 0.0
    expected = np.percentile(np.r_[np.zeros(100), np.arange(1, 101)], 95) * 0.7
    assert hd95_mm(line, spike, (3.0, 0.7)) == pytest.approx(expected) == hd95_mm(spike, line, (3.0, 0.7))


def test_hd95_ignores_the_inside_and_the_margin_around_both_masks() -> None:
    solid = _block((9, 9), (2, 7), (2, 7))
    hollow = solid.copy()
    hollow[4, 4] = False  # its 4 neighbours are surface now: two lie 1 row, two lie 2 rows (0.8 < 0.9) from the outside
    assert hd95_mm(solid, solid, (0.4, 0.9)) == 0.0
    assert hd95_mm(hollow, solid, (0.4, 0.9)) == pytest.approx(0.8)
    assert hd95_mm(np.pad(hollow, 30), np.pad(solid, 30), (0.4, 0.9)) == pytest.approx(0.8)


def test_mcc_is_exact_where_64_bits_overflow() -> None:
    counts = ConfusionCounts(10**9, 4 * 10**11, 3 * 10**7, 2 * 10**7)
    tp, tn, fp, fn = 1e9, 4e11, 3e7, 2e7
    expected = (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn)) / math.sqrt((tn + fp) * (tn + fn))
    assert counts.mcc() == pytest.approx(expected, rel=1e-14)
    assert ConfusionCounts(5, 7, 0, 0).mcc() == 1.0 and ConfusionCounts(0, 0, 5, 7).mcc() == -1.0
    assert ConfusionCounts(5, 0, 5, 0).mcc() == 0.0  # no true negative and no false negative: a factor is 0


def test_counts_add_up_over_slices() -> None:
    generator = np.random.default_rng(3)
    a, b = generator.random((2, 6, 7, 8)) > 0.6
    total = sum((ConfusionCounts.of(x, y) for x, y in zip(a, b, strict=True)), ConfusionCounts())
    assert total == ConfusionCounts.of(a, b)


def test_area_error_is_signed_and_nan_without_truth() -> None:
    error = csa_error_percent([88.0, 63.2, 5.0, np.nan], [80.0, 79.0, 0.0, 70.0])
    assert error[:2] == pytest.approx([10.0, -20.0])
    assert np.isnan(error[2:]).all()
    assert float(csa_error_percent(90, 100)) == pytest.approx(-10)


def test_masks_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        dice(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="2 spacings for masks of 3"):
        hd95_mm(np.ones((2, 3, 4)), np.ones((2, 3, 4)), (1.0, 2.0))
