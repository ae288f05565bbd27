"""The page ARCHITECTURE.md names every module of the packages once, where it lies, and nothing that is not there.

In a section with folders the rows are in the order in which they may import each other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

from source_tree import Source, imports_of

_PAGE = Path(__file__).resolve().parents[2] / "ARCHITECTURE.md"


@dataclass(frozen=True)
class Row:
    """``folder``: in the package, empty for its top; ``patterns``: names of modules, ``*`` for any ending."""

    folder: str
    patterns: tuple[str, ...]

    def names(self, folder: str, module: str) -> bool:
        return folder == self.folder and any(fnmatch(module, pattern) for pattern in self.patterns)


def _sections() -> dict[str, list[Row]]:
    """Section heading → the rows of its table."""
    sections: dict[str, list[Row]] = {}
    heading = ""
    for line in _PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            heading = line[3:]
        elif heading and line.startswith("| ") and not line.endswith(" modules |"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            folder = re.fullmatch(r"`(\w+)/`", cells[0])
            sections.setdefault(heading, []).append(Row(folder[1] if folder else "", tuple(cells[-1].split())))
    return sections


def _place(source: Source) -> tuple[str, str]:
    """Folder in the package (empty at its top) and name of a module."""
    return "/".join(source.path.parts[2:-1]), source.path.stem


def _row_of(rows: list[Row], place: tuple[str, str]) -> int:
    """Where a name is written out it does not belong to a row whose ``*`` happens to fit."""
    folder, module = place
    fitting = [number for number, row in enumerate(rows) if row.names(folder, module)]
    return min(fitting, key=lambda number: module not in rows[number].patterns)


@pytest.mark.parametrize("section", _sections())
def test_every_module_has_its_row(section: str, sources: list[Source]) -> None:
    packages = re.findall(r"\w+", section)
    modules = {_place(f) for f in sources if f.package in packages and f.path.name != "__init__.py"}
    patterns = [(row.folder, pattern) for row in _sections()[section] for pattern in row.patterns]
    named = [one for one in patterns if "*" not in one[1]]
    by_ending = [one for one in patterns if "*" in one[1]]
    assert sorted(named) == sorted(set(named)), "named twice"
    assert sorted(set(named) - modules) == []
    rest = sorted(modules - set(named))
    assert [one for one in rest if not any(one[0] == f and fnmatch(one[1], p) for f, p in by_ending)] == []
    assert [(f, p) for f, p in by_ending if not any(one[0] == f and fnmatch(one[1], p) for one in rest)] == []


def test_every_package_is_on_the_page(sources: list[Source]) -> None:
    named = set(re.findall(r"SpinalCordSeg\w+", " ".join(_sections())))
    assert {f.package for f in sources if f.package} == named


@pytest.mark.parametrize("package", ["SpinalCordSegLib", "SpinalCordSegTrainerLib"])
def test_rows_import_only_from_themselves_and_from_above(package: str, sources: list[Source]) -> None:
    """Imports in functions included: a folder can be read, and taken out, without those below it."""
    rows = next(rows for heading, rows in _sections().items() if package in re.findall(r"\w+", heading))
    library = [f for f in sources if f.package == package and f.path.name != "__init__.py"]
    row_of = {source.module: _row_of(rows, _place(source)) for source in library}
    upward = [
        f"{source.path}:{found.line} {name}"
        for source in library
        for found in imports_of(source)
        for name in (found.name, found.name.rpartition(".")[0])
        if row_of.get(name, 0) > row_of[source.module]
    ]
    assert upward == []
