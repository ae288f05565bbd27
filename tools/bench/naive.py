"""The naive way, as a straight port of the paper would do it: one slice at a time through the network as trained.

Contiguous float32, eager torch, the resize in a Python loop. Same rules as ``predict``, so the masks can be compared.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from stopwatch import Stopwatch

from SpinalCordSegLib.inference import Prediction
from SpinalCordSegLib.model.checkpoint import Checkpoint, checkpoint_network
from SpinalCordSegLib.model.preprocessing import normalise, restore
from SpinalCordSegLib.volume import Volume


def naive_predict(watch: Stopwatch, volume: Volume, checkpoint: Checkpoint, **_: Any) -> Prediction:
    """In place of ``predict``."""
    started = time.perf_counter()
    prepare = watch.timed(normalise, "prepare")
    network = watch.timed(checkpoint_network(checkpoint), "network")
    back = watch.timed(restore, "restore")
    probability = volume.with_voxels(np.zeros(volume.shape, np.float32))
    target = probability.voxels
    calibration = checkpoint.calibration
    with torch.inference_mode():
        for number, pixels in enumerate(volume.voxels):
            image = torch.from_numpy(np.array(pixels, np.float32, order="C"))[None]
            inputs, placement = prepare(image, volume.pixel_mm, checkpoint.normalisation)
            logits = network(inputs) * calibration.scale + calibration.bias
            target[number] = torch.sigmoid(back(logits, placement))[0].numpy()
    seconds = time.perf_counter() - started
    return Prediction(probability, "cpu", f"torch {torch.__version__}, naive", seconds=seconds)
