"""Measure a model on the public volumes as the program would segment them for a user."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from Recipes.validation import benchmark
from Recipes.validation.benchmark import MASKED_SETS, MaskedSet, read_landmarks
from Recipes.validation.unlabelled import HeadRow, ScannerRow, head_row, scanner_row
from SpinalCordSegLib.case import Case
from SpinalCordSegLib.errors import TrainingDataError
from SpinalCordSegLib.files import atomic_write, file_suffix
from SpinalCordSegLib.image_io import Image, read_image
from SpinalCordSegLib.model.checkpoint import Checkpoint
from SpinalCordSegLib.pipeline import SegmentOptions, segment_image
from SpinalCordSegLib.report import montage_png
from SpinalCordSegLib.volume import axial_slices
from SpinalCordSegTrainerLib.dataset import load_case
from SpinalCordSegTrainerLib.evaluation import CaseScore, score_case
from SpinalCordSegTrainerLib.worst_slices import Tile, worst_of, worst_tiles, write_sheet

_log = logging.getLogger(__name__)
_WORST = 16  # slices on a set's sheet
REAL_SETS = (*(one.name for one in MASKED_SETS), benchmark.SCANNERS, benchmark.HEAD)


@dataclass(frozen=True, eq=False)
class RealScores:
    """``masked``: per set its cases. ``scanners``: one row each, () where not measured. ``head``: None likewise."""

    masked: dict[str, tuple[CaseScore, ...]] = field(default_factory=dict)
    scanners: tuple[ScannerRow, ...] = ()
    head: HeadRow | None = None


@dataclass(frozen=True, eq=False)
class Validator:
    """Segments with one model and reports what it does; ``report`` is told each volume before it is segmented."""

    checkpoint: Checkpoint
    device: str = "auto"
    report: Callable[[str], None] | None = None
    cancelled: Callable[[], bool] | None = None

    def segment(self, image: Image) -> Case:
        if self.report is not None:
            self.report(image.case_name)
        return segment_image(image, self.checkpoint, SegmentOptions(device=self.device), cancelled=self.cancelled)


def validate_real(validator: Validator, data: Path, pictures: Path, only: Iterable[str] = REAL_SETS) -> RealScores:
    """Measure the sets named in ``only`` (of REAL_SETS) below ``data``; pictures of what was found go to ``pictures``.

    Raises TrainingDataError when a volume is missing, and what reading, segmenting and writing raise.
    """
    wanted = set(only)
    masked = {one.name: _masked_set(validator, one, data, pictures) for one in MASKED_SETS if one.name in wanted}
    scanners = _scanners(validator, data, pictures) if benchmark.SCANNERS in wanted else ()
    head = _head(validator, data, pictures) if benchmark.HEAD in wanted else None
    return RealScores(masked, scanners, head)


def _masked_set(validator: Validator, chosen: MaskedSet, data: Path, pictures: Path) -> tuple[CaseScore, ...]:
    scores: list[CaseScore] = []
    tiles: list[Tile] = []
    for case in chosen.cases(data):
        loaded = load_case(case)
        result = validator.segment(Image(loaded.image, case.image, case.name))
        score = score_case(
            case.name,
            result.mask,
            loaded.mask,
            chosen.slice_range,
            only_labelled=chosen.only_labelled,
            flags=result.flags,
        )
        scores.append(score)
        tiles = worst_of([*tiles, *worst_tiles(loaded.image, result.mask, loaded.mask, score, _WORST)], _WORST)
        _log.info("%s %s: Dice %.3f", chosen.name, case.name, score.dice)
    write_sheet(tiles, f"{chosen.name}: the worst slices, the worst first", pictures / f"{chosen.name}_worst.png")
    return tuple(scores)


def _scanners(validator: Validator, data: Path, pictures: Path) -> tuple[ScannerRow, ...]:
    landmarks = read_landmarks()
    rows = []
    for path in _volumes(data / benchmark.SCANNERS):
        name = path.name[: -len(file_suffix(path))]
        if (name, benchmark.C2_C3) not in landmarks:
            raise TrainingDataError(f"{path.name}: no C2/C3 point in {benchmark.landmarks_path()}; add one")
        image = read_image(path)
        result = validator.segment(image)
        _write_montage(result, pictures / f"{name}.png")
        slices = axial_slices(image.volume)
        point = landmarks[name, benchmark.C2_C3]
        rows.append(scanner_row(name, result.slices, result.flags, len(slices.pixels), slices.slice_mm, point))
    return tuple(rows)


def _volumes(folder: Path) -> Sequence[Path]:
    found = sorted(folder.glob("*.nii.gz"))
    if not found:
        raise TrainingDataError(f"{folder}: holds no volumes; give the folder of public data")
    return found


def _head(validator: Validator, data: Path, pictures: Path) -> HeadRow:
    folder = data / benchmark.HEAD
    if not folder.is_dir():
        raise TrainingDataError(f"{folder}: is missing; give the folder of public data")
    image = read_image(folder)
    result = validator.segment(image)
    _write_montage(result, pictures / f"{benchmark.HEAD}.png")
    return head_row(result.slices, result.flags, axial_slices(image.volume).slice_mm, read_landmarks())


def _write_montage(result: Case, path: Path) -> None:
    picture = montage_png(result)
    if picture is not None:
        with atomic_write(path) as beside:
            beside.write_bytes(picture)
