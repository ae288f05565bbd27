"""The command "rerun": the network asked again about some slices of a mask that stays as it is elsewhere."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SpinalCordSegLib.command_line.lengths import length_mm

if TYPE_CHECKING:
    from SpinalCordSegLib.case import CaseSettings
    from SpinalCordSegLib.command_line.progress import Reporter
    from SpinalCordSegLib.volume import Volume


RERUN_MASK = "mask.nrrd"


def add_rerun(commands: Any, add_common: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command and its arguments."""
    rerun = commands.add_parser(
        "rerun",
        help="ask the network again about some slices of a mask",
        description="Find the cord again in some slices; the mask stays as it is in all others. The new mask is"
        f" DIR/{RERUN_MASK}; MASK itself is not touched. Where MASK is the mask of a finished case, in its folder,"
        " model, threshold and averaging are that case's own unless they are named.",
    )
    rerun.add_argument("image", type=Path, metavar="IMAGE", help="the image that the mask was drawn on")
    rerun.add_argument("mask", type=Path, metavar="MASK", help="label map on the image's grid")
    rerun.add_argument(
        "--slices", required=True, metavar="Z0:Z1", help="indices of the input's own slices, the second not included"
    )
    add_model(rerun, "weights file")
    rerun.add_argument(
        "--threshold", type=float, metavar="P", help="probability of cord (default: the case's, else 0.5)"
    )
    rerun.add_argument(
        "--along-mm", type=length_mm, metavar="MM",
        help="SD over which thin slices are averaged along the cord (default: the case's, else 1.6; 0: each by itself)",
    )  # fmt: skip
    rerun.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the new mask")
    rerun.add_argument("--force", action="store_true", help="replace a new mask that is there; never MASK itself")
    add_common(rerun)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Returns the exit code. Raises SpinalCordSegError for what stands in the way."""
    from SpinalCordSegLib.case import CaseSettings, read_result
    from SpinalCordSegLib.image_io import read_image, read_labels, select_label, write_volume

    path = arguments.output / RERUN_MASK
    _refuse_to_replace(path, arguments)
    reporter.progress("read", 0, 0)
    image = read_image(arguments.image).volume
    mask = select_label(read_labels(arguments.mask), None, arguments.mask.name)
    chosen = canonical_slices(image, arguments.slices)
    is_of_case = arguments.mask.name.partition(".")[0] == "mask"
    settings = CaseSettings.of_report((read_result(arguments.mask.parent) if is_of_case else None) or {})
    named = {"threshold": arguments.threshold, "along_mm": arguments.along_mm}
    settings = replace(settings, **{name: value for name, value in named.items() if value is not None})
    corrected = ask_again(image, mask, chosen, arguments, reporter, settings)
    write_volume(corrected, path)
    reporter.text(f"{chosen[1] - chosen[0]} slices found again → {path}")
    return 0


def _refuse_to_replace(path: Path, arguments: argparse.Namespace) -> None:
    """Before the long work. A finished case's mask is measured, and may be a person's: only correct puts one there."""
    from SpinalCordSegLib.case import read_result
    from SpinalCordSegLib.errors import OutputError

    if read_result(path.parent) is not None:
        raise OutputError(
            f"{path.parent} is the folder of a finished case: choose another output folder, or put what is found into"
            " the case by correct CASE_FOLDER --rerun"
        )
    if not path.exists():
        return
    if any(given.exists() and path.samefile(given) for given in (arguments.mask, arguments.image)):
        raise OutputError(f"{path} is the file that was given, which stays as it is: choose another output folder")
    if not arguments.force:
        raise OutputError(f"{path} is there already; choose another output folder, or --force to replace it")


def ask_again(
    image: Volume,
    mask: Volume,
    chosen: tuple[int, int],
    arguments: argparse.Namespace,
    reporter: Reporter,
    settings: CaseSettings,
) -> Volume:
    """The mask with what the case's model, or the one named in ``arguments`` (model, device), finds in the canonical
    slices ``chosen``."""
    from SpinalCordSegLib.correction import rerun_slices
    from SpinalCordSegLib.model.checkpoint import load_checkpoint

    return rerun_slices(
        image,
        mask,
        load_checkpoint(arguments.model or settings.find_model()),
        chosen,
        threshold=settings.threshold,
        along_mm=settings.along_mm,
        device=arguments.device,
        progress=lambda done, total: reporter.progress("segment", done, total),
    )


def canonical_slices(volume: Volume, text: str) -> tuple[int, int]:
    """ "10:14", the input's own slices, as canonical ones. Raises ConfigurationError."""
    from SpinalCordSegLib.pipeline import canonical_range

    found = canonical_range(volume, parse_slices(text))
    assert found is not None
    return found


def add_model(command: argparse.ArgumentParser, words: str) -> None:
    """The arguments of ``ask_again``."""
    command.add_argument(
        "--model", type=Path, metavar="FILE",
        help=f"{words} (default: the case's own model, else the one that comes along)",
    )  # fmt: skip
    command.add_argument(
        "--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="default: %(default)s"
    )


def parse_slices(text: str) -> tuple[int, int]:
    """ "10:20": half-open. Raises ConfigurationError."""
    from SpinalCordSegLib.errors import ConfigurationError

    first, colon, end = text.partition(":")
    if not (colon and first.isdecimal() and end.isdecimal() and int(first) < int(end)):
        raise ConfigurationError(f'"{text}" is not a range FIRST:END with FIRST < END, such as 10:20')
    return int(first), int(end)
