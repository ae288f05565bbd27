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
from torch.optim.swa_utils import update_bn

from SpinalCordSegLib.errors import Cancelled, ConfigurationError, OutputError
from SpinalCordSegLib.files import remove_abandoned_parts, to_json, write_json
from SpinalCordSegLib.model.checkpoint import load_checkpoint
from SpinalCordSegTrainerLib.batches import (
    Batch,
    BatchSampler,
    OpenedSources,
    Prefetcher,
    batch_threads,
    on_device,
    open_sources,
    slice_counts,
    validate,
)
from SpinalCordSegTrainerLib.config import TrainingConfig
from SpinalCordSegTrainerLib.distributed import (
    Processes,
    chosen_dtype,
    device_failures,
    logits_of,
    use_deterministic_kernels,
)
from SpinalCordSegTrainerLib.losses import learning_rate, segmentation_loss
from SpinalCordSegTrainerLib.run_folder import (
    STATE,
    RunState,
    load_state,
    new_state,
    record_start,
    save_state,
    write_curves,
    write_model,
)
from SpinalCordSegTrainerLib.split import SPLIT_NAME, read_parts, write_split


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


# Starting from a trained model.


def starting_weights(config: TrainingConfig) -> dict[str, Tensor] | None:
    """The weights of ``config.from_model``, None where the run starts from random ones.

    Raises ModelFileError for a file that is no model, ConfigurationError naming every setting of network and
    normalisation in which the model differs from the configuration: its weights would be worth nothing then.
    """
    if config.from_model is None:
        return None
    model = load_checkpoint(Path(config.from_model))
    different = [
        f"{part}.{name} is {theirs!r} there and {asdict(getattr(config, part))[name]!r} here"
        for part in ("network", "normalisation")
        for name, theirs in asdict(getattr(model, part)).items()
        if theirs != asdict(getattr(config, part))[name]
    ]
    if different:
        raise ConfigurationError(
            f"{Path(config.from_model).name} cannot be trained on with these settings: {'; '.join(different)}; use the"
            " model's own settings, or start without a model"
        )
    return {name: torch.from_numpy(values.copy()) for name, values in model.weights.items()}


def learn(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    rate: float,
    batch: Batch,
    config: TrainingConfig,
    processes: Processes,
) -> float:
    """One update on a batch, of which each process computes its part: the loss of the whole. Where loss or gradient is
    not finite nothing is changed: NaN."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    mine, device = processes.part(len(batch[0])), processes.device
    network.train()
    if config.freeze_statistics:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    logits = logits_of(network, on_device(batch[0][mine], device), chosen_dtype(config.precision, device))
    loss = segmentation_loss(logits, batch[1][mine].to(device), config.loss, processes)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(network.parameters(), math.inf)
    if not bool(torch.isfinite(loss) & torch.isfinite(norm)):
        return math.nan
    optimiser.step()
    return float(loss.detach())


_log = logging.getLogger(__name__)
_MAX_SKIPPED_IN_A_ROW = 20
_SAVE_SECONDS = 600  # of a long epoch no more than this is lost
_MIN_AVERAGE_UPDATES = 10  # the moving average forgets the random start quickly: decay ≤ (1 + n)/(10 + n)


class Training:
    """One run in one folder that documents it: config.json, split.json, run.json (versions), epochs.csv,
    curves.png, best and last.safetensors, each with its card, and the state to resume from."""

    def __init__(
        self,
        config: TrainingConfig,
        output: Path,
        *,
        resume: bool | None = False,
        device: torch.device | None = None,
        report: Callable[[Progress], None] | None = None,
        stopped: Callable[[], bool] | None = None,
        processes: Processes | None = None,
    ) -> None:
        """Opens the data and the state. Raises what open_sources and load_state raise, and OutputError when the
        folder already holds a run and ``resume`` is False; None resumes where there is one. ``processes``: with whom it
        trains, on their device."""
        self.processes = processes or Processes(device=device or torch.device("cpu"))
        self.config, self.output, self.device = config, Path(output), self.processes.device
        self.best, self.last = self.output / "best.safetensors", self.output / "last.safetensors"
        if config.batch_size < self.processes.count:
            raise ConfigurationError(f"batch_size {config.batch_size} is less than one slice for each process")
        self._report, self._stopped = report or (lambda _: None), stopped or (lambda: False)
        saved = self.output / STATE
        is_there = saved.exists()
        if is_there and resume is False:
            raise OutputError(f"{self.output}: already holds a run; resume it (--resume) or choose another folder")
        # What a later version would draw, or another set of caches hold, does not change who a run has never seen.
        begun = read_parts(self.output) if is_there and (self.output / SPLIT_NAME).exists() else []
        self.sources: OpenedSources = open_sources(config, begun)
        self.batches = BatchSampler(self.sources.training, config)
        self.epoch_updates = self.batches.updates_per_epoch()
        self.total_updates = self.epoch_updates * config.epochs
        self._saved = time.monotonic()
        chosen_dtype(config.precision, self.device)  # refused before anything is written
        if is_there or resume:
            self.state = load_state(config, saved, self.device)
            if config.epochs < (done := len(self.state.history)):
                raise ConfigurationError(
                    f"{self.output}: the run has {done} epochs behind it, {config.epochs} were asked for: give"
                    f" --epochs {done} or more, or begin a new run"
                )
        else:
            self.state = new_state(config, self.device, starting_weights(config))
        self._parallel = self.processes.parallel(self.state.network)
        if config.deterministic:
            use_deterministic_kernels()
        if self.processes.rank:  # dropout must differ between processes
            torch.manual_seed(hash((config.seed, self.processes.rank, self.state.update)))
        self._prefetcher = Prefetcher(self.batches.batch, batch_threads(self.device))

    def run(self) -> RunState:
        """Train to the end; ``finished`` says why it ended, ``history`` has a row for each epoch.

        Raises Cancelled after saving when stopped, ConfigurationError when the loss stays not finite, DeviceError when
        the GPU fails or is too small.
        """
        try:
            with device_failures(self.config.batch_size):
                return self._run()
        finally:
            self._prefetcher.close()

    def _run(self) -> RunState:
        state = self.state
        if self.processes.first:
            remove_abandoned_parts(self.output)
            write_json(self.output / "config.json", to_json(self.config))
            write_split(self.sources.split, self.output / SPLIT_NAME)
            record_start(self.output, state.update, self.processes)
        if not self._reason_to_end():  # a finished run is taken up again only when its limits were raised
            state.finished = ""
        if not state.update:
            self._save()
        while not state.finished:
            self._epoch()
        _log.info("training ended: %s", state.finished)
        return state

    def _epoch(self) -> None:
        state = self.state
        epoch = len(state.history) + 1
        end = epoch * self.epoch_updates
        in_a_row = 0
        while state.update < end:
            started = time.monotonic()
            loss, rate = self.step()
            state.seconds += time.monotonic() - started
            stop = self.processes.any(self._stopped())  # all must do the same
            in_a_row = 0 if math.isfinite(loss) else in_a_row + 1
            if in_a_row >= _MAX_SKIPPED_IN_A_ROW:
                raise self._diverged(f"the loss was not finite for {in_a_row} updates in a row")
            self._show(epoch, loss, rate)
            if time.monotonic() - self._saved >= _SAVE_SECONDS:
                self._save()
            if stop:
                self._save()
                raise Cancelled(f"stopped after {state.update} updates; go on with --resume")
        self._end_epoch(epoch)

    def _diverged(self, what: str) -> ConfigurationError:
        rate = self.config.rate.max_lr
        return ConfigurationError(
            f"{what} (update {self.state.update}): the learning rate, up to {rate:g}, is too high. Begin anew in"
            f" another folder with a lower one, as --lr {rate / 10:g}; find-lr finds it"
        )

    def step(self) -> tuple[float, float]:
        """One update: its loss and rate; NaN for one that was skipped."""
        state, config = self.state, self.config
        rate = self._rate(state.update)
        batch = self._prefetcher.batch(state.update)
        value = learn(self._parallel, state.optimiser, rate, batch, config, self.processes)
        state.update += 1
        if math.isnan(value):
            state.skipped += 1
        else:
            self._average()
            state.loss_sum += value
            state.loss_count += 1
        return value, rate

    def _rate(self, update: int) -> float:
        return learning_rate(self.config.rate, update, self.epoch_updates, update / self.total_updates)

    def _average(self) -> None:
        state = self.state
        decay = min(self.config.ema_decay, (1 + state.update) / (_MIN_AVERAGE_UPDATES + state.update))
        for name, parameter in state.network.named_parameters() if state.average else ():
            state.average[name].lerp_(parameter.detach(), 1 - decay)

    def _save(self) -> None:
        self._saved = time.monotonic()
        if self.processes.first:
            save_state(self.state, self.config, self.output / STATE)

    def _end_epoch(self, epoch: int) -> None:
        started = time.monotonic()
        state, config = self.state, self.config
        network = self.evaluation_network()
        if not all(bool(values.isfinite().all()) for values in network.state_dict().values()):
            raise self._diverged("the network's weights or statistics are not finite any more")
        rate = float(state.optimiser.param_groups[0]["lr"])
        mean_loss = state.loss_sum / state.loss_count if state.loss_count else None
        row: dict[str, Any] = {"epoch": epoch, "update": state.update, "rate": rate, "train_loss": mean_loss}
        size = config.validation.batch_size
        counts = slice_counts(network, self.sources.held_out, config.loss, size, self.device, self.processes)
        row |= validate(*counts) | {"skipped": state.skipped}
        score = self._score(row)
        better = state.best is None or score > state.best
        if better:
            state.best, state.best_epoch = score, epoch
        row |= {"best": better, "minutes": round((state.seconds + time.monotonic() - started) / 60, 2)}
        state.history.append(row)
        if self.processes.first:
            for path in (self.last, self.best) if better else (self.last,):
                write_model(path, network, config, self.sources, state.history)
        state.loss_sum, state.loss_count = 0.0, 0
        state.finished = self._reason_to_end()
        state.seconds += time.monotonic() - started
        if self.processes.first:
            write_curves(state.history, list(map(self._rate, range(state.update))), self.output)
        self._save()
        self.processes.any(False)  # until the files are there
        self._show(epoch, mean_loss or math.nan, rate, row)

    def evaluation_network(self) -> nn.Module:
        """A copy with the averaged weights, where there is an average, and BN statistics estimated anew on the
        last training batches, where they are not frozen."""
        network = copy.deepcopy(self.state.network)
        network.load_state_dict(self.state.average, strict=False)
        if self.config.freeze_statistics:
            return network.eval()
        first = max(0, self.state.update - self.config.statistics_batches)
        batches = map(self.batches.batch, range(first, max(self.state.update, first + 1)))
        mine = self.processes.part(self.config.batch_size)
        update_bn((on_device(images[mine], self.device) for images, _ in batches), network)
        return network.eval()

    def _score(self, row: dict[str, Any]) -> float:
        """Higher is better. Without validation slices the training loss decides."""
        by = self.config.best_by
        if row["loss"] is None or (by == "dice" and row["dice"] is None):
            return -row["train_loss"] if row["train_loss"] is not None else -math.inf
        if by in ("dice", "mcc"):
            return float(row[by])
        return -row["loss"] * (1 + (abs(row["area_percent"] or 0.0) / 100 if by == "loss_and_area" else 0.0))

    def _reason_to_end(self) -> str:
        state, config = self.state, self.config
        epoch = len(state.history)
        if epoch >= config.epochs:
            return "all epochs done"
        cycle = 2 * config.rate.half_cycle_epochs if config.rate.plan == "clr" else 0
        if config.patience is not None and epoch >= cycle and epoch - state.best_epoch >= config.patience:
            return f"no better {config.best_by} for {config.patience} epochs"
        return ""

    def _show(self, epoch: int, loss: float, rate: float, row: dict[str, Any] | None = None) -> None:
        state, epochs = self.state, self.config.epochs
        self._report(Progress(epoch, epochs, state.update, self.total_updates, loss, rate, state.seconds, row))
