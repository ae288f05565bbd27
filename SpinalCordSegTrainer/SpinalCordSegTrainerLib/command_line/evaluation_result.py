"""How a command that scored masks ends: tables, pictures of the worst slices, figures told, problems named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from SpinalCordSegLib.model.checkpoint import Checkpoint
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib.command_line.progress import ProgressStyle, print_scores, tell_result
from SpinalCordSegTrainerLib.dataset import LoadedCase
from SpinalCordSegTrainerLib.evaluation import GROUPED_BY, CaseScore, write_evaluation
from SpinalCordSegTrainerLib.worst_slices import Tile, worst_of, worst_tiles, write_sheet

_PICTURES = 16


@dataclass
class WorstSlices:
    """Collects the pictures of the worst slices while cases are scored."""

    tiles: list[Tile] = field(default_factory=list)

    def __call__(self, loaded: LoadedCase, found: Volume, score: CaseScore) -> None:
        new = worst_tiles(loaded.image, found, loaded.mask, score, _PICTURES)
        self.tiles = worst_of([*self.tiles, *new], _PICTURES)

    def write(self, path: Path) -> None:
        write_sheet(self.tiles, "the worst slices, the worst first", path)


def end_evaluation(
    scores: Sequence[CaseScore],
    worst: WorstSlices,
    output: Path,
    style: ProgressStyle,
    *,
    checkpoint: Checkpoint | None = None,
    group_by: Sequence[str] = GROUPED_BY,
    told_too: dict[str, Any] | None = None,
    lines: Sequence[str] = (),
    problems: Sequence[tuple[str, str]] = (),
) -> None:
    """Write and tell. ``lines``: said after the figures. ``problems``: case name and why it was not judged; with any,
    the exit code is 1. The other arguments are those of write_evaluation."""
    left = [{"case": name, "reason": reason} for name, reason in problems]
    told = write_evaluation(
        scores, checkpoint, output, group_by=group_by, told_too={**(told_too or {}), "not_judged": left}
    )
    worst.write(output / "worst.png")
    if style is ProgressStyle.TEXT:
        print_scores(scores, told)
        for line in lines:
            typer.echo(line)
    for name, reason in problems:
        typer.echo(f"not judged: {name}: {reason}", err=True)
    tell_result(style, "", scores=told)
    if problems:
        raise typer.Exit(1)
