"""A small drawn case as files, 0.6 × 0.5 × 4 mm voxels in a turned grid (i to posterior, j to the right); a tiny model;
the configuration that a training command makes of its arguments."""

from pathlib import Path

import numpy as np
import torch

from SpinalCordSegLib.console import Reporter, parse_arguments
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.model.checkpoint import Checkpoint, NetworkConfig, save_checkpoint
from SpinalCordSegLib.model.networks import build_network
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib.cli import build_parser, configuration
from SpinalCordSegTrainerLib.config import TrainingConfig

SHAPE = (60, 48, 5)
GRID = np.array([[0, 0.5, 0, -10], [-0.6, 0, 0, 20], [0, 0, 4.0, 5], [0, 0, 0, 1]], dtype=float)
CORD_MM3 = 10 * 0.6 * 16 * 0.5 * 3 * 4.0  # 6 mm front to back, 8 mm across, 3 slices


def cord_image(seed: int = 0, grid: np.ndarray = GRID, shape: tuple[int, int, int] = SHAPE) -> Volume:
    """Noise; every seed another one."""
    return Volume.from_ijk(np.random.default_rng(seed).integers(100, 900, shape).astype(np.int16), grid)


def cord_label(value: int = 1, grid: np.ndarray = GRID, shape: tuple[int, int, int] = SHAPE) -> Volume:
    """A box of 48 mm² in slices 1, 2 and 3."""
    voxels = np.zeros(shape, np.uint8)
    voxels[20:30, 16:32, 1:4] = value
    return Volume.from_ijk(voxels, grid)


def put_case(folder: Path, name: str, seed: int = 0, label: Volume | None = None, image: Volume | None = None) -> None:
    """``name``.nii.gz and ``name``_seg.nii.gz."""
    write_volume(cord_image(seed) if image is None else image, folder / f"{name}.nii.gz")
    write_volume(cord_label() if label is None else label, folder / f"{name}_seg.nii.gz")


NETWORK = NetworkConfig("deep_unet", 1)
_SETTINGS = (
    "network.name=deep_unet network.width=1 normalisation.size=64 crop.size=32 batch_size=2 updates_per_epoch=1"
    " epochs=1 statistics_batches=1"
)
SHORT = [*(word for one in _SETTINGS.split() for word in ("--set", one)), "--device", "cpu"]
"""Options of the shortest training: one update of the smallest network."""
TUNED = [*(word for one in _SETTINGS.split()[3:] for word in ("--set", one)), "--device", "cpu"]
"""The same for a training that starts from a model, whose network and normalisation it takes."""


def tiny_model(path: Path, size: int = 256) -> Path:
    """Untrained weights of the smallest network, kept as ``path``."""
    torch.manual_seed(3)
    weights = dict(build_network(NETWORK).state_dict())
    save_checkpoint(Checkpoint(path.stem, "1", NETWORK, NormalisationConfig(size=size), weights), path)
    return path


def configured(data: Path | None, output: Path, *options: str) -> TrainingConfig:
    """Of ``train DATA --output OUTPUT OPTION…``."""
    words = ["train", *([] if data is None else [str(data)]), "--output", str(output), *options]
    return configuration(parse_arguments(build_parser(), words), Reporter("test"))
