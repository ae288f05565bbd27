"""The choice of the device: tried before it is trusted, and never silently another than the one named."""

from __future__ import annotations

import pytest
import torch

from SpinalCordSegLib import inference as device_module
from SpinalCordSegLib.errors import DeviceError
from SpinalCordSegLib.inference import choose_device, device_name


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict:
    """A machine by hand: which devices are present, and how each fails its trial."""
    state: dict = {"present": set(), "failures": {}}
    monkeypatch.setattr(device_module, "_present", lambda name: name in state["present"])
    monkeypatch.setattr(device_module, "_trial_failure", lambda name: state["failures"].get(name, ""))
    return state


def test_cpu_is_always_there() -> None:
    assert choose_device("cpu") == (torch.device("cpu"), ())
    assert device_name(torch.device("cpu")) == "cpu"


@pytest.mark.parametrize(("present", "chosen"), [(set(), "cpu"), ({"mps"}, "mps"), ({"mps", "cuda"}, "cuda")])
def test_auto_takes_the_best(machine: dict, present: set, chosen: str) -> None:
    machine["present"] = present
    assert choose_device("auto") == (torch.device(chosen), ())


def test_auto_says_why_it_left_a_gpu(machine: dict) -> None:
    machine["present"], machine["failures"] = {"cuda"}, {"cuda": "no kernel image is available"}
    device, notes = choose_device("auto")
    assert device == torch.device("cpu")
    assert len(notes) == 1 and "no kernel image" in notes[0]


def test_a_named_device_is_that_or_an_error(machine: dict) -> None:
    with pytest.raises(DeviceError, match="finds none"):
        choose_device("cuda")
    machine["present"], machine["failures"] = {"cuda"}, {"cuda": "no kernel image is available"}
    with pytest.raises(DeviceError, match="no kernel image"):
        choose_device("cuda")
    machine["failures"] = {}
    assert choose_device("cuda") == (torch.device("cuda"), ())


def test_unknown_name() -> None:
    with pytest.raises(DeviceError, match="auto, cpu, cuda, mps"):
        choose_device("tpu")


def test_the_trial_computes() -> None:
    assert device_module._trial_failure("cpu") == ""
    assert device_module._trial_failure("meta") != ""
