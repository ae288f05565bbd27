"""A wheel holds both libraries and the models; version, licences and the entry of the catalogue agree with the tree."""

import json
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from SpinalCordSegLib.model.checkpoint import load_card
from SpinalCordSegLib.version import SOFTWARE_VERSION


@pytest.fixture(scope="module")
def wheel(checkout: Path, tracked: list[Path], tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built without the network from a copy of the tracked files that .dockerignore lets into a container."""
    copy, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    let_in = re.findall("^!(.+)$", (checkout / ".dockerignore").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for path in (path for path in tracked if path.parts[0] in let_in):
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(checkout / path, copy / path)
    command = [sys.executable, "-c", f"from setuptools.build_meta import build_wheel; build_wheel({str(target)!r})"]
    run = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return zipfile.ZipFile(next(target.glob("*.whl")))


def test_wheel_holds_every_module_and_model(wheel: zipfile.ZipFile, tracked: list[Path]) -> None:
    held, libraries = set(wheel.namelist()), (("SpinalCordSegLib",), ("SpinalCordSegTrainerLib",))
    modules = {"/".join(one.parts[1:]) for one in tracked if one.parts[1:2] in libraries and one.suffix == ".py"}
    models = {f"SpinalCordSegLib/Models/{one.name}" for one in tracked if one.suffix in (".safetensors", ".onnx")}
    assert len(modules) > 50 and len(models) > 4
    assert modules | models | {"SpinalCordSegLib/Norms/norms.json", "SpinalCordSegLib/Report/page.html"} <= held
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


# docs/licences.md holds a row for every dependency, and every weights file with its licence.


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


# What the extensions catalogue asks for, as far as it can be checked without the network.


_BRANCH = "https://raw.githubusercontent.com/SpinalCordSeg/SlicerSpinalCordSeg/main/"


def _field(checkout: Path, name: str) -> str:
    text = (checkout / "CMakeLists.txt").read_text(encoding="utf-8")
    found = re.search(rf'set\(EXTENSION_{name} "([^"]*)"\)', text)
    assert found is not None, f"no EXTENSION_{name}"
    return found.group(1)


def test_pytorch_comes_through_its_extension(checkout: Path) -> None:
    entry = json.loads((checkout / "Resources" / "SpinalCordSeg.json").read_text(encoding="utf-8"))
    assert _field(checkout, "DEPENDS").split() == ["PyTorch"] == entry["build_dependencies"]
    assert entry["scm_url"] == _field(checkout, "HOMEPAGE") and {"$schema", "category", "tier"} <= entry.keys()
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
