"""From single frames to one straight, gap-free stack, or an error that names the file and where it lies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.errors import DicomSeriesError
from SpinalCordSegLib.images.dicom_frames import Frame
from SpinalCordSegLib.images.volume import lps_to_ras

_SAME_DIRECTION = 1e-3  # of a direction cosine; headers that are rounded to four digits pass
_DRIFT_MM = 0.1  # how far off the normal a position may lie for rounding alone ...
_DRIFT_PER_MM = 1e-3  # ... and per mm along the normal (0.06°, the shear a Volume accepts)


def sort_frames(frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """By position along the slice normal; frames without a place go by number and file, so that a list can be shown."""
    if not frames or any(frame.position is None or frame.directions is None for frame in frames):
        return tuple(sorted(frames, key=lambda frame: (frame.number or 0, str(frame.file), frame.index or 0)))
    normal = frames[0].normal()
    return tuple(sorted(frames, key=lambda frame: (frame.along(normal), str(frame.file), frame.index or 0)))


def stack_matrix(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """ijk→RAS of the sorted frames: i along a row, j along a column, k along the slice normal.

    One frame takes its nominal thickness as slice spacing (1 mm if unknown). Raises DicomSeriesError for frames
    of differing size, pixel spacing or orientation, duplicates, missing slices, uneven steps and gantry tilt.
    """
    _check_alike(frames)
    directions = _directions(frames[0])
    normal = np.cross(directions[0], directions[1])
    along = np.array([frame.along(normal) for frame in frames])
    step_mm = _step(frames, along)
    _check_straight(frames, along, normal)
    pixel_mm = frames[0].pixel_mm
    if pixel_mm is None or min(pixel_mm) <= 0:
        raise DicomSeriesError(f"{frames[0].name} has no usable PixelSpacing: mm cannot be known; export it again")
    lps = np.eye(4)
    lps[:3, 0] = directions[0] * pixel_mm[1]
    lps[:3, 1] = directions[1] * pixel_mm[0]
    lps[:3, 2] = normal * step_mm
    lps[:3, 3] = frames[0].position
    return lps_to_ras(lps)


def _directions(frame: Frame) -> NDArray[np.float64]:
    """Row and column direction, exactly perpendicular and of length 1, shape (2, 3)."""
    frame.normal()  # raises where the orientation is unknown
    row, column = np.array(frame.directions, dtype=np.float64).reshape(2, 3)
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > 1e-2 or abs(row @ column) > _SAME_DIRECTION:
        raise DicomSeriesError(f"{frame.name} has row and column directions that are not at right angles; export again")
    row /= lengths[0]
    column -= row * (row @ column)
    return np.stack([row, column / np.linalg.norm(column)])


def _check_alike(frames: Sequence[Frame]) -> None:
    """Every frame agrees with the majority in size, pixel spacing and orientation."""
    for what, key in (
        ("size", lambda frame: frame.shape),
        ("pixel spacing", lambda frame: frame.pixel_mm and tuple(round(value, 4) for value in frame.pixel_mm)),
    ):
        usual = Counter(map(key, frames)).most_common(1)[0][0]
        odd = next((frame for frame in frames if key(frame) != usual), None)
        if odd is not None:
            raise DicomSeriesError(
                f"the {what} varies: {odd.name}{_where(odd)} has {key(odd)}, most have {usual};"
                " choose a series of one geometry or export it again"
            )
    normals = np.array([frame.normal() for frame in frames])
    turned = np.array([frame.directions for frame in frames], dtype=np.float64)
    usual_turn = np.median(turned, axis=0)
    if (np.abs(turned - usual_turn).max(axis=1) > _SAME_DIRECTION).mean() > 0.5:
        usual_turn = turned[0]  # several orientations in equal parts, as in a localizer
    apart = np.abs(turned - usual_turn).max(axis=1)
    if apart.max() > _SAME_DIRECTION:
        odd = frames[int(np.argmax(apart > _SAME_DIRECTION))]
        usual_normal = np.cross(usual_turn[:3], usual_turn[3:])
        cosine = np.clip(normals[int(np.argmax(apart > _SAME_DIRECTION))] @ usual_normal, -1, 1)
        raise DicomSeriesError(
            f"the orientation varies: {odd.name}{_where(odd)} is turned against the others"
            f" (slice normals {np.degrees(np.arccos(cosine)):.1f}° apart); a localizer cannot be measured, choose"
            " a series of parallel slices"
        )


def _where(frame: Frame) -> str:
    return "" if frame.position is None or frame.directions is None else f" at {frame.along(frame.normal()):.1f} mm"


def _step(frames: Sequence[Frame], along: NDArray[np.float64]) -> float:
    if len(frames) == 1:
        return frames[0].thickness_mm or 1.0
    steps = np.diff(along)
    usual = float(np.sort(steps)[(len(steps) - 1) // 2])
    for (before, after), step, place in zip(pairwise(frames), steps, along, strict=False):
        if step < max(1e-3, 0.01 * usual):
            raise DicomSeriesError(
                f"two slices lie at the same position: {before.name} and {after.name} at {place:.1f} mm; the series"
                " holds several echoes, time points or copies: keep one slice per position"
            )
    for (before, after), step, place in zip(pairwise(frames), steps, along, strict=False):
        if abs(step - usual) <= 0.05 * usual + 0.01:
            continue
        n_missing = round(step / usual) - 1
        between = f"between {before.name} at {place:.1f} mm and {after.name} at {place + step:.1f} mm"
        if n_missing >= 1 and abs(step / usual - n_missing - 1) < 0.2:
            raise DicomSeriesError(
                f"{n_missing} slice{'s are' if n_missing > 1 else ' is'} missing {between}"
                f" (the usual step is {usual:.2f} mm); export the whole series again"
            )
        raise DicomSeriesError(
            f"the slice spacing varies: {step:.2f} mm {between}, usually {usual:.2f} mm; only evenly spaced slices"
            " can be measured: choose another series or export it again"
        )
    return float((along[-1] - along[0]) / (len(frames) - 1))


def _check_straight(frames: Sequence[Frame], along: NDArray[np.float64], normal: NDArray[np.float64]) -> None:
    positions = np.array([frame.position for frame in frames], dtype=np.float64)
    moved = positions - positions[0]
    drift = np.linalg.norm(moved - np.outer(moved @ normal, normal), axis=1)
    limit = _DRIFT_MM + _DRIFT_PER_MM * np.abs(along - along[0])
    if (drift <= limit).all():
        return
    worst = int(np.argmax(drift - limit))
    angle = np.degrees(np.arctan2(drift[worst], abs(along[worst] - along[0])))
    raise DicomSeriesError(
        f"the stack is tilted (gantry tilt): {frames[worst].name} at {along[worst]:.1f} mm lies {drift[worst]:.1f} mm"
        f" beside the slice normal ({angle:.1f}°); resample the series to a rectangular grid first"
    )
