import numpy as np
import pytest

from SpinalCordSegLib.errors import GeometryError
from SpinalCordSegLib.morphometry import measure
from SpinalCordSegLib.quality_control import SliceFeatures, slice_features
from SpinalCordSegLib.volume import Volume

SPACING = (0.5, 0.8, 3.0)


def _volume(voxels: np.ndarray) -> Volume:
    return Volume.from_ijk(voxels, np.diag([*SPACING, 1.0]))


def _rod(n: int = 15) -> np.ndarray:
    voxels = np.zeros((50, 40, n), bool)
    voxels[15:35, 15:25] = True  # 10×8 mm
    return voxels


def _table(voxels: np.ndarray, probability: np.ndarray | None = None) -> SliceFeatures:
    mask = _volume(voxels)
    return slice_features(mask, None if probability is None else _volume(probability), measure(mask))


def test_a_straight_rod_is_like_its_neighbours() -> None:
    table = _table(_rod())
    assert len(table) == 15 and table.area_mm2 == pytest.approx(np.full(15, 80.0))
    for name in ("area_ratio", "rl_ratio", "ap_ratio"):
        assert getattr(table, name) == pytest.approx(np.ones(15)), name
    assert table.offset_mm == pytest.approx(np.zeros(15), abs=1e-9)
    assert table.end_mm[[0, 2, 14]] == pytest.approx([0, 6, 0])
    assert table.neighbours_each_way[[0, 2, 7]].tolist() == [
        0,
        2,
        5,
    ]
    assert np.isnan(table.expected_dice).all()


def test_a_slice_twice_as_wide_stands_out_alone() -> None:
    voxels = _rod()
    voxels[35:45, 15:25, 7] = True  # half as much again, to the right: the centre moves by 2.5 mm
    table = _table(voxels)
    assert table.area_ratio[7] == pytest.approx(1.5, rel=0.02) and table.rl_ratio[7] == pytest.approx(1.5, rel=0.05)
    assert table.offset_mm[7] == pytest.approx(2.5, rel=1e-6)
    others = np.arange(15) != 7
    assert table.area_ratio[others] == pytest.approx(np.ones(14), rel=0.05)
    assert table.offset_mm[others] == pytest.approx(np.zeros(14), abs=1e-6)


def test_gaps_are_nan_and_no_neighbours() -> None:
    voxels = _rod()
    voxels[:, :, 6] = False
    table = _table(voxels)
    assert len(table) == 15 and np.isnan(table.area_ratio[6]) and np.isnan(table.offset_mm[6])
    assert table.area_ratio[5] == pytest.approx(1)


def test_expected_dice_and_width_of_the_uncertain_band() -> None:
    probability = np.zeros((50, 40, 15), np.float32)
    probability[15:35, 15:25] = 0.95
    probability[35:37, 15:25] = 0.4  # 20 pixels outside the mask
    probability[0:3, 0:3] = 1.0  # far off
    table = _table(_rod(), probability)
    assert table.expected_dice == pytest.approx(np.full(15, 2 * 190 / (200 + 198)))
    assert table.mean_probability == pytest.approx(np.full(15, 0.95))
    outline_mm = 2 * np.sqrt(np.pi * 80)
    assert table.uncertain_mm == pytest.approx(np.full(15, 20 * 0.4 / outline_mm))


def test_no_cord_one_slice_and_two() -> None:
    assert len(_table(np.zeros((5, 6, 7), bool))) == 0
    for n in (1, 2):
        voxels = _rod()
        voxels[:, :, n:] = False
        table = _table(voxels, _rod().astype(np.float32))
        assert table.area_mm2 == pytest.approx(np.full(n, 80.0)) and np.isnan(table.offset_mm).all()
        assert np.isnan(table.area_ratio).all() == (n == 1) and table.expected_dice == pytest.approx(np.ones(n))


def test_a_probability_of_another_grid_is_refused() -> None:
    mask = _volume(_rod())
    with pytest.raises(GeometryError, match="another grid"):
        slice_features(mask, _volume(np.zeros((3, 3, 3))), measure(mask))
