"""The plugin that turns skips into failures, tried on test files of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_SOME = """
import pytest

def test_runs(): pass

@pytest.mark.skip(reason="no moon tonight")
def test_skips(): pass

@pytest.mark.xfail(strict=True)
def test_known_fault(): assert 0

@pytest.mark.gpu
def test_gpu(): pass
"""
_NONE = "import pytest\npytest.skip('no data at all', allow_module_level=True)\n"


def _run(folder: Path, required: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_some.py").write_text(_SOME, encoding="utf-8")
    (folder / "test_none.py").write_text(_NONE, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n", encoding="utf-8")
    environment = os.environ | {
        "SPINALCORDSEG_REQUIRE_DATA": required,
        "PYTEST_ADDOPTS": "",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    environment |= {"PYTHONPATH": str(Path(__file__).parent), "CUDA_VISIBLE_DEVICES": ""}
    options = ["-q", "-p", "no_silent_skips", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(folder)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_skip_is_a_failure_where_data_is_required(tmp_path: Path) -> None:
    run = _run(tmp_path, "1")
    assert run.returncode == 1
    assert "1 passed, 1 deselected, 1 xfailed, 2 errors" in run.stdout
    assert "no moon tonight" in run.stdout
    assert "no data at all" in run.stdout


def test_skip_is_a_skip_elsewhere(tmp_path: Path) -> None:
    run = _run(tmp_path, "")
    assert run.returncode == 0
    assert "1 passed, 2 skipped, 1 deselected, 1 xfailed" in run.stdout
