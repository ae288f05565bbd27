"""How found levels are judged: the discs by person, on volumes with marked discs (``python -m Recipes levels judge``);
the cord's upper end on simulated heads (``python -m Recipes levels upper-end``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import variation

from Recipes.levels import FOLDS, VOLUMES, MarkedVolume, RealRibbon, fold_path, read_marks, read_volume, real_ribbons
from Recipes.simulation.atlas import Maps
from Recipes.simulation.people import head_scans, simulate_neck
from Recipes.simulation.ribbons import N_ROWS, SpineMaps, read_spine, simulated_ribbon
from SpinalCordSegLib.disc_finder import SPINE, DiscFinder, FoundDiscs, Ribbon, find_discs, turned
from SpinalCordSegLib.image_io import Image, read_labels
from SpinalCordSegLib.model.checkpoint import Checkpoint
from SpinalCordSegLib.morphometry import COMPLETE, centreline, measure
from SpinalCordSegLib.pipeline import segment_image
from SpinalCordSegLib.postprocessing import clean
from SpinalCordSegLib.vertebral_levels import BELOW_UPPER_END, C2_C3, DISC_NAMES, DiscMark, LevelOptions, measure_levels
from SpinalCordSegLib.volume import Volume, place_on

_C7_T1 = 8
_JUDGED_SEED = 992


@dataclass(frozen=True, eq=False)
class Answer:
    """``errors_mm``: found disc → mm along the cord from its mark, of those marked. ``above_mm``: of the spine that the
    image shows above the mark of C2/C3; NaN where it is not marked."""

    volume: MarkedVolume
    answered: bool
    errors_mm: dict[int, float]
    above_mm: float
    reason: str


def judged(one: RealRibbon, found: FoundDiscs) -> Answer:
    errors_mm = {disc: mm - one.discs_mm[disc] for disc, mm in found.discs_mm.items() if disc in one.discs_mm}
    seen = np.flatnonzero(np.isfinite(one.ribbon.image[:, SPINE]).mean(axis=1) > 0.5)
    above_mm = float(seen[-1] - one.rows[0]) if len(seen) and C2_C3 in one.discs_mm else np.nan
    return Answer(one.volume, bool(found.discs_mm), errors_mm, above_mm, found.reason)


def cropped(ribbon: Ribbon, low_row: float, high_row: float) -> Ribbon:
    """The same where the image holds only rows from ``low_row`` to ``high_row``, and the cord ends there."""
    low, high = max(0, round(low_row)), min(len(ribbon.image), round(high_row) + 1)
    image = ribbon.image.copy()
    image[:low], image[high:] = np.nan, np.nan
    kept = slice(max(0, low - 15), high + 30)
    return Ribbon(image[kept], ribbon.arc_mm[kept], ribbon.ras_mm[kept])


def judge_cropped(
    ribbons: Sequence[RealRibbon], finder_of: Callable[[str], DiscFinder]
) -> dict[str, list[tuple[MarkedVolume, int, bool]]]:
    """Volumes that end 5 to 30 mm "below" C2/C3 or begin as far "above" it: volume, mm, and whether it is answered."""
    found: dict[str, list[tuple[MarkedVolume, int, bool]]] = {"below": [], "above": []}
    for one in ribbons:
        if C2_C3 not in one.discs_mm:
            continue
        row, end, finder = one.rows[0], len(one.ribbon.image), finder_of(one.volume.person)
        for gap in range(5, 31, 5):
            parts = {"below": (0, row - gap), "above": (row + gap, end)}
            for name, (low, high) in parts.items():
                if name == "below" or low + 20 < high:
                    part = cropped(one.ribbon, low, high)
                    found[name].append((one.volume, gap, bool(finder.find(part).discs_mm)))
    return found


def judge_simulated(maps: SpineMaps, finder: DiscFinder, count: int, seed: int) -> NDArray[np.float64]:
    """(count, 2): the true and the answered row of C2/C3, NaN where there is none."""
    rng, rows = np.random.default_rng(seed), np.full((count, 2), np.nan)
    for i in range(count):
        image, discs = simulated_ribbon(maps, rng)
        at = np.arange(float(N_ROWS))
        found = finder.find(Ribbon(image, at, np.zeros((N_ROWS, 3))))
        rows[i] = discs[0], found.discs_mm.get(C2_C3, np.nan)
    return rows


def on_other_grid(image: Volume, spacing_mm: tuple[float, float, float], turned_deg: float) -> Volume:
    """The image resampled to another voxel size and a grid turned about two axes, about its middle."""
    angle = np.deg2rad(turned_deg)
    about_x = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    about_y = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_x @ about_y @ np.diag(spacing_mm)
    extent = np.linalg.norm(image.voxel_to_ras[:3, :3], axis=0)[::-1] * np.array(image.shape)[::-1]  # R, A, S
    shape = np.ceil(extent / spacing_mm).astype(int)
    middle = image.voxel_to_ras[:3, :3] @ ((np.array(image.shape) - 1) / 2) + image.voxel_to_ras[:3, 3]
    matrix[:3, 3] = middle - matrix[:3, :3] @ ((shape - 1) / 2)
    index = np.indices(shape).reshape(3, -1)
    ras = matrix[:3, :3] @ index + matrix[:3, 3:]
    to_voxel = np.linalg.inv(image.voxel_to_ras)
    at = to_voxel[:3, :3] @ ras + to_voxel[:3, 3:]
    voxels = ndimage.map_coordinates(image.voxels.astype(np.float32), at, order=1, mode="constant")
    return Volume.from_ijk(voxels.reshape(shape), matrix)


def same_level(data: Path, masks: Path, volume: MarkedVolume, finder: DiscFinder) -> dict[str, float]:
    """How far C2/C3 of the same image lies elsewhere, mm, on other grids; NaN where it is not answered."""
    image, cord = read_volume(volume, data, masks)
    line = centreline(cord.mask)
    first_mm = find_discs(image, line, finder).discs_mm.get(C2_C3, np.nan)
    label = read_labels(data / volume.mask)
    label = place_on(label, image)
    apart = {}
    grids = {"oblique 1 mm": ((1.0, 1.0, 1.0), 12.0), "0.5×0.5×3 mm": ((0.5, 0.5, 3.0), 0.0),
             "0.5×0.5×5 mm": ((0.5, 0.5, 5.0), 0.0), "oblique 0.7×0.7×2 mm": ((0.7, 0.7, 2.0), 8.0)}  # fmt: skip
    for name, (spacing_mm, turned_deg) in grids.items():
        other = on_other_grid(image, spacing_mm, turned_deg)
        mask = on_other_grid(label.with_voxels((label.voxels > 0).astype(np.float32)), spacing_mm, turned_deg)
        own = centreline(clean(mask.with_voxels(mask.voxels > 0.5)).mask)
        found_mm = find_discs(other, own, finder).discs_mm.get(C2_C3, np.nan)
        there_mm = line.nearest(own.point_at(found_mm).tolist())[0] if np.isfinite(found_mm) else np.nan
        apart[name] = there_mm - first_mm
    return apart


def scanner_cov(data: Path, masks: Path, finder: DiscFinder) -> tuple[float, float]:
    """CoV, %, of the mean area C2-C3 of one man over six scanners, by marked discs and by found ones."""
    marks = read_marks(data)
    by_marks: list[float] = []
    by_found: list[float] = []
    for volume in VOLUMES:
        if volume.person == "scanners":
            image, cord = read_volume(volume, data, masks)
            line, measures = centreline(cord.mask), measure(cord, shape=False)
            found = {disc: line.point_at(mm).tolist() for disc, mm in find_discs(image, line, finder).discs_mm.items()}
            for discs, areas in ((marks[volume.name], by_marks), (found, by_found)):
                options = LevelOptions(tuple(DiscMark(disc, ras_mm=(r, a, s)) for disc, (r, a, s) in discs.items()))
                report = measure_levels(cord.mask, measures, options)
                rows = () if report is None else report.rows
                areas.append(next((row.mean_csa_mm2 for row in rows if row.name == "C2-C3"), np.nan))
    return 100 * float(variation(by_marks, ddof=1)), 100 * float(variation(by_found, ddof=1))


def judge_finder(data: Path, output: Path, path: Path, count: int = 500) -> str:
    """The table of the bars for the finder ``path``; people trained on are judged by the fold without them, as
    ``train_finder`` left it in ``output``."""
    whole = DiscFinder(path)
    folds = {person: DiscFinder(fold_path(output, fold)) for fold in FOLDS for person in fold}

    def finder_of(person: str) -> DiscFinder:
        return folds.get(person, whole)

    ribbons = real_ribbons(data, output / "masks")
    answers = [judged(one, finder_of(one.volume.person).find(one.ribbon)) for one in ribbons]
    lines = ["| volume | person | above, mm | off, mm: C2/C3 … C7/T1 | |", "|---|---|---|---|---|"]
    for one in answers:
        off = " ".join(f"{mm:+.1f}" for mm in one.errors_mm.values()) if one.answered else "not answered"
        lines.append(f"| {one.volume.name} | {one.volume.person} | {one.above_mm:.0f} | {off} | {one.reason} |")
    shown = [one for one in answers if one.above_mm >= 20]
    for name, chosen in (
        ("all", shown),
        ("never trained on", [one for one in shown if one.volume.role == "judge"]),
    ):
        errors = {one.volume.name: abs(one.errors_mm[C2_C3]) for one in chosen if one.answered}
        people = {one.volume.person for one in chosen}
        open_ = {one.volume.person for one in chosen if not one.answered}
        lines.append(
            f"\n{name}: {len(errors)} of {len(chosen)} volumes that show C2/C3 and 20 mm above it answered,"
            f" in every volume of {len(people - open_)} of {len(people)} people; within 3 mm"
            f" {_share(errors.values(), 3)}, beyond 8 mm {sum(mm > 8 for mm in errors.values())}, largest"
            f" {max(errors.values(), default=np.nan):.1f} mm"
        )
    for disc in range(C2_C3 + 1, _C7_T1 + 1):
        marked = [one for one, ribbon in zip(answers, ribbons, strict=True) if one.answered and disc in ribbon.discs_mm]
        errors = {one.volume.name: abs(one.errors_mm[disc]) for one in marked if disc in one.errors_mm}
        text = f"\n{DISC_NAMES[disc]}: {len(errors)} of {len(marked)} found, within 5 mm {_share(errors.values(), 5)}"
        lines.append(text + f", largest {max(errors.values(), default=np.nan):.1f} mm")
    for name, cases in judge_cropped(ribbons, finder_of).items():
        wrong = [f"{volume.name} {gap} mm" for volume, gap, answered in cases if answered]
        share = f"{len(wrong)} of {len(cases)} answered"
        lines.append(f"\nimage 5 to 30 mm {name} C2/C3: {share}" + (f" ({', '.join(wrong)})" if wrong else ""))
    found = [bool(finder_of(one.volume.person).find(other).discs_mm) for one in ribbons for other in turned(one.ribbon)]
    lines.append(f"\nupside down, or front to back: {sum(found)} of {len(found)} answered")
    wrong = [one.volume.name for one in answers if one.volume.role == "nothing" and one.answered]
    lines.append(f"\nvolumes without C2/C3: {len(wrong)} answered {', '.join(wrong)}")
    true, given = judge_simulated(read_spine(data), whole, count, _JUDGED_SEED).T
    answered = np.isfinite(given)
    wrong_share = np.mean(answered & ~(np.abs(given - true) <= 8))
    lines.append(
        f"\n{count} simulated necks: {answered.sum()} answered, {np.isfinite(true).sum()} show C2/C3;"
        f" median error {np.nanmedian(np.abs(given - true)):.1f} mm, wrong by over 8 mm or not there {wrong_share:.1%}"
    )
    by_marks, by_found = scanner_cov(data, output / "masks", finder_of("scanners"))
    lines.append(
        f"\nCoV of the area C2-C3 over six scanners: {by_marks:.2f} % by marks, {by_found:.2f} % by found discs"
    )
    for volume in VOLUMES:
        if volume.name in ("t1w_masked/sct-testing_T1w", "t2_masked/errsm_18_T2w"):
            apart = same_level(data, output / "masks", volume, finder_of(volume.person))
            lines.append(f"\n{volume.name} on other grids: " + ", ".join(f"{k} {v:+.1f} mm" for k, v in apart.items()))
    return "\n".join(lines)


def _share(errors_mm: Iterable[float], limit_mm: float) -> str:
    near = [mm <= limit_mm for mm in errors_mm]
    return f"{sum(near)} of {len(near)}"


# The cord's upper end.


@dataclass(frozen=True)
class JudgedHead:
    """Where the upper end was found, mm above the foramen magnum, and the mean area below it, in two scans of a person;
    NaN where it is not answered (the area: not covered). ``cut``: whether it is answered where the image begins 3 mm
    below the foramen magnum, or 4 mm above. The second scan and ``cut``: of every fourth person, else empty."""

    ends_mm: tuple[float, ...]
    areas_mm2: tuple[float, ...]
    cut: tuple[bool, ...]


def judged_head(number: int, maps: Maps, checkpoint: Checkpoint, seed: int) -> JudgedHead:
    neck, *scans = head_scans(number, maps, seed)
    found, cut = [], []
    for scan in scans if number % 4 == 0 else scans[:1]:
        head = simulate_neck(neck, maps, scan)
        tops_mm = head.z_mm + scan.spacing_mm[2] / 2
        found.append(_upper_end(head.image, tops_mm, checkpoint))
        for n in np.searchsorted(tops_mm, (-3.0, 4.0), side="right") if number % 4 == 0 and scan is scans[0] else ():
            part = Volume(head.image.voxels[:n], head.image.ijk_to_ras)
            cut.append(bool(np.isfinite(_upper_end(part, tops_mm, checkpoint)[0])))
    return JudgedHead(tuple(end for end, _ in found), tuple(area for _, area in found), tuple(cut))


def _upper_end(image: Volume, tops_mm: NDArray[np.float64], checkpoint: Checkpoint) -> tuple[float, float]:
    case = segment_image(Image(image, Path("head.nii.gz"), "head"), checkpoint)
    if case.levels is None or case.levels.upper_end is None:
        return np.nan, np.nan
    row = case.levels.rows[-1]
    return float(tops_mm[case.levels.upper_end.slice]), row.mean_csa_mm2 if row.coverage > COMPLETE else np.nan


def upper_end_figures(heads: Sequence[JudgedHead]) -> str:
    """Errors, wrong answers, and how well end and area repeat in the second scan."""
    first = np.array([head.ends_mm[0] for head in heads])
    found, cut = first[np.isfinite(first)], [one for head in heads for one in head.cut]
    off = np.abs(found)
    again = [head for head in heads if len(head.ends_mm) > 1]
    apart_mm = np.array([head.ends_mm[1] - head.ends_mm[0] for head in again])
    percent = np.array([100 * (head.areas_mm2[1] / head.areas_mm2[0] - 1) for head in again])
    apart_mm, percent = apart_mm[np.isfinite(apart_mm)], percent[np.isfinite(percent)]
    return (
        f"upper end: {len(found)} of {len(heads)} heads answered; above the foramen magnum by {found.mean():+.1f} mm in"
        f" the mean, SD {found.std(ddof=1):.1f}, 95 % within {np.quantile(off, 0.95):.1f}, largest {off.max():.1f},"
        f" beyond 8 mm {np.count_nonzero(off > 8)}\n\n"
        f"images that begin 3 mm below the foramen magnum, or 4 mm above it: {sum(cut)} of {len(cut)} answered\n\n"
        f"two scans: {len(apart_mm)} of {len(again)} persons answered in both, the ends apart by"
        f" {np.sqrt(np.mean(apart_mm**2)):.1f} mm (RMS), largest {np.abs(apart_mm).max(initial=0):.1f}; mean area"
        f" {BELOW_UPPER_END}, {len(percent)} pairs: apart by {percent.mean():+.1f} % in the mean, RMS"
        f" {np.sqrt(np.mean(percent**2)):.1f} %, so a CoV of {np.sqrt(np.mean(percent**2) / 2):.1f} %"
    )
