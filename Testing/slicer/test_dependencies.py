"""What segmenting and training need, absent, old, unfit or broken: each is recognised and repaired, only on a click."""

import hashlib
import re
import subprocess
import sys
import types
from importlib.metadata import version
from pathlib import Path

import pytest


@pytest.fixture
def dependencies(qt_application):
    from SpinalCordSegWidgets import install

    return install


@pytest.fixture
def pytorch(qt_application):
    from SpinalCordSegTrainerWidgets import pytorch

    return pytorch


_REST = {"safetensors": "0.5", "matplotlib": "3.9", "jinja2": "3.1", "highdicom": "0.27"}


@pytest.mark.parametrize(
    ("engine", "probe", "words"),
    [
        (None, {}, "not installed"),
        ("1.22", {"state": "broken", "detail": "onnxruntime.so: cannot open"}, "onnxruntime.so"),
        ("1.22", {"state": "absent", "detail": "flatbuffers"}, "flatbuffers is missing"),
        ("1.22", {"state": "absent", "detail": "onnxruntime"}, ""),  # asked before it was installed
        ("1.22", {}, ""),
    ],
)
def test_segmenting_needs_onnx_runtime_and_no_torch(dependencies, engine, probe, words):
    found = dependencies.check_dependencies(probe, (_REST | {"onnxruntime": engine}).get)
    assert words in found.message
    assert found.can_run == (not found.message) == (not found.action) == (not found.packages)
    assert found.can_run or found.packages[0].startswith("onnxruntime")


@pytest.mark.parametrize(
    ("torch", "safetensors", "platform", "probe", "named"),
    [
        (None, "0.5", "linux", {}, "not installed"),
        ("", "0.5", "linux", {}, "does not fit"),
        ("2.3.1+cu118", "0.5", "linux", {}, "2.3.1+cu118"),
        ("2.13.0", "0.5", "win32", {}, "<2.13"),
        ("2.13.0", "0.5", "linux", {}, ""),
        ("2.12.9", "0.5", "win32", {}, ""),
        ("2.4.0+cpu", "0.5", "darwin", {}, ""),
        ("2.6.0", None, "linux", {}, "Safetensors"),
        ("2.6.0", "0.5", "linux", {"state": "absent", "detail": "typing_extensions"}, "typing_extensions"),
        ("2.6.0", "0.5", "linux", {"state": "broken", "detail": "libcudnn.so.9"}, "libcudnn.so.9"),
    ],
)
def test_training_needs_a_fit_torch(pytorch, torch, safetensors, platform, probe, named):
    versions = _REST | {"torch": torch, "safetensors": safetensors, "onnxruntime": "1.22"}
    found = pytorch.check_training(probe, versions.get, platform)
    assert named in found.message and found.can_run == (not named) == (not found.action)


@pytest.fixture
def extension(monkeypatch):
    """Stands for the PyTorch extension and what it asks; ``done`` tells what happened, in order."""
    import slicer.util

    made = types.ModuleType("PyTorchUtils")
    made.done, made.agreed, made.failing = [], True, ""

    def step(name: str):
        made.done.append(name)
        if name == made.failing:  # as pip's failures arrive, in Slicer's every version
            raise subprocess.CalledProcessError(1, ["pip", name])
        return object()

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation, torchVersionRequirement):
            assert torchVersionRequirement.startswith(">=2.4")
            return step("ask and install" if askConfirmation else "install")

        def uninstallTorch(self):
            step("uninstall")

    def confirm(question: str) -> bool:
        made.done.append("ask")
        assert "3 GB" in question and "removed" in question
        return made.agreed

    made.PyTorchUtilsLogic = PyTorchUtilsLogic
    monkeypatch.setitem(sys.modules, "PyTorchUtils", made)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", confirm)
    return made


@pytest.mark.parametrize(
    ("replaces", "agreed", "calls", "said"),
    [
        (False, True, ["ask and install"], "PyTorch is installed."),
        (True, True, ["ask", "uninstall", "install"], "PyTorch is replaced"),
        (True, False, ["ask"], "Nothing was changed."),
    ],
)
def test_repair_asks_once_and_goes_through_the_extension(pytorch, extension, restarts, replaces, agreed, calls, said):
    extension.agreed = agreed
    assert pytorch.repair(pytorch.Dependencies(replaces=replaces)).startswith(said)
    assert extension.done == calls and restarts.asked == ["restart"] * (replaces and agreed)


@pytest.mark.parametrize("step", ["uninstall", "install"])
def test_a_pytorch_that_cannot_be_installed_is_told(pytorch, extension, step):
    extension.failing = step
    assert "was not installed" in pytorch.repair(pytorch.Dependencies(replaces=True))
    assert extension.done[-1] == step


@pytest.fixture
def packaging(monkeypatch):
    """Stands for Slicer's package installer; ``asked`` tells for what, ``error`` is raised where one is given."""
    import slicer.util

    made = types.ModuleType("slicer.packaging")
    made.asked, made.first, made.error = [], [], None

    def pip_install(requirements, constraints, no_deps_requirements, requester):
        made.asked.append((requirements, constraints.read_text(encoding="utf-8"), requester))
        made.first.append(no_deps_requirements)
        if made.error is not None:
            raise made.error

    made.pip_install = pip_install
    monkeypatch.setitem(sys.modules, "slicer.packaging", made)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda question: "50 MB" in question)
    return made


@pytest.fixture
def lacking(dependencies):
    return dependencies.check_dependencies(None, {}.get)


def test_onnx_runtime_comes_through_slicers_installer(dependencies, lacking, packaging):
    assert "Installed" in dependencies.install(lacking.packages)
    asked, constraints, requester = packaging.asked[0]
    names = [re.split("[<>=]", one)[0] for one in asked]
    assert names == ["onnxruntime", "safetensors", "matplotlib", "Jinja2", "highdicom"] and requester == "SpinalCordSeg"
    assert "numpy==" in constraints and "torch==" in constraints and "+" not in constraints
    assert packaging.first == [None]


def test_what_is_there_but_broken_is_installed_over_itself(dependencies, packaging, restarts):
    found = dependencies.check_dependencies({"state": "broken", "detail": "x.so"}, (_REST | {"onnxruntime": "1"}).get)
    assert "Installed" in dependencies.install(found.packages, again=found.replaces)
    assert packaging.first == [["--force-reinstall", *found.packages]] and restarts.asked == ["restart"]


def test_a_hospital_without_internet_installs_from_a_folder_of_wheels(panel, packaging, tmp_path, monkeypatch):
    monkeypatch.setattr("slicer.util.confirmOkCancelDisplay", None)  # choosing the folder is the answer
    monkeypatch.setattr("qt.QFileDialog.getExistingDirectory", lambda *_: str(tmp_path))
    menu = panel.ui.packagesButton.menu()
    menu.aboutToShow.emit()
    titles = [action.text for action in menu.actions()]
    assert titles[0] == f"onnxruntime {version('onnxruntime')}" and titles[-1] == "Install from a folder of wheels…"
    menu.actions()[-1].trigger()
    ((asked, _constraints, _requester),) = packaging.asked
    assert asked[:3] == ["--no-index", "--find-links", str(tmp_path)] and len(asked) == 8


@pytest.fixture
def restarts(monkeypatch):
    """Stands for Slicer's restart; ``asked``: what happened, in order."""
    import slicer.util

    made = types.SimpleNamespace(asked=[])
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda _question: True)
    monkeypatch.setattr(slicer.util, "restart", lambda: made.asked.append("restart"))
    monkeypatch.setattr(slicer.util, "selectModule", made.asked.append)
    return made


def test_after_a_restart_the_user_is_where_it_was_asked_for(dependencies, restarts):
    dependencies.offer_restart("SpinalCordSegTrainer")
    dependencies.resume()
    dependencies.resume()  # of an ordinary start
    assert restarts.asked == ["restart", "SpinalCordSegTrainer"]


def test_a_package_that_pip_cannot_install(dependencies, lacking, packaging):
    packaging.error = subprocess.CalledProcessError(1, ["pip"])
    assert "Not installed: onnxruntime" in dependencies.install(lacking.packages)


def test_nothing_is_installed_unasked(dependencies, lacking, packaging, monkeypatch):
    monkeypatch.setattr("slicer.util.confirmOkCancelDisplay", lambda _question: False)
    assert "Nothing" in dependencies.install(lacking.packages) and packaging.asked == []


# Sample data: registered by address and checksum when Slicer has started.


@pytest.fixture
def sample_data(qt_application):
    from SpinalCordSegWidgets import sample_data

    return sample_data


def test_both_are_registered(monkeypatch, panel, sample_data):
    import SpinalCordSeg

    registered: list[dict] = []
    module = types.ModuleType("SampleData")
    module.SampleDataLogic = types.SimpleNamespace(
        registerCustomSampleDataSource=lambda **source: registered.append(source)
    )
    monkeypatch.setitem(sys.modules, "SampleData", module)
    SpinalCordSeg.onStartupCompleted()
    neck, simulated = registered
    assert neck["uris"].startswith("https://raw.githubusercontent.com/") and neck["uris"].endswith(".nii.gz")
    assert neck["checksums"] == f"SHA256:{sample_data.NECK_SHA256}" and len(sample_data.NECK_SHA256) == 64
    assert neck["category"] == simulated["category"] and "uris" not in simulated
    monkeypatch.setitem(sys.modules, "SampleData", None)
    SpinalCordSeg.onStartupCompleted()
    assert len(registered) == 2


def test_checksum_is_that_of_the_public_file(shared_data: Path, sample_data):
    content = (shared_data / "t1w_masked" / "sct-testing_T1w.nii.gz").read_bytes()
    assert hashlib.sha256(content).hexdigest() == sample_data.NECK_SHA256
