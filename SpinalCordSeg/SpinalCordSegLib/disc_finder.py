"""Where the discs C2/C3 to C7/T1 lie along the cord, found without a click, or why they are not; and whether the cord's
upper end is in the image.

The image is straightened along the cord into a mid-sagittal ribbon. A small network gives a heatmap along the cord for
each disc, and "not in the image"; one ordered model of all discs, with the template's distances, weighs them together.
An answer is given only where that leaves hardly another place, the ribbon shifted to front or back gives the same, and
upside down or front to back it does not show C2/C3 more clearly.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.errors import MissingPackageError, ModelFileError
from SpinalCordSegLib.model.checkpoint import package_models_folder
from SpinalCordSegLib.model.cpu_engine import cpu_threads
from SpinalCordSegLib.morphometry import Centreline
from SpinalCordSegLib.outline import around, region_with
from SpinalCordSegLib.vertebral_levels import C2_C3, TEMPLATE_LENGTH_MM
from SpinalCordSegLib.volume import Volume

RIBBON, LOG_SHARE, CARD = "ribbon", "log_share", "card"  # names in the model file

STEP_MM = 1.0
LEAST_CORD_MM = 15.0
ANTERIOR_MM = np.arange(-36.0, 45.0)  # columns of a ribbon: the spinous processes to the front of the vertebrae
_RIGHT_MM = np.arange(-4.0, 4.1, 2.0)  # averaged
_UP_MM, _DOWN_MM = 30.0, 15.0  # beyond the ends of the cord found, straight on
_END_MM = 15.0  # whose direction goes on there
_SMOOTH_MM = 5.0


@dataclass(frozen=True, eq=False)
class Ribbon:
    """``image``: (n, 81) float32, rows from inferior to superior, columns ANTERIOR_MM; NaN outside the image.
    ``arc_mm``: (n,), see Centreline. ``ras_mm``: (n, 3), of the cord's middle in each row."""

    image: NDArray[np.float32]
    arc_mm: NDArray[np.float64]
    ras_mm: NDArray[np.float64]


def straighten(image: Volume, line: Centreline) -> Ribbon:
    """The mid-sagittal ribbon of 1 mm along the cord, 8 mm thick, and a little beyond its ends.

    ``line``: of at least two slices.
    """
    arc_mm = np.arange(line.arc_mm[0] - _DOWN_MM, line.arc_mm[-1] + _UP_MM, STEP_MM)
    points = np.stack([np.interp(arc_mm, line.arc_mm, line.ras_mm[:, axis]) for axis in range(3)], axis=1)
    for end, sign in ((0, -1.0), (-1, 1.0)):
        inner = np.argmin(np.abs(line.arc_mm - (line.arc_mm[end] - sign * _END_MM)))
        towards = line.ras_mm[end] - line.ras_mm[inner]
        beyond = np.clip(sign * (arc_mm - line.arc_mm[end]), 0.0, None)
        points += beyond[:, None] * towards / np.linalg.norm(towards)
    points = ndimage.gaussian_filter1d(points, _SMOOTH_MM / STEP_MM, axis=0, mode="nearest")
    up = np.gradient(points, axis=0)
    up /= np.linalg.norm(up, axis=1, keepdims=True)
    anterior = np.cross(up, [1.0, 0.0, 0.0])
    anterior /= np.linalg.norm(anterior, axis=1, keepdims=True)
    right = np.cross(anterior, up)
    places = points[:, None, None] + _RIGHT_MM[:, None, None] * right[:, None, None]
    places = places + ANTERIOR_MM[:, None] * anterior[:, None, None]
    to_voxel = np.linalg.inv(image.voxel_to_ras)
    index = np.moveaxis(places @ to_voxel[:3, :3].T + to_voxel[:3, 3], -1, 0)
    outside = np.any((index < -0.5) | (index > np.array(image.shape)[:, None, None, None] - 0.5), axis=0)
    low = [max(0, int(one.min())) for one in index]
    near = image.voxels[tuple(slice(at, max(at, int(one.max()) + 1) + 1) for at, one in zip(low, index, strict=True))]
    index -= np.array(low)[:, None, None, None]
    values = ndimage.map_coordinates(near.astype(np.float32), index, order=1, mode="nearest")
    values[outside] = np.nan
    seen = np.isfinite(values)
    total = np.where(seen, values, 0).sum(axis=1)
    mean = np.divide(total, seen.sum(axis=1), out=np.full(total.shape, np.nan), where=seen.any(axis=1))
    return Ribbon(mean.astype(np.float32), arc_mm, points)


_CONTRAST_ROWS = 35  # of a box, applied twice: as wide as a bell of SD 14 mm


def network_input(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """(2, n, 81) of a ribbon: its grey values against mean and SD about them (0 outside, -3..3), and what is inside."""
    inside = np.isfinite(image)
    seen = inside.astype(np.float32)

    def local_mean(values: NDArray) -> NDArray:
        return _blurred(np.where(inside, values, 0).astype(np.float32)) / weight

    weight = np.maximum(_blurred(seen), 1e-3)
    apart = np.where(inside, image, 0) - local_mean(image)
    sd = np.sqrt(np.maximum(local_mean(apart**2), 1e-9))
    return np.stack([np.where(inside, np.clip(apart / sd, -3, 3), 0), seen]).astype(np.float32)


def _blurred(image: NDArray[np.float32]) -> NDArray[np.float32]:
    once = ndimage.uniform_filter(image, _CONTRAST_ROWS, mode="constant")
    return ndimage.uniform_filter(once, _CONTRAST_ROWS, mode="constant")


# The chain of discs: what the network sees of each, and the template's distances between them, taken together.

_SCALES = np.array([0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3])  # of a neck against the template
_SCALE_SD = 0.13  # of its logarithm
_GAP_SD = 0.10, 1.0  # of a distance: of its length, and mm
_FLOOR = 0.02  # share of a heatmap that says nothing: a disc may not be seen
_OUTSIDE_ROWS = 30.0  # over which "not in the image" is spread
_MOST_ROWS = 40  # between two discs
_REACH = 110  # rows beyond the ribbon in which discs may lie


def disc_posteriors(log_share: NDArray[np.float64]) -> NDArray[np.float64]:
    """(6, n): probability that each disc lies on each row of the ribbon; what is missing to 1 lies outside it.

    ``log_share``: (6, n + 1), of the network. The discs are a chain from above to below whose distances are the
    template's times a scale that is the same for the whole neck; sums over all chains (forward and backward).
    """
    k, n = log_share.shape[0], log_share.shape[1] - 1
    share = np.exp(log_share)
    inside = (1 - _FLOOR) * share[:, :n] + _FLOOR / n
    outside = np.repeat((share[:, n:] + 1e-3) / _OUTSIDE_ROWS, _REACH, axis=1)
    seen = np.concatenate([outside, inside, outside], axis=1)
    total = np.zeros_like(seen)
    for scale, prior in zip(_SCALES, np.exp(-0.5 * (np.log(_SCALES) / _SCALE_SD) ** 2), strict=True):
        gaps = [_gap(scale * TEMPLATE_LENGTH_MM[name]) for name in ("C3", "C4", "C5", "C6", "C7")]
        below, above = np.ones_like(seen), np.ones_like(seen)  # messages to a disc from those below and above it
        for i in range(1, k):
            above[i] = np.convolve(above[i - 1] * seen[i - 1], gaps[i - 1][::-1])[_MOST_ROWS:]
        for i in range(k - 2, -1, -1):
            below[i] = np.convolve(below[i + 1] * seen[i + 1], gaps[i])[:-_MOST_ROWS]
        total += prior * seen * below * above
    total /= total.sum(axis=1, keepdims=True)
    return total[:, _REACH : _REACH + n]


def _gap(length_mm: float) -> NDArray[np.float64]:
    """Probability of each distance to the next disc, 0 to _MOST_ROWS."""
    rows = np.arange(_MOST_ROWS + 1.0)
    bell = np.exp(-0.5 * ((rows - length_mm / STEP_MM) / (_GAP_SD[0] * length_mm + _GAP_SD[1])) ** 2)
    return bell / bell.sum()


# The answer.

# Chosen on simulated necks: at most 1 % may get a C2/C3 off by more than 8 mm.
_SURE = 0.5  # of the probability, within 5 mm of its peak
_AGREE_MM, _VOTES = 5.0, 2  # C2/C3 of the ribbon shifted to front and back and as it is: how many agree
_COLUMN_MM = 20.0  # of the spine that must be seen above C2/C3
_BELOW_MM = 5.0  # likewise below: at the image's end a disc looks like the one of the dens
_SHIFT = 3  # columns
_GAPS = 0.65, 1.4  # between neighbouring discs, against the template
SPINE = (ANTERIOR_MM > 8) & (ANTERIOR_MM < 24)  # columns before the cord
_TALLEST_MM = 200.0  # from the upper end of the ribbon: heads show C2/C3 within 110 mm, and C7/T1 lies 90 mm below


@dataclass(frozen=True, eq=False)
class FoundDiscs:
    """``discs_mm``: number of the disc (3 is C2/C3 … 8 is C7/T1) → mm along the cord, see Centreline, from C2/C3 down
    without a gap; empty where ``reason`` tells why."""

    discs_mm: dict[int, float] = field(default_factory=dict)
    reason: str = ""


class DiscFinder:
    """The network, from its file. ``card``: what it was trained on."""

    def __init__(self, path: Path | None = None) -> None:
        """Raises MissingPackageError without ONNX Runtime, ModelFileError for a file that is missing or damaged."""
        path = path or package_models_folder() / "disc_finder.onnx"
        try:
            import onnxruntime
        except (ImportError, OSError) as error:
            raise MissingPackageError(f"ONNX Runtime cannot be loaded ({error}): pip install onnxruntime") from error
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = cpu_threads(), 1
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(path.read_bytes(), options, ["CPUExecutionProvider"])
            self.card: dict[str, Any] = json.loads(self._session.get_modelmeta().custom_metadata_map[CARD])
            self.log_share(np.zeros((2, 2, len(ANTERIOR_MM)), np.float32))
        except Exception as error:  # ONNX Runtime has a dozen errors without a common base
            raise ModelFileError(f"{path}: is no finder of discs ({error}): install SpinalCordSeg again") from error

    def log_share(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """(6, n + 1), see disc_posteriors, of a network input (2, n, 81)."""
        n = inputs.shape[1]
        even = np.pad(inputs, ((0, 0), (0, n % 2), (0, 0)))
        found = self._session.run([LOG_SHARE], {RIBBON: even[None]})[0][0].astype(np.float64)
        return np.delete(found, n, axis=1) if n % 2 else found

    def _shares(self, image: NDArray[np.float32]) -> NDArray[np.float64]:
        """(3, 6, n + 1), as ``log_share`` without the logarithm: of a ribbon's image shifted to the back, as it is, and
        shifted to the front."""
        shares = []
        for columns in (-_SHIFT, 0, _SHIFT):
            shifted = np.roll(image, columns, axis=1)
            shifted[:, : max(columns, 0)] = np.nan
            shifted[:, image.shape[1] + min(columns, 0) :] = np.nan
            shares.append(np.exp(self.log_share(network_input(shifted))))
        return np.array(shares)

    def find(self, ribbon: Ribbon) -> FoundDiscs:
        """The discs, or the reason why C2/C3 is not given."""
        found, sure = self._seen(ribbon)
        if found.discs_mm and any(self._seen(other)[1] > sure for other in turned(ribbon)):
            text = "the image looks as if it were stored upside down or front to back, so C2/C3 is not given"
            return FoundDiscs(reason=text)
        return found

    def _seen(self, ribbon: Ribbon) -> tuple[FoundDiscs, float]:
        """The discs of a ribbon taken as upright, and the network's share of C2/C3 in it; 0 where it is not given."""
        first = max(0, len(ribbon.image) - round(_TALLEST_MM / STEP_MM))
        image = ribbon.image[first:]
        seen = np.flatnonzero(np.isfinite(image[:, SPINE]).mean(axis=1) > 0.5)
        if not len(seen):
            return FoundDiscs(reason="the spine before the cord is not in the image"), 0.0
        shares = self._shares(image)
        posterior = disc_posteriors(np.log(shares.mean(axis=0)))
        at, sure = _peak(posterior[0])
        votes = [_peak(disc_posteriors(np.log(one))[0])[0] for one in shares]
        agreeing = sum(abs(vote - at) * STEP_MM <= _AGREE_MM for vote in votes)
        if sure < _SURE or agreeing < _VOTES or at - seen[0] < _BELOW_MM / STEP_MM:
            return FoundDiscs(reason="the disc C2/C3 was not found in the image"), 0.0
        if seen[-1] - at < _COLUMN_MM / STEP_MM:
            text = f"less than {_COLUMN_MM:g} mm of the spine are in the image above what looks like the disc C2/C3"
            return FoundDiscs(reason=text), 0.0
        start = float(ribbon.arc_mm[first])
        discs_mm = {C2_C3: start + STEP_MM * at}
        for i, name in enumerate(("C3", "C4", "C5", "C6", "C7"), start=1):
            below, sure = _peak(posterior[i])
            gap = (at - below) * STEP_MM / TEMPLATE_LENGTH_MM[name]
            if sure < _SURE or below < seen[0] or not _GAPS[0] <= gap <= _GAPS[1]:
                break  # from here on a disc may have been passed over
            at, discs_mm[C2_C3 + i] = below, start + STEP_MM * below
        return FoundDiscs(discs_mm), 1 - float(shares[:, 0, -1].mean())


def turned(ribbon: Ribbon) -> tuple[Ribbon, Ribbon]:
    """The same upside down, and front to back about the cord."""
    mirrored = np.full_like(ribbon.image, np.nan)
    behind = 2 * int(np.flatnonzero(ANTERIOR_MM == 0)[0]) + 1  # columns as far to the front as those to the back
    mirrored[:, :behind] = ribbon.image[:, behind - 1 :: -1]
    return replace(ribbon, image=np.ascontiguousarray(ribbon.image[::-1])), replace(ribbon, image=mirrored)


def _peak(posterior: NDArray[np.float64]) -> tuple[float, float]:
    """Row of the peak, with its fraction, and the probability within 5 mm of it."""
    top = int(posterior.argmax())
    near = np.arange(max(0, top - 5), min(len(posterior), top + 6))
    close = near[np.abs(near - top) <= 3]
    return float(np.average(close, weights=posterior[close] + 1e-12)), float(posterior[near].sum())


@lru_cache(maxsize=1)
def disc_finder() -> DiscFinder:
    """The one that ships, loaded at the first call. Raises as DiscFinder."""
    return DiscFinder()


def find_discs(image: Volume, line: Centreline, finder: DiscFinder | None = None) -> FoundDiscs:
    """The discs of an image with its cord's centreline. Raises as DiscFinder."""
    if line.end_mm < LEAST_CORD_MM:
        return FoundDiscs(reason=f"less than {LEAST_CORD_MM:g} mm of cord were found")
    return (finder or disc_finder()).find(straighten(image, line))


# The cord's upper end.

_LIKE, _CONTAINED, _OPEN, _OPEN_MM = 0.2, 2.0, 4.0, 6.0  # see ends_below_brain
_LOOK_DOWN_MM, _LOOK_UP_MM, _ABOVE_END_MM, _BESIDE_MM = 20.0, 45.0, 10.0, 35.0


def ends_below_brain(image: Volume, mask: NDArray[np.bool_], top: int) -> bool:
    """Whether what ends in slice ``top`` is the cord at the foramen magnum: above it the image goes on for 10 mm, and
    what has the cord's grey value, followed from slice to slice, opens into brain within 45 mm.

    In the 20 mm below, the region within 20 % of the cord's grey has to be the cord (at most twice its area, median):
    elsewhere nothing can be followed. Open: four times the cord's area over 6 mm. A cord that leaves through a side of
    the image does not end.
    """
    pixel_mm, slice_mm = image.pixel_mm, image.slice_mm
    if (len(mask) - 1 - top) * slice_mm < _ABOVE_END_MM or mask[top, [0, -1]].any() or mask[top][:, [0, -1]].any():
        return False

    def grown(k: int, region: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """What of slice ``k`` is like the median of ``region`` and continues it."""
        window, found = around(region, pixel_mm, _BESIDE_MM), np.zeros_like(region)
        grey = ndimage.gaussian_filter(image.voxels[k][window].astype(np.float32), [0.5 / mm for mm in pixel_mm])
        middle = float(np.median(grey[region[window]]))
        found[window] = region_with(np.abs(grey - middle) < _LIKE * abs(middle), region[window])
        return found

    below = [k for k in range(max(0, top - int(_LOOK_DOWN_MM / slice_mm)), top + 1) if mask[k].any()]
    cord = float(np.median([np.count_nonzero(mask[k]) for k in below]))
    if np.median([np.count_nonzero(grown(k, mask[k])) for k in below]) > _CONTAINED * cord:
        return False
    region, open_mm = mask[top], 0.0
    for k in range(top + 1, min(len(mask), top + int(_LOOK_UP_MM / slice_mm) + 1)):
        region = grown(k, region)
        if not region.any():
            return False
        open_mm = open_mm + slice_mm if np.count_nonzero(region) > _OPEN * cord else 0.0
        if open_mm >= _OPEN_MM:
            return True
    return False
