"""A trained model in one safetensors file: weights and, in its header, all that is needed to use and judge it.

torch is imported inside the functions that need weights, so that cards and model folders can be listed without it.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SpinalCordSegLib.errors import ConfigurationError, ModelFileError
from SpinalCordSegLib.network.card import (
    FORMAT,
    FORMAT_VERSION,
    ModelCard,
    content_hash,
    join_header,
    load_card,
    split_header,
    verified_card,
)
from SpinalCordSegLib.network.models import default_model, find_models, user_models_folder
from SpinalCordSegLib.writing import atomic_write

if TYPE_CHECKING:
    from torch import Tensor, nn

    from SpinalCordSegLib.network.networks import NetworkConfig
    from SpinalCordSegLib.network.normalise import NormalisationConfig

__all__ = [
    "Calibration",
    "Checkpoint",
    "ModelCard",
    "checkpoint_network",
    "default_model",
    "find_models",
    "load_card",
    "load_checkpoint",
    "save_checkpoint",
    "user_models_folder",
    "verified_card",
]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calibration:
    """Applied to the network's logits before the sigmoid: scale·logit + bias. The default changes nothing.

    Raises ConfigurationError unless scale is finite and positive and bias is finite.
    """

    scale: float = 1.0
    bias: float = 0.0

    def __post_init__(self) -> None:
        if not (isfinite(self.scale) and self.scale > 0 and isfinite(self.bias)):
            raise ConfigurationError(
                f"calibration scale {self.scale}, bias {self.bias}: expected a positive and a finite number"
            )


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model: what it is, what it was trained on and measured on, and its weights (the network's state_dict).

    ``training``, ``scores``, ``provenance``: anything JSON can hold. ``sha256`` and ``path``: of the file it came
    from, None before it was written.
    """

    name: str
    version: str
    network: NetworkConfig
    normalisation: NormalisationConfig
    weights: dict[str, Tensor]
    calibration: Calibration = field(default_factory=Calibration)
    training: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    software_version: str = ""
    sha256: str | None = None
    path: Path | None = None


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> Checkpoint:
    """Write the file whole or not at all; gives the checkpoint with its ``sha256`` and ``path``.

    Raises ModelFileError when the weights are not those of the network or not finite, OutputError when the file
    cannot be written.
    """
    from safetensors.torch import save

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.weights.items()}
    _check_weights(str(path), weights, checkpoint.network)
    card = json.dumps(_card_fields(checkpoint), sort_keys=True)
    table, data = split_header(save(weights))
    digest = content_hash(card, table)
    digest.update(data)
    content = join_header(card, digest.hexdigest(), table, data)
    with atomic_write(path) as beside:
        beside.write_bytes(content)
    return replace(checkpoint, weights=weights, sha256=hashlib.sha256(content).hexdigest(), path=path)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read, verify and check a weights file, on the CPU.

    Raises ModelFileError with the reason for a missing or truncated file, a pickle, an altered byte, another
    architecture, a newer format, a missing entry, or weights that are not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from SpinalCordSegLib.network.networks import NetworkConfig
    from SpinalCordSegLib.network.normalise import NormalisationConfig

    path = Path(path)
    card = verified_card(path)
    try:
        network = NetworkConfig(**card.network)
        normalisation = NormalisationConfig(**card.normalisation)
        calibration = Calibration(**card.calibration)
    except (TypeError, ConfigurationError) as error:
        raise ModelFileError(
            f"{path}: its configuration is not known here ({error}): update SpinalCordSeg or use another model"
        ) from error
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise ModelFileError(f"{path}: not a valid safetensors file ({error}): get it again") from error
    _check_weights(str(path), weights, network)
    _log.info("model %s %s, SHA-256 %s", card.name, card.version, card.sha256)
    return Checkpoint(
        name=card.name,
        version=card.version,
        network=network,
        normalisation=normalisation,
        weights=weights,
        calibration=calibration,
        training=card.training,
        scores=card.scores,
        provenance=card.provenance,
        licence=card.licence,
        software_version=card.software_version,
        sha256=card.sha256,
        path=path,
    )


def checkpoint_network(checkpoint: Checkpoint) -> nn.Module:
    """The network with its weights, in evaluation mode, on the CPU."""
    network = copy.deepcopy(_blank_network(checkpoint.network))
    network.load_state_dict({name: values.clone() for name, values in checkpoint.weights.items()}, assign=True)
    return network.eval()


@lru_cache(maxsize=4)
def _blank_network(config: NetworkConfig) -> nn.Module:
    """Without numbers: none are drawn that the weights would replace. To be copied, not to be used."""
    import torch

    from SpinalCordSegLib.network.networks import build_network

    with torch.device("meta"):
        return build_network(config)


def _card_fields(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": checkpoint.name,
        "version": checkpoint.version,
        "network": asdict(checkpoint.network),
        "normalisation": asdict(checkpoint.normalisation),
        "calibration": asdict(checkpoint.calibration),
        "training": checkpoint.training,
        "scores": checkpoint.scores,
        "provenance": checkpoint.provenance,
        "licence": checkpoint.licence,
        "software_version": checkpoint.software_version,
    }


def _check_weights(path: str, weights: dict[str, Tensor], config: NetworkConfig) -> None:
    """Raise ModelFileError unless names and shapes are those of the network, and all values are finite."""
    import torch

    expected = {name: tuple(tensor.shape) for name, tensor in _blank_network(config).state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if found != expected:
        different = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise ModelFileError(
            f"{path}: the weights are not those of {config.name} of width {config.width}: {len(different)} tensors"
            f" differ, the first is {different[0]} (found {found.get(different[0])}, expected"
            f" {expected.get(different[0])}): use weights trained with this network"
        )
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise ModelFileError(f"{path}: {name} holds NaN or infinite values: the training failed, use another model")
