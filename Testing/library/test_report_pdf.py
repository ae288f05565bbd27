"""The report as PDF: every state of a case gives a file, and hostile text stays text."""

from __future__ import annotations

import re
import sys
from io import BytesIO

import pytest
from PIL import Image

from SpinalCordSegLib import report as report_module
from SpinalCordSegLib.errors import MissingPackageError
from SpinalCordSegLib.report import Box, Dot, Drawing, Line, Polygon, Text, drawn, register_fonts, report_pdf

pytest.importorskip("reportlab", reason="REPORTLAB MISSING: the PDF was not tested (extra: dicom)")

CONTENT = {
    "case": "neck <b>&", "created": "2026-01-02T03:04:05+00:00", "mask_state": "corrected", "software_version": "0.1",
    "volume_mm3": 1234.5, "length_mm": 16.0, "mean_csa_mm2": 77.1, "sd_csa_mm2": None, "mean_ap_ellipse_mm": 7.9,
    "mean_rl_mm": None, "n_slices": 2, "coverage": 0.5, "range": [3, 7], "removed_mm3": 0.5, "filled_mm3": 0,
    "flags": [
        {"slice": None, "kind": "header", "message": "two <i> orientations & more"},
        {"slice": 4, "kind": "area", "message": "area 20 % off ≥ limit"},
    ],
    "model": {"name": "日本", "version": "1", "sha256": "ab" * 32},
    "input": {"shape": [48, 40, 8], "spacing_mm": [0.5, 0.75, 3.0], "orientation": "LPS"},
}  # fmt: skip
ROW = {"slice": "4", "z_mm": "1.5", "csa_mm2": "77.1", "csa_raw_mm2": "80", "rl_mm": "12", "ap_ellipse_mm": "",
       "instance_number": "", "flags": "area_jump border"}  # fmt: skip
GAP = {**dict.fromkeys(ROW, ""), "slice": "5", "z_mm": "4.5", "flags": "gap"}
LAST = ROW | {"slice": "6", "z_mm": "7.5", "flags": ""}


def _pages(document: bytes) -> int:
    assert document.startswith(b"%PDF-")
    assert document.rstrip().endswith(b"%%EOF")
    return len(re.findall(rb"/Type /Page\b(?!s)", document))


def _png(width: int, height: int) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (width, height), "#336699").save(buffer, format="PNG")
    return buffer.getvalue()


def test_summary_pictures_and_table_are_a_page_each():
    assert _pages(report_pdf(CONTENT, [ROW, GAP, LAST], _png(1500, 2600))) == 3


def test_a_long_table_goes_on_and_a_missing_picture_is_left_out():
    assert _pages(report_pdf(CONTENT, [ROW] + [LAST] * 150, None)) == 4


def test_levels_are_in_it(monkeypatch):
    row = {
        "name": "C2-C3",
        "mean_csa_mm2": 75.5,
        "sd_csa_mm2": None,
        "n_slices": 3,
        "coverage": 0.9,
        "remark": "approximate",
    }
    said = []
    words = report_module._words
    monkeypatch.setattr(
        report_module, "_words", lambda text, *rest, **kw: said.append(text) or words(text, *rest, **kw)
    )
    levels = {"levels": [row], "norm": {"text": "within the range of 2,298 healthy adults"}}
    assert _pages(report_pdf(CONTENT | {"levels": levels}, [ROW], None)) == 2
    assert {"C2-C3", "75.5", "90 %", "approximate", "within the range of 2,298 healthy adults."} <= set(said)


def test_no_cord_no_model_no_flags():
    empty = dict.fromkeys(("mean_csa_mm2", "model", "range", "mean_ap_ellipse_mm")) | {
        "flags": [],
        "mask_state": "given",
    }
    assert _pages(report_pdf(CONTENT | empty, [], None)) == 1


def test_every_shape_can_be_drawn():
    from reportlab.pdfgen.canvas import Canvas

    shapes = (
        Box(0, 0, 10, 10, "#ff0000"), Dot(5, 5, 2, "#00ff00"), Line(((0, 0), (5, 5), (9, 1)), "#0000ff", dashed=True),
        Polygon(((0, 0), (5, 5), (9, 1)), "#112233"), Text(5, 5, "mm² →", 3, "#000000", "middle", turned=True),
    )  # fmt: skip
    register_fonts()
    buffer = BytesIO()
    canvas = Canvas(buffer)
    figure = drawn(Drawing(10, 10, shapes), 25.4)
    assert (round(figure.width), round(figure.height)) == (72, 72)
    figure.drawOn(canvas, 0, 0)
    canvas.save()
    assert _pages(buffer.getvalue()) == 1


def test_without_reportlab_the_reason_is_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "reportlab.platypus", None)
    with pytest.raises(MissingPackageError, match=r"pip install .*reportlab"):
        report_pdf(CONTENT, [], None)
