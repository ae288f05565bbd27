"""Whose repeatability a comparison is judged by, and that its source says so."""

from types import SimpleNamespace

import pytest

from SpinalCordSegLib.case import ModelSummary
from SpinalCordSegLib.longitudinal.change import BETWEEN_SCANNERS, SAME_SCANNER, repeatability_of

STATED = {"same scanner": {"cov_percent": 1.1, "source": "40 simulated persons"}}


def _report(state="AI", stated=STATED, sha256="ab"):
    model = ModelSummary("m", "2", sha256, "", scores={"repeatability": stated})
    return SimpleNamespace(mask_state=state, model=model)


GIVEN = SimpleNamespace(mask_state="given", model=None)


def test_the_models_own_is_taken_where_its_card_states_one():
    found = repeatability_of([_report(), _report()], same_scanner=True)
    assert (found.cov_percent, found.setting) == (1.1, "same scanner")
    assert found.source == "measured with this software, model m 2: 40 simulated persons"
    assert repeatability_of([_report(), _report()], same_scanner=False) == BETWEEN_SCANNERS


@pytest.mark.parametrize(
    "reports",
    [
        [_report(stated=None)] * 2,
        [_report(), _report(sha256="cd")],
        [_report(), GIVEN],
        [GIVEN] * 2,
        [_report(stated={"same scanner": {"cov_percent": "1.1", "source": "a text"}})],
        [_report(stated={"same scanner": {"cov_percent": 1.1, "source": " "}})],
        [_report(stated={"same scanner": {"cov_percent": -1, "source": "x"}})],
        [_report(stated={"same scanner": 1.1})],
        [_report(stated=[1.1])],
    ],
)
def test_else_the_published_one(reports):
    assert repeatability_of(reports, same_scanner=True) == SAME_SCANNER


def test_masks_corrected_by_hand_take_the_larger_one_and_say_so():
    found = repeatability_of([_report(), _report("corrected")], same_scanner=True)
    assert found.cov_percent == SAME_SCANNER.cov_percent
    assert "corrected by hand" in found.source and "own of 1.1 % is not taken" in found.source
    wide = {"same scanner": {"cov_percent": 3.0, "source": "40 simulated persons"}}
    found = repeatability_of([_report("corrected", wide)] * 2, same_scanner=True)
    assert found.cov_percent == 3.0 and found.source.endswith("for which no CoV was measured")
