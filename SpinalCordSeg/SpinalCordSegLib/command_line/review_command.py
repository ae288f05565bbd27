"""What ``review`` does: the work list of a folder, what to look at next, and a person's decision."""

from __future__ import annotations

import argparse
from pathlib import Path

from SpinalCordSegLib.batch import REVIEW_TABLE, WorkItem, WorkList, read_work_list, write_review_table
from SpinalCordSegLib.case import read_mask, read_result, read_review, write_review
from SpinalCordSegLib.command_line.progress import Reporter
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.metrics import mask_sha256
from SpinalCordSegLib.quality_control import SliceDoubt, queue_of_report, unseen
from SpinalCordSegLib.review import Review, decided, opened, review_words, with_seen

_DONE, _SOME_FAILED = 0, 1
_MOST_SLICES = 20


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """List or decide; returns the exit code. Raises SpinalCordSegError for what stands in the way."""
    work = read_work_list(arguments.folder)
    item = _chosen(work, arguments)
    if arguments.state or arguments.seen:
        if item is None:
            raise ConfigurationError("every case is decided on: name the one that is meant by --case")
        _decide(item, arguments)
        work = read_work_list(arguments.folder)
        item = work.item(item.case)
    if arguments.folder != work.items[0].folder:  # one case alone has no table
        write_review_table(work, arguments.folder / REVIEW_TABLE)
    _tell(work, item, reporter, arguments.folder)
    return _SOME_FAILED if any(one.problem for one in work.items) else _DONE


def _chosen(work: WorkList, arguments: argparse.Namespace) -> WorkItem | None:
    case = arguments.case
    if arguments.previous:
        if case is None:
            raise ConfigurationError("--previous needs --case: the one before which?")
        return work.previous(case) or work.item(case)
    if case is None or arguments.next:
        return work.next_open(case)
    return work.item(case)


def _decide(item: WorkItem, arguments: argparse.Namespace) -> None:
    if item.problem:
        raise ConfigurationError(f"{item.case} cannot be reviewed: {item.problem}")
    review = opened(read_review(item.folder), arguments.by)
    review = with_seen(review, _seen(item, arguments.seen))
    if arguments.state:
        mask = read_mask(item.folder)
        sha256 = "" if mask is None else mask_sha256(mask)
        if sha256 != (read_result(item.folder) or {}).get("mask_sha256", sha256):
            raise ConfigurationError(
                f"the mask of {item.case} was changed after it was measured: take it in by spinalcordseg correct first"
            )
        review = decided(review, arguments.state, arguments.by, mask_sha256=sha256)
    write_review(item.folder, review)


def _seen(item: WorkItem, words: list[str]) -> list[int]:
    slices: list[int] = []
    for word in words:
        if word == "all":
            slices += [doubt.slice for doubt in _queue(item.folder)]
        elif word.isdecimal():
            slices.append(int(word))
        else:
            raise ConfigurationError(f'"{word}" is no slice: give a number, or "all"')
    return slices


def _queue(folder: Path) -> tuple[SliceDoubt, ...]:
    return queue_of_report(read_result(folder) or {})


def _tell(work: WorkList, item: WorkItem | None, reporter: Reporter, folder: Path) -> None:
    for one in work.items:
        reporter.text(f"{one.case}: {one.problem or _words(one)}")
    counts = ", ".join(f"{n} {state}" for state, n in work.counts.items() if n)
    table = "" if folder == work.items[0].folder else f" → {folder / REVIEW_TABLE}"
    reporter.text(f"{len(work.items)} cases: {counts}{table}")
    if item is None:
        reporter.text("nothing is left to review")
        return
    if item.problem:
        return
    doubts = unseen(_queue(item.folder), item.review)
    reporter.text(f"\n{item.case}: {len(doubts)} slices to look at, the most doubtful first" if doubts else "")
    for doubt in doubts[:_MOST_SLICES]:
        reporter.text(f"  slice {doubt.slice} ({doubt.score:.2f}): {doubt.message}")
    if len(doubts) > _MOST_SLICES:
        reporter.text(f"  and {len(doubts) - _MOST_SLICES} more")


def _words(item: WorkItem) -> str:
    review: Review = item.review
    left = f", {item.n_unseen} of {item.n_flagged} flagged slices not looked at" if item.n_unseen else ""
    other = ", decided on another mask than this one" if item.decided_on_this_mask is False else ""
    return f"{review_words(review)}{left}{other}"
