"""A mask corrected in its finished case: a person's own mask taken in, slices asked of the network again, drawn anew
between two good ones, or smoothed along the cord."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.case import CHANGED_MEANWHILE, Case, original_mask, save_case
from SpinalCordSegLib.case_folder import (
    AI_MASK,
    BACKDROP,
    GIVEN_MASK,
    case_mask,
    read_backdrop,
    read_mask,
    refresh_summary,
    versions,
)
from SpinalCordSegLib.errors import (
    ConfigurationError,
    GeometryError,
    InputFileError,
    ModelFileError,
    WouldReplaceError,
)
from SpinalCordSegLib.flags import kinds_from, merge_flags
from SpinalCordSegLib.identity import differing
from SpinalCordSegLib.metrics import mask_changes, signed_distance_mm
from SpinalCordSegLib.model.checkpoint import default_model, find_models, load_checkpoint
from SpinalCordSegLib.morphometry import fit_spline, slice_centroids
from SpinalCordSegLib.outline import region_with
from SpinalCordSegLib.pipeline import measure_mask
from SpinalCordSegLib.postprocessing import SMOOTH_Z_MM, clean, find_cord, smooth_z, smoothing_reach
from SpinalCordSegLib.quality_control import check_image_of
from SpinalCordSegLib.review import ACCEPTED, CORRECTED, Act, edited
from SpinalCordSegLib.slice_table import NONE, SliceTable
from SpinalCordSegLib.vertebral_levels import LevelOptions
from SpinalCordSegLib.volume import Volume, bounding_box, fingerprint, mask_sha256, place_on

if TYPE_CHECKING:
    from SpinalCordSegLib.image_io import Image
    from SpinalCordSegLib.model.checkpoint import Checkpoint

_OF_THE_RUN = ("model", "threshold", "smooth_z_mm", "device", "engine")
"""What only the run of the network could know."""
_log = logging.getLogger(__name__)


def store_correction(
    folder: Path,
    mask: Volume,
    who: str = "",
    *,
    image: Image | None = None,
    levels: LevelOptions | None = None,
    reopen: bool = False,
    did: str = CORRECTED,
    began: Case | None = None,
) -> Case:
    """Take a corrected mask into a finished case: measured anew, all files replaced at once; gives the case.

    ``mask``: cord where not zero, on the grid of the case's mask. ``who``: the person who corrected. ``image``: for the
    pictures; what the case's header said stands unless this one has a header of its own. ``levels``: None takes
    the discs that were marked. ``reopen``: also where the case was accepted; that needs ``who``. ``did``: what the
    history calls it. ``began``: the case that ``mask`` was made from, where it was read before. The mask before any
    correction stays as mask_ai.* (or mask_given.* where a person or other software had made it), never changed; every
    mask that a person made is a version of the case. The state becomes "corrected", and an earlier decision no longer
    holds. Raises InputFileError (no finished case), GeometryError
    (another grid), WouldReplaceError (it is accepted; somebody else changed it meanwhile), ConfigurationError (no
    name), OutputError.
    """
    case = Case.load(folder, needs_slices=False)
    current = case_mask(folder)
    if began is not None and began.mask_sha256 != case.mask_sha256:
        raise WouldReplaceError(f"{folder} {CHANGED_MEANWHILE}")
    if case.review.state == ACCEPTED and not reopen:
        raise WouldReplaceError(
            f"{folder} was accepted by {case.review.who}: reopen it first (review {folder} --reopen --by NAME), then"
            " correct it"
        )
    if case.review.state == ACCEPTED and not who.strip():
        raise ConfigurationError("an accepted case is reopened by somebody: give the name (--by NAME)")
    case = replace(case, drawn=current)
    mask = place_on(mask, current, ("the corrected mask", f"the mask of {folder.name}"))
    if image is not None and image.volume.shape != current.shape:  # its slices would be counted otherwise
        raise GeometryError(
            f"{image.path.name} holds {len(image.volume.voxels)} slices, the mask of {folder.name}"
            f" {len(current.voxels)}: measure the mask anew with --image, then correct it"
        )
    if image is not None:
        check_belongs(case, image)
    now = mask.with_voxels(np.asarray(mask.voxels) != 0)
    original_name = GIVEN_MASK if case.mask_state == "given" else AI_MASK
    original = original_mask(case, folder)
    if original is None and (changed := read_mask(folder, original_name)):  # by whoever opened the wrong file
        versions(folder).save(changed, state=CORRECTED)
    is_as_measured = mask_sha256(current) == case.mask_sha256
    first_correction = original is None and is_as_measured  # else what it began as is not there any more
    before = current if first_correction else original
    measured = measured_anew(case, now, before, image=image, levels=levels)
    backdrop = read_backdrop(folder, current) if image is None else None
    if backdrop is not None:
        of_image = check_image_of(backdrop, place_on(measured.mask, backdrop))
        measured = replace(measured, flags=merge_flags(of_image, measured.flags))
    review = edited(case.review, who)
    acts = [Act.now("reopened", who, case.mask_sha256, case.mask_sha256)] if case.review.state == ACCEPTED else []
    acts.append(Act.now(did, review.who, case.mask_sha256, measured.mask_sha256))
    measured = replace(measured, review=review, history=(*case.history, *acts), backdrop=backdrop)
    if case.is_by_person or not is_as_measured:
        versions(folder).save(current, who=case.review.who if is_as_measured else "", state=case.review.state)
    if mask_sha256(now) != measured.mask_sha256:  # as it was drawn, before specks and holes were cleaned
        versions(folder).save(now, who=review.who, state=CORRECTED)
    versions(folder).save(measured.mask, who=measured.review.who, state=CORRECTED)
    kept = [path for name in (f"{original_name}.*", "probability.*", BACKDROP) for path in folder.glob(name)]
    copies = {path.name: path for path in kept}
    if first_correction:
        copies[case.mask_file.replace("mask.", f"{original_name}.", 1)] = folder / case.mask_file
    stored = save_case(measured, folder, mask_format=case.mask_file.partition(".")[2], replaces=case, copies=copies)
    refresh_summary(folder.parent / "summary.csv", stored.summary_row())
    return stored


_SAME_GREY = 0.9  # correlation; of an image brightened or denoised since 0.95 and more, of two people's necks below 0.7


def check_belongs(case: Case, image: Image) -> None:
    """Raise InputFileError where ``image`` is not what ``case`` was made from: of another patient by its header, or
    other grey values about the cord than those that the case keeps for its pictures."""
    made_from, name = case.input, image.path.name
    if differ := differing(made_from.identity, image.identity):
        raise InputFileError(
            f"{name} is not of the patient of {case.folder}: its header states another {' and '.join(differ)}; give"
            " the image that the case was made from"
        )
    known = made_from.image_fingerprint if case.mask_state == "given" else made_from.fingerprint
    if case.folder is None or fingerprint(image.volume) == known:
        return
    mask = case_mask(case.folder)
    kept = read_backdrop(case.folder, mask)
    if kept is None and known:
        raise InputFileError(
            f"{name} is not voxel for voxel the image that {case.folder} was made from, and the case has no pictures"
            " left to compare it with: give that very image"
        )
    if kept is None:  # a mask that was measured without its image
        if check_image_of(image.volume, place_on(mask, image.volume, ("the mask", name))):
            raise InputFileError(
                f"the mask of {case.folder} was hardly drawn on {name}: inside it the image is as uneven as beside it;"
                " give the image it was drawn on"
            )
        return
    there = place_on(image.volume, kept, (name, f"the mask of {case.folder.name}")).voxels[kept.voxels > 0]
    alike = np.corrcoef(there, kept.voxels[kept.voxels > 0])[0, 1] if np.ptp(there) > 0 else 0.0
    if alike < _SAME_GREY:
        raise InputFileError(
            f"{name} is not the image that {case.folder} was made from: about the cord its grey values are others"
            f" (correlation {alike:.2f}, expected {_SAME_GREY:g} or more); give that image"
        )


def measured_anew(
    case: Case, mask: Volume, before: Volume | None, *, image: Image | None = None, levels: LevelOptions | None = None
) -> Case:
    """``case`` with ``mask`` (bool) in the place of its own: measured, and what only the network or the first run could
    know kept where it still holds. ``before``: the mask that the corrections began from, None where it is not known.
    """
    asked = levels or case.levels_asked or LevelOptions(not_found="" if case.levels is None else case.levels.reason)
    was_compared = case.levels is not None and case.levels.norm is not None
    cord = clean(mask if image is None else place_on(mask, image.volume, ("the mask", image.path.name)))
    changes = None if before is None else mask_changes(cord.mask, before)
    everywhere = set(range(cord.mask.shape[0]))
    changed = everywhere if changes is None else {one.canonical_slice for one in changes.slices}
    evidence = case.slices.evidence(cord.mask.shape[0], changed)
    cord = replace(cord, evidence=evidence, upper_end=case.upper_end_in(cord.mask))
    found = measure_mask(
        cord, case.name, image=image, slice_range=case.range, levels=replace(asked, was_compared=was_compared)
    )
    keeps_header = image is None or image.dicom is None
    source = case.input if keeps_header else found.input
    given_of = case.input.image_fingerprint or found.input.image_fingerprint
    found = replace(
        found,
        mask_state="corrected" if case.model else "given",
        changes=changes,
        contrast=found.contrast or case.contrast,
        # What a given mask was drawn on stays the image it was first measured with. A network's mask has but one.
        input=replace(
            source, fingerprint=case.input.fingerprint, image_fingerprint="" if case.model else given_of,
            acquisition_date=case.input.acquisition_date, identity=case.input.identity or found.input.identity,
            source=case.input.source,
        ),
        **{name: getattr(case, name) for name in _OF_THE_RUN},
        levels_asked=found.levels_asked if levels is not None else case.levels_asked,
        slices=_with_standing_numbers(found.slices, case.slices),
    )  # fmt: skip
    return _with_standing_flags(found, case, changed, image)


def _with_standing_numbers(table: SliceTable, earlier: SliceTable) -> SliceTable:
    """The DICOM numbers that an image without a header cannot give again."""
    numbers = dict(zip(earlier.canonical_slice.tolist(), earlier.instance_number.tolist(), strict=True))
    own = zip(table.canonical_slice.tolist(), table.instance_number.tolist(), strict=True)
    kept = [number if number != NONE else numbers.get(k, NONE) for k, number in own]
    return replace(table, instance_number=np.array(kept, dtype=np.int64))


def _with_standing_flags(found: Case, case: Case, changed: set[int], image: Image | None) -> Case:
    """What the network gave to doubt stands where nobody edited, and what measuring a mask cannot judge again of the
    whole case."""
    whole = set(kinds_from("input", "network"))
    if image is None:
        whole.update(kinds_from("image"))
    if image is None or image.dicom is None:
        whole.update(kinds_from("header"))
    standing = [
        flag
        for flag in case.flags
        if (
            flag.kind in whole
            if flag.canonical_slice is None
            else flag.kind in kinds_from("network") and flag.canonical_slice not in changed
        )
    ]
    doubtful = {flag.slice for flag in standing if flag.slice is not None} - {one.slice for one in found.queue}
    queue = [*found.queue, *(one for one in case.queue if one.slice in doubtful)]
    queue.sort(key=lambda one: (-one.score, one.canonical_slice))
    flags = merge_flags(standing, found.flags)
    return replace(found, flags=flags, queue=tuple(queue), slices=found.slices.with_flags(flags))


def model_of_case(case: Case) -> Path:
    """The weights file of the case's own model among those that are installed; the default one where no model drew
    the mask. Raises ModelFileError (there is none at all), ConfigurationError (the case's own is not here)."""
    model = case.model
    if model is None or not model.sha256:
        return default_model()
    for path in find_models():
        try:
            found = load_checkpoint(path)
            if model.sha256 in (found.sha256, found.file_sha256):  # cases of earlier releases have the file's
                return path
        except ModelFileError:  # no model any more: it is not the one that is looked for
            continue
    raise ConfigurationError(
        f"the case was segmented by {model.name} {model.version} (SHA-256 {model.sha256[:12]}…), which is not among the"
        " models here: name its weights file by --model, or the one to ask in its place"
    )


# The network asked again about some slices only: its answer there goes into a mask that stays as it is elsewhere.


_CONTEXT_MM = 20.0  # about one vertebral level each way decides which of several regions is the cord


def rerun_slices(
    image: Volume,
    mask: Volume,
    checkpoint: Checkpoint,
    slices: tuple[int, int],
    *,
    threshold: float = 0.5,
    smooth_z_mm: float = SMOOTH_Z_MM,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Volume:
    """A new mask with ``slices`` (from inferior, half-open) as the network sees them; all others stay.

    With ``smooth_z_mm`` the probability of thin ones is smoothed along z over that SD (``smooth_z``), and where the
    image shows no edge, the area follows that of the mask's slices around, taken for certain; 0: neither.

    ``image``: as it was segmented. ``mask``: cord where not zero, on the same grid; the result is bool. Among several
    regions the one that continues the mask's neighbouring slices is taken; a slice where the network finds none becomes
    empty. Raises GeometryError (another grid), ConfigurationError (range), DeviceError, VoxelError.
    """
    from SpinalCordSegLib.inference import predict

    at = round(float((np.linalg.inv(image.voxel_to_ras) @ mask.voxel_to_ras)[0, 3]))  # where the mask begins
    mask = place_on(mask, image, ("the mask", "the image"))
    first, end = slices[0] + at, slices[1] + at
    merged = mask.voxels != 0
    count = len(merged)
    _check_range((first, end), count)
    reach = smoothing_reach(smooth_z_mm, image.slice_mm)
    low, high = max(0, first - reach), min(count, end + reach)
    found = predict(image, checkpoint, device=device, slice_range=(low, high), progress=progress)
    # Smoothed among themselves: the slices beside them were not computed and are 0.
    smoothed = smooth_z(_part(found.probability, low, high), smooth_z_mm).voxels[first - low : end - low]
    context = max(1, round(_CONTEXT_MM / image.slice_mm))
    low, high = max(0, first - context), min(count, end + context)
    chances = merged[low:high].astype(np.float32)  # the mask around is taken for certain
    chances[first - low : end - low] = smoothed
    around = _part(found.probability, low, high).with_voxels(chances)
    chosen = find_cord(around, _part(image, low, high), threshold, impute=smooth_z_mm > 0).mask
    merged[first:end] = chosen.voxels[first - low : end - low]
    return mask.with_voxels(merged)


def _part(volume: Volume, first: int, end: int) -> Volume:
    """The slices from ``first`` to before ``end``, where they lie."""
    matrix = volume.ijk_to_ras.copy()
    matrix[:, 3] += matrix[:, volume.axes[0]] * min(volume.to_input_slice(first), volume.to_input_slice(end - 1))
    return Volume(volume.voxels[first:end], matrix)


def _check_range(slices: tuple[int, int], count: int) -> None:
    if not 0 <= slices[0] < slices[1] <= count:
        raise ConfigurationError(f"slices {slices[0]}:{slices[1]} do not fit {count} slices: expected within 0:{count}")


# Outlines are mixed as signed distances, moved so that their centres lie on each other.


_SMOOTH_PIXELS = 1.0
_MARGIN_MM = 4.0  # about the widest outline: mixed outlines stay within it


def _regions(mask: Volume) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """A window of rows and columns about the cord, and (slices, rows, columns) what each slice has of it there: its
    largest region, holes filled. Empty for an empty mask."""
    drawn = mask.voxels != 0
    box = bounding_box(drawn)
    if box is None:
        return (slice(0), slice(0)), drawn[:, :0, :0]
    margins = [int(_MARGIN_MM / mm) + 2 for mm in mask.pixel_mm]
    rows, columns = (
        slice(max(0, part.start - margin), part.stop + margin) for part, margin in zip(box[1:], margins, strict=True)
    )
    return (rows, columns), np.stack([region_with(pixels, pixels) for pixels in drawn[:, rows, columns]])


def _course(
    slices: NDArray[np.int64], centroids: NDArray[np.float64], at: NDArray[np.int64], mask: Volume
) -> NDArray[np.float64]:
    """(n, 2): where the centreline through these centroids of ``slices`` runs at the slices ``at``."""
    mm = centroids * mask.pixel_mm
    row_mm, column_mm = (fit_spline(slices, mm[:, axis], mask.slice_mm, at)[0] for axis in (0, 1))
    return np.stack([row_mm, column_mm], axis=1) / mask.pixel_mm


def _smoothed_distance_mm(pixels: NDArray[np.bool_], pixel_mm: tuple[float, float]) -> NDArray[np.float64]:
    """As signed_distance_mm; the steps that pixels leave in it are smoothed."""
    return np.asarray(ndimage.gaussian_filter(signed_distance_mm(pixels, pixel_mm), _SMOOTH_PIXELS))


def _moved(distance_mm: NDArray[np.float64], by: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(ndimage.shift(distance_mm, by, order=1, mode="nearest"))


def _innermost(distance_mm: NDArray[np.float64], n_pixels: int) -> NDArray[np.bool_]:
    """The ``n_pixels`` (at least one) that lie furthest inside. A threshold of 0 would give the area in steps of whole
    rings of pixels."""
    count = max(1, n_pixels)
    return np.asarray(distance_mm >= np.partition(distance_mm.ravel(), -count)[-count])


def _redrawn(mask: Volume, window: tuple[slice, slice], changed: dict[int, NDArray[np.bool_]]) -> Volume:
    """``mask`` as bool, with those slices replaced: by this in the window, nothing elsewhere."""
    voxels, (rows, columns) = mask.voxels != 0, window
    for k, pixels in changed.items():
        voxels[k] = False
        voxels[k, rows, columns] = pixels
    return mask.with_voxels(voxels)


# Slices between two good ones, drawn anew: the outline changes steadily from one to the other along the centreline.


def fill_between(mask: Volume, first: int, last: int) -> Volume:
    """A new mask with the slices strictly between ``first`` and ``last`` replaced; those two and all others stay.

    ``mask``: cord where not zero; the result is bool on the same grid. ``first`` < ``last``: slices (from inferior)
    with good outlines. Between them the signed distance from the outline, about the centreline of all slices outside
    the gap, goes linearly from one end's to the other's (shape interpolation), and so does the root of the area.
    Raises ConfigurationError when there is nothing between them, or an end has no cord.
    """
    count = len(mask.voxels)
    if not 0 <= first < last - 1 < count - 1:
        raise ConfigurationError(
            f"between slice {first} and slice {last} there is nothing to fill: give two of the slices 0 to {count - 1}"
            " with at least one between them, the lower one first"
        )
    window, regions = _regions(mask)
    for k in (first, last):
        if not regions[k].any():
            raise ConfigurationError(f"slice {k} (from inferior) has no cord: draw it first, or choose the next one")
    filled, centroids, _ = slice_centroids(regions)
    span = np.arange(first, last + 1)
    share = (span - first) / (last - first)
    good = (filled <= first) | (filled >= last)
    centres = _course(filled[good], centroids[good], span, mask)
    # Moved so that it meets the centroids of both ends.
    low, high = (centroids[filled == k][0] for k in (first, last))
    centres += np.outer(1 - share, low - centres[0]) + np.outer(share, high - centres[-1])
    ends = [_smoothed_distance_mm(regions[k], mask.pixel_mm) for k in (first, last)]
    roots = [sqrt(np.count_nonzero(regions[k])) for k in (first, last)]
    redrawn = {}
    for k, part, centre in list(zip(span.tolist(), share.tolist(), centres, strict=True))[1:-1]:
        below, above = _moved(ends[0], centre - low), _moved(ends[1], centre - high)
        n_pixels = round(((1 - part) * roots[0] + part * roots[1]) ** 2)
        redrawn[k] = _innermost((1 - part) * below + part * above, n_pixels)
    return _redrawn(mask, window, redrawn)


# A mask smoothed along the cord: steps from slice to slice go, the area of the interval stays.


_CUT_OFF = 3.0  # standard deviations


def smooth_along_cord(mask: Volume, slices: tuple[int, int] | None = None, *, reach_mm: float = 3.0) -> Volume:
    """A new mask whose outlines are weighted means of their neighbours' along the centreline.

    ``mask``: cord where not zero; the result is bool on the same grid. ``slices``: from inferior, half-open, the ones
    to change (None: all); their neighbours outside count too and stay as they are. ``reach_mm``: standard deviation of
    the Gaussian along the slice normal. The signed distances from the outlines are averaged about the centreline; each
    slice's area becomes the weighted mean of its neighbours' areas. Slices without cord stay empty. Raises
    ConfigurationError for a range outside the volume.
    """
    first, end = slices or (0, len(mask.voxels))
    _check_range((first, end), len(mask.voxels))
    window, regions = _regions(mask)
    filled, centroids, _ = slice_centroids(regions)
    if not filled.size:
        return mask.with_voxels(np.zeros(mask.shape, bool))
    course = _course(filled, centroids, filled, mask)
    areas = np.count_nonzero(regions[filled], axis=(1, 2)).astype(np.float64)
    distances = [_smoothed_distance_mm(regions[k], mask.pixel_mm) for k in filled]
    smoothed = {}
    for at in np.flatnonzero((filled >= first) & (filled < end)).tolist():
        apart_mm = (filled - filled[at]) * mask.slice_mm
        near = np.flatnonzero(np.abs(apart_mm) <= _CUT_OFF * reach_mm)
        weights = np.exp(-((apart_mm[near] / reach_mm) ** 2) / 2)
        weights /= weights.sum()
        around = [_moved(distances[n], course[at] - course[n]) for n in near.tolist()]
        mean = np.tensordot(weights, np.stack(around), axes=1)
        smoothed[int(filled[at])] = _innermost(mean, round(float(weights @ areas[near])))
    return _redrawn(mask, window, smoothed)
