"""PyTorch absent, old, unfit for Windows or broken: each has its own words and its own repair, only on a click."""

from __future__ import annotations

import sys
import types

import pytest


@pytest.fixture
def dependencies(qt_application):
    from SpinalCordSegWidgets import dependencies

    return dependencies


def _check(dependencies, torch, *, safetensors="0.5.0", platform="linux", probe=None):
    versions = {"torch": torch, "safetensors": safetensors}
    return dependencies.check_dependencies(probe, versions.get, platform)


@pytest.mark.parametrize(
    ("torch", "platform", "state", "words"),
    [
        (None, "linux", "absent", "not installed"),
        ("", "linux", "broken", "record is damaged"),
        ("2.3.1+cu118", "linux", "old", "2.3.1+cu118 is too old"),
        ("2.13.0", "win32", "too_new", "Windows"),
        ("2.13.0", "linux", "ready", ""),
        ("2.12.9", "win32", "ready", ""),
        ("2.4.0+cpu", "darwin", "ready", ""),
    ],
)
def test_each_state_has_its_words(dependencies, torch, platform, state, words):
    found = _check(dependencies, torch, platform=platform)
    assert found.state == state and words in found.message
    assert found.ready == (not found.message) == (not found.action)


def test_broken_torch_says_what_the_probe_met(dependencies):
    probe = {"state": "broken", "detail": "libcudnn.so.9: cannot open shared object file"}
    found = _check(dependencies, "2.6.0", probe=probe)
    assert found.state == "broken" and "libcudnn.so.9" in found.message


def test_a_package_that_torch_needs_is_named(dependencies):
    found = _check(dependencies, "2.6.0", probe={"state": "absent", "detail": "typing_extensions"})
    assert found.state == "broken" and "typing_extensions is missing" in found.message
    assert _check(dependencies, "2.6.0", probe={"state": "absent", "detail": "safetensors"}).ready


def test_safetensors_missing(dependencies):
    found = _check(dependencies, "2.6.0", safetensors=None)
    assert found.state == "no_safetensors" and "0.5 MB" in found.message


def test_installed_versions_are_read_without_importing(dependencies):
    before = set(sys.modules)
    assert dependencies.installed_version("numpy")
    assert dependencies.installed_version("no_such_package_of_ours") is None
    assert "torch" not in set(sys.modules) - before


def test_without_the_extension_the_user_is_told_where_it_is(dependencies):
    said = dependencies.repair(dependencies.Dependencies("absent"))
    assert "Extensions Manager" in said


@pytest.mark.parametrize(("state", "calls"), [("absent", ["install"]), ("old", ["uninstall", "install"])])
def test_repair_goes_through_the_pytorch_extension(dependencies, monkeypatch, state, calls):
    done: list[str] = []
    extension = types.ModuleType("PyTorchUtils")

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation, torchVersionRequirement):
            assert askConfirmation and torchVersionRequirement.startswith(">=2.4")
            done.append("install")
            return object()

        def uninstallTorch(self):
            done.append("uninstall")

    extension.PyTorchUtilsLogic = PyTorchUtilsLogic
    monkeypatch.setitem(sys.modules, "PyTorchUtils", extension)
    assert "PyTorch is" in dependencies.repair(dependencies.Dependencies(state))
    assert done == calls


def test_windows_is_asked_for_a_version_that_installs(dependencies):
    assert dependencies.torch_requirement("win32") == ">=2.4,<2.13"
    assert dependencies.torch_requirement("linux") == ">=2.4"


def test_safetensors_comes_through_slicers_installer(dependencies, monkeypatch):
    import slicer.util

    asked: list[tuple[list[str], str, str]] = []

    def pip_ensure(requirements, constraints, prompt_install, requester):
        assert not prompt_install, "the user was asked already, with size and purpose"
        asked.append(([one.name for one in requirements], constraints.read_text(encoding="utf-8"), requester))

    packaging = types.ModuleType("slicer.packaging")
    packaging.pip_ensure = pip_ensure
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda _question: True, raising=False)
    assert "Installed" in dependencies.repair(dependencies.Dependencies("no_safetensors"))
    names, constraints, requester = asked[0]
    assert (names, requester) == (["safetensors"], "SpinalCordSeg")
    assert "numpy==" in constraints and "torch==" in constraints and "+" not in constraints


def test_a_slicer_without_its_packaging_module_asks_first(dependencies, monkeypatch):
    import slicer.util

    installed: list[list[str]] = []
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    monkeypatch.setattr(slicer.util, "pip_install", installed.append)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda _question: False)
    assert "Nothing" in dependencies.repair(dependencies.Dependencies("no_safetensors")) and installed == []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda question: "0.5 MB" in question)
    dependencies.repair(dependencies.Dependencies("no_safetensors"))
    assert installed[0][:2] == ["safetensors>=0.4.3,<1", "--constraint"]
