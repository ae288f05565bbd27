"""Every other slice is shown mirrored, only to networks that know such slices; what comes back lies as it should."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from SpinalCordSegLib.images.volume import Volume, axial_slices
from SpinalCordSegLib.inference.mirrored import alternated, alternated_window, is_taught_mirrored
from SpinalCordSegLib.inference.predict import predict
from SpinalCordSegLib.network.checkpoint import Checkpoint, load_checkpoint
from SpinalCordSegLib.network.models import default_model
from SpinalCordSegLib.network.networks import NetworkConfig
from SpinalCordSegLib.network.normalise import NormalisationConfig

TAUGHT = {"sources": [{"policy": "standard"}], "standard": {"flip_probability": 0.5}}
CHECKPOINT = Checkpoint("test", "0", NetworkConfig("deep_unet", 1), NormalisationConfig("fixed_pixel", pixel_mm=1), {})
OFF = 3


class Sideways(nn.Module):
    """Bright pixels are cord, but drawn OFF columns too far to one side."""

    def forward(self, x: Tensor) -> Tensor:
        return 20 * (torch.roll(x, OFF, dims=-1) - 0.5)


def tube(n_slices: int = 9) -> Volume:
    """A bright straight cord off the middle, 96×96 pixels of 1 mm."""
    x, y = np.mgrid[:96, :96]
    inside = np.hypot((x - 40) / 6, (y - 60) / 5) <= 1
    return Volume(np.repeat((100 + 900 * inside)[:, :, None], n_slices, axis=2).astype(np.int16), np.eye(4))


def columns(volume: Volume, **options: object) -> np.ndarray:
    """Middle of the cord in every slice, along the columns; NaN without cord."""
    checkpoint = replace(CHECKPOINT, training=TAUGHT)
    found = predict(volume, checkpoint, device="cpu", network=Sideways(), **options).probability  # type: ignore[arg-type]
    return np.array(
        [np.nan if not (p > 0.5).any() else np.nonzero(p > 0.5)[1].mean() for p in axial_slices(found).pixels]
    )


def test_an_error_to_one_side_cancels_along_the_cord() -> None:
    true = np.nonzero(axial_slices(tube()).pixels[0] > 500)[1].mean()
    plain = predict(tube(), CHECKPOINT, device="cpu", network=Sideways()).probability
    assert np.nonzero(axial_slices(plain).pixels[3] > 0.5)[1].mean() == pytest.approx(true + OFF, abs=0.1)
    found = columns(tube())
    assert found == pytest.approx([true + OFF, true - OFF] * 4 + [true + OFF], abs=0.1)


@pytest.mark.parametrize("batch_size", [2, 5, 9])
def test_which_slices_are_mirrored_depends_on_no_batch_and_no_range(batch_size: int) -> None:
    one_by_one = columns(tube(), batch_size=1)
    assert columns(tube(), batch_size=batch_size).tolist() == one_by_one.tolist()
    part = columns(tube(), batch_size=batch_size, slice_range=(3, 8))
    assert part[3:8].tolist() == one_by_one[3:8].tolist() and np.isnan(part[[0, 1, 2, 8]]).all()


def test_only_a_network_that_was_taught_so_is_shown_mirrored_slices() -> None:
    assert is_taught_mirrored(TAUGHT) and is_taught_mirrored(load_checkpoint(default_model()).training)
    never = {**TAUGHT, "standard": {"flip_probability": 0.0}}
    one_of_two = {**TAUGHT, "sources": [{"policy": "standard"}, {"policy": "contrast"}]}
    as_they_are = {**TAUGHT, "sources": [{"policy": "none"}]}
    unknown: dict[str, object] = {}
    assert [is_taught_mirrored(one) for one in (never, one_of_two, as_they_are, unknown)] == [False] * 4


def test_twice_mirrored_is_as_before() -> None:
    values = torch.rand(5, 1, 4, 8)
    for first in (0, 1, 6, 7):
        shown = alternated(values, first)
        assert torch.equal(alternated(shown, first), values)
        odd = [k for k in range(5) if (first + k) % 2]
        assert all(torch.equal(shown[k], values[k].flip(-1) if k in odd else values[k]) for k in range(5))
    window = (4, 12, 8, 20)
    assert alternated_window(window, 2, 64) == window
    assert alternated_window(alternated_window(window, 3, 64), 3, 64) == window
    top, bottom, left, right = alternated_window(window, 3, 64)
    row = torch.arange(64)
    assert torch.equal(row.flip(0)[left:right].flip(0), row[8:20]) and (top, bottom) == (4, 12)
