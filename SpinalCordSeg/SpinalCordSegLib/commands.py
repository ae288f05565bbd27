"""What each command of ``spinalcordseg`` does; ``cli`` has their arguments. Each gives its exit code, None for done."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from SpinalCordSegLib.batch import BatchOptions, Cluster, LoadedCase, finished_folders, run_batch
from SpinalCordSegLib.bids import bids_images, write_bids
from SpinalCordSegLib.case import Case, is_as_measured, listed_versions, save_case, update_review, version_mask
from SpinalCordSegLib.case_folder import case_mask, case_name_of_mask, is_mask_of_case, own_mask_sha256
from SpinalCordSegLib.console import BAD_INPUT, DONE, SOME_FAILED, Reporter
from SpinalCordSegLib.correction import (
    check_belongs,
    fill_between,
    model_of_case,
    rerun_slices,
    smooth_along_cord,
    store_correction,
)
from SpinalCordSegLib.disc_files import DISCS, TABLE_SUFFIXES, VERTEBRAE, levels_by_input, read_discs
from SpinalCordSegLib.errors import (
    ConfigurationError,
    InputFileError,
    MissingPackageError,
    ModelFileError,
    OutputError,
)
from SpinalCordSegLib.files import atomic_write, json_object, reason, write_json, write_text
from SpinalCordSegLib.identity import differing, patient_words
from SpinalCordSegLib.image_io import Image, find_inputs, read_cord, read_image, write_volume
from SpinalCordSegLib.mask_versions import refuse_changed
from SpinalCordSegLib.model.checkpoint import (
    find_model,
    find_models,
    load_checkpoint,
    user_models_folder,
)
from SpinalCordSegLib.pipeline import SegmentOptions, canonical_range, measure_mask, segment_image
from SpinalCordSegLib.postprocessing import SMOOTH_Z_MM, check_threshold
from SpinalCordSegLib.review import ACCEPTED, AI, CORRECTED, Review, decided, opened, review_text, with_seen
from SpinalCordSegLib.review_page import PAGE, take_decisions, write_review_page
from SpinalCordSegLib.slice_table import counted, csv_text
from SpinalCordSegLib.tables import write_pam50_table, write_tables, write_workbook
from SpinalCordSegLib.training_set import add_to_training_set
from SpinalCordSegLib.version import SOFTWARE_VERSION
from SpinalCordSegLib.vertebral_levels import DiscMark, LevelOptions, parse_disc
from SpinalCordSegLib.volume import Volume, fingerprint
from SpinalCordSegLib.work_list import (
    REVIEW_TABLE,
    WorkItem,
    WorkList,
    read_work_list,
)

if TYPE_CHECKING:
    from SpinalCordSegLib.longitudinal.visits import PersonSource, VisitSource


# segment, measure, demo


def segment(arguments: Namespace, reporter: Reporter) -> int:
    if arguments.output is None:
        if len(arguments.inputs) != 3 or str(arguments.inputs[2]) not in ("participant", "group"):
            raise ConfigurationError("give the folder for the results: --output DIR")
        bids, arguments.output, level = arguments.inputs
        if str(level) == "group":
            people = bids / "participants.tsv"
            cohort(
                Namespace(folder=arguments.output, people=people if people.exists() else None, effect=None), reporter
            )
            return DONE
        arguments.inputs = bids_images(bids, arguments.participant_label)
    elif arguments.participant_label:
        raise ConfigurationError("--participant-label goes with BIDS_DIR OUTPUT_DIR participant, without --output")
    inputs = find_inputs(arguments.inputs)
    options = SegmentOptions(
        threshold=arguments.threshold,
        smooth_z_mm=arguments.smooth_z,
        device=arguments.device,
        track_cord=not arguments.save_probability,
        slice_range=arguments.range,
        keep_date=arguments.keep_date,
    )
    if options.threshold is not None:
        check_threshold(options.threshold)  # refused before the first image is read
    levels = _level_options(arguments, inputs, reporter)
    checkpoint = load_checkpoint(find_model(arguments.model))

    def load(path: Path) -> LoadedCase:
        reporter.progress("read")
        image = read_image(path, arguments.series)
        canonical_range(image.volume, options.slice_range)

        def compute(asked: LevelOptions) -> Case:
            return segment_image(image, checkpoint, replace(options, levels=asked), progress=reporter.progress)

        mark = fingerprint(image.volume)
        return LoadedCase(image.case_name, mark, compute, image.identity, image.words, levels[path])

    if arguments.scheduler is None:
        return _batch(inputs, load, arguments, reporter)
    done = () if arguments.force else finished_folders(arguments.output)
    with Cluster(arguments.scheduler) as cluster:
        read = lambda path: read_image(path, arguments.series)  # noqa: E731
        remote = cluster.loader(inputs, read, checkpoint, options, done, levels)
        return _batch(inputs, remote, arguments, reporter)


def measure(arguments: Namespace, reporter: Reporter) -> int:
    inputs = find_inputs(arguments.inputs, masks=True)
    if arguments.image is not None and len(inputs) > 1:
        raise ConfigurationError(f"--image goes with a single mask, found {len(inputs)}: measure them one by one")
    for path in filter(is_mask_of_case, inputs):
        _refuse_twin(path, arguments.output)
    levels = _level_options(arguments, inputs, reporter)

    def load(path: Path) -> LoadedCase:
        reporter.progress("read")
        mask, notes = read_cord(path, arguments.label)
        image = None if arguments.image is None else read_image(arguments.image)
        name = case_name_of_mask(path)

        def compute(asked: LevelOptions) -> Case:
            return measure_mask(
                mask, name, image=image, slice_range=arguments.range, levels=asked, notes=notes,
                progress=reporter.progress,
            )  # fmt: skip

        words = patient_words(path, {}) | (frozenset() if image is None else image.words)
        return LoadedCase(name, fingerprint(mask), compute, words=words, levels=levels[path])

    return _batch(inputs, load, arguments, reporter)


def _refuse_twin(path: Path, output: Path) -> None:
    """A case's own mask, measured into the folder that the case lies in, would be a second case beside it; unless the
    case is what this very mask was measured as."""
    folder = path.parent
    if output.resolve() in (folder.resolve(), folder.resolve().parent):
        case = Case.load(folder, needs_slices=False)
        if case.mask_state != "given" or not is_as_measured(case):
            raise ConfigurationError(
                f"{path} is the mask of the finished case {folder}, which holds its figures: after an edit take it in"
                f" by spinalcordseg correct {folder} {path}; to measure it apart, give another --output"
            )


def _batch(inputs: Sequence[Path], load: Callable[[Path], LoadedCase], arguments: Namespace, reporter: Reporter) -> int:
    options = BatchOptions(
        output=arguments.output,
        mask_format=arguments.mask_format,
        save_probability=getattr(arguments, "save_probability", False),
        force=arguments.force,
        renew=getattr(arguments, "image", None) is not None,  # it may have been measured with another one before
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
        table = arguments.output / "summary.csv"
        reporter.text(f"{len(inputs) - failed} of {counted(len(inputs), 'case')} done → {table}")
        if failed < len(inputs):
            try:
                _write_overview(read_work_list(arguments.output), arguments.output, reporter)
            except OutputError as error:
                reporter.attention(str(error))
            reporter.text(f"to review in a browser: {arguments.output / PAGE}")
    return SOME_FAILED if failed else DONE


def _report_remarks(folder: Path, reporter: Reporter) -> None:
    """What is to be known of a case's folder before its figures are used; a folder without a case has none."""
    try:
        remarks = Case.load(folder, needs_slices=False).remarks
    except InputFileError:
        return
    for remark in remarks:
        reporter.attention(remark)


def _report_result(case: Case, state: str, folder: Path, reporter: Reporter) -> None:
    kinds = ", ".join(sorted({flag.kind for flag in case.flags}))
    flags = f"{counted(len(case.flags), 'flag')} ({kinds})" if case.flags else "no flags"
    text = f"no cord found, {flags}"
    if case.volume_mm3:
        mean_area = "area not reported" if isnan(case.mean_csa_mm2) else f"mean area {case.mean_csa_mm2:.1f} mm²"
        text = f"volume {case.volume_mm3:.0f} mm³, length {case.length_mm:.1f} mm, {mean_area}"
        of_c2_c3 = [row.mean_csa_mm2 for row in (case.levels.rows if case.levels else ()) if row.name == "C2-C3"]
        text += "".join(f", C2-C3 {area:.1f} mm²" for area in of_c2_c3 if not isnan(area))
        text += f", {counted(case.n_slices, 'slice')}, {flags}"
    content = replace(case, model=None, levels=None).as_json()  # a model's card is long
    wanted = ("volume_mm3", "length_mm", "mean_csa_mm2", "n_slices", "device", "files")
    reporter.result(
        f"{case.name}: {text}{' (kept)' if state == 'kept' else ''} → {folder}", case=case.name, state=state,
        folder=str(folder), n_flags=len(case.flags), **{name: content[name] for name in wanted},
    )  # fmt: skip
    why = case.levels.reason if case.levels and case.volume_mm3 else ""
    of_levels = [f"no vertebral level: {why}"] if why else []
    told = [flag.message for flag in case.flags if flag.kind in ("other_image", "empty")]
    for remark in (*case.remarks, *told, *of_levels):
        reporter.attention(remark)


def _marked_discs(arguments: Namespace) -> tuple[DiscMark, ...]:
    """Of --disc and --found; () for --disc "": none, and none is looked for."""
    marks: list[DiscMark] = []
    for texts, by_person in ((arguments.disc, bool(arguments.found)), (arguments.found, False)):
        for text in filter(None, texts or ()):
            points, _, file = text.partition("=")
            if Path(text).exists() or not file:
                found: Sequence[DiscMark] = read_discs(Path(text))
            elif points in (DISCS, VERTEBRAE):
                found = read_discs(Path(file), points)
            else:
                found = [parse_disc(text)]
            marks += [replace(mark, by_person=by_person) for mark in found]
    return tuple(marks)


def _level_options(arguments: Namespace, inputs: Sequence[Path], reporter: Reporter) -> dict[Path, LevelOptions]:
    """Of each input. Raises ConfigurationError, and InputFileError and the like for a file of discs."""
    declared, find = tuple(arguments.declare or ()), not (arguments.no_find or "" in (arguments.disc or ()))
    options = LevelOptions((), arguments.around, declared, find=find, age_years=arguments.age, sex=arguments.sex)
    tables = [text for text in arguments.disc or () if text.lower().endswith(TABLE_SUFFIXES)]
    one_by_one = [name for name in ("disc", "found", "age", "sex") if getattr(arguments, name)]
    if tables and tables == arguments.disc and len(tables) == 1:
        levels, text = levels_by_input(Path(tables[0]), inputs, options)
        if text:
            reporter.attention(text)
        return levels
    if one_by_one and len(inputs) > 1:
        raise ConfigurationError(
            f"--{one_by_one[0]} goes with a single input, found {len(inputs)}: give a table of all inputs, --disc"
            " TABLE.csv, or run them one by one into the same folder"
        )
    marks = _marked_discs(arguments)
    if not marks and arguments.no_find and (one_by_one or arguments.around or declared):
        raise ConfigurationError(
            "levels and norms need a disc: leave out --no-find, or give --disc C2/C3=R,A,S or FILE"
        )
    return dict.fromkeys(inputs, replace(options, discs=marks, automatic=bool(arguments.found)))


def demo(arguments: Namespace, reporter: Reporter) -> None:
    from SpinalCordSegLib.phantom import make_phantom

    checkpoint = load_checkpoint(find_model(arguments.model))
    file, folder = arguments.output / "phantom.nii.gz", arguments.output / "phantom"
    reporter.progress("make the phantom")
    phantom = make_phantom()
    write_volume(phantom.image, file)
    case = segment_image(
        Image(phantom.image, file, "phantom"), checkpoint, SegmentOptions(), progress=reporter.progress
    )
    source = replace(case.input, fingerprint=fingerprint(phantom.image))
    case = save_case(replace(case, input=source), folder)
    truth_mm3 = phantom.truth_volume_mm3
    _report_result(case, "done", folder, reporter)
    reporter.text(
        f"true volume {truth_mm3:.0f} mm³, found {case.volume_mm3:.0f} mm³:"
        f" error {100 * (case.volume_mm3 / truth_mm3 - 1):+.2f} %"
        f" (this neck is drawn by simpler rules than those that the model learnt)\nopen {folder}/report.html"
    )


# models


def models(arguments: Namespace, reporter: Reporter) -> int:
    if arguments.model is not None:
        model = load_checkpoint(find_model(arguments.model))
        explained = {"path": str(model.path), **model.card(), "sha256": model.sha256, "file_sha256": model.file_sha256}
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

_CORRECTIONS = {"rerun": "segmented again", "fill": "filled", "smooth": "smoothed", "restore": "restored"}


def correct(arguments: Namespace, reporter: Reporter) -> None:
    reporter.progress("read")
    image = None if arguments.image is None else read_image(arguments.image, arguments.series)
    before = Case.load(arguments.case, needs_slices=False)
    mask = _corrected_mask(before, image, arguments, reporter)
    discs, asked = _marked_discs(arguments), before.levels_asked or LevelOptions()
    reporter.progress("measure")
    saved_there = None if is_as_measured(before) else own_mask_sha256(arguments.case)
    case = store_correction(
        arguments.case,
        mask,
        arguments.by,
        image=image,
        levels=replace(asked, discs=discs, automatic=bool(arguments.found)) if discs or arguments.disc else None,
        reopen=arguments.reopen,
        began=before,
        did=next((act for name, act in _CORRECTIONS.items() if getattr(arguments, name) is not None), CORRECTED),
    )
    if saved_there not in (None, case.mask_sha256):
        reporter.attention(
            f"the mask that somebody had saved in {arguments.case} is kept as a version: review lists it; with several"
            " labels its file is kept too, as mask_…"
        )
    if before.volume_mm3 and not len(before.slices):
        reporter.attention("slices.csv could not be used: every area is now that of the mask's pixels")
    _report_result(case, "corrected", arguments.case, reporter)
    if case.changes is not None:
        changes = case.changes
        reporter.text(
            f"{counted(len(changes.slices), 'slice')} changed from the mask it began as: Dice {changes.dice:.4f},"
            f" {changes.added_mm3:.0f} mm³ added, {changes.removed_mm3:.0f} mm³ removed"
        )
    if (arguments.case.parent / "levels.csv").is_file():
        reporter.text(f"levels.csv and index.html are as before: spinalcordseg review {arguments.case.parent}")


def _read_cord(arguments: Namespace, reporter: Reporter) -> Volume:
    mask, notes = read_cord(arguments.mask, arguments.label)
    for note in notes:
        reporter.attention(note)
    return mask


def _corrected_mask(case: Case, image: Image | None, arguments: Namespace, reporter: Reporter) -> Volume:
    if arguments.mask is not None:
        return _read_cord(arguments, reporter)
    if arguments.restore is not None:
        return version_mask(case, arguments.restore)
    mask = case_mask(arguments.case)
    if arguments.fill is not None:
        last = len(mask.voxels) - 1
        if max(arguments.fill) > last:
            raise ConfigurationError(f"slice {max(arguments.fill)} is not in the mask: expected 0 to {last}")
        return fill_between(mask, *sorted(map(mask.from_input_slice, arguments.fill)))
    if arguments.smooth is None and arguments.rerun is None:
        if not (arguments.disc or arguments.found):
            raise ConfigurationError("nothing to correct: give a MASK, --rerun, --fill, --smooth, --restore or --disc")
        if case.mask_state == "AI":
            raise ConfigurationError(
                "no person corrected this mask: give --disc to segment, with the same --output (a decided case: first"
                " review --reopen)"
            )
        return mask  # as it is, with other discs
    chosen = mask.from_input_range(*(arguments.smooth or arguments.rerun))
    if arguments.smooth is not None:
        return smooth_along_cord(mask, chosen)
    if image is None:
        raise ConfigurationError("--rerun needs the image that was segmented: give it by --image")
    return rerun_slices(
        image.volume,
        mask,
        load_checkpoint(model_of_case(case) if arguments.model is None else find_model(arguments.model)),
        chosen,
        threshold=0.5 if case.threshold is None else case.threshold,
        smooth_z_mm=SMOOTH_Z_MM if case.smooth_z_mm is None else case.smooth_z_mm,
        progress=lambda done, total: reporter.progress("segment", done, total),
    )


_MOST_SLICES, _MOST_NAMED = 20, 5


def review(arguments: Namespace, reporter: Reporter) -> int:
    work = read_work_list(arguments.folder)
    refused: list[str] = []
    if arguments.table is not None:
        done, refused = take_decisions(work, arguments.table, arguments.by)
        reporter.text(f"{counted(len(done), 'decision')} taken in, {len(refused)} refused")
        for text in refused:
            reporter.error(text, "WouldReplaceError")
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
        _write_overview(work, arguments.folder, reporter)
    _report_work(work, item, table, reporter)
    if table is None and work.items[0].content is not None:
        _report_history(work.items[0].content, reporter)
    return SOME_FAILED if refused or any(one.problem for one in work.items) else DONE


def _write_overview(work: WorkList, folder: Path, reporter: Reporter) -> None:
    """The tables and the page of a folder of cases. Raises OutputError for a table of text."""
    write_tables(work, folder)
    for write in (write_workbook, partial(write_review_page, progress=partial(reporter.progress, "page"))):
        try:
            write(work, folder)
        except (MissingPackageError, OutputError, InputFileError) as error:
            reporter.attention(str(error))


def _decide(item: WorkItem, arguments: Namespace) -> None:
    slices: list[int] = []
    for text in arguments.seen:
        if text == "all":
            slices += [] if item.content is None else [flagged.slice for flagged in item.content.queue]
        elif text.isdecimal():
            slices.append(int(text))
        else:
            raise ConfigurationError(f'"{text}" is not a slice: give a number, or "all"')

    def change(there: Review) -> Review:
        there = with_seen(opened(there, arguments.by), slices)
        if not arguments.state or item.content is None:
            return there
        return decided(there, arguments.state, arguments.by, mask_sha256=item.content.mask_sha256)

    if item.content is None:
        raise ConfigurationError(f"{item.case} cannot be reviewed: {item.problem}")
    update_review(item.folder, change, decides_on=item.content.mask_sha256, who=arguments.by)


def _report_history(case: Case, reporter: Reporter) -> None:
    for act in case.history:
        reporter.text(f"  {act}")
    found = listed_versions(case)
    if found:
        reporter.text(f"\nmasks kept, the newest first; to take one back: correct {case.folder} --restore N --by NAME")
    for line in found:
        reporter.text(f"  {line}")


def _report_work(work: WorkList, item: WorkItem | None, table: Path | None, reporter: Reporter) -> None:
    for one in work.items:
        left = f", {one.n_unseen} of {counted(one.n_flagged, 'flagged slice')} not looked at" if one.n_unseen else ""
        is_other = one.content is not None and one.review.is_of_another(one.content.mask_sha256)
        other = ", decided on another mask than this one" if is_other else ""
        note = f"; note: {one.review.note}" if one.review.note else ""
        reporter.text(f"{one.case}: {one.problem or review_text(one.review) + left + other + note}")
        for remark in work.remarks(one):
            reporter.attention(remark)
    counts = ", ".join(f"{n} {'not reviewed' if state == AI else state}" for state, n in work.counts.items() if n)
    reporter.text(f"{counted(len(work.items), 'case')}: {counts}" + (f" → {table}" if table else ""))
    if item is None:
        reporter.text("nothing is left to review")
        return
    flagged = () if item.content is None else item.content.unseen
    if flagged:
        reporter.text(f"\n{item.case}: {counted(len(flagged), 'slice')} to look at, the worst first")
    for worst in flagged[:_MOST_SLICES]:
        reporter.text(f"  slice {worst.slice} ({worst.score:.2f}): {worst.message}")
    if len(flagged) > _MOST_SLICES:
        reporter.text(f"  and {len(flagged) - _MOST_SLICES} more")


def cohort(arguments: Namespace, reporter: Reporter) -> None:
    from SpinalCordSegLib.cohort import EFFECTS_PERCENT, PAGE, write_cohort

    effects = arguments.effect or EFFECTS_PERCENT
    if not all(0 < effect <= 100 for effect in effects):
        raise ConfigurationError(f"--effect: found {min(effects):g}, expected a difference in % of the mean, over 0")
    work = read_work_list(arguments.folder)
    for remark in write_cohort(work, arguments.folder, arguments.people, effects):
        reporter.attention(remark)
    write_pam50_table(work, arguments.folder / "pam50.csv")
    reporter.text(f"→ {arguments.folder / PAGE}")


# follow-up, propagate

_PER_VISIT = ("date", "disc", "image", "scanner")


def follow_up(arguments: Namespace, reporter: Reporter) -> int:
    from SpinalCordSegLib.longitudinal.change import FollowUpOptions
    from SpinalCordSegLib.longitudinal.repeatability import Repeatability, own_repeatability
    from SpinalCordSegLib.longitudinal.report import compared, write_follow_up, write_persons
    from SpinalCordSegLib.longitudinal.visits import PersonSource, read_manifest

    options = FollowUpOptions(
        same=arguments.cov_same and Repeatability(*_cov(*arguments.cov_same), "same scanner"),
        between=arguments.cov_between and Repeatability(*_cov(*arguments.cov_between), "between scanners"),
        limits_mm=arguments.range_mm,
        age_years=arguments.age,
        keep_dates=arguments.keep_dates,
        keep_flagged=arguments.keep_flagged,
        same_person=arguments.same_person,
        own=tuple(own_repeatability()),
    )
    visits, given = arguments.visits, [name for name in _PER_VISIT if getattr(arguments, name)]
    if len(visits) == 1 and visits[0].is_dir() and not (visits[0] / "report.json").exists():
        visits, given = [_write_manifest(visits[0], arguments, reporter)], [name for name in given if name != "image"]
    if len(visits) > 1 or visits[0].is_dir():
        person = PersonSource(arguments.person, _visit_sources(arguments), arguments.age)
        found = compared(person, options, reporter)
        _report_visits([person], reporter)
        write_follow_up(found, arguments.output, reporter)
        return DONE
    if given:
        raise ConfigurationError(f"--{given[0]} goes with folders of cases; a manifest has a column for it")
    persons = read_manifest(visits[0])
    _report_visits(persons, reporter)
    failed = write_persons(persons, options, arguments.output, reporter)
    return SOME_FAILED if failed else DONE


def _write_manifest(results: Path, arguments: Namespace, reporter: Reporter) -> Path:
    """The manifest of a folder of cases, in the output. Raises ConfigurationError where it needs a person's hand."""
    from SpinalCordSegLib.longitudinal.visits import MANIFEST_COLUMNS, manifest_rows

    root = arguments.image[0] if arguments.image else results.absolute().parent.parent  # BIDS_DIR/derivatives/NAME
    rows, left_out = manifest_rows(read_work_list(results), root, arguments.keep_dates)
    for text in left_out:
        reporter.attention(text)
    if not rows:
        raise ConfigurationError(
            f"{results} holds no two visits of a person that is known by BIDS names or DICOM headers: give a manifest"
        )
    path, text = arguments.output / "visits.csv", csv_text(MANIFEST_COLUMNS, rows)
    if path.exists() and path.read_bytes() != text.encode():
        raise OutputError(f"{path} is not what {results} gives: follow-up {path} takes it as it is, else move it away")
    write_text(path, text)
    if undated := sorted({row["person"] for row in rows if not row.get("day") and not row.get("date")}):
        named = ", ".join(undated[:_MOST_NAMED]) + (" …" if len(undated) > _MOST_NAMED else "")
        raise ConfigurationError(
            f"the days of {counted(len(undated), 'person')} are not known ({named}): fill in the column day or date of"
            f" {path}, and run follow-up {path}"
        )
    return path


def repeatability(arguments: Namespace, reporter: Reporter) -> int:
    from SpinalCordSegLib.longitudinal.repeatability import keep_repeatability
    from SpinalCordSegLib.longitudinal.report import repeats_of
    from SpinalCordSegLib.longitudinal.visits import read_manifest

    persons = read_manifest(arguments.manifest)
    _report_visits(persons, reporter)
    kept, left_out = repeats_of(persons, reporter)
    for one in kept:
        found = one.found
        direct = f"; from the images SD {found.direct_sd_percent:.2f} % between two" if found.direct_sd_percent else ""
        text = f"{one.conditions['scanner']}: CoV {found.cov_percent:.2f} %{direct} ({found.source})"
        reporter.text(f"{text} → {keep_repeatability(one)}")
    return SOME_FAILED if left_out else DONE


def _cov(percent: str, source: str) -> tuple[float, str]:
    try:
        return float(percent), source
    except ValueError as error:
        raise ConfigurationError(
            f'"{percent}" is not a CoV: give it in %, and its source, such as 1.5 "our rescans"'
        ) from error


def _report_visits(persons: Iterable[PersonSource], reporter: Reporter) -> None:
    for folder in dict.fromkeys(visit.folder for person in persons for visit in person.visits):
        _report_remarks(folder, reporter)


def _visit_sources(arguments: Namespace) -> tuple[VisitSource, ...]:
    from SpinalCordSegLib.longitudinal.visits import VisitSource

    n_visits = len(arguments.visits)
    given = {name: getattr(arguments, name) or [None] * n_visits for name in _PER_VISIT}
    for name, values in given.items():
        if len(values) != n_visits:
            raise ConfigurationError(
                f"--{name}: found {len(values)} for {counted(n_visits, 'visit')}, expected one for each visit"
            )
    return tuple(
        VisitSource(folder, date or "", disc=disc or "", image=image, given={"scanner": scanner} if scanner else {})
        for folder, date, disc, image, scanner in zip(arguments.visits, *given.values(), strict=True)
    )


def propagate(arguments: Namespace, reporter: Reporter) -> None:
    from SpinalCordSegLib.longitudinal.registration import propagate_mask, propagation_picture

    mask_file, numbers, picture_file = (
        arguments.output / name for name in ("propagated.nii.gz", "propagated.json", "fit.png")
    )
    for file in (mask_file, numbers, picture_file):
        if file.exists() and not arguments.force:
            raise OutputError(f"{file} is there already; choose another folder, or --force")
    if mask_file.exists():
        refuse_changed(mask_file, str(json_object(numbers).get("mask_sha256", "")))
    reporter.progress("read")
    images = read_image(arguments.image, arguments.series), read_image(arguments.to, arguments.to_series)
    if differ := differing(*(one.identity for one in images)):
        raise InputFileError(
            f"the two images are of different patients: their headers state another {' and '.join(differ)}; give two"
            " images of one study"
        )
    image, target = (one.volume for one in images)
    if arguments.mask.is_dir():
        check_belongs(Case.load(arguments.mask, needs_slices=False), images[0])
        mask = case_mask(arguments.mask)
        _report_remarks(arguments.mask, reporter)
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


# export, training-set


def export(arguments: Namespace, reporter: Reporter) -> None:
    from SpinalCordSegLib.dicom import find_series
    from SpinalCordSegLib.dicom_export import KINDS, load_export, refuse_other_than_dicom, write_export

    if arguments.bids:
        if unused := [name for name in ("series", "only", "image", "vouch", "force") if getattr(arguments, name)]:
            raise ConfigurationError(f"--{unused[0]} goes with --dicom, not with --bids")
        n, left_out = write_bids(read_work_list(arguments.case), arguments.output)
        for text in left_out:
            reporter.attention(f"left out: {text}")
        reporter.text(f"{counted(n, 'case')} → {arguments.output}")
        return
    titles = {"seg": "segmentation", "sr": "measurements", "pdf": "report"}
    kinds = [kind for kind in KINDS if kind in (arguments.only or KINDS)]
    refuse_other_than_dicom(arguments.dicom)
    reporter.progress("read")
    series = find_series(arguments.dicom, arguments.series)
    why = " ".join(arguments.vouch.split())
    if why and not arguments.by.strip():
        raise ConfigurationError("--vouch is somebody's word: give the name (--by NAME)")
    content = load_export(arguments.case, series, arguments.drawn_by_hand, arguments.image, bool(why))
    _report_remarks(arguments.case, reporter)
    differ = differing(content.content.input.identity, series.identity)
    reporter.progress("write")
    for kind, path in write_export(content, kinds, arguments.output, arguments.force).items():
        beside = " (the measurements refer to it)" if kind not in kinds else ""
        reporter.text(f"{titles[kind]}{beside} → {path}")
    under = f" under another {' and '.join(differ)} ({why})" if differ else ""
    _record(arguments.case, f"exported{under}", arguments.by, reporter)


def _record(folder: Path, did: str, who: str, reporter: Reporter) -> None:
    """Put into the case's history what was made of it; a folder that may not be written to does not undo that."""
    try:
        update_review(folder, lambda there: there, who=who, did=did)
    except OutputError as error:
        reporter.attention(f"the history of the case does not say that it was {did}: {error}")


def training_set(arguments: Namespace, reporter: Reporter) -> None:
    reviewed = Case.load(arguments.case, needs_slices=False)
    mask, state = reviewed.mask, reviewed.review.state
    _report_remarks(arguments.case, reporter)
    if state not in (ACCEPTED, CORRECTED):
        raise ConfigurationError(
            f'the case is "{state}": a model learns only from what a person corrected or accepted, or it keeps its own'
            f" errors. Next: spinalcordseg correct {arguments.case} MASK, or review {arguments.case} --accept --by NAME"
        )
    if state == CORRECTED and reviewed.changes is not None and not reviewed.changes.slices:
        raise ConfigurationError(
            "the mask is again the one it began as: correct it, or accept it where it is right (review"
            f" {arguments.case} --accept --by NAME)"
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
