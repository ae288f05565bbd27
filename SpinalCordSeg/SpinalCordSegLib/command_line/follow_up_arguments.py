"""The arguments of ``track``; nothing is loaded for them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any


def add_track(commands: Any, add_common: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command and its arguments."""
    track = commands.add_parser(
        "track",
        help="follow a person's cord over several visits",
        description="Compare results of segment or measure over time, on the range that all visits cover, at the same"
        " distance from the disc C2/C3 or after rigid registration of the images. DIR gets follow_up.json,"
        " follow_up.csv and follow_up.html for a person; for a manifest one folder per person and cohort.csv.",
        epilog="Manifest: CSV with the columns person, folder and date or day; optional disc (R,A,S in mm), image,"
        " series, scanner, field_strength, sequence, contrast_agent, distortion_correction, age, sex.",
    )
    track.add_argument("visits", nargs="*", type=Path, metavar="FOLDER", help="result folders, one per visit")
    track.add_argument("--manifest", type=Path, metavar="FILE", help="visits of one or many persons (see below)")
    track.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    track.add_argument("--person", default="person", metavar="CODE", help="what the person is called (default: person)")
    _add_per_visit(track)
    track.add_argument(
        "--range-mm",
        metavar="LOW:HIGH",
        help="only this stretch, mm from the disc C2/C3, + up (C2-C3: -18.5:15.5); one visit at least has to have it",
    )
    track.add_argument("--age", type=float, metavar="YEARS", help="at the first visit, for the healthy band")
    track.add_argument("--keep-dates", action="store_true", help="write the dates of the visits; else only days apart")
    track.add_argument(
        "--keep-flagged",
        action="store_true",
        help="compare flagged slices too; else they are left out in all visits until theirs is accepted in review",
    )
    track.add_argument(
        "--drawings", action="store_true", help="the two figures as shapes too, for programs (follow_up.drawings.json)"
    )
    _add_repeatability(track)
    add_common(track)


def _add_per_visit(track: argparse.ArgumentParser) -> None:
    each = track.add_argument_group("for each visit, in the order of the folders")
    each.add_argument("--date", action="append", metavar="YYYY-MM-DD", help="default: what report.json keeps")
    each.add_argument(
        "--disc", action="append", metavar="PLACE", help='disc C2/C3: R,A,S in mm, or the slice; "" if unknown'
    )
    each.add_argument(
        "--image", action="append", type=Path, metavar="FILE", help="to register, where a disc is unknown"
    )
    each.add_argument("--scanner", action="append", metavar="NAME", help="where no DICOM header told it")


def _add_repeatability(track: argparse.ArgumentParser) -> None:
    group = track.add_argument_group("repeatability: the CoV of an area in %%, and where it was measured")
    for name, words in (("same", "on one scanner"), ("between", "between scanners")):
        group.add_argument(
            f"--cov-{name}",
            type=float,
            metavar="PERCENT",
            help=f"{words} (default: the model's own where its card states one, else a published one; printed)",
        )
        group.add_argument(f"--cov-{name}-source", metavar="TEXT", help="its source; has to go with it")
