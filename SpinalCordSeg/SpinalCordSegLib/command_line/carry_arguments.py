"""The arguments of ``carry``; nothing is loaded for them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any


def add_carry(commands: Any, add_common: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command and its arguments."""
    carry = commands.add_parser(
        "carry",
        help="carry a mask to another image of the same study, such as STIR or T2",
        description="Register the other image to the one that was segmented (rigidly, around the cord) and put the mask"
        " on its grid. DIR gets carried.nii.gz, fit.png to judge the fit by, and carried.json with the metric, the"
        " motion, and what speaks against trusting it. Both images have to lie in the scanner's coordinates.",
    )
    carry.add_argument("mask", type=Path, metavar="MASK", help="a mask file, or the folder of a finished case")
    carry.add_argument("--image", type=Path, required=True, metavar="FILE", help="the image that was segmented")
    carry.add_argument("--to", type=Path, required=True, metavar="FILE", help="the other image")
    carry.add_argument("--series", metavar="NAME", help="which DICOM series of --image")
    carry.add_argument("--to-series", metavar="NAME", help="which DICOM series of --to")
    carry.add_argument("--label", type=int, metavar="N", help="which label of the mask file is the cord")
    carry.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    carry.add_argument("--force", action="store_true", help="replace files that are there")
    add_common(carry)
