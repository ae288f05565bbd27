"""A folder of finished cases as a work list: what is left to review, next and previous, one table.

Nothing is remembered beside the cases: each folder holds its own state, so a list can be left and taken up anywhere.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from SpinalCordSegLib.case import Case, ModelSummary
from SpinalCordSegLib.case_folder import restore_interrupted
from SpinalCordSegLib.errors import ConfigurationError, InputFileError, OutputError
from SpinalCordSegLib.files import atomic_write, output_errors, read_table
from SpinalCordSegLib.review import STATES, Review
from SpinalCordSegLib.slice_table import rounded, write_csv
from SpinalCordSegLib.vertebral_levels import UPPER_END

UNREADABLE = "unreadable"
_MOST_NAMED = 20  # in a message
REVIEW_TABLE = "review.csv"
HISTORY_COLUMNS = {
    "case": "name of the case",
    "when": "UTC",
    "act": "segmented, measured, opened, seen, to correct, corrected, segmented again, filled, smoothed, restored,"
    " accepted, rejected, reopened, exported, added to a training set",
    "who": "the name that was given, or the model",
    "mask_before": "fingerprint of the mask before the act",
    "mask_after": "fingerprint of the mask after it",
}
LEVEL_COLUMNS = {
    "case": "name of the case",
    "level": "vertebral level, C2-C3 for both, the stretch around the disc C2/C3, or below the cord's upper end",
    "mean_csa_mm2": "mean area, weighted by length, imputed slices left out",
    "mean_csa_95_mm2": "half of the mean area's 95 % band; none where a person drew a slice",
    "sd_csa_mm2": "standard deviation between the same slices",
    "n_slices": "those that the mean rests on",
    "length_mm": "of the cord within the level",
    "volume_mm3": "of the cord within the level",
    "coverage": "share 0 to 1 of the level's length that has an area",
    "basis": "discs (both marked), fitted (between two marked discs), approximate (the template's length from one disc)"
    ", disc (around one) or upper end (below the cord's, in no relation to discs)",
    "disc": "marked, found and not confirmed, or found and accepted with the case; empty below the upper end",
    "review_state": "of the case, as in summary.csv",
    "remark": "what is doubtful",
}
REVIEW_COLUMNS = {
    "case": "name of the case",
    "state": "ai, given, in review, to correct, corrected, accepted, rejected or unreadable",
    "reviewer": "who changed the state last",
    "when": "UTC",
    "mask_state": "AI, corrected, or given (made elsewhere)",
    "n_flagged": "flagged slices",
    "n_unseen": "of them, those that nobody has looked at",
    "highest_doubt": "of these, how far the worst is beyond its limit",
    "slices_edited": "slices that differ from the mask that corrections began from",
    "dice_against_ai": "Dice against that mask",
    "volume_mm3": "of the whole cord found",
    "length_mm": "of the whole cord found",
    "mean_csa_mm2": "mean area, as in summary.csv",
    "decided_on_this_mask": "whether the decision was made on the mask that is there now",
    "problem": "why the case cannot be read",
    "note": "the reviewer's",
    "remarks": "a mask that was changed after it was measured, files that are gone, a second case of the same image",
}


@dataclass(frozen=True)
class WorkItem:
    """A case of the list. ``case``: what it is called here: its name, with the folder's where several have one name.
    ``content``: None where it cannot be read, then ``problem`` says why."""

    case: str
    folder: Path
    content: Case | None = None
    problem: str = ""

    @property
    def review(self) -> Review:
        return Review() if self.content is None else self.content.review

    @property
    def n_flagged(self) -> int:
        return 0 if self.content is None else len(self.content.queue)

    @property
    def n_unseen(self) -> int:
        return 0 if self.content is None else len(self.content.unseen)

    @property
    def is_open(self) -> bool:
        """True while somebody has to look at it."""
        return not self.problem and not self.review.is_finished

    @property
    def state(self) -> str:
        return UNREADABLE if self.problem else self.review.state

    def row(self) -> dict[str, Any]:
        """By REVIEW_COLUMNS."""
        row: dict[str, Any] = {"case": self.case, "state": self.state, "problem": self.problem}
        if self.content is None:
            return row
        case, review = self.content, self.review
        is_decided = review.mask_sha256 and case.mask_sha256
        return row | {
            "reviewer": review.who or None,
            "when": review.when or None,
            "mask_state": case.mask_state,
            "n_flagged": self.n_flagged,
            "n_unseen": self.n_unseen,
            "highest_doubt": case.unseen[0].score if case.unseen else 0.0,
            "slices_edited": None if case.changes is None else len(case.changes.slices),
            "dice_against_ai": None if case.changes is None else rounded(case.changes.dice, 4),
            "volume_mm3": rounded(case.volume_mm3, 2),
            "length_mm": rounded(case.length_mm, 3),
            "mean_csa_mm2": rounded(case.mean_csa_mm2, 3),
            "note": review.note,
            "decided_on_this_mask": review.mask_sha256 == case.mask_sha256 if is_decided else None,
        }


@dataclass(frozen=True)
class WorkList:
    """``items``: in the order of their folders' names."""

    items: tuple[WorkItem, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many cases are in each state; states without a case are there with 0."""
        found = Counter(item.state for item in self.items)
        return {state: found.get(state, 0) for state in (*STATES, *([UNREADABLE] if found.get(UNREADABLE) else []))}

    def item(self, case: str) -> WorkItem:
        """By what the list calls it, by its name or its folder's. Raises ConfigurationError for a case that is not in
        the list, and where several are meant."""
        found = [item for item in self.items if item.case == case]
        found = found or [
            item
            for item in self.items
            if case in (item.folder.name, item.content.name if item.content is not None else "")
        ]
        if len(found) > 1:
            folders = ", ".join(str(item.folder) for item in found)
            raise ConfigurationError(f'"{case}" is the case in several folders: give one of them instead: {folders}')
        if not found:
            there = ", ".join(item.case for item in self.items[:_MOST_NAMED]) + " …" * (len(self.items) > _MOST_NAMED)
            raise ConfigurationError(f'there is no case "{case}" in the list: choose one of {there}')
        return found[0]

    def remarks(self, item: WorkItem) -> tuple[str, ...]:
        """See Case.remarks; and other cases of the list that are of the same image, as in a copied folder."""
        if item.content is None:
            return ()
        twins = [
            f"{item.folder} is of the same image as {other.folder}: keep the one that counts, and move the other away"
            for other in self._of_image.get(item.content.input.fingerprint, ())
            if other is not item
        ]
        return (*item.content.remarks, *twins)

    @cached_property
    def _of_image(self) -> dict[str, list[WorkItem]]:
        """By the fingerprint of the image, where it is known."""
        found: dict[str, list[WorkItem]] = {}
        for item in self.items:
            if item.content is not None and item.content.input.fingerprint:
                found.setdefault(item.content.input.fingerprint, []).append(item)
        return found

    def read_again(self, folder: Path) -> WorkList:
        """With one of its cases as its folder is now. Raises SpinalCordSegError."""
        (now,) = read_work_list(folder).items
        return WorkList(tuple(replace(now, case=one.case) if one.folder == folder else one for one in self.items))

    def previous(self, case: str) -> WorkItem | None:
        """The one before ``case``; None at the beginning."""
        at = self.items.index(self.item(case))
        return self.items[at - 1] if at else None

    def next_open(self, case: str | None = None) -> WorkItem | None:
        """The next one that is neither accepted nor rejected, after ``case`` and around to it; None when all are."""
        at = 0 if case is None else self.items.index(self.item(case)) + 1
        return next((item for item in (*self.items[at:], *self.items[:at]) if item.is_open), None)


def read_work_list(folder: Path) -> WorkList:
    """The finished cases in the folders directly inside ``folder`` (or ``folder`` itself, where it is one case).

    A case that cannot be read stays in the list with its problem. Raises InputFileError where there is no case at all.
    """
    if not folder.is_dir():
        raise InputFileError(f"{folder} is not a folder: give the one that segment wrote its results into")
    with output_errors(folder):
        restore_interrupted(folder)
        inside = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        candidates = [folder] if (folder / "report.json").is_file() else sorted(inside)
    models: list[ModelSummary] = []  # one for all cases: its card is longer than all else
    items = [_item(path, models) for path in candidates if (path / "report.json").is_file()]
    if not items:
        raise InputFileError(f"{folder} holds no finished case: give the folder that segment wrote its results into")
    names = Counter(item.case for item in items)
    items = [
        item if names[item.case] == 1 else replace(item, case=f"{item.case} [{item.folder.name}]") for item in items
    ]
    return WorkList(tuple(items))


def _item(folder: Path, models: list[ModelSummary]) -> WorkItem:
    try:
        case = Case.load(folder, needs_slices=False)
    except InputFileError as error:
        return WorkItem(folder.name, folder, problem=str(error))
    if case.model is not None:
        if case.model not in models:
            models.append(case.model)
        case = replace(case, model=models[models.index(case.model)])
    return WorkItem(case.name, folder, case)


def review_rows(work_list: WorkList) -> Iterator[dict[str, Any]]:
    """By REVIEW_COLUMNS, one a case."""
    for item in work_list.items:
        yield item.row() | {"remarks": "; ".join(work_list.remarks(item))}


def history_rows(work_list: WorkList) -> Iterator[dict[str, Any]]:
    """By HISTORY_COLUMNS, one for every act on a case."""
    for item in work_list.items:
        for act in () if item.content is None else item.content.history:
            cells = item.case, act.when, act.what, act.who, act.before, act.after
            yield dict(zip(HISTORY_COLUMNS, cells, strict=True))


def level_rows(work_list: WorkList) -> Iterator[dict[str, Any]]:
    """By LEVEL_COLUMNS, one for every vertebral level of a case."""
    for item in work_list.items:
        case = item.content
        for row in () if case is None else case.level_rows():
            disc = "" if case is None or row["basis"] == UPPER_END else case.discs_from
            about = {"case": item.case, "review_state": item.review.state}
            yield about | {"disc": disc, "level": row["name"]} | row


def failed_inputs(folder: Path, known: Collection[str] = ()) -> list[tuple[str, str]]:
    """(case, reason) of the inputs that gave no case, by summary.csv. Raises InputFileError."""
    path = folder / "summary.csv"
    rows = (row for _, row in read_table(path)) if path.exists() else ()
    failed = [(row.get("case", ""), row.get("reason", "")) for row in rows if row.get("state") == "failed"]
    return [one for one in failed if one[0] not in known]


def write_table(path: Path, columns: Iterable[str], rows: Iterable[dict[str, Any]]) -> None:
    """In the place of an earlier one; a table of somebody else's stays. Raises OutputError."""
    with output_errors(path):
        there = path.read_bytes()[:4096] if path.exists() else b""
    names = [name.strip('"') for name in re.split("[,;\t]", there.decode("utf-8-sig", "replace").partition("\n")[0])]
    if there and names[:2] != [*columns][:2]:
        raise OutputError(f"{path} is not a table of SpinalCordSeg and would be replaced: move it away")
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        write_csv(file, columns, rows)
