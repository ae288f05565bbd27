"""The training loop: batches in, a checkpoint and its curves out, to be stopped and taken up again at any time."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from SpinalCordSegLib.checkpoint import Checkpoint, save_checkpoint
from SpinalCordSegLib.errors import Cancelled, ConfigurationError, OutputError
from SpinalCordSegLib.networks import reestimate_batch_statistics
from SpinalCordSegLib.version import SOFTWARE_VERSION
from SpinalCordSegLib.writing import write_json
from SpinalCordSegTrainerLib.batches import Batches
from SpinalCordSegTrainerLib.config import TrainingConfig, to_dict
from SpinalCordSegTrainerLib.curves import write_curves
from SpinalCordSegTrainerLib.loss import segmentation_loss
from SpinalCordSegTrainerLib.schedule import learning_rate
from SpinalCordSegTrainerLib.sources import OpenedSources, open_sources
from SpinalCordSegTrainerLib.state import load_state, new_state, save_state
from SpinalCordSegTrainerLib.validation import validate

_log = logging.getLogger(__name__)
_MAX_SKIPPED_IN_A_ROW = 20
_SAVE_SECONDS = 600  # of a long epoch no more than this is lost
_MIN_AVERAGE_UPDATES = 10  # the moving average forgets the random start quickly: decay ≤ (1 + n)/(10 + n)


@dataclass(frozen=True)
class Progress:
    """Where a run is. ``epoch`` counts from 1; ``row``: the finished epoch's scores, None within an epoch."""

    epoch: int
    epochs: int
    update: int
    updates: int
    loss: float
    rate: float
    seconds: float
    row: dict[str, Any] | None = None


@dataclass(frozen=True)
class TrainingResult:
    """``best``, ``last``: checkpoint files. ``reason``: why it ended. ``history``: one row per epoch."""

    best: Path
    last: Path
    reason: str
    history: list[dict[str, Any]]


class Training:
    """One run in one folder: config.json, split.json, epochs.csv, curves.png, best/last/state.safetensors."""

    def __init__(
        self,
        config: TrainingConfig,
        output: Path,
        *,
        resume: bool = False,
        device: torch.device | None = None,
        report: Callable[[Progress], None] | None = None,
        stopped: Callable[[], bool] | None = None,
    ) -> None:
        """Opens the data and the state. Raises what open_sources and load_state raise, and OutputError when the
        folder already holds a run and ``resume`` is not set."""
        self.config, self.output = config, Path(output)
        self.device = device or torch.device("cpu")
        self._report, self._stopped = report, stopped
        self.sources: OpenedSources = open_sources(config)
        self.batches = Batches(self.sources.training, config)
        self.epoch_updates = self.batches.updates_per_epoch()
        self.total_updates = self.epoch_updates * config.epochs
        saved = self.output / "state.safetensors"
        if saved.exists() and not resume:
            raise OutputError(f"{self.output}: already holds a run; resume it (--resume) or choose another folder")
        self._saved = time.monotonic()
        self.state = load_state(config, saved, self.device) if resume else new_state(config, self.device)

    def run(self) -> TrainingResult:
        """Train to the end. Raises Cancelled after saving when stopped, ConfigurationError when the loss stays
        not finite."""
        write_json(self.output / "config.json", to_dict(self.config))
        write_json(self.output / "split.json", self.sources.split)
        state = self.state
        if state.finished == "interrupted" or self._more_wanted():
            state.finished = ""
        while not state.finished:
            self._epoch()
        _log.info("training ended: %s", state.finished)
        return TrainingResult(
            self.output / "best.safetensors", self.output / "last.safetensors", state.finished, state.history
        )

    def _more_wanted(self) -> bool:
        # A finished run is taken up again only when its limits were raised.
        return not self._reason_to_end()

    def _epoch(self) -> None:
        state = self.state
        epoch = len(state.history) + 1
        end = epoch * self.epoch_updates
        in_a_row = 0
        while state.update < end and not self._out_of_time():
            started = time.monotonic()
            loss, rate = self._update()
            state.seconds += time.monotonic() - started
            in_a_row = 0 if math.isfinite(loss) else in_a_row + 1
            if in_a_row >= _MAX_SKIPPED_IN_A_ROW:
                raise ConfigurationError(
                    f"the loss was not finite for {in_a_row} updates in a row (update {state.update}): lower the"
                    " learning rate, or look for slices that are not finite"
                )
            self._tell(Progress(epoch, self.config.epochs, state.update, self.total_updates, loss, rate, state.seconds))
            self._save_now_and_then()
            if self._stopped is not None and self._stopped():
                self._save()
                raise Cancelled(f"stopped after {state.update} updates; go on with --resume")
        self._end_epoch(epoch)

    def _save(self) -> None:
        save_state(self.state, self.config, self.output / "state.safetensors")
        self._saved = time.monotonic()

    def _save_now_and_then(self) -> None:
        if time.monotonic() - self._saved >= _SAVE_SECONDS:
            self._save()

    def _update(self) -> tuple[float, float]:
        """One step; a step whose loss or gradient is not finite changes nothing and is counted."""
        state, config = self.state, self.config
        rate = learning_rate(config.rate, state.update, self.epoch_updates, self._done())
        for group in state.optimiser.param_groups:
            group["lr"] = rate
        batch = self.batches.batch(state.update)
        state.network.train()
        loss = segmentation_loss(
            state.network(self._on_device(batch.images)), batch.coverage.to(self.device), config.loss
        )
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(state.network.parameters(), math.inf)
        state.update += 1
        value = float(loss.detach())
        if not math.isfinite(value) or not math.isfinite(float(norm)):
            state.skipped += 1
            return math.nan, rate
        state.optimiser.step()
        self._average()
        state.loss_sum += value
        state.loss_count += 1
        return value, rate

    def _average(self) -> None:
        state = self.state
        decay = min(self.config.ema_decay, (1 + state.update) / (_MIN_AVERAGE_UPDATES + state.update))
        for name, parameter in state.network.named_parameters() if state.average else ():
            state.average[name].lerp_(parameter.detach(), 1 - decay)

    def _on_device(self, images: Tensor) -> Tensor:
        images = images.to(self.device)
        return images.contiguous(memory_format=torch.channels_last) if self.config.channels_last else images

    def _done(self) -> float:
        share = self.state.update / self.total_updates
        minutes = self.config.max_minutes
        return share if minutes is None else max(share, self.state.seconds / (60 * minutes))

    def _out_of_time(self) -> bool:
        return self.config.max_minutes is not None and self.state.seconds >= 60 * self.config.max_minutes

    def _end_epoch(self, epoch: int) -> None:
        started = time.monotonic()
        state, config = self.state, self.config
        network = self.evaluation_network()
        scores = validate(network, self.sources.held_out, config.loss, config.validation.batch_size, self.device)
        rate = float(state.optimiser.param_groups[0]["lr"])
        mean_loss = state.loss_sum / state.loss_count if state.loss_count else None
        row: dict[str, Any] = {"epoch": epoch, "update": state.update, "rate": rate, "train_loss": mean_loss}
        row |= {name: value if math.isfinite(value) else None for name, value in asdict(scores).items()}
        row |= {"skipped": state.skipped}
        score = self._score(row)
        better = state.best is None or score > state.best
        if better:
            state.best, state.best_epoch = score, epoch
        row |= {"best": better, "minutes": round((state.seconds + time.monotonic() - started) / 60, 2)}
        state.history.append(row)
        self._write_checkpoint(network, row, "last.safetensors")
        if better:
            self._write_checkpoint(network, row, "best.safetensors")
        state.loss_sum, state.loss_count = 0.0, 0
        state.finished = self._reason_to_end()
        state.seconds += time.monotonic() - started
        write_curves(state.history, self.output)
        self._save()
        progress = (epoch, config.epochs, state.update, self.total_updates, mean_loss or math.nan, rate, state.seconds)
        self._tell(Progress(*progress, row))

    def evaluation_network(self) -> nn.Module:
        """A copy with the averaged weights, where there is an average, and BN statistics estimated anew on the
        last training batches."""
        network = copy.deepcopy(self.state.network)
        network.load_state_dict(self.state.average, strict=False)
        first = max(0, self.state.update - self.config.statistics_batches)
        batches = self.batches.span(first, max(self.state.update, first + 1))
        reestimate_batch_statistics(network, (self._on_device(batch.images) for batch in batches))
        return network.eval()

    def _score(self, row: dict[str, Any]) -> float:
        """Higher is better. Without validation slices the training loss decides."""
        chosen = row[self.config.best_by]
        if chosen is None:
            return -row["train_loss"] if row["train_loss"] is not None else -math.inf
        return -chosen if self.config.best_by == "loss" else chosen

    def _reason_to_end(self) -> str:
        state, config = self.state, self.config
        epoch = len(state.history)
        if epoch >= config.epochs:
            return "all epochs done"
        if self._out_of_time():
            return "time is up"
        cycle = 2 * config.rate.half_cycle_epochs if config.rate.plan == "clr" else 0
        if config.patience is not None and epoch >= cycle and epoch - state.best_epoch >= config.patience:
            return f"no better {config.best_by} for {config.patience} epochs"
        return ""

    def _write_checkpoint(self, network: nn.Module, row: dict[str, Any], name: str) -> None:
        config = self.config
        scores = {key: row[key] for key in ("epoch", "loss", "mcc", "dice", "area_percent", "n_slices")}
        checkpoint = Checkpoint(
            name=config.name,
            version=config.version,
            network=config.network,
            normalisation=config.normalisation,
            weights=dict(network.state_dict()),
            training={**_public(config), "updates": self.state.update, "minutes": row["minutes"]},
            scores={"validation": scores},
            provenance={"sources": self.sources.provenance},
            licence=config.licence,
            software_version=SOFTWARE_VERSION,
        )
        save_checkpoint(checkpoint, self.output / name)

    def _tell(self, progress: Progress) -> None:
        if self._report is not None:
            self._report(progress)


def _public(config: TrainingConfig) -> dict[str, Any]:
    """The configuration for the model card: folders by their last name only, not where they lie on this disk."""
    plain = to_dict(config)
    for source in plain["sources"]:
        source["path"] = Path(source["path"]).name
    plain["validation"]["caches"] = [Path(path).name for path in plain["validation"]["caches"]]
    return plain
