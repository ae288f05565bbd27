"""What the extensions catalogue and its reviewers ask for, as far as it can be checked without the network."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import pytest

_BRANCH = "https://raw.githubusercontent.com/SpinalCordSeg/SlicerSpinalCordSeg/main/"


def _field(checkout: Path, name: str) -> str:
    text = (checkout / "CMakeLists.txt").read_text(encoding="utf-8")
    found = re.search(rf'set\(EXTENSION_{name} "([^"]*)"\)', text)
    assert found is not None, f"no EXTENSION_{name}"
    return found.group(1)


@pytest.fixture
def entry(checkout: Path) -> dict:
    return json.loads((checkout / "Resources" / "SpinalCordSeg.json").read_text(encoding="utf-8"))


def test_entry_has_what_its_schema_requires(entry: dict) -> None:
    schema = entry["$schema"]
    assert schema.startswith("https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/") and schema.endswith("#")
    assert "extension-catalog-entry-schema" in schema
    assert isinstance(entry["category"], str) and entry["category"]
    assert entry["scm_url"].startswith("https://github.com/")
    assert entry["tier"] in (1, 3, 5) and isinstance(entry["build_dependencies"], list)
    assert entry.get("scm_type", "git") == "git" and entry["build_subdirectory"] == "."
    assert set(entry) <= {"$schema", "build_dependencies", "build_subdirectory", "category", "scm_revision", "scm_type",
                          "scm_url", "tier"}  # fmt: skip


def test_pytorch_comes_through_its_extension(checkout: Path) -> None:
    assert _field(checkout, "DEPENDS").split() == ["PyTorch"]
    for folder, name in (("SpinalCordSegTrainer", "pytorch.py"), ("SpinalCordSeg", "install.py")):
        text = (checkout / folder / f"{folder}Widgets" / name).read_text(encoding="utf-8")
        assert ("PyTorchUtils" in text) == (name == "pytorch.py") and not re.search(r"pip_install\([^)]*torch", text)


@pytest.mark.parametrize("name", ["ICONURL", "SCREENSHOTURLS"])
def test_pictures_are_pngs_of_this_repository(checkout: Path, name: str) -> None:
    urls = _field(checkout, name).split()
    assert urls
    for url in urls:
        width, height = _png_size(checkout / url.removeprefix(_BRANCH))
        assert (width, height) == (128, 128) if name == "ICONURL" else width >= 350


def _png_size(path: Path) -> tuple[int, int]:
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n", path
    return struct.unpack(">II", content[16:24])


def test_modules_have_their_icon(checkout: Path) -> None:
    for module in ("SpinalCordSeg", "SpinalCordSegTrainer"):
        assert _png_size(checkout / module / "Resources" / "Icons" / f"{module}.png")[0] >= 64
