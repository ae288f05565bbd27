"""docs/licences.md holds a row for every dependency, and every weights file with its licence."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from SpinalCordSegLib.model.checkpoint import load_card

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

_OURS = "spinalcordseg"


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _asked_for(checkout: Path) -> set[str]:
    """Every package that pyproject.toml names as a requirement, whatever the extra."""
    content = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))
    project = content["project"]
    groups = [content["build-system"]["requires"], project["dependencies"], *project["optional-dependencies"].values()]
    return {_plain(re.split(r"[^\w.-]", need, maxsplit=1)[0]) for group in groups for need in group} - {_OURS}


def _rows(checkout: Path) -> set[str]:
    """The packages of the first table of docs/licences.md."""
    text = (checkout / "docs" / "licences.md").read_text(encoding="utf-8").partition("## Weights")[0]
    names = [line.split("|")[1].strip() for line in text.splitlines() if line[:2] == "| "]
    return {_plain(name) for name in names} - {"package"}


def test_every_dependency_has_its_row(checkout: Path) -> None:
    asked = _asked_for(checkout)
    assert {"numpy", "highdicom", "slicer-core", "ruff", "setuptools"} <= asked
    assert _rows(checkout) == asked


def test_every_weights_file_is_listed_with_its_licence(checkout: Path) -> None:
    text = (checkout / "docs" / "licences.md").read_text(encoding="utf-8")
    models = sorted((checkout / "SpinalCordSeg" / "Resources" / "Models").glob("*.safetensors"))
    assert models
    for path in models:
        card = load_card(path)
        assert f"| `{path.name}` ({card.name} {card.version}) | {card.licence} |" in text
