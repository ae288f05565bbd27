"""What is shown of a case: pictures by Pillow, the page by one template, the PDF from the same list by matplotlib.

Page, PDF and panel show the same pictures. matplotlib takes half a second to load, so that only the PDF and the figures
of a follow-up use it. Packages may be missing in 3D Slicer: they are imported where they are needed, and
MissingPackageError says what to install.
"""

from __future__ import annotations

import base64
import io
import logging
import textwrap
import warnings
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from SpinalCordSegLib.errors import MissingPackageError, OutputError
from SpinalCordSegLib.files import now_utc, output_errors
from SpinalCordSegLib.image_io import SEGMENT_COLOUR_RGB
from SpinalCordSegLib.morphometry import slice_centroids
from SpinalCordSegLib.review import ACCEPTED, DECISIONS, ON_ANOTHER_MASK, review_text
from SpinalCordSegLib.slice_table import NONE, SliceTable, columns, counted
from SpinalCordSegLib.version import SOFTWARE_VERSION
from SpinalCordSegLib.vertebral_levels import UPPER_END, LevelMeasures
from SpinalCordSegLib.volume import Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from SpinalCordSegLib.case import Case
    from SpinalCordSegLib.flags import Flag

_log = logging.getLogger(__name__)


# ---- Figures

INK, QUIET, FAINT, GAP, PALE, ON_IMAGE = "#1d2733", "#5b6875", "#d5dbe1", "#e4e8ec", "#fdf5ec", "#ffffff"
CURVE, RAW, FLAG, HEALTHY, BAND = "#1f5f99", "#9fb6cc", "#d9730d", "#d3e8d2", "#dbe7f2"
_LEAST_SPAN_MM2 = 20.0  # of the area axis: noise of a very even cord must not fill the plot
_LEVEL_TICK = 36  # pixels
_MOST_LABELS = 12  # of flagged slices in the area plot
_PAGE_DPI = 200
_SMOOTH = 2
_FONT = "DejaVu Sans"  # comes with matplotlib
PAGE_FIGURE_INCHES = (9.0, 3.0)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, inches. Raises MissingPackageError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError("figures and PDF need the package matplotlib: pip install matplotlib") from error
    return Figure((width, height), facecolor="white")


def can_draw(try_it: Callable[[], Any]) -> bool:
    """Whether what it needs is there; where it is not, the log says what to install."""
    try:
        try_it()
    except MissingPackageError as missing:
        _log.warning("%s", missing)
        return False
    return True


def drawn_png(
    draw: Callable[[Axes], None], inches: tuple[float, float] = PAGE_FIGURE_INCHES, dpi: float = _PAGE_DPI
) -> bytes:
    """What ``draw`` draws on one pair of axes, as PNG; the same bytes each time. Raises MissingPackageError without
    matplotlib."""
    (width, height), figure, buffer = inches, new_figure(*inches), io.BytesIO()
    draw(figure.add_axes((0.62 / width, 0.48 / height, 1 - 0.76 / width, 1 - 0.68 / height)))  # with room for labels
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None}, pil_kwargs={"compress_level": 3})
    return buffer.getvalue()


def style_axes(axes: Axes, x: str, y: str, size: float = 9.0) -> None:
    """``x``, ``y``: titles. ``size``: of the letters, points."""
    axes.set_xlabel(x, fontsize=size, color=INK)
    axes.set_ylabel(y, fontsize=size, color=INK)
    axes.tick_params(labelsize=size, colors=INK, length=3)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)


def _runs(chosen: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last position of every unbroken run of True."""
    return [(run.start, run.stop - 1) for (run,) in ndimage.find_objects(ndimage.label(chosen)[0])]


_ROOM = (5.0, 1.6, 1.1, 3.9)  # left, top, right and bottom of the area plot's axes, in letters


def slice_at(table: SliceTable, x: float, width: float, letter: float) -> int | None:
    """The input's slice at the pixel ``x`` of an area plot of this ``width``; None beside its axes."""
    share = (x - letter * _ROOM[0]) / (width - letter * (_ROOM[0] + _ROOM[2]))
    if not len(table) or not 0 <= share <= 1:
        return None
    low, high = _z_ends(table)
    return int(table.slice[np.abs(table.z_mm - (low + share * (high - low))).argmin()])


def _z_ends(table: SliceTable) -> tuple[float, float]:
    """A slice further than the first and the last one, mm."""
    thick = float(np.diff(table.z_mm).min()) if len(table) > 1 else 1.0
    return float(table.z_mm[0]) - thick, float(table.z_mm[-1]) + thick


def area_plot(
    table: SliceTable,
    mean_mm2: float,
    norm: Mapping[str, Any] | None = None,
    *,
    z_span_mm: tuple[float, float] | None = None,
    pixels: tuple[int, int] = (1800, 600),
    letter: float = 25.0,
) -> Canvas:
    """The cross-sectional area along z with its 95 % band: gaps shaded, imputed slices hollow, flagged ones marked with
    their number, levels named.

    ``mean_mm2``: NaN for none. ``norm``: a case's comparison with healthy adults; its 5th to 95th percentile is shaded
    over C2. ``z_span_mm``: z runs upwards between these ends instead of to the right, up to the picture's upper edge,
    so that the plot can stand beside a picture. ``pixels``: width, height; ``letter``: height of letters, pixels.
    """
    z_mm, area, raw, upright = table.z_mm, table.csa_mm2, table.csa_raw_mm2, z_span_mm is not None
    is_there, is_flagged = np.isfinite(area), (table.flags != "") & np.isfinite(area)
    if not is_there.any():
        blank = Canvas(*pixels)
        blank.write(pixels[0] / 2, pixels[1] / 2, "no cross-sectional area to plot", letter, INK, "middle")
        return blank
    half, band = float(np.diff(z_mm).min()) / 2 if len(table) > 1 else 0.5, np.nan_to_num(table.csa_95_mm2)
    shown = [*area - band, *area + band, *raw, *((norm or {}).get(name, np.nan) for name in ("p5_mm2", "p95_mm2"))]
    least, most = float(np.nanmin(shown)), float(np.nanmax(shown))
    margin = max(0.12 * (most - least), (_LEAST_SPAN_MM2 - (most - least)) / 2)
    areas = max(0.0, least - margin), most + margin
    heights = z_span_mm or _z_ends(table)
    limits = (areas, heights) if upright else (heights, areas)
    plot = Plot(pixels, letter, *limits, (4.1, 0.0, 2.7, 2.5) if upright else _ROOM)

    def at(z: ArrayLike, value: ArrayLike) -> NDArray[np.float64]:
        return plot.at(value, z) if upright else plot.at(z, value)

    def shade(first: int, last: int, low: float, high: float, colour: str) -> None:
        start, end = np.clip([z_mm[first] - half, z_mm[last] + half], *heights)
        plot.fill(at([start, start, end, end], [low, high, high, low]), colour)

    for first, last in _runs(~is_there):
        shade(first, last, *areas, GAP)
    levels = [
        (name, *run) for name in dict.fromkeys(table.level.tolist()) if name for run in _runs(table.level == name)
    ]
    for name, first, last in levels:
        if norm is not None and name == "C2" and "p5_mm2" in norm:
            shade(first, last, norm["p5_mm2"], norm["p95_mm2"], HEALTHY)
    for first, last in _runs(is_there):
        run = slice(first, last + 1)
        plot.fill(np.concatenate([at(z_mm[run], (area - band)[run]), at(z_mm[run], (area + band)[run])[::-1]]), BAND)
    plot.axes(0 if upright else 1)
    for name, first, last in levels:
        for end in (z_mm[first] - half, z_mm[last] + half):
            plot.line(at([end, end], areas), FAINT, 0.09)
        x, y = at((z_mm[first] + z_mm[last]) / 2, areas[1])
        where, side = ((x, y + 0.35 * plot.letter), "right") if upright else ((x, y - 0.3 * plot.letter), "middle")
        plot.write(*where, name, QUIET, side)
    for values, colour, width in ((raw, RAW, 0.13), (area, CURVE, 0.2)):
        for first, last in _runs(np.isfinite(values)):
            plot.line(at(z_mm[first : last + 1], values[first : last + 1]), colour, width)
    if isfinite(mean_mm2):
        for start in np.linspace(*heights, 61)[:-1:2]:
            plot.line(at([start, start + (heights[1] - heights[0]) / 100], mean_mm2), CURVE, 0.11)
    for chosen, colour, size in (
        (is_there, CURVE, 0.28), (is_flagged, FLAG, 0.6), (table.is_imputed & is_there, CURVE, 0.6),
        (table.is_imputed & is_there, "white", 0.38),
    ):  # fmt: skip
        plot.dots(at(z_mm[chosen], area[chosen]), colour, size)
    if not upright:
        mean = "   ·   dashed: mean" if isfinite(mean_mm2) else ""
        plot.name_axes(f"inferior ← z, mm → superior{mean}", "area, mm²")
        for first, last in _runs(is_flagged)[:_MOST_LABELS]:
            low, high = sorted(table.slice[[first, last]].tolist())
            x, y = at((z_mm[first] + z_mm[last]) / 2, area[first : last + 1].max())
            plot.write(x, y - 0.5 * plot.letter, f"{low}" if low == high else f"{low}–{high}", FLAG, "middle")
    return plot.reduced()


# ---- What a montage shows: views of the cord on square display pixels, as a radiologist looks at them


@dataclass(frozen=True, eq=False)
class View:
    """``grey``: (rows, columns) 0..1; ``mask``: bool of the same shape; both on square pixels."""

    grey: NDArray[np.float32]
    mask: NDArray[np.bool_]

    def rgb(self, line: int) -> NDArray[np.uint8]:
        """(rows, columns, 3), with the outline just outside the mask, ``line`` pixels wide."""
        pixels = np.repeat(np.rint(self.grey * 255).astype(np.uint8)[:, :, None], 3, axis=2)
        pixels[outline(self.mask, line)] = SEGMENT_COLOUR_RGB
        return pixels


@dataclass(frozen=True, eq=False)
class CordScene:
    """Image and mask as axial slices (n, rows, columns), with the path of the cord's centre through every slice.

    ``image`` None: the mask alone is shown. ``spacing_mm``: slice, row, column. ``centre``: (n, 2) row and column of
    the cord's centre; slices without cord take the nearest slice's or a line between, the middle of the volume where
    there is no cord at all. ``contrast``: between the image's dark and bright parts.
    """

    image: NDArray | None
    mask: NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]
    centre: NDArray[np.float64]
    contrast: float = 1.0

    @classmethod
    def of(cls, image: Volume | None, mask: Volume) -> CordScene:
        cord = mask.voxels.astype(bool)
        if image is None:
            return cls(None, cord, mask.spacing_mm, cord_path(cord))
        dark, bright = np.percentile(image.voxels[:: 1 + len(cord) // 40, ::4, ::4], (1.0, 99.0))
        return cls(image.voxels, cord, mask.spacing_mm, cord_path(cord), float(bright - dark) or 1.0)

    def axial(self, k: int, side_mm: float, pixels_per_mm: float) -> View:
        """Slice k, a square of ``side_mm`` about the cord's centre; the patient's right is on the left."""
        offsets = (np.arange(round(side_mm * pixels_per_mm)) + 0.5) / pixels_per_mm - side_mm / 2
        row, col = self.centre[k]
        return self._sampled(
            lambda pixels: pixels[k], row + offsets / self.spacing_mm[1], col + offsets / self.spacing_mm[2]
        )

    def along(self, axis: int, side_mm: float, pixels_per_mm: float) -> View:
        """The plane that follows the cord: axis 1 sagittal (anterior on the left), axis 2 coronal (right on the left).

        Width ``side_mm`` about the centre; the height is the whole volume's, superior on top.
        """
        n = len(self.mask)
        steps = np.arange(max(1, round(n * self.spacing_mm[0] * pixels_per_mm))) + 0.5
        heights = (n - steps / pixels_per_mm / self.spacing_mm[0] - 0.5).clip(0, n - 1)  # end slices whole
        offsets = (np.arange(round(side_mm * pixels_per_mm)) + 0.5) / pixels_per_mm - side_mm / 2
        own, other = self.centre[:, axis - 1], self.centre[:, 2 - axis]
        across = (own.min() + own.max()) / 2 + offsets / self.spacing_mm[axis]
        followed = np.rint(other).astype(int).clip(0, self.mask.shape[3 - axis] - 1)
        slices = np.arange(n)
        return self._sampled(
            lambda pixels: pixels[slices, :, followed] if axis == 1 else pixels[slices, followed], heights, across
        )

    def _sampled(
        self, cut: Callable[[NDArray], NDArray], rows: NDArray[np.float64], columns: NDArray[np.float64]
    ) -> View:
        """Each view has its own window, as coils fall off along the neck; never so narrow that noise fills it."""
        mask = sampled(cut(self.mask), rows, columns) >= 0.5
        if self.image is None:
            return View((mask * np.float32(0.35)).astype(np.float32), mask)
        values = sampled(cut(self.image), rows, columns)
        low, high = (float(value) for value in np.percentile(values, (1.0, 99.5)))
        high = max(high, low + 0.15 * self.contrast)
        return View(np.clip((values - low) / (high - low), 0, 1).astype(np.float32), mask)


def sampled(plane: NDArray, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float32]:
    """``plane`` at every pair of these positions (in its pixels), linear between pixels, 0 beyond the outermost."""
    at = np.meshgrid(rows, columns, indexing="ij")
    return np.asarray(ndimage.map_coordinates(plane.astype(np.float32), at, order=1))


def outline(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The rim just outside the mask, ``width`` pixels: the cord itself stays visible."""
    if not mask.any():
        return mask
    return ndimage.binary_dilation(mask, ndimage.generate_binary_structure(2, 2), iterations=width) & ~mask


def cord_path(cord: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n, 2): centroid (row, column) of each slice of a mask (n, rows, columns); see CordScene.centre."""
    filled, centroids, _ = slice_centroids(cord)
    if not filled.size:
        return np.tile((np.array(cord.shape[1:]) - 1) / 2, (len(cord), 1))
    return np.stack([np.interp(np.arange(len(cord)), filled, one) for one in centroids.T], axis=1)


def chosen_slices(filled: Sequence[int], flagged: Sequence[int], count: int) -> list[int]:
    """At most ``count`` of the slices in ``filled``: spread evenly, with flagged ones preferred for up to half."""

    def spread(among: Sequence[int], n: int) -> set[int]:
        """``n`` of them, evenly spread, ends included."""
        if n <= 1:
            return set(among[len(among) // 2 :][:n])
        return {among[round(p)] for p in np.linspace(0, len(among) - 1, n)}

    if len(filled) <= count:
        return sorted(filled)
    doubtful = [k for k in flagged if k in set(filled)]
    kept = spread(doubtful, min(len(doubtful), count // 2))
    rest = [k for k in filled if k not in kept]
    return sorted(kept | spread(rest, count - len(kept)))


# ---- The montage: one picture to judge a segmentation by


class Canvas:
    """A white picture, into which pictures, bars and texts are put; pixels, (x, y) from the upper left corner.

    Raises MissingPackageError.
    """

    def __init__(self, width: int, height: int) -> None:
        _letters(14)  # raises where a package is missing
        from PIL import Image, ImageDraw

        self.image = Image.new("RGB", (width, height), "white")
        self.draw = ImageDraw.Draw(self.image)

    def paste(self, picture: NDArray[np.uint8], x: int, y: int) -> None:
        from PIL import Image

        self.image.paste(Image.fromarray(picture), (x, y))

    def bar(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        self.draw.rectangle((round(x), round(y), round(x + width) - 1, round(y + height) - 1), fill=colour)

    def write(self, x: float, y: float, text: str, size: float, colour: str, where: str = "left") -> None:
        """``y``: of the base line; ``size``: pixels; ``x``: of its left end, or as ``where`` says. ON_IMAGE has a
        dark rim, to be read on fat and on air."""
        rim = 1 if colour == ON_IMAGE else 0
        anchor = f"{where[0]}s"
        self.draw.text((x, y), text, colour, _letters(size), anchor, stroke_width=rim, stroke_fill="#000000")

    def scale_bar(self, x: float, y: float, length_mm: int, pixels_per_mm: float, labelled: bool = True) -> None:
        self.bar(x - 1, y - 2, length_mm * pixels_per_mm + 2, 5, "#000000")
        self.bar(x, y - 1, length_mm * pixels_per_mm, 3, ON_IMAGE)
        if labelled:
            self.write(x, y - 7, f"{length_mm} mm", 14, ON_IMAGE)

    @property
    def pixels(self) -> NDArray[np.uint8]:
        return np.asarray(self.image)

    def png(self) -> bytes:
        buffer = io.BytesIO()
        self.image.save(buffer, "png", compress_level=1)
        return buffer.getvalue()


class Plot:
    """Two axes with the limits ``x`` and ``y``, drawn twice as large and then reduced, so that edges are smooth.

    ``room``: left, top, right and bottom of the axes, in letters, as are widths and sizes. Points: (n, 2), of ``at``.
    """

    def __init__(
        self, pixels: tuple[int, int], letter: float, x: tuple[float, float], y: tuple[float, float],
        room: tuple[float, float, float, float],
    ) -> None:  # fmt: skip
        width, height = (_SMOOTH * n for n in pixels)
        self._canvas, self.limits, self.letter = Canvas(width, height), (x, y), _SMOOTH * letter
        left, top, right, bottom = (self.letter * n for n in room)
        self._ends = (left, width - right), (height - bottom, top)

    def at(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """(…, 2): where points lie on the large picture."""
        scaled = zip(np.broadcast_arrays(x, y), self.limits, self._ends, strict=True)
        places = [start + (value - low) / (high - low) * (end - start) for value, (low, high), (start, end) in scaled]
        return np.stack(places, axis=-1)

    def line(self, points: NDArray, colour: str, width: float) -> None:
        self._canvas.draw.line(points.ravel().tolist(), colour, max(1, round(width * self.letter)), "curve")

    def fill(self, points: NDArray, colour: str) -> None:
        self._canvas.draw.polygon(points.ravel().tolist(), colour)

    def dots(self, points: NDArray, colour: str, size: float) -> None:
        for x, y in points.tolist():
            self._canvas.draw.circle((x, y), size * self.letter / 2, colour)

    def write(self, x: float, y: float, text: str, colour: str, where: str = "left") -> None:
        self._canvas.write(x, y, text, self.letter, colour, where)

    def axes(self, grid: int) -> None:
        """The axes with their numbers, and lines at the numbers of axis ``grid``."""
        (left, right), (bottom, top) = self._ends
        self.line(np.array([[left, top], [left, bottom], [right, bottom]]), INK, 0.09)
        for axis, (low, high) in enumerate(self.limits):
            most = (0.2, 0.4)[axis] * abs(self._ends[axis][1] - self._ends[axis][0]) / self.letter
            steps = (share * 10.0**power for power in range(-3, 9) for share in (1, 2, 5))
            step = next(step for step in steps if (high - low) / step <= max(2, most))
            for value in np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step + 0.0:  # never "-0"
                x, y = self.at(value, self.limits[1][0]) if axis == 0 else self.at(self.limits[0][0], value)
                beyond = [[x, top], [x, y]] if axis == 0 else [[right, y], [x, y]]
                if axis == grid:
                    self.line(np.array(beyond), FAINT, 0.09)
                place = (x, y + 1.2 * self.letter) if axis == 0 else (x - 0.4 * self.letter, y + 0.35 * self.letter)
                self.write(*place, f"{value:g}", INK, "middle" if axis == 0 else "right")

    def name_axes(self, x: str, y: str) -> None:
        (left, right), (bottom, top) = self._ends
        self.write((left + right) / 2, bottom + 2.9 * self.letter, x, INK, "middle")
        self.write(0.2 * self.letter, top - 0.5 * self.letter, y, INK)

    def reduced(self) -> Canvas:
        self._canvas.image = self._canvas.image.reduce(_SMOOTH)
        return self._canvas


@cache
def _letters(size: float) -> Any:
    """matplotlib's font. matplotlib itself is not loaded for it, which takes half a second."""
    try:
        from PIL import ImageFont

        found = find_spec("matplotlib")
    except ImportError:
        found = None
    if found is None or found.origin is None:
        raise MissingPackageError("pictures need the packages matplotlib (its font) and Pillow: pip install matplotlib")
    return ImageFont.truetype(Path(found.origin).with_name("mpl-data") / "fonts" / "ttf" / "DejaVuSans.ttf", size)


_WIDTH, _MARGIN, _SPACE = 1500, 24, 12
_COLUMNS, _TILES = 6, 18
_TILE_MM, _PLANE_MM, _BESIDE_MM = 40.0, 90.0, 40.0
_PLANE_HEIGHT, _PLANE_WIDTH, _MOST_PIXELS_PER_MM = 620, 400, 10.0


def montage_png(case: Case) -> bytes | None:
    """Planes along the cord, the area beside them, and axial slices with the mask's outline: PNG, 1500 pixels wide.

    Without a cord slices of the whole volume are shown, without ``case.image`` the mask alone. None, with a warning in
    the log, where Pillow or its font is missing.
    """
    if not can_draw(lambda: Canvas(1, 1)):
        return None
    table, mask = case.slices, case.mask
    scene = CordScene.of(case.background, mask)
    n, step = len(scene.mask), scene.spacing_mm[0]
    lowest = float(table.z_mm[0]) - (int(table.canonical_slice[0]) + 0.5) * step if len(table) else 0.0
    filled = np.flatnonzero(scene.mask.any(axis=(1, 2))).tolist()
    flagged = table.canonical_slice[table.flags != ""].tolist()
    shown = chosen_slices(filled or range(n), flagged, _TILES)
    scale = min(_PLANE_HEIGHT / (n * step), _MOST_PIXELS_PER_MM)
    reach_mm = np.ptp(scene.centre, axis=0) * scene.spacing_mm[1:]  # how far the cord's centre moves across
    widths = [min(max(_PLANE_MM, float(mm) + _BESIDE_MM), _PLANE_WIDTH / scale) for mm in reach_mm]
    planes = [scene.along(axis, width, scale) for axis, width in zip((1, 2), widths, strict=True)]
    tile = (_WIDTH - 2 * _MARGIN - (_COLUMNS - 1) * _SPACE) // _COLUMNS
    top = _MARGIN + 126
    plane_height = planes[0].grey.shape[0]
    tiles_top = top + plane_height + 44
    canvas = Canvas(_WIDTH, tiles_top + -(-len(shown) // _COLUMNS) * (tile + 62) + _MARGIN)
    canvas.write(_MARGIN, _MARGIN + 26, case.name, 28, INK)
    found = "no cord found"
    if len(table):
        area_text = f"mean area {_number(case.mean_csa_mm2, '{:.1f} mm²')} · volume {case.volume_mm3:.0f} mm³"
        found = (
            f"{area_text} · length {case.length_mm:.1f} mm · {case.counted_text} · {counted(len(case.flags), 'flag')}"
        )
    model = f"{case.model.name} {case.model.version}" if case.model else "mask made elsewhere"
    made = f"{model} · SpinalCordSeg {case.software_version} · research use, not for diagnosis"
    canvas.write(_MARGIN, _MARGIN + 58, found, 18, QUIET)
    canvas.write(_MARGIN, _MARGIN + 84, made, 18, QUIET)
    left, indent = _MARGIN, 48 if (table.level != "").any() else 6  # beside the names of levels
    names = (("sagittal, along the cord", "A", "P"), ("coronal, along the cord", "R", "L"))
    for view, (name, near, far) in zip(planes, names, strict=True):
        height, width = view.grey.shape
        canvas.write(left, top - 12, name, 17, QUIET)
        canvas.paste(view.rgb(2), left, top)
        if height > 60:
            canvas.write(left + indent, top + 22, near, 18, ON_IMAGE)
            canvas.write(left + width - 6, top + 22, far, 18, ON_IMAGE, "right")
        if height > 40 and width > 22 * scale:
            canvas.scale_bar(left + 8, top + height - 10, 20, scale, labelled=height > 60)
        _mark_levels(canvas, table, left, top, height / n, n)
        for k in flagged:
            canvas.bar(left + width + 1, top + (1 - (k + 0.5) / n) * height - 1, 6, 3, FLAG)
        left += width + 2 * _SPACE
    mean = f", dashed: mean {case.mean_csa_mm2:.1f} mm²" if isfinite(case.mean_csa_mm2) else ""
    canvas.write(left + 60, top - 12, f"area, mm², along z, mm{mean}", 17, QUIET)
    size, span = (_WIDTH - left, plane_height + 36), (lowest, lowest + n * step)
    plot = area_plot(table, case.mean_csa_mm2, z_span_mm=span, pixels=size, letter=14.5)
    canvas.paste(plot.pixels, left, top)
    for at, k in enumerate(shown):
        row = table.row_of(k)
        flags, area = ("", np.nan) if row is None else (str(table.flags[row]), float(table.csa_mm2[row]))
        x, y = _MARGIN + at % _COLUMNS * (tile + _SPACE), tiles_top + at // _COLUMNS * (tile + 62)
        if flags:
            canvas.bar(x - 3, y - 3, tile + 6, tile + 6, FLAG)
        canvas.paste(scene.axial(k, _TILE_MM, tile / _TILE_MM).rgb(2), x, y)
        canvas.write(x + 6, y + 22, "R", 18, ON_IMAGE)
        canvas.write(x + tile - 6, y + 22, "L", 18, ON_IMAGE, "right")
        canvas.scale_bar(x + 8, y + tile - 9, 10, tile / _TILE_MM)
        canvas.write(x, y + tile + 20, f"slice {mask.to_input_slice(k)}", 17, INK)
        text = f"{area:.1f} mm²" if isfinite(area) else "no area"
        text = f"imputed {text}" if row is not None and table.is_imputed[row] else text
        canvas.write(x + tile, y + tile + 20, text, 17, INK, "right")
        words = _kinds(flags)
        canvas.write(x, y + tile + 40, words if len(words) <= 30 else words[:28] + "…", 15, FLAG)
    return canvas.png()


def _mark_levels(canvas: Canvas, table: SliceTable, x: float, top: float, slice_pixels: float, n: int) -> None:
    """Name and ends of every vertebral level beside a plane's vertebrae, so that a glance confirms the discs."""
    for name in dict.fromkeys(table.level[table.level != ""]):
        k = table.canonical_slice[table.level == name]
        upper, lower = (top + (n - edge) * slice_pixels for edge in (int(k.max()) + 1, int(k.min())))
        for y in (upper, lower):
            canvas.bar(x, y - 1, _LEVEL_TICK, 2, ON_IMAGE)
        canvas.write(x + 6, (upper + lower) / 2 + 6, str(name), 17, ON_IMAGE)


def _kinds(flags: str) -> str:
    """Kinds of flag, separated by blanks, to be read."""
    return flags.replace(" ", ", ").replace("_", " ")


# ---- What a report shows: a list of sections, laid out by the page's template and by the PDF


@dataclass(frozen=True)
class Section:
    """One part of a report.

    ``kind`` and its ``items``: "boxes" (name, value, remark), "flags" and "stop" (where, text), "clear" (one sentence),
    "review" (one sentence, or none: blanks to fill in), "picture" (none), "table" (rows of texts under ``columns``,
    those in ``marked`` highlighted), "entries" (name, value), "text" (none). ``note``: small print beneath.
    ``picture``: PNG, or what draws it. ``folded``: closed until the reader opens it.
    """

    kind: str
    title: str = ""
    items: Sequence[Any] = ()
    note: str = ""
    columns: Sequence[str] = ()
    marked: Container[int] = ()
    picture: bytes | Callable[[Axes], None] | None = None
    folded: bool = False
    whole_page: bool = False

    @property
    def png(self) -> bytes:
        return drawn_png(self.picture) if callable(self.picture) else self.picture or b""

    @property
    def source(self) -> str:
        """The picture for an <img>."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()

    @cached_property
    def text_columns(self) -> set[int]:
        """Columns that hold words, not numbers."""
        cells = enumerate(zip(*self.items, strict=True))
        return {n for n, column in cells if any(letter.isalpha() for cell in column for letter in str(cell))}


_MADE = {
    "AI": "AI segmentation",
    "corrected": "AI segmentation, corrected by a person",
    "given": "Measured on a mask made elsewhere",
}


def sections(case: Case, montage: bytes | None) -> list[Section]:
    """What the report of a case shows, the most important first. ``montage``: PNG, None where there is none."""
    table, norm = case.slices, None if case.levels is None else case.levels.norm
    marks = {
        " Pale blue: 95 % band.": np.isfinite(table.csa_95_mm2),
        " Orange: flagged slices.": table.flags != "",
        " Hollow: imputed slices, no part of the mean.": table.is_imputed,
        " Grey: no area there.": np.isnan(table.csa_mm2),
    }
    note = "Dark line: area at a right angle to the cord. Light: area in the slice. Dashed: mean."
    note += "".join(text for text, slices in marks.items() if slices.any())
    if norm and "p5_mm2" in norm:
        note += (
            f" Green: 5th to 95th percentile at C2 of {norm['n_persons']} healthy persons of that sex and age, not"
            " calibrated for this software (±5 %)."
        )

    decided = review_sentence(case)
    if can_draw(lambda: Canvas(1, 1)):
        plot = area_plot(table, case.mean_csa_mm2, norm).png()
        area = Section("picture", "Area along the cord", note=note, picture=plot)
    else:
        area = Section("text", "Figures", note="Left out: the package matplotlib is not installed.")
    found = [
        Section("boxes", items=_headline(case)),
        area,
        *_level_table(case),
        _flag_list(case.flags),
        Section("review", "Review", [decided] if decided else []),
    ]
    if montage is not None:
        legend = (
            "Yellow: outline of the mask. Axial and coronal pictures: the patient’s right is on the left. Sagittal and"
            " coronal planes follow the cord. Orange: flagged slices."
        )
        found.append(Section("picture", "Pictures", note=legend, picture=montage, whole_page=True))
    if len(table):
        found.append(_slice_table(table))
    found.append(Section("entries", "Image and measurement", _image_entries(case)))
    found.append(Section("entries", "Model and computation", _making(case), folded=True))
    if case.history:
        acts = [(act.when, act.what, act.who or "–", act.before[:8] or "–", act.after[:8]) for act in case.history]
        columns = ("Time (UTC)", "Act", "By", "Mask before", "Mask after")
        note = "Masks by the first 8 letters of their fingerprint."
        found.append(Section("table", "History", acts, columns=columns, note=note, folded=True))
    return found


def _headline(case: Case) -> list[tuple[str, str, str]]:
    where = "in the chosen range" if case.range else "over the whole cord found"
    spread = f"SD {case.sd_csa_mm2:.1f} mm², " if isfinite(case.sd_csa_mm2) else ""
    band = f"95 % band ± {case.mean_csa_95_mm2:.1f} mm², " if isfinite(case.mean_csa_95_mm2) else ""
    counted = f"{band}{spread}mean of {case.counted_text}, coverage {100 * case.coverage:.0f} %, {where}"
    diameters = " × ".join(_number(mm, "{:.1f}") for mm in (case.mean_ap_ellipse_mm, case.mean_rl_mm))
    volume = f"of all voxels of the mask; {_number(case.length_mm, '{:.1f}')} mm along the cord"
    return [
        *(
            (
                "Mean area C2-C3",
                _number(row.mean_csa_mm2, "{:.1f} mm²"),
                f"coverage {100 * row.coverage:.0f} %; {row.remark}; discs {case.discs_from}",
            )
            for row in (case.levels.rows if case.levels else ())
            if row.name == "C2-C3"
        ),
        ("Mean cross-sectional area", _number(case.mean_csa_mm2, "{:.1f} mm²"), counted),
        ("Volume", _number(case.volume_mm3, "{:.0f} mm³"), volume),
        ("Diameters, AP × RL", f"{diameters} mm", "mean of the same slices as the area"),
    ]


def _level_table(case: Case) -> list[Section]:
    """Mean areas by vertebral level, below the cord's upper end, and the comparison with healthy adults; nothing where
    no disc was marked and no end found."""
    if case.levels is None:
        return []
    report, found = case.levels, []
    if report.reason:
        found.append(Section("text", "Area by vertebral level", note=f"None: {report.reason}."))
    elif report.discs_mm or report.upper_end is None:
        discs = ", ".join(report.discs_mm) or "none at the cord found"
        note = (
            f"Discs ({case.discs_from or 'marked'}): {discs}. Vertebral levels along the cord’s centreline, not spinal"
            " levels. “Approximate” and “fitted” use the lengths of the PAM50 template."
        )
        by_discs = [row for row in report.rows if row.basis != UPPER_END]
        found.append(_areas("Area by vertebral level", by_discs, note))
    if report.upper_end is not None:
        state = "accepted with the case" if case.review.state == ACCEPTED else "not confirmed"
        note = (
            f"Found by the program in slice {report.upper_end.slice} ({state}), within {report.upper_end.within_mm:.0f}"
            " mm of the foramen magnum in 95 % of simulated heads. It is no vertebral level: compare it with areas of"
            " this name alone."
        )
        below = [row for row in report.rows if row.basis == UPPER_END]
        found.append(_areas("Area below the cord’s upper end", below, note))
    return found + ([Section("text", "Healthy adults", note=f"{report.norm['text']}.")] if report.norm else [])


def _areas(title: str, measured: Sequence[LevelMeasures], note: str) -> Section:
    rows = []
    for row in measured:
        how = row.remark or ("around the disc" if row.basis == "disc" else "between discs")
        area, spread, length = (_number(mm, "{:.1f}") for mm in (row.mean_csa_mm2, row.sd_csa_mm2, row.length_mm))
        rows.append((row.name, area, spread, str(row.n_slices), length, f"{100 * row.coverage:.0f} %", how))
    titles = ("level", "mean area, mm²", "SD, mm²", "slices", "length, mm", "coverage", "how it was found")
    return Section("table", title, rows, note, titles, {n for n, row in enumerate(measured) if row.coverage < 0.98})


def _flag_list(flags: Sequence[Flag]) -> Section:
    """Flags of the whole case first, then one line a slice."""
    if not flags:
        return Section("clear", items=["No flag was raised. The pictures still have to be looked at."])
    lines: dict[int | None, list[str]] = {None: []}
    for flag in flags:
        lines.setdefault(flag.slice, []).append(f"{flag.message} ({_kinds(flag.kind)})")
    items = [("", text) for text in lines.pop(None)] + [(f"Slice {k}", "; ".join(texts)) for k, texts in lines.items()]
    return Section("flags", f"To be checked: {counted(len(flags), 'flag')}", items)


def _slice_table(table: SliceTable) -> Section:
    shown = (column for column in columns() if column.on_page)
    titles, cells, meanings = [], [], []
    for column in sorted(shown, key=lambda column: column.name == "flags"):
        values = getattr(table, column.name).tolist()
        if column.kind is float:
            form = "{:.1f}" if column.unit == "mm²" or column.name == "z_mm" else "{:.2f}"
            texts = [_number(value, form) for value in values]
        elif column.kind is int:
            texts = ["–" if value == NONE else str(value) for value in values]
        else:
            texts = [_kinds(value) for value in values]
        if column.name == "flags" or any(text not in ("", "–") for text in texts):
            titles.append(f"{column.title}, {column.unit}" if column.unit else column.title)
            cells.append(texts)
            meanings.append(f"{column.title[0].upper()}{column.title[1:]}: {column.meaning}.")
    marked = set(np.flatnonzero(table.flags != "").tolist())
    rows = list(zip(*cells, strict=True))
    return Section("table", "Slice by slice, from inferior to superior", rows, " ".join(meanings), titles, marked)


def _image_entries(case: Case) -> list[tuple[str, str]]:
    source, chosen = case.input, case.range
    size, spacing = (" × ".join(f"{value:g}" for value in values) for values in (source.shape, source.spacing_mm))
    entries = [
        ("Image", f"{size} voxels of {spacing} mm, axes {source.orientation}"),
        ("Scanner", _scanner(case)),
        ("Contrast", _contrast(case)),
        ("Range measured", f"slices {chosen[0]} to {chosen[1] - 1} of the image (chosen)" if chosen else ""),
        ("Removed, filled", f"{case.removed_mm3:.1f} mm³ and {case.filled_mm3:.1f} mm³ before measuring"),
    ]
    return [(name, value) for name, value in entries if value]


def _contrast(case: Case) -> str:
    """As recognised, with the line that the model draws there."""
    lines = {} if case.model is None else case.model.provenance.get("lines", {})
    line = lines.get(case.contrast, "which line the model draws on such images is not known")
    return f"{case.contrast}, by grey values; {line}" if case.contrast and case.model else case.contrast


def _scanner(case: Case) -> str:
    known = case.input.acquisition or {}
    times = (("TR", "repetition_time_ms", "ms"), ("TE", "echo_time_ms", "ms"), ("FA", "flip_angle_deg", "°"))
    stated = [f"{name} {known[key]:g} {unit}" for name, key, unit in times if known.get(key) is not None]
    return ", ".join(filter(None, (case.scanner, known.get("sequence"), *stated)))


def _making(case: Case) -> list[tuple[str, str]]:
    model = case.model
    entries = [
        ("Model", f"{model.name} {model.version}, SHA-256 {str(model.sha256)[:16]}…" if model else ""),
        ("Licence of the model", model.licence if model else ""),
        ("Threshold", "" if case.threshold is None else f"{case.threshold:g}"),
        ("Smoothing along z", f"SD {case.smooth_z_mm:g} mm" if case.smooth_z_mm else ""),
        ("Computed on", ", ".join(filter(None, (case.device, case.engine, f"{case.seconds:.1f} s")))),
        ("Software", f"SpinalCordSeg {case.software_version}"),
    ]
    return [(name, value) for name, value in entries if value]


def state_sentence(case: Case) -> str:
    """ "AI segmentation, corrected by a person, accepted by A. Meyer on 2024-01-31"."""
    return f"{_MADE[case.mask_state]}, {review_text(case.review)}"


def review_sentence(case: Case) -> str:
    """Who decided what, how many flagged slices somebody looked at, what was changed; "" before a decision."""
    review, n = case.review, len(case.queue)
    if review.state not in DECISIONS:
        return ""
    words = [review_text(review)]
    if n:
        words.append(f"{n - len(case.unseen)} of {counted(n, 'flagged slice')} looked at")
    if case.changes is not None:
        edited = counted(len(case.changes.slices), "slice")
        words.append(f"{edited} edited, Dice {case.changes.dice:.3f} against the mask it began as")
    if review.is_of_another(case.mask_sha256):
        words.append(ON_ANOTHER_MASK)
    sentence = "; ".join(words)
    return sentence[0].upper() + sentence[1:] + "."


def _number(value: float | None, form: str) -> str:
    """Formatted for reading; "–" where there is no answer."""
    return "–" if value is None or not isfinite(value) else form.format(value)


def _when(created: str) -> str:
    return created.replace("T", " ").replace("+00:00", " UTC")


# ---- The page: one HTML file with its pictures inside, no script, no network


def render(case: Case, montage: bytes | None) -> str:
    """report.html, at any time from a saved case. ``montage``: PNG. Raises MissingPackageError without Jinja2."""
    return html_page(
        f"Spinal cord: {case.name}",
        sections(case, montage),
        "A person has to check the outline before any number here is used.",
        state=state_sentence(case),
        created=case.created,
        software_version=case.software_version,
    )


def html_page(
    heading: str,
    shown: Sequence[Section],
    footer: str,
    *,
    state: str = "",
    created: str = "",
    software_version: str = SOFTWARE_VERSION,
) -> str:
    """The sections by the template, without figures where matplotlib is missing. ``created``: ISO 8601, UTC; now.

    Raises MissingPackageError without Jinja2.
    """
    if any(callable(one.picture) for one in shown) and not can_draw(lambda: new_figure(1, 1)):
        shown = [one for one in shown if not callable(one.picture)]
        shown.append(Section("text", "Figures", note="Left out: the package matplotlib is not installed."))
    text: str = template("page.html").render(
        heading=heading, created=_when(created or now_utc()), state=state, sections=shown, footer=footer,
        software_version=software_version,
    )  # fmt: skip
    return text


def refuse_strangers_page(page: Path, heading: str) -> None:
    """Raises OutputError where a page is there that has not this heading, and so is not ours to replace."""
    with output_errors(page):
        if page.exists() and f"<title>{heading}" not in page.read_text(encoding="utf-8", errors="replace")[:400]:
            raise OutputError(f"{page} is not a page of SpinalCordSeg and would be replaced: move it away")


@cache
def template(name: str) -> Any:
    """From ``Resources/Report`` beside the package in a checkout and in Slicer, ``Report`` inside a wheel's."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise MissingPackageError("the report page needs the package Jinja2: pip install Jinja2") from error
    package = Path(__file__).resolve().parent
    folders = [package / "Report", package.parent / "Resources" / "Report"]
    environment = Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


# ---- The PDF: the same sections on A4, text that can be searched


_A4, _EDGE = (595.0, 842.0), 42.0  # points
_WITHIN = _A4[0] - 2 * _EDGE  # from edge to edge
_LETTER = 0.6  # width of a letter of the font, as a share of its size


def report_pdf(case: Case, montage: bytes | None) -> bytes:
    """The report as PDF. No patient data: the case goes by its code. Raises MissingPackageError without matplotlib."""
    paper = _Paper(case.name, f"SpinalCordSeg {case.software_version} · research use, not for diagnosis")
    paper.text(f"Spinal cord: {case.name}", 16, bold=True)
    paper.text("Research use, not for diagnosis.", 9, "#8a3b00", bold=True)
    paper.text(f"{state_sentence(case)}. {_when(case.created)}", 9, QUIET)
    for section in sections(case, montage):
        paper.put(section)
    return paper.pdf()


class _Paper:
    """A4 pages that are filled from the top; points."""

    def __init__(self, name: str, foot: str) -> None:
        self.name, self.foot = name, foot
        self.pages: list[Figure] = []
        self._new_page()

    def _new_page(self) -> None:
        self.page = new_figure(_A4[0] / 72, _A4[1] / 72)
        self.pages.append(self.page)
        self.y = _A4[1] - _EDGE
        self._write(_EDGE, 24, self.foot, 7.5, QUIET)
        self._write(_A4[0] - _EDGE, 24, f"{self.name[:60]} · page {len(self.pages)}", 7.5, QUIET, ha="right")

    def _room_for(self, height: float) -> bool:
        """Whether there was room; else there is a new page."""
        if self.y - height >= _EDGE + 6 or self.y >= _A4[1] - _EDGE:
            return True
        self._new_page()
        return False

    def _write(self, x: float, y: float, text: str, size: float, colour: str, **more: Any) -> None:
        from matplotlib.transforms import IdentityTransform  # a PDF is drawn at 72 pixels an inch

        more |= {"fontsize": size, "color": colour, "fontfamily": _FONT, "parse_math": False}
        self.page.text(x, y, text, transform=IdentityTransform(), **more)

    def _shade(self, y: float, height: float, fill: str) -> None:
        from matplotlib.patches import Rectangle

        place = (_EDGE / _A4[0], y / _A4[1]), _WITHIN / _A4[0], height / _A4[1]
        self.page.add_artist(Rectangle(*place, facecolor=fill, transform=self.page.transFigure))

    def text(self, text: str, size: float, colour: str = INK, *, bold: bool = False, fill: str = "") -> None:
        """A paragraph across the page."""
        for line in wrapped(text, size, _WITHIN):
            self._room_for(1.35 * size)
            self.y -= 1.35 * size
            if fill:
                self._shade(self.y - 0.3 * size, 1.37 * size, fill)
            left = _EDGE + (4 if fill else 0)
            self._write(left, self.y, line, size, colour, fontweight="bold" if bold else "normal")

    def put(self, section: Section) -> None:
        if section.whole_page:
            self._new_page()
        elif section.title:
            self._room_for(270 if section.kind == "picture" else 60)  # a title stays with what it names
        self.y -= 10
        if section.title:
            self.text(section.title, 11, "#b3261e" if section.kind == "stop" else INK, bold=True)
            self.y -= 4
        if section.kind in ("flags", "stop"):
            for where, text in section.items:
                self.text(f"• {where}: {text}" if where else f"• {text}", 8.5, fill=PALE)
        elif section.kind == "clear":
            self.text(section.items[0], 9)
        elif section.kind == "review":
            blank = f"Reviewed by {'_' * 32} on {'_' * 16}    [  ] accepted    [  ] rejected"
            self.text(section.items[0] if section.items else blank, 9, bold=bool(section.items))
        elif section.kind in ("boxes", "table", "entries"):
            self._table(section, {"boxes": 9.0, "table": 7.0, "entries": 8.0}[section.kind])
        elif section.kind == "picture":
            self._picture(section.png)
        if section.note:
            self.y -= 2
            self.text(section.note, *((9, INK) if section.kind == "text" else (7.5, QUIET)))

    def _table(self, section: Section, size: float) -> None:
        """Rows across the page; the titles again on every page. The last column takes what is left and wraps."""
        rows = [[str(cell) for cell in row] for row in section.items]
        if not rows:
            return
        heads = [section.columns] if section.columns else []
        asked = [_LETTER * size * max(map(len, column)) + 9 for column in zip(*heads, *rows, strict=True)][:-1]
        shrink = min(1.0, (_WITHIN - 90) / max(sum(asked), 1.0))
        widths = [shrink * width for width in asked]
        widths.append(_WITHIN - sum(widths))

        def put(cells: Sequence[str], fill: str = "", weight: str = "normal") -> None:
            lines = [wrapped(cell, size, width - 5) for cell, width in zip(cells, widths, strict=True)]
            height = 1.3 * size * max(1, *map(len, lines)) + 3
            if not self._room_for(height) and weight == "normal":
                for titles in heads:
                    put(titles, weight="bold")
            self.y -= height
            if fill:
                self._shade(self.y, height, fill)
            self._shade(self.y, 0.4, FAINT)
            left = _EDGE
            for n, (cell, width) in enumerate(zip(lines, widths, strict=True)):
                to_left = n in section.text_columns or n == len(widths) - 1
                x, side = (left + 2, "left") if to_left else (left + width - 6, "right")
                for at, line in enumerate(cell):
                    y = self.y + height - 1.3 * size * (at + 1) + 1
                    self._write(x, y, line, size, INK, ha=side, fontweight=weight)
                left += width

        for titles in heads:
            put(titles, weight="bold")
        for number, row in enumerate(rows):
            put(row, PALE if number in section.marked else "")

    def _picture(self, png: bytes) -> None:
        from matplotlib.image import imread

        pixels = imread(io.BytesIO(png), format="png")
        height = pixels.shape[0] * _WITHIN / pixels.shape[1]
        share = min(1.0, (self.y - _EDGE - 40) / height)
        self.y -= share * height
        place = _EDGE / _A4[0], self.y / _A4[1], share * _WITHIN / _A4[0], share * height / _A4[1]
        axes = self.page.add_axes(place)
        axes.imshow(pixels, aspect="auto", interpolation="none")
        axes.set_axis_off()

    def pdf(self) -> bytes:
        from matplotlib import rc_context
        from matplotlib.backends.backend_pdf import PdfPages

        buffer = io.BytesIO()
        about = {"Title": f"Spinal cord: {self.name}", "Author": "SpinalCordSeg", "Subject": self.foot,
                 "CreationDate": None}  # fmt: skip
        with warnings.catch_warnings(), rc_context({"pdf.fonttype": 42}), PdfPages(buffer, metadata=about) as file:
            warnings.simplefilter("ignore")  # letters that the font does not have are drawn as boxes
            for page in self.pages:
                page.savefig(file, format="pdf", dpi=150)
        return buffer.getvalue()


def wrapped(text: str, size: float, width: float) -> list[str]:
    """Lines of some ``width`` points; a word that is longer alone is broken."""
    return textwrap.wrap(" ".join(text.split()), max(1, int(width / (_LETTER * size))))
