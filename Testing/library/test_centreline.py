import numpy as np
import pytest

from SpinalCordSegLib.centreline import fit_centreline


def test_a_straight_leaning_cord_has_its_slope_whatever_the_thickness() -> None:
    for slice_mm in (0.25, 1.0, 5.0):
        slices = np.arange(4, 30)
        line = fit_centreline(slices, 3 + 0.4 * slices * slice_mm, 9 - 0.2 * slices * slice_mm, slice_mm, at=slices)
        assert line.slope_x == pytest.approx(np.full(26, 0.4)) and line.slope_y == pytest.approx(np.full(26, -0.2))
        assert line.stretch == pytest.approx(np.full(26, np.sqrt(1 + 0.16 + 0.04)))


def test_noise_is_smoothed_within_the_budget() -> None:
    slices = np.arange(60)
    noise = np.random.default_rng(1).normal(0, 0.4, 60)  # residual 60·0.16 = 9.6 mm², budget 10 mm²
    line = fit_centreline(slices, 20 + noise, np.full(60, 7.0), 1.0, at=slices)
    assert np.abs(line.slope_x).max() < 0.05
    assert line.y_mm == pytest.approx(np.full(60, 7.0))


def test_missing_slices_are_bridged_and_tighten_the_budget() -> None:
    slices = np.r_[0:10, 20:30]
    span = np.arange(30)
    line = fit_centreline(slices, 0.3 * slices, 0.0 * slices, 1.0, at=span)
    assert line.x_mm == pytest.approx(0.3 * span)


@pytest.mark.parametrize(("n", "slope"), [(1, 0.0), (2, 0.5), (3, 0.5)])
def test_few_points_are_joined_by_a_line(n: int, slope: float) -> None:
    slices = np.arange(5, 5 + n)
    line = fit_centreline(slices, 0.5 * slices * 3.0, np.ones(n), 3.0, at=slices)
    assert line.slope_x == pytest.approx(np.full(n, slope)) and line.x_mm == pytest.approx(0.5 * slices * 3.0)


def test_no_point_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one slice"):
        fit_centreline(np.array([], int), [], [], 1.0, at=np.array([], int))
