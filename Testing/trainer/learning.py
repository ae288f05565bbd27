"""The configuration that a training command makes of its arguments."""

from __future__ import annotations

from pathlib import Path

from SpinalCordSegLib.console import Reporter
from SpinalCordSegTrainerLib.cli import build_parser, configuration
from SpinalCordSegTrainerLib.config import TrainingConfig


def configured(data: Path | None, output: Path, *options: str) -> TrainingConfig:
    """Of ``train DATA --output OUTPUT OPTION…``."""
    words = ["train", *([] if data is None else [str(data)]), "--output", str(output), *options]
    return configuration(build_parser().parse_args(words), Reporter("test"))
