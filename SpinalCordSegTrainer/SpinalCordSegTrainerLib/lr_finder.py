"""Learning-rate range test with two bounds (Smith 2017): where the loss begins to fall, and where it rises again.

The rule fits a loss that is bounded by 1 and starts near it: "four times the best loss" is never reached there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import lfilter

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.files import write_json
from SpinalCordSegTrainerLib.batches import BatchSampler, open_sources
from SpinalCordSegTrainerLib.config import TrainingConfig
from SpinalCordSegTrainerLib.distributed import Processes
from SpinalCordSegTrainerLib.run_folder import figure, new_state, write_table
from SpinalCordSegTrainerLib.trainer import learn, starting_weights

PAPER_UPDATES = 2090  # two epochs of 15,668 slices in batches of 15: what β = 0.98 was chosen for
FALLBACK = (1e-5, 1e-3)
_MIN_UPDATES = 30


@dataclass(frozen=True)
class Bounds:
    """``base_lr`` and ``max_lr`` of the cyclical rate; ``found`` False means they are the fallback, ``note`` why."""

    base_lr: float
    max_lr: float
    found: bool
    note: str


def sweep_rates(count: int) -> NDArray[np.float64]:
    """``count`` rates from 1e-10 to 10, in geometric progression. Raises ConfigurationError for too short a sweep."""
    if count < _MIN_UPDATES:
        raise ConfigurationError(f"a range test of {count} updates says nothing: allow at least {_MIN_UPDATES}")
    rates: NDArray[np.float64] = np.geomspace(1e-10, 1e1, count)
    return rates


def smooth(losses: Sequence[float], planned: int) -> NDArray[np.float64]:
    """Exponential average with bias correction; β = 0.98 at the paper's number of updates, scaled to ``planned``."""
    beta = 0.98 ** (PAPER_UPDATES / planned)
    averages = lfilter([1 - beta], [1, -beta], np.asarray(losses, dtype=np.float64))
    return np.asarray(averages / (1 - beta ** np.arange(1, len(losses) + 1)))


def find_bounds(rates: NDArray[np.float64], smoothed: NDArray[np.float64], planned: int) -> Bounds:
    """The two bounds, both rounded to the decade.

    ``p0``, ``sd``: median and SD over the first third of the sweep.
    base: first rate from which the smoothed loss stays below p0 - max(4 sd, 1 % of the whole drop) until its
    minimum. max: a tenth of the rate at the minimum. Not found, with the fallback, when the drop is under 10 sd
    or base ≥ max.
    """
    first = smoothed[: max(1, planned // 3)]  # where nothing is learnt yet
    p0, sd = float(np.median(first)), float(np.std(first))
    lowest = int(np.argmin(smoothed))
    drop = p0 - float(smoothed[lowest])
    if drop <= 0 or drop < 10 * sd:
        return Bounds(*FALLBACK, False, "the loss did not fall clearly during the sweep: the paper's bounds are used")
    below = smoothed[: lowest + 1] < p0 - max(4 * sd, 0.01 * drop)
    start = lowest + 1 - int(np.argmin(np.append(below[::-1], False)))
    ends = (float(rates[min(start, lowest)]), float(rates[lowest]) / 10)
    base, top = (float(f"1e{round(math.log10(rate))}") for rate in ends)
    if base >= top:
        note = f"the bounds {base:.0e} and {top:.0e} do not make a range: the paper's bounds are used"
        return Bounds(*FALLBACK, False, note)
    return Bounds(base, top, True, "")


def range_test(
    config: TrainingConfig,
    device: torch.device,
    *,
    updates: int | None = None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> tuple[Bounds, list[dict[str, float]]]:
    """Sweep the rate from 1e-10 to 10 over two epochs (or ``updates``) of the training that this configuration has, and
    judge the curve: its rows have the rate, the raw and the smoothed loss; a loss that is not finite ends it."""
    batches = BatchSampler(open_sources(config).training, config)
    state, alone = new_state(config, device, starting_weights(config)), Processes(device=device)
    planned = updates or 2 * batches.updates_per_epoch()
    rates = sweep_rates(planned)
    losses: list[float] = []
    for update, rate in enumerate(rates.tolist()):
        loss = learn(state.network, state.optimiser, rate, batches.batch(update), config, alone)
        if math.isnan(loss):
            break
        losses.append(loss)
        progress(update + 1, planned)
    smoothed = smooth(losses, planned)
    columns = (rates.tolist(), losses, smoothed.tolist())
    rows = [dict(zip(("rate", "loss", "smoothed"), row, strict=True)) for row in zip(*columns, strict=False)]
    return find_bounds(rates[: len(losses)], smoothed, planned), rows


def write_range_test(bounds: Bounds, rows: Sequence[dict[str, float]], folder: Path) -> None:
    """``range_test.json`` (bounds), ``range_test.csv`` (the sweep) and ``range_test.png``. Raises OutputError."""
    write_table(rows, folder / "range_test.csv")
    write_json(folder / "range_test.json", asdict(bounds))
    rates, losses, smoothed = ([row[name] for row in rows] for name in ("rate", "loss", "smoothed"))
    with figure(folder / "range_test.png", 1) as (axis,):
        axis.semilogx(rates, losses, color="0.75", lw=0.8, label="loss")
        axis.semilogx(rates, smoothed, label="smoothed")
        for rate, text, side in (
            (bounds.base_lr, f"base {bounds.base_lr:.0e} ", "right"),
            (bounds.max_lr, f" max {bounds.max_lr:.0e}", "left"),
        ):
            axis.axvline(rate, color="tab:red", ls="--", lw=1)
            axis.annotate(text, (rate, axis.get_ylim()[1]), fontsize=8, color="tab:red", va="top", ha=side)
        axis.set_xlabel("learning rate")
        axis.set_ylabel("training loss")
        axis.set_title("" if bounds.found else "not found: fallback", fontsize=9)
        axis.legend(loc="lower left", fontsize=8)
