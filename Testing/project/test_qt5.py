"""No .ui file and no code that Qt 5.15, which Slicer's released binaries have, could not load, or Qt 6 not know."""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from source_tree import Source

# Written by newer designers: "Qt::Orientation::Horizontal" for "Qt::Horizontal".
_SCOPED_IN_UI = re.compile(r"^\w+::\w+::\w+")
_SCOPED_IN_CODE = re.compile(r"^qt\.(Q[A-Z]\w+|Qt)\.[A-Z]\w*\.\w+$")
_GONE_IN_QT6 = {"QTextCodec", "QRegExp", "QDesktopWidget", "QStringRef", "setMargin"}
_SIGNALS_GONE = {"currentIndexChanged(QString)", "activated(QString)", "buttonClicked(int)"}


def _faults_of_ui(text: str) -> list[str]:
    root = ElementTree.fromstring(text)
    faults = [] if root.get("version") == "4.0" else [f"{root.tag} version {root.get('version')}"]
    for element in root.iter():
        if element.tag in ("enum", "set"):
            faults += [value for value in (element.text or "").split("|") if _SCOPED_IN_UI.match(value.strip())]
        if element.tag == "signal" and element.text in _SIGNALS_GONE:
            faults.append(element.text or "")
    return faults


def _faults_of_code(tree: ast.Module) -> list[str]:
    faults = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if _SCOPED_IN_CODE.match(name) or node.attr in _GONE_IN_QT6:
                faults.append(f"line {node.lineno}: {name}")
        elif isinstance(node, ast.Constant) and node.value in _SIGNALS_GONE:
            faults.append(f"line {node.lineno}: {node.value}")
    return faults


def test_ui_files_load_in_qt_5(checkout: Path, tracked: list[Path]) -> None:
    files = [path for path in tracked if path.suffix == ".ui"]
    assert files
    assert {p: found for p in files if (found := _faults_of_ui((checkout / p).read_text(encoding="utf-8")))} == {}


def test_code_of_the_modules_loads_in_qt_5_and_6(sources: list[Source]) -> None:
    ours = [source for source in sources if source.path.parts[0] != "Testing"]
    assert {s.path: found for s in ours if (found := _faults_of_code(s.tree))} == {}
