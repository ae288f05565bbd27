"""From an image to a measured cord: the order of the steps, and what each of them took.

Nothing is read or written here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from SpinalCordSegLib.case import Case, CaseInput, ModelSummary
from SpinalCordSegLib.disc_finder import ends_below_brain, find_discs
from SpinalCordSegLib.errors import MissingPackageError
from SpinalCordSegLib.files import now_utc
from SpinalCordSegLib.flags import Flag, case_flag, merge_flags
from SpinalCordSegLib.morphometry import Centreline, CordMeasures, measure, without_sections
from SpinalCordSegLib.postprocessing import (
    SMOOTH_Z_MM,
    CordMask,
    check_threshold,
    clean,
    find_cord,
    smooth_z,
)
from SpinalCordSegLib.quality_control import (
    BRIGHT_FLUID_CONTRASTS,
    check_image,
    check_image_of,
    check_size,
    contrast_of,
    judge_slices,
    known_facts,
    rank_slices,
    slice_features,
)
from SpinalCordSegLib.review import AI, GIVEN, Review
from SpinalCordSegLib.slice_table import NONE
from SpinalCordSegLib.vertebral_levels import DiscMark, LevelOptions, measure_levels
from SpinalCordSegLib.volume import Volume, fingerprint, mask_sha256, place_on

if TYPE_CHECKING:
    from SpinalCordSegLib.image_io import Image
    from SpinalCordSegLib.model.checkpoint import Checkpoint


Progress = Callable[[str, int, int], None]
"""Called with the stage ("segment", "measure", ...), what is done and how much there is (slices; 0 of 0: unknown)."""


@dataclass(frozen=True)
class SegmentOptions:
    """How to segment and measure. ``smooth_z_mm``: the SD of ``smooth_z``; 0 leaves every slice to itself, so that none
    is imputed either. ``threshold`` None: 0.5, where fluid is bright the model's own. ``track_cord``: see ``predict``.
    ``slice_range``: half-open, indices of the input's own slices; it limits what is measured, never what is segmented.
    ``levels``: marked discs. ``keep_date``: the report may state the day of the scan, which tells who the patient is to
    those who know it."""

    threshold: float | None = None
    smooth_z_mm: float = SMOOTH_Z_MM
    device: str = "auto"
    track_cord: bool = True
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
    """Predict, find the cord, measure and judge it.

    No cord, a constant volume or one slice are answers with flags. Raises Cancelled, ConfigurationError (options),
    DeviceError, VoxelError.
    """
    from SpinalCordSegLib.inference import LEAST_PATH_THRESHOLD, predict

    options = options or SegmentOptions()
    threshold = 0.5 if options.threshold is None else options.threshold
    report = progress or (lambda stage, done, total: None)
    check_threshold(threshold)
    canonical_range(image.volume, options.slice_range)  # a wrong range is reported before the long work
    prediction = predict(
        image.volume,
        checkpoint,
        device=options.device,
        track_cord=options.track_cord and threshold >= LEAST_PATH_THRESHOLD,
        progress=lambda done, total: report("segment", done, total),
        cancelled=cancelled,
    )
    report("measure", 0, 0)
    started = time.perf_counter()
    probability = smooth_z(prediction.probability, options.smooth_z_mm)
    impute, c = options.smooth_z_mm > 0, checkpoint
    cord = find_cord(probability, image.volume, threshold, impute=impute)
    if options.threshold is None and _contrast(image, cord.mask) in BRIGHT_FLUID_CONTRASTS:
        threshold = c.calibration.bright_fluid_threshold
        cord = find_cord(probability, image.volume, threshold, impute=impute)
    on_grid = place_on(image.volume, probability)
    if cord.upper_end is not None and not ends_below_brain(on_grid, cord.mask.voxels, cord.upper_end):
        cord = replace(cord, upper_end=None)
    seconds = {"segment": prediction.seconds, "measure": time.perf_counter() - started}
    notes = [*(case_flag("header", note) for note in image.notes), *(case_flag("device", n) for n in prediction.notes)]
    if c.is_too_poor:
        notes.append(case_flag("model", "the model's mean Dice per slice was too low for measuring at its validation"))
    measured = _measured(image.case_name, image, cord, options, notes, probability)
    return replace(
        measured,
        probability=None if options.track_cord else probability,  # of windows alone it is no map, and large
        mask_state="AI",
        review=Review(AI),
        model=ModelSummary(c.name, c.version, c.sha256, c.licence, c.provenance, c.scores),
        threshold=threshold,
        smooth_z_mm=options.smooth_z_mm,
        device=prediction.device,
        engine=prediction.engine,
        seconds_by_stage=seconds | {"measure": seconds["measure"] + measured.seconds},
    )


def _contrast(image: Image, cord: Volume) -> str:
    return contrast_of(image.volume, place_on(cord, image.volume))


def measure_mask(
    mask: Volume | CordMask,
    case_name: str,
    *,
    image: Image | None = None,
    slice_range: tuple[int, int] | None = None,
    levels: LevelOptions | None = None,
    progress: Progress | None = None,
    notes: tuple[str, ...] = (),
) -> Case:
    """Measure and judge a mask (bool) made elsewhere, cleaned unless it is a CordMask; ``image``: what it was drawn on;
    ``notes``: on its file.

    Raises GeometryError when the image lies on another grid, ConfigurationError for an impossible range.
    """
    if progress is not None:
        progress("measure", 0, 0)
    if image is not None and isinstance(mask, Volume):
        placed = place_on(mask, image.volume, ("the mask", image.path.name))
        # on the image's own grid the mask's header counts, to its last digit
        if (placed.orientation, placed.shape) != (mask.orientation, mask.shape):
            mask = placed
    cord = clean(mask) if isinstance(mask, Volume) else mask
    remarks = [case_flag("header", note) for note in notes]
    if image is not None:
        remarks += check_image_of(image.volume, place_on(cord.mask, image.volume))
    options = SegmentOptions(slice_range=slice_range, levels=levels or LevelOptions())
    result = _measured(case_name, image, cord, options, remarks)
    mark = "" if image is None else fingerprint(image.volume)
    return replace(result, input=replace(result.input, image_fingerprint=mark))


def _measured(
    case_name: str,
    image: Image | None,
    cord: CordMask,
    options: SegmentOptions,
    remarks: Iterable[Flag],
    probability: Volume | None = None,
) -> Case:
    """The case of a cleaned mask made elsewhere: its measures, levels and flags, the ``remarks`` among them."""
    started = time.perf_counter()
    mask = cord.mask
    measures = measure(cord, slice_range=canonical_range(mask, options.slice_range))
    dicom = None if image is None else image.dicom
    of_image = (
        check_image(mask, dicom) if image is None else check_image(image.volume, dicom, place_on(mask, image.volume))
    )
    if any(flag.kind == "coarse_voxels" for flag in of_image):
        measures = without_sections(measures)
    features = slice_features(mask, measures)
    of_slices = judge_slices(mask, probability, features)
    of_size = check_size(features, measures.length_mm, mask)
    contrast = "" if image is None else _contrast(image, mask)
    facts = known_facts(dicom) | ({"t1w": False} if contrast not in ("", "T1w-like") else {})
    asked = _with_discs_found(options.levels, image, measures.line)
    levels = measure_levels(mask, measures, asked, facts=facts, upper_end=cord.upper_end)
    of_levels = () if levels is None else levels.flags
    flags = merge_flags(remarks, of_image, of_size, measures.flags, of_levels, of_slices)
    table = measures.slices.with_flags(flags)
    if dicom is not None and mask.axes[0] == 2:  # its images are the axial slices
        numbers = [NONE if (n := dicom.instance_numbers[k]) is None else n for k in table.slice.tolist()]
        table = replace(table, instance_number=np.array(numbers, dtype=np.int64))
    if levels is not None:
        names = [levels.by_slice.get(k, "") for k in table.canonical_slice.tolist()]
        places = {
            name: np.array([getattr(levels, name).get(k, np.nan) for k in table.canonical_slice.tolist()])
            for name in ("pam50_slice", "below_upper_end_mm")
        }
        table = replace(table, level=np.array(names, dtype=np.str_), **places)
    measured = {one.name: getattr(measures, one.name) for one in fields(CordMeasures)}
    return Case(
        **measured | {"flags": flags, "slices": table},
        name=case_name,
        mask_state="given",
        mask_sha256=mask_sha256(mask),
        created=now_utc(),
        range=options.slice_range,
        contrast=contrast,
        queue=rank_slices(flags, features),
        levels=levels,
        levels_asked=asked if asked.discs else None,
        review=Review(GIVEN),
        input=CaseInput.of(mask if image is None else image.volume, image, options.keep_date),
        seconds_by_stage={"measure": time.perf_counter() - started},
        drawn=mask,
        image=image,
        probability=probability,
    )


def _with_discs_found(asked: LevelOptions, image: Image | None, line: Centreline) -> LevelOptions:
    """The same with the discs as found in the image, where nobody marked one, or with the reason why they were not."""
    if asked.discs or not asked.find:
        return asked
    if image is None:
        is_wanted = asked.around_mm or asked.age_years is not None or asked.sex
        return replace(
            asked, not_found="no disc is marked, and none can be found without the image" if is_wanted else ""
        )
    try:
        found = find_discs(image.volume, line)
    except MissingPackageError as error:  # a mask is measured without ONNX Runtime too
        return replace(asked, not_found=f"the disc C2/C3 was not looked for: {error}")
    if found.reason:
        return replace(asked, not_found=f"{found.reason}: mark the disc C2/C3")
    places = {disc: line.point_at(mm).tolist() for disc, mm in found.discs_mm.items()}
    discs = tuple(DiscMark(disc, ras_mm=(r, a, s)) for disc, (r, a, s) in places.items())
    return replace(asked, discs=discs, automatic=True)


def canonical_range(volume: Volume, slice_range: tuple[int, int] | None) -> tuple[int, int] | None:
    """See Volume.from_input_range; None: all slices."""
    return None if slice_range is None else volume.from_input_range(*slice_range)
