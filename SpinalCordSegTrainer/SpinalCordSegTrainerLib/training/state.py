"""Everything a run needs to go on exactly where it was: one safetensors file, its numbers as JSON in the header."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from SpinalCordSegLib.errors import ConfigurationError, TrainingDataError
from SpinalCordSegLib.network.networks import build_network
from SpinalCordSegLib.plain_json import parse_json
from SpinalCordSegLib.writing import atomic_write
from SpinalCordSegTrainerLib.config import TrainingConfig, from_dict, to_dict
from SpinalCordSegTrainerLib.training.recomputing import recompute_units

_log = logging.getLogger(__name__)

# How a run is called, how long it may last and its memory may change on resume; what it computes may not.
_FREE = ("name", "version", "licence", "intended_use", "epochs", "max_minutes", "patience", "recompute")


@dataclass
class RunState:
    """A run between two updates. ``average``: moving average of the parameters, empty when off.

    ``update``: updates done. ``loss_sum``, ``loss_count``: of the unfinished epoch. ``skipped``: updates left out
    because the loss was not finite. ``best``: the best score so far (higher is better), None before the first.
    ``scaling``: of the loss in mixed precision. ``old_before``: scores of the starting model on the old cases.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    average: dict[str, Tensor] = field(default_factory=dict)
    update: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    loss_count: int = 0
    skipped: int = 0
    best: float | None = None
    best_epoch: int = 0
    finished: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)
    scaling: dict[str, Any] = field(default_factory=dict)
    old_before: dict[str, Any] = field(default_factory=dict)


_NUMBERS = (
    "update", "seconds", "loss_sum", "loss_count", "skipped", "best", "best_epoch", "finished", "history",
    "scaling", "old_before",
)  # fmt: skip


def new_state(config: TrainingConfig, device: torch.device, weights: dict[str, Tensor] | None = None) -> RunState:
    """A fresh network from the seed, or with the given weights, and its optimiser."""
    torch.manual_seed(config.seed)
    network = build_network(config.network)
    if weights is not None:
        network.load_state_dict(weights)
    if config.recompute:
        recompute_units(network)
    network = network.to(device)
    if config.channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    options = config.optimiser
    optimiser = torch.optim.Adam(
        network.parameters(),
        lr=config.rate.base_lr,
        betas=(options.beta1, options.beta2),
        eps=options.eps,
        weight_decay=options.weight_decay,
    )
    average = {name: one.detach().clone() for name, one in network.named_parameters()} if config.ema_decay else {}
    return RunState(network, optimiser, average)


def save_state(state: RunState, config: TrainingConfig, path: Path) -> None:
    """Write the file whole or not at all; the one before it is kept beside it. Raises OutputError."""
    tensors = {f"network.{name}": one for name, one in state.network.state_dict().items()}
    for number, slots in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": one for name, one in slots.items()}
    tensors |= {f"average.{name}": one for name, one in state.average.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    numbers = {name: getattr(state, name) for name in _NUMBERS}
    metadata = {"state": json.dumps(numbers), "config": json.dumps(to_dict(config))}
    plain = {name: one.detach().cpu().contiguous() for name, one in tensors.items()}
    content = save(plain, metadata)  # not save_file: what the system refuses must come as an OSError
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
        if path.exists():
            os.replace(path, previous(path))


def previous(path: Path) -> Path:
    """Where the state before the one in ``path`` lies."""
    return path.with_name(f"{path.stem}_previous{path.suffix}")


def saved_state(path: Path) -> Path | None:
    """The newest state there is, or None: a run killed between two file names has only the one before."""
    return next((one for one in (path, previous(path)) if one.exists()), None)


def training_begun(folder: Path) -> bool:
    """Whether a run in this folder, or in one of its folders (folds, rows of a comparison), has saved a state."""
    return any(saved_state(one / "state.safetensors") for one in (folder, *folder.iterdir()) if one.is_dir())


def load_state(config: TrainingConfig, path: Path, device: torch.device) -> RunState:
    """The saved run, with torch's own random state put back; the one before where the newest is damaged.

    Raises TrainingDataError for a file that is missing or damaged, ConfigurationError when the run was made with
    other settings.
    """
    try:
        tensors, metadata = _read(path)
    except TrainingDataError as error:
        if not previous(path).exists():
            raise
        _log.warning("%s; the one before it is used", error)
        tensors, metadata = _read(previous(path))
    numbers, used = metadata["state"], metadata["config"]
    _check_same(to_dict(config), to_dict(from_dict(TrainingConfig, used, str(path))), path)
    state = new_state(config, device)
    for name in _NUMBERS:
        if name in numbers:  # a run of an earlier version lacks some
            setattr(state, name, numbers[name])
    _fill(state, tensors, path)
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])
    return state


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        return tensors, {name: parse_json(metadata[name]) for name in ("state", "config")}
    except FileNotFoundError as error:
        raise TrainingDataError(f"{path}: there is no saved run to resume; start it without --resume") from error
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise TrainingDataError(f"{path}: is not a saved run ({error}); start a new one") from error


def _check_same(now: dict[str, Any], then: dict[str, Any], path: Path) -> None:
    changed = [name for name in now if name not in _FREE and now[name] != then[name]]
    if changed:
        raise ConfigurationError(
            f"{path}: the run was made with other settings of {', '.join(changed)}; resume with the same ones"
        )


def _fill(state: RunState, tensors: dict[str, Tensor], path: Path) -> None:
    # Copied into tensors of the same layout: channels_last must stay so for bit-equal arithmetic and speed.
    try:
        state.network.load_state_dict(_part(tensors, "network."))
        for name, one in _part(tensors, "average.").items():
            state.average[name].copy_(one)
        for group in state.optimiser.param_groups:
            for number, parameter in enumerate(group["params"]):
                slots = _part(tensors, f"optimiser.{number}.")
                if slots:
                    state.optimiser.state[parameter] = {
                        name: one if name == "step" else torch.empty_like(parameter).copy_(one)
                        for name, one in slots.items()
                    }
    except (KeyError, RuntimeError) as error:
        raise TrainingDataError(f"{path}: does not fit this network ({error}); start a new run") from error


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: one for name, one in tensors.items() if name.startswith(prefix)}
