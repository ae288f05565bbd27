"""Draws the project's icons: an axial neck with the cord in its segment colour. ``make icons`` writes them again.

One description of the shapes, in units of a 128×128 picture, gives the SVG and (by Pillow, eight times larger and
shrunk) the PNGs. The training module's icon carries a rising learning curve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

_SIZE = 128
_OVERSAMPLING = 8
_CORD = "#f4d631"  # 244, 214, 49: the segment's colour
_OUTLINE = "#22303c"

Point = tuple[float, float]


@dataclass(frozen=True)
class Shape:
    """A filled closed outline, or an open line where ``fill`` is empty; ``width`` of the stroke."""

    points: tuple[Point, ...]
    fill: str
    stroke: str = ""
    width: float = 0.0


def _oval(x: float, y: float, rx: float, ry: float, squareness: float = 2.0) -> tuple[Point, ...]:
    """A superellipse about (x, y): 2 is an ellipse, more is boxier."""
    points = []
    for step in range(120):
        angle = 2 * math.pi * step / 120
        cosine, sine = math.cos(angle), math.sin(angle)
        points.append(
            (
                x + rx * math.copysign(abs(cosine) ** (2 / squareness), cosine),
                y + ry * math.copysign(abs(sine) ** (2 / squareness), sine),
            )
        )
    return tuple(points)


def _cord(x: float, y: float) -> tuple[Point, ...]:
    """The cord's kidney outline: wide from left to right, with the anterior fissure at the top."""
    points = []
    for step in range(120):
        angle = 2 * math.pi * step / 120
        notch = 4.0 * math.exp(-(((angle - 1.5 * math.pi) / 0.28) ** 2))
        points.append((x + 19 * math.cos(angle), y + 13 * math.sin(angle) + notch))
    return tuple(points)


def neck() -> list[Shape]:
    """Skin, muscle, airway, vessels, vertebra, canal and cord; anterior is up."""
    arch = ((36.0, 63.0), (28.0, 76.0), (38.0, 92.0), (56.0, 103.0), (64.0, 118.0))
    arch += tuple((128 - x, y) for x, y in reversed(arch[:-1]))
    return [
        Shape(_oval(64, 65, 60, 58, 2.3), "#c9d3da", _OUTLINE, 3.5),
        Shape(_oval(64, 67, 52, 49, 2.3), "#7d8f9c"),
        Shape(_oval(64, 27, 11, 8.5), "#131c24"),
        Shape(_oval(29, 45, 6.5, 6), "#dfe7ec"),
        Shape(_oval(99, 45, 6.5, 6), "#dfe7ec"),
        Shape(arch, "#aab8c2"),
        Shape(_oval(64, 53, 25, 13.5, 2.6), "#b9c6cf"),
        Shape(_oval(64, 79, 27, 18.5, 2.2), "#131c24"),
        Shape(_cord(64, 79), _CORD, "#fff6c8", 2.0),
    ]


def learning_curve() -> list[Shape]:
    """A badge at the lower right: two axes and a rising curve."""
    curve = tuple((84 + 33 * t, 119 - 26 * (1 - math.exp(-3.2 * t))) for t in (step / 24 for step in range(25)))
    return [
        Shape(_oval(101, 103, 25, 23, 5), "#ffffff", _OUTLINE, 3.0),
        Shape(((84, 88), (84, 119), (119, 119)), "", _OUTLINE, 3.0),
        Shape(curve, "", "#c0392b", 4.0),
    ]


def as_svg(shapes: list[Shape]) -> str:
    """The shapes as an SVG document."""
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_SIZE} {_SIZE}">']
    for shape in shapes:
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in shape.points) + ("Z" if shape.fill else "")
        stroke = (
            f' stroke="{shape.stroke}" stroke-width="{shape.width}" stroke-linejoin="round"' if shape.stroke else ""
        )
        lines.append(f'  <path d="{path}" fill="{shape.fill or "none"}"{stroke}/>')
    return "\n".join([*lines, "</svg>", ""])


def as_picture(shapes: list[Shape], size: int = _SIZE) -> Image.Image:
    """The shapes as a transparent RGBA picture of size×size pixels."""
    scale = size * _OVERSAMPLING / _SIZE
    picture = Image.new("RGBA", (size * _OVERSAMPLING,) * 2, (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    for shape in shapes:
        points = [(x * scale, y * scale) for x, y in shape.points]
        if shape.fill:
            pen.polygon(points, fill=shape.fill)
        if shape.stroke:
            line = [*points, points[0], points[1]] if shape.fill else points
            pen.line(line, fill=shape.stroke, width=round(shape.width * scale), joint="curve")
    return picture.resize((size, size), Image.Resampling.LANCZOS)


def main() -> None:
    """Write all icons into the tree."""
    checkout = Path(__file__).resolve().parents[1]
    segment, train = neck(), neck() + learning_curve()
    (checkout / "Resources" / "SpinalCordSeg.svg").write_text(as_svg(segment), encoding="utf-8")
    for module, shapes in (("SpinalCordSeg", segment), ("SpinalCordSegTrainer", train)):
        folder = checkout / module / "Resources" / "Icons"
        folder.mkdir(parents=True, exist_ok=True)
        as_picture(shapes).save(folder / f"{module}.png", optimize=True)
    as_picture(segment).save(checkout / "Resources" / "SpinalCordSeg.png", optimize=True)


if __name__ == "__main__":
    main()
