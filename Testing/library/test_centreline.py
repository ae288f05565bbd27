import numpy as np
import pytest

from SpinalCordSegLib.morphometry import fit_centreline, fit_local_centreline


def test_a_straight_leaning_cord_has_its_slope_whatever_the_thickness() -> None:
    for slice_mm in (0.25, 1.0, 5.0):
        slices = np.arange(4, 30)
        x_mm, y_mm = 3 + 0.4 * slices * slice_mm, 9 - 0.2 * slices * slice_mm
        *_, slope_x, slope_y = fit_centreline(slices, x_mm, y_mm, slice_mm, at=slices)
        assert slope_x == pytest.approx(np.full(26, 0.4)) and slope_y == pytest.approx(np.full(26, -0.2))


def test_noise_is_smoothed_within_the_budget() -> None:
    slices = np.arange(60)
    noise = np.random.default_rng(1).normal(0, 0.4, 60)  # residual 60·0.16 = 9.6 mm², budget 10 mm²
    _, y_mm, slope_x, _ = fit_centreline(slices, 20 + noise, np.full(60, 7.0), 1.0, at=slices)
    assert np.abs(slope_x).max() < 0.05
    assert y_mm == pytest.approx(np.full(60, 7.0))


def test_missing_slices_are_bridged_and_tighten_the_budget() -> None:
    slices = np.r_[0:10, 20:30]
    span = np.arange(30)
    x_mm, *_ = fit_centreline(slices, 0.3 * slices, 0.0 * slices, 1.0, at=span)
    assert x_mm == pytest.approx(0.3 * span)


@pytest.mark.parametrize(("n", "slope"), [(1, 0.0), (2, 0.5), (3, 0.5)])
def test_few_points_are_joined_by_a_line(n: int, slope: float) -> None:
    slices = np.arange(5, 5 + n)
    x_mm, _, slope_x, _ = fit_centreline(slices, 0.5 * slices * 3.0, np.ones(n), 3.0, at=slices)
    assert slope_x == pytest.approx(np.full(n, slope)) and x_mm == pytest.approx(0.5 * slices * 3.0)


def test_no_point_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one slice"):
        fit_centreline(np.array([], int), [], [], 1.0, at=np.array([], int))


def test_local_lines_are_exact_on_a_straight_cord_whatever_is_missing() -> None:
    kinds = (0.25, np.arange(4, 30)), (5.0, np.r_[2:6, 9:14]), (16.0, np.arange(3)), (3.0, np.r_[5:7])
    for slice_mm, slices in kinds:
        span = np.arange(slices[0], slices[-1] + 1)
        x_mm, y_mm = 3 + 0.4 * slices * slice_mm, 9 - 0.2 * slices * slice_mm
        x_mm, _, slope_x, slope_y = fit_local_centreline(slices, x_mm, y_mm, slice_mm, at=span)
        assert slope_x == pytest.approx(np.full(len(span), 0.4)) and x_mm == pytest.approx(3 + 0.4 * span * slice_mm)
        assert slope_y == pytest.approx(np.full(len(span), -0.2))
    assert fit_local_centreline(np.array([7]), [2.0], [3.0], 3.0, at=np.array([7]))[2].tolist() == [0.0]
    with pytest.raises(ValueError, match="at least one slice"):
        fit_local_centreline(np.array([], int), [], [], 1.0, at=np.array([], int))


def test_local_lines_do_not_know_where_the_cord_ends() -> None:
    """The spline does: what is cut off 30 mm away tilts it."""
    slices = np.arange(20)
    x = 5 * np.sin(slices / 5) + np.random.default_rng(3).normal(0, 0.3, 20)
    inner = np.arange(8, 12)
    for fit, same in ((fit_local_centreline, True), (fit_centreline, False)):
        whole = fit(slices, x, x, 4.0, at=inner)
        cut = fit(slices[4:16], x[4:16], x[4:16], 4.0, at=inner)
        assert bool(np.abs(whole[2] - cut[2]).max() < 1e-9) is same
