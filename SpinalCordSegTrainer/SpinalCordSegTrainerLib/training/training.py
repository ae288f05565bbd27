"""The training loop: batches in, a checkpoint and its curves out, to be stopped and taken up again at any time."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from SpinalCordSegLib.errors import Cancelled, ConfigurationError, OutputError
from SpinalCordSegLib.network.networks import reestimate_batch_statistics
from SpinalCordSegLib.writing import write_json
from SpinalCordSegTrainerLib.batching.ahead import Ahead, batch_threads
from SpinalCordSegTrainerLib.batching.batches import Batch, Batches
from SpinalCordSegTrainerLib.config import TrainingConfig, to_dict
from SpinalCordSegTrainerLib.datasets.split import SPLIT_NAME, read_parts
from SpinalCordSegTrainerLib.training.arithmetic import Arithmetic, deterministic_kernels, device_failures
from SpinalCordSegTrainerLib.training.curves import write_curves
from SpinalCordSegTrainerLib.training.fine_tuning import old_scores, starting_weights
from SpinalCordSegTrainerLib.training.loss import segmentation_loss
from SpinalCordSegTrainerLib.training.model_file import write_model
from SpinalCordSegTrainerLib.training.ranks import Ranks
from SpinalCordSegTrainerLib.training.run_record import record_start, remove_remains
from SpinalCordSegTrainerLib.training.schedule import learning_rate
from SpinalCordSegTrainerLib.training.sources import OpenedSources, open_sources
from SpinalCordSegTrainerLib.training.state import load_state, new_state, save_state, saved_state
from SpinalCordSegTrainerLib.training.synced_norm import sync_statistics
from SpinalCordSegTrainerLib.training.training_events import Progress, TrainingResult
from SpinalCordSegTrainerLib.training.validation import validate

__all__ = ["Progress", "Training", "TrainingResult"]

_log = logging.getLogger(__name__)
_MAX_SKIPPED_IN_A_ROW = 20
_SAVE_SECONDS = 600  # of a long epoch no more than this is lost
_MIN_AVERAGE_UPDATES = 10  # the moving average forgets the random start quickly: decay ≤ (1 + n)/(10 + n)


class Training:
    """One run in one folder that alone tells what was run: config.json, split.json, run.json (versions), epochs.csv,
    curves.png, best and last.safetensors, each with its card as .md, and the two newest states to resume from."""

    def __init__(
        self,
        config: TrainingConfig,
        output: Path,
        *,
        resume: bool = False,
        device: torch.device | None = None,
        report: Callable[[Progress], None] | None = None,
        stopped: Callable[[], bool] | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        """Opens the data and the state. Raises what open_sources and load_state raise, and OutputError when the
        folder already holds a run and ``resume`` is not set. ``ranks``: with whom it trains, on their device."""
        self.ranks = ranks or Ranks(device=device or torch.device("cpu"))
        self.config, self.output, self.device = config, Path(output), self.ranks.device
        if config.batch_size < self.ranks.count:
            raise ConfigurationError(f"batch_size {config.batch_size} is less than one slice for each rank")
        self._report, self._stopped = report, stopped
        saved = self.output / "state.safetensors"
        if saved_state(saved) is not None and not resume:
            raise OutputError(f"{self.output}: already holds a run; resume it (--resume) or choose another folder")
        # What a later version would draw, or another set of caches hold, does not change who a run has never seen.
        begun = read_parts(self.output) if saved_state(saved) is not None else []
        self.sources: OpenedSources = open_sources(config, begun)
        self.batches = Batches(self.sources.training, config)
        self.epoch_updates = self.batches.updates_per_epoch()
        self.total_updates = self.epoch_updates * config.epochs
        self._saved = time.monotonic()
        self._arithmetic = Arithmetic.chosen(config.precision, self.device)
        if resume:
            self.state = load_state(config, saved, self.device)
        else:
            self.state = new_state(config, self.device, starting_weights(config))
        self._arithmetic.restore(self.state.scaling)
        sync_statistics(self.state.network, self.ranks)
        if self.ranks.rank:  # dropout must differ between ranks
            torch.manual_seed(hash((config.seed, self.ranks.rank, self.state.update)))
        self._ahead = Ahead(self.batches.batch, batch_threads(self.device))

    def run(self) -> TrainingResult:
        """Train to the end. Raises Cancelled after saving when stopped, ConfigurationError when the loss stays
        not finite, DeviceError when the GPU fails or is too small."""
        try:
            with device_failures(self.config.batch_size), deterministic_kernels(self.config.deterministic):
                return self._run()
        finally:
            self.close()

    def _run(self) -> TrainingResult:
        state = self.state
        if self.ranks.first:
            remove_remains(self.output)
            write_json(self.output / "config.json", to_dict(self.config))
            write_json(self.output / SPLIT_NAME, self.sources.split)
            record_start(self.output, state.update, self.ranks)
        if state.finished == "interrupted" or self._more_wanted():
            state.finished = ""
        if not state.update:
            state.old_before = old_scores(state.network, self.sources.old, self.config, self.device, self.ranks)
            self._save()
        while not state.finished:
            self._epoch()
        _log.info("training ended: %s", state.finished)
        best, last = self.output / "best.safetensors", self.output / "last.safetensors"
        return TrainingResult(best, last, state.finished, state.history, state.old_before)

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
            loss, rate = self.step()
            state.seconds, stop = self._agreed(state.seconds + time.monotonic() - started)
            in_a_row = 0 if math.isfinite(loss) else in_a_row + 1
            if in_a_row >= _MAX_SKIPPED_IN_A_ROW:
                raise ConfigurationError(
                    f"the loss was not finite for {in_a_row} updates in a row (update {state.update}): lower the"
                    " learning rate, or look for slices that are not finite"
                )
            self._tell(Progress(epoch, self.config.epochs, state.update, self.total_updates, loss, rate, state.seconds))
            self._save_now_and_then()
            if stop:
                self._save()
                raise Cancelled(f"stopped after {state.update} updates; go on with --resume")
        self._end_epoch(epoch)

    def _agreed(self, seconds: float) -> tuple[float, bool]:
        """The first rank's clock, and whether any rank was told to stop: all must do the same."""
        stop = self._stopped is not None and self._stopped()
        if self.ranks.count == 1:
            return seconds, stop
        return self.ranks.from_first([seconds])[0], self.ranks.any(stop)

    def _save(self) -> None:
        self._saved = time.monotonic()
        if not self.ranks.first:
            return
        self.state.scaling = self._arithmetic.saved()
        save_state(self.state, self.config, self.output / "state.safetensors")

    def _save_now_and_then(self) -> None:
        if time.monotonic() - self._saved >= _SAVE_SECONDS:
            self._save()

    def step(self) -> tuple[float, float]:
        """One update: its loss and rate. One whose loss or gradient is not finite changes nothing, is counted, and
        gives NaN."""
        state, config = self.state, self.config
        rate = learning_rate(config.rate, state.update, self.epoch_updates, self._done())
        for group in state.optimiser.param_groups:
            group["lr"] = rate
        batch = self.next_batch()
        mine = self.ranks.part(len(batch.images))
        state.network.train()
        logits = self._arithmetic.logits(state.network, self._on_device(batch.images[mine]))
        loss = segmentation_loss(logits, batch.coverage[mine].to(self.device), config.loss, self.ranks)
        state.optimiser.zero_grad(set_to_none=True)
        self._arithmetic.backward(loss)
        self.ranks.average_gradients(state.network)
        self._arithmetic.unscale(state.optimiser)
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

    def next_batch(self) -> Batch:
        """The batch of the update at hand."""
        return self._ahead.batch(self.state.update)

    def close(self) -> None:
        """Stop making batches; ``run`` does it by itself."""
        self._ahead.close()

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
        size, where = config.validation.batch_size, self.device
        scores = validate(network, self.sources.held_out, config.loss, size, where, self.ranks)
        old = old_scores(network, self.sources.old, config, where, self.ranks)
        rate = float(state.optimiser.param_groups[0]["lr"])
        mean_loss = state.loss_sum / state.loss_count if state.loss_count else None
        row: dict[str, Any] = {"epoch": epoch, "update": state.update, "rate": rate, "train_loss": mean_loss}
        row |= {name: value if math.isfinite(value) else None for name, value in asdict(scores).items()}
        row |= {f"old_{name}": value for name, value in old.items()} | {"skipped": state.skipped}
        score = self._score(row)
        better = state.best is None or score > state.best
        if better:
            state.best, state.best_epoch = score, epoch
        row |= {"best": better, "minutes": round((state.seconds + time.monotonic() - started) / 60, 2)}
        state.history.append(row)
        for name in ("last", "best") if better else ("last",):
            self._write(network, self.output / f"{name}.safetensors")
        state.loss_sum, state.loss_count = 0.0, 0
        state.finished = self._reason_to_end()
        state.seconds = self.ranks.from_first([state.seconds + time.monotonic() - started])[0]
        if self.ranks.first:
            write_curves(state.history, self.output)
        self._save()
        progress = (epoch, config.epochs, state.update, self.total_updates, mean_loss or math.nan, rate, state.seconds)
        self.ranks.wait()
        self._tell(Progress(*progress, row))

    def _write(self, network: nn.Module, path: Path) -> None:
        if self.ranks.first:
            write_model(path, network, self.config, self.sources, self.state.history, self.state.old_before)

    def evaluation_network(self) -> nn.Module:
        """A copy with the averaged weights, where there is an average, and BN statistics estimated anew on the
        last training batches."""
        network = copy.deepcopy(self.state.network)
        network.load_state_dict(self.state.average, strict=False)
        first = max(0, self.state.update - self.config.statistics_batches)
        batches = self.batches.span(first, max(self.state.update, first + 1))
        mine = self.ranks.part(self.config.batch_size)
        reestimate_batch_statistics(network, (self._on_device(batch.images[mine]) for batch in batches))
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

    def _tell(self, progress: Progress) -> None:
        if self._report is not None:
            self._report(progress)
