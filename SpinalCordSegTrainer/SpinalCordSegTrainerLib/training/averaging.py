"""One model from several runs that began at the same weights: the mean of their weights.

Runs that differ only in their seed end at different places of one basin; their mean lies nearer its middle and costs
nothing at inference (Wortsman et al. 2022, Model soups, arXiv:2203.05482). Runs from different starts do not average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from SpinalCordSegLib.errors import ModelFileError
from SpinalCordSegLib.network.checkpoint import Calibration, Checkpoint, load_checkpoint, save_checkpoint


def average_models(paths: Sequence[Path], output: Path) -> Checkpoint:
    """Write the mean of at least two weights files. Name, configuration and sources are those of the first; the
    files' hashes are kept in the provenance; calibration and scores are dropped, as they are the single models'.

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
    mean = replace(first, weights=weights, provenance=provenance, calibration=Calibration(), scores={})
    return save_checkpoint(mean, output)


def _mean(tensors: list[Tensor]) -> Tensor:
    if not tensors[0].is_floating_point():  # counters
        return tensors[0]
    return torch.stack([tensor.double() for tensor in tensors]).mean(0).to(tensors[0].dtype)
