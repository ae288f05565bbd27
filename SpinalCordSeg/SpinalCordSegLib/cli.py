"""``spinalcordseg``: the commands and their arguments. What a command does is imported when it runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from SpinalCordSegLib.console import (
    Parser,
    Reporter,
    add_command,
    length_mm,
    mm_range,
    new_program,
    run_program,
    slice_range,
)
from SpinalCordSegLib.version import SOFTWARE_VERSION

_CASE_HELP = "what segment or measure wrote for one case"
_MODEL_HELP = "a name that models lists, a weights file, or a training run (default: the model that comes along)"
_SERIES_HELP = "which DICOM series of it: its number, description or UID"
_RANGE = "Z0:Z1"
_RANGE_HELP = (
    "measure only these slices: indices of the input's own slices, from 0, the second one not included"
    " (10:20 measures slices 10 to 19)"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (see console.py)."""
    return run_program(build_parser(), argv)


def _add(commands: Any, name: str, help: str, description: str = "", **more: Any) -> Parser:
    """A command that the function of that name in ``commands`` does."""

    def run(arguments: argparse.Namespace, reporter: Reporter) -> int | None:
        from SpinalCordSegLib import commands as done

        code: int | None = getattr(done, name.replace("-", "_"))(arguments, reporter)
        return code

    return add_command(commands, name, run, help, description, **more)


def build_parser() -> Parser:
    """The parser of all commands."""
    parser, commands = new_program(
        "spinalcordseg",
        "Segment and measure the cervical spinal cord in MRI. Research use, not for diagnosis.",
        "Exit codes: 0 done, 1 some case of a batch failed, 2 usage or a single bad input, 130 cancelled.",
    )
    parser.add_argument("--version", action="version", version=f"spinalcordseg {SOFTWARE_VERSION}")
    _add_segment(commands)
    _add_measure(commands)
    _add_correct(commands)
    _add_review(commands)
    _add_cohort(commands)
    _add_follow_up(commands)
    repeatability = _add(
        commands, "repeatability", "measure how far repeated scans on your own scanner scatter, for follow-up",
        "Compare scans of persons who were scanned again within weeks, and keep the CoV of their areas, and the scatter"
        " of the change from the images, for that scanner, protocol and model. follow-up takes it for visits made so.",
    )  # fmt: skip
    repeatability.add_argument(
        "manifest", type=Path, metavar="MANIFEST", help="as for follow-up; without date or day: scanned on one day"
    )
    _add_propagate(commands)
    _add_export(commands)
    _add_training_set(commands)
    models = _add(commands, "models", "list the models at hand, or explain one")
    models.add_argument("model", nargs="?", metavar="MODEL", help="a listed name, or a weights file")
    demo = _add(commands, "demo", "segment a phantom neck whose cord volume is known exactly")
    demo.add_argument(
        "--output", type=Path, default=Path("spinalcordseg-demo"), metavar="DIR", help="default: %(default)s"
    )
    demo.add_argument("--model", metavar="MODEL", help=_MODEL_HELP)
    return parser


def _add_segment(commands: Any) -> None:
    segment = _add(
        commands, "segment", "find the cord in MR images and measure it",
        "Find the cord and measure it: DIR/CASE/ gets mask, report.json, slices.csv, montage.png and report.html, DIR"
        " gets summary.csv. A finished result is kept and counts as done. The arguments of a BIDS app are taken too:"
        " segment BIDS_DIR OUTPUT_DIR participant|group.",
    )  # fmt: skip
    add = segment.add_argument
    add(
        "inputs", nargs="+", type=Path, metavar="INPUT",
        help="NIfTI, NRRD or MHA/MHD file, DICOM folder or file, or a folder of image files",
    )  # fmt: skip
    _add_output(segment, is_required=False)
    add(
        "--participant-label",
        nargs="+",
        metavar="LABEL",
        help="of a BIDS folder, these participants; with or without sub-",
    )
    add("--model", metavar="MODEL", help=_MODEL_HELP)
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="default: %(default)s")
    add("--threshold", type=float, metavar="P", help="probability of cord (default: 0.5, on T2w the model's own)")
    add(
        "--smooth-z", type=length_mm, default=0.8, metavar="MM",
        help="for slices thinner than twice this, the probability is smoothed along z by this SD, and where the image"
        " shows no edge the area follows the slices around (default: 0.8; 0: each slice by itself)",
    )  # fmt: skip
    add("--save-probability", action="store_true", help="write the probability map too")
    add("--series", metavar="NAME", help="which DICOM series: its number, description or UID")
    add("--keep-date", action="store_true", help="write the day of the scan to report.json (for follow-up); else none")
    add("--scheduler", metavar="ADDRESS", help="compute on the workers of this dask scheduler, as tcp://host:8786")
    _add_levels(segment)


def _add_measure(commands: Any) -> None:
    measure = _add(
        commands, "measure", "measure the cord in masks made elsewhere",
        "Measure cord masks: the same outputs as segment.",
    )  # fmt: skip
    add = measure.add_argument
    add("inputs", nargs="+", type=Path, metavar="MASK", help="label map file, or a folder of them")
    add("--label", type=int, metavar="N", help="which label is the cord, where there are several")
    add("--image", type=Path, metavar="FILE", help="the image behind a single mask, for the pictures")
    _add_output(measure)
    _add_levels(measure)


def _add_correct(commands: Any) -> None:
    correct = _add(
        commands, "correct", "take a corrected mask into its finished case, or correct some of its slices",
        "Measure a corrected mask and put it into its case folder, whose files are replaced all at once. The mask"
        " before any correction stays beside it (mask_ai), and the changes are reported. Slices are indices of the"
        " input's own slices, from 0.",
    )  # fmt: skip
    add = correct.add_argument
    add("case", type=Path, metavar="CASE_FOLDER", help=_CASE_HELP)
    how = correct.add_mutually_exclusive_group()
    how.add_argument("mask", nargs="?", type=Path, metavar="MASK", help="the corrected mask, on the same grid")
    how.add_argument(
        "--rerun", type=slice_range, metavar=_RANGE, help="segment these slices again by the model; needs --image"
    )
    how.add_argument(
        "--fill", type=slice_range, metavar=_RANGE, help="draw anew the slices between Z0 and Z1, both of them good"
    )
    how.add_argument(
        "--restore", type=int, metavar="N", help="a version that review CASE_FOLDER lists; 0: the mask it began as"
    )
    how.add_argument("--smooth", type=slice_range, metavar=_RANGE, help="smooth these slices along the cord")
    add("--label", type=int, metavar="N", help="which label of MASK is the cord")
    add("--image", type=Path, metavar="FILE", help="the image behind it, for the pictures")
    add("--series", metavar="NAME", help=_SERIES_HELP)
    add("--by", default="", metavar="NAME", help="who corrected it")
    add("--reopen", action="store_true", help="also where the case was accepted; needs --by")
    add("--disc", action="append", metavar="DISC", help='as for measure, also alone; "": none')
    add("--found", action="append", metavar="DISC", help="as for measure")
    add(
        "--model", metavar="MODEL",
        help="for --rerun: a name that models lists, or a weights file (default: the case's own model)",
    )  # fmt: skip


def _add_review(commands: Any) -> None:
    review = _add(
        commands, "review", "list what is to be reviewed, and accept or reject cases",
        "Without a decision: the cases in FOLDER with their states, the next one to look at with its flagged slices,"
        " the worst first, FOLDER/review.csv with one row a case, and FOLDER/index.html to review them in a browser, of"
        " which --from takes in the decisions. States are kept in the cases' own folders, so the work can be left and"
        " taken up at any time. FOLDER/history.csv has one row for every act on a case. Of a single case its history"
        " and the versions of its mask are listed.",
    )  # fmt: skip
    add = review.add_argument
    add("folder", type=Path, metavar="FOLDER", help="what segment wrote its results into, or one case")
    add("--case", metavar="NAME", help="this case, instead of the next open one")
    add(
        "--seen", action="append", default=[], metavar="SLICE",
        help='these slices were looked at: the input\'s own, as in the list; a number, or "all" flagged ones',
    )  # fmt: skip
    add(
        "--from", dest="table", type=Path, metavar="TABLE",
        help="take in the decisions of a table with the columns case and state, as the page saves it: accepted,"
        " rejected, to correct; a case that somebody decided on since, or whose mask changed, stays as it is",
    )  # fmt: skip
    states = review.add_mutually_exclusive_group()
    for option, state, text in (
        ("--accept", "accepted", "accept the case"),
        ("--reject", "rejected", "reject it: it is not exported any more"),
        ("--reopen", "in review", "take a decision back; one to accept needs --by"),
    ):
        states.add_argument(option, dest="state", action="store_const", const=state, help=text)
    add("--by", default="", metavar="NAME", help="who looks and decides; needed to accept and to reject")


def _add_cohort(commands: Any) -> None:
    cohort = _add(
        commands, "cohort", "report on the areas of many cases: outliers, scanners, groups, repeats",
        "Write FOLDER/cohort.html with the distribution of the areas, outliers by name, means of groups and scanners"
        " with intervals, agreement of repeated scans and the persons that a study needs; cohort_cases.csv and"
        " cohort_statistics.csv hold the numbers. Rejected cases are left out.",
    )  # fmt: skip
    add = cohort.add_argument
    add("folder", type=Path, metavar="FOLDER", help="what segment or measure wrote its results into")
    add(
        "--people", type=Path, metavar="TABLE",
        help="a row a case (case or image: the end of its path) or a person (participant_id), with person, group, site"
        " and session; BIDS participants.tsv is one",
    )  # fmt: skip
    add(
        "--effect", action="append", type=float, metavar="PERCENT",
        help="difference of two groups that a study is to detect, in %% of the mean (repeatable; default: 2, 5, 10)",
    )  # fmt: skip


def _add_follow_up(commands: Any) -> None:
    follow_up = _add(
        commands, "follow-up", "follow a person's cord over several visits",
        "Compare results of segment or measure over time, on the range that all visits cover, at the same distance"
        " from the disc C2/C3 or after rigid registration of the images. DIR gets follow_up.json, follow_up.csv and"
        " follow_up.html for a person; for a manifest one folder per person and cohort.csv. Of a folder of cases"
        " (RESULTS) the manifest is made, DIR/visits.csv, by BIDS names or patient IDs.",
        epilog="MANIFEST: CSV with the columns person, folder and date or day; optional disc (R,A,S in mm), image,"
        " series, scanner, field_strength, sequence, contrast_agent, distortion_correction; of the person age, group,"
        " sex, site, for the change per year of a cohort (rates.html).",
    )  # fmt: skip
    add = follow_up.add_argument
    add(
        "visits", nargs="+", type=Path, metavar="FOLDER|RESULTS|MANIFEST",
        help="case folders, one per visit; or what segment wrote the visits of many persons into; or one manifest of"
        " the visits of one or many persons (see below)",
    )  # fmt: skip
    add("--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    add("--person", default="person", metavar="CODE", help="what the person is called (default: person)")
    each = follow_up.add_argument_group("for each visit, in the order of the folders")
    each.add_argument("--date", action="append", metavar="YYYY-MM-DD", help="default: what report.json keeps")
    each.add_argument(
        "--disc", action="append", metavar="PLACE", help='disc C2/C3: R,A,S in mm, or the slice; "" if unknown'
    )
    each.add_argument(
        "--image", action="append", type=Path, metavar="FILE",
        help="to register, where a disc is unknown; with RESULTS the folder of all images (default: of BIDS, where"
        " RESULTS is BIDS_DIR/derivatives/NAME)",
    )  # fmt: skip
    each.add_argument("--scanner", action="append", metavar="NAME", help="where no DICOM header names it")
    add(
        "--range-mm", type=mm_range, metavar="LOW:HIGH",
        help="only this range, mm from the disc C2/C3, + up (C2-C3: -18.5:15.5); one visit at least has to have it",
    )  # fmt: skip
    add("--age", type=float, metavar="YEARS", help="at the first visit, for the healthy band")
    add("--keep-dates", action="store_true", help="write the dates of the visits; else only days apart")
    add(
        "--keep-flagged", action="store_true",
        help="compare flagged slices too; else they are left out in all visits until theirs is accepted in review",
    )  # fmt: skip
    add("--same-person", action="store_true", help="vouch that a patient ID that changed is the same person's")
    group = follow_up.add_argument_group("repeatability: the CoV of an area in %, and where it was measured")
    for name, text in (("same", "on one scanner"), ("between", "between scanners")):
        group.add_argument(
            f"--cov-{name}",
            nargs=2,
            metavar=("PERCENT", "SOURCE"),
            help=f"{text} (default: the model's own where its card states one, else a published one; printed)",
        )


def _add_propagate(commands: Any) -> None:
    propagate = _add(
        commands, "propagate", "propagate a mask to another image of the same study, as STIR",
        "Register the other image to the one that was segmented (rigidly, around the cord) and put the mask on its"
        " grid. DIR gets propagated.nii.gz, fit.png to judge the fit by, and propagated.json with the metric, the"
        " motion, and what speaks against trusting it. Both images have to lie in the scanner's coordinates.",
    )  # fmt: skip
    add = propagate.add_argument
    add("mask", type=Path, metavar="MASK", help="a mask file, or the folder of a finished case")
    add("--image", type=Path, required=True, metavar="FILE", help="the image that was segmented")
    add("--to", type=Path, required=True, metavar="FILE", help="the other image")
    add("--series", metavar="NAME", help="which DICOM series of --image")
    add("--to-series", metavar="NAME", help="which DICOM series of --to")
    add("--label", type=int, metavar="N", help="which label of the mask file is the cord")
    add("--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    add("--force", action="store_true", help="replace files that are there")


def _add_export(commands: Any) -> None:
    export = _add(
        commands, "export", "write a finished case as DICOM segmentation, measurements and report, or many as BIDS",
        "Write a finished case as DICOM: segmentation (SEG), measurements (structured report) and the report as PDF;"
        " all three without --only. Measurements bring the segmentation that they refer to. Or, with --bids, all cases"
        " of a folder but rejected ones as a derivative data set of BIDS.",
    )  # fmt: skip
    add = export.add_argument
    add("case", type=Path, metavar="CASE_FOLDER", help=f"{_CASE_HELP}; for --bids also a folder of cases")
    to = export.add_mutually_exclusive_group(required=True)
    to.add_argument(
        "--dicom", type=Path, metavar="SOURCE_SERIES", help="folder (or a file) of the series it was made from"
    )
    to.add_argument("--bids", action="store_true", help="masks and tables as BIDS derivatives, into an empty folder")
    add("--series", metavar="NAME", help=_SERIES_HELP)
    add("--output", type=Path, required=True, metavar="DIR", help="folder for the files")
    add(
        "--only", action="append", choices=("seg", "sr", "pdf"),
        help="CASE.seg.dcm, the mask; CASE.sr.dcm, the measurements; or CASE.pdf.dcm, the report (repeatable)",
    )  # fmt: skip
    add("--by", default="", metavar="NAME", help="who exports it, for the history of the case")
    add("--drawn-by-hand", action="store_true", help="a person drew the mask that was measured")
    add(
        "--vouch", default="", metavar="REASON",
        help="the series is a copy of the case's own images under another patient ID; kept in the history, with --by",
    )  # fmt: skip
    add("--image", type=Path, metavar="FILE", help="the image the case was made from, if converted from that series")
    add("--force", action="store_true", help="replace files that are there")


def _add_training_set(commands: Any) -> None:
    command = _add(
        commands, "training-set", "add a corrected or accepted case to a training set",
        "Write image and label map (1 is the cord), named sub-CODE_ses-NN, and where they are from. Train with:"
        " spinalcordseg-train train DIR --from MODEL"
        " --only-labelled --output RUN. Images are not made unrecognisable: a whole head still has its face.",
    )  # fmt: skip
    add = command.add_argument
    add("case", type=Path, metavar="CASE_FOLDER", help=_CASE_HELP)
    add("--image", type=Path, required=True, metavar="FILE", help="the image that was segmented")
    add("--series", metavar="NAME", help=_SERIES_HELP)
    add("--subject", required=True, metavar="CODE", help="letters and digits; the same for a person")
    add("--output", type=Path, required=True, metavar="DIR", help="the training set")
    add("--by", default="", metavar="NAME", help="who adds it, for the history of the case")
    add("--force", action="store_true", help="replace an earlier mask of this very image")


def _add_output(parser: Parser, is_required: bool = True) -> None:
    formats = ("nii.gz", "seg.nrrd", "nrrd")
    add = parser.add_argument
    add("--output", type=Path, required=is_required, metavar="DIR", help="folder for the results")
    add("--mask-format", choices=formats, default="nii.gz", help="default: %(default)s")
    add("--range", type=slice_range, metavar=_RANGE, help=_RANGE_HELP)
    add("--force", action="store_true", help="replace finished results")
    add("--code", metavar="CODE", help="name the result CODE (CODE_2 … for further inputs), never after a file")


def _add_levels(parser: Parser) -> None:
    group = parser.add_argument_group(
        "vertebral levels",
        "Discs are yours or found in the image. C2/C3 alone gives C2 and C3, approximately; a second one near C7/T1"
        " gives the levels between.",
    )
    add = group.add_argument
    add(
        "--disc", action="append", metavar="DISC",
        help="a disc, such as C2/C3: LABEL=R,A,S in mm or LABEL=SLICE of the input; or a file: Slicer's markups, or a"
        " label map of discs, levels or vertebrae by SCT, TotalSegmentator or TotalSpineSeg; points inside the cord:"
        " discs=FILE or vertebrae=FILE (repeatable; one input only); or a table of all inputs (.csv, .tsv) with the"
        " columns image, disc, R_mm, A_mm, S_mm, and age and sex where known",
    )  # fmt: skip
    add("--found", action="append", metavar="DISC", help="as --disc, of discs that nobody confirmed yet")
    add("--no-find", action="store_true", help="do not look for discs in the image where none is given")
    add("--around", type=float, metavar="MM", help="also the mean area within MM of the disc C2/C3")
    add("--age", type=float, metavar="YEARS", help="compare C2 with healthy adults; not written itself")
    add("--sex", choices=("male", "female"), help="for the same comparison")
    add(
        "--declare", action="append", choices=("t1w", "corrected-3d"),
        help="vouch for a T1-weighted image, or 3D distortion correction, where there is no DICOM header (repeatable)",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
