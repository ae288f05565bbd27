"""Failures that must be flagged (the paper's Fig. 12 among them) and natural cords that must not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.flags import Flag
from SpinalCordSegLib.morphometry import measure
from SpinalCordSegLib.postprocessing import AdjustedCord, AdjustedSlice, clean
from SpinalCordSegLib.quality_control import QualityConfig, judge_features, judge_slices, rank_doubts, slice_features
from SpinalCordSegLib.volume import Volume, lps_to_ras

THIN, THICK = (0.8, 0.6, 1.0), (0.5, 0.7, 5.0)


def _cord(spacing: tuple[float, float, float], tilt: float = 0.2) -> np.ndarray:
    """An elliptic cord over 100 mm that leans, bends and swells by 25 % in the middle (the enlargement)."""
    count = [round(mm / size) for mm, size in zip((60.0, 70.0, 100.0), spacing, strict=True)]
    x, y, z = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * s for n, s in zip(count, spacing, strict=True)), indexing="ij"
    )
    swell = np.sqrt(1 + 0.25 * np.exp(-((z / 20) ** 2)))
    bow = 4 * np.cos(np.pi * z / 120)
    return (x / (6 * swell)) ** 2 + ((y - tilt * z - bow) / (4 * swell)) ** 2 <= 1


def _judge(voxels: np.ndarray, spacing: tuple[float, float, float], probability: np.ndarray | None = None) -> dict:
    """Kinds of flags by canonical slice (None: the case)."""
    grid = np.diag([*spacing, 1.0])
    cleaned = clean(Volume.from_ijk(voxels, grid))
    chance = None if probability is None else Volume.from_ijk(probability, grid)
    found: dict[int | None, set[str]] = {}
    measures = measure(cleaned, probability=chance)
    for flag in (*measures.flags, *judge_slices(cleaned.mask, chance, measures)):
        found.setdefault(flag.canonical_slice, set()).add(flag.kind)
    return found


@pytest.mark.parametrize("spacing", [THIN, THICK])
def test_a_natural_cord_with_its_enlargement_raises_nothing(spacing: tuple[float, float, float]) -> None:
    assert _judge(_cord(spacing), spacing) == {}


def test_small_doubts_that_agree_are_flagged_and_each_alone_is_not() -> None:
    mask = Volume.from_ijk(_cord(THIN, tilt=0.0), np.diag([*THIN, 1.0]))
    table = slice_features(mask, None, measure(clean(mask)))
    middle = len(table) // 2

    def kinds(area_ratio: float, offset_mm: float, probability: float) -> set[str]:
        values = {"area_ratio": area_ratio, "offset_mm": offset_mm, "mean_probability": probability}
        columns = {name: getattr(table, name).copy() for name in values} | {
            "mean_probability": np.full(len(table), 0.95)
        }
        for name, value in values.items():
            columns[name][middle] = value
        own = int(table.canonical_slice[middle])
        found = judge_features(replace(table, expected_dice=np.full(len(table), 0.95), **columns), mask)
        return {kind for k, kind, _ in found if k == own}

    assert kinds(1.15, 0.8, 0.9) == {"low_confidence"}
    assert kinds(0.87, 0.8, 0.9) == {"low_confidence"}
    for alone in ((1.15, 0.1, 0.95), (1.0, 0.8, 0.95), (1.0, 0.1, 0.85)):
        assert kinds(*alone) == set()
    assert kinds(1.3, 0.8, 0.9) == {"area"}  # one reason is enough
    assert kinds(1.15, 0.8, np.nan) == set()


@pytest.mark.parametrize("spacing", [THIN, THICK])
def test_a_cord_that_ends_above_the_lower_edge_is_flagged_below_its_end(spacing: tuple[float, float, float]) -> None:
    voxels = _cord(spacing)
    missing = round(30 / spacing[2])
    voxels[:, :, :missing] = False
    looked_at = np.where(voxels, 0.99, 0.001).astype(np.float32)
    reach = round(QualityConfig().below_end_mm / spacing[2])
    found = {k for k, kinds in _judge(voxels, spacing, looked_at).items() if "cord_end" in kinds}
    assert found == set(range(missing - reach, missing))
    only_part = looked_at.copy()
    only_part[:, :, : missing - 1] = 0  # the network was told to look at the rest only
    found = {k for k, kinds in _judge(voxels, spacing, only_part).items() if "cord_end" in kinds}
    assert found == {missing - 1}
    assert not any("cord_end" in kinds for kinds in _judge(voxels, spacing).values())  # a mask made elsewhere


def test_an_end_below_is_told_in_the_input_s_own_slices() -> None:
    voxels = _cord(THICK)
    voxels[:, :, :2] = False
    chance = np.where(voxels, 0.99, 0.001).astype(np.float32)
    upside_down = Volume.from_ijk(voxels[:, :, ::-1].copy(), np.diag([THICK[0], THICK[1], -THICK[2], 1.0]))
    cleaned = clean(upside_down)
    probability = upside_down.with_ijk(chance[:, :, ::-1].copy())
    flags = judge_slices(cleaned.mask, probability, measure(cleaned, probability=probability))
    below = [flag for flag in flags if flag.kind == "cord_end"]
    assert [(flag.slice, flag.canonical_slice) for flag in below] == [
        (voxels.shape[2] - 1, 0),
        (voxels.shape[2] - 2, 1),
    ]
    assert f"but {2 * THICK[2]:.0f} mm above" in below[0].message


@pytest.mark.parametrize(("spacing", "run"), [(THIN, 1), (THIN, 6), (THICK, 1), (THICK, 2)])
def test_a_touching_structure_of_like_intensity_is_flagged(spacing: tuple[float, float, float], run: int) -> None:
    voxels = _cord(spacing)
    first = voxels.shape[2] // 2 + 3
    for k in range(first, first + run):
        i, j = np.nonzero(voxels[:, :, k])
        x, y = np.ogrid[: voxels.shape[0], : voxels.shape[1]]
        front_mm = j.max() * spacing[1] + 3
        voxels[:, :, k] |= np.hypot((x - i.mean()) * spacing[0], y * spacing[1] - front_mm) <= 4.5
    found = _judge(voxels, spacing)
    spoilt = set(range(first, first + run))
    assert spoilt <= set(found)
    assert all(found[k] & {"area", "shape", "position"} for k in spoilt)
    assert len(set(found) - spoilt) <= 0.1 * voxels.shape[2]


def test_lost_half_grown_and_shifted_slices_are_flagged() -> None:
    voxels = _cord(THIN)
    middle = int(np.nonzero(voxels[:, :, 30])[0].mean())
    voxels[middle:, :, 30] = False
    voxels[:, :, 50] = ndimage.binary_dilation(voxels[:, :, 50], iterations=2)
    voxels[:, :, 70] = np.roll(voxels[:, :, 70], 4, axis=0)
    found = _judge(voxels, THIN)
    assert {"area", "shape", "position"} <= found[30]
    assert {"area", "shape"} <= found[50] and "position" in found[70]
    # A slice far off the line bends the centreline, and with it the areas beside it: those may be flagged too.
    assert set(found) <= {29, 30, 31, 50, 69, 70, 71}


def test_an_outgrown_last_slice_is_called_an_end() -> None:
    voxels = _cord(THICK, tilt=0.0)
    voxels[:, :, -1] = ndimage.binary_dilation(voxels[:, :, -1], iterations=3)
    assert "area" in _judge(voxels, THICK)[voxels.shape[2] - 1]


def test_flags_of_the_mask_itself_are_among_them() -> None:
    voxels = _cord(THICK)
    voxels[:, :, 8] = False
    voxels[2:5, 2:5, 12] = True
    assert _judge(voxels, THICK) == {None: {"cleaned"}, 8: {"gap"}, 12: {"cleaned"}}


def test_an_unsure_network_is_flagged_and_a_sure_one_is_not() -> None:
    voxels = _cord(THICK)
    probability = np.where(voxels, 0.98, 0.01).astype(np.float32)
    assert _judge(voxels, THICK, probability) == {}
    probability[:, :, 10] = np.where(voxels[:, :, 10], 0.6, 0.2)
    assert _judge(voxels, THICK, probability) == {10: {"low_confidence"}}


def test_an_area_that_is_the_neighbours_rather_than_its_own_is_flagged() -> None:
    mask = clean(Volume.from_ijk(_cord(THICK)[:, :, ::-1], np.diag([*THICK, 1.0])))
    ratios = ((4, 0.88), (7, 0.85), (9, 1.18))
    adjusted_slices = tuple(AdjustedSlice(k, 80.0, 80.0, 80.0 * ratio, 2.04, 1.2) for k, ratio in ratios)

    def judged(slices: tuple[AdjustedSlice, ...], edges_mm: tuple[float, ...]) -> list[Flag]:
        adjusted = AdjustedCord(mask.mask, mask.mask, slices, edges_mm)
        return judge_slices(mask.mask, None, measure(mask), adjusted=adjusted)

    found = judged(adjusted_slices, (0.7,) * 17 + (2.04,) * 3)
    assert [(flag.canonical_slice, flag.kind) for flag in found] == [(7, "unclear_edge"), (9, "unclear_edge")]
    assert "the edge is 2.0 mm wide" in found[0].message and "80.0 → 68.0 mm²" in found[0].message
    many = tuple(AdjustedSlice(k, 80.0, 80.0, 60.0, 2.04, 1.2) for k in range(10))
    case = {flag.kind: flag for flag in judged(many, (2.04,) * 10 + (0.7,) * 10) if flag.slice is None}
    assert "many_flags" in case and "in 10 of 20 slices" in case["unclear_edge"].message
    assert judged((), ()) == judged((), (2.04,) * 9 + (0.7,) * 11) == []


def test_a_mask_that_is_no_cord_at_all_doubts_the_case() -> None:
    voxels = np.random.default_rng(0).random((40, 40, 20)) > 0.4
    found = _judge(voxels, THIN)
    assert "many_flags" in found[None] and len(found) > 15


def test_empty_and_single_slice_masks_are_judged_without_failing() -> None:
    voxels = np.zeros((20, 22, 9), bool)
    assert _judge(voxels, THIN) == {None: {"empty"}}
    voxels[5:17, 5:17, 4] = True
    assert _judge(voxels, THIN, voxels.astype(np.float32)) == {None: {"tilt"}}


def test_limits_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="lower one first"):
        QualityConfig(min_area_mm2=200)


def test_at_most_five_percent_of_hand_drawn_slices_are_flagged(shared_data: Path) -> None:
    flagged = slices = 0
    for path in sorted((shared_data / "t2star_masked").glob("*_seg-manual.nii.gz")):
        image = sitk.ReadImage(str(path))
        matrix = np.eye(4)
        matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
        matrix[:3, 3] = image.GetOrigin()
        cleaned = clean(Volume.from_ijk(sitk.GetArrayFromImage(image).transpose(2, 1, 0) > 0, lps_to_ras(matrix)))
        measures = measure(cleaned)
        flags = judge_slices(cleaned.mask, None, measures)
        flagged += len({flag.canonical_slice for flag in flags} - {None})
        slices += measures.n_slices
    assert slices == 143 and flagged <= 0.05 * slices


def test_the_queue_begins_with_the_most_spoilt_slice() -> None:
    voxels = _cord(THIN, tilt=0.0)
    for k, steps in ((30, 1), (50, 3), (70, 2)):
        voxels[:, :, k] = ndimage.binary_dilation(voxels[:, :, k], iterations=steps)
    cleaned = clean(Volume.from_ijk(voxels, np.diag([*THIN, 1.0])))
    measures = measure(cleaned)
    features = slice_features(cleaned.mask, None, measures)
    queue = rank_doubts(judge_slices(cleaned.mask, None, measures, features=features), features)
    assert [one.canonical_slice for one in queue[:3]] == [50, 70, 30]
    assert queue[0].score > queue[1].score > queue[2].score
