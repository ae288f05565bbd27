"""Scale and bias of the logit such that the area at probability 0.5 is right on average.

A loss that punishes missed cord more than false cord sets the boundary too far out. The bias moves it back so that
the median signed area error over given slices of known area is zero; the scale makes the probabilities fit the partial
volume at the boundary. Both are stored in the checkpoint and applied at every prediction.

Convention: people draw the bright cord of T1w images smaller than the dark cord of T2w images. Five persons drawn in
both (the errsm series of the public data) have T1w areas of 0.78 to 0.96, on average 0.86, of their T2w areas. The
simulated cord leaves that out already (RIM_MM in simulation/anatomy.py): for such slices 0 is right. Masks of T2w
images are brought to that line by ``offset_boundary``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, optimize
from torch import Tensor, nn
from torch.nn import functional

from SpinalCordSegLib.errors import ModelFileError, TrainingDataError
from SpinalCordSegLib.model.checkpoint import (
    Calibration,
    Checkpoint,
    checkpoint_network,
    load_checkpoint,
    save_checkpoint,
)
from SpinalCordSegLib.model.preprocessing import LOGIT_LIMIT
from SpinalCordSegTrainerLib.batches import Slices
from SpinalCordSegTrainerLib.slice_cache import check_normalisation

_log = logging.getLogger(__name__)
_BATCH = 8
_REACH_PX = 8  # what lies further from the cord is not boundary; the component choice removes it
_LEAST_DICE = 0.5  # a slice whose cord was missed says nothing about the boundary
_LIMIT = 60.0  # of a raw logit; prediction holds the calibrated one within LOGIT_LIMIT


_FINER = 4  # parts of a pixel, along each axis, in which a contour is moved


def offset_boundary(coverage: NDArray[np.float32], pixel_mm: float, offset_mm: float) -> NDArray[np.float32]:
    """(H, W) share of each pixel that is cord, its contour (share ½) moved inwards by ``offset_mm``; 0 where nothing is
    left. A slice without cord stays as it is."""
    if not coverage.any():
        return coverage
    fine = functional.interpolate(
        torch.from_numpy(coverage)[None, None], scale_factor=_FINER, mode="bilinear", align_corners=False
    )
    inside = fine[0, 0].numpy() >= 0.5
    depth = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    depth -= 0.5 * np.sign(depth)  # from the edge, not from the first pixel beyond it
    kept = np.clip(0.5 + depth - offset_mm * _FINER / pixel_mm, 0, 1).astype(np.float32)
    return np.asarray(functional.avg_pool2d(torch.from_numpy(kept)[None, None], _FINER)[0, 0].numpy())


@dataclass(frozen=True)
class CalibrationFit:
    """``area_percent_before``, ``area_percent_after``: median signed area error over the slices used. ``n_left_out``:
    slices without cord, or where the network missed it."""

    calibration: Calibration
    area_percent_before: float
    area_percent_after: float
    n_slices: int
    n_left_out: int


_Boundary = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Logits and coverage of the pixels near the cord of one slice, (k,) each."""


def fit_calibration(network: nn.Module, held_out: Slices, device: torch.device) -> CalibrationFit:
    """Fit on slices that were not trained on. Raises TrainingDataError when no slice can be used."""
    slices: list[_Boundary] = []
    network.eval()
    with torch.inference_mode():
        for images, coverage in held_out.batches(_BATCH):
            placed = images.to(device).contiguous(memory_format=torch.channels_last)
            slices += boundaries(network(placed).float().cpu(), coverage)
    if not slices:
        raise TrainingDataError(f"{held_out.cache.folder}: the model finds the cord on none of its slices")
    threshold = threshold_for(slices)
    scale = _best_scale(slices, threshold)
    fit = CalibrationFit(
        Calibration(scale, -scale * threshold),
        _typical_area_error(slices, 0.0),
        _typical_area_error(slices, threshold),
        len(slices),
        len(held_out.indices) - len(slices),
    )
    _log.info("calibration %s from %d slices", fit.calibration, fit.n_slices)
    return fit


def boundaries(logits: Tensor, coverage: Tensor) -> list[_Boundary]:
    """Of each slice in which the cord is found: the pixels near it."""
    near = functional.max_pool2d((coverage > 0).float(), 2 * _REACH_PX + 1, stride=1, padding=_REACH_PX) > 0
    found, true = (logits > 0) & near, coverage >= 0.5
    overlap = 2 * (found & true).sum((1, 2, 3)) / (found.sum((1, 2, 3)) + true.sum((1, 2, 3))).clamp_min(1)
    kept = [n for n, score in enumerate(overlap.tolist()) if score >= _LEAST_DICE]
    clamped = logits.clamp(-_LIMIT, _LIMIT)
    return [(clamped[n][near[n]].numpy(), coverage[n][near[n]].numpy()) for n in kept]


def _typical_area_error(slices: list[_Boundary], threshold: float) -> float:
    """Median over slices of 100·(found - true)/true; found: pixels whose logit is above the threshold.

    The mean would follow the few slices where the mask leaks, and set the boundary of all others too tight.
    """
    errors = [np.count_nonzero(logits > threshold) / coverage.sum() - 1 for logits, coverage in slices]
    return float(100 * np.median(errors))


def threshold_for(slices: list[_Boundary]) -> float:
    """The logit above which the area is right in the median slice."""
    low, high = -_LIMIT, _LIMIT
    for _ in range(40):  # bisection: the area can only shrink as the threshold rises
        middle = (low + high) / 2
        low, high = (middle, high) if _typical_area_error(slices, middle) > 0 else (low, middle)
    return (low + high) / 2


def _best_scale(slices: list[_Boundary], threshold: float) -> float:
    """The scale of least cross-entropy between sigmoid(scale·(logit - threshold)) and the coverage."""
    logits = np.concatenate([one for one, _ in slices]).astype(np.float64) - threshold
    coverage = np.concatenate([one for _, one in slices]).astype(np.float64)

    def cross_entropy(log_scale: float) -> float:
        scaled = np.clip(logits * np.exp(log_scale), -LOGIT_LIMIT, LOGIT_LIMIT)
        return float(np.mean(np.logaddexp(0, scaled) - coverage * scaled))

    best = optimize.minimize_scalar(cross_entropy, bounds=(np.log(0.1), np.log(4.0)), method="bounded")
    return float(np.exp(best.x))


def calibrate_checkpoint(checkpoint: Checkpoint, held_out: Slices, device: torch.device, path: Path) -> CalibrationFit:
    """Fit and write the checkpoint with its calibration to ``path``; the figures go into its scores.

    Raises ConfigurationError for slices that were normalised otherwise than the model's input, and what
    fit_calibration raises.
    """
    check_normalisation(held_out.cache, checkpoint.normalisation)
    fit = fit_calibration(checkpoint_network(checkpoint).to(device), held_out, device)
    figures = {
        "cache": held_out.cache.folder.name,
        "slices": fit.n_slices,
        "left_out": fit.n_left_out,
        "area_percent_before": fit.area_percent_before,
        "area_percent_after": fit.area_percent_after,
    }
    scores = {**checkpoint.scores, "calibration": figures}
    calibration = replace(fit.calibration, bright_fluid_threshold=checkpoint.calibration.bright_fluid_threshold)
    save_checkpoint(replace(checkpoint, calibration=calibration, scores=scores), path)
    return fit


# One model from several runs that began at the same weights: the mean of their weights.
#
# Runs that differ only in their seed end at different places of one basin; their mean lies nearer its middle and costs
# nothing at inference (Wortsman et al. 2022, Model soups, arXiv:2203.05482). Runs from different starts do not average.


def average_models(paths: Sequence[Path], output: Path) -> Checkpoint:
    """Write the mean of at least two weights files. Name, configuration and sources are those of the first; the
    files' hashes are kept in the provenance; calibration (but for the threshold on T2w) and scores are dropped, as they
    are the single models'.

    Raises ModelFileError for fewer than two files, for networks or normalisations that differ, and what
    load_checkpoint and save_checkpoint raise.
    """
    if len(paths) < 2:
        raise ModelFileError(f"{len(paths)} weights files given: at least two are needed for a mean")
    models = [load_checkpoint(path) for path in paths]
    first = models[0]
    for other, path in zip(models[1:], paths[1:], strict=True):
        if (other.network, other.normalisation) != (first.network, first.normalisation):
            raise ModelFileError(
                f"{path}: its network or normalisation is not that of {paths[0]}: only runs of one model average"
            )
    weights = {name: _mean([model.weights[name] for model in models]) for name in first.weights}
    provenance = {**first.provenance, "mean_of": [model.sha256 for model in models]}
    kept = Calibration(bright_fluid_threshold=first.calibration.bright_fluid_threshold)
    mean = replace(first, weights=weights, provenance=provenance, calibration=kept, scores={})
    return save_checkpoint(mean, output)


def _mean(arrays: list[NDArray]) -> NDArray:
    if arrays[0].dtype.kind != "f":  # counters
        return arrays[0]
    return np.mean(arrays, axis=0, dtype=np.float64).astype(arrays[0].dtype)
