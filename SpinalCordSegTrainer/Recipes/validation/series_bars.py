"""What following a person by a model's masks must reach, over simulated series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from Recipes.validation.series_names import (
    CARRIED,
    COVERAGE,
    EVEN_CALLED,
    FAST_CALLED,
    HALF_WIDTH,
    INSIDE,
    THROUGH_MODEL,
)
from Recipes.validation.validation_bars import Bar, at_least, at_most, between

_INSIDE_PERCENT = (92.0, 98.0)
_MOST_HALF_WIDTH = 1.5
_LEAST_FAST_CALLED, _MOST_EVEN_CALLED = 95.0, 5.0
_MOST_BY_COVERAGE = 0.5


def series_bars(figures: Mapping[str, Mapping[str, Any]]) -> list[Bar]:
    """``figures``: of ``series_figures``. The few series through the model and the many that carry its error each
    have their bars; what is called needs many."""
    few, many = figures[THROUGH_MODEL], figures[CARRIED]
    bars = []
    for name, of in ((THROUGH_MODEL, few), (CARRIED, many)):
        bars.append(between(name, INSIDE, of[INSIDE], _INSIDE_PERCENT))
        bars.append(at_most(name, HALF_WIDTH, of[HALF_WIDTH], _MOST_HALF_WIDTH))
    bars.append(at_least(CARRIED, FAST_CALLED, many[FAST_CALLED], _LEAST_FAST_CALLED))
    bars.append(at_most(CARRIED, EVEN_CALLED, many[EVEN_CALLED], _MOST_EVEN_CALLED))
    bars.append(at_most(THROUGH_MODEL, COVERAGE, few[COVERAGE], _MOST_BY_COVERAGE))
    return bars
