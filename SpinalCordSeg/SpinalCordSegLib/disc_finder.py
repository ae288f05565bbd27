"""Where the disc C2/C3 lies along the cord, found without a click, or why it is not.

The image is straightened along the cord into a mid-sagittal ribbon. Two unlike estimators look at it: a small network
(a heatmap along the cord for each disc, and "not in the image") and the correlation with other people's ribbons. An
answer is given only where both agree.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
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
from SpinalCordSegLib.vertebral_levels import C2_C3, TEMPLATE_LENGTH_MM
from SpinalCordSegLib.volume import Volume

RIBBON, LOG_SHARE, TEMPLATES, CARD = "ribbon", "log_share", "templates", "card"  # names in the model file

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


_CONTRAST_MM = 14.0


def network_input(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """(2, n, 81) of a ribbon: its grey values against mean and SD about them (0 outside, -3..3), and what is inside."""
    inside = np.isfinite(image)
    seen = inside.astype(np.float32)

    def local_mean(values: NDArray) -> NDArray:
        return _blurred(np.where(inside, values, 0).astype(np.float32), _CONTRAST_MM) / weight

    weight = np.maximum(_blurred(seen, _CONTRAST_MM), 1e-3)
    apart = np.where(inside, image, 0) - local_mean(image)
    sd = np.sqrt(np.maximum(local_mean(apart**2), 1e-9))
    return np.stack([np.where(inside, np.clip(apart / sd, -3, 3), 0), seen]).astype(np.float32)


def _blurred(image: NDArray[np.float32], sd: float) -> NDArray[np.float32]:
    return ndimage.gaussian_filter(image, sd, mode="constant", truncate=2.5)


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


# Correlation with other people's ribbons: the whole ribbon is laid along theirs, so C2/C3 may lie outside it.

_BELOW, _ABOVE = 100, 60  # rows of a template about C2/C3
_BEYOND = 80  # rows beyond the ribbon where C2/C3 is looked for
_STRETCHES = np.exp(np.linspace(np.log(0.75), np.log(1.3), 9))
_STRETCH_SD, _STRETCH_COST = 0.12, 0.02  # of its logarithm; of correlation at one SD, twice
_LEAST_OVERLAP = 900, 0.3  # pixels; of those of the ribbon
_NEAR, _NEAR_STRETCHES, _NEAR_ROWS = 24, (0.85, 1.0, 1.17), 9  # for the place: rows to either side, and how far off
_BESIDE_CORD = (ANTERIOR_MM[:-1:2] < -9) | (ANTERIOR_MM[:-1:2] > 8)


def bands(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """(2, n, 40) of a network input: what changes along the cord, beside cord and CSF, at pixels of 1×2 mm; what is
    inside."""
    values, seen = (0.5 * (one[:, :-1:2] + one[:, 1::2]) for one in inputs)
    seen = (seen > 0.9) & _BESIDE_CORD
    values = ndimage.gaussian_filter(np.where(seen, values, 0), (1.5, 0.5))
    values = values - ndimage.gaussian_filter1d(values, 12, axis=0)
    return np.stack([np.where(seen, values, 0), seen]).astype(np.float32)


def template(found: NDArray[np.float32], row: float, stretch: float = 1.0) -> NDArray[np.float32]:
    """(2, 161, 40): ``bands`` about the row of C2/C3, stretched along the cord; 0 outside."""
    at = row + np.arange(-_BELOW, _ABOVE + 1) / stretch
    low = np.clip(np.floor(at).astype(int), 0, found.shape[1] - 2)
    share = (at - low)[:, None]
    inside = (at >= 0) & (at <= found.shape[1] - 1)
    return (((1 - share) * found[:, low] + share * found[:, low + 1]) * inside[:, None]).astype(np.float32)


class Templates:
    """Ribbons of others, (people, 2, 161, 40), as ``template`` gives them."""

    def __init__(self, people: NDArray[np.float32]) -> None:
        whole = [[template(one, _BELOW, k) for k in _STRETCHES] for one in people]
        near = [[template(one, _BELOW, k) for k in _NEAR_STRETCHES] for one in people]
        self._whole = np.array(whole, np.float32)
        self._near = np.array(near, np.float32)[..., _BELOW - _NEAR : _BELOW + _NEAR + 1, :]

    def vote(self, found: NDArray[np.float32]) -> tuple[int, float]:
        """Row of C2/C3, which may lie outside the ribbon, and the correlation there, -1 to 1.

        ``found``: ``bands``. The whole ribbons choose the disc (mean of the best two people, so that no single one
        decides); its surroundings, with the best three, its place.
        """
        likeness, overlap = _correlation(found, self._whole, _BELOW, _ABOVE)
        seen = float(found[1].sum())
        cost = _STRETCH_COST * 0.5 * (np.log(_STRETCHES) / _STRETCH_SD) ** 2
        share = np.clip(overlap / max(min(seen, self._whole[0, 0, 0].size), 1.0), 0, 1)
        enough = (overlap >= _LEAST_OVERLAP[0]) & (overlap >= _LEAST_OVERLAP[1] * seen)
        score = np.where(enough, (likeness - cost) * share**0.25, -1)
        score = np.sort(score.max(axis=2), axis=1)[:, -2:].mean(axis=1)
        top = int(score.argmax())
        likeness, overlap = _correlation(found, self._near, _NEAR, _NEAR)
        place = np.where(overlap > _LEAST_OVERLAP[1] * overlap.max(), likeness, -1).max(axis=2)
        place = np.sort(place, axis=1)[:, -3:].mean(axis=1)
        low = max(0, top - _NEAR_ROWS)
        if place[top] > -1:  # its surroundings are in the image
            return low + int(place[low : top + _NEAR_ROWS + 1].argmax()) - _BEYOND, float(score[top])
        return top - _BEYOND, float(score[top])


def _correlation(
    found: NDArray[np.float32], templates: NDArray[np.float32], below: int, above: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(rows, people, stretches): correlation where both are seen, and the number of these pixels; rows from _BEYOND
    below the ribbon to _BEYOND above it."""
    people, stretches = templates.shape[:2]
    padded = np.pad(found, ((0, 0), (below + _BEYOND, above + _BEYOND), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, below + above + 1, axis=1)
    n = windows.shape[1]
    values, seen = (one.transpose(0, 2, 1).reshape(n, -1) for one in windows)
    wanted, known = (templates[:, :, i].reshape(people * stretches, -1).T for i in (0, 1))
    size = np.sqrt((values**2 @ known) * (seen @ wanted**2))
    shape = n, people, stretches
    return (values @ wanted / np.maximum(size, 1e-6)).reshape(shape), (seen @ known).reshape(shape)


# The answer.

_AGREE_MM = 5.0  # between network and correlation
_ALIKE = 0.28  # correlation: 0.29 and more on necks that show C2/C3, 0.23 where it was wrong and on a lumbar spine
_SURE = 0.5  # of the probability, within 5 mm of its peak
_COLUMN_MM = 20.0  # of the spine that must be seen above C2/C3
_GAPS = 0.65, 1.4  # between neighbouring discs, against the template
_COLUMN = (ANTERIOR_MM > 8) & (ANTERIOR_MM < 24)


@dataclass(frozen=True, eq=False)
class FoundDiscs:
    """``c2_c3_mm``: along the cord, see Centreline; None where ``reason`` tells why. ``lower_mm``: number of the disc
    (4 is C3/C4 … 8 is C7/T1) → mm, as far as the network sees them: nothing confirms these. ``ribbon``: for a picture;
    None without enough cord."""

    c2_c3_mm: float | None = None
    reason: str = ""
    lower_mm: dict[int, float] = field(default_factory=dict)
    ribbon: Ribbon | None = None


class DiscFinder:
    """The network and the ribbons of others, from one file. ``card``: what it was trained on."""

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
            blank = np.zeros((1, 2, 2, len(ANTERIOR_MM)), np.float32)
            people = self._session.run([TEMPLATES], {RIBBON: blank})[0]
        except Exception as error:  # ONNX Runtime has a dozen errors without a common base
            raise ModelFileError(f"{path}: is no finder of discs ({error}): install SpinalCordSeg again") from error
        self.templates = Templates(people)

    def log_share(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """(6, n + 1), see disc_posteriors, of a network input (2, n, 81)."""
        n = inputs.shape[1]
        even = np.pad(inputs, ((0, 0), (0, n % 2), (0, 0)))
        found = self._session.run([LOG_SHARE], {RIBBON: even[None]})[0][0]
        return np.delete(found, n, axis=1) if n % 2 else found

    def find(self, ribbon: Ribbon) -> FoundDiscs:
        """The disc C2/C3, or the reason why it is not given."""
        inputs = network_input(ribbon.image)
        posterior = disc_posteriors(self.log_share(inputs).astype(np.float64))
        at, sure = _peak(posterior[0])
        vote, alike = self.templates.vote(bands(inputs))
        if sure < _SURE or alike < _ALIKE or not 0 <= vote < len(ribbon.image):
            return FoundDiscs(reason="the disc C2/C3 was not found in the image", ribbon=ribbon)
        if abs(vote - at) * STEP_MM > _AGREE_MM:
            return FoundDiscs(reason="two ways of finding the disc C2/C3 do not agree", ribbon=ribbon)
        seen = np.flatnonzero(np.isfinite(ribbon.image[:, _COLUMN]).mean(axis=1) > 0.5)
        if not len(seen) or seen[-1] - at < _COLUMN_MM / STEP_MM:
            text = f"less than {_COLUMN_MM:g} mm of the spine are in the image above what looks like the disc C2/C3"
            return FoundDiscs(reason=text, ribbon=ribbon)
        start = float(ribbon.arc_mm[0])
        c2_c3_mm, lower_mm = start + STEP_MM * at, {}
        for i, name in enumerate(("C3", "C4", "C5", "C6", "C7"), start=1):
            below, sure = _peak(posterior[i])
            gap = (at - below) * STEP_MM / TEMPLATE_LENGTH_MM[name]
            if sure < _SURE or below < seen[0] or not _GAPS[0] <= gap <= _GAPS[1]:
                break  # from here on a disc may have been passed over
            at, lower_mm[C2_C3 + i] = below, start + STEP_MM * below
        return FoundDiscs(c2_c3_mm, "", lower_mm, ribbon)


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
    """The disc C2/C3 of an image with its cord's centreline. Raises as DiscFinder."""
    if line.end_mm < LEAST_CORD_MM:
        return FoundDiscs(reason=f"less than {LEAST_CORD_MM:g} mm of cord were found")
    return (finder or disc_finder()).find(straighten(image, line))
