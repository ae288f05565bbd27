"""``spinalcordseg-train check``: what a data set holds, before anything is trained on it."""

from __future__ import annotations

from typing import Annotated

import typer

from SpinalCordSegTrainerLib.command_line.interrupt import stop_on_interrupt
from SpinalCordSegTrainerLib.command_line.options import Data, Label, Tolerant
from SpinalCordSegTrainerLib.command_line.progress import ProgressStyle, emit, print_checked, step_display
from SpinalCordSegTrainerLib.dataset_check import as_dict, check_folder, summary


def check(
    data: Data,
    label: Label = None,
    tolerant: Tolerant = False,
    as_json: Annotated[bool, typer.Option("--json", help="One object a line on stdout, for programs.")] = False,
) -> None:
    """Say which cases can be used, what each holds, and why a case cannot. Changes nothing."""
    style = ProgressStyle.JSON if as_json else ProgressStyle.TEXT
    with stop_on_interrupt() as interrupted, step_display("cases", style) as display:
        checked = check_folder(
            data, label, tolerant=tolerant, progress=display.step, cancelled=lambda: bool(interrupted)
        )
    counts = summary(checked)
    if as_json:
        for case in checked:
            emit("checked", case=as_dict(case))
        emit("result", **counts)
    else:
        print_checked(checked)
        typer.echo("{usable} of {cases} cases can be used: {subjects} patients".format(**counts))
    if counts["usable"] < counts["cases"]:
        raise typer.Exit(1)
