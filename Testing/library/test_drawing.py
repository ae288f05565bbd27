"""SVG out of shapes: well-formed, escaped, scaled by the page."""

import xml.etree.ElementTree as ElementTree

from SpinalCordSegLib.report import Box, Dot, Drawing, Line, Text, to_svg

_SVG = "{http://www.w3.org/2000/svg}"


def test_every_shape_becomes_its_element():
    shapes = (
        Box(1, 2, 4, 8, "#eeeeee", "a <gap>"),
        Line(((0, 0), (10.123456, 5)), "#112233", 2, dashed=True),
        Dot(3, 4, 2, "#d9730d", "slice 7 & 8"),
        Text(5, 6, "<script>", 12, "#000000", "middle", turned=True),
    )
    root = ElementTree.fromstring(to_svg(Drawing(100, 50, shapes), 'areas "along" z'))
    assert root.get("viewBox") == "0 0 100 50"
    assert [child.tag.removeprefix(_SVG) for child in root] == ["desc", "rect", "polyline", "circle", "text"]
    box, line, dot, text = root[1:]
    assert (box.get("width"), box.get("height"), box[0].text) == ("3", "6", "a <gap>")
    assert line.get("points") == "0,0 10.12,5"
    assert dot[0].text == "slice 7 & 8"
    assert text.text == "<script>"
    assert text.get("transform") == "rotate(-90 5 6)"
