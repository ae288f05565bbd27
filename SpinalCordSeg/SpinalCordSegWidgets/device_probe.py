"""What the devices are and how fast: asked in a child process, remembered until PyTorch or the model changes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import qt

from SpinalCordSegLib.command_line.scratch import ScratchFolder
from SpinalCordSegLib.errors import OutputError
from SpinalCordSegLib.version import SOFTWARE_VERSION
from SpinalCordSegWidgets.child_process import ChildProcess
from SpinalCordSegWidgets.dependencies import installed_version

_KEY = "SpinalCordSeg/Probe"
_PACKAGES = Path(__file__).resolve().parents[1]
_POLL_MS = 200


class DeviceProbe:
    """``answer``: of SpinalCordSegLib.probe; None until it is known. ``told`` is called when it has come."""

    def __init__(self, base: Path, told: Callable[[], None], python: str = "") -> None:
        self._base, self._told, self._python = base, told, python
        self._child: ChildProcess | None = None
        self._scratch: ScratchFolder | None = None
        self._question = ""
        self.answer: Mapping[str, Any] | None = None
        self._heard: Mapping[str, Any] | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self._poll)

    def ask(self, model: Path | None) -> None:
        """Look the answer up, or start asking; a question that is being answered is not asked again."""
        question = _question(model)
        if self._child is not None or (question == self._question and self.answer is not None):
            return
        self._question = question
        self.answer = _remembered(question)
        if self.answer is not None:
            self._told()
            return
        arguments = [] if model is None else ["--model", str(model)]
        try:
            self._scratch = ScratchFolder.create(self._base)
            child = ChildProcess(
                "SpinalCordSegLib.probe",
                arguments,
                packages=(_PACKAGES,),
                folder=self._scratch.path,
                python=self._python,
            )
            child.start()
        except (OutputError, OSError) as error:
            self.close()
            self.answer = {"state": "broken", "detail": str(error), "torch": "", "devices": []}
            self._told()
            return
        self._child, self._heard = child, None
        self._timer.start()

    def forget(self) -> None:
        """After something was installed."""
        self.close()
        self.answer, self._question = None, ""
        qt.QSettings().remove(_KEY)

    def close(self) -> None:
        self._timer.stop()
        if self._child is not None:
            self._child.end()
            self._child = None
        if self._scratch is not None:
            self._scratch.remove()
            self._scratch = None

    def _poll(self) -> None:
        child = self._child
        if child is None:
            return
        for event in child.poll():
            if event.get("event") == "probe":
                self._heard = event
        if child.running:
            return
        self.answer = self._heard
        if self.answer is None:
            last = (child.log.splitlines() or [f"exit code {child.exit_code}"])[-1]
            self.answer = {"state": "broken", "detail": last, "torch": "", "devices": []}
        elif self.answer.get("state") == "ready":
            qt.QSettings().setValue(_KEY, json.dumps({"question": self._question, "answer": dict(self.answer)}))
        self.close()
        self._told()


def _question(model: Path | None) -> str:
    """All that the answer depends on, as far as it can be seen without importing torch."""
    stamp = f"{model}:{model.stat().st_size}" if model is not None and model.is_file() else ""
    return f"{SOFTWARE_VERSION}|{installed_version('torch')}|{sys.executable}|{stamp}"


def _remembered(question: str) -> Mapping[str, Any] | None:
    text = qt.QSettings().value(_KEY)
    try:
        kept = json.loads(text) if text else {}
    except (TypeError, ValueError):
        return None
    return kept.get("answer") if isinstance(kept, dict) and kept.get("question") == question else None
