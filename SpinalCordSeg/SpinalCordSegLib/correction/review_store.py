"""The review of a case in its result folder: in report.json, which decides, and on the page that people read."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SpinalCordSegLib.case_folder import (
    damaged_report,
    output_errors,
    read_result,
    read_slice_rows,
    replace_case,
)
from SpinalCordSegLib.correction.case_settings import CaseSettings
from SpinalCordSegLib.doubts.review import Review, edited
from SpinalCordSegLib.doubts.review_queue import queue_of_report
from SpinalCordSegLib.doubts.suitability import HEADER_KINDS, PIXEL_KINDS
from SpinalCordSegLib.errors import GeometryError, InputFileError, OutputError
from SpinalCordSegLib.flags import Flag, merge_flags
from SpinalCordSegLib.images.files import read_labels, write_json, write_text
from SpinalCordSegLib.images.volume import Volume, input_slice_index
from SpinalCordSegLib.measurement.in_slices import InSlices
from SpinalCordSegLib.measurement.level_measures import LevelOptions, parse_disc
from SpinalCordSegLib.measurement.mask_changes import mask_changes
from SpinalCordSegLib.measurement.measures import with_pv_areas
from SpinalCordSegLib.network.card import REPEATABILITY
from SpinalCordSegLib.pipeline import CaseResult, ModelSummary, measure_mask
from SpinalCordSegLib.reporting.report import summary_row
from SpinalCordSegLib.reporting.review_section import updated_page
from SpinalCordSegLib.summary import Summary

if TYPE_CHECKING:
    from SpinalCordSegLib.images.files import Image

AI_MASK, GIVEN_MASK = "mask_ai", "mask_given"
_OF_THE_NETWORK = ("low_confidence", "unclear_edge", "doubts_add_up", "below_end")
_OF_THE_RUN = ("header", "device", "component", "unclear_edges")
_log = logging.getLogger(__name__)


def read_review(folder: Path) -> Review:
    """The review of a finished case; of one nobody has looked at: Review(). Raises InputFileError."""
    return Review.from_dict(_content(folder).get("review"))


def write_review(folder: Path, review: Review) -> None:
    """Put ``review`` into the case's report.json and report.html. Raises InputFileError, OutputError.

    Each file is replaced whole; should the page miss it (a crash in between), report.json is what counts.
    """
    content = _content(folder)
    content["review"] = review.as_dict()
    write_json(folder / "report.json", content)
    page = folder / "report.html"
    with output_errors(page):
        if page.is_file():  # a damaged page keeps its damage; nothing is read back from it
            write_text(page, updated_page(page.read_text(encoding="utf-8", errors="replace"), content))


def read_mask(folder: Path, name: str = "mask") -> Volume | None:
    """A mask of a finished case, bool: "mask", or AI_MASK or GIVEN_MASK, the one a correction began from; None where
    there is none. Raises as read_labels does."""
    files = sorted(folder.glob(f"{name}.*"))
    if not files:
        return None
    labels = read_labels(files[0])
    return labels.with_voxels(labels.voxels != 0)


def store_correction(
    folder: Path, mask: Volume, who: str = "", *, image: Image | None = None, levels: LevelOptions | None = None
) -> dict[str, Any]:
    """Take a corrected mask into a finished case: measured anew, all files replaced at once; gives the report.

    ``mask``: cord where not zero, on the grid of the case's mask. ``who``: the person who corrected. ``image``: for the
    pictures; what was told of the case's header stands unless this one has a header of its own. ``levels``: None takes
    the discs that were marked. The mask before any correction stays as mask_ai.* (or mask_given.* where a person or
    other software had made it), never changed. The state becomes "corrected", and an earlier decision no longer holds.
    Raises InputFileError (no finished case), GeometryError (another grid), OutputError.
    """
    content = _content(folder)
    now = mask.with_voxels(np.asarray(mask.voxels) != 0)
    original_name = GIVEN_MASK if content.get("mask_state") == "given" else AI_MASK
    original = read_mask(folder, original_name)
    first_correction = original is None
    before = read_mask(folder) if original is None else original
    if before is None:
        raise InputFileError(f"{folder} holds no mask; segment again with --force")
    if not now.same_grid(before):
        raise GeometryError(
            f"the corrected mask (shape {now.shape}) lies on another grid than the case's (shape {before.shape}):"
            " save it on the grid of the image that was segmented"
        )
    with damaged_report(folder):
        result = _measured(content, now, image, levels)
        changes = mask_changes(result.mask, before)
        result = _with_standing_doubts(result, content, {one.slice for one in changes.slices}, _not_seen_by(image))
        rows = _earlier_rows(folder)
        areas = _standing_areas(rows, {one.canonical_slice for one in changes.slices})
        result = replace(
            result, measures=with_pv_areas(result.measures, areas), instance_numbers=_instance_numbers(rows)
        )
    review = edited(Review.from_dict(content.get("review")), who)
    extra = {
        "review": review.as_dict(),
        "changes": changes.as_dict(),
        "input": content.get("input") if image is None or image.dicom is None else None,
        "levels_asked": content.get("levels_asked") if levels is None else None,
    }
    keep = sorted(folder.glob(f"{original_name}.*"))
    current = next(iter(sorted(folder.glob("mask.*"))))
    copies = {current.name.replace("mask.", f"{original_name}.", 1): current} if first_correction else {}
    copies |= {path.name: path for path in [*keep, *folder.glob("probability.*")]}
    told = replace_case(
        result,
        folder,
        mask_format=current.name.partition(".")[2],
        extra={name: value for name, value in extra.items() if value is not None},
        copies=copies,
    )
    _refresh_summary(folder.parent / "summary.csv", told)
    return told


def _not_seen_by(image: Image | None) -> set[str]:
    """Kinds of doubt about the whole case that measuring a mask, with ``image`` beneath, does not judge again."""
    unseen = set(_OF_THE_RUN)
    if image is None:
        unseen.update(PIXEL_KINDS)
    if image is None or image.dicom is None:
        unseen.update(HEADER_KINDS)
    return unseen


def _with_standing_doubts(
    result: CaseResult, content: Mapping[str, Any], edited_slices: set[int], whole_kinds: set[str]
) -> CaseResult:
    """What the network gave to doubt stands where nobody edited, and doubts of ``whole_kinds`` about the whole case:
    measuring cannot tell them again."""
    standing = []
    for flag in content.get("flags") or ():
        number = flag["slice"]
        whole = number is None and flag["kind"] in whole_kinds
        if whole or (number is not None and flag["kind"] in _OF_THE_NETWORK and number not in edited_slices):
            canonical = None if number is None else input_slice_index(result.mask, number)
            standing.append(Flag(number, canonical, flag["kind"], flag["message"]))
    doubtful = {flag.slice for flag in standing if flag.slice is not None} - {one.slice for one in result.queue}
    queue = [*result.queue, *(one for one in queue_of_report(content) if one.slice in doubtful)]
    queue.sort(key=lambda one: (-one.score, one.canonical_slice))
    return replace(result, flags=merge_flags(standing, result.flags), queue=tuple(queue))


def _earlier_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of slices.csv before the correction. A table that cannot be read holds up no correction."""
    try:
        return read_slice_rows(folder)
    except InputFileError as error:
        _log.warning("%s; nothing of it is kept", error)
        return []


def _instance_numbers(rows: Sequence[Mapping[str, str]]) -> dict[int, int]:
    """By the input's own slice; a whole number below 0 is a table's word for none."""
    told = {row.get("slice") or "": row.get("instance_number") or "" for row in rows}
    return {int(k): int(number) for k, number in told.items() if k.isdecimal() and number.isdecimal()}


def _standing_areas(rows: Sequence[Mapping[str, str]], edited_slices: set[int]) -> dict[int, float]:
    """Areas in the slice from the probability, mm², where nobody edited: visits are compared by them, and by the
    pixels of the masks where the table is damaged."""
    try:
        areas = InSlices.of_rows(rows).pv_mm2
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        _log.warning("slices.csv cannot be read, its areas from the probability are not kept: %s", type(error).__name__)
        return {}
    return {k: area for k, area in areas.items() if k not in edited_slices}


def _refresh_summary(path: Path, content: dict[str, Any]) -> None:
    """The case's row in the batch's table, where it has one: it must not go on telling the former volume."""
    if not path.is_file():
        return
    try:
        summary = Summary(path)
        if summary.has(str(content["case"])):
            summary.put(summary_row(content))
    except OutputError as error:
        _log.warning("summary.csv still tells the numbers before the correction: %s", error)


def _content(folder: Path) -> dict[str, Any]:
    content = read_result(folder)
    if content is None:
        raise InputFileError(f"{folder} holds no finished result: give the folder of one case, with report.json in it")
    return content


def _measured(content: Mapping[str, Any], mask: Volume, image: Image | None, levels: LevelOptions | None) -> CaseResult:
    chosen = content.get("range")
    was_compared = bool((content.get("levels") or {}).get("norm"))
    result = measure_mask(
        mask,
        str(content["case"]),
        image=image,
        slice_range=None if chosen is None else (int(chosen[0]), int(chosen[1])),
        levels=replace(levels or _levels_asked(content), was_compared=was_compared),
    )
    model = content.get("model")
    settings = CaseSettings.of_report(content)
    source = content.get("input") or {}
    had_date = source.get("acquisition_date") is not None
    options = replace(result.options, threshold=settings.threshold, along_mm=settings.along_mm, keep_date=had_date)
    return replace(
        result,
        mask_state="corrected" if model else "given",
        model=_model(model) if model else None,
        device=content.get("device"),
        engine=content.get("engine"),
        n_windowed=int(content.get("slices_computed_around_the_cord_only") or 0),
        n_steadied=content.get("slices_steadied"),
        batch_size=content.get("batch_size"),
        fingerprint=str(source.get("fingerprint") or ""),
        # What a given mask was drawn on stays the image it was first measured with. A network's mask has but one.
        image_fingerprint="" if model else str(source.get("image_fingerprint") or result.image_fingerprint),
        options=options,
    )


def _model(told: Mapping[str, Any]) -> ModelSummary:
    """The model of a report, with what its card said of repeatability."""
    return ModelSummary(
        told["name"], told["version"], told["sha256"], told["licence"], scores={REPEATABILITY: told.get(REPEATABILITY)}
    )


def _levels_asked(content: Mapping[str, Any]) -> LevelOptions:
    asked = content.get("levels_asked") or {}
    return LevelOptions(
        discs=tuple(parse_disc(text) for text in asked.get("discs") or ()),
        around_mm=asked.get("around_mm"),
        declared=frozenset(asked.get("declared") or ()),
    )
