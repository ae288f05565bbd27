import math

import numpy as np
import pytest

from SpinalCordSegLib.morphometry import measure_shape

STRAIGHT = (1.0, 1.0)


def _ellipse(a: int, b: int) -> np.ndarray:
    """Digital ellipse of (2a+1)×(2b+1) pixels in a margin of 4."""
    x, y = np.ogrid[-a - 4 : a + 5, -b - 4 : b + 5]
    return (x / (a + 0.5)) ** 2 + (y / (b + 0.5)) ** 2 <= 1


def test_digital_ellipses() -> None:
    small, large = _ellipse(13, 5), _ellipse(50, 30)
    assert np.count_nonzero(small) == 237 and math.pi * 13.5 * 5.5 == pytest.approx(237, rel=0.02)
    assert np.count_nonzero(large) == pytest.approx(4908, rel=0.03)
    shape = measure_shape(small, (0, 0), (1.0, 1.0), STRAIGHT)
    assert shape["rl_mm"] == pytest.approx(27, rel=5e-3)
    assert shape["ap_ellipse_mm"] == pytest.approx(11, rel=0.015)
    assert shape["ap_chord_mm"] == pytest.approx(11, rel=5e-3)
    assert shape["orientation_deg"] == pytest.approx(0, abs=1e-6)
    assert shape["eccentricity"] == pytest.approx(math.sqrt(1 - (11 / 27) ** 2), rel=5e-3)
    large_shape = measure_shape(large, (0, 0), (1.0, 1.0), STRAIGHT)
    assert (large_shape["rl_mm"], large_shape["ap_ellipse_mm"]) == pytest.approx((101, 61), rel=5e-3)
    deeper = measure_shape(small.T, (0, 0), (1.0, 1.0), STRAIGHT)  # than wide: the names stay
    assert (deeper["rl_mm"], deeper["ap_ellipse_mm"]) == pytest.approx((11, 27), rel=0.015)
    assert deeper["orientation_deg"] == pytest.approx(0, abs=1e-6)


def test_pixels_are_millimetres_on_both_axes() -> None:
    x, y = np.ogrid[-30:31, -30:31]
    shape = measure_shape((x * 0.4 / 6) ** 2 + (y * 0.25 / 4) ** 2 <= 1, (0, 0), (0.4, 0.25), STRAIGHT)
    assert (shape["rl_mm"], shape["ap_ellipse_mm"]) == pytest.approx((12, 8), rel=0.015)
    assert shape["csa_sct_mm2"] == pytest.approx(math.pi * 24, rel=0.02)
    chord = np.mean([8 * math.sqrt(1 - (u / 6) ** 2) for u in np.linspace(-1.5, 1.5, 31)])
    assert shape["ap_chord_mm"] == pytest.approx(chord, rel=0.02)


@pytest.mark.parametrize("turn_deg", [-40, 10, 40])
def test_orientation_follows_the_right_end_and_diameters_stay(turn_deg: float) -> None:
    x, y = np.meshgrid(np.arange(-40, 41) * 0.25, np.arange(-40, 41) * 0.25, indexing="ij")
    c, s = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
    pixels = ((x * c + y * s) / 6.5) ** 2 + ((y * c - x * s) / 4) ** 2 <= 1
    shape = measure_shape(pixels, (0, 0), (0.25, 0.25), STRAIGHT)
    assert shape["orientation_deg"] == pytest.approx(turn_deg, abs=0.5)
    assert (shape["rl_mm"], shape["ap_ellipse_mm"]) == pytest.approx((13, 8), rel=0.01)


def test_solidity_of_an_l() -> None:
    pixels = np.ones((60, 60), bool)
    pixels[30:, 30:] = False  # area 3/4, hull 7/8
    shape = measure_shape(pixels, (0, 0), (0.1, 0.1), STRAIGHT)
    assert shape["solidity"] == pytest.approx(6 / 7, rel=0.01)


def test_shrinking_is_about_the_first_voxel_of_the_slice_whatever_the_crop() -> None:
    pixels = np.zeros((70, 60), bool)
    pixels[40:53, 30:38] = True
    whole = measure_shape(pixels, (0, 0), (0.7, 0.9), (0.93, 0.97))
    crop = measure_shape(pixels[40:53, 30:38], (40, 30), (0.7, 0.9), (0.93, 0.97))
    assert crop["rl_mm"] == pytest.approx(whole["rl_mm"]) and crop["solidity"] == pytest.approx(whole["solidity"])
    assert crop["ap_chord_mm"] == pytest.approx(whole["ap_chord_mm"], rel=1e-5)
    assert crop["csa_sct_mm2"] == pytest.approx(104 * 0.63 * 0.93 * 0.97, rel=0.02)


def test_nothing_and_next_to_nothing() -> None:
    assert measure_shape(np.zeros((5, 5), bool), (0, 0), (0.5, 0.7), STRAIGHT) == {}
    one = measure_shape(np.ones((1, 1), bool), (3, 4), (0.5, 0.7), STRAIGHT)
    assert one["csa_sct_mm2"] == pytest.approx(0.35) and one["rl_mm"] > 0 and one["solidity"] > 0
    lost = measure_shape(
        np.ones((1, 1), bool), (9, 9), (1.0, 1.0), (0.5, 0.5)
    )  # shrunk to every second pixel, 8 and 10
    assert lost == {"csa_sct_mm2": 0}
