"""The state of a case in review: who looked, what was seen, corrected, accepted or rejected. No patient data.

A correction makes an earlier decision void: it was made on another mask. Times are UTC, ISO 8601, to the second.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.files import now_utc

if TYPE_CHECKING:
    from SpinalCordSegLib.quality_control import FlaggedSlice

AI, GIVEN, IN_REVIEW, CORRECTED, ACCEPTED, REJECTED = "ai", "given", "in review", "corrected", "accepted", "rejected"
TO_CORRECT = "to correct"
STATES = (AI, GIVEN, IN_REVIEW, TO_CORRECT, CORRECTED, ACCEPTED, REJECTED)
UNTOUCHED = (AI, GIVEN)
"""Nobody has looked yet: at the network's mask, at one made elsewhere."""
DECISIONS = (ACCEPTED, REJECTED)
ON_ANOTHER_MASK = "ATTENTION: decided on another mask than this one"
_LONGEST_NAME = 64  # of DICOM's person names
_LONGEST_NOTE = 500


@dataclass(frozen=True)
class Act:
    """One entry of a case's history. ``what``: "segmented", "measured", "opened", "seen", "corrected", "accepted",
    "exported" … ``who``: "" where nobody gave a name. ``when``: UTC, ISO 8601. ``before``, ``after``: mask_sha256 of
    the case's mask, "" where there was none."""

    what: str
    who: str
    when: str
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        return f"{self.when} {self.what}{' by ' * bool(self.who)}{self.who}, mask {self.after[:8]}"

    @classmethod
    def now(cls, what: str, who: str = "", before: str = "", after: str = "") -> Act:
        return cls(what, _checked_name(who), now_utc(), before, after)


def with_act(history: tuple[Act, ...], act: Act) -> tuple[Act, ...]:
    """``history`` and one act more; who goes on looking at slices of one mask has one entry for it."""
    is_same = history and act.what == "seen" and replace(history[-1], when=act.when) == act
    return (*history[: -1 if is_same else None], act)


def acts_between(before: Review, after: Review, who: str = "") -> list[tuple[str, str]]:
    """(what, who) of each act that made one review of the other. ``who``: looked at slices, where it is known."""
    acts = [("seen", who or after.who)] if before.seen != after.seen else []
    if (before.state, before.who, before.when) != (after.state, after.who, after.when):
        began = "opened" if before.state in UNTOUCHED else "reopened"
        acts.append((after.state if after.state in (TO_CORRECT, CORRECTED, *DECISIONS) else began, after.who))
    return acts


@dataclass(frozen=True)
class Review:
    """``state``: one of STATES; ``who`` and ``when`` changed it last. ``seen``: the input's own slices somebody looked
    at, ascending. ``mask_sha256``: of the mask a decision was made on, "" before one. ``note``: the reviewer's."""

    state: str = AI
    seen: tuple[int, ...] = ()
    who: str = ""
    when: str = ""
    mask_sha256: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "seen", tuple(sorted(set(self.seen))))
        if self.state not in STATES:
            raise ConfigurationError(f'"{self.state}" is not a review state: choose one of {", ".join(STATES)}')

    def unseen(self, queue: tuple[FlaggedSlice, ...]) -> tuple[FlaggedSlice, ...]:
        """Those of a queue that nobody has looked at yet."""
        return tuple(one for one in queue if one.slice not in self.seen)

    @property
    def is_finished(self) -> bool:
        """True once accepted or rejected."""
        return self.state in DECISIONS

    def is_of_another(self, sha256: str | None) -> bool:
        """True when a decision was made on another mask than the one with this mask_sha256; False where either mask is
        not known."""
        return bool(self.mask_sha256 and sha256) and self.mask_sha256 != sha256


def opened(review: Review, who: str = "") -> Review:
    """Somebody began to look: an untouched case becomes "in review"; any other state stays."""
    return _changed(review, IN_REVIEW, who) if review.state in UNTOUCHED else review


def with_seen(review: Review, slices: Iterable[int], seen: bool = True) -> Review:
    """``slices`` (the input's own) marked as looked at, or with ``seen`` False as not."""
    numbers = {int(number) for number in slices}
    return replace(review, seen=tuple(set(review.seen) | numbers if seen else set(review.seen) - numbers))


def with_note(review: Review, note: str) -> Review:
    """With a reviewer's remark on the case, one line. Raises ConfigurationError for a text that is too long."""
    note = " ".join(note.split())
    if len(note) > _LONGEST_NOTE or not note.isprintable():
        raise ConfigurationError(f"a note must be printable and of at most {_LONGEST_NOTE} characters")
    return replace(review, note=note)


def decided(review: Review, state: str, who: str, mask_sha256: str = "") -> Review:
    """Accepted, rejected or to correct, or taken back to "in review" or "ai" (what was seen stays).

    ``mask_sha256``: of the mask that was looked at. Raises ConfigurationError for another state, and where a
    decision, or taking back that the case was accepted, has no name.
    """
    if state not in (*DECISIONS, TO_CORRECT, IN_REVIEW, *UNTOUCHED):
        raise ConfigurationError(
            f'a case cannot be set to "{state}": choose accepted, rejected, to correct, in review or ai'
        )
    if (state in DECISIONS or review.state == ACCEPTED) and not who.strip():
        done = state if state in DECISIONS else "reopened after it was accepted"
        raise ConfigurationError(f"a case is {done} by somebody: give the reviewer's name (--by NAME)")
    return replace(_changed(review, state, who), mask_sha256=mask_sha256 if state in DECISIONS else "")


def edited(review: Review, who: str = "") -> Review:
    """A person changed the mask: "corrected", and an earlier decision no longer holds. Without a name it is the one who
    looked at the case last."""
    return replace(_changed(review, CORRECTED, who or review.who), mask_sha256="")


def review_text(review: Review) -> str:
    """The state as a sentence's beginning: "accepted by A. Meyer on 2024-01-31"; "not reviewed by a person" for ai."""
    if review.state in UNTOUCHED:
        return "not reviewed by a person"
    by = f" by {review.who}" if review.who else ""
    return f"{review.state}{by}" + (f" on {review.when[:10]}" if review.when else "")


def _changed(review: Review, state: str, who: str) -> Review:
    return replace(review, state=state, who=_checked_name(who), when=now_utc())


def _checked_name(who: str) -> str:
    name = " ".join(who.split())
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise ConfigurationError(f"the reviewer's name must be printable and of at most {_LONGEST_NAME} characters")
    return name
