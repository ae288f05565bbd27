"""All settings of a training run, as frozen dataclasses that round-trip through JSON.

The defaults are the recipe of Bueno et al. 2022 (J Digit Imaging 35:1131-1142): batches of 15 whole slices of
256², 30 epochs, focal Tversky loss with false-negative weight 0.6, false-positive weight 0.4 and γ 1.33, Adam,
a triangular cyclical rate between 1e-5 and 1e-3, early stopping with patience 10, no augmentation.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.files import from_json, parse_json, to_json
from SpinalCordSegLib.model.checkpoint import NetworkConfig
from SpinalCordSegLib.model.preprocessing import NormalisationConfig

T = TypeVar("T")


def from_dict(kind: type[T], data: Any, where: str = "configuration") -> T:
    """Inverse of to_json; fields left out keep their defaults.

    Raises ConfigurationError naming the field for an unknown name, a wrong type or a value out of range.
    """
    try:
        config = from_json(kind, data)
    except (ValueError, ConfigurationError) as error:
        raise ConfigurationError(f"{where}: {error}") from error
    _refuse_unknown(data, to_json(config), where)
    return config


def _refuse_unknown(data: Any, known: Any, where: str) -> None:
    if isinstance(data, dict):
        for name, value in data.items():
            if name not in known:
                meant = get_close_matches(name, known, 1)
                hint = f"did you mean {meant[0]}?" if meant else f"known are {', '.join(known)}"
                raise ConfigurationError(f"{where}: unknown setting {name!r}; {hint} (see --list-settings)")
            _refuse_unknown(value, known[name], f"{where}.{name}")
    elif isinstance(data, list):
        for one, item in zip(data, known, strict=True):
            _refuse_unknown(one, item, where)


_RULES: dict[str, Callable[[float], bool]] = {
    "positive": lambda value: value > 0,
    "0 or more": lambda value: value >= 0,
    "1 or more": lambda value: value >= 1,
    "0 to 1": lambda value: 0 <= value <= 1,
    "0 or more, and below 1": lambda value: 0 <= value < 1,
}


def _check(config: Any, rule: str, *names: str) -> None:
    """Raises ConfigurationError for a number of ``config`` that breaks the rule; None is no number."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not _RULES[rule](value):
            raise ConfigurationError(f"{name} is {value}: it must be {rule}")


INTENDED_USE = (
    "Research: segmentation and measurement of the cervical spinal cord in axial slices of MR images like those it was"
    " trained on. Not for diagnosis or treatment."
)
Policy = Literal["none", "standard", "contrast"]


@dataclass(frozen=True)
class SourceConfig:
    """One slice cache to train from. ``weight`` is relative: the share of each batch that comes from here."""

    path: str
    weight: float = 1.0
    policy: Policy = "none"

    def __post_init__(self) -> None:
        _check(self, "positive", "weight")


@dataclass(frozen=True)
class ValidationConfig:
    """What is scored after each epoch: whole slices, never augmented.

    ``caches``: slice caches held out for it; where none is given, those named in ``subjects``, or else ``fraction``
    of the subjects of all sources (of the real and of the simulated ones apart), are taken out of training.
    ``max_slices``: at most so many, evenly spread; None takes all.
    """

    caches: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    fraction: float = 0.2
    max_slices: int | None = None
    batch_size: int = 8

    def __post_init__(self) -> None:
        _check(self, "0 or more, and below 1", "fraction")
        _check(self, "positive", "max_slices", "batch_size")


@dataclass(frozen=True)
class CropConfig:
    """``size`` pixels square are cut at random from each slice; None trains on whole slices.

    With probability ``near_cord`` the crop's centre lies within ``jitter_px`` of the cord's centre (each axis,
    uniform), else anywhere. A slice without cord is cropped anywhere.
    """

    size: int | None = None
    near_cord: float = 0.8
    jitter_px: int = 40

    def __post_init__(self) -> None:
        _check(self, "0 to 1", "near_cord")
        _check(self, "0 or more", "jitter_px")
        if self.size is not None and (self.size < 32 or self.size % 32):
            raise ConfigurationError(f"crop.size is {self.size}: it must be a multiple of 32")


@dataclass(frozen=True)
class AugmentConfig:
    """How much a policy may change a slice. Amounts are drawn anew per slice; 0 switches a change off, but
    ``resolution_factor`` and ``elastic_cells`` are at least 1: 0 in ``resolution_probability`` and ``elastic_px`` does.

    Lengths are in pixels of the network's grid, intensities in shares of the full range 0..1.
    """

    flip_probability: float = 0.5
    rotation_deg: float = 15.0
    scale: float = 0.2  # log-uniform within ± this share
    anisotropy: float = 0.08
    shift_px: float = 8.0
    elastic_px: float = 2.0  # SD at the control points is drawn from 0 to this
    elastic_cells: int = 6
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    remap_probability: float = 0.0
    monotone_share: float = 0.4  # of the remapped slices; the others get curves that may rise and fall
    inverted_share: float = 0.3
    bright_cord_share: float = 0.6  # of the remapped slices: cord brighter than its surroundings, as in T1w
    least_contrast: float = 0.08  # between cord and surroundings after remapping
    blend_probability: float = 0.3  # of the remapped slices: two curves blended by a smooth random field
    gamma_sd: float = 0.2
    gain_sd: float = 0.15
    offset: float = 0.05
    bias_sd: float = 0.25
    falloff: float = 0.6  # largest log change from one edge to the other
    noise: float = 0.06
    resolution_probability: float = 0.15
    resolution_factor: float = 2.0  # largest loss along an axis
    motion_probability: float = 0.1
    motion_px: float = 1.5  # largest movement between the lines of one slice
    ghosting: float = 0.15  # largest share by which pulsation changes the weight of lines
    blur_px: float = 1.0
    field_of_view_probability: float = 0.1

    def __post_init__(self) -> None:
        for name in vars(self):
            if name in ("elastic_cells", "resolution_factor"):
                _check(self, "1 or more", name)
            elif name != "interpolation":
                _check(self, "0 to 1" if name.endswith(("_probability", "_share")) else "0 or more", name)


@dataclass(frozen=True)
class LossConfig:
    """``fn_weight`` weighs missed cord, ``fp_weight`` false cord; ``gamma`` is used by the focal loss only.

    ``bce_weight`` adds that much binary cross-entropy against the coverage 0..1 (partial volume); the overlap sees
    coverage ≥ 0.5 as cord unless ``soft_overlap``.
    """

    name: Literal["focal_tversky", "tversky"] = "focal_tversky"
    fn_weight: float = 0.6
    fp_weight: float = 0.4
    gamma: float = 1.33
    bce_weight: float = 0.0
    soft_overlap: bool = False

    def __post_init__(self) -> None:
        _check(self, "0 or more", "fn_weight", "fp_weight", "bce_weight")
        _check(self, "positive", "gamma")


@dataclass(frozen=True)
class RateConfig:
    """``clr``: triangular between base_lr and max_lr (Smith 2017); ``fixed``: max_lr; ``cosine``: max_lr falling
    to base_lr over the whole run. ``warmup_updates``: linear rise from 0 at the start of "fixed" and "cosine"."""

    plan: Literal["clr", "fixed", "cosine"] = "clr"
    base_lr: float = 1e-5
    max_lr: float = 1e-3
    half_cycle_epochs: float = 7.5
    warmup_updates: int = 0

    def __post_init__(self) -> None:
        _check(self, "0 or more", "warmup_updates")
        _check(self, "positive", "half_cycle_epochs")
        if not 0 < self.base_lr <= self.max_lr:
            raise ConfigurationError(f"rates {self.base_lr} and {self.max_lr}: 0 < base_lr ≤ max_lr is needed")


@dataclass(frozen=True)
class TrainingConfig:
    """One training run.

    ``updates_per_epoch``: None means as many batches as the slices of all sources fill. ``patience``: epochs without a
    better ``best_by`` before stopping, never before one full rate cycle; None never stops early. ``best_by``: by
    loss_and_area an error of 10 % in the summed area counts as 10 % of the loss.
    ``ema_decay``: validates and saves an exponential moving average of the weights; 0 is off.
    ``statistics_batches``: training batches from which BN statistics are re-estimated before each validation.
    ``freeze_statistics``: BatchNorm keeps the statistics of the starting model.
    ``from_model``: a weights file to start from (fine-tuning) in place of random weights.
    ``precision``: "mixed" computes convolutions in 16 bits, on CUDA or a CPU with units for it, the loss always in 32.
    ``deterministic``: only kernels that give the same bits every time, on CUDA slower.
    ``even_patients``: slices of each patient come equally often, however thin his slices are.
    """

    name: str = "unnamed"
    version: str = "1"
    licence: str = "unspecified"
    intended_use: str = INTENDED_USE
    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(name="ra_unet"))
    normalisation: NormalisationConfig = field(default_factory=lambda: NormalisationConfig(kind="paper"))
    sources: tuple[SourceConfig, ...] = ()
    validation: ValidationConfig = ValidationConfig()
    crop: CropConfig = CropConfig()
    standard: AugmentConfig = AugmentConfig()
    contrast: AugmentConfig = AugmentConfig(remap_probability=0.85)
    loss: LossConfig = LossConfig()
    rate: RateConfig = RateConfig()
    batch_size: int = 15
    epochs: int = 30
    updates_per_epoch: int | None = None
    patience: int | None = 10
    best_by: Literal["loss", "loss_and_area", "dice", "mcc"] = "loss_and_area"
    ema_decay: float = 0.0
    statistics_batches: int = 20
    freeze_statistics: bool = False
    seed: int = 0
    from_model: str | None = None
    precision: Literal["float32", "mixed"] = "float32"
    deterministic: bool = False
    even_patients: bool = False

    def __post_init__(self) -> None:
        _check(self, "positive", "batch_size", "epochs", "statistics_batches", "updates_per_epoch")
        _check(self, "0 or more", "patience")
        _check(self, "0 or more, and below 1", "ema_decay")
        check_seed(self.seed)


def check_seed(seed: int) -> None:
    """Raises ConfigurationError for what numpy (negative) or torch (over 63 bits) takes for no seed."""
    if not 0 <= seed < 1 << 63:
        raise ConfigurationError(f"seed is {seed}: it must be 0 or more, and below 2^63")


SMALL = TrainingConfig(
    network=NetworkConfig(name="ra_unet", width=4),
    normalisation=NormalisationConfig(kind="fixed_pixel", pixel_mm=0.7, intensity="percentile"),
    crop=CropConfig(size=96, near_cord=0.7, jitter_px=28),
    standard=AugmentConfig(
        rotation_deg=10.0, scale=0.1, anisotropy=0.05, shift_px=6.0, elastic_px=1.0, interpolation="bicubic",
        gamma_sd=0.15, gain_sd=0.1, offset=0.02, bias_sd=0.15, falloff=0.3, noise=0.02, blur_px=0.5,
        resolution_probability=0.1, resolution_factor=1.5, motion_probability=0.0,
    ),
    loss=LossConfig(fn_weight=0.5, fp_weight=0.5, bce_weight=30.0, soft_overlap=True),
    rate=RateConfig("cosine", base_lr=1e-5, max_lr=3e-3, warmup_updates=50),
    batch_size=8,
    epochs=10,
    updates_per_epoch=100,
    patience=None,
    best_by="loss",
    even_patients=True,
)  # fmt: skip
"""The recipe "small": 8 to 60 cases of any field of view and slice thickness, in minutes on a processor."""


def read_config(path: Path) -> TrainingConfig:
    """Read a TrainingConfig from a JSON file."""
    try:
        data = parse_json(Path(path).read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ConfigurationError(f"{path}: is not JSON ({error})") from error
    return from_dict(TrainingConfig, data, str(path))


def settings_text() -> str:
    """Every setting with its default, by groups, and what it means."""
    config, parts = TrainingConfig(), []
    groups = {f"{name}.": one for name, one in vars(config).items() if dataclasses.is_dataclass(one)}
    for prefix, group in {"": config, **groups}.items():
        plain = {name: one for name, one in to_json(group).items() if not isinstance(one, dict)}
        lines = [f"  {prefix}{name}={json.dumps(value)}" for name, value in plain.items()]
        about = (inspect.getdoc(group) or "").replace("``", "").partition("Raises ")[0].strip()
        parts.append("\n".join([f"[{prefix.removesuffix('.') or 'training'}]", about, *lines]))
    return "\n\n".join(parts)


def with_settings(config: T, settings: Sequence[str]) -> T:
    """The configuration (a dataclass) with "NAME=VALUE" put in, NAME as "rate.max_lr", VALUE as JSON (or plain text).

    Raises ConfigurationError for an unknown name or a wrong value.
    """
    plain = to_json(config)
    for setting in settings:
        name, equals, text = setting.partition("=")
        *parents, last = name.strip().split(".")
        place = plain
        for parent in parents:
            place = place.setdefault(parent, {}) if isinstance(place, dict) else None
        if not equals or not isinstance(place, dict):
            raise ConfigurationError(f"--set {setting}: expected NAME=VALUE, as rate.max_lr=0.001")
        try:
            place[last] = parse_json(text)
        except ValueError:
            place[last] = text
    return from_dict(type(config), plain, "--set")
