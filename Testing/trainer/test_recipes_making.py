"""Weights averaged and calibrated, boundaries moved, the paper's Table 1."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cord_files import configured, put_case
from torch import Tensor, nn

from Recipes import calibration
from Recipes.calibration import average_models, calibrate_checkpoint, fit_calibration, offset_boundary
from Recipes.cli import main
from Recipes.table1 import (
    BASELINE,
    BEST,
    ROWS,
    experiment_page,
    train_rows,
    write_experiment,
)
from SpinalCordSegLib.errors import Cancelled, ConfigurationError, ModelFileError
from SpinalCordSegLib.model.checkpoint import Calibration, Checkpoint, load_checkpoint, save_checkpoint
from SpinalCordSegLib.model.networks import NetworkConfig, build_network
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegTrainerLib.batches import Slices
from SpinalCordSegTrainerLib.config import CropConfig, SourceConfig, TrainingConfig, ValidationConfig
from SpinalCordSegTrainerLib.slice_cache import SliceCache, check_normalisation


def _model(path: Path, seed: int, width: int = 1) -> Checkpoint:
    torch.manual_seed(seed)
    config = NetworkConfig("deep_unet", width)
    return save_checkpoint(
        Checkpoint(
            name="one",
            version=str(seed),
            network=config,
            normalisation=NormalisationConfig(kind="fixed_pixel", pixel_mm=0.7),
            weights=dict(build_network(config).state_dict()),
            calibration=Calibration(2.0, 1.0),
            scores={"dice": 0.9},
        ),
        path,
    )


def test_every_weight_is_the_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / f"{seed}.safetensors" for seed in range(3)]
    models = [_model(path, seed) for seed, path in enumerate(paths)]
    output = tmp_path / "mean.safetensors"
    assert main(["average", *map(str, paths), "--output", str(output)]) == 0
    mean = load_checkpoint(output)
    assert str(mean.sha256) in capsys.readouterr().out
    for name, tensor in mean.weights.items():
        if tensor.dtype.kind == "f":
            assert tensor == pytest.approx(np.mean([model.weights[name] for model in models], axis=0), abs=1e-6)
        else:
            assert np.array_equal(tensor, models[0].weights[name])
    assert (mean.version, mean.calibration, mean.scores) == ("0", Calibration(), {})
    assert mean.provenance["mean_of"] == [model.sha256 for model in models]


def test_one_model_or_unlike_models_are_refused(tmp_path: Path) -> None:
    _model(tmp_path / "a.safetensors", 1)
    _model(tmp_path / "b.safetensors", 1, width=2)
    with pytest.raises(ModelFileError, match="at least two"):
        average_models([tmp_path / "a.safetensors"], tmp_path / "c.safetensors")
    with pytest.raises(ModelFileError, match=r"b\.safetensors: its network"):
        average_models([tmp_path / "a.safetensors", tmp_path / "b.safetensors"], tmp_path / "c.safetensors")
    assert not (tmp_path / "c.safetensors").exists()


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
        ((share, share, str(number)) for number, share in enumerate(shares)),
        normalisation={},
        kind="simulated",
        source={},
    )


def test_area_becomes_right(discs: SliceCache) -> None:
    fit = fit_calibration(_TooWide(), Slices(discs, np.arange(10)), CPU)
    assert fit.area_percent_before > 15
    assert abs(fit.area_percent_after) < 1
    assert (fit.n_slices, fit.n_left_out) == (9, 1)
    # logit of coverage = (z - 6) / 4, but for the pixels of coverage 0 and 1, whose logit was cut at ±5.8
    assert -fit.calibration.bias / fit.calibration.scale == pytest.approx(6, abs=0.5)
    assert 0.2 < fit.calibration.scale < 0.35


def test_kept_in_the_weights_file(discs: SliceCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "checkpoint_network", lambda _: _TooWide())
    model = replace(_model(tmp_path / "m.safetensors", 0), normalisation=NormalisationConfig())
    fit = calibrate_checkpoint(model, Slices(discs, np.arange(10)), CPU, tmp_path / "c.safetensors")
    written = load_checkpoint(tmp_path / "c.safetensors")
    assert written.calibration == fit.calibration
    assert written.scores["calibration"]["slices"] == 9


def test_slices_normalised_for_another_model_are_refused(discs: SliceCache, tmp_path: Path) -> None:
    """Their pixels are of another size, so their boundary is no measure of this model's."""
    details = json.loads((discs.folder / "cache.json").read_text(encoding="utf-8"))
    details["normalisation"] = {"kind": "fixed_pixel", "pixel_mm": 0.5, "size": 64, "min_size": 64}
    (discs.folder / "cache.json").write_text(json.dumps(details), encoding="utf-8")
    model = _model(tmp_path / "m.safetensors", 0)
    with pytest.raises(ConfigurationError, match=r"pixel_mm 0\.5, 0\.7 is wanted"):
        calibrate_checkpoint(
            model, Slices(SliceCache.open(discs.folder), np.arange(10)), CPU, tmp_path / "c.safetensors"
        )
    assert not (tmp_path / "c.safetensors").exists()
    check_normalisation(SliceCache.open(discs.folder), NormalisationConfig(kind="fixed_pixel", pixel_mm=0.5, size=96))


def _disc(radius_mm: float, pixel_mm: float) -> np.ndarray:
    rows, columns = (np.mgrid[:64, :64] - 31.3) * pixel_mm
    return np.clip(0.5 + (radius_mm - np.hypot(rows, columns)) / pixel_mm, 0, 1).astype(np.float32)


@pytest.mark.parametrize("pixel_mm", [0.5, 0.7, 1.0])
@pytest.mark.parametrize("offset_mm", [0.3, 0.5])
def test_a_disc_shrinks_by_the_inset_and_stays_in_place(pixel_mm: float, offset_mm: float) -> None:
    disc = _disc(5.0, pixel_mm)
    smaller = offset_boundary(disc, pixel_mm, offset_mm)
    assert smaller.sum() * pixel_mm**2 == pytest.approx(np.pi * (5.0 - offset_mm) ** 2, rel=0.03)
    middle = [float((grid * smaller).sum() / smaller.sum()) for grid in np.mgrid[:64, :64]]
    assert middle == pytest.approx([31.3, 31.3], abs=0.05)
    assert smaller.min() >= 0 and smaller.max() == 1


def test_a_cache_with_its_boundary_moved_belongs_to_its_maker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, cache = tmp_path / "data", tmp_path / "run" / "cache"
    put_case(data, "sub-1")
    made = ["cache", str(data), "--output", str(cache), "--boundary-offset-mm", "1", "--set", "normalisation.size=96"]
    assert main(made) == 2 and "fixed_pixel" in capsys.readouterr().err
    pixels = ["normalisation.kind=fixed_pixel", "normalisation.pixel_mm=0.4"]
    assert main([*made, *(word for one in pixels for word in ("--set", one))]) == 0
    _, coverage = SliceCache.open(cache).read([1, 2, 3])
    np.testing.assert_allclose(coverage.sum((1, 2)) * 0.4**2, (6 - 2) * (8 - 2), rtol=0.06)  # mm; rounded corners
    with pytest.raises(ConfigurationError, match="slices of other data"):
        configured(data, tmp_path / "run", "--set", "normalisation.size=96")


MakeCache = Callable[..., SliceCache]


def test_two_rows_stopped_and_resumed(make_cache: MakeCache, tmp_path: Path) -> None:
    base = TrainingConfig(
        sources=(SourceConfig(str(make_cache(n=6, size=64).folder)),),
        crop=CropConfig(size=64),
        batch_size=2,
        updates_per_epoch=1,
        epochs=1,
        statistics_batches=1,
        validation=ValidationConfig(fraction=0.34),
    )
    base = replace(base, network=replace(base.network, width=1))
    rows = [replace(row, network="deep_unet") for row in ROWS if row.key in (BASELINE, BEST)]
    asked = iter([True])
    with pytest.raises(Cancelled):
        train_rows(rows, base, tmp_path / "out", torch.device("cpu"), stopped=lambda: next(asked, False))
    results = train_rows(rows, base, tmp_path / "out", torch.device("cpu"))
    splits = {(tmp_path / "out" / row.key / "split.json").read_text(encoding="utf-8") for row in rows}
    assert len(splits) == 1
    assert [len(result["dice_of_slices"]) for result in results] == [2, 2]
    page = write_experiment(results, "six drawn slices", tmp_path / "out")
    assert "0.904 ± 0.101" in page
    told = json.loads((tmp_path / "out" / "table1.json").read_text(encoding="utf-8"))
    assert [one["row"] for one in told["rows"]] == [BASELINE, BEST]
    assert (tmp_path / "out" / "histograms.png").exists()
    for one, mean in zip(told["rows"], (0.5, 0.4), strict=True):
        one["dice"] |= {"mean": mean, "sd": 0.1, "p25": 0.1, "p50": 0.4, "p75": 0.6}
    assert "is BELOW plain U-Net + TL (0.500)" in experiment_page(told["rows"], "")
