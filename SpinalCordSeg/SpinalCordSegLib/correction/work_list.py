"""A folder of finished cases as a work list: what is left to review, next and previous, one table.

Nothing is remembered beside the cases: each folder holds its own state, so a list can be left and taken up anywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from SpinalCordSegLib.case_folder import output_errors, read_result, restore_interrupted
from SpinalCordSegLib.doubts.review import STATES, Review
from SpinalCordSegLib.doubts.review_queue import queue_of_report, unseen
from SpinalCordSegLib.errors import ConfigurationError, InputFileError
from SpinalCordSegLib.images.files import write_text
from SpinalCordSegLib.reporting.report import csv_text

UNREADABLE = "unreadable"
REVIEW_TABLE = "review.csv"
REVIEW_COLUMNS = (
    "case", "state", "reviewer", "when", "mask_state", "n_flagged", "n_unseen", "highest_doubt", "slices_edited",
    "dice_against_ai", "volume_mm3", "length_mm", "mean_csa_mm2", "decided_on_this_mask", "problem",
)  # fmt: skip


@dataclass(frozen=True)
class WorkItem:
    """A case of the list. ``n_flagged`` slices, of them ``n_unseen`` not looked at; ``highest_doubt``: score of the
    worst unseen one, 0 without. ``problem``: why its folder cannot be read, "" for a good one (then the rest holds)."""

    case: str
    folder: Path
    review: Review = field(default_factory=Review)
    mask_state: str = ""
    n_flagged: int = 0
    n_unseen: int = 0
    highest_doubt: float = 0.0
    volume_mm3: float | None = None
    length_mm: float | None = None
    mean_csa_mm2: float | None = None
    slices_edited: int | None = None
    dice_against_ai: float | None = None
    decided_on_this_mask: bool | None = None
    problem: str = ""

    @property
    def is_open(self) -> bool:
        """True while somebody has to look at it."""
        return not self.problem and not self.review.is_finished

    def row(self) -> dict[str, Any]:
        """By REVIEW_COLUMNS."""
        own = {name: getattr(self, name) for name in REVIEW_COLUMNS if hasattr(self, name)}
        state = UNREADABLE if self.problem else self.review.state
        return own | {"state": state, "reviewer": self.review.who or None, "when": self.review.when or None}


@dataclass(frozen=True)
class WorkList:
    """``items``: in the order of their names."""

    items: tuple[WorkItem, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many cases are in each state; states without a case are there with 0."""
        found = Counter(UNREADABLE if item.problem else item.review.state for item in self.items)
        return {state: found.get(state, 0) for state in (*STATES, *([UNREADABLE] if found.get(UNREADABLE) else []))}

    def item(self, case: str) -> WorkItem:
        """Raises ConfigurationError for a case that is not in the list."""
        for item in self.items:
            if item.case == case:
                return item
        raise ConfigurationError(f'there is no case "{case}" in the list: {len(self.items)} cases are')

    def next(self, case: str) -> WorkItem | None:
        """The one after ``case``; None at the end."""
        at = self.items.index(self.item(case)) + 1
        return self.items[at] if at < len(self.items) else None

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
        raise InputFileError(f"{folder} is no folder: give the one that segment wrote its results into")
    with output_errors(folder):
        restore_interrupted(folder)
        inside = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        candidates = [folder] if (folder / "report.json").is_file() else sorted(inside)
    items = [_item(path) for path in candidates if (path / "report.json").is_file()]
    if not items:
        raise InputFileError(f"{folder} holds no finished case: give the folder that segment wrote its results into")
    return WorkList(tuple(items))


def write_review_table(work_list: WorkList, path: Path) -> None:
    """One row a case as CSV. Raises OutputError."""
    write_text(path, csv_text(REVIEW_COLUMNS, (item.row() for item in work_list.items)))


def _item(folder: Path) -> WorkItem:
    content = read_result(folder)
    if content is None:
        return WorkItem(folder.name, folder, problem="not a complete result: segment again with --force")
    try:
        return _read(folder, content)
    except (ConfigurationError, KeyError, TypeError, ValueError) as error:
        known = str(error) if isinstance(error, ConfigurationError) else "report.json is damaged: segment again"
        return WorkItem(folder.name, folder, problem=known)


def _read(folder: Path, content: Mapping[str, Any]) -> WorkItem:
    review = Review.from_dict(content.get("review"))
    queue = queue_of_report(content)
    left = unseen(queue, review)
    changes = content.get("changes")
    same = None
    if review.mask_sha256 and content.get("mask_sha256"):
        same = review.mask_sha256 == content["mask_sha256"]
    return WorkItem(
        case=str(content["case"]),
        folder=folder,
        review=review,
        mask_state=str(content["mask_state"]),
        n_flagged=len(queue),
        n_unseen=len(left),
        highest_doubt=left[0].score if left else 0.0,
        volume_mm3=content.get("volume_mm3"),
        length_mm=content.get("length_mm"),
        mean_csa_mm2=content.get("mean_csa_mm2"),
        slices_edited=None if changes is None else len(changes["slices"]),
        dice_against_ai=None if changes is None else round(float(changes["dice"]), 4),
        decided_on_this_mask=same,
    )
