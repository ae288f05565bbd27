"""A mask corrected in its finished case: a person's own mask taken in, slices asked of the network again, drawn anew
between two good ones, or smoothed along the cord."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.case import (
    AI_MASK,
    BACKDROP,
    GIVEN_MASK,
    Case,
    Summary,
    read_backdrop,
    read_mask,
    save_case,
    versions,
)
from SpinalCordSegLib.errors import (
    ConfigurationError,
    GeometryError,
    InputFileError,
    ModelFileError,
    OutputError,
    WouldReplaceError,
)
from SpinalCordSegLib.flags import kinds_from, merge_flags
from SpinalCordSegLib.metrics import mask_changes, mask_sha256
from SpinalCordSegLib.model.checkpoint import default_model, find_models, verified_card
from SpinalCordSegLib.morphometry import fit_centreline
from SpinalCordSegLib.pipeline import measure_mask
from SpinalCordSegLib.postprocessing import (
    SMOOTH_Z_MM,
    adjust_outlines,
    bounding_box,
    find_cord,
    main_region,
    smooth_z,
    smoothing_reach,
)
from SpinalCordSegLib.review import ACCEPTED, CORRECTED, edited
from SpinalCordSegLib.slice_table import NONE, SliceTable
from SpinalCordSegLib.vertebral_levels import LevelOptions
from SpinalCordSegLib.volume import Volume, from_canonical, place_on, to_canonical

if TYPE_CHECKING:
    from SpinalCordSegLib.image_io import Image
    from SpinalCordSegLib.model.checkpoint import Checkpoint

_log = logging.getLogger(__name__)


def store_correction(
    folder: Path,
    mask: Volume,
    who: str = "",
    *,
    image: Image | None = None,
    levels: LevelOptions | None = None,
    reopen: bool = False,
) -> Case:
    """Take a corrected mask into a finished case: measured anew, all files replaced at once; gives the case.

    ``mask``: cord where not zero, on the grid of the case's mask. ``who``: the person who corrected. ``image``: for the
    pictures; what the case's header said stands unless this one has a header of its own. ``levels``: None takes
    the discs that were marked. ``reopen``: also where the case was accepted. The mask before any correction stays as
    mask_ai.* (or mask_given.* where a person or other software had made it), never changed; every mask that a person
    made is a version of the case. The state becomes "corrected", and an earlier decision no longer holds.
    Raises InputFileError (no finished case), GeometryError (another grid), WouldReplaceError (it is accepted; somebody
    else changed it meanwhile), OutputError.
    """
    case = Case.load(folder, needs_slices=False)
    current = read_mask(folder)
    if current is None:
        raise InputFileError(f"{folder} holds no mask; segment again with --force")
    if case.review.state == ACCEPTED and not reopen:
        raise WouldReplaceError(
            f"{folder} was accepted by {case.review.who}: reopen it first (review {folder} --reopen), then correct it"
        )
    case = replace(case, drawn=current)
    mask = place_on(mask, current, ("the corrected mask", f"the mask of {folder.name}"))
    if image is not None and image.volume.shape != current.shape:  # its slices would be counted otherwise
        raise GeometryError(
            f"{image.path.name} holds {len(image.volume.voxels)} slices, the mask of {folder.name}"
            f" {len(current.voxels)}: measure the mask anew with --image, then correct it"
        )
    now = mask.with_voxels(np.asarray(mask.voxels) != 0)
    original_name = GIVEN_MASK if case.mask_state == "given" else AI_MASK
    original = read_mask(folder, original_name)
    is_as_measured = mask_sha256(current) == case.mask_sha256
    first_correction = original is None and is_as_measured  # else what it began as is not there any more
    before = current if first_correction else original
    measured = measured_anew(case, now, before, image=image, levels=levels)
    backdrop = read_backdrop(folder, current) if image is None else None
    measured = replace(measured, review=edited(case.review, who), backdrop=backdrop)
    if case.is_by_person or not is_as_measured:
        versions(folder).save(current, who=case.review.who if is_as_measured else "", state=case.review.state)
    versions(folder).save(measured.mask, who=measured.review.who, state=CORRECTED)
    kept = [path for name in (f"{original_name}.*", "probability.*", BACKDROP) for path in folder.glob(name)]
    copies = {path.name: path for path in kept}
    if first_correction:
        copies[case.mask_file.replace("mask.", f"{original_name}.", 1)] = folder / case.mask_file
    stored = save_case(measured, folder, mask_format=case.mask_file.partition(".")[2], replaces=case, copies=copies)
    _refresh_summary(folder.parent / "summary.csv", stored)
    return stored


def measured_anew(
    case: Case, mask: Volume, before: Volume | None, *, image: Image | None = None, levels: LevelOptions | None = None
) -> Case:
    """``case`` with ``mask`` (bool) in the place of its own: measured, and what only the network or the first run could
    know kept where it still holds. ``before``: the mask that the corrections began from, None where it is not known.
    """
    asked = levels or (LevelOptions() if case.levels_asked is None else case.levels_asked.options())
    was_compared = case.levels is not None and case.levels.norm is not None
    found = measure_mask(
        mask, case.name, image=image, slice_range=case.range, levels=replace(asked, was_compared=was_compared)
    )
    changes = None if before is None else mask_changes(found.mask, before)
    everywhere = set(found.slices.canonical_slice.tolist())
    changed = everywhere if changes is None else {one.canonical_slice for one in changes.slices}
    keeps_header = image is None or image.dicom is None
    source = case.input if keeps_header else found.input
    given_of = case.input.image_fingerprint or found.input.image_fingerprint
    found = replace(
        found,
        mask_state="corrected" if case.model else "given",
        changes=changes,
        # What a given mask was drawn on stays the image it was first measured with. A network's mask has but one.
        input=replace(
            source, fingerprint=case.input.fingerprint, image_fingerprint="" if case.model else given_of,
            acquisition_date=case.input.acquisition_date,
        ),
        model=case.model,
        threshold=case.threshold,
        along_mm=case.along_mm,
        device=case.device,
        engine=case.engine,
        n_windowed=case.n_windowed,
        slices_adjusted=case.slices_adjusted,
        batch_size=case.batch_size,
        levels_asked=found.levels_asked if levels is not None else case.levels_asked,
        slices=_with_standing_columns(found.slices, case.slices, changed),
    )  # fmt: skip
    return _with_standing_flags(found, case, changed, image)


def _with_standing_columns(table: SliceTable, earlier: SliceTable, changed: set[int]) -> SliceTable:
    """Areas from the probability where nobody edited: visits are compared by them; and DICOM numbers without a
    header."""
    areas = dict(zip(earlier.canonical_slice.tolist(), earlier.pv_in_slice_mm2.tolist(), strict=True))
    table = table.with_pv_in_slice({k: mm2 for k, mm2 in areas.items() if k not in changed and np.isfinite(mm2)})
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


def _refresh_summary(path: Path, case: Case) -> None:
    """The case's row in the batch's table, where it has one: it must not keep the former volume."""
    if not path.is_file():
        return
    try:
        summary = Summary(path)
        if summary.has(case.name):
            summary.put(case.summary_row())
    except OutputError as error:
        _log.warning("summary.csv still has the numbers before the correction: %s", error)


def model_of_case(case: Case) -> Path:
    """The weights file of the case's own model among those that are installed; the default one where no model drew
    the mask. Raises ModelFileError (there is none at all), ConfigurationError (the case's own is not here)."""
    model = case.model
    if model is None or not model.sha256:
        return default_model()
    for path in find_models():
        try:
            if verified_card(path).sha256 == model.sha256:
                return path
        except ModelFileError:  # no model any more: it is not the one that is looked for
            continue
    raise ConfigurationError(
        f"the case was segmented by {model.name} {model.version} (SHA-256 {model.sha256[:12]}…), which is not among the"
        " models here: name its weights file by --model, or the one to ask in its place"
    )


# The network asked again about some slices only: its answer there goes into a mask that stays as it is elsewhere.


_CONTEXT_MM = 20.0  # about one vertebral level each way says which of several regions is the cord


def rerun_slices(
    image: Volume,
    mask: Volume,
    checkpoint: Checkpoint,
    slices: tuple[int, int],
    *,
    threshold: float = 0.5,
    along_mm: float = SMOOTH_Z_MM,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Volume:
    """A new mask with ``slices`` (canonical, half-open) as the network sees them; all others stay.

    With ``along_mm`` the probability of thin ones is smoothed along z over that SD (``smooth_z``), and where no edge is
    sharp, the area follows that of the mask's slices around (``adjust_outlines``), which are taken for certain; 0:
    neither.

    ``image``: as it was segmented. ``mask``: cord where not zero, on the same grid; the result is bool. Among several
    regions the one that continues the mask's neighbouring slices is taken; a slice where the network finds none becomes
    empty. Raises GeometryError (another grid), ConfigurationError (range), Cancelled, DeviceError, VoxelError.
    """
    from SpinalCordSegLib.inference import predict

    at = round(float((np.linalg.inv(image.voxel_to_ras) @ mask.voxel_to_ras)[0, 3]))  # where the mask begins
    mask = place_on(mask, image, ("the mask", "the image"))
    first, end = slices = slices[0] + at, slices[1] + at
    voxels = to_canonical(mask).voxels != 0
    if not 0 <= first < end <= voxels.shape[2]:
        raise ConfigurationError(
            f"slices {first}:{end} do not fit {voxels.shape[2]} slices: give FIRST:END within them"
        )
    reach = smoothing_reach(along_mm, to_canonical(image).spacing_mm[2])
    wider = max(0, first - reach), min(voxels.shape[2], end + reach)
    prediction = predict(image, checkpoint, device=device, slice_range=wider, progress=progress, cancelled=cancelled)
    merged = voxels.copy()
    averaged = _averaged(prediction.probability, wider, along_mm)
    merged[:, :, first:end] = _chosen(averaged, voxels, slices, threshold, adjust=along_mm > 0)
    return from_canonical(merged, mask)


def _averaged(probability: Volume, computed: tuple[int, int], along_mm: float) -> Volume:
    """The slices that were computed, averaged among themselves: those beside them are 0 for want of an answer."""
    canonical = to_canonical(probability)
    part = Volume.from_ijk(canonical.voxels[:, :, computed[0] : computed[1]], canonical.ijk_to_ras)
    voxels = canonical.voxels.copy()
    voxels[:, :, computed[0] : computed[1]] = smooth_z(part, along_mm).ijk
    return from_canonical(voxels, probability)


def _chosen(
    probability: Volume, voxels: np.ndarray, slices: tuple[int, int], threshold: float, adjust: bool
) -> np.ndarray:
    """The network's region in ``slices``, chosen and adjusted with the mask around taken for certain."""
    first, end = slices
    canonical = to_canonical(probability)
    context = max(1, round(_CONTEXT_MM / canonical.spacing_mm[2]))
    low, high = max(0, first - context), min(voxels.shape[2], end + context)
    chance = voxels[:, :, low:high].astype(np.float32)
    chance[:, :, first - low : end - low] = canonical.voxels[:, :, first:end]
    matrix = canonical.ijk_to_ras.copy()
    matrix[:, 3] = matrix @ (0, 0, low, 1)
    around = Volume.from_ijk(chance, matrix)
    found = find_cord(around, threshold).mask
    if adjust:
        found = adjust_outlines(found, around, threshold).mask
    return found.ijk[:, :, first - low : end - low]


# The cord's outline in a slice as a signed distance about its centre, so that outlines can be mixed.


_SMOOTH_PIXELS = 1.0
_MARGIN_MM = 4.0  # about the widest outline: mixed outlines stay within it


@dataclass(frozen=True, eq=False)
class OutlineStack:
    """All slices of a mask about the cord. ``voxels``: bool [R, A, S], a window of every slice with its largest piece,
    holes filled; ``corner``: where the window begins in the slice. ``spacing_mm``: of R, A, S. ``reach``: in pixels,
    from a centre to beyond any outline."""

    voxels: NDArray[np.bool_]
    corner: tuple[int, int]
    spacing_mm: tuple[float, float, float]
    reach: tuple[int, int]

    @classmethod
    def of(cls, mask: Volume) -> OutlineStack | None:
        """None for an empty mask."""
        canonical = to_canonical(mask)
        drawn = canonical.voxels != 0
        box = bounding_box(drawn)
        if box is None:
            return None
        margins = [int(_MARGIN_MM / mm) + 2 for mm in canonical.spacing_mm[:2]]
        low = [max(0, box[axis].start - margins[axis]) for axis in (0, 1)]
        high = [min(canonical.shape[axis], box[axis].stop + margins[axis]) for axis in (0, 1)]
        voxels = np.zeros((high[0] - low[0], high[1] - low[1], canonical.shape[2]), bool)
        widest = [0, 0]
        for k in range(box[2].start, box[2].stop):
            pixels = drawn[low[0] : high[0], low[1] : high[1], k]
            if not pixels.any():
                continue
            voxels[:, :, k] = main_region(pixels)
            for axis in (0, 1):
                used = np.flatnonzero(pixels.any(axis=1 - axis))
                widest[axis] = max(widest[axis], int(used[-1] - used[0]) + 1 + margins[axis])
        return cls(voxels, (low[0], low[1]), canonical.spacing_mm, (widest[0], widest[1]))

    def centres(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The non-empty slices, and (n, 2) their unweighted centroids in pixels of the window."""
        counts = np.count_nonzero(self.voxels, axis=(0, 1))
        filled = np.flatnonzero(counts)
        x = np.arange(self.voxels.shape[0]) @ self.voxels.sum(axis=1)[:, filled] / counts[filled]
        y = np.arange(self.voxels.shape[1]) @ self.voxels.sum(axis=0)[:, filled] / counts[filled]
        return filled, np.stack([x, y], axis=1)

    def course(
        self, filled: NDArray[np.int64], centroids: NDArray[np.float64], at: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """(n, 2): where the centreline through the given slices runs at the slices ``at``, pixels of the window."""
        mm = centroids * self.spacing_mm[:2]
        x_mm, y_mm, *_ = fit_centreline(filled, mm[:, 0], mm[:, 1], self.spacing_mm[2], at=at)
        return np.stack([x_mm, y_mm], axis=1) / self.spacing_mm[:2]

    def distance_mm(self, k: int, centre: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance from slice k's outline (inside positive) on a grid of 2·reach + 1 pixels about ``centre``, mm.

        The outline runs half a pixel beyond the last one inside; the steps that pixels leave in the distance are
        smoothed. Beyond the image is outside. Raises ValueError for an empty slice.
        """
        pixels = self.voxels[:, :, k]
        if not pixels.any():
            raise ValueError(f"slice {k} has no outline")
        corner = [int(c) - r - 1 for c, r in zip(centre, self.reach, strict=True)]
        window = _window(pixels, corner, (2 * self.reach[0] + 4, 2 * self.reach[1] + 4))
        inside = ndimage.distance_transform_edt(window, sampling=self.spacing_mm[:2])
        outside = ndimage.distance_transform_edt(~window, sampling=self.spacing_mm[:2])
        half = min(self.spacing_mm[:2]) / 2
        distance = ndimage.gaussian_filter(np.where(window, inside - half, half - outside), _SMOOTH_PIXELS)
        steps = [c - o + np.arange(-r, r + 1.0) for c, o, r in zip(centre, corner, self.reach, strict=True)]
        return ndimage.map_coordinates(distance, np.meshgrid(*steps, indexing="ij"), order=1, mode="nearest")

    def inside(self, distance_mm: NDArray[np.float64], centre: NDArray[np.float64], n_pixels: int) -> NDArray[np.bool_]:
        """The outline that a distance about ``centre`` stands for, on the pixels of the window: the ``n_pixels`` (at
        least one) that lie furthest inside. A threshold of 0 would give the area in steps of whole rings of pixels."""
        found = self._placed(distance_mm, centre)
        count = max(1, n_pixels)
        level = np.partition(found.ravel(), -count)[-count]
        return np.asarray((found >= level) & np.isfinite(found))

    def _placed(self, distance_mm: NDArray[np.float64], centre: NDArray[np.float64]) -> NDArray[np.float64]:
        """Inverse of ``distance_mm``: the distance on the pixels of the window, -infinity beyond its reach."""
        x, y = (np.arange(n) - c + r for n, c, r in zip(self.voxels.shape, centre, self.reach, strict=False))
        found = np.full(self.voxels.shape[:2], -np.inf)
        i = np.flatnonzero((x >= 0) & (x <= 2 * self.reach[0]))
        j = np.flatnonzero((y >= 0) & (y <= 2 * self.reach[1]))
        if i.size and j.size:
            at = np.meshgrid(x[i], y[j], indexing="ij")
            found[np.ix_(i, j)] = ndimage.map_coordinates(distance_mm, at, order=1, mode="nearest")
        return found

    def onto(self, mask: Volume, changed: dict[int, NDArray[np.bool_]]) -> Volume:
        """``mask`` as bool with some slices replaced by what ``changed`` holds for the window (the rest of such a
        slice is emptied)."""
        voxels = np.array(to_canonical(mask).voxels != 0)
        x, y = (slice(c, c + n) for c, n in zip(self.corner, self.voxels.shape, strict=False))
        for k, pixels in changed.items():
            voxels[:, :, k] = False
            voxels[x, y, k] = pixels
        return from_canonical(voxels, mask)


def _window(pixels: NDArray[np.bool_], corner: list[int], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """A window of a slice that may reach beyond it: False there."""
    found = np.zeros(shape, bool)
    low = [max(0, c) for c in corner]
    high = [min(n, c + s) for n, c, s in zip(pixels.shape, corner, shape, strict=True)]
    if low[0] < high[0] and low[1] < high[1]:
        own = tuple(slice(a - c, b - c) for a, b, c in zip(low, high, corner, strict=True))
        found[own] = pixels[low[0] : high[0], low[1] : high[1]]
    return found


# Slices between two good ones, drawn anew: the outline changes steadily from one to the other along the centreline.


def fill_between(mask: Volume, first: int, last: int) -> Volume:
    """A new mask with the slices strictly between ``first`` and ``last`` replaced; those two and all others stay.

    ``mask``: cord where not zero, any orientation; the result is bool on the same grid. ``first`` < ``last``: canonical
    slices (counted from inferior) with good outlines. Between them the signed distance from the outline, about the
    centreline of all slices outside the gap, goes linearly from one end's to the other's (shape interpolation), and so
    does the root of the area.
    Raises ConfigurationError when there is nothing between them, or an end has no cord.
    """
    count = to_canonical(mask).shape[2]
    if not 0 <= first < last - 1 < count - 1:
        raise ConfigurationError(
            f"between slice {first} and slice {last} there is nothing to fill: give two of the {count} slices with at"
            " least one between them, the lower one first"
        )
    stack = OutlineStack.of(mask)
    for k in (first, last):
        if stack is None or not stack.voxels[:, :, k].any():
            raise ConfigurationError(f"slice {k} (from inferior) has no cord: draw it first, or choose the next one")
    assert stack is not None
    centres = _centres(stack, first, last)
    ends = stack.distance_mm(first, centres[0]), stack.distance_mm(last, centres[-1])
    roots = [sqrt(np.count_nonzero(stack.voxels[:, :, k])) for k in (first, last)]
    filled = {}
    for k in range(first + 1, last):
        share = (k - first) / (last - first)
        n_pixels = round(((1 - share) * roots[0] + share * roots[1]) ** 2)
        filled[k] = stack.inside((1 - share) * ends[0] + share * ends[1], centres[k - first], n_pixels)
    return stack.onto(mask, filled)


def _centres(stack: OutlineStack, first: int, last: int) -> NDArray[np.float64]:
    """Where the cord's centre lies from ``first`` to ``last``: on the centreline of the slices outside, moved so that
    it meets the centroids of both."""
    filled, centroids = stack.centres()
    known = (filled <= first) | (filled >= last)
    filled, centroids = filled[known], centroids[known]
    span = np.arange(first, last + 1)
    course = stack.course(filled, centroids, span)
    ends = [centroids[filled == k][0] for k in (first, last)]
    share = ((span - first) / (last - first))[:, None]
    return course + (1 - share) * (ends[0] - course[0]) + share * (ends[1] - course[-1])


# A mask smoothed along the cord: steps from slice to slice go, the area of the stretch stays.


_CUT_OFF = 3.0  # standard deviations


def smooth_along_cord(mask: Volume, slices: tuple[int, int] | None = None, *, reach_mm: float = 3.0) -> Volume:
    """A new mask whose outlines are weighted means of their neighbours' along the centreline.

    ``mask``: cord where not zero, any orientation; the result is bool on the same grid. ``slices``: canonical,
    half-open, the ones to change (None: all); their neighbours outside count too and stay as they are. ``reach_mm``:
    standard deviation of the Gaussian along the slice normal. The signed distances from the outlines are averaged about
    the centreline; each slice's area becomes the weighted mean of its neighbours' areas. Slices without cord stay
    empty. Raises ConfigurationError for a range outside the volume or a reach that is not positive.
    """
    count = to_canonical(mask).shape[2]
    first, end = slices if slices is not None else (0, count)
    if not 0 <= first < end <= count:
        raise ConfigurationError(f"slices {first}:{end} do not fit {count} slices: give FIRST:END within them")
    if not reach_mm > 0:
        raise ConfigurationError(f"a reach of {reach_mm:g} mm smooths nothing: give a length over 0 mm")
    stack = OutlineStack.of(mask)
    if stack is None:
        return mask.with_voxels(np.zeros(mask.shape, bool))
    filled, centroids = stack.centres()
    course = stack.course(filled, centroids, filled)
    areas = np.count_nonzero(stack.voxels, axis=(0, 1))[filled].astype(np.float64)
    distances: dict[int, NDArray[np.float64]] = {}
    smoothed = {}
    for at in np.flatnonzero((filled >= first) & (filled < end)):
        apart_mm = (filled - filled[at]) * stack.spacing_mm[2]
        near = np.flatnonzero(np.abs(apart_mm) <= _CUT_OFF * reach_mm)
        weights = np.exp(-((apart_mm[near] / reach_mm) ** 2) / 2)
        weights /= weights.sum()
        for n in near.tolist():
            if n not in distances:
                distances[n] = stack.distance_mm(int(filled[n]), course[n])
        mean = np.tensordot(weights, np.stack([distances[n] for n in near.tolist()]), axes=1)
        smoothed[int(filled[at])] = stack.inside(mean, course[at], round(float(weights @ areas[near])))
    return stack.onto(mask, smoothed)
