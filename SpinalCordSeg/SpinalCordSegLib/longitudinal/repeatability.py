"""How far repeated measurements of an unchanged cord scatter, and which change can be detected by that: published, of
the model that drew the masks, or measured on one's own scanner.

Own repeats are kept in the user's folder, by scanner, protocol and model, without anything that tells of a person. A
limit counts how few scans its CoV comes from, by Student's t; so 95 % intervals hold for any true CoV.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from SpinalCordSegLib.case import Case, ModelSummary
from SpinalCordSegLib.cohort_statistics import within_sd
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.files import from_json, locked, output_errors, parse_json, to_json, user_folder, write_json
from SpinalCordSegLib.longitudinal.visits import Conditions, differences
from SpinalCordSegLib.model.checkpoint import REPEATABILITY

KNOWN = 1e6  # degrees of freedom of a CoV that is taken as known
_FEW = 8.0  # degrees of freedom where a source does not say: the 90 % interval of 1.5 % is the published 1.0 to 2.6 %

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Repeatability:
    """How far repeated measurements scatter. ``cov_percent``: SD/mean in %. ``source``: where that was measured, with
    which tool. ``setting``: "same scanner" or "between scanners". ``freedom``: degrees of freedom behind it.
    ``direct_sd_percent``: of the change between two scans as both images show it, 0 where not measured; with
    ``direct_freedom``."""

    cov_percent: float
    source: str
    setting: str
    freedom: float = KNOWN
    direct_sd_percent: float = 0.0
    direct_freedom: float = KNOWN

    def __post_init__(self) -> None:
        if not 0 < self.cov_percent < 50:
            raise ConfigurationError(f"a CoV of {self.cov_percent:g} % is out of range: give it in %, such as 1.5")
        if not self.source.strip():
            raise ConfigurationError("a CoV needs its source: say where it was measured, and with which tool")
        if not (self.freedom >= 1 and self.direct_freedom >= 1 and self.direct_sd_percent >= 0):
            raise ConfigurationError("a CoV needs at least two scans of one person")

    @property
    def mdc95_percent(self) -> float:
        """The change between two visits, in %, that 95 % of unchanged persons stay below."""
        return reach_95(self.freedom) * sqrt(2) * self.cov_percent


def reach_95(freedom: float) -> float:
    """Half-width of a 95 % interval in standard errors that were estimated with these degrees of freedom."""
    return float(stdtrit(freedom, 0.975))


# Measured by others with other tools, and labelled so until this software's own is known. No limit at two visits has 93
# to 98 % of unchanged persons below it for every CoV from 1 to 3 %: with 93 % at 3 %, it has 100 % at 1 %.
_PUBLISHED = "published, may not hold for your scanner (measure yours: spinalcordseg repeatability)"
SAME_SCANNER = Repeatability(
    1.5,
    f"{_PUBLISHED}: JIM under 1.5 %, SCT 1.0 % (one volunteer on six sites), repeats of brain T1w 1.5-2.65 %",
    "same scanner",
    _FEW,
)
BETWEEN_SCANNERS = Repeatability(2.75, f"{_PUBLISHED}: SCT on three scanners, 2.2-2.75 %", "between scanners", _FEW)


# ---- That of the model that drew the masks, where it was measured
#
# A model's card keeps it in its scores, and ``segment`` copies it into report.json's model:
#
#     "repeatability": {"same scanner": {"cov_percent": 1.8, "source": "where, on whom, by what", "freedom": 92},
#                       "between scanners": {...}}
#
# Either setting may be missing, and so may "freedom". ``python -m Recipes validate --write-card`` and
# ``validate-series --write-card`` write it.


def repeatability_of(cases: Sequence[Case], same_scanner: bool) -> Repeatability:
    """For the visits of these cases, with its source.

    The model's own needs every mask to be of that one model. It was not measured for corrected masks: with some of them
    the larger of it and the published one is taken, and the source says so. Between scanners areas scatter no less than
    on one of them.
    """
    published = SAME_SCANNER if same_scanner else BETWEEN_SCANNERS
    models = [case.model for case in cases]
    if len({None if one is None else (one.name, one.version, one.sha256) for one in models}) != 1:
        return published
    found = (None if models[0] is None else _stated(models[0], published.setting)) or published
    if found is not published and any(case.mask_state == "corrected" for case in cases):
        own = f"the model's own of {found.cov_percent:g} % is not taken"
        source = "some of these masks were corrected by hand, for which no CoV was measured"
        if found.cov_percent < published.cov_percent:
            found, source = published, f"{source}: {own}"
        found = replace(found, source=f"{found.source}; {source}")
    on_one = found if same_scanner else repeatability_of(cases, same_scanner=True)
    if on_one.mdc95_percent <= found.mdc95_percent:
        return found
    source = f"that on one scanner, as {found.cov_percent:g} % between scanners would be less: {on_one.source}"
    return replace(on_one, setting=found.setting, source=source)


def _stated(model: ModelSummary, setting: str) -> Repeatability | None:
    """What the model's card states for a setting; None where it states nothing that can be used."""
    try:
        entry = model.scores[REPEATABILITY][setting]
        stated = Repeatability(entry["cov_percent"], entry["source"], setting, entry.get("freedom", _FEW))
    except (KeyError, TypeError, AttributeError, ConfigurationError):
        return None
    return replace(stated, source=f"measured with this software, model {model.name} {model.version}: {stated.source}")


# ---- That of one's own scanner, from persons who were scanned again


@dataclass(frozen=True)
class OwnRepeatability:
    """``conditions``: of the scans, see Conditions."""

    conditions: Conditions
    found: Repeatability

    def fits(self, visits: Sequence[Conditions]) -> bool:
        """Whether visits were made as these scans were: one known scanner, protocol and model."""
        return all(
            one["scanner"].casefold() == self.conditions["scanner"].casefold()
            and one["model"] == self.conditions["model"]
            and all(change.kind in ("software", "orientation") for change in differences(self.conditions, one))
            for one in visits
        )


def measured_repeats(
    areas_mm2: Sequence[Sequence[float]], direct_percent: Sequence[Sequence[float]], source: str
) -> Repeatability:
    """``areas_mm2``: of each person's scans, two or more; ``direct_percent``: of each person, changes between any
    two of these scans as their images show them. Pooled within persons; n scans of one have n - 1 degrees of freedom.
    Raises ConfigurationError without a person scanned twice."""
    sd_of_logs, freedom = within_sd([np.log(one) for one in areas_mm2])
    if not freedom:
        raise ConfigurationError("nobody was scanned twice under these conditions: give two scans of a person")
    own = [min(len(of), len(scans) - 1) for scans, of in zip(areas_mm2, direct_percent, strict=True)]
    squares = [float(np.mean(np.square(of))) if of else 0.0 for of in direct_percent]
    sd = sqrt(np.dot(own, squares) / sum(own)) if sum(own) else 0.0
    return Repeatability(100 * sd_of_logs, source, "same scanner", freedom, sd, sum(own) or KNOWN)


def _kept_in() -> Path:
    return user_folder() / "repeatability.json"


def own_repeatability() -> list[OwnRepeatability]:
    """All that are kept; none where nothing is."""
    try:
        return [from_json(OwnRepeatability, one) for one in parse_json(_kept_in().read_bytes())]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, ConfigurationError) as error:
        _log.warning("%s cannot be read, so your own repeatability is not used: %s", _kept_in(), error)
        return []


def keep_repeatability(new: OwnRepeatability) -> Path:
    """Keep it in the place of an earlier one of the same conditions; gives the file. Raises OutputError."""
    path = _kept_in()
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path):
        others = [one for one in own_repeatability() if not one.fits([new.conditions])]
        write_json(path, to_json([*others, new]))
    return path
