"""Pictures of the worst slices of a validation: the slice, and beside it where it agrees with the label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw
from scipy import ndimage

from SpinalCordSegLib.files import atomic_write
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib.dataset import LoadedCase
from SpinalCordSegTrainerLib.evaluation import CaseScore, SliceScore

_PICTURES = 16
_TILE, _LEAST_MM, _MOST_MM, _TEXT, _PAIRS_A_ROW = 220, 40.0, 120.0, 34, 4
# Strong where they differ, thin where they agree; blue and red stay apart for eyes that take red for green.
_MATCH, _TOO_MUCH, _MISSED = ((40, 200, 60), 0.35), ((235, 30, 30), 0.75), ((40, 120, 255), 0.75)
LEGEND = "green: found and true   red: found, not true   blue: true, not found   the patient's right is on the left"


@dataclass(frozen=True, eq=False)
class Tile:
    """``grey`` 0..1, ``found``, ``true``: squares of one size, as a radiologist looks at them."""

    score: SliceScore
    grey: NDArray[np.float32]
    found: NDArray[np.bool_]
    true: NDArray[np.bool_]


def badness(score: SliceScore) -> float:
    """How bad a slice is, the larger the worse: 1 - Dice; false cord where there is none counts as a miss."""
    return 1 - score.dice if isfinite(score.dice) else float(score.found_mm2 > 0)


def worst_tiles(image: Volume, found: Volume, truth: Volume, score: CaseScore, count: int) -> list[Tile]:
    """The ``count`` worst slices of a case, the worst first."""
    chosen = sorted(score.slices, key=badness, reverse=True)[:count]
    return [_tile(one, image.voxels, found.voxels != 0, truth.voxels != 0, image.pixel_mm) for one in chosen]


def worst_of(tiles: Sequence[Tile], count: int) -> list[Tile]:
    """The worst ``count`` of tiles from several cases."""
    return sorted(tiles, key=lambda tile: badness(tile.score), reverse=True)[:count]


def _tile(one: SliceScore, pictures: NDArray, masks: NDArray, labels: NDArray, pixel_mm: tuple[float, float]) -> Tile:
    k = one.canonical_slice
    either = masks[k] | labels[k]
    rows, columns = np.nonzero(labels[k] if labels[k].any() else either)
    middle = (rows.mean(), columns.mean()) if rows.size else ((n - 1) / 2 for n in either.shape)
    side = float(np.clip(_LEAST_MM + 2 * (one.outside_mm if isfinite(one.outside_mm) else 0), _LEAST_MM, _MOST_MM))
    steps = (np.arange(_TILE) + 0.5) / _TILE * side - side / 2
    down, across = (centre + steps / mm for centre, mm in zip(middle, pixel_mm, strict=True))
    at = np.array(np.meshgrid(down, across, indexing="ij"))
    grey = ndimage.map_coordinates(pictures[k].astype(np.float32), at, order=1)
    low, high = np.percentile(grey, (1, 99))
    shown = np.clip((grey - low) / max(float(high - low), 1e-6), 0, 1)
    mask, label = (ndimage.map_coordinates(of[k].astype(np.float32), at, order=0) > 0.5 for of in (masks, labels))
    return Tile(one, shown.astype(np.float32), mask, label)


def write_sheet(tiles: Sequence[Tile], title: str, path: Path) -> None:
    """One PNG of pairs: the slice, and the slice with agreement in colour. No tiles: nothing is written."""
    if not tiles:
        return
    n_rows = -(-len(tiles) // _PAIRS_A_ROW)
    width = min(len(tiles), _PAIRS_A_ROW) * (2 * _TILE + 8)
    sheet = PillowImage.new("RGB", (max(width, 2 * (2 * _TILE + 8)), 44 + n_rows * (_TILE + _TEXT)), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((6, 4), title, fill="black")
    pen.text((6, 22), LEGEND, fill="black")
    for number, tile in enumerate(tiles):
        left = number % _PAIRS_A_ROW * (2 * _TILE + 8)
        top = 44 + number // _PAIRS_A_ROW * (_TILE + _TEXT)
        plain = np.repeat(np.rint(tile.grey * 255).astype(np.uint8)[:, :, None], 3, axis=2)
        sheet.paste(PillowImage.fromarray(plain), (left, top))
        sheet.paste(PillowImage.fromarray(_coloured(plain, tile)), (left + _TILE, top))
        for line, text in enumerate(_words(tile.score)):
            pen.text((left + 2, top + _TILE + 2 + 14 * line), text, fill="black")
    with atomic_write(path) as beside:
        sheet.save(beside)


def _coloured(plain: NDArray[np.uint8], tile: Tile) -> NDArray[np.uint8]:
    mixed = plain.astype(np.float32)
    for where, (colour, opacity) in (
        (tile.found & tile.true, _MATCH),
        (tile.found & ~tile.true, _TOO_MUCH),
        (tile.true & ~tile.found, _MISSED),
    ):
        mixed[where] = (1 - opacity) * mixed[where] + opacity * np.array(colour, np.float32)
    return mixed.astype(np.uint8)


def _words(one: SliceScore) -> tuple[str, str]:
    dice = f"Dice {one.dice:.3f}, area {one.csa_error_percent:+.0f} %" if isfinite(one.dice) else "no cord in the label"
    outside = f", {one.outside_mm:.1f} mm outside" if isfinite(one.outside_mm) else ""
    return f"{one.case[:44]}  slice {one.slice}", dice + outside + ("  flags: " + " ".join(one.flags))[
        : 50 * bool(one.flags)
    ]


@dataclass
class WorstSlices:
    """Collects the pictures of the worst slices while cases are scored."""

    tiles: list[Tile] = field(default_factory=list)

    def __call__(self, loaded: LoadedCase, found: Volume, score: CaseScore) -> None:
        new = worst_tiles(loaded.image, found, loaded.mask, score, _PICTURES)
        self.tiles = worst_of([*self.tiles, *new], _PICTURES)
