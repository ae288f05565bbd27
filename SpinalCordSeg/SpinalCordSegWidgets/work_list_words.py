"""A work list in words. No Qt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from slicer.i18n import tr as _

from SpinalCordSegLib.doubts.review import ACCEPTED, AI, CORRECTED, IN_REVIEW, REJECTED

if TYPE_CHECKING:  # it brings SimpleITK along: not when the panel opens
    from SpinalCordSegLib.correction.work_list import WorkItem, WorkList

REVIEW_TABLE = "review.csv"  # as in SpinalCordSegLib.correction.work_list


def state_words(item: WorkItem, ahead: str = "") -> str:
    """Of the table's second column. ``ahead``: the state in the scene, where the folder has another one yet."""
    names = {
        AI: _("AI"),
        IN_REVIEW: _("in review"),
        CORRECTED: _("corrected"),
        ACCEPTED: _("accepted"),
        REJECTED: _("rejected"),
    }
    if item.problem:
        return _("unreadable")
    return names[ahead] + " *" if ahead else names[item.review.state]


def left_words(item: WorkItem) -> str:
    """How many flagged slices nobody has looked at."""
    return "" if item.problem else _("{left} of {all}").format(left=item.n_unseen, all=item.n_flagged)


def row_words(items: Sequence[WorkItem], ahead: Sequence[str]) -> tuple[list[tuple[str, str, str]], list[str]]:
    """The table's rows and their tool tips; ``ahead`` as above, for each."""
    each = list(zip(items, ahead, strict=True))
    tips = [item.problem or (_("* Not in its folder yet.") if state else "") for item, state in each]
    return [(item.case, state_words(item, state), left_words(item)) for item, state in each], tips


def list_words(work: WorkList | None, names: list[str], case: str) -> str:
    """Where one is in the list, and what is left."""
    if work is None:
        return _("Cases one after the other; states, corrections and decisions stay in their folders.")
    left = sum(item.is_open for item in work.items)
    words = _("{left} of {all} cases open.").format(left=left, all=len(names))
    if case in names:
        words = _("Case {n}: {case}.").format(n=names.index(case) + 1, case=case) + " " + words
    return words + " " + _("Table: {name}").format(name=REVIEW_TABLE)
