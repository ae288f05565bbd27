"""A model's masks over time: series of simulated visits, segmented and followed up."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite, log, sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from Recipes.simulation.atlas import Maps
from Recipes.simulation.people import DISC_Z_MM, SeriesConfig, SeriesPerson, series_person
from Recipes.validation.public_volumes import Validator
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.files import from_json, parse_json, write_json
from SpinalCordSegLib.flags import Flag, kinds_of_slice
from SpinalCordSegLib.image_io import Image
from SpinalCordSegLib.longitudinal.change import Z95, Rate, common_extent, yearly_rate
from SpinalCordSegLib.longitudinal.pairs import BELOW, LOSS
from SpinalCordSegLib.longitudinal.repeatability import Repeatability
from SpinalCordSegLib.longitudinal.visits import Profile, cord_profile
from SpinalCordSegLib.model.checkpoint import Checkpoint
from SpinalCordSegLib.slice_table import SliceTable
from SpinalCordSegLib.volume import Volume

# What the figures of simulated series are called, in series.json and in its tables.


THROUGH_MODEL = "series through the model"
PROJECTED = "series drawn with the measured error"
ALL_SEEN = "the same, were all of a change seen"

COV = "CoV of a visit, %"
SEEN = "share of a true change that is seen"
INSIDE = "true rate inside the 95 % CI, %"
HALF_WIDTH = "half-width over 1.96·CoV/√Σ(t-t̄)²"
FAST_CALLED = "-5 %/year over four yearly visits called a loss, %"
EVEN_CALLED = "even cords called a loss, %"
COVERAGE = "largest change by coverage alone, %"


# What a model's masks are worth over time: series of simulated visits through segmenting and following up.


MEASURED_AS = 7  # to be raised with every change of how areas are measured: series kept from before are not read
_CUT_SHARE = (0.1, 0.3)  # of the slices, at either end, for the test of coverage alone


@dataclass(frozen=True)
class SeriesAreas:
    """One series. ``areas_mm2``: mean over the stretch that all visits share, per visit; ``true_shares``: true area
    over that at the first visit. ``coverage_percent``: the largest change when only slices at the ends were cut off a
    visit's mask. ``problem``: why there is none, "" for a good one."""

    number: int
    percent_per_year: float
    years: tuple[float, ...]
    areas_mm2: tuple[float, ...] = ()
    true_shares: tuple[float, ...] = ()
    coverage_percent: float = 0.0
    problem: str = ""


def measure_series(validator: Validator, person: SeriesPerson, maps: Maps) -> SeriesAreas:
    """Segment every visit and compare them on what all of them cover, by the distance from the disc C2/C3."""
    shares = tuple(person.share(visit) for visit in range(len(person.years)))
    begun = SeriesAreas(person.number, person.percent_per_year, person.years, true_shares=shares)
    rng = np.random.default_rng(person.number)
    profiles, worst = [], 0.0
    for visit in range(len(person.years)):
        scan = person.scan(visit, maps)
        image = Image(person.stored(scan.image, visit), Path("visit"), f"series-{person.number:03d}-{visit + 1}")
        result = validator.segment(image)
        mask, measured = result.mask, result.slices
        if not mask.voxels.any():
            return replace(begun, problem=f"visit {visit + 1}: no cord found")
        profiles.append(profile_of(mask, measured, scan.z_mm, person.disc_off_mm[visit], result.flags))
        worst = max(worst, coverage_change(mask, measured, scan.z_mm, rng))
    try:
        means = common_extent(profiles).mean_csa_mm2
    except ConfigurationError as error:
        return replace(begun, problem=str(error))
    return replace(begun, areas_mm2=tuple(map(float, means)), coverage_percent=worst)


def profile_of(
    mask: Volume,
    measured: SliceTable,
    z_mm: NDArray[np.float64],
    disc_off_mm: float,
    flags: Sequence[Flag] = (),
) -> Profile:
    """Areas along the cord from the disc C2/C3, which lies at DISC_Z_MM and is marked ``disc_off_mm`` off.

    ``z_mm``: height of every slice of ``mask``, inferior first.
    """
    line, cord = cord_profile(mask, measured)
    heights = z_mm[line.canonical_slice]
    step = float(line.length_mm.mean() / (z_mm[1] - z_mm[0]))  # cord per mm of height, beyond the ends
    disc = float(np.interp(DISC_Z_MM, heights, line.arc_mm))
    disc += step * (min(0.0, DISC_Z_MM - heights[0]) + max(0.0, DISC_Z_MM - heights[-1]))
    doubtful = np.array([bool(kinds_of_slice(flags, int(k))) for k in line.canonical_slice], dtype=bool)
    return replace(cord, position_mm=line.arc_mm - disc - disc_off_mm, flagged=doubtful)


def coverage_change(
    mask: Volume,
    measured: SliceTable,
    z_mm: NDArray[np.float64],
    rng: np.random.Generator,
) -> float:
    """Largest change, %, between the whole mask and the same without some slices at its ends, as where less was
    scanned, over what both cover."""
    canonical = mask.reoriented("RAS")
    count = len(canonical.voxels)
    low, high = (round(float(share) * count) for share in rng.uniform(*_CUT_SHARE, 2))
    matrix = canonical.ijk_to_ras.copy()
    matrix[:3, 3] += low * matrix[:3, 2]
    less = Volume.from_ijk(canonical.ijk[:, :, low : count - high], matrix)
    if not less.ijk.any():
        return 0.0
    # The ruler begins at another slice: both are laid over each other by the disc, as two visits are.
    kept = measured.rows((measured.canonical_slice >= low) & (measured.canonical_slice < count - high))
    cut = replace(kept, canonical_slice=kept.canonical_slice - low)
    both = [profile_of(mask, measured, z_mm, 0.0), profile_of(less, cut, z_mm[low : count - high], 0.0)]
    first, second = common_extent(both).mean_csa_mm2
    return abs(100 * (second / first - 1))


@dataclass(frozen=True)
class ErrorModel:
    """What the masks add to the truth. ``slope``: measured change per true change (1: all of it is seen), with its
    standard error. ``residuals``: of log area about a series' own line of truth, inflated for the means taken off;
    ``cov_percent``: their SD."""

    slope: float
    slope_se: float
    residuals: tuple[float, ...]

    @property
    def cov_percent(self) -> float:
        return 100 * float(np.std(self.residuals))


def error_model(series: Sequence[SeriesAreas], slope: float | None = None) -> ErrorModel:
    """Fit over whole series; each has its own level (a person's constant error changes no rate).

    ``slope``: fixed instead of fitted. Raises ConfigurationError for fewer than three series with areas.
    """
    good = [one for one in series if one.areas_mm2]
    if len(good) < 3:
        raise ConfigurationError(f"{len(good)} series have areas: at least 3 are needed to know how areas scatter")
    x = [np.log(one.true_shares) - np.mean(np.log(one.true_shares)) for one in good]
    y = [np.log(one.areas_mm2) - np.mean(np.log(one.areas_mm2)) for one in good]
    every_x, every_y = np.concatenate(x), np.concatenate(y)
    spread = float(every_x @ every_x)
    fitted = float(every_x @ every_y) / spread if slope is None and spread > 0 else (slope or 1.0)
    left = [(b - fitted * a) * sqrt(len(a) / (len(a) - 1)) for a, b in zip(x, y, strict=True)]
    residuals = np.concatenate(left)
    error = float(np.std(residuals)) / sqrt(spread) if spread > 0 else float("nan")
    return ErrorModel(fitted, error, tuple(map(float, residuals)))


@dataclass(frozen=True)
class SeriesFigures:
    """Shares 0..1 over ``n`` series. ``inside``: true rate within the 95 % CI. ``half_width_ratio``: mean half-width of
    the CI over 1.96·CoV/√Σ(t-t̄)². ``bias_points``: mean of measured minus true rate, %/year."""

    n: int
    inside: float
    half_width_ratio: float
    bias_points: float


def network_figures(series: Sequence[SeriesAreas]) -> SeriesFigures:
    """Of the segmented series, the CoV of each taken from all the others."""
    good = [one for one in series if one.areas_mm2]
    outcomes = []
    for one in good:
        model = error_model([other for other in good if other is not one])
        outcomes.append((one.percent_per_year, one.years, _rate(one.years, one.areas_mm2, model.cov_percent), model))
    return _figures([(true, years, rate, model.cov_percent) for true, years, rate, model in outcomes])


def projected_figures(model: ErrorModel, draw: Callable[[int], tuple[float, Sequence[float]]], n: int) -> SeriesFigures:
    """Of ``n`` series whose areas carry the measured error. ``draw``: true rate and years of series k."""
    rng = np.random.default_rng(11)
    outcomes = []
    for k in range(n):
        true, years = draw(k)
        rate = _rate(years, projected_areas(model, true, years, rng), model.cov_percent)
        outcomes.append((true, years, rate, model.cov_percent))
    return _figures(outcomes)


def projected_areas(
    model: ErrorModel, percent_per_year: float, years: Sequence[float], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Areas of 70 mm² at first, with the slope and a residual drawn for each visit."""
    logs = np.array([log(1 + percent_per_year / 100 * year) for year in years])
    return 70 * np.exp(model.slope * logs + rng.choice(np.array(model.residuals), len(logs)))


def called(model: ErrorModel, percent_per_year: float, n: int, visits: Callable[[int], int]) -> tuple[float, float]:
    """Share of ``n`` series called a loss, and share called either way. ``visits``: number of series k, yearly."""
    rng = np.random.default_rng(12)
    verdicts = []
    for k in range(n):
        years = np.arange(visits(k), dtype=float)
        areas = projected_areas(model, percent_per_year, years.tolist(), rng)
        verdicts.append(_rate(years.tolist(), areas, model.cov_percent).verdict)
    return verdicts.count(LOSS) / n, 1 - verdicts.count(BELOW) / n


def _rate(years: Sequence[float], areas_mm2: Sequence[float] | NDArray[np.float64], cov_percent: float) -> Rate:
    found = yearly_rate(years, list(areas_mm2), Repeatability(cov_percent, "simulated series", "between scanners"))
    assert found is not None
    return found


def _figures(outcomes: Sequence[tuple[float, Sequence[float], Rate, float]]) -> SeriesFigures:
    inside, ratios, errors = [], [], []
    for true, years, rate, cov_percent in outcomes:
        t = np.asarray(years)
        inside.append(rate.low <= true <= rate.high)
        ratios.append((rate.high - rate.low) / 2 / (Z95 * cov_percent / sqrt(float(((t - t.mean()) ** 2).sum()))))
        errors.append(rate.percent_per_year - true)
    return SeriesFigures(len(outcomes), float(np.mean(inside)), float(np.mean(ratios)), float(np.mean(errors)))


def series_figures(series: Sequence[SeriesAreas], config: SeriesConfig) -> dict[str, dict[str, object]]:
    """All figures, by what they are made of. Raises ConfigurationError for too few series with areas."""
    good = [one for one in series if one.areas_mm2]
    model = error_model(good)
    network = network_figures(good)

    def draw(k: int) -> tuple[float, Sequence[float]]:
        one = good[k % len(good)]
        return one.percent_per_year, one.years

    projected = projected_figures(model, draw, config.series)
    even = error_model(good, slope=1.0)
    unbiased = projected_figures(even, draw, config.series)
    fast, _ = called(model, -5.0, config.series, lambda _: 4)
    still, either = called(model, 0.0, config.series, lambda k: 2 + k % 4)
    cuts = [one.coverage_percent for one in good if isfinite(one.coverage_percent)]
    return {
        THROUGH_MODEL: {
            "series": network.n,
            "without an answer": len(series) - len(good),
            "visits": sum(len(one.years) for one in good),
            COV: model.cov_percent,
            SEEN: model.slope,
            "its standard error": model.slope_se,
            INSIDE: 100 * network.inside,
            HALF_WIDTH: network.half_width_ratio,
            "mean error of the rate, %/year": network.bias_points,
            COVERAGE: max(cuts, default=float("nan")),
            "median change by coverage alone, %": float(np.median(cuts)) if cuts else float("nan"),
        },
        PROJECTED: {
            "series": projected.n,
            INSIDE: 100 * projected.inside,
            HALF_WIDTH: projected.half_width_ratio,
            "mean error of the rate, %/year": projected.bias_points,
            FAST_CALLED: 100 * fast,
            EVEN_CALLED: 100 * still,
            "even cords called a change either way, %": 100 * either,
        },
        ALL_SEEN: {
            INSIDE: 100 * unbiased.inside,
            COV: even.cov_percent,
        },
    }


def mask_key(checkpoint: Checkpoint) -> str:
    """Tells models apart that draw other masks, 12 hexadecimal digits: the card, with its figures, does not count."""
    settings = (checkpoint.network, checkpoint.normalisation, checkpoint.calibration)
    digest = hashlib.sha256(json.dumps([asdict(one) for one in settings], sort_keys=True).encode())
    for name, values in sorted(checkpoint.weights.items()):
        digest.update(name.encode() + values.tobytes())
    return digest.hexdigest()[:12]


def measured_series(validator: Validator, maps: Maps, config: SeriesConfig, folder: Path) -> list[SeriesAreas]:
    """Every series through the model; those that the same model and seed had before are read from ``folder``."""
    key, kind = mask_key(validator.checkpoint), "same_" if config.same_scanner else ""
    found = []
    for number in range(config.network):
        path = folder / f"{key}_{config.seed}_{kind}{number:03d}_{MEASURED_AS}.json"
        if path.is_file():
            one = from_json(SeriesAreas, parse_json(path.read_text(encoding="utf-8")))
        else:
            one = measure_series(validator, series_person(number, maps, config), maps)
            write_json(path, asdict(one))
        found.append(one)
    return found
