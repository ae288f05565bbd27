"""What CMake ships is what the tree holds, and an install of both modules in one folder works."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cmake_lists import MODULES, install, installed_files


@pytest.mark.parametrize("module", MODULES)
def test_what_is_installed_is_what_is_tracked(checkout: Path, tracked: list[Path], module: str) -> None:
    inside = [path.relative_to(module) for path in tracked if path.parts[0] == module]
    wanted = [
        path.as_posix()
        for path in inside
        if path.parts[0] == "Resources" or (path.suffix == ".py" and path.parts[0] != "Recipes")
    ]
    assert installed_files(checkout, module) == sorted(wanted)


@pytest.fixture(scope="session")
def installed(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both modules as Slicer installs them: every listed file, all in one folder."""
    folder = tmp_path_factory.mktemp("José Pérez") / "qt-scripted-modules"
    install(checkout, folder)
    return folder


def _run_installed(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module of the install: it shadows the packages of this checkout that the environment has installed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PYTHONPATH": str(folder), "PYTHONUTF8": "1", "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder.parent, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_command_line_runs_from_an_install(installed: Path) -> None:
    run = _run_installed(installed, "-m", "SpinalCordSegLib", "models")
    assert run.returncode == 0, run.stderr
    assert "cervical_t1w" in run.stdout and str(installed) in run.stdout, "the model is found beside the library"
    run = _run_installed(installed, "-m", "SpinalCordSegTrainerLib", "train", "--list-settings")
    assert run.returncode == 0 and "batch_size=15" in run.stdout, run.stderr
