"""Everything a run needs to go on exactly where it was: one safetensors file, its numbers as JSON in the header."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from SpinalCordSegLib.errors import ConfigurationError, TrainingDataError
from SpinalCordSegLib.files import atomic_write, json_object, now_utc, parse_json, to_json, write_json, write_text
from SpinalCordSegLib.model.checkpoint import LEAST_DICE, Calibration, Checkpoint, save_checkpoint
from SpinalCordSegLib.model.networks import build_network
from SpinalCordSegLib.slice_table import csv_text
from SpinalCordSegLib.torch_inference import device_name
from SpinalCordSegLib.version import SOFTWARE_VERSION
from SpinalCordSegTrainerLib.config import TrainingConfig, from_dict
from SpinalCordSegTrainerLib.distributed import Processes

if TYPE_CHECKING:
    from SpinalCordSegTrainerLib.batches import OpenedSources

STATE = "state.safetensors"
_ADAM_EPS = 1e-7  # that of the library the paper used
# How a run is called and how long it may last may change on resume; what it computes may not.
_FREE = ("name", "version", "licence", "intended_use", "epochs", "patience")


@dataclass
class RunState:
    """A run between two updates. ``average``: moving average of the parameters, empty when off.

    ``update``: updates done. ``loss_sum``, ``loss_count``: of the unfinished epoch. ``skipped``: updates left out
    because the loss was not finite. ``best``: the best score so far (higher is better), None before the first.
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


_NUMBERS = tuple(one.name for one in fields(RunState) if one.name not in ("network", "optimiser", "average"))


def new_state(config: TrainingConfig, device: torch.device, weights: dict[str, Tensor] | None = None) -> RunState:
    """A fresh network from the seed, or with the given weights, and its optimiser."""
    torch.manual_seed(config.seed)
    network = build_network(config.network)
    if weights is not None:
        network.load_state_dict(weights)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(network.parameters(), lr=config.rate.base_lr, eps=_ADAM_EPS)
    average = {name: one.detach().clone() for name, one in network.named_parameters()} if config.ema_decay else {}
    return RunState(network, optimiser, average)


def save_state(state: RunState, config: TrainingConfig, path: Path) -> None:
    """Write the file whole or not at all. Raises OutputError."""
    tensors = {f"network.{name}": one for name, one in state.network.state_dict().items()}
    for number, slots in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": one for name, one in slots.items()}
    tensors |= {f"average.{name}": one for name, one in state.average.items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    numbers = {name: getattr(state, name) for name in _NUMBERS}
    metadata = {"state": json.dumps(numbers), "config": json.dumps(to_json(config))}
    plain = {name: one.detach().cpu().contiguous() for name, one in tensors.items()}
    content = save(plain, metadata)  # not save_file: what the system refuses must come as an OSError
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def training_begun(folder: Path) -> bool:
    """Whether a run in this folder, or in one of its folders (folds, rows of a comparison), has saved a state."""
    return any((one / STATE).exists() for one in (folder, *folder.iterdir()))


def load_state(config: TrainingConfig, path: Path, device: torch.device) -> RunState:
    """The saved run, with torch's own random state put back.

    Raises TrainingDataError for a file that is missing or damaged, ConfigurationError when the run was made with
    other settings.
    """
    tensors, metadata = _read(path)
    numbers, used = metadata["state"], metadata["config"]
    now, then = to_json(config), to_json(from_dict(TrainingConfig, used, str(path)))
    changed = [name for name in now if name not in _FREE and now[name] != then[name]]
    if changed:
        raise ConfigurationError(
            f"{path}: the run was made with other settings of {', '.join(changed)}; resume with the same ones"
        )
    state = new_state(config, device)
    for name in _NUMBERS:
        setattr(state, name, numbers[name])
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
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])
    return state


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, {name: parse_json(metadata[name]) for name in ("state", "config")}
    except FileNotFoundError as error:
        raise TrainingDataError(f"{path}: there is no saved run to resume; start it without --resume") from error
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise TrainingDataError(f"{path}: is not a saved run, or a damaged one; start a new one") from error


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: one for name, one in tensors.items() if name.startswith(prefix)}


# Versions and machine at every start of a run. Nothing personal: no user, no name of the machine, no folder.


_PACKAGES = ("torch", "numpy", "scipy", "SimpleITK", "safetensors")


def record_start(folder: Path, update: int, processes: Processes) -> None:
    """Add one start to ``run.json``: when, after which update, with what. Raises OutputError."""
    start = {
        "started": now_utc(),
        "after_update": update,
        "software_version": SOFTWARE_VERSION,
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "device": device_name(processes.device),
        "processes": processes.count,
        "threads": torch.get_num_threads(),
    }
    path = folder / "run.json"
    earlier = json_object(path).get("starts")
    write_json(path, {"starts": [*(earlier if isinstance(earlier, list) else ()), start]})


# Curves of a run: a CSV and a PNG.


_CURVES = {
    "loss": {"train_loss": "training", "loss": "validation"},
    "validation score": {"dice": "Dice", "mcc": "MCC"},
}


def write_curves(history: Sequence[dict[str, Any]], rates: Sequence[float], folder: Path) -> None:
    """Write ``epochs.csv`` and ``curves.png``: loss of training and validation, MCC and Dice per epoch, and the
    learning rate of each update so far.

    Empty history writes nothing. Raises OutputError.
    """
    if not history:
        return
    write_table(history, folder / "epochs.csv")
    epochs = [row["epoch"] for row in history]
    with figure(folder / "curves.png", 3) as axes:
        for axis, (label, lines) in zip(axes, _CURVES.items(), strict=False):
            for column, name in lines.items():
                values = [float("nan") if row[column] is None else row[column] for row in history]
                axis.plot(epochs, values, ".-", label=name)
            axis.set_ylabel(label)
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.grid(alpha=0.3)
            axis.legend(loc="best", fontsize=8)
        axes[2].semilogy([len(epochs) * (n + 1) / len(rates) for n in range(len(rates))], rates)
        axes[2].grid(alpha=0.3)
        axes[2].set_ylabel("learning rate")
        axes[2].set_xlabel("epoch")


@contextmanager
def figure(path: Path, count: int, columns: int = 1) -> Iterator[list[Any]]:
    """``count`` matplotlib axes below each other, or in rows of several ``columns``, which then share their scales; the
    picture is written at the end."""
    from matplotlib.figure import Figure

    rows, several = -(-count // columns), columns > 1
    size = (3.4 * columns, 1.8 * rows + 0.4) if several else (6, 1.6 * rows + 0.4)
    picture = Figure(figsize=size, layout="constrained")
    axes = list(picture.subplots(rows, columns, squeeze=False, sharex=several, sharey=several).flat)
    for unused in axes[count:]:
        unused.set_axis_off()
    yield axes[:count]
    with atomic_write(path) as temporary:
        picture.savefig(temporary, dpi=110)


def write_table(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Rows as CSV, columns in the order of the first row; None is an empty cell. No rows: no file."""
    if rows:
        write_text(path, csv_text(rows[0], rows))


# The weights file that a run leaves, with its card: what it is, what it was trained on, what it is worth.


_FEW_SUBJECTS = 20


def limits(config: TrainingConfig, sources: OpenedSources, row: dict[str, Any]) -> list[str]:
    """What a user must know, from what the run had and lacked."""
    found = []
    kinds = {source["kind"] for source in sources.provenance}
    if kinds == {"simulated"}:
        found.append("Trained on simulated slices only: check it on scans of your own before you rely on it.")
    if "real" in kinds and sources.patients < _FEW_SUBJECTS:
        found.append(f"Trained on real slices of {sources.patients} people: other scanners and patients may differ.")
    if not row["n_slices"]:
        found.append("Nothing was held out: no score here says how it does on new cases.")
    elif not config.validation.caches:
        found.append("Validated on subjects held out of the same data: other scanners were not measured.")
    if row["dice"] is not None and row["dice"] < LEAST_DICE:
        found.append(f"Its mean Dice per slice on validation is {row['dice']:.3f}, too low for measuring.")
    if config.normalisation.kind == "fixed_pixel":
        found.append(f"Made for pixels of {config.normalisation.pixel_mm} mm; images are resampled to that.")
    found.append("Masks have to be looked at before their measures are used. Not a medical device.")
    return found


_SCORES = ("epoch", "loss", "mcc", "dice", "area_percent", "area_logit", "n_slices")
_PER_EPOCH = ("train_loss", "loss", "dice", "mcc")


def write_model(
    path: Path, network: nn.Module, config: TrainingConfig, sources: OpenedSources, history: Sequence[dict[str, Any]]
) -> None:
    """Write ``path``: weights and card. ``history``: up to the epoch of these weights. The calibration gives the median
    slice held out its area, so the scores of that epoch are those before it.

    Raises ModelFileError, OutputError.
    """
    row = history[-1]
    scores: dict[str, Any] = {"validation": {key: row[key] for key in _SCORES}}
    scores["per_epoch"] = {
        name: [None if one[name] is None else round(one[name], 4) for one in history] for name in _PER_EPOCH
    }
    provenance = {
        "sources": sources.provenance,
        "split": [
            {"cache": part.cache, "subjects_training": len(part.training), "subjects_validation": len(part.validation)}
            for part in sources.split
        ],
        "intended_use": config.intended_use,
        "limits": limits(config, sources, row),
    }
    checkpoint = Checkpoint(
        name=config.name,
        version=config.version,
        network=config.network,
        normalisation=config.normalisation,
        weights={name: values.cpu().numpy() for name, values in network.state_dict().items()},
        training={**public_config(config), "updates": row["update"], "minutes": row["minutes"]},
        scores=scores,
        provenance=provenance,
        calibration=Calibration(bias=-(row.get("area_logit") or 0.0)),
        licence=config.licence,
        software_version=SOFTWARE_VERSION,
    )
    save_checkpoint(checkpoint, path)


def public_config(config: TrainingConfig) -> dict[str, Any]:
    """The configuration for a model file, which is handed on: folders by their last name only, not where they lie on
    this disk, and of the patients held out only how many they are."""
    plain = to_json(config)
    for source in plain["sources"]:
        source["path"] = Path(source["path"]).name
    plain["validation"]["caches"] = [Path(path).name for path in plain["validation"]["caches"]]
    plain["validation"]["subjects"] = len(config.validation.subjects)
    plain["from_model"] = None if config.from_model is None else Path(config.from_model).name
    return plain
