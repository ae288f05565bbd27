"""Qt beside the scene: everything a module's panel needs to open."""

import time
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtTest

from slicer_standins import ctk_widgets, mrml_widgets, scripted, segment_editor
from slicer_standins.pythonqt import qt

__all__ = ["click", "ctk_widgets", "finish", "mrml_widgets", "picture", "segment_editor", "start", "wait_until"]


def start(app: Any) -> Any:
    """The process's one QApplication, and the modules that Slicer has beside its core."""
    application = qt.QApplication.instance() or qt.QApplication(["slicer-stand-in"])
    application.setQuitOnLastWindowClosed(False)
    QtCore.qInstallMessageHandler(
        lambda *_: None
    )  # the loader cannot make the .ui's Slicer connections; ui_loader does
    qt.QCoreApplication.setOrganizationName("SpinalCordSegTest")
    qt.QCoreApplication.setApplicationName("SlicerStandIn")
    qt.QSettings.setDefaultFormat(qt.QSettings.IniFormat)
    qt.QSettings.setPath(qt.QSettings.IniFormat, qt.QSettings.UserScope, app.temporaryPath)
    app.processEvents = lambda *_: application.processEvents()
    scripted.publish()
    return application


def click(widget: Any, position: tuple[int, int] | None = None) -> None:
    """A press and release of the left mouse button; refused where a person could not do it."""
    if not widget.isVisibleTo(widget.window()) or not widget.isEnabled():
        raise AssertionError(f"{widget.objectName} cannot be clicked: hidden or greyed")
    where = QtCore.QPoint(*position) if position else widget.rect.center()
    QtTest.QTest.mouseClick(widget, qt.Qt.LeftButton, qt.Qt.NoModifier, where)
    qt.QApplication.processEvents()


def wait_until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Let Qt's event loop run until it is so; far longer than ``timeout_s`` where the machine has other work."""
    end = time.monotonic() + 10 * timeout_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited in vain")
        qt.QApplication.processEvents(qt.QEventLoop.AllEvents, 20)
        time.sleep(0.005)


def finish(panel: Any) -> None:
    """Let the run of a panel (Panel or TrainerPanel) end as it should. Minutes, on a busy machine."""
    wait_until(lambda: not panel.control.running, 300)
    assert panel.control.failure is None, panel.control.failure


def picture(widget: Any, path: Any) -> None:
    """Save what the user sees as PNG."""
    qt.QApplication.processEvents()
    widget.parent.adjustSize()
    for _layout in range(2):  # the second time with what the first one showed, such as figures
        widget.parent.resize(350, widget.parent.layout().totalHeightForWidth(350))
        qt.QApplication.processEvents()
    qt.QApplication.processEvents()
    if not widget.parent.grab().save(str(path)):
        raise AssertionError(f"{path} was not written")
