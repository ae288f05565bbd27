"""A follow-up in words: its yearly rates, and the rows of its table. No Qt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _


def run_words(run: Mapping[str, Any]) -> str:
    """What the visits of a run tell. ``run``: of follow_up.json."""
    first, last, rate = run["first"], run["last"], run["rate"]
    which = (
        _("Visit {first}").format(first=first)
        if first == last
        else _("Visits {first} to {last}").format(first=first, last=last)
    )
    if rate is None:
        why = _("a single visit") if first == last else _("within two weeks")
        return _("{which}: no yearly rate ({why})").format(which=which, why=why)
    words = _(
        "{which}: {rate:+.1f} % per year (95 % CI {low:+.1f} to {high:+.1f}), {verdict} (±{limit:.1f} % per year;"
        " CoV {cov:g} %, {source})"
    )
    return words.format(
        which=which, rate=rate["percent_per_year"], low=rate["low"], high=rate["high"], verdict=rate["verdict"],
        limit=rate["limit"], cov=run["cov_percent"], source=run["cov_source"],
    )  # fmt: skip


def outcome_rows(content: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Visit, years, area, change with the minimum detectable one."""
    rows = []
    for visit in content["visits"]:
        change = visit["change"]
        words = "–" if change is None else f"{change['percent']:+.1f} % / ±{change['mdc95_percent']:.1f} %"
        day = visit.get("date") or f"{visit['years']:.2f}"
        rows.append((str(visit["visit"]), day, f"{visit['mean_csa_mm2']:.1f}", words))
    return rows


def outcome_tips(content: Mapping[str, Any]) -> list[str]:
    """What each visit's change means, or why there is none."""
    return [str((visit["change"] or {}).get("verdict") or visit["no_change"]) for visit in content["visits"]]
