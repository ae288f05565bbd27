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
    """Visit, years, area, change with the minimum detectable one, or why there is none."""
    rows = []
    for visit in content["visits"]:
        change = visit["change"]
        words = visit["no_change"]
        if change is not None:
            words = _("{percent:+.1f} %, MDC {mdc:.1f} %: {verdict}").format(
                percent=change["percent"], mdc=change["mdc95_percent"], verdict=change["verdict"]
            )
        day = visit.get("date") or f"{visit['years']:.2f}"
        rows.append((str(visit["visit"]), day, f"{visit['mean_csa_mm2']:.1f}", words))
    return rows
