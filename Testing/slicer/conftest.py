"""One Slicer application for the whole test process, and a clean scene for every test.

slicer-core and PySide6 (extra "slicer-test") are installed by `make test`.
"""

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_CHECKOUT / "SpinalCordSeg")]  # as Slicer does with a module's folder
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # children share the machine with other tests

_MISSING = [name for name in ("slicer_core", "PySide6") if importlib.util.find_spec(name) is None]
# The one file that is left tells what is missing: a skip, and a failure where nothing may be missing.
collect_ignore = [path.name for path in Path(__file__).parent.glob("test_*.py")] if _MISSING else []
if _MISSING:
    collect_ignore.remove("test_slicer_is_here.py")
else:
    from slicer_standins import desktop, scripted  # ``qt``, ``slicer.i18n``: test files import the panel's files

    scripted.publish()


@pytest.fixture(scope="session")
def slicer_application():
    """The process-wide stand-in application and its collected VTK messages."""
    from slicer_standins import application

    return application.start()


@pytest.fixture
def scene(slicer_application):
    """The MRML scene, empty. Fails the test when C++ reported an error meanwhile."""
    import slicer.util

    app, messages = slicer_application
    app.mrmlScene().Clear(0)
    messages.clear()
    yield app.mrmlScene()
    errors = list(messages.errors)
    app.mrmlScene().Clear(0)
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):  # singletons stay in a cleared scene
        app.mrmlScene().RemoveNode(node)
    assert not errors, "Slicer's C++ reported errors:\n" + "\n".join(errors)


@pytest.fixture(scope="session")
def qt_application(slicer_application):
    """Qt's application and Slicer's module classes in their stand-in form; settings go to a temporary place."""
    return desktop.start(slicer_application[0])


@pytest.fixture
def slot_errors(qt_application):
    """Exceptions in slots are only printed by Qt: here they fail the test."""
    errors: list[BaseException] = []
    former, sys.excepthook = sys.excepthook, lambda _kind, error, _trace: errors.append(error)
    yield errors
    sys.excepthook = former
    if errors:
        raise errors[0]


@contextmanager
def _opened(module: str) -> Iterator[Any]:
    """A module's widget, entered, 350 px wide; cleaned up as when Slicer ends."""
    from slicer_standins import scripted

    widget = scripted.open_module(str(_CHECKOUT / module / f"{module}.py"))
    widget.parent.resize(350, 900)
    widget.parent.show()
    scripted.enter(widget)
    yield widget
    scripted.close_module(widget)


@pytest.fixture
def real_probe():
    """Ask for it where the child process that looks for devices shall run: it loads torch, for seconds."""


@pytest.fixture(autouse=True)
def _no_probe(request, monkeypatch):
    if not _MISSING and "real_probe" not in request.fixturenames:
        from SpinalCordSegWidgets.install import DeviceProbe

        monkeypatch.setattr(DeviceProbe, "ask", lambda _self: None)


@pytest.fixture
def panel(scene, qt_application, slot_errors):
    """The SpinalCordSeg module's widget."""
    with _opened("SpinalCordSeg") as widget:
        yield widget


@pytest.fixture
def models(tmp_path, monkeypatch, slicer_application) -> Path:
    """The folder of the user's models, with a threshold model; Slicer's temporary folder lies beside it. Everything is
    under a name that no program may stumble over."""
    from threshold_model import write_threshold_model

    folder = tmp_path / "José Pérez" / "ü 1" / "models"
    write_threshold_model(folder / "threshold.safetensors")
    monkeypatch.setattr(slicer_application[0], "temporaryPath", str(folder.parent / "temp"))
    monkeypatch.setenv("SPINALCORDSEG_MODELS", str(folder))
    return folder


@pytest.fixture
def trainer(scene, qt_application, slot_errors):
    """The training module's widget."""
    with _opened("SpinalCordSegTrainer") as widget:
        yield widget
