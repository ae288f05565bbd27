"""What the report's page says of the review, and how a page that is there is brought up to date."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from typing import Any

from SpinalCordSegLib.doubts.review import ACCEPTED, DECISIONS, ON_ANOTHER_MASK, Review, review_words
from SpinalCordSegLib.doubts.review_queue import queue_of_report, unseen

_MADE = {"AI": "AI segmentation", "corrected": "AI segmentation, corrected by a person"}
_MADE_ELSEWHERE = "measured on a mask made elsewhere"
_STATE = re.compile(r"<span class='quiet made'>.*?</span>", re.DOTALL)
_LINE = re.compile(r"<p class='review'>.*?</p>", re.DOTALL)


def state_sentence(content: Mapping[str, Any]) -> str:
    """ "AI segmentation, corrected by a person, accepted by A. Meyer on 2024-01-31", without markup."""
    made = _MADE.get(str(content.get("mask_state")), _MADE_ELSEWHERE)
    return f"{made}, {review_words(Review.from_dict(content.get('review')))}"


def review_sentence(content: Mapping[str, Any]) -> str:
    """Who decided what, how many doubtful slices nobody looked at, what was changed; "" before a decision."""
    review = Review.from_dict(content.get("review"))
    if review.state not in DECISIONS:
        return ""
    words = [review_words(review).capitalize() if not review.who else review_words(review)]
    queue = queue_of_report(content)
    left = len(unseen(queue, review))
    if queue:
        words.append(f"{len(queue) - left} of {len(queue)} flagged slices looked at")
    changed = content.get("changes")
    if changed:
        words.append(f"{len(changed['slices'])} slices edited, Dice {changed['dice']:.3f} against the AI’s mask")
    if review.is_of_another(content.get("mask_sha256")):
        words.append(ON_ANOTHER_MASK)
    sentence = "; ".join(words)
    return sentence[0].upper() + sentence[1:] + "."


def state_span(content: Mapping[str, Any]) -> str:
    """The state as HTML, for the head of the page."""
    return f"<span class='quiet made'>{escape(state_sentence(content))}.</span>"


def review_line(content: Mapping[str, Any]) -> str:
    """The line of the decision as HTML; blanks to be filled in by hand before there is one."""
    decided = review_sentence(content)
    if not decided:
        return (
            "<p class='review'>Reviewed by <span class='blank'></span> on <span class='blank short'></span>"
            " &nbsp; ☐ accepted &nbsp; ☐ rejected</p>"
        )
    accepted = Review.from_dict(content.get("review")).state == ACCEPTED
    return f"<p class='review'><b class='{'use' if not accepted else ''}'>{escape(decided)}</b></p>"


def updated_page(html: str, content: Mapping[str, Any]) -> str:
    """``html`` of an earlier report.html with the review as ``content`` (of report.json) has it now."""
    html = _STATE.sub(lambda _: state_span(content), html, count=1)
    return _LINE.sub(lambda _: review_line(content), html, count=1)
