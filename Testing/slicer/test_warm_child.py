"""A child that waits for Apply: it does one run as a new one would, and is gone in every case in which it should be."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
import slicer
from threshold_model import write_threshold_model

from SpinalCordSegLib import worker as child_module
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.worker import LEAST_FREE_BYTES, WAITED_IN_VAIN
from SpinalCordSegWidgets.process import ChildProcess

pytestmark = pytest.mark.skipif(os.name == "nt", reason="process groups are asked for as on Linux and macOS here")

_TESTS = Path(__file__).parent
_PACKAGES = (_TESTS.parents[1] / "SpinalCordSeg", _TESTS)


@pytest.fixture
def warm(qt_application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With plenty of memory."""
    from SpinalCordSegWidgets import jobs

    monkeypatch.setattr(jobs, "available_bytes", lambda: 2 * LEAST_FREE_BYTES)
    warm = jobs.WarmChild(tmp_path / "temp")
    yield warm
    warm.end()


def _segment(tmp_path: Path, model: Path, child: ChildProcess):
    """A finished run, of three slices; to be closed."""
    from SpinalCordSegWidgets.jobs import segment_run

    image = make_phantom(PhantomConfig(shape=(64, 64, 3))).image
    run = segment_run(image, tmp_path / "temp", model=model, device="cpu", waiting=child)
    _ended(run)
    assert run.failure is None and run.result is not None
    return run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_threshold_model(tmp_path / "threshold.safetensors")


def _ended(child, timeout_s: float = 30.0) -> None:
    end = time.monotonic() + timeout_s
    while child.running and time.monotonic() < end:
        child.poll()
        time.sleep(0.02)
    assert not child.running


def _taken(warm, model: Path, timeout_s: float = 20.0) -> ChildProcess | None:
    """As a person takes it, who presses Apply some time after the run before."""
    end = time.monotonic() + timeout_s
    while (child := warm.take(model, "cpu")) is None and warm.waiting and time.monotonic() < end:
        time.sleep(0.02)
    return child


def test_a_waiting_child_runs_in_the_place_of_a_new_one_and_once(warm, tmp_path: Path, model: Path) -> None:
    warm.prepare(model, "cpu")
    assert warm.take(model, "cuda") is None  # another device: not this one
    child = _taken(warm, model)
    assert child is not None and not warm.waiting and warm.take(model, "cpu") is None
    run = _segment(tmp_path, model, child)
    assert run._child is child and child.exit_code == 0
    run.close()
    assert list((tmp_path / "temp").iterdir()) == []


def test_no_child_waits_where_memory_is_short_or_not_known(warm, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from SpinalCordSegWidgets import jobs

    for free in (LEAST_FREE_BYTES - 1, None):
        monkeypatch.setattr(jobs, "available_bytes", lambda free=free: free)
        warm.prepare(model, "cpu")
        assert not warm.waiting


@pytest.mark.parametrize("what", ["close the scene", "leave the module", "quit"])
def test_it_goes_with_the_scene_the_module_and_slicer(warm, panel, model: Path, what: str) -> None:
    own = panel.panel.warm
    own.prepare(model, "cpu")
    assert own.waiting
    if what == "close the scene":
        slicer.mrmlScene.Clear(0)
    elif what == "leave the module":
        panel.exit()
    else:
        panel.panel.end_children()  # connected to Slicer's aboutToQuit()
    assert not own.waiting


def test_a_child_that_no_order_would_reach_is_not_taken(warm, tmp_path: Path, model: Path) -> None:
    """A launcher that keeps standard input to itself: the order would vanish, and Apply wait for minutes."""
    launcher = tmp_path / "launcher"
    launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@" < /dev/null\n', encoding="utf-8")
    launcher.chmod(0o755)
    warm._python = str(launcher)
    warm.prepare(model, "cpu")
    assert warm.waiting
    assert _taken(warm, model, timeout_s=3.0) is None


def test_it_ends_at_once_when_it_is_told_to(warm, model: Path) -> None:
    warm.prepare(model, "cpu")
    child = warm._child
    assert child is not None and warm.waiting
    started = time.monotonic()
    warm.end()
    warm.end()
    assert time.monotonic() - started < 2.0 and not warm.waiting and child.exit_code is not None


def test_an_order_is_carried_out_in_its_folder(tmp_path: Path) -> None:
    child = ChildProcess("obedient_cli", [], packages=_PACKAGES, folder=tmp_path, waiting=True)
    child.start()
    (tmp_path / "José ü").mkdir()
    assert child.order(["environment=SPINALCORDSEG_SCRATCH", "exit=3"], tmp_path / "José ü")
    events: list[dict] = []
    end = time.monotonic() + 20
    while child.running and time.monotonic() < end:
        events += child.poll()
        time.sleep(0.01)
    (said,) = events
    assert child.exit_code == 3 and said["value"] == str(tmp_path) and Path(said["cwd"]) == tmp_path / "José ü"
    assert not child.order([], tmp_path)


@pytest.mark.parametrize(("wait_s", "free"), [(0.0, None), (60.0, LEAST_FREE_BYTES // 4)], ids=["time", "memory"])
def test_it_gives_up_after_a_while_and_when_memory_grows_short(
    wait_s: float, free: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "_LONGEST_WAIT_S", wait_s)
    monkeypatch.setattr(child_module, "_LOOK_S", 0.01)
    monkeypatch.setattr(child_module, "available_bytes", lambda: free)
    assert child_module._wait(["obedient_cli"], child_module._Orders()) == WAITED_IN_VAIN


def test_a_run_whose_child_gives_up_at_that_moment_starts_another(warm, tmp_path: Path, model: Path) -> None:
    child = ChildProcess("obedient_cli", [], packages=_PACKAGES, folder=tmp_path, waiting=True)
    child.start()
    child.order([f"exit={WAITED_IN_VAIN}"], tmp_path)  # what follows it does not hear
    run = _segment(tmp_path, model, child)
    assert run._child is not child
    run.close()
