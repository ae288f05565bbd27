"""The model is made ready in a thread while the image is read, and that thread never outlives the command."""

from __future__ import annotations

import importlib
import time
from pathlib import Path

import pytest

from SpinalCordSegLib.errors import MissingPackageError
from SpinalCordSegLib.model.ready_model import ModelInUse


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What was made ready, after a while."""
    made: list[tuple[str, str]] = []

    def get_ready(_model: ModelInUse, device: str, engine: str) -> None:
        time.sleep(0.1)
        made.append((device, engine))

    monkeypatch.setattr(ModelInUse, "get_ready", get_ready)
    return made


def test_the_block_runs_beside_and_waits_at_its_end(slow: list[tuple[str, str]]) -> None:
    with ModelInUse(Path("a.safetensors"), None).made_ready("cpu", "torch"):
        assert slow == []
    assert slow == [("cpu", "torch")]


def test_an_input_that_is_not_there_leaves_no_thread_behind(slow: list[tuple[str, str]]) -> None:
    """Else torch would be loaded in an interpreter that is closing, with a traceback below the error's line."""
    with pytest.raises(FileNotFoundError), ModelInUse(Path("a.safetensors"), None).made_ready("cpu", "torch"):
        raise FileNotFoundError("neck.nii.gz")
    assert slow == [("cpu", "torch")]


@pytest.mark.parametrize("error", [ModuleNotFoundError("No module named 'torch'"), OSError("libtorch_cpu.so: damaged")])
def test_a_missing_or_broken_torch_is_said_in_a_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_name: str) -> None:
        raise error

    monkeypatch.setattr(importlib, "import_module", refuse)
    model = ModelInUse(Path("a.safetensors"), None)
    with pytest.raises(MissingPackageError, match=r"PyTorch cannot be loaded \(.*\): install torch 2.4"):
        model.checkpoint()
    with model.made_ready("cpu", "torch"):  # the same in the thread is told there where it is needed
        pass
