"""Change per year over many persons: a mixed-effects model of the areas with groups, age, sex and site, beside the
rates from the images; sample sizes of a trial by either, and their agreement.

The model: 100·log(area) ~ group + year of each group + age + sex + site, with an intercept and a slope for each person,
by REML (statsmodels; Laird and Ware 1982). A slope is then a change in % per year.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.cohort_statistics import Estimate, mean_of, sample_size
from SpinalCordSegLib.errors import ConfigurationError, MissingPackageError
from SpinalCordSegLib.files import output_errors, write_text
from SpinalCordSegLib.report import CURVE, QUIET, Section, html_page, style_axes
from SpinalCordSegLib.slice_table import csv_text, rounded

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from SpinalCordSegLib.longitudinal.change import FollowUp
    from SpinalCordSegLib.longitudinal.visits import PersonSource

EFFECTS_PERCENT = (25, 50)
PERSON_COLUMNS = (
    "person", "group", "age_years", "sex", "site", "n_visits", "years", "area_percent_per_year",
    "direct_percent_per_year", "left_out",
)  # fmt: skip
_WAYS = {"area": "areas", "direct": "images"}
GROUP_COLUMNS = (
    "group", "by", "n_persons", "percent_per_year", "low_95", "high_95", "sd_between_persons",
    *(f"n_per_arm_{effect}_percent" for effect in EFFECTS_PERCENT),
)  # fmt: skip


@dataclass(frozen=True)
class PersonRates:
    """Comparable visits of a person: ``years`` of each, ``areas_mm2``; ``area``, ``direct``: % per year by a line
    through the person's own areas and by the images, NaN without. ``left_out``: why, "" for those that count."""

    source: PersonSource
    years: tuple[float, ...] = ()
    areas_mm2: tuple[float, ...] = ()
    area: float = nan
    direct: float = nan
    left_out: str = ""

    @classmethod
    def of(cls, source: PersonSource, found: FollowUp) -> PersonRates:
        """By the longest run of comparable visits; of a person in doubt nothing counts."""
        run = max(found.runs, key=lambda one: one.last - one.first)
        if found.doubts or run.rate is None:
            return cls(source, left_out="in doubt" if found.doubts else run.no_rate)
        own = found.visits[run.first - 1 : run.last]
        direct = nan if run.direct is None else run.direct.percent_per_year
        years, areas = tuple(one.years for one in own), tuple(one.mean_csa_mm2 for one in own)
        return cls(source, years, areas, run.rate.percent_per_year, direct)

    def row(self) -> dict[str, Any]:
        """By PERSON_COLUMNS."""
        source, span = self.source, max(self.years, default=0) - min(self.years, default=0)
        kept = {name: getattr(source, name) for name in ("person", "group", "sex", "site", "age_years")}
        rates = {f"{way}_percent_per_year": rounded(getattr(self, way), 3) for way in _WAYS}
        return kept | rates | {"n_visits": len(self.years), "years": round(span, 2), "left_out": self.left_out}


@dataclass(frozen=True)
class Mixed:
    """``rates``: % a year by group; ``covariates``: % of area for each, by name. ``note``: what it leaves out."""

    rates: dict[str, Estimate]
    covariates: dict[str, Estimate]
    note: str


def mixed_model(persons: Sequence[PersonRates]) -> Mixed:
    """Raises ConfigurationError for fewer than three persons, MissingPackageError without statsmodels."""
    if len(persons) < 3:
        raise ConfigurationError(f"a model needs three persons with a yearly rate, found {len(persons)}")
    try:
        from statsmodels.regression.mixed_linear_model import MixedLM
    except ImportError as error:
        text = "rates of a cohort need the package statsmodels: pip install statsmodels"
        raise MissingPackageError(text) from error
    rows = [
        (n, year, area) for n, one in enumerate(persons) for year, area in zip(one.years, one.areas_mm2, strict=True)
    ]
    who = np.array([n for n, _, _ in rows])
    years, logs = (np.array([row[at] for row in rows], dtype=np.float64) for at in (1, 2))
    years = years - years.mean()
    logs, columns, notes = 100 * np.log(logs), {"": np.ones(len(rows))}, []
    groups = sorted({one.source.group for one in persons}, key=lambda name: (not name, name))
    for n, group in enumerate(groups):
        inside = np.array([persons[k].source.group == group for k in who], dtype=np.float64)
        columns[f"year {group}"] = inside * years
        if n:
            columns[f"group {group or 'not given'} against {groups[0]}"] = inside
    for name in ("sex", "site"):
        own = [getattr(one.source, name) for one in persons]
        first, *rest = sorted(set(own))
        for kind in rest:
            inside = np.array([own[k] == kind for k in who], dtype=np.float64)
            columns[f"{name} {kind or 'not given'} against {first or 'not given'}"] = inside
    ages = np.array([nan if one.source.age_years is None else one.source.age_years for one in persons])
    if np.isfinite(ages).all() and np.ptp(ages) > 0:
        columns["10 years of age"] = (ages[who] - ages.mean()) / 10
    elif np.isfinite(ages).any() and not np.isfinite(ages).all():
        notes.append("age is not known of all, and left out")
    design = np.stack(list(columns.values()), axis=1)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise ConfigurationError("group, sex and site are collinear: leave one of these columns out")
    of_persons = np.stack([np.ones(len(rows)), years], axis=1)
    for random, shared in ((of_persons, ""), (of_persons[:, :1], "every person of a group has one slope")):
        with warnings.catch_warnings():  # of an optimiser that fails: the next one follows
            warnings.simplefilter("ignore")
            try:
                found = MixedLM(logs, design, groups=who, exog_re=random).fit(
                    reml=True, method=["lbfgs", "bfgs", "powell"]
                )
            except np.linalg.LinAlgError:
                continue
        if found.converged and np.isfinite(found.bse_fe).all():
            notes += [shared] if shared else []
            break
    else:
        raise ConfigurationError("the model of this cohort does not converge: it needs more persons or visits")
    each = {
        name: Estimate(float(value), float(value - 1.96 * se), float(value + 1.96 * se))
        for name, value, se in zip(columns, found.fe_params, found.bse_fe, strict=True)
    }
    rates = {group: each[f"year {group}"] for group in groups}
    others = {
        name: Estimate(*(100 * np.expm1(log / 100) for log in (one.value, one.low, one.high)))
        for name, one in each.items() if name and not name.startswith("year ")
    }  # fmt: skip
    return Mixed(rates, others, "; ".join(notes))


def group_rows(persons: Sequence[PersonRates], model: Mixed) -> list[dict[str, Any]]:
    """By GROUP_COLUMNS: the model's rate by areas, the mean of the persons' rates by images; persons in each arm of a
    trial that slows the loss by so much (80 % power, alpha 0.05, as long and as often scanned)."""
    rows = []
    for group in model.rates:
        for way in _WAYS:
            values = np.array([getattr(one, way) for one in persons if one.source.group == group])
            values = values[np.isfinite(values)]
            rate = model.rates[group] if way == "area" else mean_of(values)
            sd = float(values.std(ddof=1)) if len(values) > 1 else nan
            arms = {
                f"n_per_arm_{share}_percent": sample_size(sd, share / 100 * rate.value) for share in EFFECTS_PERCENT
            }
            row = {"group": group, "by": _WAYS[way], "n_persons": len(values), "sd_between_persons": rounded(sd, 3)}
            row |= zip(GROUP_COLUMNS[3:6], (rounded(one, 3) for one in (rate.value, rate.low, rate.high)), strict=True)
            rows.append(row | (arms if rate.value < 0 else {}))
    return rows


def write_rates(persons: Sequence[PersonRates], folder: Path) -> Path:
    """Write rates.html, rates.csv (a person a row) and rates_groups.csv; gives the page. Raises ConfigurationError,
    MissingPackageError, OutputError."""
    page = folder / "rates.html"
    with output_errors(folder):
        for old in (page, folder / "rates_groups.csv"):  # of other persons, where the model now fails
            old.unlink(missing_ok=True)
    write_text(folder / "rates.csv", csv_text(PERSON_COLUMNS, [one.row() for one in persons]))
    used = [one for one in persons if not one.left_out]
    model = mixed_model(used)
    rows = group_rows(used, model)
    write_text(folder / "rates_groups.csv", csv_text(GROUP_COLUMNS, rows))
    footer = "Areas of one model and contrast are compared, not those of other programs."
    write_text(page, html_page("Change per year of a cohort", _sections(persons, used, model, rows), footer))
    return page


def _sections(
    persons: Sequence[PersonRates], used: Sequence[PersonRates], model: Mixed, rows: Sequence[Mapping[str, Any]]
) -> list[Section]:
    titles = ["group", "by", "persons", "% per year", "95 % CI", "SD between persons"]
    titles += [f"persons per arm, {effect} % slower" for effect in EFFECTS_PERCENT]
    nobody = "not given" if len(model.rates) > 1 else "all"
    cells = [
        (
            row["group"] or nobody, row["by"], str(row["n_persons"]), _text(row["percent_per_year"]),
            _interval(row["low_95"], row["high_95"]), _text(row["sd_between_persons"]).lstrip("+"),
            *(str(row.get(name) or "–") for name in GROUP_COLUMNS[7:]),
        )
        for row in rows
        if row["n_persons"]
    ]  # fmt: skip
    note = (
        "By areas: mixed-effects model. By images: mean of the persons' rates, Student's interval. Trial: two arms, 80"
        " % power, two-sided alpha 0.05, as long and as often scanned as here; from the SD between persons."
    )
    found = [Section("table", "Change per year", cells, f"{note} {model.note}".strip(), titles)]
    if left_out := [(one.source.person, one.left_out) for one in persons if one.left_out]:
        found.append(Section("flags", f"Left out: {len(left_out)} of {len(persons)} persons", left_out))
    others = [(name, _text(one.value), _interval(one.low, one.high)) for name, one in model.covariates.items()]
    if others:
        note = "Difference of the mean area midway through the follow-up, by the same model."
        found.append(Section("table", "What else areas differ by", others, note, ("", "%", "95 % CI")))
    both = np.array([(one.area, one.direct) for one in used if np.isfinite(one.area) and np.isfinite(one.direct)])
    if len(both) > 2:
        off = both[:, 1] - both[:, 0]
        note = (
            f"Mean {off.mean():+.2f}, limits of agreement ±{1.96 * off.std(ddof=1):.2f} % per year, {len(off)} persons."
        )
        draw = partial(draw_agreement, both=both)
        found.append(Section("picture", "Images against areas (Bland and Altman)", note=note, picture=draw))
    return found


def draw_agreement(axes: Axes, both: NDArray[np.float64]) -> None:
    """``both``: (persons, 2), % per year by areas and by images."""
    off = both[:, 1] - both[:, 0]
    axes.plot(both.mean(axis=1), off, "o", color=CURVE, markersize=4)
    for value, style in ((0.0, "-"), (-1.96, "--"), (1.96, "--")):
        axes.axhline(off.mean() + value * off.std(ddof=1), color=QUIET, linestyle=style, linewidth=1)
    style_axes(axes, "mean of both, % per year", "images − areas, % per year")


def _interval(low: float | None, high: float | None) -> str:
    if low is None or not np.isfinite(low):
        return "–"
    return f"{_text(low)} to {_text(high)}".replace(" ", "\N{NO-BREAK SPACE}")


def _text(value: float | None) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:+.2f}"
