"""The command "correct": a mask that a person corrected goes into its finished case, measured anew."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from SpinalCordSegLib.progress import Reporter


def add_correct(commands: Any, add_common: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command and its arguments."""
    correct = commands.add_parser(
        "correct",
        help="take a corrected mask into its finished case",
        description="Measure a mask that a person corrected and put it into its case folder, whose files are replaced"
        " all at once. The mask before any correction stays beside it (mask_ai), and what was changed is reported.",
    )
    correct.add_argument("case", type=Path, metavar="CASE_FOLDER", help="what segment or measure wrote for one case")
    correct.add_argument("mask", type=Path, metavar="MASK", help="the corrected mask, on the same grid")
    correct.add_argument("--image", type=Path, metavar="FILE", help="the image behind it, for the pictures")
    correct.add_argument("--by", default="", metavar="NAME", help="who corrected it")
    correct.add_argument(
        "--disc", action="append", metavar="LABEL=PLACE", help="a marked disc, as for measure (repeatable)"
    )
    add_common(correct)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Returns the exit code. Raises SpinalCordSegError for what stands in the way."""
    from SpinalCordSegLib.files import read_image, read_labels, select_label
    from SpinalCordSegLib.level_measures import LevelOptions, parse_disc
    from SpinalCordSegLib.review_store import store_correction

    reporter.progress("read", 0, 0)
    mask = select_label(read_labels(arguments.mask), None, arguments.mask.name)
    image = None if arguments.image is None else read_image(arguments.image)
    discs = tuple(parse_disc(text) for text in arguments.disc or ())
    reporter.progress("measure", 0, 0)
    content = store_correction(
        arguments.case, mask, arguments.by, image=image, levels=LevelOptions(discs=discs) if discs else None
    )
    reporter.result(str(content["case"]), "corrected", arguments.case, content)
    return 0
