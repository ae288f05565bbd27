"""Cord tracking: where the window lies, when it is trusted, and that no probability near the cord changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from SpinalCordSegLib import inference as predict_module
from SpinalCordSegLib.image_io import Image
from SpinalCordSegLib.inference import (
    Prediction,
    exact_part,
    is_settled,
    only_region,
    predict,
    whole_slices,
    window_between,
)
from SpinalCordSegLib.model.checkpoint import Checkpoint, NetworkConfig
from SpinalCordSegLib.model.cpu_engine import Window
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegLib.pipeline import SegmentOptions, segment_image
from SpinalCordSegLib.volume import Volume

SHAPE = (128, 160)
CONFIG = NormalisationConfig("fixed_pixel", pixel_mm=1.0)


def logits(*regions: tuple[int, int, int, int, float], shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """-10 but for rectangles (top, bottom, left, right, logit)."""
    found = np.full(shape, -10, np.float32)
    for top, bottom, left, right, value in regions:
        found[top:bottom, left:right] = value
    return found


@pytest.mark.parametrize(
    ("slice_mm", "expected"), [(1.0, [3, 8, 13, 18]), (0.5, [3, 11, 18]), (5.0, [3, 5, 7, 9, 11, 13, 15, 17, 18])]
)
def test_a_slice_every_5_mm_and_both_ends_are_computed_whole(slice_mm: float, expected: list[int]) -> None:
    assert whole_slices(3, 19, slice_mm) == expected


@pytest.mark.parametrize(
    ("slice_logits", "box"),
    [
        (logits((50, 58, 60, 72, 5)), (50, 58, 60, 72)),
        (logits((49, 59, 59, 73, -2), (50, 58, 60, 72, 5)), (49, 59, 59, 73)),  # its doubtful rim belongs to it
        (logits(), None),
        (logits((50, 58, 60, 72, 5), (20, 22, 20, 22, 5)), None),  # a stray
        (logits((50, 58, 60, 72, 5), (20, 22, 20, 22, -1)), None),  # a doubtful one
        (logits((50, 58, 60, 72, 0.5)), None),  # the network is unsure
        (logits((50, 80, 60, 90, 5)), None),  # 900 mm²
    ],
    ids=["cord", "faint edge", "nothing", "stray", "doubtful stray", "unsure", "too large"],
)
def test_a_slice_is_clear_when_it_shows_one_cord_and_nothing_else(slice_logits: np.ndarray, box: Window | None) -> None:
    assert only_region(slice_logits, 1.0) == box


def test_the_window_holds_both_regions_with_room_and_halo_in_multiples_of_4() -> None:
    # Rows 50-26=24 to 60+26=86 → 88, columns 60-26=34 → 32 to 76+26=102 → 104.
    assert window_between((50, 58, 60, 72), (52, 60, 64, 76), (256, 256)) == (24, 88, 32, 104)
    assert exact_part((24, 88, 32, 104), (256, 256)) == (40, 72, 48, 88)


def test_along_the_image_s_border_no_halo_is_lost() -> None:
    window = window_between((4, 12, 60, 72), (4, 12, 60, 72), (256, 256))
    assert window == (0, 40, 32, 100) and exact_part(window, (256, 256)) == (0, 24, 48, 84)


def test_no_window_beside_an_unclear_slice_or_where_nothing_is_saved() -> None:
    box = (50, 58, 60, 72)
    assert window_between(box, None, (256, 256)) is None and window_between(None, box, (256, 256)) is None
    assert window_between(box, box, (64, 64)) is None


@pytest.mark.parametrize(
    ("region", "settled"),
    [((10, 18, 10, 22, 5), True), ((2, 10, 10, 22, 5), False), ((10, 18, 27, 39, 5), False), ((0, 0, 0, 0, 5), False)],
    ids=["inside", "near the top", "near the right", "gone"],
)
def test_a_window_is_trusted_when_the_cord_lies_clear_of_its_edges(region: tuple, settled: bool) -> None:
    assert is_settled(logits(region, shape=(32, 40)), (40, 72, 48, 88), (256, 256), 1.0) is settled


class Bright:
    """Bright pixels are cord. Counts what it computes; a window's outermost 16 pixels are wrong, as the network's."""

    name, takes_windows = "bright", True

    def __init__(self) -> None:
        self.whole = self.windows = 0

    def logits(self, inputs: np.ndarray, window: Window | None = None) -> np.ndarray:
        if window is None:
            self.whole += 1
            return 20 * (inputs - 0.5)
        self.windows += 1
        top, bottom, left, right = window
        found = 20 * (inputs[:, :, top:bottom, left:right] - 0.5)
        for edge in (found[..., :16, :], found[..., -16:, :], found[..., :16], found[..., -16:]):
            edge.fill(9.0)
        return found


@pytest.fixture
def bright(monkeypatch: pytest.MonkeyPatch) -> Bright:
    engine = Bright()
    monkeypatch.setattr(predict_module, "cpu_engine", lambda checkpoint: engine)
    return engine


def neck(n_slices: int = 21, cord: tuple[int, int] = (0, 21), stray: int | None = None) -> Volume:
    """A bright cord of 8×12 mm that leans by 1 pixel a slice, on 160×160 pixels of 1 mm."""
    pixels = np.zeros((n_slices, 160, 160), np.int16)
    for number in range(*cord):
        pixels[number, 70:78, 60 + number : 72 + number] = 1000
    pixels[:, 2, 2] = 1  # never constant
    if stray is not None:
        pixels[stray, 20:26, 100:106] = 1000
    voxels = np.ascontiguousarray(pixels.transpose(2, 1, 0)[::-1, ::-1])
    return Volume.from_ijk(voxels, np.eye(4))


def both(volume: Volume) -> tuple[np.ndarray, Prediction]:
    checkpoint = Checkpoint("test", "0", NetworkConfig("ra_unet", 1), CONFIG, {})
    full = predict(volume, checkpoint, device="cpu")
    return full.probability.ijk, predict(volume, checkpoint, device="cpu", track_cord=True)


def test_the_probabilities_of_the_cord_are_those_of_the_full_run(bright: Bright) -> None:
    full, tracked = both(neck())
    assert np.array_equal(full > 0.5, tracked.probability.ijk > 0.5) and (full > 0.5).any()
    assert np.abs(full - tracked.probability.ijk).max() < 1e-4  # far off they are 1e-6 and 5e-5
    assert tracked.n_windowed == bright.windows == 21 - 5 and bright.whole == 21 + 5


def test_a_stray_region_in_a_slice_computed_whole_makes_its_neighbours_whole(bright: Bright) -> None:
    full, tracked = both(neck(stray=10))
    assert np.array_equal(full > 0.5, tracked.probability.ijk > 0.5)
    assert tracked.n_windowed == 16 - 8


def test_a_cord_that_leaves_its_window_is_computed_whole(bright: Bright) -> None:
    volume = neck()
    pixels = volume.voxels  # a view
    pixels[7, 70:78] = np.roll(pixels[7, 70:78], 30, axis=1)
    full, tracked = both(volume)
    assert np.array_equal(full > 0.5, tracked.probability.ijk > 0.5)
    assert (bright.windows, tracked.n_windowed) == (16, 15)


def test_progress_counts_and_a_range_is_kept(bright: Bright) -> None:
    checkpoint = Checkpoint("test", "0", NetworkConfig("ra_unet", 1), CONFIG, {})
    told: list[tuple[int, int]] = []
    found = predict(
        neck(), checkpoint, device="cpu", track_cord=True, slice_range=(2, 9), progress=lambda *step: told.append(step)
    )
    assert told == [(done, 7) for done in range(8)]
    assert np.flatnonzero(found.probability.ijk.max(axis=(0, 1))).tolist() == list(range(2, 9))


@pytest.mark.parametrize(("threshold", "on", "n_windowed"), [(0.5, True, 16), (0.05, True, 0), (0.5, False, 0)])
def test_tracking_is_the_rule_but_not_for_a_threshold_below_what_is_looked_for(
    bright: Bright, threshold: float, on: bool, n_windowed: int
) -> None:
    checkpoint = Checkpoint("test", "0", NetworkConfig("ra_unet", 1), CONFIG, {})
    options = SegmentOptions(threshold=threshold, track_cord=on, device="cpu")
    assert segment_image(Image(neck(), Path("neck"), "neck"), checkpoint, options).n_windowed == n_windowed
