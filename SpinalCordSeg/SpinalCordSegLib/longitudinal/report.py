"""From visits to files: follow_up.json, rows of follow_up.csv and cohort.csv, follow_up.html with its figures.

Numbers are mm, mm², mm³, %; what has no answer is null or an empty field. No date unless it was asked for, no path,
no identifier.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SpinalCordSegLib.case_folder import read_backdrop
from SpinalCordSegLib.correction import check_belongs
from SpinalCordSegLib.errors import Cancelled, ConfigurationError, MissingPackageError, OutputError
from SpinalCordSegLib.files import (
    inside,
    now_utc,
    parse_json,
    reason,
    replace_names,
    to_json,
    without_folders,
    without_names,
    write_json,
    write_text,
)
from SpinalCordSegLib.identity import check_code
from SpinalCordSegLib.image_io import read_image
from SpinalCordSegLib.longitudinal.change import (
    HEALTHY_SOURCE,
    SOON,
    TWICE,
    WITHHELD,
    Z95,
    FollowUp,
    FollowUpOptions,
    Rate,
    Run,
    VisitOutcome,
    follow_up,
    healthy_rates,
)
from SpinalCordSegLib.longitudinal.pairs import DirectRate, PairChange, compare_images, lay_images, marks_in_doubt
from SpinalCordSegLib.longitudinal.rates import PersonRates, write_rates
from SpinalCordSegLib.longitudinal.registration import MIDDLE, Registration, align
from SpinalCordSegLib.longitudinal.repeatability import SAME_SCANNER, OwnRepeatability, measured_repeats
from SpinalCordSegLib.longitudinal.visits import (
    CONDITIONS,
    Conditions,
    PersonSource,
    Visit,
    check_once,
    check_one_person,
    check_visits,
    one_patient_twice,
    read_visit,
)
from SpinalCordSegLib.report import (
    CURVE,
    FLAG,
    HEALTHY,
    INK,
    ON_IMAGE,
    Canvas,
    CordScene,
    Section,
    can_draw,
    html_page,
    style_axes,
)
from SpinalCordSegLib.slice_table import counted, csv_text
from SpinalCordSegLib.version import SOFTWARE_VERSION
from SpinalCordSegLib.volume import Volume, fingerprint, place_on

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from SpinalCordSegLib.console import Reporter

SCHEMA = "SpinalCordSeg follow-up"
SCHEMA_VERSION = 1

COLUMNS = (
    "person", "group", "sex", "site", "state", "reason",
    "visit", "case", "date", "day", "years", "mean_csa_mm2", "volume_mm3", "length_mm",
    "shared_low_mm", "shared_high_mm", "shared_from", "aligned_by",
    "change_percent", "mdc95_percent", "change_verdict", "change_cov_setting", "change_cov_source",
    "no_change", "unlike",
    "direct_percent", "direct_se_percent", "no_direct", "blur_mm2", "sharpness_percent",
    "run", "run_visits", "rate_percent_per_year", "rate_low", "rate_high", "rate_limit", "rate_verdict",
    "direct_rate_percent_per_year", "direct_rate_low", "direct_rate_high", "direct_rate_n_pairs", "direct_rate_verdict",
    "no_rate", "beside", "cov_percent", "cov_setting", "cov_source", "doubts",
    "breaks", "differences", "n_flagged_slices", "n_left_out_slices", "left_out_mm", "remarks",
    "scanner", "field_strength", "sequence", "contrast_agent", "distortion_correction", "voxel_mm", "model", "made_by",
    "software_version",
)  # fmt: skip

_log = logging.getLogger(__name__)


# ---- From the folders of visits to files


def compared(person: PersonSource, options: FollowUpOptions, reporter: Reporter) -> FollowUp:
    """Read, align and compare the visits of a person. Raises ConfigurationError, InputFileError."""

    replaced: list[str] = []

    @cache
    def image_of(visit: Visit) -> Volume:
        if visit.source.image is None:
            raise ConfigurationError(f"{visit.source.folder} has no image")
        image = read_image(visit.source.image, visit.source.series)
        check_belongs(visit.case, image)
        made_from, is_given = visit.case.input, visit.case.mask_state == "given"
        known = made_from.image_fingerprint if is_given else made_from.fingerprint
        if known and fingerprint(image.volume) != known:
            replaced.append(f"the image of {visit.case.name} is not voxel for voxel the one that it was made from")
        return image.volume

    @cache
    def lay(one: Visit, other: Visit) -> Registration:
        first, second = image_of(one), image_of(other)
        return lay_images(first, place_on(one.mask, first), second, place_on(other.mask, second))

    check_code(person.person)
    if person.age_years is not None:
        options = replace(options, age_years=person.age_years)
    reporter.progress("read")
    visits = check_visits([read_visit(source) for source in person.visits], options.limits_mm)
    beside = check_one_person(visits, options.same_person)
    reporter.progress("register")
    alignment = align(visits, lay)
    if options.limits_mm is not None and not alignment.from_disc:
        raise ConfigurationError(
            "a range (--range-mm) counts from the disc C2/C3, and without the images no disc of one visit is found in"
            " the others: mark it in every visit (--disc), give every image (--image), or leave the range out"
        )
    pairs = compare_images(visits, image_of, lay)
    return follow_up(
        person.person, visits, alignment, options, [*beside, *replaced], pairs, marks_in_doubt(visits, image_of)
    )


def write_follow_up(result: FollowUp, folder: Path, reporter: Reporter, *, limits: bool = True) -> list[dict[str, Any]]:
    """Write follow_up.csv, .html and .json; gives the rows. ``limits``: report the source of each limit too. Raises
    OutputError (another person's are there), MissingPackageError."""
    try:
        there = parse_json((folder / "follow_up.json").read_bytes())["person"]
    except (OSError, ValueError, KeyError, TypeError):
        there = result.person
    if there != result.person:
        raise OutputError(f"{folder} holds the follow-up of {there}, not of {result.person}: choose another folder")
    content = follow_up_report(result)
    rows = follow_up_rows(content)
    write_text(folder / "follow_up.csv", csv_text(COLUMNS, rows))
    write_text(folder / "follow_up.html", follow_up_page(result, content))
    write_json(folder / "follow_up.json", content)
    for between, text in visit_breaks(content):
        reporter.text(f"{result.person}: NOT COMPARABLE: {text} {between}")
    for text in result.doubts:
        reporter.text(f"{result.person}: IN DOUBT: {text}")
    for run in result.runs:
        for sentence in run_sentences(run):
            text = sentence if limits else sentence.removesuffix(f"; {_limit(run)}")
            reporter.text(f"{result.person}: {text}")
    for visit in result.visits:
        if visit.direct is not None:
            text = f"change of visit {visit.visit} from the images: {_direct_text(visit.direct, result)}"
            reporter.text(f"{result.person}: {text}{_sharpness_text(visit)}")
    reporter.text(f"{result.person} → {folder / 'follow_up.html'}")
    return rows


def write_persons(persons: Sequence[PersonSource], options: FollowUpOptions, output: Path, reporter: Reporter) -> int:
    """One folder a person and cohort.csv; a person who fails costs nobody else their row. Gives how many failed.

    Raises Cancelled, and OutputError where cohort.csv itself cannot be written.
    """
    rows: list[dict[str, Any]] = []
    rates: list[PersonRates] = []
    limits: Counter[str] = Counter()
    failed = 0
    reporter.event("start", inputs=len(persons))
    twice = one_patient_twice(persons)
    for person in persons:
        try:
            check_once(person.person, twice)
            found = compared(person, options, reporter)
            own = write_follow_up(found, inside(output, person.person), reporter, limits=False)
            limits.update(_limit(run) for run in found.runs if run.rate is not None)
            rows += [row | {name: getattr(person, name) for name in ("group", "sex", "site")} for row in own]
            rates.append(PersonRates.of(person, found))
        except (Cancelled, BrokenPipeError):
            raise
        except Exception as error:  # noqa: BLE001
            _log.debug("detail", exc_info=error)
            failed += 1
            text = reason(error) or type(error).__name__
            reporter.error(text, type(error).__name__, person.person)
            # the places and names of visits and images are often the patient's name
            text = replace_names(text, {str(visit.folder) for visit in person.visits}, "a visit")
            for image in {visit.image for visit in person.visits if visit.image is not None}:
                text = without_names(text, image)
            text = without_folders(text, output / person.person)
            row = {"person": person.person, "state": "failed", "reason": text, "software_version": SOFTWARE_VERSION}
            rows.append(row)
            rates.append(PersonRates(person, left_out=f"failed: {text}"))
    write_text(output / "cohort.csv", csv_text(COLUMNS, rows))
    for text, n in limits.items():
        reporter.text(f"minimum detectable changes of {counted(n, 'rate')}: {text}")
    reporter.text(f"{len(persons) - failed} of {len(persons)} persons done → {output / 'cohort.csv'}")
    if any(person.group for person in persons) or len(persons) > 2:
        try:
            reporter.text(f"change per year of the cohort → {write_rates(rates, output)}")
        except (ConfigurationError, MissingPackageError) as error:
            reporter.attention(f"no page of the cohort's change per year: {error}")
    return failed


_SOON_AGAIN_DAYS = 92  # a cord with MS loses half a per cent in that time


def repeats_of(persons: Sequence[PersonSource], reporter: Reporter) -> tuple[list[OwnRepeatability], int]:
    """The repeatability of each scanner and protocol that persons were scanned again on, and how many persons cannot be
    used. Raises ConfigurationError where nobody can."""
    groups: list[tuple[Conditions, list[Sequence[float]], list[Sequence[float]]]] = []
    left_out, twice = 0, one_patient_twice(persons)
    for person in persons:
        try:
            check_once(person.person, twice)
            dated = any(one.date or one.day for one in person.visits)
            scans = tuple(one if dated else replace(one, day="0") for one in person.visits)
            found = compared(replace(person, visits=scans, age_years=None), FollowUpOptions(), reporter)
            _check_repeats(found)
        except (Cancelled, BrokenPipeError):
            raise
        except Exception as error:  # noqa: BLE001
            _log.debug("detail", exc_info=error)
            left_out += 1
            reporter.error(reason(error) or type(error).__name__, type(error).__name__, person.person)
            continue
        known: Conditions = {}
        for visit in found.visits:
            known |= {key: value for key, value in visit.conditions.items() if value or key not in known}
        probe = OwnRepeatability(known, SAME_SCANNER)
        group = next((one for one in groups if probe.fits([one[0]])), None)
        if group is None:
            groups.append(group := (known, [], []))
        group[1].append([visit.mean_csa_mm2 for visit in found.visits])
        group[2].append([pair.percent for pair in found.pairs if pair.percent is not None])
    if not groups:
        raise ConfigurationError("no person can be used: give finished cases of scans of one person, on one scanner")
    kept = []
    for known, areas, direct in groups:
        source = f"own repeats, {date.today()}: {counted(len(areas), 'person')}, {sum(map(len, areas))} scans"
        kept.append(OwnRepeatability(known, measured_repeats(areas, direct, source)))
    return kept, left_out


def _check_repeats(found: FollowUp) -> None:
    """Raise ConfigurationError where these are not repeated scans of one person."""
    days, doubts = found.visits[-1].day, [doubt for pair in found.pairs for doubt in pair.doubts]
    breaks = [one.message for visit in found.visits for one in visit.differences if one.breaks]
    wrong = (
        (len(found.visits) < 2, "a single scan: give two of a person"),
        (breaks, "; ".join(breaks)),
        (not all(visit.conditions["scanner"] for visit in found.visits), "give the manifest a column scanner"),
        (days > _SOON_AGAIN_DAYS, f"the scans lie {days:.0f} days apart, at most {_SOON_AGAIN_DAYS} are allowed"),
        (doubts, "; ".join(doubts)),
        (found.runs[0].no_rate == TWICE, "two scans hold the same data"),
    )
    for is_wrong, text in wrong:
        if is_wrong:
            raise ConfigurationError(text)


def follow_up_report(result: FollowUp) -> dict[str, Any]:
    """The content of follow_up.json, ready for JSON without NaN."""
    fast, slow = healthy_rates(result.options.age_years)
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "person": result.person,
        "created": now_utc(),
        "software_version": SOFTWARE_VERSION,
        "aligned_by": result.alignment.method,
        "residuals_mm": to_json(result.alignment.residuals_mm, 2),
        "shared": {"from": result.alignment.zero} | to_json(result.shared, 2),
        "visits": to_json(result.visits),
        "runs": to_json(result.runs),
        "doubts": list(result.doubts),
        "remarks": list(result.remarks),
        "healthy": {
            "low_percent_per_year": fast,
            "high_percent_per_year": slow,
            "of": "their age" if result.options.age_years is not None else "any age",
            "source": HEALTHY_SOURCE,
        },
    }


def follow_up_rows(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One tidy row a visit, by COLUMNS: what is of a person's run is repeated in each of its visits.

    ``content``: of follow_up.json.
    """
    rows = []
    for visit in content["visits"]:
        number, run = next(
            (n, run) for n, run in enumerate(content["runs"], 1) if run["first"] <= visit["visit"] <= run["last"]
        )
        change, known = visit["change"] or {}, visit["conditions"]
        kinds = {
            name: " ".join(dict.fromkeys(one["kind"] for one in visit["differences"] if one["breaks"] is breaks))
            for name, breaks in (("breaks", True), ("differences", False))
        }
        direct = visit["direct"] or {}
        parts = {"shared": content["shared"], "change": change, "rate": run["rate"] or {}}
        parts |= {"direct": direct, "direct_rate": run["direct"] or {}}
        row = {f"{part}_{name}": value for part, values in parts.items() for name, value in values.items()}
        row |= content | known | visit | run | kinds
        row |= {
            "state": "done",
            "run": number,
            "run_visits": f"{run['first']}-{run['last']}",
            "left_out_mm": content["shared"]["left_out_mm"],
            "mdc95_percent": change.get("mdc95_percent"),
            "no_direct": direct.get("refused", visit["no_change"] if visit["visit"] == 1 else "no image"),
            "blur_mm2": direct.get("blur_mm2"),
            "beside": "; ".join(run["beside"]),
            "doubts": "; ".join(content["doubts"]),
            "remarks": "; ".join(content["remarks"]),
            "voxel_mm": "x".join(f"{mm:g}" for mm in known["voxel_mm"]),
            "software_version": known["software"],
        }
        rows.append(row)
    return rows


def _limit(run: Run) -> str:
    return f"by a CoV of {run.cov_percent:.3g} % {run.cov_setting}, {run.cov_source}"


def rate_texts(run: Run) -> list[tuple[str, str, str]]:
    """For the areas, and the images where they were compared: what it is, the yearly rate, and its interval or why
    there is none."""
    which = f"visit {run.first}" if run.first == run.last else f"visits {run.first} to {run.last}"
    rate, direct, title = run.rate, run.direct, f"Yearly rate of the areas, {which}"
    if rate is None:
        return [(title, "none", run.no_rate)]
    about = "; ".join([*run.beside, f"{_interval(rate)}; {rate.verdict} (±{rate.limit:.1f} %/year)", _limit(run)])
    found = [(title, _marked(f"{_signed(rate.percent_per_year)} %/year", rate.verdict), about)]
    if direct is not None:
        about = f"{_interval(direct)} ({counted(direct.n_pairs, 'pair')} of images); {direct.verdict}"
        if direct.high - direct.low < rate.high - rate.low and direct.verdict != WITHHELD:
            about += "; where the two differ, this one is more precise"
        value = _marked(f"{_signed(direct.percent_per_year)} %/year", direct.verdict)
        found.append((f"Yearly rate from the images, {which}", value, "; ".join([*run.beside, about])))
    return found


def run_sentences(run: Run) -> list[str]:
    """The yearly rates of these visits, or why there is none."""
    return [f"{title[0].lower()}{title[1:]}: {value}, {about}" for title, value, about in rate_texts(run)]


def _interval(rate: Rate | DirectRate) -> str:
    return f"95 % CI {_signed(rate.low)} to {_signed(rate.high)}"


def _marked(value: str, verdict: str) -> str:
    """A doubt stands at the number itself."""
    return f"{value}, in doubt" if verdict == WITHHELD else value


def _direct_text(pair: PairChange | None, result: FollowUp) -> str:
    if pair is None:
        return "–"
    if pair.percent is None or pair.se_percent is None:
        return f"none ({pair.refused})"
    soon = result.visits[pair.second - 1].change
    doubt = ", in doubt" if result.doubts else ", within half a year" if soon and soon.verdict == SOON else ""
    return f"{_signed(pair.percent)} % ± {Z95 * pair.se_percent:.1f} % (1.96 SE{doubt})"


def _sharpness_text(visit: VisitOutcome) -> str:
    """What has to stand at a change of the areas of images that are not as sharp as each other."""
    if visit.sharpness_percent is None or visit.direct is None:
        return ""
    how = "blurrier" if (visit.direct.blur_mm2 or 0) > 0 else "sharper"
    return f"; the image is {how} than the first: without that the areas change by {_signed(visit.sharpness_percent)} %"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


# ---- Figures: drawn by matplotlib on any axes


BREAK, SHARED = "#b3261e", "#e9edf1"
COLOURS = ("#1f5f99", "#d9730d", "#4c8a5a", "#8a4fa3", "#b3261e", "#5b6875", "#0f8b8d", "#a0740a")
_LEAST_SHARE = 0.12  # of the area: a noise of 1 % must not fill the plot


def draw_course(axes: Axes, content: Mapping[str, Any], size: float = 9.0) -> None:
    """Mean area of the common extent at each visit, ± 1.96·CoV, with the fitted line of every run that has one.

    ``content``: of follow_up.json. Behind it, for each run, where a healthy cord that began at the fitted (else
    measured) first area would be measured in 95 % of cases. A red line with words stands where the series is broken.
    """
    visits, healthy = content["visits"], content["healthy"]
    rates = healthy["low_percent_per_year"], healthy["high_percent_per_year"]
    span = max(visits[-1]["years"], 0.5)
    areas = [visit["mean_csa_mm2"] for visit in visits]
    reach = 2.4 * max(run["cov_percent"] for run in content["runs"]) / 100
    low, high = min(areas) * (1 - reach), max(areas) * (1 + reach)
    grow = max(0.0, (_LEAST_SHARE * sum(areas) / len(areas) - (high - low)) / 2)
    axes.set(xlim=(-0.06 * span, 1.06 * span), ylim=(low - grow, high + grow))
    for number, run in enumerate(content["runs"]):
        own, found, cov = visits[run["first"] - 1 : run["last"]], run["rate"], run["cov_percent"]
        years = np.array([visit["years"] for visit in own])
        start = found["fitted_first_mm2"] if found else own[0]["mean_csa_mm2"]
        at = np.linspace(years[0] - 0.03 * span, years[-1] + 0.03 * span, 24)
        lowest, highest = (start * (1 + rate / 100 * np.maximum(at - years[0], 0)) for rate in rates)
        noise = Z95 * cov / 100
        axes.fill_between(at, lowest * (1 - noise), highest * (1 + noise), color=HEALTHY, linewidth=0)
        if found and found["verdict"] != WITHHELD:
            ends = years[[0, -1]]
            axes.plot(ends, start + found["slope_mm2_per_year"] * (ends - ends[0]), color=CURVE, linewidth=1.8)
        for visit in own:
            area, colour = visit["mean_csa_mm2"], FLAG if visit["n_flagged_slices"] else CURVE
            axes.errorbar(
                visit["years"], area, area * Z95 * cov / 100, color=colour, ecolor=CURVE, fmt="o", markersize=6
            )
            place = visit["years"], area
            axes.annotate(str(visit["visit"]), place, (6, 6), textcoords="offset points", fontsize=size, color=INK)
        if number:
            middle = (visits[run["first"] - 2]["years"] + own[0]["years"]) / 2
            axes.axvline(middle, color=BREAK, linewidth=1.8, linestyle=(0, (5, 4)))
            late = middle > span / 2
            kinds = dict.fromkeys(one["kind"] for one in own[0]["differences"] if one["breaks"])
            axes.annotate(
                "\n".join(f"other {CONDITIONS[kind][0]}" for kind in kinds), (middle, 1), (-3 if late else 3, -2),
                textcoords="offset points", xycoords=("data", "axes fraction"), fontsize=size - 1, color=BREAK,
                ha="right" if late else "left", va="top",
            )  # fmt: skip
    style_axes(axes, "years since the first visit", "mean area, mm²", size)


def draw_profiles(axes: Axes, result: FollowUp) -> None:
    """Areas along the cord, one colour a visit, gaps left open, flagged slices as dots; what is compared is shaded."""
    areas = np.concatenate([one.csa_mm2 for one in result.profiles])
    low, high = float(np.nanmin(areas)), float(np.nanmax(areas))
    margin = max(0.08 * (high - low), (20.0 - (high - low)) / 2)
    axes.set_ylim(max(0.0, low - margin), high + margin)
    for start, end in result.shared.intervals_mm:
        axes.axvspan(start, end, color=SHARED, linewidth=0)
    for profile, one in zip(result.profiles, result.visits, strict=True):
        at, areas, colour = profile.position_mm, profile.csa_mm2, _colour(one.visit)
        flagged = one.source.profile.flagged
        axes.plot(at, areas, ".-", color=colour, markersize=3, linewidth=1.5, label=f"visit {one.visit}")
        axes.plot(at[flagged], areas[flagged], "o", color=colour, markersize=4)
    _style_along(axes, result, "area, mm²")


def draw_direct(axes: Axes, result: FollowUp) -> None:
    """Change of the area in windows along the cord, as the images show it, of every visit against the first that has
    one; the band is ±1.96 standard errors."""
    for pair in result.pairs:
        found, colour = pair.found, _colour(pair.second)
        if found is None or pair.percent is None or pair.first != result.pairs[0].first:
            continue
        at, reach = found.position_mm - result.alignment.origins_mm[pair.first - 1], Z95 * found.profile_se_percent
        low, high = found.profile_percent - reach, found.profile_percent + reach
        axes.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(at, found.profile_percent, color=colour, linewidth=1.5, label=f"visit {pair.second}")
    axes.axhline(0, color=INK, linewidth=0.8)
    _style_along(axes, result, "change of area, %")


def _colour(visit: int) -> str:
    return COLOURS[(visit - 1) % len(COLOURS)]


def _style_along(axes: Axes, result: FollowUp, what: str) -> None:
    zero = "the shared place" if result.alignment.zero == MIDDLE else result.alignment.zero  # that is a long sentence
    axes.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=8, fontsize=9, frameon=False, borderpad=0,
        labelcolor="linecolor",
    )  # fmt: skip
    style_axes(axes, f"inferior ← mm along the cord from {zero} → superior", what)


# ---- follow_up.html: what speaks against comparing the visits stands first


_CAUTION = (
    "MAGNIMS advises extreme caution with areas of single patients. A change below the minimum detectable change can"
    " come from the error of measurement alone."
)
_AREAS = (
    "inside the network's contour, with parts of pixels; of the mask's pixels in slices that a person drew. Slices"
    " whose edge the image does not show (imputed) are left out, and the last slice of a mask that ends inside its"
    " volume."
    " Corrected for the tilt of the cord: that of straight lines over 15 mm to either side, so that it does not depend"
    " on how much of the cord was scanned; areas may differ slightly from those of a visit's own report."
)
_SHOWN = (
    "scanner", "field_strength", "sequence", "contrast_agent", "distortion_correction", "voxel_mm", "made_by", "model",
    "software",
)  # fmt: skip


def follow_up_page(result: FollowUp, content: Mapping[str, Any]) -> str:
    """The page as HTML text; no script, no network. ``content``: of follow_up.json. Raises MissingPackageError."""
    return html_page(f"Spinal cord over time: {result.person}", _sections(result, content), _CAUTION)


def _sections(result: FollowUp, content: Mapping[str, Any]) -> list[Section]:
    shared, age, looks = result.shared, result.options.age_years, visits_png(result)
    breaks, remarks = visit_breaks(content), visit_remarks(content)
    boxes = [text for run in result.runs for text in rate_texts(run)]
    extent = f"{_signed(shared.low_mm)} to {_signed(shared.high_mm)} mm from {result.alignment.zero}, in all visits"
    boxes.append(("Common extent", f"{shared.length_mm:.1f} mm", extent))
    course_note = (
        "Bars: ±1.96·CoV. Line: fitted over comparable visits, none in doubt. Green: expected of a healthy cord of"
        f" {'any adult age' if age is None else 'this age'} with the same first area, error of measurement included."
        " Orange: some of the compared slices are flagged. Red: not comparable across it."
    )
    profile_note = f"Grey: compared, in all visits. Zero: {result.alignment.zero}. Dots: flagged slices."
    after_break = {run.first - 1 for run in result.runs[1:]}
    has_direct = any(pair.percent is not None for pair in result.pairs)
    pictures = [Section("picture", "Every visit, with what is compared", note=_LOOK, picture=looks)] if looks else []
    known = [name for name in _SHOWN if any(one.conditions[name] for one in result.visits)]
    conditions = [(str(one.visit), *(_condition(one.conditions[name]) for name in known)) for one in result.visits]
    titles = ("visit", *(CONDITIONS[name][0] for name in known))
    found = [
        Section("boxes", items=boxes),
        Section("flags", "Remarks", remarks)
        if remarks
        else Section("clear", items=["Scanner, sequence, model and coverage are the same in all visits."]),
        Section("picture", "Mean area of the common extent", note=course_note,
                picture=lambda axes: draw_course(axes, content)),
        _visit_table(result, after_break),
        Section("picture", "Area along the cord", note=profile_note, picture=lambda axes: draw_profiles(axes, result)),
        *([Section("picture", "Change along the cord, from the images", note=_DIRECT,
                   picture=lambda axes: draw_direct(axes, result))] if has_direct else []),
        *([] if result.doubts else pictures),
        Section("table", "How the visits were made", conditions, columns=titles, marked=after_break),
        Section("entries", "How this was computed", _method(result, content), folded=True),
    ]  # fmt: skip
    stops = [
        ("One person, at the same level?", [("In doubt", one) for one in result.doubts],
         "No change has a verdict until that is settled: look at both images side by side."),
        ("Not comparable throughout", breaks,
         "No yearly rate is given across these changes. Each run of comparable visits has its own."),
    ]  # fmt: skip
    stopping = [Section("stop", title, items, note) for title, items, note in stops if items]
    return [*stopping, *(pictures if result.doubts else []), *found]


def visit_breaks(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What forbids a yearly rate: ("between visits 1 and 2", message). ``content``: of follow_up.json."""
    return [
        (f"between visits {visit['visit'] - 1} and {visit['visit']}", one["message"])
        for visit in content["visits"]
        for one in visit["differences"]
        if one["breaks"]
    ]


def visit_remarks(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What limits a comparison, but does not forbid it: ("Visit 1, 3", message), "" where no visit is named.

    ``content``: of follow_up.json.
    """
    numbers: dict[str, list[str]] = {}
    for visit in content["visits"]:
        for one in visit["differences"]:
            if not one["breaks"]:
                numbers.setdefault(one["message"], []).append(str(visit["visit"]))
    n_visits = len(content["visits"])
    items = [
        ("All visits" if len(own) == n_visits else f"Visit {', '.join(own)}", message)
        for message, own in numbers.items()
    ]
    return items + [("", remark) for remark in content["remarks"]]


def _visit_table(result: FollowUp, after_break: set[int]) -> Section:
    dated = any(one.date is not None for one in result.visits)
    titles = ["visit", *(["date"] if dated else []), "years", "area, mm²", "volume, mm³", "length, mm"]
    titles += ["change, %", "MDC95, %", "compared with the first visit"]
    titles += ["from the images"] if result.pairs else []
    rows = []
    for one in result.visits:
        cells = [str(one.visit), *([one.date or "–"] if dated else [])]
        cells += [f"{one.years:.2f}", f"{one.mean_csa_mm2:.1f}", f"{one.volume_mm3:.0f}"]
        cells.append(f"{result.shared.length_mm:.1f}")
        if one.change is None:
            cells += ["–", "–", one.no_change]
        else:
            found = one.change
            cells += [_marked(_signed(found.percent), found.verdict), f"{found.mdc95_percent:.1f}"]
            whose = found.cov_source.split(",")[0].split(":")[0]
            limit = f"{found.verdict} (CoV {found.cov_percent:.3g} % {found.cov_setting}, {whose})"
            cells.append("; ".join(filter(None, [limit, one.unlike])) + _sharpness_text(one))
        rows.append([*cells, _direct_text(one.direct, result)] if result.pairs else cells)
    note = (
        "Area, volume and length are those of the common extent, which is the same in all visits. The volume of the"
        " whole cord depends on coverage and is not compared."
    )
    return Section("table", "Visits", rows, note, titles, after_break)


_DIRECT = (
    "How far the edge of the cord moved, measured in both images at once. Band: ±1.96 standard errors of a window of"
    " about 7 mm. The error is that of the measurement in these images; how a cord differs from one scan of a person to"
    " the next, by position or water, is not in it."
)


_LOOK = (
    "Along the cord, superior on top, with what is compared beside it. Right of each: the upper end, the middle and the"
    " lower end of that. Is it one person, at one level, in every visit?"
)
_SCALE, _PLANE_MM, _TILE_MM, _MOST_HIGH, _GAP = 4.0, 50.0, 40.0, 700, 10


def visits_png(result: FollowUp) -> bytes | None:
    """Sagittal plane and three axial slices of every visit side by side, as the cases keep their grey values; None
    where it cannot be drawn."""
    if not can_draw(lambda: Canvas(1, 1)):
        return None
    shared, scenes = result.shared, []
    for one in result.visits:
        folder = one.source.case.folder
        scenes.append(CordScene.of(None if folder is None else read_backdrop(folder, one.source.mask), one.source.mask))
    scale = min(_SCALE, *(_MOST_HIGH / (len(scene.mask) * scene.spacing_mm[0]) for scene in scenes))
    planes = [scene.along(1, _PLANE_MM, scale) for scene in scenes]
    tile, wide = round(_TILE_MM * _SCALE), planes[0].grey.shape[1]
    width = wide + tile + 3 * _GAP
    canvas = Canvas(width * len(scenes) + _GAP, 30 + max(3 * (tile + _GAP), *(len(plane.grey) for plane in planes)))
    for n, (one, scene, plane, profile) in enumerate(zip(result.visits, scenes, planes, result.profiles, strict=True)):
        left, n_slices = n * width + _GAP, len(scene.mask)
        canvas.write(left, 20, f"visit {one.visit}", 16, INK)
        canvas.paste(plane.rgb(1), left, 30)
        numbers = one.source.line.canonical_slice
        at = [
            int(numbers[np.argmin(abs(profile.position_mm - mm))])
            for mm in (shared.high_mm, (shared.low_mm + shared.high_mm) / 2, shared.low_mm)
        ]
        top, _, end = ((n_slices - k - 0.5) / n_slices * len(plane.grey) for k in at)
        canvas.bar(left + wide + 2, 30 + top, 5, max(end - top, 2), CURVE)
        for row, k in enumerate(at):
            x, y = left + wide + _GAP, 30 + row * (tile + _GAP)
            canvas.paste(scene.axial(k, _TILE_MM, _SCALE).rgb(1), x, y)
            canvas.write(x + 5, y + 18, "R", 16, ON_IMAGE)
    return canvas.png()


def _condition(value: Any) -> str:
    if isinstance(value, tuple):
        return " × ".join(f"{mm:.3g}" for mm in value) + " mm" if value else "not known"
    return str(value) or "not known"


def _method(result: FollowUp, content: Mapping[str, Any]) -> list[tuple[str, str]]:
    covs = dict.fromkeys((run.cov_setting, run.cov_percent, run.cov_source) for run in result.runs)
    return [
        ("Aligned by", result.alignment.method),
        ("Areas", _AREAS),
        *((f"CoV, {setting}", f"{percent:g} % ({source})") for setting, percent, source in covs),
        (
            "Change from the images",
            "see docs, Follow-up: shift of the cord's edge in both images, the canal's wall still",
        ),
        ("Minimum detectable change", "two visits: MDC95 = t·√2·CoV; a rate: t·CoV/√Σ(t−t̄)²; t by the scans behind it"),
        ("Rate", "100·slope of the least-squares line / fitted area at the first visit of the run"),
        ("Healthy", str(content["healthy"]["source"])),
    ]
