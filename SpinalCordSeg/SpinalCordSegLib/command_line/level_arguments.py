"""The arguments about marked discs and norms: declared without loading anything, understood when a command runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from SpinalCordSegLib.errors import ConfigurationError

if TYPE_CHECKING:
    from SpinalCordSegLib.vertebral_levels import LevelOptions


def add_levels(parser: argparse.ArgumentParser) -> None:
    """Add --disc, --discs, --around, --age, --sex and --declare."""
    group = parser.add_argument_group(
        "vertebral levels",
        "The disc C2/C3 alone gives C2 and C3, approximately; a second one near C7/T1 gives the levels between.",
    )
    group.add_argument(
        "--disc", action="append", metavar="LABEL=PLACE",
        help="a disc, such as C2/C3: LABEL=R,A,S in mm or LABEL=SLICE of the input (repeatable; one input only)",
    )  # fmt: skip
    group.add_argument("--discs", type=Path, metavar="FILE", help="label map of discs: 3 is C2/C3 … 8 is C7/T1")
    group.add_argument("--around", type=float, metavar="MM", help="also the mean area within MM of the disc C2/C3")
    group.add_argument("--age", type=float, metavar="YEARS", help="compare C2 with healthy adults; not written itself")
    group.add_argument("--sex", choices=("male", "female"), help="for the same comparison")
    group.add_argument(
        "--declare", action="append", choices=("t1w", "corrected-3d"),
        help="vouch for a T1-weighted image, or 3D distortion correction, where no DICOM header tells (repeatable)",
    )  # fmt: skip


def wants_levels(arguments: argparse.Namespace) -> bool:
    """True when any of these arguments was given."""
    return any(getattr(arguments, name) for name in ("disc", "discs", "around", "age", "sex", "declare"))


def level_options(arguments: argparse.Namespace, n_inputs: int) -> LevelOptions:
    """What was given, understood. Raises ConfigurationError, and InputFileError and the like for a file of discs."""
    from SpinalCordSegLib.vertebral_levels import LevelOptions, Person, parse_disc, read_discs

    if wants_levels(arguments) and n_inputs > 1:
        raise ConfigurationError(
            f"discs, age and sex go with a single input, found {n_inputs}: run them one by one into the same folder"
        )
    marks = [parse_disc(text) for text in arguments.disc or ()]
    if arguments.discs is not None:
        marks += read_discs(arguments.discs)
    if not marks and wants_levels(arguments):
        raise ConfigurationError("levels and norms need a marked disc: give --disc C2/C3=R,A,S or --discs FILE")
    return LevelOptions(
        discs=tuple(marks),
        around_mm=arguments.around,
        person=Person(arguments.age, arguments.sex),
        declared=frozenset(arguments.declare or ()),
    )
