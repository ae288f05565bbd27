"""A wheel holds both libraries and the models, and the words about version and licence agree everywhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from SpinalCordSegLib.version import SOFTWARE_VERSION


@pytest.fixture(scope="module")
def wheel(checkout: Path, tracked: list[Path], tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built without the network from a copy of the tracked files."""
    copy, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for path in tracked:
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(checkout / path, copy / path)
    command = [sys.executable, "-c", f"from setuptools.build_meta import build_wheel; build_wheel({str(target)!r})"]
    run = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return zipfile.ZipFile(next(target.glob("*.whl")))


def test_wheel_holds_every_module_and_model(wheel: zipfile.ZipFile, tracked: list[Path]) -> None:
    held = set(wheel.namelist())
    for path in tracked:
        if (
            path.suffix == ".py"
            and len(path.parts) > 2
            and path.parts[1] in ("SpinalCordSegLib", "SpinalCordSegTrainerLib")
        ):
            assert "/".join(path.parts[1:]) in held
        if path.suffix in (".safetensors", ".onnx"):
            assert f"SpinalCordSegLib/Models/{path.name}" in held
    assert {"SpinalCordSegLib/Norms/norms.json", "SpinalCordSegLib/Report/page.html"} <= held
    assert not [name for name in held if name.startswith(("Testing", "Resources"))]


def test_wheel_has_the_commands_and_the_licence(wheel: zipfile.ZipFile) -> None:
    about = f"spinalcordseg-{SOFTWARE_VERSION}.dist-info"
    commands = wheel.read(f"{about}/entry_points.txt").decode()
    assert "spinalcordseg = SpinalCordSegLib.cli:main" in commands
    assert "spinalcordseg-train = SpinalCordSegTrainerLib.cli:main" in commands
    metadata = wheel.read(f"{about}/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert {f"{about}/licenses/LICENSE", f"{about}/licenses/NOTICE"} <= set(wheel.namelist())


def test_version_is_the_same_everywhere(checkout: Path) -> None:
    citation = (checkout / "CITATION.cff").read_text(encoding="utf-8")
    changelog = (checkout / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", citation, flags=re.MULTILINE) == [SOFTWARE_VERSION]
    assert re.findall(r"^## (\S+)", changelog, flags=re.MULTILINE)[0] == SOFTWARE_VERSION
