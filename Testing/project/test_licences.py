"""docs/licences.md holds a row for every dependency, with the licence that the installed package says it is under."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata, requires
from pathlib import Path

from SpinalCordSegLib.model.checkpoint import load_card

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it

_OURS = "spinalcordseg"

# family → how packages and docs/licences.md spell it
_FAMILIES = {
    "BSD": r"BSD",
    "MIT": r"\bMIT\b|HPND",
    "Apache": r"Apache",
    "PSF": r"PSF|Python Software Foundation|matplotlib",
    "MPL": r"MPL|Mozilla",
    "ISC": r"\bISC",
    "LGPL": r"LGPL|Lesser General",
    "GPL": r"(?<!L)GPL|(?<!Lesser )General Public",
    "proprietary": r"NVIDIA Proprietary|Proprietary",
}
_PERMISSIVE = {"BSD", "MIT", "Apache", "PSF", "MPL", "ISC"}
# Say nothing that can be looked up in their metadata, or are no permissive ones: package → why that is no harm.
_NAMED_EXCEPTIONS = {
    "pyside6-essentials": "LGPL-3.0; tests only",
    "shiboken6": "LGPL-3.0; comes with PySide6, tests only",
    "kiwisolver": "BSD-3-Clause; the metadata holds its whole text",
}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _asked_for(checkout: Path) -> set[str]:
    """Every package that pyproject.toml names as a requirement, whatever the extra."""
    content = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))
    project = content["project"]
    groups = [content["build-system"]["requires"], project["dependencies"], *project["optional-dependencies"].values()]
    return {_plain(re.split(r"[^\w.-]", need, maxsplit=1)[0]) for group in groups for need in group} - {_OURS}


def _rows(checkout: Path) -> dict[str, str]:
    """Package → licence, from the first table of docs/licences.md."""
    text = (checkout / "docs" / "licences.md").read_text(encoding="utf-8").partition("## Weights")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]
    return {_plain(row[0]): row[2] for row in rows if row[0] != "package"}


def _families(words: str) -> set[str]:
    return {family for family, spelled in _FAMILIES.items() if re.search(spelled, words)}


def _told(about: PackageMetadata) -> set[str]:
    """The families of licence that a package's own metadata name."""
    classifiers = [one for one in about.get_all("Classifier", []) if one.startswith("License")]
    return _families(" ".join([about.get("License-Expression") or "", (about.get("License") or "")[:80], *classifiers]))


def _brought_along(checkout: Path) -> dict[str, PackageMetadata]:
    """Every installed package that ours needs, with any extra, directly or not."""
    found: dict[str, PackageMetadata] = {}
    waiting = list(_asked_for(checkout))
    while waiting:
        name = waiting.pop()
        if name in found or name == _OURS:
            continue
        try:
            found[name] = metadata(name)
            needs = requires(name) or []
        except PackageNotFoundError:  # of another platform, or of an extra that nobody asked for
            continue
        waiting += [_plain(re.split(r"[^\w.-]", need, maxsplit=1)[0]) for need in needs if "extra ==" not in need]
    return found


def test_every_dependency_has_its_row(checkout: Path) -> None:
    asked = _asked_for(checkout)
    assert {"numpy", "highdicom", "slicer-core", "ruff", "setuptools"} <= asked
    assert set(_rows(checkout)) == asked


def test_nothing_comes_along_under_a_licence_that_binds_others(checkout: Path) -> None:
    here = _brought_along(checkout)
    assert {"numpy", "sympy", "torch"} <= here.keys()
    wrong = {name: sorted(_told(about)) for name, about in here.items()
             if name not in _NAMED_EXCEPTIONS and not _told(about) & _PERMISSIVE and not name.startswith("nvidia-")
             and not name.startswith("cuda-")}  # fmt: skip
    assert wrong == {}


def test_every_weights_file_is_listed_with_its_licence(checkout: Path) -> None:
    text = (checkout / "docs" / "licences.md").read_text(encoding="utf-8")
    models = sorted((checkout / "SpinalCordSeg" / "Resources" / "Models").glob("*.safetensors"))
    assert models
    for path in models:
        card = load_card(path)
        assert f"| `{path.name}` ({card.name} {card.version}) | {card.licence} |" in text
