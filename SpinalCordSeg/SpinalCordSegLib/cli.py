"""``spinalcordseg``: the commands and what each does. What a command needs is imported when it runs."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SpinalCordSegLib.console import (
    BAD_INPUT,
    DONE,
    SOME_FAILED,
    Parser,
    Reporter,
    add_command,
    length_mm,
    new_program,
    run_program,
    slice_range,
)
from SpinalCordSegLib.errors import (
    ConfigurationError,
    InputFileError,
    ModelFileError,
    OutputError,
)
from SpinalCordSegLib.version import SOFTWARE_VERSION

if TYPE_CHECKING:
    from SpinalCordSegLib.batch import LoadedCase
    from SpinalCordSegLib.case import Case
    from SpinalCordSegLib.image_io import Image
    from SpinalCordSegLib.longitudinal.change import FollowUpOptions, Repeatability
    from SpinalCordSegLib.longitudinal.visits import PersonSource, VisitSource
    from SpinalCordSegLib.vertebral_levels import DiscMark, LevelOptions
    from SpinalCordSegLib.volume import Volume
    from SpinalCordSegLib.work_list import WorkItem, WorkList

_log = logging.getLogger(__name__)

_CASE_HELP = "what segment or measure wrote for one case"
_MODEL_HELP = "a name that models lists, or a weights file (default: the model that comes along)"
_SERIES_HELP = "which DICOM series of it: its number, description or UID"
_RANGE = "Z0:Z1"
_RANGE_HELP = (
    "measure only these slices: indices of the input's own slices, from 0, the second one not included"
    " (10:20 measures slices 10 to 19)"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (see console.py)."""
    return run_program(build_parser(), argv)


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
    _add_follow_up(commands)
    _add_propagate(commands)
    _add_export(commands)
    _add_training_set(commands)
    models = add_command(commands, "models", _models, "list the models at hand, or explain one")
    models.add_argument("model", nargs="?", metavar="MODEL", help="a listed name, or a weights file")
    demo = add_command(commands, "demo", _demo, "segment a phantom neck whose cord volume is known exactly")
    demo.add_argument(
        "--output", type=Path, default=Path("spinalcordseg-demo"), metavar="DIR", help="default: %(default)s"
    )
    demo.add_argument("--model", metavar="MODEL", help=_MODEL_HELP)
    return parser


def _add_segment(commands: Any) -> None:
    segment = add_command(
        commands, "segment", _segment, "find the cord in MR images and measure it",
        "Find the cord and measure it: DIR/CASE/ gets mask, report.json, slices.csv, montage.png and report.html, DIR"
        " gets summary.csv. A finished result is kept and counts as done.",
    )  # fmt: skip
    add = segment.add_argument
    add(
        "inputs", nargs="+", type=Path, metavar="INPUT",
        help="NIfTI, NRRD or MHA/MHD file, DICOM folder or file, or a folder of image files",
    )  # fmt: skip
    _add_output(segment)
    add("--model", metavar="MODEL", help=_MODEL_HELP)
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="default: %(default)s")
    add("--threshold", type=float, default=0.5, metavar="P", help="probability of cord (default: 0.5)")
    add(
        "--smooth-z", type=length_mm, metavar="MM",
        help="for slices thinner than twice this, the probability is smoothed along z by this SD, and where the image"
        " shows no edge the area follows the slices around (default: 0.8; 0: each slice by itself)",
    )  # fmt: skip
    add("--save-probability", action="store_true", help="write the probability map too")
    add("--series", metavar="NAME", help="which DICOM series: its number, description or UID")
    add("--keep-date", action="store_true", help="write the day of the scan to report.json (for follow-up); else none")
    add("--scheduler", metavar="ADDRESS", help="compute on the workers of this dask scheduler, as tcp://host:8786")
    _add_levels(segment)


def _add_measure(commands: Any) -> None:
    measure = add_command(
        commands, "measure", _measure, "measure the cord in masks made elsewhere",
        "Measure cord masks: the same outputs as segment.",
    )  # fmt: skip
    add = measure.add_argument
    add("inputs", nargs="+", type=Path, metavar="MASK", help="label map file, or a folder of them")
    add("--label", type=int, metavar="N", help="which label is the cord, where there are several")
    add("--image", type=Path, metavar="FILE", help="the image behind a single mask, for the pictures")
    _add_output(measure)
    _add_levels(measure)


def _add_correct(commands: Any) -> None:
    correct = add_command(
        commands, "correct", _correct, "take a corrected mask into its finished case, or correct some of its slices",
        "Measure a corrected mask and put it into its case folder, whose files are replaced all at once. The mask"
        " before any correction stays beside it (mask_ai), and the changes are reported. Slices are indices of the"
        " input's own slices, from 0.",
    )  # fmt: skip
    add = correct.add_argument
    add("case", type=Path, metavar="CASE_FOLDER", help=_CASE_HELP)
    how = correct.add_mutually_exclusive_group(required=True)
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
    add("--disc", action="append", metavar="DISC", help="as for measure")
    add(
        "--model", metavar="MODEL",
        help="for --rerun: a name that models lists, or a weights file (default: the case's own model)",
    )  # fmt: skip


def _add_review(commands: Any) -> None:
    review = add_command(
        commands, "review", _review, "list what is to be reviewed, and accept or reject cases",
        "Without a decision: the cases in FOLDER with their states, the next one to look at with its flagged slices,"
        " the worst first, and FOLDER/review.csv with one row a case. States are kept in the cases' own folders, so"
        " the work can be left and taken up at any time. FOLDER/history.csv has one row for every act on a case. Of a"
        " single case its history and the versions of its mask are listed.",
    )  # fmt: skip
    add = review.add_argument
    add("folder", type=Path, metavar="FOLDER", help="what segment wrote its results into, or one case")
    add("--case", metavar="NAME", help="this case, instead of the next open one")
    add(
        "--seen", action="append", default=[], metavar="SLICE",
        help='these slices were looked at: the input\'s own, as in the list; a number, or "all" flagged ones',
    )  # fmt: skip
    states = review.add_mutually_exclusive_group()
    for option, state, text in (
        ("--accept", "accepted", "accept the case"),
        ("--reject", "rejected", "reject it: it is not exported any more"),
        ("--reopen", "in review", "take a decision back; one to accept needs --by"),
    ):
        states.add_argument(option, dest="state", action="store_const", const=state, help=text)
    add("--by", default="", metavar="NAME", help="who looks and decides; needed to accept and to reject")


def _add_follow_up(commands: Any) -> None:
    follow_up = add_command(
        commands, "follow-up", _follow_up, "follow a person's cord over several visits",
        "Compare results of segment or measure over time, on the range that all visits cover, at the same distance"
        " from the disc C2/C3 or after rigid registration of the images. DIR gets follow_up.json, follow_up.csv and"
        " follow_up.html for a person; for a manifest one folder per person and cohort.csv.",
        epilog="MANIFEST: CSV with the columns person, folder and date or day; optional disc (R,A,S in mm), image,"
        " series, scanner, field_strength, sequence, contrast_agent, distortion_correction, age.",
    )  # fmt: skip
    add = follow_up.add_argument
    add(
        "visits", nargs="+", type=Path, metavar="FOLDER|MANIFEST",
        help="case folders, one per visit; or one manifest of the visits of one or many persons (see below)",
    )  # fmt: skip
    add("--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    add("--person", default="person", metavar="CODE", help="what the person is called (default: person)")
    each = follow_up.add_argument_group("for each visit, in the order of the folders")
    each.add_argument("--date", action="append", metavar="YYYY-MM-DD", help="default: what report.json keeps")
    each.add_argument(
        "--disc", action="append", metavar="PLACE", help='disc C2/C3: R,A,S in mm, or the slice; "" if unknown'
    )
    each.add_argument(
        "--image", action="append", type=Path, metavar="FILE", help="to register, where a disc is unknown"
    )
    each.add_argument("--scanner", action="append", metavar="NAME", help="where no DICOM header names it")
    add(
        "--range-mm", metavar="LOW:HIGH",
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
    propagate = add_command(
        commands, "propagate", _propagate, "propagate a mask to another image of the same study, as STIR",
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
    export = add_command(
        commands, "export", _export, "write a finished case as DICOM segmentation, measurements and report",
        "Write a finished case as DICOM: segmentation (SEG), measurements (structured report) and the report as PDF;"
        " all three without --only. Measurements bring the segmentation that they refer to.",
    )  # fmt: skip
    add = export.add_argument
    add("case", type=Path, metavar="CASE_FOLDER", help=_CASE_HELP)
    add(
        "--dicom", type=Path, required=True, metavar="SOURCE_SERIES",
        help="folder (or a file) of the series it was made from",
    )  # fmt: skip
    add("--series", metavar="NAME", help=_SERIES_HELP)
    add("--output", type=Path, required=True, metavar="DIR", help="folder for the files")
    add(
        "--only", action="append", choices=("seg", "sr", "pdf"),
        help="CASE.seg.dcm, the mask; CASE.sr.dcm, the measurements; or CASE.pdf.dcm, the report (repeatable)",
    )  # fmt: skip
    add("--by", default="", metavar="NAME", help="who exports it, for the history of the case")
    add("--drawn-by-hand", action="store_true", help="a person drew the mask that was measured")
    add("--image", type=Path, metavar="FILE", help="the image the case was made from, if converted from that series")
    add("--force", action="store_true", help="replace files that are there")


def _add_training_set(commands: Any) -> None:
    command = add_command(
        commands, "training-set", _training_set, "add a corrected or accepted case to a training set",
        "Write image and label map (1 is the cord) with a label description as ITK-SNAP has them, named"
        " sub-CODE_ses-NN, and where they are from. Train with: spinalcordseg-train train DIR --from MODEL"
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


def _add_output(parser: Parser) -> None:
    formats = ("nii.gz", "seg.nrrd", "nrrd")
    add = parser.add_argument
    add("--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    add("--mask-format", choices=formats, default="nii.gz", help="default: %(default)s")
    add("--range", type=slice_range, metavar=_RANGE, help=_RANGE_HELP)
    add("--force", action="store_true", help="replace finished results")
    add("--code", metavar="CODE", help="name the result CODE (CODE_2 … for further inputs), never after a file")


def _add_levels(parser: Parser) -> None:
    group = parser.add_argument_group(
        "vertebral levels",
        "The disc C2/C3 alone gives C2 and C3, approximately; a second one near C7/T1 gives the levels between.",
    )
    add = group.add_argument
    add(
        "--disc", action="append", metavar="DISC",
        help="a disc, such as C2/C3: LABEL=R,A,S in mm or LABEL=SLICE of the input; or a label map of discs, where 3 is"
        " C2/C3 … 8 is C7/T1 (repeatable; one input only)",
    )  # fmt: skip
    add("--around", type=float, metavar="MM", help="also the mean area within MM of the disc C2/C3")
    add("--age", type=float, metavar="YEARS", help="compare C2 with healthy adults; not written itself")
    add("--sex", choices=("male", "female"), help="for the same comparison")
    add(
        "--declare", action="append", choices=("t1w", "corrected-3d"),
        help="vouch for a T1-weighted image, or 3D distortion correction, where there is no DICOM header (repeatable)",
    )  # fmt: skip


# segment, measure, demo


def _segment(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from SpinalCordSegLib.batch import Cluster, LoadedCase, finished_folders
    from SpinalCordSegLib.image_io import find_inputs, read_image
    from SpinalCordSegLib.model.checkpoint import find_model, load_checkpoint
    from SpinalCordSegLib.pipeline import SegmentOptions, canonical_range, fingerprint, segment_image
    from SpinalCordSegLib.postprocessing import check_threshold

    inputs = find_inputs(arguments.inputs)
    options = SegmentOptions(
        threshold=arguments.threshold,
        smooth_z_mm=SegmentOptions.smooth_z_mm if arguments.smooth_z is None else arguments.smooth_z,
        device=arguments.device,
        track_cord=not arguments.save_probability,
        slice_range=arguments.range,
        levels=_level_options(arguments, len(inputs)),
        keep_date=arguments.keep_date,
    )
    check_threshold(options.threshold)  # refused before the first image is read
    checkpoint = load_checkpoint(find_model(arguments.model))

    def load(path: Path) -> LoadedCase:
        reporter.progress("read")
        image = read_image(path, arguments.series)
        canonical_range(image.volume, options.slice_range)

        def compute() -> Case:
            return segment_image(image, checkpoint, options, progress=reporter.progress)

        return LoadedCase(image.case_name, fingerprint(image.volume), compute, image.identity, image.words)

    if arguments.scheduler is None:
        return _batch(inputs, load, arguments, reporter)
    done = () if arguments.force else finished_folders(arguments.output)
    with Cluster(arguments.scheduler) as cluster:
        remote = cluster.loader(inputs, lambda path: read_image(path, arguments.series), checkpoint, options, done)
        return _batch(inputs, remote, arguments, reporter)


def _measure(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from SpinalCordSegLib.batch import LoadedCase
    from SpinalCordSegLib.case import case_name_of_mask
    from SpinalCordSegLib.image_io import find_inputs, patient_words, read_cord, read_image
    from SpinalCordSegLib.pipeline import fingerprint, measure_mask

    inputs = find_inputs(arguments.inputs, masks=True)
    if arguments.image is not None and len(inputs) > 1:
        raise ConfigurationError(f"--image goes with a single mask, found {len(inputs)}: measure them one by one")
    levels = _level_options(arguments, len(inputs))

    def load(path: Path) -> LoadedCase:
        reporter.progress("read")
        mask, notes = read_cord(path, arguments.label)
        image = None if arguments.image is None else read_image(arguments.image)
        name = case_name_of_mask(path)

        def compute() -> Case:
            return measure_mask(
                mask,
                name,
                image=image,
                slice_range=arguments.range,
                levels=levels,
                progress=reporter.progress,
                notes=notes,
            )

        words = patient_words(path, {}) | (frozenset() if image is None else image.words)
        return LoadedCase(name, fingerprint(mask), compute, words=words)

    return _batch(inputs, load, arguments, reporter)


def _batch(
    inputs: Sequence[Path], load: Callable[[Path], LoadedCase], arguments: argparse.Namespace, reporter: Reporter
) -> int:
    from SpinalCordSegLib.batch import BatchOptions, run_batch
    from SpinalCordSegLib.files import reason
    from SpinalCordSegLib.slice_table import counted

    options = BatchOptions(
        output=arguments.output,
        mask_format=arguments.mask_format,
        save_probability=getattr(arguments, "save_probability", False),
        force=arguments.force,
        # A kept result would lack what was marked, or would still show the image it was measured with before.
        renew=_wants_levels(arguments) or getattr(arguments, "image", None) is not None,
        code=arguments.code,
    )
    reporter.event("start", inputs=len(inputs))
    numbers = iter(range(1, len(inputs) + 1))

    def announced(path: Path) -> LoadedCase:
        reporter.case(path, next(numbers), len(inputs))
        return load(path)

    failed = 0
    for outcome in run_batch(inputs, announced, options):
        if outcome.error is not None:
            failed += 1
            reporter.error(reason(outcome.error), type(outcome.error).__name__, outcome.case_name)
        elif outcome.folder is not None and outcome.case is not None:
            _report_result(outcome.case, outcome.state, outcome.folder, reporter)
            for twin in outcome.twins:
                reporter.attention(
                    f"{outcome.folder} is of the same image as {twin}: keep the one that counts, and move the other"
                    " away"
                )
    if failed and len(inputs) == 1:
        return BAD_INPUT
    if len(inputs) > 1:
        reporter.text(
            f"{len(inputs) - failed} of {counted(len(inputs), 'case')} done → {arguments.output / 'summary.csv'}"
        )
    return SOME_FAILED if failed else DONE


def _tell_remarks(folder: Path, reporter: Reporter) -> None:
    """What is to be known of a case's folder before its figures are used; a folder without a case has none."""
    from SpinalCordSegLib.case import Case

    try:
        remarks = Case.load(folder, needs_slices=False).remarks
    except InputFileError:
        return
    for remark in remarks:
        reporter.attention(remark)


def _report_result(case: Case, state: str, folder: Path, reporter: Reporter) -> None:
    from SpinalCordSegLib.slice_table import counted

    flags = counted(len(case.flags), "flag") if case.flags else "no flags"
    text = f"no cord found, {flags}"
    if case.volume_mm3:
        mean_area = "area not reported" if isnan(case.mean_csa_mm2) else f"mean area {case.mean_csa_mm2:.1f} mm²"
        text = f"volume {case.volume_mm3:.0f} mm³, length {case.length_mm:.1f} mm, {mean_area}"
        text += f", {counted(case.n_slices, 'slice')}, {flags}"
    content = case.as_json()
    wanted = ("volume_mm3", "length_mm", "mean_csa_mm2", "n_slices", "device", "files")
    reporter.result(
        f"{case.name}: {text}{' (kept)' if state == 'kept' else ''} → {folder}", case=case.name, state=state,
        folder=str(folder), n_flags=len(case.flags), **{name: content[name] for name in wanted},
    )  # fmt: skip
    for remark in case.remarks:
        reporter.attention(remark)


def _wants_levels(arguments: argparse.Namespace) -> bool:
    return any(getattr(arguments, name) for name in ("disc", "around", "age", "sex", "declare"))


def _marked_discs(arguments: argparse.Namespace) -> tuple[DiscMark, ...]:
    from SpinalCordSegLib.vertebral_levels import parse_disc, read_discs

    return tuple(
        mark
        for text in arguments.disc or ()
        for mark in ((parse_disc(text),) if "=" in text and not Path(text).exists() else read_discs(Path(text)))
    )


def _level_options(arguments: argparse.Namespace, n_inputs: int) -> LevelOptions:
    """Raises ConfigurationError, and InputFileError and the like for a file of discs."""
    from SpinalCordSegLib.vertebral_levels import LevelOptions, Person

    if _wants_levels(arguments) and n_inputs > 1:
        raise ConfigurationError(
            f"discs, age and sex go with a single input, found {n_inputs}: run them one by one into the same folder"
        )
    marks = _marked_discs(arguments)
    if not marks and _wants_levels(arguments):
        raise ConfigurationError("levels and norms need a marked disc: give --disc C2/C3=R,A,S or --disc FILE")
    return LevelOptions(
        discs=marks,
        around_mm=arguments.around,
        person=Person(arguments.age, arguments.sex),
        declared=tuple(arguments.declare or ()),
    )


def _demo(arguments: argparse.Namespace, reporter: Reporter) -> None:
    from dataclasses import replace

    from SpinalCordSegLib.case import save_case
    from SpinalCordSegLib.image_io import Image, write_volume
    from SpinalCordSegLib.model.checkpoint import find_model, load_checkpoint
    from SpinalCordSegLib.phantom import make_phantom
    from SpinalCordSegLib.pipeline import SegmentOptions, fingerprint, segment_image

    checkpoint = load_checkpoint(find_model(arguments.model))
    file, folder = arguments.output / "phantom.nii.gz", arguments.output / "phantom"
    reporter.progress("make the phantom")
    phantom = make_phantom()
    write_volume(phantom.image, file)
    image = Image(phantom.image, file, "phantom")
    case = segment_image(image, checkpoint, SegmentOptions(), progress=reporter.progress)
    source = replace(case.input, fingerprint=fingerprint(phantom.image))
    case = save_case(replace(case, input=source, truth_volume_mm3=phantom.truth_volume_mm3), folder)
    _report_result(case, "done", folder, reporter)
    reporter.text(
        f"true volume {phantom.truth_volume_mm3:.0f} mm³, found {case.volume_mm3:.0f} mm³:"
        f" error {case.volume_error_percent:+.2f} %\nopen {folder}/report.html"
    )


# models


def _models(arguments: argparse.Namespace, reporter: Reporter) -> int:
    import json
    from dataclasses import asdict

    from SpinalCordSegLib.model.checkpoint import find_model, find_models, load_checkpoint, user_models_folder

    if arguments.model is not None:
        model = load_checkpoint(find_model(arguments.model))
        explained = {"path": str(model.path), **model.card(), "sha256": model.sha256}
        reporter.text(json.dumps(explained, indent=2, ensure_ascii=False, default=asdict))
        return DONE
    found = find_models()
    if not found:
        reporter.text(f"no models found; put weights files (.safetensors) into {user_models_folder()}")
    damaged = False
    for number, path in enumerate(found):
        used = " (used by default)" if number == 0 else ""
        try:
            model = load_checkpoint(path)
        except ModelFileError as error:
            damaged = True
            reporter.error(str(error), type(error).__name__)
            continue
        network = f"{model.network.name}, width {model.network.width}"
        reporter.text(f"{model.name} {model.version}{used}\n  {path}\n  {network}; SHA-256 {model.sha256}")
    return SOME_FAILED if damaged else DONE


# correct, review


def _correct(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from SpinalCordSegLib.case import Case, is_as_measured, read_mask
    from SpinalCordSegLib.correction import store_correction
    from SpinalCordSegLib.image_io import read_image
    from SpinalCordSegLib.metrics import mask_sha256
    from SpinalCordSegLib.slice_table import counted
    from SpinalCordSegLib.vertebral_levels import LevelOptions

    reporter.progress("read")
    image = None if arguments.image is None else read_image(arguments.image, arguments.series)
    mask = _corrected_mask(image, arguments, reporter)
    discs = _marked_discs(arguments)
    reporter.progress("measure")
    levels = LevelOptions(discs=discs) if discs else None
    acts = {"rerun": "segmented again", "fill": "filled", "smooth": "smoothed", "restore": "restored"}
    did = next((acts[name] for name in acts if getattr(arguments, name) is not None), "corrected")
    before = Case.load(arguments.case, needs_slices=False)
    saved_there = None if is_as_measured(before) else read_mask(arguments.case)
    case = store_correction(
        arguments.case, mask, arguments.by, image=image, levels=levels, reopen=arguments.reopen, did=did
    )
    if saved_there is not None and mask_sha256(saved_there) not in (case.mask_sha256, before.mask_sha256):
        reporter.attention(
            f"the mask that somebody had saved in {arguments.case} is kept as a version: review lists it"
        )
    _report_result(case, "corrected", arguments.case, reporter)
    changes = case.changes
    if changes is not None:
        reporter.text(
            f"{counted(len(changes.slices), 'slice')} changed from the mask it began as: Dice {changes.dice:.4f},"
            f" {changes.added_mm3:.0f} mm³ added, {changes.removed_mm3:.0f} mm³ removed"
        )
    return DONE


def _read_cord(arguments: argparse.Namespace, reporter: Reporter) -> Volume:
    from SpinalCordSegLib.image_io import read_cord

    mask, notes = read_cord(arguments.mask, arguments.label)
    for note in notes:
        reporter.attention(note)
    return mask


def _corrected_mask(image: Image | None, arguments: argparse.Namespace, reporter: Reporter) -> Volume:
    from SpinalCordSegLib.case import Case, read_mask, version_mask
    from SpinalCordSegLib.correction import fill_between, model_of_case, rerun_slices, smooth_along_cord
    from SpinalCordSegLib.model.checkpoint import find_model, load_checkpoint
    from SpinalCordSegLib.pipeline import canonical_range
    from SpinalCordSegLib.postprocessing import SMOOTH_Z_MM

    if arguments.mask is not None:
        return _read_cord(arguments, reporter)
    if arguments.restore is not None:
        return version_mask(Case.load(arguments.case, needs_slices=False), arguments.restore)
    mask = read_mask(arguments.case)
    if mask is None:
        raise InputFileError(f"{arguments.case} holds no mask: give the folder of one finished case")
    if arguments.fill is not None:
        last = len(mask.voxels) - 1
        if max(arguments.fill) > last:
            raise ConfigurationError(f"slice {max(arguments.fill)} is not in the mask: expected 0 to {last}")
        return fill_between(mask, *sorted(map(mask.from_input_slice, arguments.fill)))
    chosen = canonical_range(mask, arguments.smooth or arguments.rerun)
    assert chosen is not None
    if arguments.smooth is not None:
        return smooth_along_cord(mask, chosen)
    if image is None:
        raise ConfigurationError("--rerun needs the image that was segmented: give it by --image")
    case = Case.load(arguments.case, needs_slices=False)
    return rerun_slices(
        image.volume,
        mask,
        load_checkpoint(model_of_case(case) if arguments.model is None else find_model(arguments.model)),
        chosen,
        threshold=0.5 if case.threshold is None else case.threshold,
        smooth_z_mm=SMOOTH_Z_MM if case.smooth_z_mm is None else case.smooth_z_mm,
        progress=lambda done, total: reporter.progress("segment", done, total),
    )


_MOST_SLICES = 20


def _review(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from SpinalCordSegLib.work_list import (
        HISTORY_TABLE,
        REVIEW_TABLE,
        read_work_list,
        write_history_table,
        write_review_table,
    )

    work = read_work_list(arguments.folder)
    is_one = work.items[0].folder == arguments.folder
    if arguments.case is not None:
        item: WorkItem | None = work.item(arguments.case)
    else:
        item = work.items[0] if is_one and arguments.state else work.next_open(None)
    if arguments.state or arguments.seen:
        if item is None:
            raise ConfigurationError("every case is decided on: name the one that is meant by --case")
        _decide(item, arguments)
        work = read_work_list(arguments.folder)
        item = work.item(item.case)
    table = None if is_one else arguments.folder / REVIEW_TABLE
    if table is not None:
        write_review_table(work, table)
        write_history_table(work, arguments.folder / HISTORY_TABLE)
    _report_work(work, item, table, reporter)
    if table is None and work.items[0].content is not None:
        _report_history(work.items[0].content, reporter)
    return SOME_FAILED if any(one.problem for one in work.items) else DONE


def _decide(item: WorkItem, arguments: argparse.Namespace) -> None:
    from SpinalCordSegLib.review import Review, decided, opened, with_seen
    from SpinalCordSegLib.work_list import decide

    slices: list[int] = []
    for text in arguments.seen:
        if text == "all":
            slices += [] if item.content is None else [flagged.slice for flagged in item.content.queue]
        elif text.isdecimal():
            slices.append(int(text))
        else:
            raise ConfigurationError(f'"{text}" is not a slice: give a number, or "all"')

    def change(review: Review) -> Review:
        review = with_seen(opened(review, arguments.by), slices)
        if not arguments.state or item.content is None:
            return review
        return decided(review, arguments.state, arguments.by, mask_sha256=item.content.mask_sha256)

    decide(item, change, arguments.by)


def _report_history(case: Case, reporter: Reporter) -> None:
    from SpinalCordSegLib.case import listed_versions

    for act in case.history:
        reporter.text(f"  {act.when} {act.what}{' by ' * bool(act.who)}{act.who}, mask {act.after[:8]}")
    found = listed_versions(case)
    if found:
        reporter.text(f"\nmasks kept, the newest first; to take one back: correct {case.folder} --restore N --by NAME")
    for line in found:
        reporter.text(f"  {line}")


def _report_work(work: WorkList, item: WorkItem | None, table: Path | None, reporter: Reporter) -> None:
    from SpinalCordSegLib.review import review_text
    from SpinalCordSegLib.slice_table import counted

    for one in work.items:
        left = f", {one.n_unseen} of {counted(one.n_flagged, 'flagged slice')} not looked at" if one.n_unseen else ""
        is_other = one.content is not None and one.review.is_of_another(one.content.mask_sha256)
        other = ", decided on another mask than this one" if is_other else ""
        reporter.text(f"{one.case}: {one.problem or review_text(one.review) + left + other}")
        for remark in work.remarks(one):
            reporter.attention(remark)
    counts = ", ".join(f"{n} {state}" for state, n in work.counts.items() if n)
    reporter.text(f"{counted(len(work.items), 'case')}: {counts}" + (f" → {table}" if table else ""))
    if item is None:
        reporter.text("nothing is left to review")
        return
    if item.content is None:
        return
    flagged = item.content.unseen
    if flagged:
        reporter.text(f"\n{item.case}: {counted(len(flagged), 'slice')} to look at, the worst first")
    for worst in flagged[:_MOST_SLICES]:
        reporter.text(f"  slice {worst.slice} ({worst.score:.2f}): {worst.message}")
    if len(flagged) > _MOST_SLICES:
        reporter.text(f"  and {len(flagged) - _MOST_SLICES} more")


# follow-up, propagate

_PER_VISIT = ("date", "disc", "image", "scanner")


def _follow_up(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from SpinalCordSegLib.longitudinal.report import compared, write_cohort, write_follow_up
    from SpinalCordSegLib.longitudinal.visits import PersonSource, read_manifest

    options = _follow_up_options(arguments)
    visits = arguments.visits
    if len(visits) > 1 or visits[0].is_dir():
        person = PersonSource(arguments.person, _visit_sources(arguments), arguments.age)
        _tell_visits([person], reporter)
        write_follow_up(compared(person, options, reporter), arguments.output, reporter)
        return DONE
    given = [name for name in _PER_VISIT if getattr(arguments, name)]
    if given:
        raise ConfigurationError(f"--{given[0]} goes with folders; a manifest has a column for it")
    persons = read_manifest(visits[0])
    _tell_visits(persons, reporter)
    failed = write_cohort(persons, options, arguments.output, reporter)
    return SOME_FAILED if failed else DONE


def _tell_visits(persons: Iterable[PersonSource], reporter: Reporter) -> None:
    for folder in dict.fromkeys(visit.folder for person in persons for visit in person.visits):
        _tell_remarks(folder, reporter)


def _visit_sources(arguments: argparse.Namespace) -> tuple[VisitSource, ...]:
    from SpinalCordSegLib.longitudinal.visits import VisitSource
    from SpinalCordSegLib.slice_table import counted

    n_visits = len(arguments.visits)
    given = {name: getattr(arguments, name) or [None] * n_visits for name in _PER_VISIT}
    for name, values in given.items():
        if len(values) != n_visits:
            raise ConfigurationError(
                f"--{name}: found {len(values)} for {counted(n_visits, 'visit')}, expected one for each visit"
            )
    return tuple(
        VisitSource(
            folder=folder,
            date=given["date"][n] or "",
            disc=given["disc"][n] or "",
            image=given["image"][n],
            given={"scanner": given["scanner"][n]} if given["scanner"][n] else {},
        )
        for n, folder in enumerate(arguments.visits)
    )


def _follow_up_options(arguments: argparse.Namespace) -> FollowUpOptions:
    from SpinalCordSegLib.longitudinal.change import FollowUpOptions, Repeatability

    def repeatability(given: list[str] | None, setting: str) -> Repeatability | None:
        if given is None:
            return None
        try:
            return Repeatability(float(given[0]), given[1], setting)
        except ValueError as error:
            raise ConfigurationError(
                f'"{given[0]}" is not a CoV: give it in %, and its source, such as 1.5 "our rescans"'
            ) from error

    limits = None
    if arguments.range_mm is not None:
        try:
            low, high = (float(part) for part in arguments.range_mm.split(":"))
        except ValueError:
            low, high = 0.0, 0.0
        if not low < high:
            raise ConfigurationError(
                f'"{arguments.range_mm}" is not a range: give LOW:HIGH in mm, such as --range-mm=-18.5:15.5'
            )
        limits = (low, high)
    return FollowUpOptions(
        same=repeatability(arguments.cov_same, "same scanner"),
        between=repeatability(arguments.cov_between, "between scanners"),
        limits_mm=limits,
        age_years=arguments.age,
        keep_dates=arguments.keep_dates,
        keep_flagged=arguments.keep_flagged,
        same_person=arguments.same_person,
    )


def _propagate(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from SpinalCordSegLib.case import Case, read_mask
    from SpinalCordSegLib.files import atomic_write, write_json
    from SpinalCordSegLib.identity import differing
    from SpinalCordSegLib.image_io import read_image, write_volume
    from SpinalCordSegLib.longitudinal.registration import propagate_mask, propagation_picture
    from SpinalCordSegLib.pipeline import check_belongs

    mask_file, numbers, picture_file = (
        arguments.output / name for name in ("propagated.nii.gz", "propagated.json", "fit.png")
    )
    for file in (mask_file, numbers, picture_file):
        if file.exists() and not arguments.force:
            raise OutputError(f"{file} is there already; choose another folder, or --force")
    reporter.progress("read")
    images = read_image(arguments.image, arguments.series), read_image(arguments.to, arguments.to_series)
    if differ := differing(*(one.identity for one in images)):
        raise InputFileError(
            f"the two images are of different patients: their headers state another {' and '.join(differ)}; give two"
            " images of one study"
        )
    image, target = (one.volume for one in images)
    if arguments.mask.is_dir():
        _tell_remarks(arguments.mask, reporter)
        check_belongs(Case.load(arguments.mask, needs_slices=False), images[0])
        kept = read_mask(arguments.mask)
        assert kept is not None
        mask = kept
    else:
        mask = _read_cord(arguments, reporter)
    reporter.progress("register")
    found = propagate_mask(image, mask, target)
    picture = propagation_picture(image, mask, target, found)
    write_volume(found.mask, mask_file)
    write_json(numbers, found.as_dict() | {"software_version": SOFTWARE_VERSION})
    with atomic_write(picture_file) as temporary:
        temporary.write_bytes(picture)
    reporter.text(
        f"moved {found.moved_mm:.1f} mm, turned {found.turned_deg:.1f}°, {100 * found.coverage:.0f} % of the mask"
        f" within the other image → {mask_file}"
    )
    for warning in found.warnings:
        reporter.text(f"WARNING: {warning}")
    reporter.text(f"look at the fit: {picture_file}")
    return DONE


# export, training-set


def _export(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from SpinalCordSegLib.dicom import find_series
    from SpinalCordSegLib.dicom_export import KINDS, load_export, refuse_other_than_dicom, write_export

    titles = {"seg": "segmentation", "sr": "measurements", "pdf": "report"}
    kinds = [kind for kind in KINDS if kind in (arguments.only or KINDS)]
    refuse_other_than_dicom(arguments.dicom)
    reporter.progress("read")
    _tell_remarks(arguments.case, reporter)
    series = find_series(arguments.dicom, arguments.series)
    export = load_export(arguments.case, series, arguments.drawn_by_hand, arguments.image)
    reporter.progress("write")
    files = write_export(export, kinds, arguments.output, arguments.force)
    for kind, path in files.items():
        beside = " (the measurements refer to it)" if kind not in kinds else ""
        reporter.text(f"{titles[kind]}{beside} → {path}")
    _record(arguments.case, "exported", arguments.by, reporter)
    return DONE


def _record(folder: Path, did: str, who: str, reporter: Reporter) -> None:
    """Put into the case's history what was made of it; a folder that may not be written to does not undo that."""
    from SpinalCordSegLib.case import update_review

    try:
        update_review(folder, lambda review: review, who=who, did=did)
    except OutputError as error:
        reporter.attention(f"the history of the case does not say that it was {did}: {error}")


def _training_set(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from SpinalCordSegLib.case import Case
    from SpinalCordSegLib.image_io import read_image
    from SpinalCordSegLib.pipeline import check_belongs
    from SpinalCordSegLib.review import ACCEPTED, CORRECTED
    from SpinalCordSegLib.training_set import add_to_training_set

    reviewed = Case.load(arguments.case, needs_slices=False)
    _tell_remarks(arguments.case, reporter)
    mask, state = reviewed.mask, reviewed.review.state
    if state not in (ACCEPTED, CORRECTED):
        raise ConfigurationError(
            f'the case is "{state}": a model learns only from what a person corrected or accepted, or it keeps its own'
            f" errors. Next: spinalcordseg correct {arguments.case} MASK, or review {arguments.case} --accept --by NAME"
        )
    reporter.progress("read")
    image = read_image(arguments.image, arguments.series)
    check_belongs(reviewed, image)
    case = add_to_training_set(
        arguments.output, image.volume, mask, arguments.subject, case=reviewed, replace=arguments.force
    )
    reporter.text(
        f"{'' if case.added else 'there already: '}{case.image.name} and {case.label.name} → {arguments.output}"
    )
    if case.added:
        _record(arguments.case, "added to a training set", arguments.by, reporter)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
