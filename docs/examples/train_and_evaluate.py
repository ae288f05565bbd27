"""Train a network on images with label maps, and judge it on the patients who were held out.

python train_and_evaluate.py training runs/mine epochs=30 batch_size=8

Without settings it trains as Bueno et al. 2022 did: a GPU takes hours, a CPU days. For a few corrected cases use
`spinalcordseg-train train`, which teaches them to the shipped model in minutes.
"""

import sys
from dataclasses import replace
from pathlib import Path

from SpinalCordSegLib.model.checkpoint import load_checkpoint
from SpinalCordSegLib.torch_inference import choose_device
from SpinalCordSegTrainerLib.config import SourceConfig, TrainingConfig, with_settings
from SpinalCordSegTrainerLib.dataset import match_files
from SpinalCordSegTrainerLib.evaluation import Evaluation, model_masks
from SpinalCordSegTrainerLib.slice_cache import cache_cases
from SpinalCordSegTrainerLib.split import read_split
from SpinalCordSegTrainerLib.trainer import Training

data, run = map(Path, sys.argv[1:3])
config = with_settings(TrainingConfig(name="mine"), sys.argv[3:])

cases = match_files(data).cases  # NAME.nii.gz beside NAME_seg.nii.gz, BIDS, or a manifest
_, left_out = cache_cases(cases, run / "cache", config.normalisation)  # all slices, at the network's pixels
for name, reason in left_out:
    print(f"{name} is left out: {reason}")

config = replace(config, sources=(SourceConfig(str(run / "cache")),))
training = Training(config, run, device=choose_device("auto")[0])
print(training.run().finished)

held_out = read_split(run).validation  # patients, never single images
evaluation = Evaluation()
evaluation.judge([case for case in cases if case.subject in held_out], model_masks(load_checkpoint(training.best)))
for name, score in evaluation.write(run / "evaluation").items():
    if name in ("dice_per_slice", "csa_error_percent_per_slice"):
        print(f"{name}: {score['mean']:.3f}")
