"""A drawing of plain shapes on a PDF page, as crisp as print, by reportlab."""

from __future__ import annotations

from typing import Any

from SpinalCordSegLib.reporting.drawing import Box, Dot, Drawing, Line, Polygon, Shape, Text

FONT, BOLD = "Vera", "VeraBd"  # they come with reportlab and are embedded, so that every viewer shows the same
_PLAIN = str.maketrans({"←": "<", "→": ">", "–": "-"})


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
    words = text.text.translate(_PLAIN).encode("latin-1", "replace").decode("latin-1")
    canvas.saveState()
    canvas.translate(text.x, height - text.y)
    if text.turned:
        canvas.rotate(90)
    canvas.setFont(FONT, text.size)
    canvas.setFillColor(text.colour)
    place = {"start": canvas.drawString, "middle": canvas.drawCentredString, "end": canvas.drawRightString}
    place[text.anchor](0, 0, words)
    canvas.restoreState()
