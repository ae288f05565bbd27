"""Measures that follow the brush equal the full measurement, whatever is drawn, erased or left empty."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from SpinalCordSegLib.errors import GeometryError
from SpinalCordSegLib.morphometry import LiveMeasures, measure
from SpinalCordSegLib.volume import Volume

SHAPE = (26, 24, 16)
_ANGLE = np.radians(15)
_OBLIQUE = np.array(
    [
        [0.6, 0, 0, -8],
        [0, 0.8 * np.cos(_ANGLE), -2.5 * np.sin(_ANGLE), 4],
        [0, 0.8 * np.sin(_ANGLE), 2.5 * np.cos(_ANGLE), -30],
        [0, 0, 0, 1],
    ]
)


def _volume(canonical: np.ndarray, order: tuple[int, int, int] = (0, 1, 2)) -> Volume:
    """Canonical voxels stored in another axis order on an oblique grid."""
    matrix = np.eye(4)
    matrix[:3, :3] = _OBLIQUE[:3, list(order)]
    matrix[:3, 3] = _OBLIQUE[:3, 3]
    like = Volume.from_ijk(np.broadcast_to(np.False_, tuple(SHAPE[axis] for axis in order)), matrix)
    return like.with_voxels(like.reoriented("RAS").with_ijk(canonical).voxels)


def _cord() -> np.ndarray:
    x, y, z = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    return ((x - 12 - 0.2 * z) / 6) ** 2 + ((y - 10 + 0.3 * z) / 4) ** 2 <= 1


_EDIT = st.tuples(
    st.integers(0, SHAPE[2] - 1), st.sampled_from(["add", "erase", "empty", "speck", "hole"]), st.integers(0, 10**6)
)


def _edit(voxels: np.ndarray, k: int, kind: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    i, j = random.integers(0, SHAPE[0] - 5), random.integers(0, SHAPE[1] - 5)
    if kind == "empty":
        voxels[:, :, k] = False
    elif kind == "speck":
        voxels[i, j, k] = True
    elif kind == "hole":
        voxels[12, 9:11, k] = False
    else:
        voxels[i : i + 5, j : j + 4, k] = kind == "add"


@settings(max_examples=15, deadline=None)
@given(st.lists(_EDIT, min_size=1, max_size=6), st.sampled_from([(0, 1, 2), (1, 2, 0), (2, 0, 1)]))
def test_any_run_of_edits_equals_the_full_measurement(edits: list, order: tuple[int, int, int]) -> None:
    voxels = _cord()
    live = LiveMeasures.of(_volume(voxels, order))
    for edit in edits:
        _edit(voxels, *edit)
        now = _volume(voxels, order)
        live = live.follow(now)
        assert live.edited in ((), (edit[0],))
        assert repr(live.measures()) == repr(measure(now, shape=False))  # NaN is not equal to itself, its text is


def test_every_slice_emptied_one_after_the_other_and_drawn_again() -> None:
    voxels = _cord()
    live = LiveMeasures.of(_volume(voxels))
    beginning = live
    for k in range(SHAPE[2]):
        voxels[:, :, k] = False
        live = live.follow(_volume(voxels))
        assert repr(live.measures()) == repr(measure(_volume(voxels), shape=False))
    assert live.measures().slices == () and live.measures().volume_mm3 == 0
    cord = _cord()
    voxels[:, :, 4] = cord[:, :, 4]
    live = live.follow(_volume(voxels))
    (only,) = live.measures().slices
    assert only.csa_mm2 == only.csa_raw_mm2 == pytest.approx(np.count_nonzero(cord[:, :, 4]) * 0.6 * 0.8)
    assert [flag.kind for flag in live.measures().flags] == ["single_slice", "tilted_grid"]
    assert repr(beginning.measures()) == repr(measure(_volume(cord), shape=False))  # what was there stays: undo


def test_a_range_and_several_slices_at_once() -> None:
    voxels = _cord()
    live = LiveMeasures.of(_volume(voxels))
    voxels[:, :, 5] = False
    voxels[10:14, 8:12, 8:10] = False
    live = live.follow(_volume(voxels))
    assert live.edited == (5, 8, 9)
    measured = live.measures(slice_range=(4, 9))
    assert repr(measured) == repr(measure(_volume(voxels), slice_range=(4, 9), shape=False))
    assert (measured.n_slices, measured.coverage) == (4, 0.8)
    assert "gap" in {flag.kind for flag in measured.flags}


def test_what_does_not_fit_is_refused() -> None:
    live = LiveMeasures.of(_volume(_cord()))
    with pytest.raises(GeometryError, match="another grid"):
        live.follow(Volume.from_ijk(_cord(), np.eye(4)))
