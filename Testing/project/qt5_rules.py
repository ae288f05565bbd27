"""What Qt 5.15 could not load, found in .ui files and in code: Slicer's released binaries are built with it."""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ElementTree

# Written by newer designers: "Qt::Orientation::Horizontal" for "Qt::Horizontal".
_SCOPED_IN_UI = re.compile(r"^\w+::\w+::\w+")
_QT_CLASS = re.compile(r"^Q[A-Z]\w+$|^Qt$")
_GONE_IN_QT6 = {"QTextCodec", "QRegExp", "QDesktopWidget", "QStringRef", "setMargin"}
_OVERLOADS_GONE = {"currentIndexChanged(QString)", "activated(QString)", "buttonClicked(int)"}


def faults_of_ui(text: str) -> list[str]:
    """Scoped enums and properties that only newer Qt knows, with what they should be."""
    root = ElementTree.fromstring(text)
    faults = [f"{root.tag} version {root.get('version')}, 4.0 is known"] if root.get("version") != "4.0" else []
    for element in root.iter():
        if element.tag in ("enum", "set"):
            for value in (element.text or "").split("|"):
                if _SCOPED_IN_UI.match(value.strip()):
                    faults.append(f"{value.strip()}: scoped, write {'::'.join(value.strip().split('::')[::2])}")
        for signal in _OVERLOADS_GONE:
            if element.tag == "signal" and element.text == signal:
                faults.append(f"{signal}: not in Qt 6")
    return faults


def faults_of_code(tree: ast.Module) -> list[str]:
    """``qt.Qt.AlignmentFlag.AlignLeft`` and whatever Qt 6 no longer has; a test's PySide6 is no concern."""
    faults = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            parts = ast.unparse(node).split(".")
            if parts[:1] == ["qt"] and len(parts) == 4 and _QT_CLASS.match(parts[1]) and parts[2][:1].isupper():
                faults.append(
                    f"line {node.lineno}: {'.'.join(parts)}: scoped, write {'.'.join([*parts[:2], parts[3]])}"
                )
            if node.attr in _GONE_IN_QT6:
                faults.append(f"line {node.lineno}: {node.attr}: not in Qt 6")
        elif isinstance(node, ast.Constant) and node.value in _OVERLOADS_GONE:
            faults.append(f"line {node.lineno}: {node.value}: not in Qt 6")
    return faults
