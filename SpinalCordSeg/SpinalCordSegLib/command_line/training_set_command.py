"""The command "training-set": a reviewed case goes into a folder that the trainer learns from."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from SpinalCordSegLib.command_line.progress import Reporter


def add_training_set(commands: Any, add_common: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command and its arguments."""
    command = commands.add_parser(
        "training-set",
        help="add a corrected or accepted case to a training set",
        description="Write image and label map (1 is the cord) with a label description as ITK-SNAP has them, named"
        " sub-CODE_ses-NN, and where they are from. Train with: spinalcordseg-train train DIR --from MODEL"
        " --only-labelled --output RUN. Images are not made unrecognisable: a whole head still has its face.",
    )
    command.add_argument("case", type=Path, metavar="CASE_FOLDER", help="what segment or measure wrote for one case")
    command.add_argument("--image", type=Path, required=True, metavar="FILE", help="the image that was segmented")
    command.add_argument("--series", metavar="NAME", help="which DICOM series of it: number, description or UID")
    command.add_argument("--subject", required=True, metavar="CODE", help="letters and digits; the same for a person")
    command.add_argument("--output", type=Path, required=True, metavar="DIR", help="the training set")
    command.add_argument("--force", action="store_true", help="replace an earlier mask of this very image")
    add_common(command)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Returns the exit code. Raises SpinalCordSegError for what stands in the way."""
    from SpinalCordSegLib.case import read_mask, read_result
    from SpinalCordSegLib.errors import ConfigurationError, InputFileError
    from SpinalCordSegLib.image_io import read_image
    from SpinalCordSegLib.review import ACCEPTED, CORRECTED, Review
    from SpinalCordSegLib.training_set import add_to_training_set

    content, mask = read_result(arguments.case), read_mask(arguments.case)
    if content is None or mask is None:
        raise InputFileError(f"{arguments.case} holds no finished result: give the folder of one case")
    state = Review.from_dict(content.get("review")).state
    if state not in (ACCEPTED, CORRECTED):
        raise ConfigurationError(
            f"the case is {state}: only what a person corrected or accepted is learnt from; a model that learns from"
            " its own masks keeps its errors"
        )
    reporter.progress("read", 0, 0)
    image = read_image(arguments.image, arguments.series).volume
    case = add_to_training_set(
        arguments.output, image, mask, arguments.subject, report=content, replace=arguments.force
    )
    reporter.text(
        f"{'' if case.added else 'there already: '}{case.image.name} and {case.label.name} → {arguments.output}"
    )
    return 0
