"""Slices drawn anew: filled between good ones, smoothed along the cord, asked of the network again."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from threshold_model import neck_image, write_threshold_model

from SpinalCordSegLib.case import CaseSettings
from SpinalCordSegLib.correction import fill_between, rerun_slices, smooth_along_cord
from SpinalCordSegLib.errors import ConfigurationError, GeometryError
from SpinalCordSegLib.metrics import mask_changes, mask_sha256
from SpinalCordSegLib.model.checkpoint import load_checkpoint
from SpinalCordSegLib.volume import Volume, from_canonical, to_canonical

SHAPE, SPACING = (60, 50, 15), (0.5, 0.6, 2.0)
ORDERS = [("RAS", (0, 1, 2), (1, 1, 1)), ("PSL", (1, 2, 0), (-1, 1, -1)), ("IRP", (2, 0, 1), (-1, 1, -1))]


def _volume(canonical: np.ndarray, order: tuple[int, ...] = (0, 1, 2), signs: tuple[int, ...] = (1, 1, 1)) -> Volume:
    matrix = np.eye(4)
    for column, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        matrix[:3, column] = 0
        matrix[axis, column] = sign * SPACING[axis]
    like = Volume(np.broadcast_to(np.False_, tuple(SHAPE[axis] for axis in order)), matrix)
    return from_canonical(canonical, like)


def _cone(first_mm: float = 8.0, last_mm: float = 5.0, lean: float = 0.3) -> np.ndarray:
    """A round cord that narrows steadily from the lowest slice to the uppermost and leans backwards."""
    x, y, z = (np.arange(n) * s for n, s in zip(SHAPE, SPACING, strict=True))
    radius = np.linspace(first_mm, last_mm, SHAPE[2])
    return np.hypot(x[:, None, None] - 15, y[None, :, None] - 18 + lean * z) <= radius


@pytest.mark.parametrize(("name", "order", "signs"), ORDERS)
def test_a_gap_is_filled_as_the_cord_goes_on(name: str, order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    truth = _cone()
    spoilt = truth.copy()
    spoilt[:, :, 5:9] = False
    spoilt[2:9, 2:9, 6] = True  # what stood there is no part of the answer
    filled = to_canonical(fill_between(_volume(spoilt, order, signs), 4, 9)).voxels
    assert np.array_equal(filled[:, :, [*range(5), *range(9, 15)]], truth[:, :, [*range(5), *range(9, 15)]])
    for k in range(5, 9):
        both = np.count_nonzero(filled[:, :, k] & truth[:, :, k])
        assert 2 * both / (filled[:, :, k].sum() + truth[:, :, k].sum()) > 0.97
        assert filled[:, :, k].sum() == pytest.approx(truth[:, :, k].sum(), rel=0.03)


def test_an_ellipse_that_turns_into_a_disc_passes_through_what_lies_between() -> None:
    x, y = np.ogrid[: SHAPE[0], : SHAPE[1]]
    voxels = np.zeros(SHAPE, bool)
    voxels[:, :, 2] = ((x - 30) * 0.5 / 8) ** 2 + ((y - 25) * 0.6 / 4) ** 2 <= 1
    voxels[:, :, 6] = ((x - 30) * 0.5) ** 2 + ((y - 25) * 0.6) ** 2 <= 36
    filled = fill_between(_volume(voxels), 2, 6).voxels
    widths = [np.ptp(np.flatnonzero(filled[:, 25, k])) * 0.5 for k in range(2, 7)]
    heights = [np.ptp(np.flatnonzero(filled[30, :, k])) * 0.6 for k in range(2, 7)]
    assert widths == sorted(widths, reverse=True) and heights == sorted(heights)
    assert widths[2] == pytest.approx(14, abs=0.6) and heights[2] == pytest.approx(10, abs=0.7)


@pytest.mark.parametrize("ends", [(4, 5), (9, 4), (-1, 4), (4, 15)])
def test_nothing_to_fill_is_said(ends: tuple[int, int]) -> None:
    with pytest.raises(ConfigurationError, match="nothing to fill"):
        fill_between(_volume(_cone()), *ends)


def test_an_end_without_cord_is_said() -> None:
    voxels = _cone()
    voxels[:, :, 4] = False
    with pytest.raises(ConfigurationError, match=r"slice 4 .* has no cord"):
        fill_between(_volume(voxels), 4, 9)
    with pytest.raises(ConfigurationError, match="has no cord"):
        fill_between(_volume(np.zeros(SHAPE, bool)), 4, 9)


@pytest.mark.parametrize(("name", "order", "signs"), ORDERS)
def test_a_jagged_cord_becomes_even_and_keeps_its_volume(name: str, order: tuple, signs: tuple) -> None:
    truth = _cone(7.0, 7.0)
    jagged = truth.copy()
    for k in range(SHAPE[2]):
        jagged[:, :, k] = np.roll(_cone(7.0 + (-1) ** k * 0.8, 7.0 + (-1) ** k * 0.8)[:, :, k], (-1) ** k, axis=0)
    even = to_canonical(smooth_along_cord(_volume(jagged, order, signs), reach_mm=4.0)).voxels
    before, after = (np.diff(v.sum(axis=(0, 1))).astype(float) for v in (jagged, even))
    assert np.abs(after).max() < 0.15 * np.abs(before).max()
    inner = slice(2, -3)  # as many wide slices as narrow ones
    assert even[:, :, inner].sum() == pytest.approx(jagged[:, :, inner].sum(), rel=0.01)
    overlap = 2 * (even & truth)[:, :, inner].sum() / (even.sum(axis=(0, 1)) + truth.sum(axis=(0, 1)))[inner].sum()
    assert overlap > 0.96


def test_only_the_range_is_smoothed_and_gaps_stay() -> None:
    voxels = _cone()
    voxels[10:14, 20:40, 7] = True
    voxels[:, :, 9] = False
    before = _volume(voxels)
    after = smooth_along_cord(before, (6, 11))
    changed = set(np.flatnonzero((after.voxels != before.voxels).any(axis=(0, 1))).tolist())
    assert 7 in changed and changed <= {6, 7, 8, 10} and not after.voxels[:, :, 9].any()
    assert smooth_along_cord(_volume(np.zeros(SHAPE, bool))).voxels.sum() == 0
    with pytest.raises(ConfigurationError, match="do not fit"):
        smooth_along_cord(before, (3, 16))
    with pytest.raises(ConfigurationError, match="smooths nothing"):
        smooth_along_cord(before, reach_mm=0)


def test_what_changed_is_counted_on_every_orientation() -> None:
    for _, order, signs in ORDERS:
        ai, voxels = _volume(_cone(), order, signs), _cone()
        voxels[30:34, 25:30, 3] = False  # 20 pixels of 0.3 mm² out of the middle
        voxels[:, :, 8] = False
        changes = mask_changes(_volume(voxels, order, signs), ai)
        third, eighth = changes.slices
        assert (third.canonical_slice, eighth.canonical_slice) == (3, 8)
        assert (third.slice, eighth.slice) == ((3, 8) if signs[order.index(2)] > 0 else (11, 6))
        assert third.removed_mm2 == pytest.approx(6.0) and third.added_mm2 == 0
        assert (eighth.now_mm2, eighth.dice) == (0, 0)
        gone = eighth.ai_mm2 * 2.0 + 12.0
        assert changes.removed_mm3 == pytest.approx(gone) and changes.added_mm3 == 0
        assert changes.dice == pytest.approx(2 * voxels.sum() / (voxels.sum() + _cone().sum()))
        assert changes.sha256 != changes.ai_sha256 == mask_sha256(ai)
    assert mask_changes(ai, ai).slices == () and mask_changes(ai, ai).dice == 1


def test_the_fingerprint_is_of_the_voxels_on_their_grid() -> None:
    mask = _volume(_cone())
    packed = np.packbits(np.ascontiguousarray(_cone())).tobytes()
    assert mask_sha256(mask) == hashlib.sha256(b"(60, 50, 15)" + packed).hexdigest()
    assert mask_sha256(mask.with_voxels(np.asfortranarray(_cone()))) == mask_sha256(mask)
    assert mask_sha256(mask) == mask_sha256(mask.with_voxels(mask.voxels.astype(np.uint8) * 7))
    assert mask_sha256(mask) != mask_sha256(_volume(_cone(), (1, 2, 0)))
    with pytest.raises(GeometryError, match="different grids"):
        mask_changes(mask, Volume(_cone(), np.eye(4)))


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory):
    """A network that takes what is bright for cord."""
    path: Path = tmp_path_factory.mktemp("model") / "threshold.safetensors"
    return load_checkpoint(write_threshold_model(path))


@pytest.mark.parametrize("storage", [(0, 1, 2), (2, 0, 1)])
def test_the_network_is_asked_again_about_the_range_only(bright, storage: tuple[int, int, int]) -> None:
    image = neck_image(np.diag([0.8, -0.9, 3.0, 1.0]), storage)
    good = to_canonical(image).voxels > 500
    spoilt = good.copy()
    spoilt[:, :, 8:12] = False
    spoilt[3:12, 3:12, 8:16] = True  # the slices after the range are a person's own, right or wrong
    mask = from_canonical(spoilt, image)
    again = rerun_slices(image, mask, bright, (8, 12), device="cpu")
    expected = spoilt.copy()
    expected[:, :, 8:12] = good[:, :, 8:12]
    assert np.array_equal(to_canonical(again).voxels, expected)
    assert again.same_grid(image) and mask.voxels.sum() == spoilt.sum()


def test_of_two_bright_regions_the_one_beside_the_neighbours_cord_is_taken(bright) -> None:
    image = neck_image(np.diag([0.8, -0.9, 3.0, 1.0]))
    voxels, cord = image.voxels.copy(), image.voxels > 500
    voxels[44:58, 40:54, 10] = 900  # a larger bright thing in the slice that is asked again
    mask = image.with_voxels(cord & (np.arange(24) != 10))
    again = rerun_slices(image.with_voxels(voxels), mask, bright, (10, 11), device="cpu")
    assert np.array_equal(again.voxels, cord)


def test_the_settings_of_a_case_are_those_of_its_report() -> None:
    assert CaseSettings.of_report({}) == CaseSettings() == CaseSettings.of_report({"model": None, "threshold": None})
    told = {"model": {"name": "m", "version": "2", "sha256": "ab"}, "threshold": 0.4}
    assert CaseSettings.of_report(told | {"along_mm": 0.8}) == CaseSettings(0.4, 0.8, "m 2", "ab")
    assert CaseSettings.of_report(told).along_mm == 0, "from before there was averaging"


def test_slices_are_averaged_over_the_length_that_is_given(bright) -> None:
    """Of thin slices, one alone bright in its place: averaged over 1.6 mm it is no cord, by itself it is."""
    image = neck_image(np.diag([0.8, -0.9, 1.0, 1.0]))
    cord = image.voxels > 500
    voxels = image.voxels.copy()
    voxels[:, :, 11:13] = np.where(cord[:, :, 11:13], 40, voxels[:, :, 11:13])
    mask = image.with_voxels(cord)
    alone, averaged = (
        rerun_slices(image.with_voxels(voxels), mask, bright, (11, 13), along_mm=along_mm, device="cpu").voxels
        for along_mm in (0, 1.6)
    )
    assert not alone[:, :, 11:13].any() and averaged[:, :, 11:13].any()


def test_where_the_edge_is_not_seen_the_area_follows_the_persons_slices(bright) -> None:
    image = neck_image(np.diag([0.8, -0.9, 3.0, 1.0]))
    cord = image.voxels > 500
    voxels = image.voxels.copy()
    for k in range(9, 12):  # round the cord a wide band that is hardly darker than what the network takes for cord
        for rim in (3, 2, 1):
            voxels[30 - 4 - rim : 30 + 5 + rim, 28 - 3 - rim : 28 + 4 + rim, k] = 900 * (0.545 - 0.015 * rim)
    voxels[cord] = 900
    mask = image.with_voxels(cord)
    alone, steadied = (
        rerun_slices(image.with_voxels(voxels), mask, bright, (9, 12), along_mm=along_mm, device="cpu").voxels
        for along_mm in (0, 1.6)
    )
    true, around = cord[:, :, 9:12].sum(axis=(0, 1)), np.r_[:9, 12:24]
    assert (alone[:, :, 9:12].sum(axis=(0, 1)) > 1.4 * true).all()
    assert steadied[:, :, 9:12].sum(axis=(0, 1)) == pytest.approx(true, rel=0.06)
    assert np.array_equal(steadied[:, :, around], cord[:, :, around])


def test_a_slice_without_an_answer_becomes_empty_and_misfits_are_refused(bright) -> None:
    image = neck_image(np.diag([0.8, -0.9, 3.0, 1.0]))
    mask = image.with_voxels(image.voxels > 500)
    dark = image.voxels.copy()
    dark[:, :, 5] = 40
    assert not rerun_slices(image.with_voxels(dark), mask, bright, (5, 6), device="cpu").voxels[:, :, 5].any()
    with pytest.raises(ConfigurationError, match="do not fit"):
        rerun_slices(image, mask, bright, (20, 30))
    with pytest.raises(GeometryError, match="another grid"):
        rerun_slices(Volume(image.voxels, np.eye(4)), mask, bright, (5, 6))
