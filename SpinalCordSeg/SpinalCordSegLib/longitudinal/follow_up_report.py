"""A follow-up as plain data: follow_up.json, and rows of follow_up.csv and cohort.csv.

Numbers are mm, mm², mm³, %; what has no answer is null or an empty field. No date unless it was asked for, no path,
no identifier.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

from SpinalCordSegLib.longitudinal.atrophy import HEALTHY_SOURCE, Rate, Repeatability, healthy_rates
from SpinalCordSegLib.longitudinal.comparability import Difference, as_dict
from SpinalCordSegLib.longitudinal.follow_up import DAYS_PER_YEAR, FollowUp, Run, VisitOutcome
from SpinalCordSegLib.reporting.report import rounded
from SpinalCordSegLib.version import SOFTWARE_VERSION

SCHEMA = "SpinalCordSeg follow-up"
SCHEMA_VERSION = 1

COLUMNS = (
    "person", "state", "reason", "visit", "case", "date", "day", "years",
    "mean_csa_mm2", "volume_mm3", "length_mm", "volume_per_length_mm2",
    "shared_low_mm", "shared_high_mm", "shared_from", "aligned_by", "areas_from",
    "change_percent", "mdc95_percent", "change_verdict", "change_cov_setting", "no_change",
    "run", "run_visits", "rate_percent_per_year", "rate_low", "rate_high", "rate_limit", "rate_verdict",
    "cov_percent", "cov_setting", "cov_source",
    "breaks", "differences", "n_doubtful_slices", "n_left_out_slices", "left_out_mm", "remarks",
    "scanner", "field_strength", "sequence", "contrast_agent", "distortion_correction", "voxel_mm", "model", "made_by",
    "software_version",
)  # fmt: skip


def follow_up_report(result: FollowUp) -> dict[str, Any]:
    """The content of follow_up.json, ready for JSON without NaN."""
    shared = result.shared
    fast, slow = healthy_rates(result.options.age_years)
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "person": result.person,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "software_version": SOFTWARE_VERSION,
        "aligned_by": result.alignment.method,
        "areas_from": result.areas_from,
        "residuals_mm": [rounded(mm, 2) for mm in result.alignment.residuals_mm],
        "shared": {
            "from": result.alignment.zero,
            "low_mm": rounded(shared.low_mm, 2),
            "high_mm": rounded(shared.high_mm, 2),
            "length_mm": rounded(shared.length_mm, 2),
            "left_out_mm": rounded(shared.doubtful_mm, 2),
        },
        "visits": [_visit(visit, result) for visit in result.visits],
        "runs": [_run(run) for run in result.runs],
        "remarks": list(result.remarks),
        "healthy": {
            "low_percent_per_year": fast,
            "high_percent_per_year": slow,
            "of": "their age" if result.options.age_years is not None else "any age",
            "source": HEALTHY_SOURCE,
        },
    }


def _visit(visit: VisitOutcome, result: FollowUp) -> dict[str, Any]:
    content: dict[str, Any] = {
        "visit": visit.number,
        "case": visit.case_name,
        "day": rounded(visit.years * DAYS_PER_YEAR, 2),
        "years": rounded(visit.years, 4),
        "mean_csa_mm2": rounded(visit.mean_csa_mm2, 3),
        "volume_mm3": rounded(visit.volume_mm3, 2),
        "length_mm": rounded(result.shared.length_mm, 2),
        "volume_per_length_mm2": rounded(visit.mean_csa_mm2, 3),
        "whole_volume_mm3": rounded(visit.whole_volume_mm3, 2),
        "whole_length_mm": rounded(visit.whole_length_mm, 2),
        "change": None,
        "no_change": visit.no_change,
        "differences": [asdict(one) for one in visit.differences],
        "conditions": as_dict(visit.conditions),
        "n_doubtful_slices": visit.n_doubtful,
        "n_left_out_slices": visit.n_left_out,
    }
    if visit.date is not None:
        content["date"] = visit.date.isoformat()
    if visit.change is not None and visit.change_by is not None:
        content["change"] = {
            "percent": rounded(visit.change.percent, 3),
            "mdc95_percent": rounded(visit.change.mdc95_percent, 3),
            "verdict": visit.change.verdict,
            **_repeatability(visit.change_by),
        }
    return content


def _repeatability(one: Repeatability) -> dict[str, Any]:
    return {"cov_percent": one.cov_percent, "cov_setting": one.setting, "cov_source": one.source}


def _run(run: Run) -> dict[str, Any]:
    return {
        "first": run.first,
        "last": run.last,
        "rate": None if run.rate is None else _rate(run.rate),
        **_repeatability(run.repeatability),
    }


def _rate(rate: Rate) -> dict[str, Any]:
    return {
        "percent_per_year": rounded(rate.percent_per_year, 3),
        "low": rounded(rate.low, 3),
        "high": rounded(rate.high, 3),
        "limit": rounded(rate.limit, 3),
        "fitted_first_mm2": rounded(rate.fitted_first_mm2, 3),
        "slope_mm2_per_year": rounded(rate.slope_mm2_per_year, 4),
        "n_visits": rate.n_visits,
        "verdict": rate.verdict,
        "scatter_cov_percent": rounded(rate.scatter_cov_percent, 3),
        "scatters": rate.scatters,
    }


def follow_up_rows(result: FollowUp) -> list[dict[str, Any]]:
    """One tidy row a visit: the columns of a person's run are repeated in each of its visits."""
    content = follow_up_report(result)
    rows = []
    for visit, words in zip(result.visits, content["visits"], strict=True):
        number, run = next(
            (n, run) for n, run in enumerate(content["runs"], 1) if run["first"] <= visit.number <= run["last"]
        )
        change, rate = words["change"] or {}, run["rate"] or {}
        known = words["conditions"]
        row: dict[str, Any] = dict.fromkeys(COLUMNS)
        row |= {name: words.get(name) for name in COLUMNS if name in words}
        row |= {name: known[name] for name in COLUMNS if name in known}
        row |= {name: run[name] for name in ("cov_percent", "cov_setting", "cov_source")}
        row |= {
            "person": result.person,
            "state": "done",
            "shared_low_mm": content["shared"]["low_mm"],
            "shared_high_mm": content["shared"]["high_mm"],
            "shared_from": content["shared"]["from"],
            "left_out_mm": content["shared"]["left_out_mm"],
            "aligned_by": content["aligned_by"],
            "areas_from": content["areas_from"],
            "change_percent": change.get("percent"),
            "mdc95_percent": change.get("mdc95_percent"),
            "change_verdict": change.get("verdict"),
            "change_cov_setting": change.get("cov_setting"),
            "run": number,
            "run_visits": f"{run['first']}-{run['last']}",
            "rate_percent_per_year": rate.get("percent_per_year"),
            "rate_low": rate.get("low"),
            "rate_high": rate.get("high"),
            "rate_limit": rate.get("limit"),
            "rate_verdict": rate.get("verdict"),
            "breaks": _kinds(visit.differences, breaks=True),
            "differences": _kinds(visit.differences, breaks=False),
            "remarks": "; ".join(result.remarks),
            "voxel_mm": "x".join(f"{mm:g}" for mm in known["voxel_mm"]),
            "software_version": known["software"],
        }
        rows.append(row)
    return rows


def _kinds(found: tuple[Difference, ...], breaks: bool) -> str:
    return " ".join(dict.fromkeys(one.kind for one in found if one.breaks is breaks))


def failed_person_row(person: str, reason: str) -> dict[str, Any]:
    """The row of a person who could not be followed."""
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    return row | {"person": person, "state": "failed", "reason": reason, "software_version": SOFTWARE_VERSION}


def run_sentence(run: Run) -> str:
    """What the visits of a run tell, in one sentence."""
    which = f"visit {run.first}" if run.first == run.last else f"visits {run.first} to {run.last}"
    rate = run.rate
    if rate is None:
        return f"{which}: no yearly rate ({'a single visit' if run.first == run.last else 'within two weeks'})"
    return (
        f"{which}: {rate.percent_per_year:+.1f} % per year (95 % CI {rate.low:+.1f} to {rate.high:+.1f}),"
        f" {rate.verdict} (±{rate.limit:.1f} % per year)"
    )
