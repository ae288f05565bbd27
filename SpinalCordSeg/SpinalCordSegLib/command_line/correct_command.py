"""The command "correct": a mask that a person corrected goes into its finished case, or some of its slices are
corrected here; then it is measured anew."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SpinalCordSegLib.command_line.rerun_command import add_model, ask_again, canonical_slices, parse_slices

if TYPE_CHECKING:
    from SpinalCordSegLib.command_line.progress import Reporter
    from SpinalCordSegLib.image_io import Image
    from SpinalCordSegLib.volume import Volume


_RANGE = "Z0:Z1"


def add_correct(commands: Any, add_common: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command and its arguments."""
    correct = commands.add_parser(
        "correct",
        help="take a corrected mask into its finished case, or correct some of its slices",
        description="Measure a corrected mask and put it into its case folder, whose files are replaced all at once."
        " The mask before any correction stays beside it (mask_ai), and what was changed is told. Slices are indices of"
        " the input's own slices, from 0.",
    )
    correct.add_argument("case", type=Path, metavar="CASE_FOLDER", help="what segment or measure wrote for one case")
    how = correct.add_mutually_exclusive_group(required=True)
    how.add_argument("mask", nargs="?", type=Path, metavar="MASK", help="the corrected mask, on the same grid")
    how.add_argument("--rerun", metavar=_RANGE, help="ask the model again about these slices; needs --image")
    how.add_argument("--fill", metavar=_RANGE, help="draw the slices between Z0 and Z1, which both are good, anew")
    how.add_argument("--smooth", metavar=_RANGE, help="smooth these slices along the cord")
    correct.add_argument("--label", type=int, metavar="N", help="which label of MASK is the cord")
    correct.add_argument("--image", type=Path, metavar="FILE", help="the image behind it, for the pictures")
    correct.add_argument("--series", metavar="NAME", help="which DICOM series of it: number, description or UID")
    correct.add_argument("--by", default="", metavar="NAME", help="who corrected it")
    correct.add_argument(
        "--disc", action="append", metavar="LABEL=PLACE", help="a marked disc, as for measure (repeatable)"
    )
    add_model(correct, "for --rerun")
    add_common(correct)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Returns the exit code. Raises SpinalCordSegError for what stands in the way."""
    from SpinalCordSegLib.case import store_correction
    from SpinalCordSegLib.image_io import read_image
    from SpinalCordSegLib.vertebral_levels import LevelOptions, parse_disc

    reporter.progress("read", 0, 0)
    image = None if arguments.image is None else read_image(arguments.image, arguments.series)
    mask = _corrected(image, arguments, reporter)
    discs = tuple(parse_disc(text) for text in arguments.disc or ())
    reporter.progress("measure", 0, 0)
    content = store_correction(
        arguments.case, mask, arguments.by, image=image, levels=LevelOptions(discs=discs) if discs else None
    )
    reporter.result(str(content["case"]), "corrected", arguments.case, content)
    changes = content["changes"]
    reporter.text(
        f"{len(changes['slices'])} slices differ from the mask it began as: Dice {changes['dice']:.4f},"
        f" {changes['added_mm3']:.0f} mm³ added, {changes['removed_mm3']:.0f} mm³ removed"
    )
    return 0


def _corrected(image: Image | None, arguments: argparse.Namespace, reporter: Reporter) -> Volume:
    from SpinalCordSegLib.case import CaseSettings, read_mask, read_result
    from SpinalCordSegLib.correction import fill_between, smooth_along_cord
    from SpinalCordSegLib.errors import ConfigurationError, InputFileError
    from SpinalCordSegLib.image_io import read_labels, select_label
    from SpinalCordSegLib.volume import input_slice_index

    if arguments.mask is not None:
        return select_label(read_labels(arguments.mask), arguments.label, arguments.mask.name)
    mask = read_mask(arguments.case)
    if mask is None:
        raise InputFileError(f"{arguments.case} holds no mask: give the folder of one finished case")
    if arguments.fill is not None:
        ends = [input_slice_index(mask, number) for number in parse_slices(arguments.fill)]
        return fill_between(mask, min(ends), max(ends))
    if arguments.smooth is not None:
        return smooth_along_cord(mask, canonical_slices(mask, arguments.smooth))
    if image is None:
        raise ConfigurationError("--rerun needs the image that was segmented: give it by --image")
    settings = CaseSettings.of_report(read_result(arguments.case) or {})
    return ask_again(image.volume, mask, canonical_slices(mask, arguments.rerun), arguments, reporter, settings)
