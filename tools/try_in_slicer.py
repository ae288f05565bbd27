"""Ten minutes in a real 3D Slicer, for a person who has one: does the extension work there?

    Slicer --python-script tools/try_in_slicer.py

It works on simulated and public images in an empty scene, clicks through both panels, asks you what you see, and
writes ``SpinalCordSeg-report`` into your home folder: report.txt and pictures of the panel. Nothing is sent: read it,
then send the folder to the authors.
"""

from __future__ import annotations

import platform
import sys
import time
import traceback
import unittest
from collections.abc import Callable
from pathlib import Path

import qt
import slicer
import slicer.util

FOLDER = Path.home() / "SpinalCordSeg-report"
_RUN_S = 600
_QUESTIONS = (
    "Do the slice views show a bright outline on the spinal cord?",
    "Is there no text cut off in the panel, and no sideways scrolling?",
    "Paint one stroke with the Segment Editor in section Review and correct. Do volume and area change?",
    "Press Undo below it. Is the stroke gone?",
    "Press Show 3D. Does the 3D view show the cord?",
)


class Report:
    """``steps``: by name, "passed", "failed" or an answer, each with what was found."""

    def __init__(self) -> None:
        self.lines = [
            f"Slicer {slicer.app.applicationVersion} ({slicer.app.revision}), Qt {qt.qVersion()}",
            f"{platform.platform()}, Python {platform.python_version()}",
        ]
        self.failed = 0

    def step(self, name: str, work: Callable[[], object]) -> None:
        began = time.monotonic()
        try:
            found, state = work(), "passed"
        except Exception:  # noqa: BLE001  (every step is tried, whatever became of the one before)
            found, state = traceback.format_exc(), "FAILED"
            self.failed += 1
        self.lines.append(f"[{state}, {time.monotonic() - began:.1f} s] {name}: {'' if found is None else found}")
        slicer.app.processEvents()

    def write(self) -> Path:
        FOLDER.mkdir(parents=True, exist_ok=True)
        path = FOLDER / "report.txt"
        path.write_text("\n".join([*self.lines, f"failed: {self.failed}"]) + "\n", encoding="utf-8")
        return path


def _panel() -> object:
    slicer.util.selectModule("SpinalCordSeg")
    return slicer.modules.spinalcordseg.widgetRepresentation().self()


def _install() -> str:
    """The one click: what is missing is downloaded, and asked for by Slicer's own dialog."""
    from SpinalCordSegWidgets.install import install

    widget = _panel()
    found = widget.panel.segment.dependencies
    return install(found.packages) if found.packages else "all packages were there"


def _segment() -> str:
    from SpinalCordSegWidgets.sample_data import add_simulated_neck

    widget = _panel()
    (volume,) = add_simulated_neck()
    widget.ui.volumeSelector.setCurrentNode(volume)
    widget.ui.applyButton.click()
    end = time.monotonic() + _RUN_S
    while widget.panel.control.running and time.monotonic() < end:
        slicer.app.processEvents()
        time.sleep(0.02)
    assert not widget.panel.control.running, f"still running after {_RUN_S} s"
    assert widget.panel.control.failure is None, widget.panel.control.failure.report
    return f"{volume.GetDescription()}; found {widget.ui.volumeValue.text}"


def _download() -> str:
    from SampleData import SampleDataLogic

    logic = SampleDataLogic()
    (node,) = logic.downloadFromSource(logic.sourceForSampleName("Neck T1w"))
    return str(node.GetImageData().GetDimensions())


def _widths() -> str:
    """A picture of every section, and the least width of the panel."""
    widget, found = _panel(), []
    for section in widget.panel.sections:
        for other in widget.panel.sections:
            other.button.collapsed = other is not section
        slicer.app.processEvents()
        hint = widget.parent.minimumSizeHint  # a property in Slicer, a method in what stands for it
        found.append(f"{section.button.name} {(hint() if callable(hint) else hint).width()} px")
        widget.parent.grab().save(str(FOLDER / f"{section.button.name}.png"))
    widget.panel.review.button.collapsed = False
    return ", ".join(found)


def _own_tests(name: str) -> str:
    tests = unittest.defaultTestLoader.loadTestsFromTestCase(getattr(sys.modules[name], f"{name}Test"))
    result = tests.run(unittest.TestResult())
    assert result.wasSuccessful(), "\n".join(text for _test, text in result.failures + result.errors)
    return f"{result.testsRun} run, {len(result.skipped)} skipped"


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    report = Report()
    slicer.mrmlScene.Clear(0)
    report.step("packages", _install)
    report.step("segment the simulated neck", _segment)
    report.step("least widths", _widths)
    for question in _QUESTIONS:
        answer = slicer.util.confirmYesNoDisplay(f"{question}\n\nDo it first, then answer.")
        report.lines.append(f"[{'yes' if answer else 'NO'}] {question}")
    if slicer.util.confirmYesNoDisplay("Download the public sample “Neck T1w” (0.3 MB)?"):
        report.step("download Neck T1w", _download)
    for name in ("SpinalCordSeg", "SpinalCordSegTrainer"):
        report.step(f"own tests of {name}", lambda name=name: _own_tests(name))
    slicer.util.infoDisplay(f"Done. Please read and send this folder:\n{report.write().parent}")
    return report.failed


if __name__ == "__main__":
    main()
