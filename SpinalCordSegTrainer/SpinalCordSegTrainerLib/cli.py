"""``spinalcordseg-train``: the trainer on the command line.

Exit codes: 0 done, 1 some case failed, 2 usage or unusable input, 130 cancelled. Errors are one line on stderr.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import typer

from SpinalCordSegLib.errors import Cancelled, SpinalCordSegError
from SpinalCordSegLib.files import explain
from SpinalCordSegTrainerLib.command_line.check_command import check
from SpinalCordSegTrainerLib.command_line.crossvalidate_command import crossvalidate
from SpinalCordSegTrainerLib.command_line.evaluate_command import evaluate
from SpinalCordSegTrainerLib.command_line.find_lr_command import find_lr
from SpinalCordSegTrainerLib.command_line.progress import emit
from SpinalCordSegTrainerLib.command_line.raters_command import compare_raters
from SpinalCordSegTrainerLib.command_line.split_command import split
from SpinalCordSegTrainerLib.command_line.table1_command import table1
from SpinalCordSegTrainerLib.command_line.train_command import train

# Typer brings click along as a package of its own or inside itself, by its version; its errors have one base.
_UsageError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(
    help="Train, judge and calibrate spinal cord segmentation models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _common(verbose: Annotated[bool, typer.Option("--verbose", help="More detail on stderr.")] = False) -> None:
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")


app.command()(check)
app.command()(split)
app.command()(train)
app.command("find-lr")(find_lr)
app.command()(table1)
app.command()(evaluate)
app.command()(crossvalidate)
app.command("raters")(compare_raters)


def _failed(name: str, arguments: Sequence[str], error: BaseException, code: int) -> int:
    message = " ".join((getattr(error, "format_message", error.__str__)() or "cancelled").split())
    if {"--json", "--progress=json"} & set(arguments) or ("--progress", "json") in pairwise(arguments):
        emit("error", kind=type(error).__name__, message=message)
    typer.echo(f"{name}: {message}", err=True)
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    return run_app(app, "spinalcordseg-train", argv)


def run_app(commands: typer.Typer, name: str, argv: Sequence[str] | None = None) -> int:
    """Run one command of a program; every expected error is one line on stderr; gives the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = commands(arguments, standalone_mode=False, prog_name=name)
    except typer.Exit as error:
        return int(error.exit_code)
    except _UsageError as error:
        return _failed(name, arguments, error, 2)
    except (Cancelled, KeyboardInterrupt, typer.Abort) as error:
        return _failed(name, arguments, error, 130)
    except SpinalCordSegError as error:
        return _failed(name, arguments, error, 2)
    except MemoryError:
        no_memory = MemoryError("memory ran out: close other programs, or make batches smaller")
        return _failed(name, arguments, no_memory, 2)
    except OSError as error:
        logging.getLogger(__name__).debug("detail", exc_info=error)
        return _failed(name, arguments, OSError(f"{error.filename or 'the system'}: {explain(error)}"), 2)
    return int(code or 0)


if __name__ == "__main__":
    sys.exit(main())
