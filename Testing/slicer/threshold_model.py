"""A model whose answer is known: it finds what is brighter than half of its slice's range. Not trained, set by hand."""

from pathlib import Path

import numpy as np

from SpinalCordSegLib.volume import Volume

SHAPE = (64, 60, 24)  # right, anterior, superior
SPACING_MM = (0.8, 0.9, 3.0)


def write_threshold_model(path: Path, size: int = 64, *, as_shipped: bool = False) -> Path:
    """An RA-U-Net of width 1 in which only the plain skip is open: logit = 40 · (grey value - 0.5). ``as_shipped``:
    slices are normalised as for the shipped model, so that this one can learn from corrections."""
    import torch

    from SpinalCordSegLib.model.checkpoint import Checkpoint, NetworkConfig, default_model, load_card, save_checkpoint
    from SpinalCordSegLib.model.networks import build_network
    from SpinalCordSegLib.model.preprocessing import NormalisationConfig

    config, paper = NetworkConfig("ra_unet", width=1), NormalisationConfig(kind="paper", size=size)
    network = build_network(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        stem, stem_norm = network.stem[0], network.stem[1]
        first, tail_norm, last = network.tail[0], network.tail[1], network.tail[3]
        stem.weight[0, 0, 1, 1] = 1
        first.weight[0, first.in_channels - stem.out_channels, 1, 1] = 1
        stem_norm.weight[0] = tail_norm.weight[0] = 1
        last.weight[0, 0, 1, 1], last.bias[0] = 40, -20
    checkpoint = Checkpoint(
        name="threshold",
        version="1.0",
        network=config,
        normalisation=load_card(default_model()).normalisation if as_shipped else paper,
        weights=network.state_dict(),
        licence="Apache-2.0",
        scores={"dice": "none: set by hand"},
        provenance={"data": "none: set by hand"},
    )
    save_checkpoint(checkpoint, path)
    return path


def neck_image(orientation_grid: np.ndarray, storage: tuple[int, int, int] = (0, 1, 2)) -> Volume:
    """A bright slightly slanted cord of 9×7 voxels through every slice of a dim, textured neck.

    ``orientation_grid``: ijk→RAS of an array whose axes are right, anterior, superior; ``storage``: in which order its
    axes are stored.
    """
    i, j, k = np.indices(SHAPE)
    voxels = 40 + (7 * i + 13 * j + 5 * k) % 61
    cord = (np.abs(i - 30 - k // 12) <= 4) & (np.abs(j - 28) <= 3)
    voxels[cord] = 900
    permuted = np.ascontiguousarray(voxels.astype(np.int16).transpose(storage))
    matrix = orientation_grid.copy()
    matrix[:, :3] = orientation_grid[:, list(storage)]
    return Volume.from_ijk(permuted, matrix)
