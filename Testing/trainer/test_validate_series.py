"""Series of simulated visits: what perfect masks give, and whether the statistics find what was put in."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from Recipes.cli import main
from Recipes.simulation.atlas import read_maps
from Recipes.simulation.people import RATES_PERCENT, SeriesConfig, SeriesPerson, series_person
from Recipes.validation.report import keep_series_in_card as keep_in_card
from Recipes.validation.report import series_criteria
from Recipes.validation.report import series_markdown as markdown
from Recipes.validation.simulated_series import (
    SeriesAreas,
    error_model,
    mask_key,
    measure_series,
    network_figures,
    projected_areas,
    series_figures,
)
from SpinalCordSegLib.flags import Flag
from SpinalCordSegLib.model.checkpoint import Calibration, Checkpoint, load_checkpoint, save_checkpoint
from SpinalCordSegLib.model.networks import NetworkConfig, build_network
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegLib.morphometry import measure
from SpinalCordSegLib.volume import axial_slices


def _series(n: int, slope: float = 1.0, sd: float = 0.012, seed: int = 0) -> list[SeriesAreas]:
    """Areas with a known error about the truth; every person has a level of their own."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(n):
        rate, years = RATES_PERCENT[number % 4], np.arange(2 + number // 4 % 4, dtype=float)
        shares = 1 + rate / 100 * years
        areas = rng.uniform(50, 90) * shares**slope * np.exp(rng.normal(0, sd, len(years)))
        found.append(SeriesAreas(number, rate, tuple(years), tuple(areas), tuple(shares), 0.1))
    return found


def test_the_error_model_finds_what_was_put_in() -> None:
    model = error_model(_series(400, slope=0.8, sd=0.012))
    assert model.slope == pytest.approx(0.8, abs=4 * model.slope_se)
    assert model.cov_percent == pytest.approx(1.2, rel=0.08)
    again = np.log(projected_areas(model, -5.0, [0.0, 1.0, 2.0], np.random.default_rng(1)))
    assert again[0] == pytest.approx(np.log(70), abs=0.06) and len(again) == 3


def test_good_masks_keep_what_the_interval_promises_and_blind_ones_do_not() -> None:
    figures = series_figures(_series(40), SeriesConfig(network=40))
    carried = figures["series drawn with the measured error"]
    assert 92 <= carried["true rate inside the 95 % CI, %"] <= 98
    assert carried["-5 %/year over four yearly visits called a loss, %"] > 95
    assert carried["even cords called a loss, %"] <= 5
    assert all(bar.met for bar in series_criteria(figures))
    blind = series_figures(_series(40, slope=0.3), SeriesConfig(network=40))
    assert blind["series drawn with the measured error"]["true rate inside the 95 % CI, %"] < 92
    assert blind["series through the model"]["share of a true change that is seen"] < 0.5
    missed = {bar.figure for bar in series_criteria(blind) if not bar.met}
    assert missed >= {"true rate inside the 95 % CI, %", "-5 %/year over four yearly visits called a loss, %"}
    assert network_figures(_series(12)).half_width_ratio == pytest.approx(1.0)


def test_the_table_and_the_card_say_what_was_measured(tmp_path) -> None:
    figures = series_figures(_series(40), SeriesConfig(network=40))
    config = NetworkConfig("deep_unet", 1)
    path = tmp_path / "tiny.safetensors"
    weights = build_network(config).state_dict()
    save_checkpoint(Checkpoint("tiny", "1", config, NormalisationConfig(size=64), weights), path)
    table = markdown({"name": "tiny", "version": "1", "sha256": "ab"}, figures, series_criteria(figures))
    assert "| ≤ 0.5 | met |" in table and "| 92 to 98 | met |" in table
    before = load_checkpoint(path)
    keep_in_card(before, figures)
    assert (
        mask_key(load_checkpoint(path)) == mask_key(before) != mask_key(replace(before, calibration=Calibration(2.0)))
    )
    ((setting, stated),) = load_checkpoint(path).scores["repeatability"].items()
    assert setting == "same scanner"
    assert stated["cov_percent"] == pytest.approx(1.2, rel=0.2)
    assert stated["source"].startswith("40 simulated persons, 132 visits on one scanner each")
    assert main(["validate-series", "--data", str(tmp_path), "--output", str(tmp_path), "--write-card"]) == 2


def test_true_masks_of_one_person_at_every_visit(shared_data, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SeriesConfig(disc_sd_mm=0.5)
    maps = read_maps(shared_data, only=config.shapes)
    person = series_person(3, maps, config)
    assert person.percent_per_year == -5.0 and len(person.years) == 2
    steady = series_person(3, maps, replace(config, same_scanner=True))
    assert len({(scan.family, scan.noise, scan.protocol_seed) for scan in steady.scans}) == 1
    assert [scan.spacing_mm for scan in steady.scans] == [scan.spacing_mm for scan in person.scans]
    grids = {(scan.spacing_mm, scan.protocol_seed) for scan in person.scans}
    assert len(grids) == 2
    person = replace(person, scans=tuple(replace(scan, z_range_mm=(-66.0, -32.0)) for scan in person.scans))
    scans = [person.scan(visit, maps) for visit in range(2)]
    monkeypatch.setattr(SeriesPerson, "scan", lambda self, visit, maps: scans[visit])
    truths = [person.stored(scan.mask, visit) for visit, scan in enumerate(scans)]
    assert truths[0].orientation != truths[1].orientation
    assert axial_slices(truths[0]).pixels.any(axis=(1, 2)).all()  # the same anatomy whatever the order of storage
    found = measure_series(_segmenting(truths), person, maps)
    change = found.areas_mm2[1] / found.areas_mm2[0]
    assert change == pytest.approx(person.share(1), abs=0.03)  # pixels and heights alone
    assert found.coverage_percent < 0.5
    shares = [person.stored(scan.coverage, visit) for visit, scan in enumerate(scans)]
    by_share = measure_series(_segmenting(truths, probabilities=shares), person, maps)
    assert by_share.areas_mm2[1] / by_share.areas_mm2[0] == pytest.approx(person.share(1), abs=0.01)
    assert by_share.coverage_percent < 0.5
    assert SeriesAreas.from_dict(json.loads(json.dumps(asdict(found)))) == found

    wrong = replace(truths[1], voxels=truths[1].voxels.copy())
    spoilt = axial_slices(wrong).pixels[3]
    spoilt |= binary_dilation(spoilt, iterations=4)
    unflagged = measure_series(_segmenting([truths[0], wrong]), person, maps)
    assert unflagged.areas_mm2[1] > 1.02 * found.areas_mm2[1]
    flagged = measure_series(_segmenting([truths[0], wrong], Flag(3, 3, "shape", "too wide")), person, maps)
    assert flagged.areas_mm2[1] / flagged.areas_mm2[0] == pytest.approx(change, abs=0.01)


def _segmenting(masks, *flags_of_the_last, probabilities=(None, None)):
    """A validator that gives each mask in turn."""
    flags = [*([()] * (len(masks) - 1)), flags_of_the_last]
    given = iter(zip(masks, probabilities, flags, strict=True))

    def segment(image):
        mask, probability, flags = next(given)
        return SimpleNamespace(mask=mask, measures=measure(mask, probability=probability, shape=False), flags=flags)

    return SimpleNamespace(segment=segment)
