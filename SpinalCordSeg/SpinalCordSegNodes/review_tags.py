"""The state of a review, kept in the mask's segment (it travels with .mrb, .seg.nrrd and the scene) and its report."""

from __future__ import annotations

import base64
import json
from typing import Any

from SpinalCordSegLib.doubts.review import Review, review_words
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegNodes.provenance import PREFIX, read_tag
from SpinalCordSegNodes.result_folder import cleaned_mask, report_text
from SpinalCordSegNodes.results import Result, result_of

_REVIEW, _STATE = PREFIX + "Review", PREFIX + "ReviewState"


def read_review(segmentation: Any, segment_id: str) -> Review:
    """The review of a mask; Review() of one nobody has looked at.

    The segment's and the report's, whichever is further on: undo takes the segment back with its tags, the report not.
    Raises ConfigurationError when what is stored cannot be read.
    """
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    stored = "" if segment is None else read_tag(segment, _REVIEW)
    result = result_of(segmentation)
    reported = Review.from_dict(None if result is None else result.report_content().get("review"))
    if not stored:
        return reported
    try:
        tagged = Review.from_dict(json.loads(base64.b64decode(stored)))
    except ValueError as error:
        raise ConfigurationError("the review kept in this mask cannot be read: review it again") from error
    return max(tagged, reported, key=lambda review: len(review.events))


def write_review(segmentation: Any, segment_id: str, review: Review) -> None:
    """Keep the review in the segment, with its state in words, and in the report where there is one."""
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    if segment is None:
        raise ConfigurationError("the segment is no longer there: choose another one")
    # JSON holds ":" and "|", which part tags in a .seg.nrrd.
    segment.SetTag(_REVIEW, base64.b64encode(json.dumps(review.as_dict()).encode()).decode())
    segment.SetTag(_STATE, review_words(review).replace(":", "-").replace("|", " "))
    result = result_of(segmentation)
    if result is not None:
        _into_report(result, review)


def mask_sha256_of(segmentation: Any, segment_id: str) -> str:
    """SHA-256 of the mask as it is measured, on its own grid: what a decision is tied to. Raises GeometryError."""
    from SpinalCordSegLib.measurement.mask_changes import mask_sha256

    return mask_sha256(cleaned_mask(segmentation, segment_id))


def _into_report(result: Result, review: Review) -> None:
    from SpinalCordSegLib.reporting.review_section import updated_page

    content = dict(result.report_content()) | {"review": review.as_dict()}
    result.report.SetText(report_text(content))
    if result.page is not None and result.page.GetText():
        result.page.SetText(updated_page(result.page.GetText(), content))
