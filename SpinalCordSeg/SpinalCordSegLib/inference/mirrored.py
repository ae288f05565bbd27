"""Every other slice is shown to the network mirrored, left for right.

What a network gets wrong hangs on how the cord and what is beside it lie in the slice, and a straight cord lies alike
in all of them: its error goes on along the cord. Of the mirrored slice it is another one. So the two average out, in
the probability of thin slices (``along_cord``) and in every mean area, at no cost. RESULTS.md has the gain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from SpinalCordSegLib.network.folded_ra_unet import Window


def is_taught_mirrored(training: Mapping[str, Any]) -> bool:
    """Whether a model has seen mirrored slices, by the ``training`` of its card: all its sources had a policy of
    augmentation with a ``flip_probability``. False where the card does not say."""
    policies = {source.get("policy") for source in training.get("sources") or ()}
    return bool(policies) and all((training.get(str(one)) or {}).get("flip_probability", 0) > 0 for one in policies)


def alternated(values: Tensor, first: int) -> Tensor:
    """The slices ``first``, ``first`` + 1, ... (n, channels, rows, columns), the odd ones mirrored; twice gives them
    back."""
    odd = (first + torch.arange(len(values), device=values.device)) % 2 == 1
    if not odd.any():
        return values
    return values.flip(-1) if odd.all() else torch.where(odd[:, None, None, None], values.flip(-1), values)


def alternated_window(window: Window, number: int, n_columns: int) -> Window:
    """Where a window of slice ``number`` lies once the slice is mirrored, if it is."""
    top, bottom, left, right = window
    return window if number % 2 == 0 else (top, bottom, n_columns - right, n_columns - left)
