"""A drawing as plain shapes, so that a figure is laid out once and rendered as SVG here or by Pillow elsewhere.

Coordinates are pixels, x to the right, y downwards. Colours are "#rrggbb".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from html import escape
from typing import Any


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
