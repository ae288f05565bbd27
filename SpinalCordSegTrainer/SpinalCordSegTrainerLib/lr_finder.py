"""Learning-rate range test with two bounds (Smith 2017): where the loss begins to fall, and where it nearly has.

The loss is bounded by 1 and starts near it, so "four times the best loss" is never reached; the rate where it is least
differs by seed more than that where three quarters of its fall lie behind. Two networks are swept, each from a seed of
its own; upper bounds that differ by more than a factor of 3 are reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.files import write_json
from SpinalCordSegTrainerLib.batches import BatchSampler, open_sources
from SpinalCordSegTrainerLib.config import RateConfig, TrainingConfig
from SpinalCordSegTrainerLib.distributed import Processes
from SpinalCordSegTrainerLib.run_folder import figure, new_state, write_table
from SpinalCordSegTrainerLib.trainer import learn, starting_weights

PAPER_UPDATES = 2090  # two epochs of 15,668 slices in batches of 15: what β = 0.98 was chosen for
PAPER_BOUNDS = (RateConfig.base_lr, RateConfig.max_lr)
_LEAST_UPDATES, _USUAL_UPDATES = 300, 400  # of both sweeps together
_BEGINS, _MOSTLY = 0.05, 0.75  # shares of the whole fall of the loss
_BEGINS_SD, _LEAST_FALL_SD = 4.0, 10.0
_APART = 3.0  # factor by which the upper bounds of the two sweeps may differ
_MOST = 1e-2  # Adam moves each weight by about the rate at each update


@dataclass(frozen=True)
class Bounds:
    """``base_lr`` and ``max_lr`` of the cyclical rate; ``found`` False: not to be trusted, ``note`` why."""

    base_lr: float
    max_lr: float
    found: bool
    note: str


def sweep_rates(count: int) -> NDArray[np.float64]:
    """``count`` rates from 1e-7 to 1, in geometric progression."""
    rates: NDArray[np.float64] = np.geomspace(1e-7, 1.0, count)
    return rates


def smooth(losses: Sequence[float], planned: int) -> NDArray[np.float64]:
    """Mean of the exponential averages from the left and from the right, so that nothing is moved along the sweep; with
    bias correction, β = 0.98 at the paper's number of updates and scaled to ``planned``."""
    beta = 0.98 ** (PAPER_UPDATES / planned)
    values = np.asarray(losses, dtype=np.float64)
    weights = 1 - beta ** np.arange(1, len(losses) + 1)
    there, back = (
        np.array([*accumulate((1 - beta) * one, lambda mean, new: beta * mean + new)]) / weights
        for one in (values, values[::-1])
    )
    return np.asarray((there + back[::-1]) / 2)


def fall(rates: NDArray[np.float64], smoothed: NDArray[np.float64]) -> tuple[float, float] | None:
    """Rates, of those planned, from which 5 % (and four SD) and 75 % of the fall of the loss lie behind until it is
    least; None where the fall is under ten SD. The SD is that over the first third, where nothing is learnt yet."""
    first = smoothed[: len(rates) // 3]
    if len(first) < len(rates) // 3:
        return None
    start, sd, lowest = float(np.median(first)), float(np.std(first)), int(np.argmin(smoothed))
    drop = start - float(smoothed[lowest])
    if drop <= _LEAST_FALL_SD * sd:
        return None
    marks = (start - max(share * drop, _BEGINS_SD * sd) for share in (_BEGINS, _MOSTLY))
    base, top = (float(rates[lowest - np.argmin(np.append(smoothed[lowest::-1] < mark, False)) + 1]) for mark in marks)
    return base, top


def find_bounds(sweeps: Sequence[tuple[float, float] | None]) -> Bounds:
    """From the ``fall`` of each sweep: the geometric means, to two digits, the upper one at most 1e-2."""
    clear = [one for one in sweeps if one is not None]
    if len(clear) < len(sweeps):
        note = "the loss did not fall clearly in each of the two sweeps: the paper's bounds are used"
        return Bounds(*PAPER_BOUNDS, False, note)
    base, top = (float(f"{min(_MOST, math.exp(np.log(ends).mean())):.1e}") for ends in zip(*clear, strict=True))
    upper = sorted(one[1] for one in clear)
    if upper[-1] > _APART * upper[0]:
        note = f"the two sweeps end at {upper[0]:.1e} and {upper[-1]:.1e}, this is their mean: more --updates say more"
        return Bounds(base, top, False, note)
    return Bounds(base, top, True, "")


def check_length(updates: int | None) -> None:
    """Raises ConfigurationError for too short a range test."""
    if updates is not None and updates < _LEAST_UPDATES:
        raise ConfigurationError(
            f"a range test of {updates} updates says nothing: allow at least {_LEAST_UPDATES}, or leave --updates out"
        )


def range_test(
    config: TrainingConfig,
    device: torch.device,
    *,
    updates: int | None = None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> tuple[Bounds, list[dict[str, float]]]:
    """Sweep the rate from 1e-7 to 1 twice, each time over an epoch of the training that this configuration has and 200
    updates at least (or half of ``updates``): the slices come round and round.

    Gives the bounds, and of each update its sweep, rate, raw and smoothed loss; a loss that is not finite ends a sweep.
    Raises ConfigurationError as check_length does.
    """
    check_length(updates)
    sources = open_sources(config).training
    planned = max(2 * BatchSampler(sources, config).updates_per_epoch(), _USUAL_UPDATES) if updates is None else updates
    rates, weights, alone = sweep_rates(planned // 2), starting_weights(config), Processes(device=device)
    falls, rows = [], []
    for sweep in range(2):
        own = replace(config, seed=config.seed + sweep)
        batches, state, losses = BatchSampler(sources, own), new_state(own, device, weights), []
        for update, rate in enumerate(rates.tolist()):
            loss = learn(state.network, state.optimiser, rate, batches.batch(update), own, alone)
            if math.isnan(loss):
                break
            losses.append(loss)
            progress(sweep * len(rates) + update + 1, 2 * len(rates))
        smoothed = smooth(losses, len(rates))
        falls.append(fall(rates, smoothed))
        columns = (rates.tolist(), losses, smoothed.tolist())
        names = ("rate", "loss", "smoothed")
        rows += [{"sweep": sweep + 1, **dict(zip(names, row, strict=True))} for row in zip(*columns, strict=False)]
    return find_bounds(falls), rows


def write_range_test(bounds: Bounds, rows: Sequence[dict[str, float]], folder: Path) -> None:
    """``range_test.json`` (bounds), ``range_test.csv`` (the sweeps), ``range_test.png``: rate and loss of each update.
    Raises OutputError."""
    write_table(rows, folder / "range_test.csv")
    write_json(folder / "range_test.json", asdict(bounds))
    with figure(folder / "range_test.png", 2) as (rate_axis, axis):
        for sweep, colour in ((1, "tab:blue"), (2, "tab:green")):
            rates, losses, smoothed = (
                [row[name] for row in rows if row["sweep"] == sweep] for name in ("rate", "loss", "smoothed")
            )
            rate_axis.semilogy(range(1, len(rates) + 1), rates, color=colour)
            axis.semilogx(rates, losses, color=colour, lw=0.5, alpha=0.4)
            axis.semilogx(rates, smoothed, color=colour, label=f"sweep {sweep}")
        for rate, text, side in (
            (bounds.base_lr, f"base {bounds.base_lr:.1e} ", "right"),
            (bounds.max_lr, f" max {bounds.max_lr:.1e}", "left"),
        ):
            axis.axvline(rate, color="tab:red", ls="--", lw=1)
            axis.annotate(text, (rate, axis.get_ylim()[1]), fontsize=8, color="tab:red", va="top", ha=side)
        rate_axis.set_xlabel("update")
        rate_axis.set_ylabel("learning rate")
        axis.set_xlabel("learning rate")
        axis.set_ylabel("training loss")
        axis.set_title("" if bounds.found else "to be looked at: " + bounds.note, fontsize=7)
        axis.legend(loc="lower left", fontsize=8)
