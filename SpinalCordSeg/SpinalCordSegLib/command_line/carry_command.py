"""What ``carry`` does: two images and a mask in; the mask on the other image's grid, a picture and numbers out."""

from __future__ import annotations

import argparse
from pathlib import Path

from SpinalCordSegLib.case import read_mask
from SpinalCordSegLib.command_line.progress import Reporter
from SpinalCordSegLib.errors import InputFileError, OutputError
from SpinalCordSegLib.image_io import atomic_write, read_image, read_labels, select_label, write_json, write_volume
from SpinalCordSegLib.longitudinal.registration import carry_mask, carry_picture
from SpinalCordSegLib.version import SOFTWARE_VERSION
from SpinalCordSegLib.volume import Volume

FILES = ("carried.nii.gz", "carried.json", "fit.png")


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Carry one mask; returns the exit code. Raises SpinalCordSegError for what stands in the way."""
    there = [name for name in FILES if (arguments.output / name).exists()]
    if there and not arguments.force:
        raise OutputError(f"{arguments.output / there[0]} is there already; choose another folder, or --force")
    reporter.progress("read", 0, 0)
    image = read_image(arguments.image, arguments.series).volume
    target = read_image(arguments.to, arguments.to_series).volume
    mask = _mask(arguments.mask, arguments.label)
    reporter.progress("register", 0, 0)
    carried = carry_mask(image, mask, target)
    picture = carry_picture(image, mask, target, carried)
    write_volume(carried.mask, arguments.output / FILES[0])
    write_json(arguments.output / FILES[1], carried.as_dict() | {"software_version": SOFTWARE_VERSION})
    with atomic_write(arguments.output / FILES[2]) as temporary:
        temporary.write_bytes(picture)
    reporter.text(
        f"moved {carried.moved_mm:.1f} mm, turned {carried.turned_deg:.1f}°, {100 * carried.coverage:.0f} % of the mask"
        f" within the other image → {arguments.output / FILES[0]}"
    )
    for doubt in carried.doubts:
        reporter.text(f"DOUBTFUL: {doubt}")
    reporter.text(f"look at the fit: {arguments.output / FILES[2]}")
    return 0


def _mask(path: Path, label: int | None) -> Volume:
    if not path.is_dir():
        return select_label(read_labels(path), label, path.name)
    mask = read_mask(path)
    if mask is None:
        raise InputFileError(f"{path} holds no mask: give a mask file, or the folder of a finished case")
    return mask
