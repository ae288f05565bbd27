"""The command "export": a finished case as DICOM objects in the study of its source series."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from SpinalCordSegLib.command_line.progress import Reporter


_WORDS = {"seg": "segmentation", "sr": "measurements", "pdf": "report"}


def add_export(commands: Any, add_common: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command and its arguments."""
    export = commands.add_parser(
        "export",
        help="write a finished case as DICOM segmentation, measurements and report",
        description="Write a finished case as DICOM: segmentation (SEG), measurements (structured report) and the"
        " report as PDF; all three where none is named. Measurements bring the segmentation that they refer to.",
    )
    export.add_argument("case", type=Path, metavar="CASE_FOLDER", help="what segment or measure wrote for one case")
    export.add_argument(
        "--dicom", type=Path, required=True, metavar="SOURCE_SERIES",
        help="folder (or a file) of the series it was made from",
    )  # fmt: skip
    export.add_argument("--series", metavar="NAME", help="which series of it: its number, description or UID")
    export.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the files")
    export.add_argument("--seg", action="store_true", help="the mask as DICOM segmentation, CASE.seg.dcm")
    export.add_argument("--sr", action="store_true", help="the measurements as structured report, CASE.sr.dcm")
    export.add_argument("--pdf", action="store_true", help="the report as encapsulated PDF, CASE.pdf.dcm")
    export.add_argument("--drawn-by-hand", action="store_true", help="a person drew the mask that was measured")
    export.add_argument(
        "--image", type=Path, metavar="FILE", help="the image the case was made from, if converted from that series"
    )
    export.add_argument("--force", action="store_true", help="replace files that are there")
    add_common(export)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Export one case; returns the exit code. Raises SpinalCordSegError for what stands in the way."""
    from SpinalCordSegLib.dicom import find_series
    from SpinalCordSegLib.dicom_export import KINDS, load_export, refuse_other_than_dicom, write_export

    kinds = [kind for kind in KINDS if getattr(arguments, kind)] or list(KINDS)
    refuse_other_than_dicom(arguments.dicom)
    reporter.progress("read", 0, 0)
    series = find_series(arguments.dicom, arguments.series)
    export = load_export(arguments.case, series, arguments.drawn_by_hand, arguments.image)
    reporter.progress("write", 0, 0)
    files = write_export(export, kinds, arguments.output, arguments.force)
    for kind, path in files.items():
        beside = " (the measurements refer to it)" if kind not in kinds else ""
        reporter.text(f"{_WORDS[kind]}{beside} → {path}")
    return 0
