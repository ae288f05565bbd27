"""Which slice to look at first: the flagged slices ranked by how far they lie beyond what good slices do.

``score`` is a rank, not a probability: it grows with the distance of every feature from its limit (QualityConfig),
and features that agree add up. The weights were set on hand-drawn masks with slices spoilt at random (RESULTS.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import exp, hypot, isfinite, log
from typing import Any

from SpinalCordSegLib.doubts.quality import QualityConfig
from SpinalCordSegLib.doubts.review import Review
from SpinalCordSegLib.doubts.slice_features import SliceFeatures
from SpinalCordSegLib.flags import Flag

# What a flag alone says, where no feature measures it: 1 is "just beyond a limit".
_WEIGHTS = {
    "gap": 3.0,
    "below_end": 2.5,
    "border_contact": 2.5,
    "several_components": 1.5,
    "steep_cut": 0.7,
    "area_jump": 1.3,
    "cord_end": 1.0,
    "position_jump": 1.3,
    "shape": 0.7,
    "implausible_area": 3.0,
    "low_confidence": 1.5,
    "doubts_add_up": 0.7,
    "unclear_edge": 1.3,
}
_OTHER_KIND = 0.5
_HALF = 2.0  # this far beyond the limits a score is about one half
_BENT = 0.25
_MOST = 6.0  # of one feature: no single one makes the others unheard


@dataclass(frozen=True)
class SliceDoubt:
    """A flagged slice. ``score``: 0..1, only its order means something. ``kinds``: of its flags; ``message``: theirs.
    ``slice``: of the input; ``canonical_slice``: counted from inferior, -1 where an old report does not tell."""

    slice: int
    canonical_slice: int
    score: float
    kinds: tuple[str, ...]
    message: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"kinds": list(self.kinds)}


def rank_doubts(
    flags: Iterable[Flag], features: SliceFeatures | None = None, config: QualityConfig | None = None
) -> tuple[SliceDoubt, ...]:
    """The flagged slices, the most doubtful first; equal ones from inferior to superior. No flagged slice: ().

    ``features`` of the same mask say how far beyond the limits each lies; without them only the kinds of flag count.
    """
    by_slice: dict[int, list[Flag]] = {}
    for flag in flags:
        if flag.slice is not None:
            by_slice.setdefault(flag.slice, []).append(flag)
    rows = {} if features is None else {int(k): at for at, k in enumerate(features.canonical_slice)}
    found = []
    for number, own in by_slice.items():
        canonical = -1 if own[0].canonical_slice is None else own[0].canonical_slice
        excess = {flag.kind: _WEIGHTS.get(flag.kind, _OTHER_KIND) for flag in own}
        if features is not None and canonical in rows:
            excess |= _measured(features.row(rows[canonical]), config or QualityConfig())
        if "steep_cut" in excess and "area_jump" in excess:
            excess["area_jump"] *= _BENT  # the tilt that its area hangs on may be bent by a neighbour
        kinds, messages = tuple(dict.fromkeys(f.kind for f in own)), dict.fromkeys(f.message for f in own)
        found.append(SliceDoubt(number, canonical, _score(excess.values()), kinds, "; ".join(messages)))
    return tuple(sorted(found, key=lambda one: (-one.score, one.canonical_slice, one.slice)))


def queue_of_report(content: Mapping[str, Any]) -> tuple[SliceDoubt, ...]:
    """The ranked slices of a report.json; of an older one, by the kinds of its flags."""
    stored = content.get("review_queue")
    if isinstance(stored, list):
        return tuple(
            SliceDoubt(
                int(one["slice"]),
                int(one["canonical_slice"]),
                float(one["score"]),
                tuple(map(str, one["kinds"])),
                str(one["message"]),
            )
            for one in stored
            if isinstance(one, dict) and {"slice", "canonical_slice", "score", "kinds", "message"} <= one.keys()
        )
    flags = content.get("flags") or ()
    return rank_doubts(
        Flag(int(flag["slice"]), None, str(flag["kind"]), str(flag["message"]))
        for flag in flags
        if flag.get("slice") is not None
    )


def unseen(queue: Sequence[SliceDoubt], review: Review) -> tuple[SliceDoubt, ...]:
    """Those nobody has looked at yet, in the same order."""
    return tuple(one for one in queue if one.slice not in review.seen)


def _measured(row: Mapping[str, float], c: QualityConfig) -> dict[str, float]:
    """How far beyond its limit each feature lies, 1 at the limit; what is not known is left out.

    The diameters' ratios are left out: on spoilt masks they ranked no better than chance beside area and position.
    """
    found = {
        "area_jump": _off(row["area_ratio"], log(c.max_area_ratio)),
        "position_jump": _known(row["offset_mm"] / c.max_offset_mm),
        "low_confidence": max(
            _known((1 - row["expected_dice"]) / (1 - c.min_expected_dice)),
            _known((1 - row["mean_probability"]) / (1 - c.min_mean_probability)),
        ),
    }
    return {kind: value for kind, value in found.items() if value > 0}


def _off(ratio: float, limit: float) -> float:
    return abs(log(ratio)) / limit if isfinite(ratio) and ratio > 0 else 0.0


def _known(value: float) -> float:
    return max(0.0, value) if isfinite(value) else 0.0


def _score(excess: Iterable[float]) -> float:
    total = hypot(*(min(value, _MOST) for value in excess))
    return round(1 - exp(-total * log(2) / _HALF), 4)
