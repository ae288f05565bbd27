"""A model on the public volumes: overlap with labels, else agreement of scanners and ends of the cord."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import floor, inf, isfinite, nan
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.case import Case
from SpinalCordSegLib.errors import TrainingDataError
from SpinalCordSegLib.files import atomic_write, file_suffix, read_table
from SpinalCordSegLib.flags import Flag
from SpinalCordSegLib.image_io import Image, read_image
from SpinalCordSegLib.model.checkpoint import Checkpoint
from SpinalCordSegLib.pipeline import SegmentOptions, segment_image
from SpinalCordSegLib.report import montage_png
from SpinalCordSegLib.slice_table import SliceTable
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib.dataset import LabelledCase, load_case, match_files
from SpinalCordSegTrainerLib.evaluation import CaseScore, Evaluation, write_sheet

# What a model is validated on: the public volumes, which of their slices count, and the acceptance criteria.


Role = Literal["judging", "training"]
C2_C3 = "C2/C3"
FORAMEN_MAGNUM = "foramen magnum"
C1 = "C1"
LAST_CLEAR_SLICE = "last clear slice"


@dataclass(frozen=True)
class MaskedSet:
    """Volumes with a label map. ``pairs``: (image, label) within ``folder``; none: every pair that is found there.

    ``slice_range``: canonical slices to judge, half-open. ``only_labelled``: slices without label show cord that nobody
    drew. Bars: least Dice, largest HD95, largest mean signed error of the reported areas in size, least correlation of
    these with the rater's; None where none is set.
    """

    name: str
    folder: str
    role: Role
    pairs: tuple[tuple[str, str], ...] = ()
    slice_range: tuple[int, int] | None = None
    only_labelled: bool = False
    least_dice: float | None = None
    most_hd95_mm: float | None = None
    most_bias_percent: float | None = None
    least_correlation: float | None = None

    def cases(self, data: Path) -> list[LabelledCase]:
        """The cases of the set below ``data``. Raises TrainingDataError when a file or the folder is missing."""
        folder = data / self.folder
        if not self.pairs:
            return list(match_files(folder).cases)
        found = []
        for image, label in self.pairs:
            missing = next((name for name in (image, label) if not (folder / name).is_file()), None)
            if missing is not None:
                raise TrainingDataError(f"{folder / missing}: is missing; give the folder of public data")
            found.append(LabelledCase(image.split(".")[0], self.name, folder / image, folder / label))
        return found


_MT_LABEL = "sub-05_acq-MTon_MTS_seg.nii.gz"
MASKED_SETS = (
    MaskedSet(
        "t1w_masked", "t1w_masked", "judging", least_dice=0.967, most_hd95_mm=1.5, most_bias_percent=2.0,
        least_correlation=0.7,
    ),
    MaskedSet("mt_on", "mt_masked", "judging", (("sub-05_acq-MTon_MTS.nii.gz", _MT_LABEL),), (1, 20), least_dice=0.963),
    MaskedSet(
        "mt_off", "mt_masked", "judging", (("sub-05_acq-MToff_MTS.nii.gz", _MT_LABEL),), (1, 20), least_dice=0.925
    ),
    MaskedSet(
        "neck_t2w", "hard", "judging", (("neck_T2w.nii.gz", "neck_T2w_seg.nii.gz"),), only_labelled=True,
        least_dice=0.95, most_bias_percent=4.0,
    ),
    MaskedSet(
        "neck_t2star", "hard", "judging", (("neck_T2starw.nii.gz", "neck_T2starw_seg.nii.gz"),), only_labelled=True,
        least_dice=0.955,
    ),
    MaskedSet("t2_masked", "t2_masked", "training", only_labelled=True, least_dice=0.92, most_bias_percent=4.0),
    MaskedSet("t2star_masked", "t2star_masked", "training", only_labelled=True, least_dice=0.955),
)  # fmt: skip
MT_PAIR, MOST_ON_OFF_PERCENT = ("mt_on", "mt_off"), 15.0
HARD = "hard"
HARD_VOLUMES = ("uih_neck_T1w", "ms_brain_T1w", "gadolinium_neck_T1w", "lumbar_T2w")
MOST_OUTSIDE_MM = 3.0

SCANNERS = "t1w_scanners"
SCANNER_LENGTH_MM = 30.0
MOST_COV_PERCENT = 1.0
# Cord that must be found on every scanner: from 20 mm above C2/C3, inside the axis, to the lower edge of C7.
C2_ABOVE_MM, C7_BELOW_MM = 20.0, 85.0

HEAD = "dicom_t1w_head"

BAD_DICE, GOOD_DICE = 0.8, 0.9

LANDMARKS = Path(__file__).resolve().with_name("landmarks.csv")


def read_landmarks() -> dict[tuple[str, str], float]:
    """(volume, landmark) → canonical slice, counted from inferior from 0, with its fraction."""
    return {(row["volume"], row["landmark"]): float(row["slice"]) for _, row in read_table(LANDMARKS)}


# What can be judged on volumes without a label: the same area on every scanner, and where the cord begins and ends.


def area_below(measures: SliceTable, slice_mm: float, point: float, length_mm: float) -> tuple[float, float]:
    """Mean area over ``length_mm`` of centreline downwards from ``point``, a canonical slice with its fraction, without
    imputed slices; and how much of that length was measured. (NaN, 0) where nothing was.

    A slice counts with the share of it that lies in the stretch. An empty slice counts its thickness as length
    without area, so the stretch does not reach further down for it.
    """
    weights, areas = [], []
    left_mm, k = length_mm, floor(point + 0.5)
    share = point + 0.5 - k
    while left_mm > 1e-9 and k >= 0:
        row = measures.row_of(k)
        row = None if row is None or measures.is_gap[row] else row
        long_mm = min(left_mm, share * (slice_mm if row is None else float(measures.length_mm[row])))
        if row is not None and not measures.is_imputed[row]:
            weights.append(long_mm)
            areas.append(measures.csa_mm2[row])
        left_mm -= long_mm
        k, share = k - 1, 1.0
    if sum(weights) <= 0:
        return nan, 0.0
    return float(np.average(areas, weights=weights)), float(sum(weights))


@dataclass(frozen=True)
class ScannerRow:
    """One scanner. ``empty_slices``: without cord from C2 to C7 (see benchmark), as far as the volume reaches."""

    volume: str
    mean_csa_mm2: float
    covered_mm: float
    empty_slices: int
    first_slice: int | None
    last_slice: int | None
    flagged_slices: int
    flags: tuple[str, ...]


def scanner_row(
    volume: str, measures: SliceTable, flags: Sequence[Flag], n_slices: int, slice_mm: float, point: float
) -> ScannerRow:
    """Judge one scanner's volume. ``point``: the C2/C3 disc, a canonical slice with its fraction."""
    mean_csa_mm2, covered_mm = area_below(measures, slice_mm, point, SCANNER_LENGTH_MM)
    low = max(0, round(point - C7_BELOW_MM / slice_mm))
    high = min(n_slices - 1, round(point + C2_ABOVE_MM / slice_mm))
    filled = set(measures.canonical_slice[~measures.is_gap].tolist())
    return ScannerRow(
        volume,
        mean_csa_mm2,
        covered_mm,
        len(set(range(low, high + 1)) - filled),
        min(filled, default=None),
        max(filled, default=None),
        len({flag.canonical_slice for flag in flags if flag.canonical_slice is not None}),
        tuple(sorted({flag.kind for flag in flags})),
    )


def cov_percent(values: Sequence[float]) -> float:
    """100·SD/mean, SD with n - 1; NaN for fewer than two values or one that is not finite."""
    if len(values) < 2 or not all(isfinite(value) for value in values):
        return nan
    return float(100 * np.std(values, ddof=1) / np.mean(values))


@dataclass(frozen=True)
class HeadRow:
    """Where the cord was found in a head: canonical slices, and mm. ``above_foramen_mm``: how far the topmost slice
    lies above the foramen magnum (negative: below; -inf: no cord). ``from_c1_mm``: likewise above C1.
    ``above_last_clear_mm``: how far the lowest slice lies above the last clear one. ``gaps``: empty slices between."""

    first_slice: int | None
    last_slice: int | None
    above_foramen_mm: float
    from_c1_mm: float
    above_last_clear_mm: float
    gaps: int
    flagged_slices: int
    flags: tuple[str, ...]


def head_row(
    measures: SliceTable, flags: Sequence[Flag], slice_mm: float, landmarks: dict[tuple[str, str], float]
) -> HeadRow:
    """Judge the head by its landmarks; no cord gives None and infinite distances. Raises KeyError without them."""
    foramen, c1, last_clear = (landmarks[HEAD, name] for name in (FORAMEN_MAGNUM, C1, LAST_CLEAR_SLICE))
    filled = measures.canonical_slice[~measures.is_gap].tolist()
    first, last = (filled[0], filled[-1]) if filled else (None, None)
    top, bottom = (-inf, inf) if first is None or last is None else (last, first)
    return HeadRow(
        first,
        last,
        (top - foramen) * slice_mm,
        (top - c1) * slice_mm,
        (bottom - last_clear) * slice_mm,
        int(measures.is_gap.sum()),
        len({flag.canonical_slice for flag in flags if flag.canonical_slice is not None}),
        tuple(sorted({flag.kind for flag in flags})),
    )


def areas_by_slice(table: SliceTable, n_slices: int, column: str) -> NDArray[np.float64]:
    """A column of areas by canonical slice; NaN where there is no cord, and where the area is imputed."""
    areas = np.full(n_slices, nan)
    areas[table.canonical_slice] = np.where(table.is_imputed, nan, getattr(table, column))
    return areas


@dataclass(frozen=True)
class AreaAgreement:
    """The reported areas of one volume beside the rater's. ``bias_percent``: mean signed error; ``correlation``: over
    slices; ``longest_run``: of slices with the very same area; ``n_slices``; ``n_imputed``: left out."""

    volume: str
    bias_percent: float
    correlation: float
    longest_run: int
    n_slices: int
    n_imputed: int


def area_agreement(volume: str, found: SliceTable, truth: Volume, judged: Sequence[int]) -> AreaAgreement:
    """Over the canonical slices ``judged`` in which both have cord; in the slice, as the rater's pixels are counted."""
    areas = areas_by_slice(found, truth.shape[0], "csa_raw_mm2")[judged]
    real = (truth.voxels[judged] != 0).sum(axis=(1, 2)) * truth.pixel_mm[0] * truth.pixel_mm[1]
    both = np.isfinite(areas) & (real > 0)
    areas, real = areas[both], real[both]
    changes = np.flatnonzero(np.diff(areas) != 0)
    runs = np.diff(np.concatenate([[-1], changes, [len(areas) - 1]]))
    imputed = int(np.isin(found.canonical_slice[found.is_imputed], judged).sum())
    varies = len(areas) > 2 and areas.std() > 0 and real.std() > 0
    correlation = float(np.corrcoef(areas, real)[0, 1]) if varies else nan
    bias = float(100 * (areas / real - 1).mean()) if len(areas) else nan
    return AreaAgreement(volume, bias, correlation, int(runs.max(initial=0)), len(areas), imputed)


_RAYS, _RAY_STEP_MM, _NEAR_MM, _FAR_MM = 36, 0.1, 0.8, 2.6


def half_maximum_offset(grey: NDArray, cord: NDArray[np.bool_], pixel_mm: tuple[float, float]) -> float:
    """How far the outline of a slice's ``cord`` lies from where the image's grey is half-way between inside and
    outside, in pixels: the median over rays from the centroid; infinite where hardly any ray shows such a place."""
    centre = np.argwhere(cord).mean(axis=0)
    depth = ndimage.distance_transform_edt(cord, sampling=pixel_mm)
    inside = float(np.median(grey[depth >= min(2.0, depth.max() / 2)]))
    steps = np.arange(0, 20, _RAY_STEP_MM)
    offsets = []
    for angle in np.linspace(0, 2 * np.pi, _RAYS, endpoint=False):
        direction = np.array([np.sin(angle), np.cos(angle)]) / pixel_mm
        places = centre[:, None] + direction[:, None] * steps
        shape, line = (ndimage.map_coordinates(of.astype(np.float64), places, order=1) for of in (cord, grey))
        if not (shape < 0.5).any():
            continue
        outline = steps[np.argmax(shape < 0.5)]
        half = (inside + float(line[(steps > outline + _NEAR_MM) & (steps <= outline + _FAR_MM)].mean())) / 2
        apart_mm = np.abs(steps[1:][np.diff(np.sign(line - half)) != 0] - outline).min(initial=inf)
        if apart_mm <= _FAR_MM:
            offsets.append(apart_mm / min(pixel_mm))
    return float(np.median(offsets)) if len(offsets) > _RAYS / 2 else inf


@dataclass(frozen=True)
class HardRow:
    """A volume without a label that is hard. ``n_slices``: with cord; ``top_slice``: canonical, None without cord.
    ``outline_offset``: largest offset from the half-maximum contour up to C1, pixels; NaN where C1 is not marked."""

    volume: str
    n_slices: int
    top_slice: int | None
    outline_offset: float
    n_imputed: int
    flagged_slices: int


# Measure a model on the public volumes as the program would segment them for a user.


_log = logging.getLogger(__name__)
REAL_SETS = (*(one.name for one in MASKED_SETS), SCANNERS, HARD, HEAD)


@dataclass(frozen=True, eq=False)
class RealScores:
    """``masked``: per set its cases; ``areas``: per set how the reported areas agree with the rater's.
    ``on_off_percent``: the largest disagreement of a slice's area with and without magnetisation transfer, NaN where
    not measured. ``scanners``, ``hard``: one row each, () where not measured. ``head``: None likewise."""

    masked: dict[str, tuple[CaseScore, ...]] = field(default_factory=dict)
    areas: dict[str, tuple[AreaAgreement, ...]] = field(default_factory=dict)
    on_off_percent: float = nan
    hard: tuple[HardRow, ...] = ()
    scanners: tuple[ScannerRow, ...] = ()
    head: HeadRow | None = None


@dataclass(frozen=True, eq=False)
class Validator:
    """Segments with one model; ``report`` gets each volume's name before it is segmented."""

    checkpoint: Checkpoint
    device: str
    report: Callable[[str], None]

    def segment(self, image: Image) -> Case:
        self.report(image.case_name)
        return segment_image(image, self.checkpoint, SegmentOptions(device=self.device))


def validate_real(validator: Validator, data: Path, pictures: Path, only: Iterable[str] = REAL_SETS) -> RealScores:
    """Measure the sets named in ``only`` (of REAL_SETS) below ``data``; pictures of what was found go to ``pictures``.

    Raises TrainingDataError when a volume is missing, and what reading, segmenting and writing raise.
    """
    wanted = set(only)
    masked, areas, pair = {}, {}, []
    for chosen in MASKED_SETS:
        if chosen.name in wanted:
            masked[chosen.name], areas[chosen.name], tables = _masked_set(validator, chosen, data, pictures)
            if chosen.name in MT_PAIR:
                first, end = chosen.slice_range or (0, len(tables[0]))
                n_slices = max(end, int(tables[0].canonical_slice.max(initial=0)) + 1)
                pair.append(areas_by_slice(tables[0], n_slices, "csa_mm2")[first:end])
    on_off = float(np.nanmax(np.abs(100 * (pair[1] / pair[0] - 1)))) if len(pair) == 2 else nan
    return RealScores(
        masked,
        areas,
        on_off,
        _hard(validator, data, pictures) if HARD in wanted else (),
        _scanners(validator, data, pictures) if SCANNERS in wanted else (),
        _head(validator, data, pictures) if HEAD in wanted else None,
    )


def _masked_set(
    validator: Validator, chosen: MaskedSet, data: Path, pictures: Path
) -> tuple[tuple[CaseScore, ...], tuple[AreaAgreement, ...], list[SliceTable]]:
    evaluation = Evaluation(chosen.only_labelled)
    within = None if chosen.slice_range is None else range(*chosen.slice_range)
    areas, tables = [], []
    for case in chosen.cases(data):
        loaded = load_case(case)
        result = validator.segment(Image(loaded.image, case.image, case.name))
        score = evaluation.add(case.name, loaded.image, result.mask, loaded.mask, result.flags, judged=within)
        tables.append(result.slices)
        judged = [one.canonical_slice for one in score.slices]
        areas.append(area_agreement(case.name, result.slices, loaded.mask, judged))
        _log.info("%s %s: Dice %.3f", chosen.name, case.name, score.dice)
    title = f"{chosen.name}: the worst slices, the worst first"
    write_sheet(evaluation.tiles, title, pictures / f"{chosen.name}_worst.png")
    return tuple(evaluation.scores), tuple(areas), tables


def _hard(validator: Validator, data: Path, pictures: Path) -> tuple[HardRow, ...]:
    rows = []
    for name in HARD_VOLUMES:
        image = read_image(data / HARD / f"{name}.nii.gz")
        result = validator.segment(image)
        _write_montage(result, pictures / f"{name}.png")
        table, mask = result.slices, result.mask
        filled = table.canonical_slice[~table.is_gap]
        c1 = read_landmarks().get((name, C1))
        offsets = [
            half_maximum_offset(image.volume.voxels[k], mask.voxels[k], mask.pixel_mm)
            for k in filled.tolist()
            if c1 is not None and k <= c1
        ]
        flagged = len({flag.canonical_slice for flag in result.flags if flag.canonical_slice is not None})
        top = int(filled[-1]) if filled.size else None
        rows.append(HardRow(name, len(filled), top, max(offsets, default=nan), int(table.is_imputed.sum()), flagged))
    return tuple(rows)


def _scanners(validator: Validator, data: Path, pictures: Path) -> tuple[ScannerRow, ...]:
    landmarks = read_landmarks()
    rows = []
    for path in scanner_volumes(data):
        name = path.name[: -len(file_suffix(path))]
        if (name, C2_C3) not in landmarks:
            raise TrainingDataError(f"{path.name}: no C2/C3 point in {LANDMARKS}; add one")
        image = read_image(path)
        result = validator.segment(image)
        _write_montage(result, pictures / f"{name}.png")
        n_slices, slice_mm = image.volume.shape[0], image.volume.spacing_mm[0]
        point = landmarks[name, C2_C3]
        rows.append(scanner_row(name, result.slices, result.flags, n_slices, slice_mm, point))
    return tuple(rows)


def scanner_volumes(data: Path) -> Sequence[Path]:
    folder = data / SCANNERS
    found = sorted(folder.glob("*.nii.gz"))
    if not found:
        raise TrainingDataError(f"{folder}: holds no volumes; give the folder of public data")
    return found


def _head(validator: Validator, data: Path, pictures: Path) -> HeadRow:
    folder = data / HEAD
    if not folder.is_dir():
        raise TrainingDataError(f"{folder}: is missing; give the folder of public data")
    image = read_image(folder)
    result = validator.segment(image)
    _write_montage(result, pictures / f"{HEAD}.png")
    return head_row(result.slices, result.flags, image.volume.spacing_mm[0], read_landmarks())


def _write_montage(result: Case, path: Path) -> None:
    picture = montage_png(result)
    if picture is not None:
        with atomic_write(path) as beside:
            beside.write_bytes(picture)
