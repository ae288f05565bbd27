"""``spinalcordseg-train split``: decide once who is held out, and keep it in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegTrainerLib.command_line.options import Data
from SpinalCordSegTrainerLib.dataset import find_cases, match_files
from SpinalCordSegTrainerLib.slice_cache import split_subjects
from SpinalCordSegTrainerLib.split import Split, folds, split_by_fact, write_split


def split(
    data: Data,
    output: Annotated[Path, typer.Option("--output", help="Folder for split.json, or fold1/split.json and so on.")],
    hold_out: Annotated[
        str | None, typer.Option("--hold-out", metavar="COLUMN=VALUE", help="By a column, as site=Oslo.")
    ] = None,
    n_folds: Annotated[int | None, typer.Option("--folds", help="So many folds, each patient held out once.")] = None,
    fraction: Annotated[float, typer.Option("--fraction", help="Share of the patients to hold out.")] = 0.2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same split.")] = 0,
    all_cases: Annotated[
        bool, typer.Option("--usable", help="Leave out files that belong to no case, instead of refusing the folder.")
    ] = False,
) -> None:
    """Split a data set by patient and write who is held out; train and evaluate take it with --split, --held-out."""
    if hold_out is not None and n_folds is not None:
        raise ConfigurationError("--hold-out and --folds: choose one of the two")
    cases = list(match_files(data).cases) if all_cases else find_cases(data)
    subjects = [case.subject for case in cases]
    if n_folds is not None:
        for number, one in enumerate(folds(subjects, n_folds, seed), 1):
            write_split(one, output / f"fold{number}" / "split.json")
            _tell(f"fold {number}", one)
        return
    if hold_out is not None:
        chosen = split_by_fact(cases, hold_out)
    else:
        if not 0 < fraction < 1:
            raise ConfigurationError(f"--fraction {fraction}: it must lie between 0 and 1")
        kept, out = split_subjects(subjects, fraction, seed)
        chosen = Split(tuple(kept), tuple(out))
    write_split(chosen, output / "split.json")
    _tell("split", chosen)


def _tell(name: str, one: Split) -> None:
    typer.echo(f"{name}: {len(one.training)} patients to train on, {len(one.validation)} held out")
