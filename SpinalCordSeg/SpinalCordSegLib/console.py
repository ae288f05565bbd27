"""How both programs talk: arguments in, text or JSON lines out, an exit code at the end.

Exit codes: 0 done, 1 some case of several failed, 2 usage or a single bad input, 130 cancelled.

For a person results go to stdout, errors and a moving progress line to stderr. With ``--progress json`` stdout has one
JSON object a line: {"event": "start" | "case" | "progress" | "text" | "result" | "error" | "end", ...}. "progress" has
"stage", "done" and "of" (0 of 0: not counted), "seconds_left" (null while unknown) and "case". Numbers that are not
finite are null.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from SpinalCordSegLib.errors import Cancelled, SpinalCordSegError
from SpinalCordSegLib.files import explain, report_waiting, to_json

DONE, SOME_FAILED, BAD_INPUT, CANCELLED = 0, 1, 2, 130

_REDRAW_S = 0.1
_SURE_AFTER_S, _SURE_AFTER_SHARE = 1.0, 0.02  # of a stage, before the time left is estimated
_log = logging.getLogger(__name__)


class Parser(argparse.ArgumentParser):
    """Reports a usage error in one line. ``everywhere``: of a program, the options of all its commands."""

    everywhere: Parser

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.register("type", Path, _given_path)

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def _given_path(text: str) -> Path:
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty, as from a shell variable that is not set; name it")
    return Path(text)


def new_program(
    name: str, description: str, epilog: str = "", shared: Callable[[Parser], None] | None = None
) -> tuple[Parser, Any]:
    """The parser of a program, and what ``add_command`` adds its commands to. What every command has (--progress,
    --verbose, and what ``shared`` adds) may stand before the command or anywhere after it."""
    everywhere = Parser(prog=name, add_help=False, allow_abbrev=False)
    everywhere.add_argument("--progress", choices=("json",), help="report as JSON lines on stdout")
    everywhere.add_argument("--verbose", action="store_true", help="more detail on stderr, tracebacks included")
    if shared is not None:
        shared(everywhere)
    parser = Parser(prog=name, description=description, epilog=epilog, parents=[everywhere])
    parser.everywhere = everywhere
    return parser, parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)


def add_command(commands: Any, name: str, run: Any, help: str, description: str = "", **more: Any) -> Parser:
    """Add a command to a program: ``run(arguments, reporter)`` gives its exit code (None: done)."""
    parser: Parser = commands.add_parser(name, help=help, description=description or f"{help}.", **more)
    parser.set_defaults(run=run)
    return parser


class Reporter:
    """Reports to a person as text, or to a program as JSON lines."""

    def __init__(self, program: str, as_json: bool = False) -> None:
        self._program, self._json = program, as_json
        self._case = ""
        self._stage, self._began = "", (0.0, 0)
        self._reported_at = 0.0
        self._drawn = 0
        self._terminal = not as_json and sys.stderr is not None and sys.stderr.isatty()

    def case(self, path: Path, number: int, of: int) -> None:
        """Work on one input begins."""
        self.event("case", input=str(path), number=number, of=of)
        self._case = path.name if self._json else f"[{number}/{of}] " if of > 1 else ""
        self._stage = ""

    def progress(self, stage: str, done: int = 0, of: int = 0, note: str = "", **fields: Any) -> None:
        """``done`` of ``of`` slices or steps of a stage; 0 of 0 where they are not counted.

        ``note``: more text for a person; ``fields``: the same for a program.
        """
        now = time.monotonic()
        if stage != self._stage or done <= self._began[1]:
            self._stage, self._began = stage, (now, done)
        elif now - self._reported_at < _REDRAW_S and done not in (0, of):
            return
        self._reported_at = now
        left = self._seconds_left(now, done, of)
        self.event("progress", stage=stage, done=done, of=of, seconds_left=left, case=self._case, **fields)
        count = f": {done} of {of}" if of else " …"
        time_left = "" if left is None else f", about {_duration(left)} left"
        self._draw(f"{self._case}{stage}{count}{time_left}{note and f', {note}'}")

    def _seconds_left(self, now: float, done: int, of: int) -> float | None:
        """From the pace of this stage; None while that is too short to tell."""
        began, first = self._began
        if now - began < _SURE_AFTER_S or done - first < max(1, _SURE_AFTER_SHARE * of):
            return None
        return round((now - began) / (done - first) * (of - done), 1)

    def text(self, text: str) -> None:
        """Plain text on stdout."""
        self.event("text", text=text)
        self._print(text)

    def result(self, text: str, **fields: Any) -> None:
        """A result: ``text`` for a person, ``fields`` for a program."""
        self.event("result", **fields)
        if text:
            self._print(text)

    def error(self, message: str, kind: str, case: str | None = None) -> None:
        """One line on stderr."""
        self.event("error", kind=kind, message=message, case=case)
        self._draw("")
        where = f"{case}: " if case else ""
        print(f"{self._program}: error: {where}{message}", file=sys.stderr, flush=True)

    def attention(self, text: str) -> None:
        """What nobody may overlook, on stderr: the results on stdout stay as they are."""
        self.event("text", text=f"ATTENTION: {text}")
        self._draw("")
        print(f"{self._program}: ATTENTION: {text}", file=sys.stderr, flush=True)

    def event(self, name: str, **fields: Any) -> None:
        """For a program alone."""
        if self._json:
            print(json.dumps({"event": name} | to_json(fields)), flush=True)

    def end(self, exit_code: int) -> None:
        """The last thing reported."""
        self.event("end", exit_code=exit_code)
        self._draw("")

    def _print(self, text: str) -> None:
        if not self._json:
            self._draw("")
            print(text, flush=True)

    def _draw(self, line: str) -> None:
        if self._terminal and (line or self._drawn):
            # Blanks over the rest of the former line, not an escape sequence: every terminal knows blanks.
            print(f"\r{line:<{self._drawn}}" + ("" if line else "\r"), end="", file=sys.stderr, flush=True)
            self._drawn = len(line)


def _duration(seconds: float) -> str:
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"


def parse_arguments(parser: Parser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Raises SystemExit for a usage error, which has been reported."""
    everywhere, rest = parser.everywhere.parse_known_args(argv)
    return parser.parse_args(rest, everywhere)


def run_program(parser: Parser, argv: Sequence[str] | None) -> int:
    """Run the command that ``argv`` names; returns the exit code. Errors become one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console that lacks "³" must not end the work
    try:
        arguments = parse_arguments(parser, argv)
    except BrokenPipeError:  # as of "--list-settings | head"
        return CANCELLED
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else BAD_INPUT
    reporter = Reporter(parser.prog, arguments.progress == "json")
    report_waiting[:] = [reporter.attention]
    with _signals_interrupt(), _logging_to_stderr(arguments.verbose):
        code = _run(arguments, reporter)
        if code is not None:
            reporter.end(code)
    return CANCELLED if code is None else code


def _run(arguments: argparse.Namespace, reporter: Reporter) -> int | None:
    """The exit code; None when whoever read our output is gone."""
    try:
        return arguments.run(arguments, reporter) or DONE
    except (KeyboardInterrupt, Cancelled):
        reporter.error("cancelled; nothing half-done was kept", "Cancelled")
        return CANCELLED
    except BrokenPipeError:
        return None
    except SpinalCordSegError as error:
        message = " ".join(str(error).split())
        cause: BaseException = error
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        message, cause = f"the package {package} is not installed: pip install {package}", error
    except MemoryError as error:
        message, cause = "memory ran out: close other programs, or work on less at once", error
    except OSError as error:
        message, cause = f"{error.filename or 'the system'}: {explain(error)}", error
    _log.debug("detail", exc_info=cause)
    reporter.error(message, type(cause).__name__)
    return BAD_INPUT


@contextmanager
def _logging_to_stderr(verbose: bool) -> Iterator[None]:
    """With ``verbose`` everything our code logs goes to stderr; without it nothing that any library logs does."""
    root = logging.getLogger()
    ours = [logging.getLogger(name) for name in ("SpinalCordSegLib", "SpinalCordSegTrainerLib", "Recipes")]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    handler.setLevel(logging.NOTSET if verbose else logging.CRITICAL + 1)
    former = [logger.level for logger in ours]
    root.addHandler(handler)
    for logger in ours if verbose else ():
        logger.setLevel(logging.DEBUG)
    with warnings.catch_warnings():
        if not verbose:
            warnings.simplefilter("ignore")
        try:
            yield
        finally:
            root.removeHandler(handler)
            for logger, level in zip(ours, former, strict=True):
                logger.setLevel(level)


_SIGNALS = ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP")


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Every polite way to end a program raises KeyboardInterrupt; the former handlers come back afterwards."""
    former: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            # nohup has SIGHUP ignored: the work is to outlast its terminal.
            if number is None or (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
                continue
            former[number] = signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    # The clean-up that follows must not be cut short by an impatient second signal.
    for name in _SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    raise KeyboardInterrupt


def length_mm(text: str) -> float:
    """An argument in millimetres, 0 or more. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a length: give millimetres, 0 or more")
    return value


def mm_range(text: str) -> tuple[float, float]:
    """ "-18.5:15.5". Raises ArgumentTypeError."""
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        low, high = 0.0, 0.0
    if not low < high:
        raise argparse.ArgumentTypeError(f'"{text}" is not a range: give LOW:HIGH in mm, such as --range-mm=-18.5:15.5')
    return low, high


def slice_range(text: str) -> tuple[int, int]:
    """ "10:20", half-open. Raises ArgumentTypeError."""
    first, colon, end = text.partition(":")
    if not (colon and first.isdecimal() and end.isdecimal() and int(first) < int(end)):
        raise argparse.ArgumentTypeError(f'"{text}" is not a range FIRST:END with FIRST < END, such as 10:20')
    return int(first), int(end)
