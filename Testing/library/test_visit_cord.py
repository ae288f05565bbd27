"""The cord of a visit: areas that do not change when less of the cord is scanned."""

from dataclasses import replace

import numpy as np
import pytest

from SpinalCordSegLib.longitudinal.registration import Profile, common_extent
from SpinalCordSegLib.longitudinal.visits import VisitCord, visit_cord
from SpinalCordSegLib.morphometry import centreline, fit_centreline, measure
from SpinalCordSegLib.volume import Volume

SPACING = (0.5, 0.5, 4.0)


def _ragged(n: int, empty_below: int = 0) -> Volume:
    """Discs as a network draws them: radii that jump by 5 %, a leaning path, centres 0.3 mm off."""
    rng = np.random.default_rng(2)
    x, y = np.mgrid[:64, :64] * 0.5
    slices = []
    for k in range(n):
        centre = np.array([16.0, 12 + 0.8 * k]) + rng.normal(0, 0.3, 2)
        slices.append(np.hypot(x - centre[0], y - centre[1]) <= 4.5 * (1 + rng.normal(0, 0.05)))
    voxels = np.stack([np.zeros((64, 64), bool)] * empty_below + slices, axis=2)
    return Volume(voxels, np.diag([*SPACING, 1.0]))


def _cord(mask: Volume) -> VisitCord:
    return visit_cord(mask, measure(mask, shape=False).slices)


def _profile(mask: Volume, first: int) -> Profile:
    """From slice 8 of the whole; ``first``: which of its slices this mask begins with."""
    cord = _cord(mask)
    return Profile(cord.line.arc_mm - cord.line.arc_mm[8 - first], cord.line.length_mm, cord.csa_mm2)


@pytest.mark.parametrize(("low", "high"), [(3, 16), (0, 12), (5, 14)])
def test_less_coverage_changes_no_area(low: int, high: int) -> None:
    whole = _ragged(16)
    matrix = whole.ijk_to_ras.copy()
    matrix[:3, 3] += low * matrix[:3, 2]
    less = Volume(whole.voxels[:, :, low:high], matrix)
    first, second = common_extent([_profile(whole, 0), _profile(less, low)]).mean_csa_mm2
    assert second == pytest.approx(first, rel=2.5e-3)


def test_a_slice_where_the_mask_ends_inside_the_volume_is_left_out() -> None:
    assert np.isfinite(_cord(_ragged(9)).csa_mm2).all()
    found = _cord(_ragged(9, empty_below=2))
    assert np.isnan(found.csa_mm2).tolist() == [True] + [False] * 8
    assert np.isfinite(_cord(_ragged(4, empty_below=2)).csa_mm2).all()  # too few to lose one


def test_areas_from_the_probability_stand_beside_those_of_the_mask() -> None:
    mask = _ragged(9, empty_below=2)
    probability = mask.with_voxels(np.where(mask.voxels, 0.9, 0.0).astype(np.float32))
    measured = measure(mask, probability=probability, shape=False).slices
    found = visit_cord(mask, measured)
    assert np.isnan(found.csa_mm2).tolist() == np.isnan(found.csa_pv_mm2).tolist() == [True] + [False] * 8
    assert found.csa_pv_mm2 == pytest.approx(0.9 * found.csa_mm2, rel=1e-6, nan_ok=True)
    assert not found.is_drawn.any()
    without = measure(mask, shape=False).slices
    assert visit_cord(mask, without).csa_pv_mm2 is None and visit_cord(mask, without).is_drawn[1:].all()


def test_slices_that_a_person_drew_keep_the_area_of_their_pixels() -> None:
    mask = _ragged(9)
    probability = mask.with_voxels(np.where(mask.voxels, 0.9, 0.0).astype(np.float32))
    measured = measure(mask, probability=probability, shape=False).slices

    def drawn(*slices: int) -> VisitCord:
        pv = np.where(np.isin(measured.canonical_slice, slices), np.nan, measured.csa_pv_mm2)
        return visit_cord(mask, replace(measured, csa_pv_mm2=pv))

    found = drawn(5, 6)
    assert found.csa_pv_mm2 / found.csa_mm2 == pytest.approx([0.9] * 5 + [1.0] * 2 + [0.9] * 2)
    assert np.flatnonzero(found.is_drawn).tolist() == [5, 6]
    assert drawn(0, 1, 2, 3).csa_pv_mm2 is not None and drawn(0, 1, 2, 3, 4).csa_pv_mm2 is None


def test_a_leaning_cylinder_keeps_its_area() -> None:
    x, y, z = np.mgrid[:120, :60, :20] * np.array([0.25, 0.25, 1.0])[:, None, None, None]
    mask = Volume(np.hypot((x - 8 - 0.4 * z) / np.hypot(1, 0.4), y - 7) <= 5, np.diag([0.25, 0.25, 1.0, 1.0]))
    areas = _cord(mask).csa_mm2
    assert areas.mean() == pytest.approx(25 * np.pi, rel=5e-3)
    assert areas == pytest.approx(np.full(20, 25 * np.pi), rel=0.03)


def test_a_place_on_one_ruler_is_found_on_the_other() -> None:
    mask = _ragged(12)
    spline, local = centreline(mask, fit_centreline), _cord(mask).line
    for k in (0, 3, 11):
        assert spline.position_on(local, float(spline.arc_mm[k])) == pytest.approx(local.arc_mm[k])
    assert spline.position_on(local, float(spline.arc_mm[0]) - 6) == pytest.approx(local.arc_mm[0] - 6)
    with pytest.raises(ValueError, match="no positions"):
        centreline(mask.with_voxels(mask.voxels & False)).position_on(local, 0.0)
