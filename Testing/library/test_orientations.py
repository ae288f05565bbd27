"""All 48 ways to store one oblique volume give the same physical mask: isotropic and 0.5×0.5×5 mm."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.optim.swa_utils import update_bn

from SpinalCordSegLib import inference
from SpinalCordSegLib.inference import predict
from SpinalCordSegLib.model.checkpoint import Checkpoint
from SpinalCordSegLib.model.networks import NetworkConfig, build_network
from SpinalCordSegLib.model.preprocessing import NormalisationConfig, normalise
from SpinalCordSegLib.postprocessing import find_cord
from SpinalCordSegLib.volume import Volume

GRIDS = {"isotropic": ((44, 40, 5), (1.0, 1.0, 1.0)), "thick": ((88, 76, 4), (0.5, 0.5, 5.0))}

NORMALISATION = NormalisationConfig("fixed_pixel", pixel_mm=0.8, intensity="percentile", min_size=64)


class BrightAndRandom:
    """Finds what is bright, with an edge that a random network frays: it knows left from right and front from back."""

    name, takes_windows = "bright and random", False

    def __init__(self, volume: Volume) -> None:
        torch.manual_seed(3)
        self.network = build_network(NetworkConfig("deep_unet", 1))
        inputs, _ = normalise(torch.from_numpy(volume.voxels.copy()), volume.pixel_mm, NORMALISATION)
        update_bn([inputs], self.network)
        with torch.no_grad():
            output = self.network.eval()(inputs)
        self.mean, self.deviation = output.mean(), output.std()

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(inputs)
        with torch.no_grad():
            return (12 * (x - 0.6) + 2 * torch.tanh((self.network(x) - self.mean) / self.deviation)).numpy()


def oblique(degrees: float) -> np.ndarray:
    """Turned about x, then about z."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def neck(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], degrees: float) -> Volume:
    """A bright cord that leans, another body on one side, texture; no symmetry of any kind."""
    rng = np.random.default_rng(4)
    x, y, z = (
        (np.arange(n) + 0.5 - n / 2).reshape([-1 if axis == a else 1 for a in range(3)]) * mm
        for axis, (n, mm) in enumerate(zip(shape, spacing_mm, strict=True))
    )
    cord = ((x - 0.2 * z - 1) / 6) ** 2 + ((y + 2) / 4.5) ** 2 < 1
    body = ((x - 12) / 4) ** 2 + ((y - 12) / 3) ** 2 + 0 * z < 1
    voxels = gaussian_filter(cord * 80.0 + body * 60.0, 0.7 / np.array(spacing_mm))
    voxels += gaussian_filter(rng.normal(0, 60, shape), 1.5 / np.array(spacing_mm))
    matrix = np.eye(4)
    matrix[:3, :3] = oblique(degrees) * spacing_mm
    matrix[:3, 3] = (-20, 13, 77)
    return Volume.from_ijk(voxels.astype(np.float32), matrix)


def stored(volume: Volume, order: tuple[int, ...], flips: tuple[bool, ...]) -> Volume:
    """The same voxels at the same places in another storage order (own arithmetic, not that of the library)."""
    axes = [axis for axis in range(3) if flips[axis]]
    matrix = volume.ijk_to_ras[:, [*order, 3]].copy()
    shape = [volume.ijk_shape[axis] for axis in order]
    for axis in axes:
        matrix[:, 3] += matrix[:, axis] * (shape[axis] - 1)
        matrix[:, axis] *= -1
    return Volume.from_ijk(np.flip(volume.ijk.transpose(order), axes), matrix)


def unstored(voxels: np.ndarray, order: tuple[int, ...], flips: tuple[bool, ...]) -> np.ndarray:
    return np.flip(voxels, [axis for axis in range(3) if flips[axis]]).transpose(np.argsort(order))


@pytest.mark.parametrize("grid", GRIDS)
def test_48_orientations_one_mask(grid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = neck(*GRIDS[grid], 20.0)
    engine = BrightAndRandom(volume)
    monkeypatch.setattr(inference, "cpu_engine", lambda checkpoint: engine)
    checkpoint = Checkpoint("random", "0", NetworkConfig("deep_unet", 1), NORMALISATION, {})
    masks, probabilities = [], []
    for order, flips in product(permutations(range(3)), product((False, True), repeat=3)):
        image = stored(volume, order, flips)
        probability = predict(image, checkpoint, device="cpu").probability
        mask = find_cord(probability, image).mask
        assert mask.shape == image.shape and np.array_equal(mask.ijk_to_ras, image.ijk_to_ras)
        masks.append(unstored(mask.ijk, order, flips))
        probabilities.append(unstored(probability.ijk, order, flips))
    assert len(masks) == 48
    assert all(np.array_equal(probability, probabilities[0]) for probability in probabilities)
    assert all(np.array_equal(mask, masks[0]) for mask in masks)
    # The mask is no accident: there, in every slice, of a cord's area, on the cord, and not symmetrical.
    areas_mm2 = masks[0].sum(axis=(0, 1)) * np.prod(volume.ijk_spacing_mm[:2])
    assert (areas_mm2 > 40).all() and (areas_mm2 < 200).all()
    assert not np.array_equal(masks[0], masks[0][::-1]) and not np.array_equal(masks[0], masks[0][:, ::-1])
