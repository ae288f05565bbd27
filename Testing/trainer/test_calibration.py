"""A network whose boundary lies too far out is brought back to the right area, and only by scale and bias."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from Recipes.calibration import calibrate_checkpoint, fit_calibration
from SpinalCordSegLib.errors import ConfigurationError, TrainingDataError
from SpinalCordSegLib.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from SpinalCordSegLib.model.networks import NetworkConfig, build_network
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegTrainerLib import calibration
from SpinalCordSegTrainerLib.batches import HeldOut
from SpinalCordSegTrainerLib.slice_cache import CachedSlice, SliceCache, check_normalisation

CPU = torch.device("cpu")


class _TooWide(nn.Module):
    """Reads the coverage from the image itself; its logit is 4·(logit of coverage) + 6, so its discs are too large."""

    def forward(self, images: Tensor) -> Tensor:
        return 4 * torch.logit(images.clamp(0.003, 0.997)) + 6


@pytest.fixture
def discs(tmp_path: Path) -> SliceCache:
    """Discs of radius 5-9 px with soft edges; the image is the coverage. The last slice is empty."""
    rows, columns = np.mgrid[:64, :64]
    radius = np.hypot(rows - 30.3, columns - 33.8)
    shares = [np.clip((size - radius) / 3 + 0.5, 0, 1) for size in np.linspace(5, 9, 9)] + [np.zeros((64, 64))]
    return SliceCache.write(
        tmp_path / "discs",
        (CachedSlice(share, share, str(number)) for number, share in enumerate(shares)),
        pixel_mm=0.5,
        normalisation={},
        kind="simulated",
        source={},
    )


def test_area_becomes_right(discs: SliceCache) -> None:
    fit = fit_calibration(_TooWide(), HeldOut(discs, np.arange(10)), CPU)
    assert fit.area_percent_before > 15
    assert abs(fit.area_percent_after) < 1
    assert (fit.n_slices, fit.n_left_out) == (9, 1)
    # logit of coverage = (z - 6) / 4, but for the pixels of coverage 0 and 1, whose logit was cut at ±5.8
    assert -fit.calibration.bias / fit.calibration.scale == pytest.approx(6, abs=0.5)
    assert 0.2 < fit.calibration.scale < 0.35


def test_area_follows_the_convention_asked_for(discs: SliceCache) -> None:
    fit = fit_calibration(_TooWide(), HeldOut(discs, np.arange(10)), CPU, area_percent=-7.0)
    assert abs(fit.area_percent_after + 7) < 1


def test_a_model_that_finds_nothing_is_refused(discs: SliceCache) -> None:
    class Blind(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images - 10

    with pytest.raises(TrainingDataError, match="on none"):
        fit_calibration(Blind(), HeldOut(discs, np.arange(10)), CPU)


def test_kept_in_the_weights_file(
    discs: SliceCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_cache: Callable[..., SliceCache]
) -> None:
    monkeypatch.setattr(calibration, "checkpoint_network", lambda _: _TooWide())
    network = NetworkConfig("deep_unet", 1)
    model = Checkpoint("m", "1", network, NormalisationConfig(), dict(build_network(network).state_dict()))
    save_checkpoint(model, tmp_path / "m.safetensors")
    held_out = HeldOut(discs, np.arange(10))
    fit = calibrate_checkpoint(load_checkpoint(tmp_path / "m.safetensors"), held_out, CPU, tmp_path / "c.safetensors")
    written = load_checkpoint(tmp_path / "c.safetensors")
    assert written.calibration == fit.calibration
    assert written.scores["calibration"]["slices"] == 9


def test_slices_normalised_for_another_model_are_refused(discs: SliceCache, tmp_path: Path) -> None:
    """Their pixels are of another size, so their boundary is no measure of this model's."""
    details = json.loads((discs.folder / "cache.json").read_text(encoding="utf-8"))
    details["normalisation"] = {"kind": "fixed_pixel", "pixel_mm": 0.5, "size": 64, "min_size": 64}
    (discs.folder / "cache.json").write_text(json.dumps(details), encoding="utf-8")
    network = NetworkConfig("deep_unet", 1)
    for rule, words in (
        (NormalisationConfig(), "kind 'fixed_pixel', 'paper' is wanted"),
        (NormalisationConfig(kind="fixed_pixel", pixel_mm=0.7), "pixel_mm 0.5, 0.7 is wanted"),
    ):
        model = Checkpoint("m", "1", network, rule, dict(build_network(network).state_dict()))
        held_out = HeldOut(SliceCache.open(discs.folder), np.arange(10))
        with pytest.raises(ConfigurationError, match=words):
            calibrate_checkpoint(model, held_out, CPU, tmp_path / "c.safetensors")
    assert not (tmp_path / "c.safetensors").exists()
    check_normalisation(SliceCache.open(discs.folder), NormalisationConfig(kind="fixed_pixel", pixel_mm=0.5, size=96))
