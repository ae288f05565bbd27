"""No .ui file and no code that Qt 5.15 could not load, or that Qt 6 no longer knows."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from qt5_rules import faults_of_code, faults_of_ui
from source_tree import Source


def _ui_files(checkout: Path, tracked: list[Path]) -> list[Path]:
    return [checkout / path for path in tracked if path.suffix == ".ui"]


def test_ui_files_load_in_qt_5(checkout: Path, tracked: list[Path]) -> None:
    files = _ui_files(checkout, tracked)
    assert len(files) >= 2
    assert {path.name: faults_of_ui(path.read_text(encoding="utf-8")) for path in files} == {
        path.name: [] for path in files
    }


def test_code_of_the_modules_loads_in_qt_5_and_6(sources: list[Source]) -> None:
    faults = {
        str(source.path): found
        for source in sources
        if source.path.parts[0] != "Testing" and (found := faults_of_code(source.tree))
    }
    assert faults == {}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<ui version='4.0'><enum>Qt::Orientation::Horizontal</enum></ui>", "write Qt::Horizontal"),
        ("<ui version='4.0'><set>Qt::AlignmentFlag::AlignLeft|Qt::AlignTop</set></ui>", "write Qt::AlignLeft"),
        ("<ui version='4.0'><signal>buttonClicked(int)</signal></ui>", "not in Qt 6"),
        ("<ui version='6.0'/>", "version 6.0"),
    ],
)
def test_faults_in_ui_are_found(text: str, fault: str) -> None:
    assert [fault in found for found in faults_of_ui(text)] == [True]


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("x.setAlignment(qt.Qt.AlignmentFlag.AlignLeft)", "write qt.Qt.AlignLeft"),
        ("p = qt.QSizePolicy.Policy.Expanding", "write qt.QSizePolicy.Expanding"),
        ("r = qt.QRegExp('a')", "QRegExp"),
        ("b.connect('currentIndexChanged(QString)', f)", "not in Qt 6"),
    ],
)
def test_faults_in_code_are_found(code: str, fault: str) -> None:
    assert [fault in found for found in faults_of_code(ast.parse(code))] == [True]


def test_code_that_is_right_is_left_alone() -> None:
    right = "qt.Qt.AlignLeft; qt.QFrame.Box; qt.QApplication.clipboard().setText('a'); qt.QEventLoop.AllEvents"
    assert faults_of_code(ast.parse(right)) == []
