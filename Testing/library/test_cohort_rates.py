"""Change per year over a cohort with a known answer: two groups, a site that measures larger, persons who differ."""

import csv

import numpy as np
import pytest

from SpinalCordSegLib.cli import main
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.longitudinal import rates
from SpinalCordSegLib.longitudinal.rates import PersonRates, group_rows, mixed_model, write_rates
from SpinalCordSegLib.longitudinal.visits import PersonSource, read_manifest

TRUE = {"MS": -2.0, "healthy": -0.3}


def _cohort(n=30, seed=1):
    rng, persons = np.random.default_rng(seed), []
    for k in range(2 * n):
        group, site, age = ("MS", "healthy")[k % 2], ("A", "B")[k // 2 % 2], float(rng.uniform(25, 60))
        rate = TRUE[group] + rng.normal(0, 0.5)
        years = tuple(np.arange(3 + k % 2) * 1.0)
        level = 80 * (1.5 if site == "B" else 1.0) * np.exp(rng.normal(0, 0.08) - 0.004 * (age - 40))
        areas = tuple(level * np.exp(rate / 100 * year + rng.normal(0, 0.01)) for year in years)
        own = float(np.polyfit(years, 100 * np.log(areas), 1)[0])
        source = PersonSource(f"P{k:02d}", (), age, group, "FM"[k // 4 % 2], site)
        persons.append(PersonRates(source, years, areas, own, rate + float(rng.normal(0, 0.3))))
    return persons


@pytest.fixture(scope="module")
def model():
    return mixed_model(_cohort())


def test_groups_and_covariates_are_found(model):
    for group, true in TRUE.items():
        found = model.rates[group]
        assert found.low < true < found.high and found.high - found.low < 1.2
    site = next(one for name, one in model.covariates.items() if name.startswith("site B"))
    assert site.low < 50 < site.high and site.value > 46  # % of the area, not 100·log(1.5) = 41
    age = model.covariates["10 years of age"]
    assert age.low < -4 < age.high


def test_a_trial_needs_fewer_persons_by_the_surer_measure(model, tmp_path, monkeypatch):
    persons = [*_cohort(), PersonRates(PersonSource("P99", ()), left_out="in doubt")]
    rows = group_rows(persons[:-1], model)
    ms = {row["by"]: row for row in rows if row["group"] == "MS"}
    assert ms["images"]["n_per_arm_50_percent"] < ms["areas"]["n_per_arm_50_percent"]
    assert ms["areas"]["n_per_arm_25_percent"] == pytest.approx(4 * ms["areas"]["n_per_arm_50_percent"], abs=4)
    monkeypatch.setattr(rates, "mixed_model", lambda used: model)
    page = write_rates(persons, tmp_path).read_text(encoding="utf-8")
    assert "Left out: 1 of 61 persons" in page and "limits of agreement" in page
    with (tmp_path / "rates.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 61 and table[-1]["left_out"] == "in doubt"
    monkeypatch.undo()
    with pytest.raises(ConfigurationError):  # no page of the persons before stays
        write_rates(persons[-1:], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["rates.csv"] and len(
        (tmp_path / "rates.csv").read_text(encoding="utf-8").splitlines()
    ) == 2


def test_too_few_persons_and_collinear_columns_are_refused():
    persons = _cohort(2)
    with pytest.raises(ConfigurationError, match="three persons"):
        mixed_model(persons[:2])
    alike = [
        PersonRates(PersonSource(f"P{k}", (), None, "AB"[k % 2], "", "XY"[k % 2]), (0, 1), (80, 79)) for k in range(6)
    ]
    with pytest.raises(ConfigurationError, match="collinear"):
        mixed_model(alike)


def test_a_manifest_with_missing_values_other_spellings_and_persons_who_fail(tmp_path):
    manifest = tmp_path / "visits.csv"
    lines = ["person,folder,date,group,sex,age"]
    lines += [f"P{n},Perez_{n},2020-01-01,{group},N/A,n/a" for n, group in ((1, "MS"), (2, "n/a"), (3, "HC"))]
    manifest.write_text("\n".join(lines), encoding="utf-8")
    assert [(one.group, one.sex, one.age_years) for one in read_manifest(manifest)][:2] == [
        ("MS", "", None),
        ("", "", None),
    ]
    assert main(["follow-up", str(manifest), "--output", str(tmp_path / "out")]) == 1
    text = (tmp_path / "out" / "rates.csv").read_text(encoding="utf-8")
    assert text.count("failed: ") == 3 and "Perez" not in text
    manifest.write_text("\n".join([*lines, "P4,d,2020-01-01,ms,,"]), encoding="utf-8")
    with pytest.raises(ConfigurationError, match='group "ms" is "MS" above'):
        read_manifest(manifest)
