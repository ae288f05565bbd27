"""Which repeatability visits are judged by: the one measured for the model that drew their masks, else a published one.

A model's card keeps it in its scores, and ``segment`` copies it into report.json's model, so that a result carries it::

    "repeatability": {"same scanner": {"cov_percent": 1.8, "source": "where, on whom, by what"},
                      "between scanners": {...}}

Either setting may be missing. ``spinalcordseg-train validate --write-card`` and ``validate-series --write-card`` write
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from SpinalCordSegLib.longitudinal.atrophy import BETWEEN_SCANNERS, SAME_SCANNER, Repeatability
from SpinalCordSegLib.network.card import REPEATABILITY

_CORRECTED = "corrected"


def repeatability_of(reports: Sequence[Mapping[str, Any]], same_scanner: bool) -> Repeatability:
    """For visits with these report.json; the source says in words whose measurement it is.

    The model's own needs every mask to be of that one model. Where a person corrected some of them it was not measured
    for such masks: then the larger of it and the published one is taken, and the source says so.
    """
    published = SAME_SCANNER if same_scanner else BETWEEN_SCANNERS
    models = [report.get("model") or {} for report in reports]
    if len({tuple(str(one.get(key)) for key in ("name", "version", "sha256")) for one in models}) != 1:
        return published
    measured = _stated(models[0], published.setting)
    if measured is None or all(report.get("mask_state") != _CORRECTED for report in reports):
        return measured or published
    by_hand = "some of these masks were corrected by hand, for which no CoV was measured"
    if measured.cov_percent >= published.cov_percent:
        return replace(measured, source=f"{measured.source}; {by_hand}")
    own = f"the model's own of {measured.cov_percent:g} % is not taken"
    return replace(published, source=f"{published.source}; {by_hand}: {own}")


def _stated(model: Mapping[str, Any], setting: str) -> Repeatability | None:
    """What the model's card states for a setting; None where it states nothing that can be used."""
    stated = model.get(REPEATABILITY)
    entry = stated.get(setting) if isinstance(stated, Mapping) else None
    if not isinstance(entry, Mapping):
        return None
    cov_percent, source = entry.get("cov_percent"), str(entry.get("source") or "").strip()
    if not isinstance(cov_percent, (int, float)) or not 0 < cov_percent < 50 or not source:
        return None
    of_model = f"measured with this software, model {model.get('name')} {model.get('version')}"
    return Repeatability(float(cov_percent), f"{of_model}: {source}", setting)
