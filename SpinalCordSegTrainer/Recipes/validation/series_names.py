"""What the figures of simulated series are called, in series.json and in its tables."""

from __future__ import annotations

THROUGH_MODEL = "series through the model"
CARRIED = "series that carry the measured error"
ALL_SEEN = "the same, were all of a change seen"

COV = "CoV of a visit, %"
SEEN = "share of a true change that is seen"
INSIDE = "true rate inside the 95 % CI, %"
HALF_WIDTH = "half-width over 1.96·CoV/√Σ(t-t̄)²"
FAST_CALLED = "-5 %/year over four yearly visits called a loss, %"
EVEN_CALLED = "even cords called a loss, %"
COVERAGE = "largest change by coverage alone, %"
