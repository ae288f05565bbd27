"""How a command tells what it does: a line that moves for a person, JSON lines for a program, else nothing.

JSON lines (one object a line, on stdout, flushed): {"event": "start" | "case" | "progress" | "result" | "error" |
"end", ...}. "progress" has "stage", "slice" and "of" (0 of 0: not counted) and "case". Results and plain text go to
stdout, errors and the moving line to stderr.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

_REDRAW_S = 0.1


class Reporter:
    """Tells a person; progress only where stderr is a terminal."""

    def __init__(self) -> None:
        self._case = ""
        self._drawn_at = 0.0
        self._drawn = 0
        self._moving = sys.stderr is not None and sys.stderr.isatty()

    def start(self, n_inputs: int) -> None:
        """Before the first case."""

    def case(self, path: Path, number: int, of: int) -> None:
        """Work on an input begins."""
        self._case = f"[{number}/{of}] " if of > 1 else ""

    def progress(self, stage: str, done: int, total: int) -> None:
        """``done`` of ``total`` slices of a stage; 0 of 0 where it is not counted."""
        now = time.monotonic()
        if self._moving and (done in (0, total) or now - self._drawn_at >= _REDRAW_S):
            self._drawn_at = now
            self._draw(f"{self._case}{stage}" + (f": slice {done} of {total}" if total else " …"))

    def result(self, case_name: str, state: str, folder: Path, report: dict[str, Any]) -> None:
        """A case is done, or was kept."""
        self.text(f"{case_name}: {result_words(report)}{' (kept)' if state == 'kept' else ''} → {folder}")

    def error(self, message: str, kind: str, case_name: str | None = None) -> None:
        """One line on stderr."""
        self._draw("")
        where = f"{case_name}: " if case_name else ""
        print(f"spinalcordseg: error: {where}{message}", file=sys.stderr, flush=True)

    def text(self, text: str) -> None:
        """Plain text on stdout."""
        self._draw("")
        print(text, flush=True)

    def end(self, exit_code: int) -> None:
        """After the last case."""
        self._draw("")

    def _draw(self, line: str) -> None:
        if self._moving and (line or self._drawn):
            # Blanks over the rest of the former line, not an escape sequence: every terminal knows blanks.
            print(f"\r{line:<{self._drawn}}" + ("" if line else "\r"), end="", file=sys.stderr, flush=True)
            self._drawn = len(line)


class JsonReporter(Reporter):
    """Tells a program. Errors go to stderr as well."""

    def __init__(self) -> None:
        super().__init__()
        self._moving = False

    def start(self, n_inputs: int) -> None:
        self._emit("start", inputs=n_inputs)

    def case(self, path: Path, number: int, of: int) -> None:
        self._case = path.name
        self._emit("case", input=str(path), number=number, of=of)

    def progress(self, stage: str, done: int, total: int) -> None:
        self._emit("progress", stage=stage, slice=done, of=total, case=self._case)

    def result(self, case_name: str, state: str, folder: Path, report: dict[str, Any]) -> None:
        wanted = ("volume_mm3", "length_mm", "mean_csa_mm2", "n_slices", "device", "files")
        numbers = {name: report.get(name) for name in wanted}
        flags = len(report.get("flags") or [])
        self._emit("result", case=case_name, state=state, folder=str(folder), **numbers, n_flags=flags)

    def error(self, message: str, kind: str, case_name: str | None = None) -> None:
        self._emit("error", kind=kind, message=message, case=case_name)
        super().error(message, kind, case_name)

    def text(self, text: str) -> None:
        self._emit("text", text=text)

    def end(self, exit_code: int) -> None:
        self._emit("end", exit_code=exit_code)

    def _emit(self, event: str, **fields: Any) -> None:
        print(json.dumps({"event": event, **fields}, allow_nan=False), flush=True)


def result_words(report: dict[str, Any]) -> str:
    """A result in one line."""
    if not report.get("volume_mm3"):
        return f"no cord found, {_flag_words(report)}"
    area = report.get("mean_csa_mm2")
    words = [
        f"volume {report['volume_mm3']:.0f} mm³",
        f"length {report['length_mm']:.1f} mm",
        "area not reported" if area is None else f"mean area {area:.1f} mm²",
        f"{report['n_slices']} slices",
        _flag_words(report),
    ]
    return ", ".join(words)


def _flag_words(report: dict[str, Any]) -> str:
    n_flags = len(report.get("flags") or [])
    return "no flags" if n_flags == 0 else f"{n_flags} flag{'s' if n_flags > 1 else ''}"
