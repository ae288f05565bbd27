"""The page ARCHITECTURE.md names every module of the packages once, and nothing that is not there."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from source_tree import Source

_PAGE = Path(__file__).resolve().parents[2] / "ARCHITECTURE.md"


def _rows() -> dict[str, list[str]]:
    """Section heading → the patterns of its tables' last columns."""
    sections: dict[str, list[str]] = {}
    heading = ""
    for line in _PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            heading = line[3:]
        elif heading and line.startswith("| ") and not line.endswith(" modules |"):
            sections.setdefault(heading, []).extend(line.strip("| ").split("|")[-1].split())
    return sections


@pytest.mark.parametrize("section", _rows())
def test_every_module_has_its_row(section: str, sources: list[Source]) -> None:
    packages = re.findall(r"\w+", section)
    modules = {f.path.stem for f in sources if f.package in packages} - {"__init__"}
    patterns = _rows()[section]
    named = [pattern for pattern in patterns if "*" not in pattern]
    by_ending = [pattern for pattern in patterns if "*" in pattern]
    assert sorted(named) == sorted(set(named)), "named twice"
    assert set(named) <= modules
    rest = modules - set(named)
    assert [one for one in sorted(rest) if not any(fnmatch(one, pattern) for pattern in by_ending)] == []
    assert [p for p in by_ending if not any(fnmatch(one, p) for one in rest)] == []


def test_every_package_is_on_the_page(sources: list[Source]) -> None:
    named = set(re.findall(r"SpinalCordSeg\w+", " ".join(_rows())))
    assert {f.package for f in sources if f.package} == named
