"""What is shown of a case: figures, the page, and the PDF."""

from __future__ import annotations

import base64
import io
import logging
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from html import escape
from math import ceil, floor, isfinite, log10
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.errors import MissingPackageError
from SpinalCordSegLib.quality_control import queue_of_report, unseen
from SpinalCordSegLib.review import ACCEPTED, DECISIONS, ON_ANOTHER_MASK, Review, review_words
from SpinalCordSegLib.volume import Volume, to_canonical

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw

    from SpinalCordSegLib.case import Case


_AROUND_MM = 30.0
_PNG_LEVEL = 3  # half the time of Pillow's 6 for a few per cent more bytes
_log = logging.getLogger(__name__)


# The part of the report page about vertebral levels and, where asked for, healthy adults.


def level_section(content: Mapping[str, Any]) -> str:
    """HTML of the levels in a report.json's ``content``; "" where no disc was marked."""
    levels = content.get("levels")
    if not levels:
        return ""
    discs = ", ".join(disc["disc"] for disc in levels["discs"]) or "none that lies at the cord found"
    lines = [_row(row) for row in levels["levels"]]
    norm = levels["norm"]
    return (
        "<h2>Area by vertebral level</h2>\n<div class='scroll'><table><thead><tr><th class='text'>level</th>"
        "<th>mean area, mm²</th><th>SD, mm²</th><th>slices</th><th>length, mm</th><th>coverage</th>"
        "<th class='text'>how it was found</th></tr></thead><tbody>\n" + "\n".join(lines) + "\n</tbody></table></div>\n"
        f"<p class='quiet small'>Marked discs: {escape(discs)}. Vertebral levels along the cord’s centreline, not"
        " spinal ones; “approximate” and “fitted” rest on the lengths of the PAM50 template.</p>"
        + (f"\n<p>{escape(norm['text'])}.</p>" if norm else "")
    )


def _row(row: Mapping[str, Any]) -> str:
    numbers = (
        _number(row["mean_csa_mm2"], "{:.1f}"), _number(row["sd_csa_mm2"], "{:.1f}"), str(row["n_slices"]),
        _number(row["length_mm"], "{:.1f}"), f"{100 * row['coverage']:.0f} %",
    )  # fmt: skip
    cells = "".join(f"<td>{number}</td>" for number in numbers)
    how = escape(row["remark"] or ("around the marked disc" if row["basis"] == "disc" else "between marked discs"))
    doubt = " class=doubt" if row["coverage"] < 0.98 else ""
    return f"<tr{doubt}><td class='text'>{escape(row['name'])}</td>{cells}<td class='text'>{how}</td></tr>"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


# What the report's page says of the review, and how a page that is there is brought up to date.


_MADE = {"AI": "AI segmentation", "corrected": "AI segmentation, corrected by a person"}
_MADE_ELSEWHERE = "measured on a mask made elsewhere"
_STATE = re.compile(r"<span class='quiet made'>.*?</span>", re.DOTALL)
_LINE = re.compile(r"<p class='review'>.*?</p>", re.DOTALL)


def state_sentence(content: Mapping[str, Any]) -> str:
    """ "AI segmentation, corrected by a person, accepted by A. Meyer on 2024-01-31", without markup."""
    made = _MADE.get(str(content.get("mask_state")), _MADE_ELSEWHERE)
    return f"{made}, {review_words(Review.from_json(content.get('review')))}"


def review_sentence(content: Mapping[str, Any]) -> str:
    """Who decided what, how many doubtful slices nobody looked at, what was changed; "" before a decision."""
    review = Review.from_json(content.get("review"))
    if review.state not in DECISIONS:
        return ""
    words = [review_words(review).capitalize() if not review.who else review_words(review)]
    queue = queue_of_report(content)
    left = len(unseen(queue, review))
    if queue:
        words.append(f"{len(queue) - left} of {len(queue)} flagged slices looked at")
    changed = content.get("changes")
    if changed:
        words.append(f"{len(changed['slices'])} slices edited, Dice {changed['dice']:.3f} against the AI’s mask")
    if review.is_of_another(content.get("mask_sha256")):
        words.append(ON_ANOTHER_MASK)
    sentence = "; ".join(words)
    return sentence[0].upper() + sentence[1:] + "."


def state_span(content: Mapping[str, Any]) -> str:
    """The state as HTML, for the head of the page."""
    return f"<span class='quiet made'>{escape(state_sentence(content))}.</span>"


def review_line(content: Mapping[str, Any]) -> str:
    """The line of the decision as HTML; blanks to be filled in by hand before there is one."""
    decided = review_sentence(content)
    if not decided:
        return (
            "<p class='review'>Reviewed by <span class='blank'></span> on <span class='blank short'></span>"
            " &nbsp; ☐ accepted &nbsp; ☐ rejected</p>"
        )
    accepted = Review.from_json(content.get("review")).state == ACCEPTED
    return f"<p class='review'><b class='{'use' if not accepted else ''}'>{escape(decided)}</b></p>"


def updated_page(html: str, content: Mapping[str, Any]) -> str:
    """``html`` of an earlier report.html with the review as ``content`` (of report.json) has it now."""
    html = _STATE.sub(lambda _: state_span(content), html, count=1)
    return _LINE.sub(lambda _: review_line(content), html, count=1)


def montage_png(case: Case) -> bytes | None:
    """The montage as PNG; None, with a word in the log, where Pillow is missing."""
    scene = CordScene.of(None if case.image is None else case.image.volume, case.mask, _AROUND_MM)
    table = case.slices
    slices = [
        MontageSlice(k, point) for k, point in zip(table.canonical_slice.tolist(), area_points(case), strict=True)
    ]
    step = scene.spacing_mm[2]
    lowest = float(table.z_mm[0]) - (slices[0].canonical_slice + 0.5) * step if slices else 0.0
    span = (lowest, lowest + scene.mask.shape[2] * step)
    try:
        picture = draw_montage(scene, slices, span, case.mean_csa_mm2, _montage_text(case))
    except MissingPackageError as missing:
        _log.warning("%s", missing)
        return None
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=_PNG_LEVEL)
    return buffer.getvalue()


def _montage_text(case: Case) -> MontageText:
    if not len(case.slices):
        found = "no cord found"
    else:
        area = f"{case.mean_csa_mm2:.1f} mm²" if isfinite(case.mean_csa_mm2) else "not reported"
        found = (
            f"mean area {area} · volume {case.volume_mm3:.0f} mm³ · length {case.length_mm:.1f} mm ·"
            f" {case.n_slices} slices · {len(case.flags)} flags"
        )
    model = f"{case.model.name} {case.model.version}" if case.model else "mask made elsewhere"
    made = f"{model} · SpinalCordSeg {case.software_version} · research use, not for diagnosis"
    return MontageText(case.name, (found, made))


# What a montage shows, as arrays on square display pixels: axial tiles and planes that follow the cord.
#
# Everything is cut in canonical axes and scaled in mm, so that unequal voxels look right. Pictures are shown as
# a radiologist looks at them: axial and coronal with the patient's right on the left, sagittal with anterior on
# the left, superior on top.


_MASK_ONLY_GREY = 0.35
_NARROWEST_WINDOW = 0.15  # of the whole montage's


@dataclass(frozen=True, eq=False)
class View:
    """``grey``: (rows, columns) 0..1; ``mask``: bool of the same shape; both on square pixels."""

    grey: NDArray[np.float32]
    mask: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class CordScene:
    """Image and mask in canonical axes [R, A, S], with the path of the cord's centre through every slice.

    ``image`` None: the mask alone is shown. ``centre``: (n slices, 2) voxel coordinates (x, y); slices without
    cord take the nearest slice's or a line between; the middle of the volume where there is no cord at all.
    ``window``: grey values shown black and white.
    """

    image: NDArray | None
    mask: NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]
    centre: NDArray[np.float64]
    window: tuple[float, float]

    @classmethod
    def of(cls, image: Volume | None, mask: Volume, around_mm: float) -> CordScene:
        """``around_mm``: the grey window comes from the voxels within this distance of the cord's centre."""
        canonical = to_canonical(mask)
        cord = canonical.voxels.astype(bool)
        voxels = None if image is None else to_canonical(image).voxels
        centre = cord_path(cord)
        window = (0.0, 1.0) if voxels is None else _window(voxels, canonical.spacing_mm, centre, around_mm)
        return cls(voxels, cord, canonical.spacing_mm, centre, window)

    def axial(self, k: int, side_mm: float, pixels_per_mm: float) -> View:
        """Canonical slice k, a square of ``side_mm`` about the cord's centre."""
        x, y = self.centre[k]
        steps = np.arange(round(side_mm * pixels_per_mm)) + 0.5
        offsets = steps / pixels_per_mm - side_mm / 2
        across = x - offsets / self.spacing_mm[0]  # the view from the feet: patient's right on the left
        down = y - offsets / self.spacing_mm[1]
        return self._sampled(lambda voxels: voxels[:, :, k].T, down, across, own_window=True)

    def along(self, axis: int, side_mm: float, pixels_per_mm: float) -> View:
        """The plane that follows the cord: axis 1 sagittal (anterior on the left), axis 0 coronal (right on the left).

        Width ``side_mm`` about the centre; the height is the whole volume's.
        """
        height_mm = self.mask.shape[2] * self.spacing_mm[2]
        rows = np.arange(max(1, round(height_mm * pixels_per_mm))) + 0.5
        heights = self.mask.shape[2] - rows / pixels_per_mm / self.spacing_mm[2] - 0.5
        heights = heights.clip(0, self.mask.shape[2] - 1)  # the outer halves of the end slices are theirs too
        offsets = (np.arange(round(side_mm * pixels_per_mm)) + 0.5) / pixels_per_mm - side_mm / 2
        middle = (self.centre[:, axis].min() + self.centre[:, axis].max()) / 2
        across = middle - offsets / self.spacing_mm[axis]
        followed = np.rint(self.centre[:, 1 - axis]).astype(int).clip(0, self.mask.shape[1 - axis] - 1)
        slices = np.arange(self.mask.shape[2])
        if axis == 1:
            return self._sampled(lambda voxels: voxels[followed, :, slices], heights, across)
        return self._sampled(lambda voxels: voxels[:, followed, slices].T, heights, across)

    def reach_mm(self, axis: int) -> float:
        """How far the cord's centre wanders along an axis, mm."""
        return float(np.ptp(self.centre[:, axis])) * self.spacing_mm[axis]

    def _sampled(
        self,
        cut: Callable[[NDArray], NDArray],
        rows: NDArray[np.float64],
        columns: NDArray[np.float64],
        own_window: bool = False,
    ) -> View:
        mask = sampled(cut(self.mask), rows, columns) >= 0.5
        if self.image is None:
            return View((mask * np.float32(_MASK_ONLY_GREY)).astype(np.float32), mask)
        values = sampled(cut(self.image), rows, columns)
        low, high = self._window_of(values) if own_window else self.window
        return View(np.clip((values - low) / (high - low), 0, 1).astype(np.float32), mask)

    def _window_of(self, values: NDArray[np.float32]) -> tuple[float, float]:
        """The tile's own grey window: coils fall off along the neck. Never so narrow that noise fills it."""
        low, high = (float(value) for value in np.percentile(values, (1.0, 99.5)))
        return low, max(high, low + _NARROWEST_WINDOW * (self.window[1] - self.window[0]))


def sampled(plane: NDArray, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float32]:
    """``plane`` at every pair of these positions (in its pixels), linear between pixels, 0 beyond the outermost.

    Linear interpolation on a grid is a small matrix on either side, which is many times faster than point by point.
    """
    down, across = (_linear(at, size) for at, size in zip((rows, columns), plane.shape, strict=True))
    crop = plane[down.first : down.end, across.first : across.end]
    return np.asarray(down.weights @ crop.astype(np.float32) @ across.weights.T, np.float32)


@dataclass(frozen=True, eq=False)
class _Linear:
    """``weights``: (positions, pixels ``first`` to ``end`` - 1)."""

    weights: NDArray[np.float32]
    first: int
    end: int


def _linear(positions: NDArray[np.float64], size: int) -> _Linear:
    first = int(np.clip(np.floor(positions.min()), 0, size - 1))
    end = int(np.clip(np.floor(positions.max()) + 2, first + 1, size))
    weights = np.clip(1 - np.abs(positions[:, None] - np.arange(first, end)), 0, None)
    weights[(positions < 0) | (positions > size - 1)] = 0
    return _Linear(weights.astype(np.float32), first, end)


def outline(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The rim just outside the mask, ``width`` pixels: the cord itself stays visible."""
    if not mask.any():
        return mask
    return ndimage.binary_dilation(mask, ndimage.generate_binary_structure(2, 2), iterations=width) & ~mask


def cord_path(cord: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n slices, 2): centroid (x, y) in voxels of each slice of a mask [R, A, S]; see CordScene.centre."""
    counts = cord.sum(axis=(0, 1))
    filled = np.flatnonzero(counts)
    n = cord.shape[2]
    if not filled.size:
        return np.tile((np.array(cord.shape[:2]) - 1) / 2, (n, 1))
    path = []
    for axis in (0, 1):
        profile = cord.sum(axis=1 - axis)[:, filled]
        centroid = (np.arange(cord.shape[axis]) @ profile) / counts[filled]
        path.append(np.interp(np.arange(n), filled, centroid))
    return np.stack(path, axis=1)


def chosen_slices(filled: Sequence[int], flagged: Sequence[int], count: int) -> list[int]:
    """At most ``count`` of the slices in ``filled``: spread evenly, with flagged ones preferred for up to half."""
    if len(filled) <= count:
        return sorted(filled)
    doubtful = [k for k in flagged if k in set(filled)]
    kept = {doubtful[i] for i in _spread_in_view(len(doubtful), min(len(doubtful), count // 2))}
    rest = [k for k in filled if k not in kept]
    return sorted(kept | {rest[i] for i in _spread_in_view(len(rest), count - len(kept))})


def _spread_in_view(n: int, count: int) -> list[int]:
    """``count`` different positions of 0..n-1, evenly spread, ends included."""
    return [] if count == 0 else [round(p) for p in np.linspace(0, n - 1, count)] if count > 1 else [n // 2]


def _window(
    voxels: NDArray, spacing_mm: tuple[float, float, float], centre: NDArray[np.float64], around_mm: float
) -> tuple[float, float]:
    n_x, n_y, n_z = voxels.shape
    samples = []
    for k in np.unique(np.linspace(0, n_z - 1, min(n_z, 40)).round().astype(int)):
        (x, y), (r_x, r_y) = centre[k], (around_mm / spacing_mm[0], around_mm / spacing_mm[1])
        x0, x1 = max(0, int(x - r_x)), min(n_x, int(x + r_x) + 1)
        y0, y1 = max(0, int(y - r_y)), min(n_y, int(y + r_y) + 1)
        samples.append(
            np.asarray(voxels[x0:x1, y0:y1, k], np.float32).ravel()[:: max(1, (x1 - x0) * (y1 - y0) // 5000)]
        )
    low, high = np.percentile(np.concatenate(samples), (1.0, 99.0))
    return float(low), float(high) if high > low else float(low) + 1.0


# A drawing as plain shapes, so that a figure is laid out once and rendered as SVG here or by Pillow elsewhere.
#
# Coordinates are pixels, x to the right, y downwards. Colours are "#rrggbb".


@dataclass(frozen=True)
class Box:
    left: float
    top: float
    right: float
    bottom: float
    fill: str
    title: str = ""


@dataclass(frozen=True)
class Line:
    points: tuple[tuple[float, float], ...]
    colour: str
    width: float = 1.0
    dashed: bool = False


@dataclass(frozen=True)
class Dot:
    """``title`` is what a mouse resting on the dot is told (SVG only)."""

    x: float
    y: float
    radius: float
    colour: str
    title: str = ""


@dataclass(frozen=True)
class Text:
    """``anchor``: which end of the text lies at x: "start", "middle" or "end"; y is the base line."""

    x: float
    y: float
    text: str
    size: float
    colour: str
    anchor: str = "start"
    turned: bool = False  # reads upwards


@dataclass(frozen=True)
class Polygon:
    points: tuple[tuple[float, float], ...]
    fill: str


Shape = Box | Line | Dot | Polygon | Text


@dataclass(frozen=True)
class Drawing:
    width: float
    height: float
    shapes: tuple[Shape, ...]


_SHAPES = {cls.__name__: cls for cls in (Box, Line, Dot, Text, Polygon)}


def as_plain(drawing: Drawing) -> dict[str, Any]:
    """JSON-ready, for a program that draws the shapes itself."""
    shapes = [{"kind": type(shape).__name__} | asdict(shape) for shape in drawing.shapes]
    return {"width": drawing.width, "height": drawing.height, "shapes": shapes}


def from_plain(content: Mapping[str, Any]) -> Drawing:
    """What ``as_plain`` gave. Raises KeyError and TypeError for anything else."""
    return Drawing(content["width"], content["height"], tuple(_shape(one) for one in content["shapes"]))


def _shape(content: Mapping[str, Any]) -> Shape:
    fields = {name: value for name, value in content.items() if name != "kind"}
    if "points" in fields:
        fields["points"] = tuple((float(x), float(y)) for x, y in fields["points"])
    shape: Shape = _SHAPES[content["kind"]](**fields)
    return shape


def to_svg(drawing: Drawing, description: str) -> str:
    """The drawing as one inline <svg> element that scales to the page's width; text is escaped."""
    size = f'viewBox="0 0 {_n(drawing.width)} {_n(drawing.height)}"'
    body = "\n".join(_element(shape) for shape in drawing.shapes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="system-ui, sans-serif">'
        f"<desc>{escape(description)}</desc>\n{body}\n</svg>"
    )


def _element(shape: Shape) -> str:
    if isinstance(shape, Box):
        extent = f'width="{_n(shape.right - shape.left)}" height="{_n(shape.bottom - shape.top)}"'
        return _titled("rect", f'x="{_n(shape.left)}" y="{_n(shape.top)}" {extent} fill="{shape.fill}"', shape.title)
    if isinstance(shape, Dot):
        return _titled(
            "circle", f'cx="{_n(shape.x)}" cy="{_n(shape.y)}" r="{_n(shape.radius)}" fill="{shape.colour}"', shape.title
        )
    if isinstance(shape, Polygon):
        corners = " ".join(f"{_n(x)},{_n(y)}" for x, y in shape.points)
        return f'<polygon points="{corners}" fill="{shape.fill}"/>'
    if isinstance(shape, Line):
        points = " ".join(f"{_n(x)},{_n(y)}" for x, y in shape.points)
        dash = ' stroke-dasharray="5 4"' if shape.dashed else ""
        style = f'stroke="{shape.colour}" stroke-width="{_n(shape.width)}" stroke-linejoin="round"{dash}'
        return f'<polyline points="{points}" fill="none" {style}/>'
    turn = f' transform="rotate(-90 {_n(shape.x)} {_n(shape.y)})"' if shape.turned else ""
    place = f'x="{_n(shape.x)}" y="{_n(shape.y)}" text-anchor="{shape.anchor}"{turn}'
    return f'<text {place} font-size="{_n(shape.size)}" fill="{shape.colour}">{escape(shape.text)}</text>'


def _titled(tag: str, attributes: str, title: str) -> str:
    return f"<{tag} {attributes}><title>{escape(title)}</title></{tag}>" if title else f"<{tag} {attributes}/>"


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


# The cross-sectional area along the cord as a drawing: gaps and doubtful slices are shown, never hidden.


INK, FAINT, GAP, CURVE, RAW, DOUBT = "#1d2733", "#d5dbe1", "#eceff2", "#1f5f99", "#9fb6cc", "#d9730d"
_LEAST_SPAN_MM2 = 20.0  # so that noise of a very even cord is not blown up to fill the plot


@dataclass(frozen=True)
class AreaPoint:
    """One slice: its label, position along the slice normal, areas (NaN in a gap) and the doubts about it."""

    slice: int
    z_mm: float
    csa_mm2: float
    csa_raw_mm2: float
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class AreaPlot:
    """What is drawn. ``points`` from inferior to superior; ``mean_csa_mm2`` NaN: no line.

    ``z_span_mm``: ends of the z axis; None takes the points'. ``vertical``: z runs upwards instead of to the
    right, edge to edge, so that the plot can stand beside a picture of the same height; its area labels then lie below
    the drawing.
    """

    points: Sequence[AreaPoint]
    mean_csa_mm2: float
    width: float
    height: float
    vertical: bool = False
    z_span_mm: tuple[float, float] | None = None
    text_size: float = 12.0
    ink: str = INK
    faint: str = FAINT
    gap: str = GAP

    def draw(self) -> Drawing:
        """The finished drawing; says so in words where there is no area to plot."""
        shapes: list[Shape] = []
        if any(isfinite(point.csa_mm2) for point in self.points):
            shapes += [*self._gaps(), *self._axes(), *self._mean(), *self._curves(), *self._dots()]
        else:
            middle = (self.width / 2, self.height / 2)
            shapes.append(Text(*middle, "no cross-sectional area to plot", self.text_size, self.ink, "middle"))
        return Drawing(self.width, self.height, tuple(shapes))

    @cached_property
    def frame(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the plotting area, pixels."""
        line = self.text_size
        if self.vertical:
            return 4.2 * line, 0.0, self.width - line, self.height
        return 4.2 * line, line, self.width - line, self.height - 3.2 * line

    @cached_property
    def _z_range(self) -> tuple[float, float]:
        if self.z_span_mm is not None:
            return self.z_span_mm
        heights = [point.z_mm for point in self.points]
        margin = max(self._step_mm, 0.02 * (heights[-1] - heights[0]))
        return heights[0] - margin, heights[-1] + margin

    @cached_property
    def _step_mm(self) -> float:
        points = self.points
        return (points[-1].z_mm - points[0].z_mm) / (len(points) - 1) if len(points) > 1 else 1.0

    @cached_property
    def _area_range(self) -> tuple[float, float]:
        areas = [a for point in self.points for a in (point.csa_mm2, point.csa_raw_mm2) if isfinite(a)]
        low, high = min(areas), max(areas)
        margin = max(0.08 * (high - low), (_LEAST_SPAN_MM2 - (high - low)) / 2)
        return max(0.0, low - margin), high + margin

    def _place(self, z_mm: float, area_mm2: float) -> tuple[float, float]:
        left, top, right, bottom = self.frame
        (z_low, z_high), (a_low, a_high) = self._z_range, self._area_range
        along, across = (z_mm - z_low) / (z_high - z_low), (area_mm2 - a_low) / (a_high - a_low)
        if self.vertical:
            return left + across * (right - left), bottom - along * (bottom - top)
        return left + along * (right - left), bottom - across * (bottom - top)

    def _gaps(self) -> list[Shape]:
        half, (low, high) = self._step_mm / 2, self._area_range
        boxes: list[Shape] = []
        for point in self.points:
            if not isfinite(point.csa_mm2):
                (x0, y0), (x1, y1) = self._place(point.z_mm - half, low), self._place(point.z_mm + half, high)
                title = f"slice {point.slice}: no area"
                boxes.append(Box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1), self.gap, title))
        return boxes

    def _axes(self) -> list[Shape]:
        z_range, a_range, size = self._z_range, self._area_range, self.text_size
        shapes: list[Shape] = []
        for area in ticks(*a_range, count=4 if self.vertical else 5):
            start, end = self._place(z_range[0], area), self._place(z_range[1], area)
            shapes.append(Line((start, end), self.faint))
            x, y = start
            anchor = "middle" if self.vertical else "end"
            where = (x, y + 1.3 * size) if self.vertical else (x - 0.5 * size, y + 0.35 * size)
            shapes.append(Text(*where, f"{area:g}", size, self.ink, anchor))
        for z in ticks(*z_range, count=8):
            x, y = self._place(z, a_range[0])
            end = (x - 4, y) if self.vertical else (x, y + 4)
            shapes.append(Line(((x, y), end), self.ink))
            where = (x - 0.6 * size, y + 0.35 * size) if self.vertical else (x, y + 1.4 * size)
            shapes.append(Text(*where, f"{z:g}", size, self.ink, "end" if self.vertical else "middle"))
        shapes.append(Line((self._place(z_range[0], a_range[0]), self._place(z_range[1], a_range[0])), self.ink))
        return shapes + ([] if self.vertical else self._titles())

    def _titles(self) -> list[Shape]:
        left, top, right, bottom = self.frame
        size = self.text_size
        return [
            Text((left + right) / 2, self.height - 0.3 * size, "inferior ← z, mm → superior", size, self.ink, "middle"),
            Text(1.1 * size, (top + bottom) / 2, "area, mm²", size, self.ink, "middle", turned=True),
        ]

    def _mean(self) -> list[Shape]:
        low, high = self._area_range
        if not (isfinite(self.mean_csa_mm2) and low <= self.mean_csa_mm2 <= high):
            return []
        ends = tuple(self._place(z, self.mean_csa_mm2) for z in self._z_range)
        label = f"mean {self.mean_csa_mm2:.1f} mm²"
        x, y = ends[1]
        if self.vertical:
            return [Line(ends, CURVE, 1.2, dashed=True)]
        return [
            Line(ends, CURVE, 1.2, dashed=True),
            Text(x, y - 0.4 * self.text_size, label, self.text_size, CURVE, "end"),
        ]

    def _curves(self) -> list[Shape]:
        raw = [(point.z_mm, point.csa_raw_mm2) for point in self.points]
        corrected = [(point.z_mm, point.csa_mm2) for point in self.points]
        return [*self._pieces(raw, RAW, 1.2), *self._pieces(corrected, CURVE, 2.0)]

    def _pieces(self, curve: list[tuple[float, float]], colour: str, width: float) -> list[Shape]:
        """The curve, broken wherever an area is missing."""
        pieces: list[list[tuple[float, float]]] = [[]]
        for z, area in curve:
            if isfinite(area):
                pieces[-1].append(self._place(z, area))
            else:
                pieces.append([])
        return [Line(tuple(piece), colour, width) for piece in pieces if len(piece) > 1]

    def _dots(self) -> list[Shape]:
        dots: list[Shape] = []
        for point in self.points:
            if isfinite(point.csa_mm2):
                text = f"slice {point.slice}: {point.csa_mm2:.1f} mm²"
                colour, radius = (DOUBT, 4.0) if point.doubts else (CURVE, 2.0)
                dots.append(
                    Dot(*self._place(point.z_mm, point.csa_mm2), radius, colour, ", ".join((text, *point.doubts)))
                )
        return sorted(dots, key=lambda dot: isinstance(dot, Dot) and dot.colour == DOUBT)  # doubts on top


def ticks(low: float, high: float, count: int) -> list[float]:
    """About ``count`` round numbers between low and high (steps of 1, 2 or 5 times a power of ten)."""
    rough = (high - low) / max(count, 1)
    decade = 10.0 ** floor(log10(rough))
    step = next(factor * decade for factor in (1, 2, 5, 10) if factor * decade >= rough * 0.999)
    return [round(n * step, 9) for n in range(ceil(low / step), floor(high / step) + 1)]


# report.html: one file a radiologist can read, print and pass on; pictures inside, no script, no network.


STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; color: #1d2733; background: #fff;
  max-width: 62rem; margin: 2rem auto; padding: 0 1.5rem; }
header { display: flex; justify-content: space-between; align-items: baseline; gap: 1rem; flex-wrap: wrap;
  border-bottom: 2px solid #1d2733; }
h1 { font-size: 1.55rem; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 1.8rem 0 .5rem; }
p { margin: .4rem 0; } .quiet { color: #5b6875; } .small { font-size: .86rem; }
.use { font-weight: 600; color: #8a3b00; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem; margin: 1.2rem 0; }
.figure { border: 1px solid #d5dbe1; border-radius: 6px; padding: .6rem .8rem; break-inside: avoid; }
.figure b { display: block; font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.doubts { border-left: 4px solid #d9730d; background: #fdf5ec; padding: .5rem 1rem; break-inside: avoid; }
.clear { border-left: 4px solid #4c8a5a; background: #f0f7f1; padding: .5rem 1rem; }
.doubts ul { margin: .2rem 0; padding-left: 1.2rem; }
img, svg { width: 100%; height: auto; display: block; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .22rem .55rem; border-bottom: 1px solid #e4e8ec; vertical-align: top; }
th { font-weight: 600; border-bottom: 1.5px solid #1d2733; }
td.text, th.text { text-align: left; } tr.doubt td { background: #fdf5ec; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: 0; font-size: .9rem; }
dt { color: #5b6875; } dd { margin: 0; overflow-wrap: anywhere; }
.review { margin: 1.4rem 0; } .blank { display: inline-block; width: 14rem; border-bottom: 1px solid #5b6875; }
.blank.short { width: 7rem; }
footer { margin-top: 2rem; border-top: 1px solid #d5dbe1; padding-top: .6rem; }
@media print {
  @page { size: A4; margin: 14mm 13mm; }
  body { margin: 0; padding: 0; max-width: none; font-size: 10pt; }
  .figures { grid-template-columns: repeat(4, 1fr); } .figure b { font-size: 13pt; }
  td, th { padding: .1rem .5rem; } dl { font-size: 9pt; } h2 { break-after: avoid; margin-top: 1.2rem; }
  tr { break-inside: avoid; } thead { display: table-header-group; }
  .montage { break-before: page; break-inside: avoid; } .montage img { max-height: 240mm; object-fit: contain; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

_LONGEST_CARD_ENTRY = 600  # characters
_TABLE = (
    ("slice", "slice", "{}"), ("z_mm", "z, mm", "{:.1f}"), ("csa_mm2", "area, mm²", "{:.1f}"),
    ("csa_raw_mm2", "in slice, mm²", "{:.1f}"), ("csa_sct_mm2", "SCT area, mm²", "{:.1f}"),
    ("ap_ellipse_mm", "AP ellipse, mm", "{:.2f}"), ("ap_chord_mm", "AP chord, mm", "{:.2f}"),
    ("rl_mm", "RL, mm", "{:.2f}"), ("instance_number", "DICOM instance", "{}"),
)  # fmt: skip

_DEFINITIONS = (
    "Area: of the cord at a right angle to its own course (the slice’s area divided by √(1+x′²+y′²) of the"
    " centreline); “in slice” is without that correction, “SCT area” multiplies by the cosines of both angles as the"
    " Spinal Cord Toolbox does. AP and RL diameters: of the ellipse with the same second moments; AP chord: mean"
    " extent over the central 3 mm. Volume: voxels of the mask; length: along the centreline."
)


def page(result: Case, montage_png: bytes | None) -> str:
    """The page as HTML text. ``montage_png``: None leaves the picture out, with a word."""
    content = result.as_json()
    case = escape(result.name)
    parts = [
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Spinal cord: {case}</title>',
        f'<meta name="viewport" content="width=device-width">\n<style>{STYLE}</style>\n</head>\n<body>',
        _header(case, content),
        _figures(content),
        _doubts(content),
        _plot(result),
        level_section(content),
        _making(content, result),
        review_line(content),
        _montage(montage_png),
        _slices(result),
        _footer(content),
        "</body>\n</html>\n",
    ]
    return "\n".join(part for part in parts if part)


def area_points(result: Case) -> list[AreaPoint]:
    """The slices as points of an area plot, with their doubts."""
    table = result.slices
    kinds = [tuple(text.split()) for text in table.flags.tolist()]
    numbers = (table.slice, table.z_mm, table.csa_mm2, table.csa_raw_mm2)
    return [AreaPoint(*row) for row in zip(*(one.tolist() for one in numbers), kinds, strict=True)]


def _header(case: str, content: Mapping[str, Any]) -> str:
    made = escape(str(content["created"]).replace("T", " ").replace("+00:00", " UTC"))
    return (
        f"<header><h1>Spinal cord: {case}</h1><span class='quiet small'>{made}</span></header>\n"
        f"<p><span class='use'>Research use, not for diagnosis.</span> {state_span(content)}</p>"
    )


def _figures(content: Mapping[str, Any]) -> str:
    whole = "whole cord found"
    where = "in the range asked for" if content["range"] else f"over the {whole}"
    counted = f"{content['n_slices']} slices, coverage {100 * content['coverage']:.0f} %"
    diameters = " × ".join(_value(content[name], "{:.1f}") for name in ("mean_ap_ellipse_mm", "mean_rl_mm")) + " mm"
    figures = [
        (
            _value(content["mean_csa_mm2"], "{:.1f} mm²"),
            "Mean cross-sectional area",
            f"{_spread(content)}{counted}, {where}",
        ),
        (_value(content["volume_mm3"], "{:.0f} mm³"), "Volume", whole),
        (_value(content["length_mm"], "{:.1f} mm"), "Length along the cord", whole),
        (diameters, "Diameters, AP × RL", "mean of the same slices as the area"),
    ]
    if content.get("truth_volume_mm3") is not None:
        error = _value(content["volume_error_percent"], "{:+.2f} %")
        figures.append(
            (error, "Volume error", f"against the true {content['truth_volume_mm3']:.0f} mm³ of the phantom")
        )
    boxes = (
        f"<div class='figure'>{escape(name)}<b>{escape(value)}</b>"
        f"<span class='quiet small'>{escape(remark)}</span></div>"
        for value, name, remark in figures
    )
    return f"<div class='figures'>{''.join(boxes)}</div>"


def _spread(content: Mapping[str, Any]) -> str:
    return "" if content["sd_csa_mm2"] is None else f"SD {content['sd_csa_mm2']:.1f} mm², "


def _doubts(content: Mapping[str, Any]) -> str:
    flags = content["flags"]
    if not flags:
        return "<div class='clear'>No flag was raised. Look at the pictures all the same.</div>"
    return (
        f"<h2>To be checked: {len(flags)} flag{'s' if len(flags) > 1 else ''}</h2>\n<div class='doubts'><ul>"
        + "".join(f"<li>{line}</li>" for line in _flag_lines(flags))
        + "</ul></div>"
    )


def _flag_lines(flags: Iterable[Mapping[str, Any]]) -> list[str]:
    """One line for each flag of the case, then one for each flagged slice with all that was said of it."""
    whole, slices = [], dict[int, list[str]]()
    for flag in flags:
        kind = escape(str(flag["kind"]).replace("_", " "))
        words = f"{escape(str(flag['message']))} <span class='quiet small'>({kind})</span>"
        if flag["slice"] is None:
            whole.append(words)
        else:
            slices.setdefault(flag["slice"], []).append(words)
    return whole + [f"<b>Slice {number}</b>: {'; '.join(words)}" for number, words in slices.items()]


def _plot(result: Case) -> str:
    drawing = AreaPlot(area_points(result), result.mean_csa_mm2, 900, 270).draw()
    return (
        "<h2>Area along the cord</h2>\n"
        + to_svg(drawing, "Cross-sectional area of the cord against the position along the slice normal")
        + "\n<p class='quiet small'>Dark: area at a right angle to the cord; light: area in the slice. Orange: flagged."
        " Grey band: no area there (a gap).</p>"
    )


def _montage(montage_png: bytes | None) -> str:
    if montage_png is None:
        return "<h2>Pictures</h2>\n<p class='quiet'>Left out: the package Pillow is not installed.</p>"
    data = base64.b64encode(montage_png).decode()
    return (
        "<section class='montage'><h2>Pictures</h2>\n"
        f"<img alt='Planes along the cord and axial slices with the outline of the mask' "
        f"src='data:image/png;base64,{data}'>\n"
        "<p class='quiet small'>Yellow: outline of the mask. The patient’s right is on the left of axial and coronal"
        " pictures. The sagittal and coronal planes follow the cord.</p></section>"
    )


def _slices(result: Case) -> str:
    if not len(result.slices):
        return ""
    texts = result.slices.texts()
    shown = [(texts[name], title, form) for name, title, form in _TABLE if any(texts[name])]
    head = "".join(f"<th>{escape(title)}</th>" for _, title, _ in shown) + "<th class='text'>flags</th>"
    lines = []
    for row, kinds in enumerate(texts["flags"]):
        cells = "".join(f"<td>{_cell(column[row], form)}</td>" for column, _, form in shown)
        flags = escape(kinds.replace(" ", ", ").replace("_", " "))
        lines.append(f"<tr{' class=doubt' if flags else ''}>{cells}<td class='text'>{flags}</td></tr>")
    return (
        "<h2>Slice by slice, from inferior to superior</h2>\n<div class='scroll'><table><thead><tr>"
        f"{head}</tr></thead><tbody>\n" + "\n".join(lines) + "\n</tbody></table></div>\n"
        f"<p class='quiet small'>{escape(_DEFINITIONS)}</p>"
    )


def _cell(text: str, form: str) -> str:
    return "–" if not text else text if form == "{}" else form.format(float(text))


def _making(content: Mapping[str, Any], result: Case) -> str:
    source = content["input"]
    entries = [
        (
            "Image",
            f"{_times(source['shape'])} voxels of {_times(source['spacing_mm'])} mm, axes {source['orientation']}",
        ),
        ("Scanner", _scanner(source.get("acquisition"))),
        ("Range measured", _range(content["range"])),
        ("Removed, filled", f"{content['removed_mm3']:g} mm³ and {content['filled_mm3']:g} mm³ before measuring"),
        ("Model", _model_row(content)),
        ("Licence of the model", result.model.licence if result.model else ""),
        *((f"Model: {name}", text) for name, text in _card(result)),
        ("Threshold", "" if content["threshold"] is None else f"{content['threshold']:g}"),
        ("Averaged along the cord", f"over an SD of {content['along_mm']:g} mm" if content.get("along_mm") else ""),
        ("Doubtful edges", _steadied(content.get("slices_steadied"))),
        ("Computed on", _computed_on(content)),
        ("Software", f"SpinalCordSeg {content['software_version']}"),
    ]
    body = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in entries if value)
    return f"<h2>How this was made</h2>\n<dl>{body}</dl>"


def _steadied(count: int | None) -> str:
    return "" if count is None else f"outline moved in {count} slices until the area follows the others'"


def _model_row(content: Mapping[str, Any]) -> str:
    model = content["model"]
    return f"{model['name']} {model['version']}, SHA-256 {str(model['sha256'])[:16]}…" if model else ""


def _card(result: Case) -> list[tuple[str, str]]:
    """What a reader of one case wants of the model's card; lists of sources are for `spinalcordseg models`."""
    model = result.model
    if model is None:
        return []
    entries = [*list(model.provenance.items())[:8], *list(model.scores.items())[:8]]
    told = [(name.replace("_", " "), _flat(value)) for name, value in entries]
    return [(name, text) for name, text in told if len(text) <= _LONGEST_CARD_ENTRY]


def _flat(value: Any) -> str:
    """Nested card entries on one line."""
    if isinstance(value, dict):
        return "; ".join(f"{name.replace('_', ' ')}: {_flat(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_flat(inner) for inner in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _scanner(acquisition: Mapping[str, Any] | None) -> str:
    if not acquisition:
        return ""
    field = acquisition["field_strength_t"]
    words = [
        acquisition["manufacturer"],
        acquisition["model"],
        f"{field:g} T" if field else "",
        acquisition["sequence"],
    ]
    times = (("TR", "repetition_time_ms", "ms"), ("TE", "echo_time_ms", "ms"), ("FA", "flip_angle_deg", "°"))
    words += [f"{name} {acquisition[key]:g} {unit}" for name, key, unit in times if acquisition[key] is not None]
    return ", ".join(word for word in words if word)


def _range(chosen: list[int] | None) -> str:
    return "" if chosen is None else f"slices {chosen[0]} to {chosen[1] - 1} of the image (asked for)"


def _footer(content: Mapping[str, Any]) -> str:
    return (
        f"<footer class='quiet small'>SpinalCordSeg {escape(str(content['software_version']))} · research use, not for"
        " diagnosis. The outline has to be looked at by a person before any number here is used.</footer>"
    )


def _times(values: Iterable[float]) -> str:
    return " × ".join(f"{value:g}" for value in values)


def _value(value: Any, form: str) -> str:
    return "–" if value is None else form.format(value)


def _computed_on(content: Mapping[str, Any]) -> str:
    if not content["device"]:
        return ""
    return ", ".join(filter(None, (content["device"], content.get("engine"), f"{content['seconds']:.1f} s")))


# One picture to judge a segmentation by: planes along the cord, the area beside them, and axial slices.
#
# Needs Pillow; where it is missing ``draw_montage`` raises MissingPackageError and the report is made without.


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


# A drawing of plain shapes on a PDF page, as crisp as print, by reportlab.


FONT, BOLD = "Vera", "VeraBd"  # they come with reportlab and are embedded, so that every viewer shows the same
_PLAIN_FONT = str.maketrans({"←": "<", "→": ">", "–": "-"})


def register_fonts() -> None:
    """Make FONT and BOLD, and <b> in paragraphs, known to reportlab."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    for name in (FONT, BOLD):
        pdfmetrics.registerFont(TTFont(name, f"{name}.ttf"))
    pdfmetrics.registerFontFamily(FONT, normal=FONT, bold=BOLD, italic=FONT, boldItalic=BOLD)


def drawn(drawing: Drawing, width_mm: float) -> Any:
    """The drawing as something that flows with a page's text, scaled to a width."""
    from reportlab.lib.units import mm
    from reportlab.platypus import Flowable

    class Figure(Flowable):
        def __init__(self) -> None:
            super().__init__()
            self.scale = width_mm * mm / drawing.width
            self.width, self.height = width_mm * mm, drawing.height * self.scale

        def draw(self) -> None:
            self.canv.scale(self.scale, self.scale)
            for shape in drawing.shapes:
                _put(self.canv, shape, drawing.height)

    return Figure()


def _put(canvas: Any, shape: Shape, height: float) -> None:
    """``height``: of the drawing; a PDF's y runs upwards."""
    if isinstance(shape, Box):
        canvas.setFillColor(shape.fill)
        canvas.rect(shape.left, height - shape.bottom, shape.right - shape.left, shape.bottom - shape.top, 0, 1)
    elif isinstance(shape, Dot):
        canvas.setFillColor(shape.colour)
        canvas.circle(shape.x, height - shape.y, shape.radius, 0, 1)
    elif isinstance(shape, Text):
        _put_text(canvas, shape, height)
    else:
        path = canvas.beginPath()
        path.moveTo(shape.points[0][0], height - shape.points[0][1])
        for x, y in shape.points[1:]:
            path.lineTo(x, height - y)
        if isinstance(shape, Polygon):
            canvas.setFillColor(shape.fill)
            canvas.drawPath(path, 0, 1)
        else:
            _stroke(canvas, shape, path)


def _stroke(canvas: Any, line: Line, path: Any) -> None:
    canvas.setStrokeColor(line.colour)
    canvas.setLineWidth(line.width)
    canvas.setDash([5, 4] if line.dashed else [])
    canvas.setLineJoin(1)
    canvas.drawPath(path, 1, 0)


def _put_text(canvas: Any, text: Text, height: float) -> None:
    words = text.text.translate(_PLAIN_FONT).encode("latin-1", "replace").decode("latin-1")
    canvas.saveState()
    canvas.translate(text.x, height - text.y)
    if text.turned:
        canvas.rotate(90)
    canvas.setFont(FONT, text.size)
    canvas.setFillColor(text.colour)
    place = {"start": canvas.drawString, "middle": canvas.drawCentredString, "end": canvas.drawRightString}
    place[text.anchor](0, 0, words)
    canvas.restoreState()


# The report of a case as an A4 PDF that can be searched and printed, laid out by reportlab.
#
# Says what report.html says, from the same files. No patient data: the case goes by its code. Letters outside
# Latin-1 become "?": the embedded font has no others.


_MARGIN_MM, _WIDTH_MM, _HEIGHT_MM = 15.0, 180.0, 267.0
_pdf_INK, _pdf_QUIET, _pdf_DOUBT, _FAINT, _PALE = "#1d2733", "#5b6875", "#8a3b00", "#d5dbe1", "#fdf5ec"
_REPLACED = str.maketrans(
    {"–": "-", "—": "-", "→": ">", "←": "<", "…": "...", "’": "'", "“": '"', "”": '"', "•": "·", "≥": ">=", "≤": "<="}
)
_pdf_COLUMNS = (
    ("slice", "slice", "{:.0f}"), ("z_mm", "z, mm", "{:.1f}"), ("csa_mm2", "area, mm²", "{:.1f}"),
    ("csa_raw_mm2", "in slice, mm²", "{:.1f}"), ("ap_ellipse_mm", "AP, mm", "{:.2f}"), ("rl_mm", "RL, mm", "{:.2f}"),
    ("instance_number", "instance", "{:.0f}"),
)  # fmt: skip
_pdf_DEFINITIONS = (
    "Area: at a right angle to the course of the cord; “in slice” is without that correction. AP and RL: diameters of"
    " the ellipse with the same second moments. Volume: voxels of the mask; length: along the centreline."
)


def report_pdf(case: Case, picture: bytes | None) -> bytes:
    """The PDF file. ``picture``: the montage as PNG, or None. Raises MissingPackageError without reportlab."""
    try:
        from reportlab.lib.units import mm
        from reportlab.platypus import SimpleDocTemplate
    except ImportError as error:
        raise MissingPackageError("the report as PDF needs the package reportlab: pip install reportlab") from error
    register_fonts()
    content, cells = case.as_json(), case.slices.texts()
    slices = [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]
    buffer = io.BytesIO()
    document = SimpleDocTemplate(
        buffer, pagesize=((_WIDTH_MM + 2 * _MARGIN_MM) * mm, (_HEIGHT_MM + 2 * _MARGIN_MM) * mm),
        leftMargin=_MARGIN_MM * mm, rightMargin=_MARGIN_MM * mm,
        topMargin=_MARGIN_MM * mm, bottomMargin=_MARGIN_MM * mm + 8,
        title=f"Spinal cord: {_plain(content['case'])}", author="SpinalCordSeg",
        subject="Research use, not for diagnosis",
    )  # fmt: skip
    story = [
        *_head(content),
        *_pdf_doubts(content),
        *_pdf_plot(content, slices),
        *_levels(content),
        *_pdf_making(content),
        *_review(content),
    ]
    story += [*_pdf_montage(picture), *_table(slices)]

    def foot(canvas: Any, page: Any) -> None:
        canvas.setFont(FONT, 7.5)
        canvas.setFillColor(_pdf_QUIET)
        words = f"SpinalCordSeg {content['software_version']} · research use, not for diagnosis"
        canvas.drawString((_MARGIN_MM + 2) * mm, 9 * mm, words)
        canvas.drawRightString(
            (_MARGIN_MM + _WIDTH_MM - 2) * mm, 9 * mm, f"{_plain(content['case'])} · page {page.page}"
        )

    document.build(story, onFirstPage=foot, onLaterPages=foot)
    return buffer.getvalue()


def _head(content: Mapping[str, Any]) -> list[Any]:
    made = str(content["created"]).replace("T", " ").replace("+00:00", " UTC")
    state = state_sentence(content)
    return [
        _words(f"Spinal cord: {content['case']}", 16, bold=True, after=3),
        _words(f"<b>Research use, not for diagnosis.</b> {escape(state)}. {escape(made)}", 9, _pdf_DOUBT, markup=True),
        _pdf_figures(content),
    ]


def _pdf_figures(content: Mapping[str, Any]) -> Any:
    where = "in the range asked for" if content["range"] else "over the whole cord found"
    spread = "" if content["sd_csa_mm2"] is None else f"SD {content['sd_csa_mm2']:.1f} mm², "
    diameters = " × ".join(_pdf_number(content[name], "{:.1f}") for name in ("mean_ap_ellipse_mm", "mean_rl_mm"))
    remark = f"{spread}{content['n_slices']} slices, coverage {100 * content['coverage']:.0f} %, {where}"
    boxes = (
        ("Mean cross-sectional area", _pdf_number(content["mean_csa_mm2"], "{:.1f} mm²"), remark),
        ("Volume", _pdf_number(content["volume_mm3"], "{:.0f} mm³"), "whole cord found"),
        ("Length along the cord", _pdf_number(content["length_mm"], "{:.1f} mm"), "whole cord found"),
        ("Diameters, AP × RL", f"{diameters} mm", "mean of the same slices as the area"),
    )
    cells = [
        [_words(name, 8), _words(value, 14, bold=True, after=2), _words(remark, 7.5, _pdf_QUIET)]
        for name, value, remark in boxes
    ]
    style = [("BOX", (column, 0), (column, 0), 0.5, _FAINT) for column in range(4)] + [
        ("VALIGN", (0, 0), (-1, -1), "TOP")
    ]
    return _grid([cells], [45.0] * 4, style, before=8)


def _pdf_doubts(content: Mapping[str, Any]) -> list[Any]:
    flags = content["flags"]
    if not flags:
        return [_words("No flag was raised. Look at the pictures all the same.", 9, before=8)]
    lines = [str(flag["message"]) for flag in flags if flag["slice"] is None]
    by_slice: dict[int, list[str]] = {}
    for flag in flags:
        if flag["slice"] is not None:
            by_slice.setdefault(flag["slice"], []).append(str(flag["message"]))
    lines += [f"Slice {number}: {'; '.join(messages)}" for number, messages in by_slice.items()]
    title = f"To be checked: {len(flags)} flag{'s' if len(flags) > 1 else ''}"
    return [_title(title), *(_words(f"• {line}", 8.5, after=1, shaded=True) for line in lines)]


def _pdf_plot(content: Mapping[str, Any], slices: Sequence[Mapping[str, str]]) -> list[Any]:
    points = [
        AreaPoint(
            int(row["slice"]), float(row["z_mm"]), _float(row["csa_mm2"]), _float(row["csa_raw_mm2"]),
            tuple(row["flags"].split()),
        )
        for row in slices
    ]  # fmt: skip
    mean = content["mean_csa_mm2"]
    drawing = AreaPlot(points, _float(mean), 900, 270, text_size=15).draw()
    legend = "Dark: area at a right angle to the cord; light: in the slice. Orange: flagged. Grey band: a gap."
    return [_title("Area along the cord"), drawn(drawing, _WIDTH_MM), _words(legend, 7.5, _pdf_QUIET)]


def _levels(content: Mapping[str, Any]) -> list[Any]:
    """Mean areas by vertebral level; nothing where no disc was marked."""
    levels = content.get("levels")
    if not levels:
        return []
    rows = [
        [_words(title, 7.5, bold=True) for title in ("level", "mean area, mm²", "SD, mm²", "slices", "coverage", "")]
    ]
    for row in levels["levels"]:
        numbers = (
            _pdf_number(row["mean_csa_mm2"], "{:.1f}"),
            _pdf_number(row["sd_csa_mm2"], "{:.1f}"),
            row["n_slices"],
        )
        cells = (row["name"], *numbers, f"{100 * row['coverage']:.0f} %", row["remark"] or "")
        rows.append([_words(cell, 7.5) for cell in cells])
    table = _grid(rows, [20.0, 27.0, 20.0, 18.0, 20.0, 75.0], [("LINEBELOW", (0, 0), (-1, -1), 0.3, _FAINT)])
    norm = levels.get("norm")
    return [_title("Area by vertebral level"), table, *([_words(f"{norm['text']}.", 8, before=3)] if norm else [])]


def _pdf_making(content: Mapping[str, Any]) -> list[Any]:
    source, model = content["input"], content["model"] or {}
    acquisition = source.get("acquisition") or {}
    field = acquisition.get("field_strength_t")
    scanner = [acquisition.get("manufacturer"), acquisition.get("model"), f"{field:g} T" if field else "",
               acquisition.get("sequence")]  # fmt: skip
    chosen = content["range"]
    entries = (
        (
            "Image",
            f"{_pdf_times(source['shape'])} voxels of {_pdf_times(source['spacing_mm'])} mm,"
            f" axes {source['orientation']}",
        ),
        ("Scanner", ", ".join(str(word) for word in scanner if word)),
        ("Range measured", f"slices {chosen[0]} to {chosen[1] - 1} of the image" if chosen else ""),
        ("Removed, filled", f"{content['removed_mm3']:g} mm³ and {content['filled_mm3']:g} mm³ before measuring"),
        ("Model", f"{model['name']} {model['version']}, SHA-256 {str(model['sha256'])[:16]}" if model else ""),
        ("Software", f"SpinalCordSeg {content['software_version']}"),
    )
    rows = [[_words(name, 8, _pdf_QUIET), _words(value, 8)] for name, value in entries if value]
    return [_title("How this was made"), _grid(rows, [32.0, _WIDTH_MM - 32.0], [("VALIGN", (0, 0), (-1, -1), "TOP")])]


def _review(content: Mapping[str, Any]) -> list[Any]:
    decided = review_sentence(content)
    if decided:
        return [_words(decided, 9, bold=True, before=12)]
    line = "_" * 32
    return [_words(f"Reviewed by {line} on {line[:16]}   [  ] accepted   [  ] rejected", 9, before=12)]


def _pdf_montage(picture: bytes | None) -> list[Any]:
    from reportlab.lib.units import mm
    from reportlab.lib.utils import ImageReader
    from reportlab.platypus import Image, PageBreak

    if picture is None:
        return []
    width, height = ImageReader(io.BytesIO(picture)).getSize()
    scale = min(_WIDTH_MM * mm / width, (_HEIGHT_MM - 22) * mm / height)
    shown = Image(io.BytesIO(picture), width * scale, height * scale)
    legend = "Yellow: outline of the mask. The patient’s right is on the left of axial and coronal pictures."
    return [PageBreak(), _title("Pictures"), shown, _words(legend, 7.5, _pdf_QUIET)]


def _table(slices: Sequence[Mapping[str, str]]) -> list[Any]:
    from reportlab.platypus import PageBreak

    columns = [column for column in _pdf_COLUMNS if any(row.get(column[0]) for row in slices)]
    if not columns:
        return []
    head = [_words(title, 7.5, bold=True) for _, title, _ in columns] + [_words("flags", 7.5, bold=True)]
    rows: list[list[Any]] = [head]
    style: list[tuple] = [("LINEBELOW", (0, 0), (-1, -1), 0.3, _FAINT), ("VALIGN", (0, 0), (-1, -1), "TOP")]
    for number, row in enumerate(slices, 1):
        flags = row["flags"].replace(" ", ", ").replace("_", " ")
        cells = [_pdf_cell(row.get(name, ""), form) for name, _, form in columns]
        rows.append([*(_words(cell, 7.5) for cell in cells), _words(flags, 7.5, _pdf_DOUBT)])
        if flags:
            style.append(("BACKGROUND", (0, number), (-1, number), _PALE))
    widths = [20.0] * len(columns)
    table = _grid(rows, [*widths, _WIDTH_MM - sum(widths)], style, repeated=1)
    title = _title("Slice by slice, from inferior to superior")
    return [PageBreak(), title, table, _words(_pdf_DEFINITIONS, 7.5, _pdf_QUIET, before=4)]


def _words(
    text: str, size: float, colour: str = _pdf_INK, *, bold: bool = False, markup: bool = False, shaded: bool = False,
    before: float = 0.0, after: float = 0.0,
) -> Any:  # fmt: skip
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import Paragraph

    style = ParagraphStyle(
        "words", fontName=BOLD if bold else FONT, fontSize=size, leading=1.3 * size, textColor=colour,
        spaceBefore=before, spaceAfter=after, backColor=_PALE if shaded else None,
    )  # fmt: skip
    return Paragraph(_plain(text) if markup else escape(_plain(text)), style)


def _title(text: str) -> Any:
    words = _words(text, 11, bold=True, before=10, after=4)
    words.keepWithNext = True
    return words


def _grid(
    rows: list[list[Any]], widths_mm: list[float], style: list[tuple], *, before: float = 0.0, repeated: int = 0
) -> Any:
    from reportlab.lib.units import mm
    from reportlab.platypus import Table

    narrow = [("TOPPADDING", (0, 0), (-1, -1), 2), ("BOTTOMPADDING", (0, 0), (-1, -1), 2)]
    table = Table(rows, [width * mm for width in widths_mm], repeatRows=repeated, spaceBefore=before, hAlign="LEFT")
    table.setStyle([*narrow, *style])
    return table


def _plain(text: Any) -> str:
    return str(text).translate(_REPLACED).encode("latin-1", "replace").decode("latin-1")


def _pdf_number(value: Any, form: str) -> str:
    return "-" if value is None else form.format(value)


def _pdf_cell(text: str, form: str) -> str:
    return form.format(float(text)) if text else "-"


def _float(value: Any) -> float:
    return float("nan") if value in (None, "") else float(value)


def _pdf_times(values: Sequence[float]) -> str:
    return " × ".join(f"{value:.4g}" for value in values)
