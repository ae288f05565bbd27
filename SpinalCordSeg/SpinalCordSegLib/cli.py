"""The command line: arguments in, exit code out. Everything heavy is imported only once it is needed.

Exit codes: 0 done, 1 some case of a batch failed, 2 usage or a single bad input, 130 cancelled.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from SpinalCordSegLib.command_line.carry_arguments import add_carry
from SpinalCordSegLib.command_line.correct_command import add_correct
from SpinalCordSegLib.command_line.export_command import add_export
from SpinalCordSegLib.command_line.follow_up_arguments import add_track
from SpinalCordSegLib.command_line.lengths import length_mm
from SpinalCordSegLib.command_line.level_arguments import add_levels
from SpinalCordSegLib.command_line.progress import JsonReporter, Reporter
from SpinalCordSegLib.command_line.register_command import add_register
from SpinalCordSegLib.command_line.rerun_command import add_rerun
from SpinalCordSegLib.command_line.review_arguments import add_review
from SpinalCordSegLib.command_line.standard_input import read_part
from SpinalCordSegLib.command_line.training_set_command import add_training_set
from SpinalCordSegLib.errors import Cancelled, SpinalCordSegError
from SpinalCordSegLib.files import explain
from SpinalCordSegLib.version import SOFTWARE_VERSION

DONE, SOME_FAILED, BAD_INPUT, CANCELLED = 0, 1, 2, 130

# command → its module; the others are in "commands"
_MODULES = {
    "models": "model_listing",
    "track": "track_command",
    "export": "export_command",
    "review": "review_command",
    "carry": "carry_command",
    "rerun": "rerun_command",
    "correct": "correct_command",
    "register": "register_command",
    "training-set": "training_set_command",
}

_RANGE_HELP = (
    "measure only these slices: indices of the input's own slices, from 0, the second one not included"
    " (10:20 measures slices 10 to 19)"
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, as every other error."""
        self.exit(BAD_INPUT, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(
        prog="spinalcordseg",
        description="Segment and measure the cervical spinal cord in MRI. Research use, not for diagnosis.",
        epilog="Exit codes: 0 done, 1 some case of a batch failed, 2 usage or a single bad input, 130 cancelled.",
    )
    parser.add_argument("--version", action="version", version=f"spinalcordseg {SOFTWARE_VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_segment(commands)
    _add_measure(commands)
    add_track(commands, _add_common)
    add_review(commands, _add_common)
    add_carry(commands, _add_common)
    add_export(commands, _add_common)
    add_rerun(commands, _add_common)
    add_correct(commands, _add_common)
    add_register(commands, _add_common)
    add_training_set(commands, _add_common)
    demo = commands.add_parser("demo", help="segment a phantom neck whose cord volume is known exactly")
    demo.add_argument(
        "--output", type=Path, default=Path("spinalcordseg-demo"), metavar="DIR", help="default: %(default)s"
    )
    _add_model(demo)
    _add_common(demo)
    models = commands.add_parser("models", help="list the models at hand, or explain one")
    models.add_argument("file", nargs="?", type=Path, metavar="FILE", help="a weights file to explain")
    models.add_argument("--verbose", action="store_true", help="more detail, tracebacks included")
    return parser


def _add_segment(commands: Any) -> None:
    segment = commands.add_parser(
        "segment",
        help="find the cord in MR images and measure it",
        description="Find the cord and measure it: DIR/CASE/ gets mask, report.json, slices.csv, montage.png and"
        " report.html, DIR gets summary.csv. A finished result is kept and counts as done.",
    )
    segment.add_argument(
        "inputs", nargs="+", type=Path, metavar="INPUT",
        help="NIfTI, NRRD or MHA/MHD file, DICOM folder or file, or a folder of image files",
    )  # fmt: skip
    _add_output(segment)
    _add_model(segment)
    segment.add_argument("--threshold", type=float, default=0.5, metavar="P", help="probability of cord (default: 0.5)")
    segment.add_argument(
        "--along-mm", type=length_mm, metavar="MM",
        help="thin slices are averaged over this SD along the cord, and doubtful outlines follow the other slices'"
        " (default: 1.6; 0: each slice by itself)",
    )  # fmt: skip
    segment.add_argument("--save-probability", action="store_true", help="write the probability map too")
    segment.add_argument(
        "--track-cord",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="between slices that show nothing but the cord, compute its surroundings only (default; a probability map"
        " that is to be saved is computed whole)",
    )
    segment.add_argument(
        "--precision", choices=("float32", "bfloat16", "float16"), default="float32",
        help="fewer bits for the network, for GPUs; areas change by some per cent (default: %(default)s)",
    )  # fmt: skip
    segment.add_argument("--series", metavar="NAME", help="which DICOM series: its number, description or UID")
    segment.add_argument(
        "--keep-date", action="store_true", help="let report.json state the day of the scan (for track); else no date"
    )
    segment.add_argument(
        "--scheduler", metavar="ADDRESS", help="compute on the workers of this dask scheduler, as tcp://host:8786"
    )
    add_levels(segment)
    _add_common(segment)


def _add_measure(commands: Any) -> None:
    measure = commands.add_parser(
        "measure",
        help="measure the cord in masks made elsewhere",
        description="Measure cord masks: the same outputs as segment.",
    )
    measure.add_argument("inputs", nargs="+", type=Path, metavar="MASK", help="label map file, or a folder of them")
    measure.add_argument("--label", type=int, metavar="N", help="which label is the cord, where there are several")
    measure.add_argument("--image", type=Path, metavar="FILE", help="the image behind a single mask, for the pictures")
    _add_output(measure)
    add_levels(measure)
    _add_common(measure)


def _add_output(parser: argparse.ArgumentParser) -> None:
    from_formats = ("nii.gz", "seg.nrrd", "nrrd")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--mask-format", choices=from_formats, default="nii.gz", help="default: %(default)s")
    parser.add_argument("--range", type=_slice_range, metavar="Z0:Z1", help=_RANGE_HELP)
    parser.add_argument("--force", action="store_true", help="replace finished results")
    parser.add_argument(
        "--code", metavar="CODE", help="name the result CODE (CODE_2 … for further inputs), never after a file"
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, metavar="FILE", help="weights file (default: the model that comes along)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="default: %(default)s")
    parser.add_argument(
        "--engine", choices=("auto", "torch", "onnxruntime"), default="auto",
        help="what computes on the CPU (default: ONNX Runtime where it is installed and agrees with torch, else torch)",
    )  # fmt: skip


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--progress", choices=("json",), help="report as JSON lines on stdout")
    parser.add_argument("--exit-with-parent", action="store_true", help="cancel when standard input is closed")
    parser.add_argument("--verbose", action="store_true", help="more detail on stderr, tracebacks included")


def _slice_range(text: str) -> tuple[int, int]:
    first, colon, end = text.partition(":")
    if not (colon and first.isdecimal() and end.isdecimal() and int(first) < int(end)):
        raise argparse.ArgumentTypeError(f'"{text}" is not a range FIRST:END with FIRST < END, such as 10:20')
    return int(first), int(end)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console that lacks "³" must not end the work
    try:
        arguments = build_parser().parse_args(argv)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else BAD_INPUT
    reporter = JsonReporter() if getattr(arguments, "progress", None) == "json" else Reporter()
    former = _catch_signals()
    try:
        with _detail_on_stderr(arguments.verbose):
            return _run(arguments, reporter)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    try:
        if getattr(arguments, "exit_with_parent", False):
            threading.Thread(target=_interrupt_at_end_of_input, daemon=True).start()
        code = _command(arguments.command)(arguments, reporter)
    except (KeyboardInterrupt, Cancelled):
        reporter.error("cancelled; nothing half-done was kept", "Cancelled")
        code = CANCELLED
    except SpinalCordSegError as error:
        logging.getLogger(__name__).debug("detail", exc_info=error)
        reporter.error(" ".join(str(error).split()), type(error).__name__)
        code = BAD_INPUT
    except MemoryError:
        reporter.error("memory ran out: close other programs, or cut the image", "MemoryError")
        code = BAD_INPUT
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # whoever read our output has gone; nobody is left to be told
            return CANCELLED
        logging.getLogger(__name__).debug("detail", exc_info=error)
        reporter.error(f"{error.filename or 'the system'}: {explain(error)}", type(error).__name__)
        code = BAD_INPUT
    reporter.end(code)
    return code


def _command(name: str) -> Callable[[argparse.Namespace, Reporter], int]:
    """Only what the command needs is loaded."""
    module = importlib.import_module(f"SpinalCordSegLib.command_line.{_MODULES.get(name, 'commands')}")
    run: Callable[[argparse.Namespace, Reporter], int] = module.run
    return run


@contextmanager
def _detail_on_stderr(verbose: bool) -> Iterator[None]:
    """With ``verbose`` everything our code logs goes to stderr, without it nothing that any library says does."""
    root, ours = logging.getLogger(), logging.getLogger("SpinalCordSegLib")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    handler.setLevel(logging.NOTSET if verbose else logging.CRITICAL + 1)
    former = ours.level
    root.addHandler(handler)
    ours.setLevel(logging.DEBUG if verbose else former)
    with warnings.catch_warnings():
        if not verbose:
            warnings.simplefilter("ignore")
        try:
            yield
        finally:
            root.removeHandler(handler)
            ours.setLevel(former)


def _catch_signals() -> dict[int, Any]:
    """Let every polite way to end a program raise KeyboardInterrupt; gives the handlers that were there before."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    names = ["SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP"]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        del names[-1]  # nohup said so: the batch is to outlast its terminal
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return {number: signal.signal(number, _interrupt) for number in numbers}


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    # The clean-up that follows must not be cut short by an impatient second signal.
    for name in ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    raise KeyboardInterrupt


def _interrupt_at_end_of_input() -> None:
    """Wait until standard input is closed (the parent program is gone), then cancel."""
    if sys.stdin is not None:
        # Not through sys.stdin.buffer: a thread that waits in there makes Python abort when it exits.
        while read_part(sys.stdin.fileno()):
            pass
    signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())
