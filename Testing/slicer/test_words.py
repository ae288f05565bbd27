"""What the panel says: progress and time left, devices, the sentence for a report."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from cord_cases import cord_mask, finished_case


@pytest.fixture(autouse=True)
def _translations(qt_application):
    return qt_application


def test_devices_say_what_they_are_and_how_long():
    from SpinalCordSegWidgets.find_section import describe

    card = {"name": "cuda", "label": "NVIDIA RTX 3060, 12 GB", "seconds_per_slice": 0.01}
    assert describe(card, 170) == "NVIDIA RTX 3060, 12 GB, about 7 s"
    assert describe(card, 0) == "NVIDIA RTX 3060, 12 GB"
    assert describe({"name": "cpu", "label": "CPU", "seconds_per_slice": None}, 170) == "CPU"


def test_report_sentence_has_numbers_units_and_limits():
    from SpinalCordSegWidgets.measures_section import report_sentence

    case = finished_case(cord_mask(), volume_mm3=5321.4, length_mm=71.26, sd_csa_mm2=5.04, n_slices=71)
    assert report_sentence(case) == (
        "Spinal cord volume 5321 mm³, over a length of 71.3 mm (71 slices), mean area 23.5 ± 5.0 mm²;"
        " 2 slices flagged for review; found automatically by SpinalCordSeg 0.1.0 with model cord: a|b 3;"
        " volume depends on the coverage of the image. Research use, not for diagnosis."
    )
    assert "corrected by hand" in report_sentence(case, edited=True)
    assert "mean area not reported" in report_sentence(replace(case, mean_csa_mm2=math.nan))
    assert "made elsewhere" in report_sentence(replace(case, model=None))
    assert report_sentence(replace(case, n_slices=0)).startswith("No spinal cord was found")


def test_model_card_says_what_it_was_trained_on():
    from SpinalCordSegWidgets.find_section import trained_on

    sources = [
        {"kind": "simulated", "slices": 20000},
        {"kind": "simulated", "slices": 10000},
        {"kind": "real", "slices": 1200},
    ]
    assert trained_on({"sources": sources}) == "trained on 1,200 real and 30,000 simulated slices"
    assert trained_on({"data": "none"}) == "" and trained_on({"sources": "none"}) == ""
