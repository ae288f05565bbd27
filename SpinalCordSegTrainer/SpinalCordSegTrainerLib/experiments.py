"""Train the rows of Table 1 one after the other on the same slices, split and seed, and score each on those held out.

Every row is a run in a folder of its own; stopped or killed, the whole goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from SpinalCordSegLib.files import parse_json
from SpinalCordSegLib.metrics import ConfusionCounts
from SpinalCordSegLib.model.checkpoint import checkpoint_network, load_checkpoint
from SpinalCordSegTrainerLib.batches import Batches, open_sources, slice_counts
from SpinalCordSegTrainerLib.config import RateConfig, TrainingConfig
from SpinalCordSegTrainerLib.evaluation import statistics
from SpinalCordSegTrainerLib.experiment_rows import Row, row_config
from SpinalCordSegTrainerLib.lr_finder import range_test, write_range_test
from SpinalCordSegTrainerLib.run_folder import new_state, saved_state
from SpinalCordSegTrainerLib.trainer import Progress, Training, starting_weights


@dataclass(frozen=True)
class RowResult:
    """``dice``: of every held-out slice with cord, by the weights of least validation loss. ``history``: one entry
    per epoch. ``rate``: the one used. ``found``: False where a range test found no bounds and the paper's were used."""

    row: Row
    rate: RateConfig
    dice: tuple[float, ...]
    mcc: float
    history: list[dict[str, Any]]
    found: bool = True

    def told(self) -> dict[str, Any]:
        """As plain JSON values."""
        paper = None if self.row.paper is None else asdict(self.row.paper)
        return {
            "row": self.row.key,
            "network": self.row.network,
            "loss": asdict(self.row.loss),
            "rate": asdict(self.rate),
            "rate_found": self.found,
            "paper": paper,
            "dice": statistics(self.dice),
            "mcc": self.mcc,
            "dice_per_epoch": [one["dice"] for one in self.history],
            "minutes": self.history[-1]["minutes"],
        }


@dataclass(frozen=True, eq=False)
class Experiment:
    """``base``: data, split, seed and length of all rows. ``rate_factor``: on the paper's rates, also on those that a
    range test falls back to. ``sweep_updates``: of a range test, None for two epochs."""

    base: TrainingConfig
    output: Path
    device: torch.device
    rate_factor: float = 1.0
    sweep_updates: int | None = None
    report: Callable[[Progress], None] | None = None
    stopped: Callable[[], bool] | None = None

    def run(self, rows: Sequence[Row], begun: Callable[[Row], None] | None = None) -> list[RowResult]:
        """Train and score all rows. Raises Cancelled after saving, and what Training raises."""
        results = []
        for row in rows:
            if begun is not None:
                begun(row)
            results.append(self._row(row))
        return results

    def _row(self, row: Row) -> RowResult:
        folder = self.output / row.key
        config = row_config(row, self.base, self.rate_factor)
        found = True
        if row.rate is None:
            rate, found = self._found_rate(config, folder)
            config = replace(config, rate=rate)
        run = Training(
            config,
            folder,
            resume=saved_state(folder / "state.safetensors") is not None,
            device=self.device,
            report=self.report,
            stopped=self.stopped,
        )
        result = run.run()
        network = checkpoint_network(load_checkpoint(result.best)).to(self.device)
        counts = slice_counts(network, run.sources.held_out, config.validation.batch_size, self.device)
        with_cord = [one for one in counts if one.true_positive + one.false_negative]
        pooled = sum(counts, ConfusionCounts())
        return RowResult(row, config.rate, tuple(one.dice() for one in with_cord), pooled.mcc(), result.history, found)

    def _found_rate(self, config: TrainingConfig, folder: Path) -> tuple[RateConfig, bool]:
        """The cyclical rate between the bounds of this network's own range test, which is made once, and whether it
        found any; the paper's, scaled as in the other rows, where it did not."""
        path = folder / "range_test.json"
        if path.exists():
            bounds = parse_json(path.read_text(encoding="utf-8"))
        else:
            batches = Batches(open_sources(config).training, config)
            state = new_state(config, self.device, starting_weights(config))
            test = range_test(state, batches, config, self.device, updates=self.sweep_updates)
            write_range_test(test, folder)
            bounds = asdict(test.bounds)
        factor = 1.0 if bounds["found"] else self.rate_factor
        low, high = bounds["base_lr"] * factor, bounds["max_lr"] * factor
        return replace(config.rate, plan="clr", base_lr=low, max_lr=high), bool(bounds["found"])
