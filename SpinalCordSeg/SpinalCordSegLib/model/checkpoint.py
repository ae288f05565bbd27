"""A trained model in one safetensors file: weights and, in its header, all that is needed to use and judge it.

Only ``checkpoint_network`` needs torch.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import struct
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.errors import ConfigurationError, ModelFileError
from SpinalCordSegLib.files import atomic_write, free_path, from_json, parse_json, user_folder
from SpinalCordSegLib.model.preprocessing import NormalisationConfig

if TYPE_CHECKING:
    from torch import nn

LEAST_DICE = 0.8
"""Mean Dice per slice under which a model is no good for measuring."""

_log = logging.getLogger(__name__)

# Where models are found: beside the package, and in a folder of the user's own. Only the standard library.


MODELS_VARIABLE = "SPINALCORDSEG_MODELS"


def package_models_folder() -> Path:
    """``Resources/Models`` beside the package in a checkout and in an installed Slicer, ``Models`` inside it where pip
    installed a wheel. It may not exist."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "Models"
    return inside if inside.is_dir() else package.parent / "Resources" / "Models"


def user_models_folder() -> Path:
    """The user's own models: $SPINALCORDSEG_MODELS, else the platform's data folder. It may not exist."""
    chosen = os.environ.get(MODELS_VARIABLE)
    return Path(chosen).expanduser() if chosen else user_folder() / "Models"


def find_models() -> list[Path]:
    """All weights files, the package's first, then the user's, each by name. May be empty."""
    folders = package_models_folder(), user_models_folder()
    return [path for folder in folders for path in sorted(folder.glob("*.safetensors")) if path.is_file()]


def default_model() -> Path:
    """The first model of ``find_models``. Raises ModelFileError when there is none."""
    found = find_models()
    if not found:
        raise ModelFileError(
            f"no model was found in {package_models_folder()} or {user_models_folder()}: name a weights file"
            f" (--model FILE), put one there, or set {MODELS_VARIABLE} to a folder that has one"
        )
    return found[0]


def find_model(named: str | Path | None = None) -> Path:
    """The weights file that a user names: a file (which is not looked at), the folder of a training run (its best), or
    a listed model by its name or its file's; None: the default one. Raises ModelFileError when no model has the name,
    or there is no default."""
    if named is None:
        return default_model()
    path, wanted = Path(named), str(named).casefold()
    if (best := path / "best.safetensors").is_file():
        return best
    if path.is_file() or (path.suffix and not path.is_dir()):
        return path
    names = []
    for found in find_models():
        try:
            name = load_card(found).name
        except ModelFileError as error:
            _log.debug("not listed: %s", error)
            continue
        if wanted in (name.casefold(), found.stem.casefold()):
            return found
        names.append(name)
    raise ModelFileError(f"{named}: no such weights file, and no model of this name; listed: {', '.join(names)}")


def publish_model(path: Path, stem: str = "") -> Path:
    """Copy a weights file to the user's own models, as ``stem`` (default: its card's name); gives the new file. No file
    that is there is replaced. Raises ModelFileError for what is no model, OutputError when it cannot be written."""
    stem = stem or re.sub(r"[^\w.-]+", "-", load_card(path).name).strip("-.") or "model"
    target = free_path(user_models_folder() / f"{stem}.safetensors")
    with atomic_write(target) as temporary:
        shutil.copyfile(path, temporary)
    return target


# A weights file is a safetensors file: 8 bytes (length of the header, little-endian), a JSON header (tensor table and
# metadata), and the tensor bytes. Ours carries two metadata entries: ``card`` (JSON) and ``digest``, the SHA-256 over
# card, tensor table and tensor bytes. Nothing in such a file can run code.


FORMAT = "SpinalCordSeg model"
FORMAT_VERSION = 1
NETWORKS = {"ra_unet": "RA-U-Net", "unet": "U-Net", "deep_unet": "Deep U-Net"}
"""Name and title of every network; its class is in networks.py, which needs torch."""
REPEATABILITY = "repeatability"
"""The field of the scores with the measured repeatability; what it holds: longitudinal/change.py."""

_MAX_HEADER = 16 << 20
_TEXTS = ("name", "version", "licence", "software_version")
_TABLES = ("network", "normalisation", "calibration", "training", "scores", "provenance")
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8")}  # what our networks hold


@dataclass(frozen=True)
class NetworkConfig:
    """Which network, and how wide: 8 is the published size, channels grow in proportion.

    Raises ConfigurationError for an unknown name or a width that is not a positive whole number.
    """

    name: str = "ra_unet"
    width: int = 8

    def __post_init__(self) -> None:
        if self.name not in NETWORKS:
            raise ConfigurationError(f"unknown network {self.name!r}: choose one of {', '.join(NETWORKS)}")
        if not isinstance(self.width, int) or isinstance(self.width, bool) or not 1 <= self.width <= 64:
            raise ConfigurationError(f"the network width is {self.width!r}, expected a whole number from 1 to 64")

    @property
    def title(self) -> str:
        return NETWORKS[self.name]


@dataclass(frozen=True)
class Calibration:
    """Applied to the network's logits before the sigmoid: scale·logit + bias. The default changes nothing.
    ``bright_fluid_threshold``: the probability at which raters draw the outline on T2w and T2*w images, whose fluid is
    brighter than the cord; on others it is 0.5.

    Raises ConfigurationError unless scale is finite and positive, bias is finite and the threshold between 0 and 1.
    """

    scale: float = 1.0
    bias: float = 0.0
    bright_fluid_threshold: float = 0.5

    def __post_init__(self) -> None:
        if not (
            isfinite(self.scale) and self.scale > 0 and isfinite(self.bias) and 0 < self.bright_fluid_threshold < 1
        ):
            raise ConfigurationError(
                f"calibration scale {self.scale}, bias {self.bias}, bright-fluid threshold"
                f" {self.bright_fluid_threshold}: expected a positive and a finite number, and one between 0 and 1"
            )


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model: what it is, what it was trained on and measured on (its card), and its weights.

    ``weights``: the network's state_dict in numpy; tensors on the CPU may be given; empty where only the card was read.

    ``training``, ``scores``, ``provenance``: anything JSON can hold. ``sha256``: which model it is (see
    ``weights_sha256``), whatever its card says; ``file_sha256`` and ``path``: of the file it came from. None before it
    was written; ``load_card`` knows no hash.
    """

    name: str
    version: str
    network: NetworkConfig
    normalisation: NormalisationConfig
    weights: dict[str, NDArray] = field(default_factory=dict)
    calibration: Calibration = field(default_factory=Calibration)
    training: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    software_version: str = ""
    sha256: str | None = None
    file_sha256: str | None = None
    path: Path | None = None

    def __post_init__(self) -> None:
        arrays = {name: np.asarray(values, order="C") for name, values in self.weights.items()}
        object.__setattr__(self, "weights", arrays)

    @property
    def is_too_poor(self) -> bool:
        """Whether its training measured a mean Dice per slice under LEAST_DICE on the slices held out."""
        validation = self.scores.get("validation")
        dice = validation.get("dice") if isinstance(validation, dict) else None
        return isinstance(dice, (int, float)) and dice < LEAST_DICE

    def card(self) -> dict[str, Any]:
        """What its file says of it."""
        return {name: getattr(self, name) for name in (*_TEXTS, *_TABLES)}


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> Checkpoint:
    """Write the file whole or not at all; gives the checkpoint with its hashes and ``path``.

    Raises ModelFileError when the weights are not those of the network or not finite, OutputError when the file
    cannot be written.
    """
    weights = checkpoint.weights
    _check_finite(path, weights)
    checkpoint_network(replace(checkpoint, path=path))  # or it is refused
    table, parts, end = {}, [], 0
    for name, values in sorted(weights.items(), key=lambda item: (-item[1].itemsize, item[0])):  # all are aligned
        kind = next(kind for kind, dtype in _DTYPES.items() if values.dtype == dtype)
        table[name] = {"dtype": kind, "shape": list(values.shape), "data_offsets": [end, end + values.nbytes]}
        parts.append(values.tobytes())
        end += values.nbytes
    entries = {**checkpoint.card(), "format": FORMAT, "format_version": FORMAT_VERSION}
    content = signed_file(json.dumps(entries, sort_keys=True, default=asdict), table, b"".join(parts))
    with atomic_write(path) as beside:
        beside.write_bytes(content)
    return _with_hashes(replace(checkpoint, path=path), content)


def _with_hashes(checkpoint: Checkpoint, content: bytes) -> Checkpoint:
    return replace(checkpoint, sha256=weights_sha256(checkpoint), file_sha256=hashlib.sha256(content).hexdigest())


def weights_sha256(checkpoint: Checkpoint) -> str:
    """Over all that a model's answers follow from: network, normalisation, calibration and weights. A card that is
    written anew leaves it as it is."""
    rules = [asdict(one) for one in (checkpoint.network, checkpoint.normalisation, checkpoint.calibration)]
    digest = hashlib.sha256(json.dumps(rules, sort_keys=True).encode())
    for name, values in sorted(checkpoint.weights.items()):
        digest.update(f"{name} {values.dtype.str} {values.shape}".encode() + values.tobytes())
    return digest.hexdigest()


def signed_file(card_json: str, table: dict[str, Any], data: bytes) -> bytes:
    """A whole weights file. Written here, because safetensors writes metadata entries in random order."""
    metadata = {"card": card_json, "digest": _digest(card_json, table, data)}
    header = json.dumps({"__metadata__": metadata, **table}).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data


def _digest(card_json: str, table: dict[str, Any], data: bytes | memoryview) -> str:
    digest = hashlib.sha256(card_json.encode() + json.dumps(table, sort_keys=True).encode())
    digest.update(data)
    return digest.hexdigest()


def load_card(path: Path) -> Checkpoint:
    """The model without its weights: only the header is read. Quick, but blind to altered or missing tensor bytes.

    Raises ModelFileError when this is not a weights file of SpinalCordSeg, one of a newer format, or one whose network
    is not known here.
    """
    with suppress(OSError):  # else reading it says what is wrong
        state = path.stat()
        return _known_card(path, state.st_mtime_ns, state.st_size)
    return _card(path, _read_header(path)[1])


@lru_cache(maxsize=16)  # a panel asks at every stroke
def _known_card(path: Path, _mtime_ns: int, _size: int) -> Checkpoint:
    return _card(path, _read_header(path)[1])


def load_checkpoint(path: Path) -> Checkpoint:
    """Read, verify and check a weights file.

    Raises ModelFileError with the reason for a missing or truncated file, a pickle, an altered byte, another
    architecture, a newer format, a missing entry, or weights that are not finite.
    """
    path = Path(path)
    table, metadata, data_offset = _read_header(path)
    checkpoint = _card(path, metadata)
    content = path.read_bytes()
    data = memoryview(content)[data_offset:]
    if _digest(metadata["card"], table, data) != metadata["digest"]:
        raise ModelFileError(f"{path}: truncated, damaged or altered (its SHA-256 digest differs): get the file again")
    weights: dict[str, NDArray] = {}
    try:
        for name, entry in table.items():
            values = np.frombuffer(data[slice(*entry["data_offsets"])], _DTYPES[entry["dtype"]])
            weights[name] = values.reshape(entry["shape"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: its table of weights is damaged: get the file again") from error
    _check_finite(path, weights)
    loaded = _with_hashes(replace(checkpoint, weights=weights), content)
    _log.info("model %s %s, SHA-256 %s", loaded.name, loaded.version, loaded.sha256)
    return loaded


def _read_header(path: Path) -> tuple[dict[str, Any], dict[str, str], int]:
    """Tensor table, metadata with card and digest, and where the tensor bytes begin."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
            # A pickle could run code when it is opened. 0x80 may also be the length's first byte.
            if start[4:] != b"\0\0\0\0{" and (start[:4] == b"PK\x03\x04" or start[:1] == b"\x80"):
                raise ModelFileError(
                    f"{path}: this is a pickle (a torch.save file), which can run programs when it is opened: it is"
                    " refused; use a .safetensors file written by SpinalCordSeg"
                )
            length = int.from_bytes(start[:8], "little")
            text = start[8:] + file.read(min(max(length, 1), _MAX_HEADER) - 1)
    except (FileNotFoundError, ValueError) as error:  # ValueError: a zero byte, which no path holds
        raise ModelFileError(f"{path}: there is no such weights file") from error
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        table = parse_json(text)
        metadata = table.pop("__metadata__", {})
        texts = {name: str(metadata[name]) for name in ("card", "digest")}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"{path}: not a weights file that SpinalCordSeg wrote, or it is truncated or damaged: get the file again"
        ) from error
    return table, texts, 8 + length


def _card(path: Path, metadata: dict[str, str]) -> Checkpoint:
    try:
        card = parse_json(metadata["card"])
    except ValueError as error:
        raise ModelFileError(f"{path}: the model card is not readable JSON: the file is damaged") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise ModelFileError(f"{path}: the model card is not one of SpinalCordSeg")
    for kind, names in ((int, ("format_version",)), (str, _TEXTS), (dict, _TABLES)):
        for name in names:
            if not isinstance(card.get(name), kind):
                raise ModelFileError(f"{path}: the model card has no valid entry {name!r}: use a complete weights file")
    if card["format_version"] > FORMAT_VERSION:
        raise ModelFileError(
            f"{path}: format version {card['format_version']} is newer than {FORMAT_VERSION}, which this program reads:"
            " update SpinalCordSeg"
        )
    try:
        configurations = {name: _configuration(kind, card[name]) for name, kind in _CONFIGURATIONS.items()}
    except (ValueError, ConfigurationError) as error:
        raise ModelFileError(
            f"{path}: its configuration is not known here ({error}): update SpinalCordSeg or use another model"
        ) from error
    return Checkpoint(path=path, **{name: card[name] for name in (*_TEXTS, *_TABLES)} | configurations)


_CONFIGURATIONS = {"network": NetworkConfig, "normalisation": NormalisationConfig, "calibration": Calibration}


def _configuration(kind: type, entries: dict[str, Any]) -> Any:
    if unknown := entries.keys() - {one.name for one in fields(kind)}:
        raise ConfigurationError(f"unknown entry {', '.join(sorted(unknown))}")
    return from_json(kind, entries)


def checkpoint_network(checkpoint: Checkpoint) -> nn.Module:
    """The network with its weights in torch, in evaluation mode, on the CPU.

    Raises ModelFileError when the weights are not those of the network.
    """
    import torch

    from SpinalCordSegLib.model.networks import build_network

    with torch.device("meta"):  # no numbers are drawn that the weights would replace
        network = build_network(checkpoint.network)
    weights = {name: torch.from_numpy(values.copy()) for name, values in checkpoint.weights.items()}
    try:
        network.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise wrong_weights(checkpoint, error) from error
    return network.eval()


def wrong_weights(checkpoint: Checkpoint, error: Exception) -> ModelFileError:
    """``error``: what an engine reported that cannot put the weights into their network."""
    text = " ".join(str(error).split()).rpartition(" : ")[2]  # without ONNX Runtime's name and number of the error
    config, details = checkpoint.network, text[:300]
    return ModelFileError(
        f"{checkpoint.path}: the weights are not those of {config.name} of width {config.width} ({details}):"
        " use weights trained with this network"
    )


def _check_finite(path: Path, weights: dict[str, NDArray]) -> None:
    for name, values in weights.items():
        if not np.isfinite(values).all():
            raise ModelFileError(f"{path}: {name} holds NaN or infinite values: the training failed, use another model")
