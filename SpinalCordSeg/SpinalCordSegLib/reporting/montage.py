"""One picture to judge a segmentation by: planes along the cord, the area beside them, and axial slices.

Needs Pillow; where it is missing ``draw_montage`` raises MissingPackageError and the report is made without.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from SpinalCordSegLib.errors import MissingPackageError
from SpinalCordSegLib.reporting.area_plot import AreaPlot, AreaPoint
from SpinalCordSegLib.reporting.drawing import Box, Dot, Drawing, Line, Polygon, Text
from SpinalCordSegLib.reporting.montage_view import CordScene, View, chosen_slices, outline

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw

_WIDTH, _MARGIN, _GAP = 1500, 24, 12
_COLUMNS, _TILES = 6, 18
_TILE_MM, _PLANE_MM, _BESIDE_MM = 40.0, 90.0, 40.0
_PLANE_HEIGHT, _PLANE_WIDTH, _MOST_PIXELS_PER_MM = 620, 400, 10.0
_PAPER, _INK, _QUIET, _DOUBT = "#ffffff", "#1d2733", "#5b6875", "#d9730d"
_CONTOUR = (244, 214, 49)  # the colour of the segment "Spinal cord"
_PLAIN = str.maketrans({"–": "-", "×": "x", "→": ">", "←": "<", "…": "...", "’": "'"})
_KNOWN = "·±°"
_RAISED = {"²": "2", "³": "3"}


@dataclass(frozen=True)
class MontageSlice:
    """One axial slice that may be shown: which, where it lies in the area plot, and its area and doubts."""

    canonical_slice: int
    point: AreaPoint


@dataclass(frozen=True)
class MontageText:
    """``title``: what was measured. ``lines``: results and remarks beneath it."""

    title: str
    lines: tuple[str, ...]


def draw_montage(
    scene: CordScene,
    slices: Sequence[MontageSlice],
    z_span_mm: tuple[float, float],
    mean_csa_mm2: float,
    text: MontageText,
) -> Picture:
    """The picture, RGB, 1500 pixels wide.

    ``slices``: from inferior to superior, all that have cord or lie between; empty where none was found, then
    slices of the whole volume are shown. ``z_span_mm``: z of the volume's lower and upper face, on the scale of
    the points. Raises MissingPackageError without Pillow.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        raise MissingPackageError("the montage needs Pillow: install it, or do without the picture") from error
    shown = _shown(scene, slices)
    scale = min(_PLANE_HEIGHT / (z_span_mm[1] - z_span_mm[0]), _MOST_PIXELS_PER_MM)
    widest_mm = _PLANE_WIDTH / scale
    planes = [
        scene.along(axis, min(max(_PLANE_MM, scene.reach_mm(axis) + _BESIDE_MM), widest_mm), scale) for axis in (1, 0)
    ]
    tile = (_WIDTH - 2 * _MARGIN - (_COLUMNS - 1) * _GAP) // _COLUMNS
    top = _MARGIN + 44 + 26 * len(text.lines)
    tiles_top = top + 30 + planes[0].grey.shape[0] + 44
    height = tiles_top + -(-len(shown) // _COLUMNS) * (tile + 62) + _MARGIN
    picture = Image.new("RGB", (_WIDTH, height), _PAPER)
    pen = ImageDraw.Draw(picture)
    _write(pen, Text(_MARGIN, _MARGIN + 26, text.title, 28, _INK))
    for number, line in enumerate(text.lines):
        _write(pen, Text(_MARGIN, _MARGIN + 58 + 26 * number, line, 18, _QUIET))
    _draw_planes(picture, planes, top, scale, [s for s in slices if s.point.doubts], scene)
    _draw_plot(picture, slices, planes, top, z_span_mm, mean_csa_mm2)
    for number, item in enumerate(shown):
        left = _MARGIN + number % _COLUMNS * (tile + _GAP)
        _draw_tile(picture, scene, item, left, tiles_top + number // _COLUMNS * (tile + 62), tile)
    return picture


def _shown(scene: CordScene, slices: Sequence[MontageSlice]) -> list[MontageSlice]:
    known = {item.canonical_slice: item for item in slices}
    filled = np.flatnonzero(scene.mask.any(axis=(0, 1))).tolist()
    flagged = [item.canonical_slice for item in slices if item.point.doubts and item.canonical_slice in set(filled)]
    chosen = chosen_slices(filled or range(scene.mask.shape[2]), flagged, _TILES)
    unknown = AreaPoint(-1, float("nan"), float("nan"), float("nan"))
    return [known.get(k, MontageSlice(k, replace(unknown, slice=k))) for k in chosen]


def _draw_planes(
    picture: Picture, planes: list[View], top: int, scale: float, doubtful: list[MontageSlice], scene: CordScene
) -> None:
    from PIL import ImageDraw

    pen = ImageDraw.Draw(picture)
    left = _MARGIN
    names = ("sagittal, along the cord", "coronal, along the cord")
    for view, name, (near, far) in zip(planes, names, (("A", "P"), ("R", "L")), strict=True):
        height, width = view.grey.shape
        _write(pen, Text(left, top + 18, name, 17, _QUIET))
        picture.paste(_overlay(view, 1), (left, top + 30))
        if height > 60:
            _write(pen, Text(left + 6, top + 52, near, 18, "#ffffff"))
            _write(pen, Text(left + width - 6, top + 52, far, 18, "#ffffff", "end"))
        if height > 40 and width > 22 * scale:
            _scale_bar(pen, left + 8, top + 30 + height - 10, 20, scale, labelled=height > 60)
        for item in doubtful:
            share = 1 - (item.canonical_slice + 0.5) / scene.mask.shape[2]
            y = top + 30 + share * height
            pen.line([(left + width + 1, y), (left + width + 7, y)], fill=_DOUBT, width=3)
        left += width + 2 * _GAP


def _draw_plot(
    picture: Picture,
    slices: Sequence[MontageSlice],
    planes: list[View],
    top: int,
    z_span_mm: tuple[float, float],
    mean_csa_mm2: float,
) -> None:
    from PIL import ImageDraw

    left = _MARGIN + sum(view.grey.shape[1] + 2 * _GAP for view in planes)
    width, height = _WIDTH - _MARGIN - left, planes[0].grey.shape[0]
    plot = AreaPlot(
        [item.point for item in slices], mean_csa_mm2, width, height, vertical=True, z_span_mm=z_span_mm, text_size=15
    )
    pen = ImageDraw.Draw(picture)
    mean = f", dashed: mean {mean_csa_mm2:.1f} mm²" if isfinite(mean_csa_mm2) else ""
    _write(pen, Text(left + 60, top + 18, f"cross-sectional area, mm², along z, mm{mean}", 17, _QUIET))
    _render(pen, plot.draw(), left, top + 30)


def _draw_tile(picture: Picture, scene: CordScene, item: MontageSlice, left: int, top: int, tile: int) -> None:
    from PIL import ImageDraw

    pen = ImageDraw.Draw(picture)
    scale = tile / _TILE_MM
    view = _overlay(scene.axial(item.canonical_slice, _TILE_MM, scale), 2)
    picture.paste(view, (left, top))
    _write(pen, Text(left + 6, top + 22, "R", 18, "#ffffff"))
    _write(pen, Text(left + view.width - 6, top + 22, "L", 18, "#ffffff", "end"))
    _scale_bar(pen, left + 8, top + view.height - 9, 10, scale, labelled=True)
    point = item.point
    area = f"{point.csa_mm2:.1f} mm²" if isfinite(point.csa_mm2) else "no area"
    _write(pen, Text(left, top + tile + 20, f"slice {point.slice}", 17, _INK))
    _write(pen, Text(left + view.width, top + tile + 20, area, 17, _INK, "end"))
    if point.doubts:
        pen.rectangle([left - 3, top - 3, left + view.width + 2, top + view.height + 2], outline=_DOUBT, width=3)
        words = ", ".join(doubt.replace("_", " ") for doubt in point.doubts)
        _write(pen, Text(left, top + tile + 40, words if len(words) <= 30 else words[:28] + "…", 15, _DOUBT))


def _overlay(view: View, line: int) -> Picture:
    from PIL import Image

    pixels = np.repeat(np.rint(view.grey * 255).astype(np.uint8)[:, :, None], 3, axis=2)
    pixels[outline(view.mask, line)] = _CONTOUR
    return Image.fromarray(pixels)


def _scale_bar(pen: ImageDraw, x: float, y: float, length_mm: int, scale: float, labelled: bool) -> None:
    pen.line([(x, y), (x + length_mm * scale, y)], fill="#ffffff", width=3)
    if labelled:
        _write(pen, Text(x, y - 7, f"{length_mm} mm", 14, "#ffffff"))


def _render(pen: ImageDraw, drawing: Drawing, left: float, top: float) -> None:
    """Draw the shapes of a drawing with its upper left corner at (left, top)."""
    for shape in drawing.shapes:
        if isinstance(shape, Box):
            pen.rectangle([left + shape.left, top + shape.top, left + shape.right, top + shape.bottom], fill=shape.fill)
        elif isinstance(shape, Dot):
            x, y, r = left + shape.x, top + shape.y, shape.radius
            pen.ellipse([x - r, y - r, x + r, y + r], fill=shape.colour)
        elif isinstance(shape, Polygon):
            pen.polygon([(left + x, top + y) for x, y in shape.points], fill=shape.fill)
        elif isinstance(shape, Line):
            points = [(left + x, top + y) for x, y in shape.points]
            for start, end in _dashes(points) if shape.dashed else [(points, None)]:
                pen.line(start if end is None else [start, end], fill=shape.colour, width=max(1, round(shape.width)))
        else:
            _write(pen, replace(shape, x=left + shape.x, y=top + shape.y))


def _dashes(points: list[tuple[float, float]]) -> list[tuple]:
    """A straight line of two points as dashes of 7 pixels with gaps of 5."""
    (x0, y0), (x1, y1) = points
    length = max(float(np.hypot(x1 - x0, y1 - y0)), 1e-9)
    starts = np.arange(0.0, length, 12.0)

    def at(s: float) -> tuple[float, float]:
        return x0 + (x1 - x0) * s / length, y0 + (y1 - y0) * s / length

    return [(at(s), at(min(s + 7.0, length))) for s in starts]


def _write(pen: ImageDraw, text: Text) -> None:
    """Write on the base line. Pillow's own font has hardly more than ASCII: ² and ³ are raised small digits."""
    size = text.size
    pieces: list[tuple[str, bool]] = []
    for letter in text.text.translate(_PLAIN):
        raised = letter in _RAISED
        plain = _RAISED.get(letter) or (letter if letter in _KNOWN else _ascii(letter))
        if pieces and pieces[-1][1] == raised:
            pieces[-1] = (pieces[-1][0] + plain, raised)
        else:
            pieces.append((plain, raised))
    normal, small = _font(size), _font(size * 0.65)
    width = sum((small if raised else normal).getlength(piece) for piece, raised in pieces)
    x = text.x - {"start": 0.0, "middle": 0.5, "end": 1.0}[text.anchor] * width
    for piece, raised in pieces:
        font = small if raised else normal
        pen.text((x, text.y - (0.38 * size if raised else 0.0)), piece, fill=text.colour, font=font, anchor="ls")
        x += font.getlength(piece)


@lru_cache(maxsize=32)
def _font(size: float) -> Any:
    """Pillow's own, which it unpacks anew at every call."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _ascii(letter: str) -> str:
    return unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
