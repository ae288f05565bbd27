"""From an image to a measured cord: the order of the steps, and what each of them took.

Nothing is read or written here; torch is imported only when something is segmented.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.case import Case, ModelSummary, new_case
from SpinalCordSegLib.errors import ConfigurationError, GeometryError
from SpinalCordSegLib.flags import case_flag, merge_flags
from SpinalCordSegLib.morphometry import clean, measure, with_pv_areas, without_sections
from SpinalCordSegLib.postprocessing import (
    LEAST_TRACKED,
    SIGMA_MM,
    MaskConfig,
    SteadyCord,
    average_along,
    find_cord,
    steady_area,
)
from SpinalCordSegLib.quality_control import (
    COARSE_LEFT_RIGHT,
    judge_slices,
    judge_suitability,
    known_facts,
    rank_doubts,
    slice_features,
)
from SpinalCordSegLib.review import AI, Review
from SpinalCordSegLib.vertebral_levels import LevelOptions, measure_levels
from SpinalCordSegLib.volume import AxialAxes, Volume

if TYPE_CHECKING:
    from SpinalCordSegLib.image_io import Image
    from SpinalCordSegLib.model.checkpoint import Checkpoint


_log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with the stage ("segment", "measure", ...), what is done and how much there is (slices; 0 of 0: unknown)."""


_HASHED_PLANES = 16  # at a time: 16 float32 that lie side by side are one line of the cache


@dataclass(frozen=True)
class SegmentOptions:
    """How to segment and measure. ``along_mm``: see ``along_cord``; 0 leaves every slice to itself, so that doubtful
    ones are not steadied either (``steady_area``). ``precision``, ``track_cord``: see ``predict``.
    ``slice_range``: half-open, indices of the input's own slices; it limits what is measured, never what is segmented.
    ``levels``: marked discs. ``keep_date``: the report may state the day of the scan, which tells who the patient is to
    those who know it."""

    threshold: float = 0.5
    along_mm: float = SIGMA_MM
    device: str = "auto"
    engine: str = "auto"
    precision: str = "float32"
    track_cord: bool = True
    batch_size: int | None = None
    slice_range: tuple[int, int] | None = None
    levels: LevelOptions = field(default_factory=LevelOptions)
    keep_date: bool = False


def segment_image(
    image: Image,
    checkpoint: Checkpoint,
    options: SegmentOptions | None = None,
    *,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Case:
    """Predict, choose the cord, measure and judge it.

    No cord, a constant volume or one slice are answers with flags. Raises Cancelled, ConfigurationError (options),
    DeviceError, VoxelError.
    """
    from SpinalCordSegLib.inference import predict

    options = options or SegmentOptions()
    config = MaskConfig(threshold=options.threshold)
    canonical_range(image.volume, options.slice_range)  # a wrong range is told before the long work
    tell = progress or _silent
    prediction = predict(
        image.volume,
        checkpoint,
        device=options.device,
        engine=options.engine,
        precision=options.precision,
        track_cord=options.track_cord and options.threshold >= LEAST_TRACKED,
        batch_size=options.batch_size,
        progress=lambda done, total: tell("segment", done, total),
        cancelled=cancelled,
    )
    tell("measure", 0, 0)
    started = time.perf_counter()
    probability = average_along(prediction.probability, options.along_mm, in_place=True)  # nobody else's
    cord = find_cord(probability, config)
    mask, steady = cord.mask, None
    if options.along_mm > 0:
        steady = steady_area(mask, probability, options.threshold, in_place=True)
        mask, probability = steady.mask, steady.probability
    result = _measured(image.case_name, image, mask, probability, options, steady)
    remarks = [case_flag("header", note) for note in image.notes]
    remarks += [case_flag("device", note) for note in prediction.notes]
    remarks += [case_flag("component", note) for note in cord.notes]
    c = checkpoint
    return replace(
        result,
        flags=merge_flags(remarks, result.flags),
        mask_state="AI",
        review=Review(AI),
        removed_mm3=result.removed_mm3 + cord.removed_mm3,
        seconds_by_stage={"segment": prediction.seconds, "measure": time.perf_counter() - started},
        model=ModelSummary(c.name, c.version, c.sha256, c.licence, c.provenance, c.scores),
        threshold=options.threshold,
        along_mm=options.along_mm,
        device=prediction.device,
        engine=prediction.engine,
        n_windowed=prediction.n_windowed,
        slices_steadied=None if steady is None else len(steady.slices),
        batch_size=prediction.batch_size,
    )


def measure_mask(
    mask: Volume,
    case_name: str,
    *,
    image: Image | None = None,
    slice_range: tuple[int, int] | None = None,
    levels: LevelOptions | None = None,
    progress: Progress | None = None,
) -> Case:
    """Measure a mask (bool) made elsewhere; ``image``: what it was drawn on, which the pictures show beneath it.

    Raises GeometryError when the image lies on another grid, ConfigurationError for an impossible range.
    """
    (progress or _silent)("measure", 0, 0)
    if image is not None and not image.volume.same_grid(mask):
        raise GeometryError(
            f"{image.path.name} and the mask lie on different grids ({_grid_words(image.volume)} and"
            f" {_grid_words(mask)}): resample the mask to the image's grid first"
        )
    started = time.perf_counter()
    options = SegmentOptions(slice_range=slice_range, levels=levels or LevelOptions())
    result = _measured(case_name, image, mask, None, options)
    return replace(
        result,
        seconds_by_stage={"measure": time.perf_counter() - started},
        input=replace(result.input, image_fingerprint="" if image is None else fingerprint(image.volume)),
    )


def _measured(
    case_name: str,
    image: Image | None,
    mask: Volume,
    probability: Volume | None,
    options: SegmentOptions,
    steady: SteadyCord | None = None,
) -> Case:
    cleaned = clean(mask)
    chosen = canonical_range(mask, options.slice_range)
    measures = measure(cleaned, probability=probability, slice_range=chosen)
    if steady is not None:
        # Visits are compared by what the network gave: an outline that is wrong alike at both cancels,
        # one that is mended at one of them does not.
        measures = with_pv_areas(measures, {one.canonical_slice: one.before_pv_mm2 for one in steady.slices})
    volume = mask if image is None else image.volume
    suitability = judge_suitability(volume, None if image is None else image.dicom)
    if any(flag.kind == COARSE_LEFT_RIGHT for flag in suitability):
        measures = without_sections(measures)
    features = slice_features(cleaned.mask, probability, measures)
    doubts = judge_slices(cleaned.mask, probability, measures, features=features, steady=steady)
    facts = known_facts(None if image is None else image.dicom, suitability)
    levels = measure_levels(cleaned.mask, measures, options.levels, facts=facts)
    flags = merge_flags(suitability, measures.flags, () if levels is None else levels.flags, doubts)
    return new_case(
        case_name,
        cleaned.mask,
        measures,
        flags,
        image=image,
        probability=probability,
        levels=levels,
        levels_asked=options.levels,
        slice_range=options.slice_range,
        keep_date=options.keep_date,
        queue=rank_doubts(flags, features),
    )


def canonical_range(volume: Volume, slice_range: tuple[int, int] | None) -> tuple[int, int] | None:
    """A half-open range of the input's own slices as one counted from inferior.

    Raises ConfigurationError when it does not fit the volume.
    """
    if slice_range is None:
        return None
    axis, flip = AxialAxes.of(volume.ijk_to_ras).ras[2]
    first, end, count = *slice_range, volume.shape[axis]
    if not 0 <= first < end <= count:
        raise ConfigurationError(
            f"the range {first}:{end} does not fit {count} slices: give FIRST:END with 0 <= FIRST < END <= {count}"
            " (END itself is not measured)"
        )
    return (count - end, count - first) if flip else (first, end)


def fingerprint(volume: Volume) -> str:
    """SHA-256 over shape, grid (to 1e-4 mm) and voxels: tells whether a result belongs to this very input."""
    digest = hashlib.sha256(repr((volume.shape, volume.voxels.dtype.str)).encode())
    digest.update((np.round(volume.ijk_to_ras, 4) + 0.0).tobytes())
    for first in range(0, volume.shape[0], _HASHED_PLANES):
        digest.update(_in_c_order(volume.voxels[first : first + _HASHED_PLANES]).data)
    return digest.hexdigest()


def _in_c_order(block: NDArray) -> NDArray:
    """The same in C order. Copied slice by slice along the axis of the longest steps in memory, which is four times
    as fast as numpy's own copy of an array that lies the other way round, as what was read from a file does."""
    if block.flags.c_contiguous:
        return block
    ordered = np.empty(block.shape, block.dtype)
    farthest = int(np.argmax(block.strides))
    for to, of in zip(np.moveaxis(ordered, farthest, 0), np.moveaxis(block, farthest, 0), strict=True):
        to[...] = of
    return ordered


def _grid_words(volume: Volume) -> str:
    return f"{'×'.join(map(str, volume.shape))} voxels of {'×'.join(f'{mm:g}' for mm in volume.spacing_mm)} mm"


def _silent(stage: str, done: int, total: int) -> None:
    return
