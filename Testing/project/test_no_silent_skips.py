"""The plugin that turns skips into failures, tried on test files of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_SKIPS = """
import pytest

def test_runs(): pass

@pytest.mark.skip(reason="no moon tonight")
def test_skips(): pass

@pytest.mark.xfail(strict=True)
def test_known_fault(): assert 0
"""
_FOR_A_GPU = """
import pytest

def test_runs(): pass

@pytest.mark.gpu
def test_gpu(): pass
"""
_SKIPS_WHOLE_FILE = "import pytest\npytest.skip('no data', allow_module_level=True)\n"
_NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}


def _run(folder: Path, required: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | _NO_GPU | {"SPINALCORDSEG_REQUIRE_DATA": required, "PYTEST_ADDOPTS": ""}
    environment["PYTHONPATH"] = str(Path(__file__).parent)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n", encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no_silent_skips", "-p", "no:cacheprovider", str(folder)],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_skip_is_a_failure_where_data_is_required(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(_SKIPS, encoding="utf-8")
    run = _run(tmp_path, "1")
    assert run.returncode == 1
    assert "1 passed, 1 xfailed, 1 error" in run.stdout
    assert "no moon tonight" in run.stdout


def test_skip_of_a_whole_file_is_a_failure_where_data_is_required(tmp_path: Path) -> None:
    (tmp_path / "test_all.py").write_text(_SKIPS_WHOLE_FILE, encoding="utf-8")
    run = _run(tmp_path, "1")
    assert run.returncode != 0
    assert "no data" in run.stdout


@pytest.mark.parametrize("required", ["", "0"])
def test_skip_is_a_skip_elsewhere(tmp_path: Path, required: str) -> None:
    (tmp_path / "test_some.py").write_text(_SKIPS, encoding="utf-8")
    run = _run(tmp_path, required)
    assert run.returncode == 0
    assert "1 passed, 1 skipped, 1 xfailed" in run.stdout


def test_test_for_a_gpu_is_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(_FOR_A_GPU, encoding="utf-8")
    run = _run(tmp_path, "1")
    assert run.returncode == 0
    assert "1 passed, 1 deselected" in run.stdout
