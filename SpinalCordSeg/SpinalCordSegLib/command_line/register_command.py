"""The command "register": the rigid motion between two images of one person, for programs that show them together."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from SpinalCordSegLib.command_line.progress import Reporter


MOTION = "motion.json"


def add_register(commands: Any, add_common: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command and its arguments."""
    register = commands.add_parser(
        "register",
        help="find the rigid motion between two images of one person",
        description=f"Register two images within 30 mm of their cords. DIR/{MOTION} gets fixed_to_moving (4×4, RAS mm),"
        " the mutual information, and whether a vertebra further up or down fits nearly as well.",
    )
    for name, words in (
        ("fixed", "image that stays"),
        ("fixed_mask", "its cord"),
        ("moving", "the other image"),
        ("moving_mask", "its cord"),
    ):
        register.add_argument(name, type=Path, metavar=name.upper(), help=words)
    register.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the motion")
    add_common(register)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Returns the exit code. Raises SpinalCordSegError for what stands in the way."""
    import numpy as np

    from SpinalCordSegLib.errors import GeometryError, VoxelError
    from SpinalCordSegLib.image_io import read_image, read_labels, select_label, write_json
    from SpinalCordSegLib.longitudinal.registration import register_rigid
    from SpinalCordSegLib.volume import Volume

    def visit(image: Path, mask: Path) -> tuple[Volume, Volume]:
        volume, cord = read_image(image).volume, select_label(read_labels(mask), None, mask.name)
        if not volume.same_grid(cord):
            raise GeometryError(f"{mask.name} lies on another grid than {image.name}: give the mask of this very image")
        if not np.any(cord.voxels):
            raise VoxelError(f"{mask.name} holds no cord: without one nothing tells where to look")
        return volume, cord

    reporter.progress("read", 0, 0)
    fixed, moving = visit(arguments.fixed, arguments.fixed_mask), visit(arguments.moving, arguments.moving_mask)
    reporter.progress("register", 0, 0)
    found = register_rigid(*fixed, *moving)
    if not np.isfinite(found.metric):
        raise GeometryError("no part of the two images lies on each other: give two images of the same neck")
    path = arguments.output / MOTION
    write_json(
        path,
        {
            "fixed_to_moving": np.round(found.fixed_to_moving, 9).tolist(),
            "mutual_information": found.metric,
            "ambiguous": bool(found.ambiguous),
        },
    )
    reporter.text(f"mutual information {found.metric:.3f} → {path}")
    return 0
