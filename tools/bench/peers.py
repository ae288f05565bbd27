"""Peers on the same machine, run by a Python that has nnunetv2 and monai (``make bench-peers`` makes one).

Networks with untrained weights: time does not depend on them. One tile is timed and multiplied by the number of tiles
that the peer's own rule lays over the volume; reading, resampling and writing are left out, in the peer's favour.
``python tools/bench/peers.py R,A,S SPACING,SPACING,SPACING`` prints one line of JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TILES_TIMED = 3
_CORD_MM = 64.0  # side of what is cropped about the cord; who finds it first is not counted, in the peer's favour
_LONG_S = 15.0


def peers(shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> list[dict[str, Any]]:
    """One row per peer: seconds for a tile, tiles, seconds for the volume."""
    import torch

    torch.manual_seed(0)
    with torch.inference_mode():
        cropped = *(min(n, round(_CORD_MM / mm)) for n, mm in zip(shape[:2], spacing_mm[:2], strict=True)), shape[2]
        about_cord = [row | {"way": f"{row['way']}, cropped to the cord"} for row in _nnunet(cropped, spacing_mm)]
        return [*_nnunet(shape, spacing_mm), *about_cord, _monai(shape)]


def _nnunet(shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> list[dict[str, Any]]:
    """2D and 3D full resolution with the plan that nnU-Net itself makes for volumes of this grid; mirroring off."""
    import torch

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            os.environ[name] = str(Path(folder) / name)
        # The paths are read when it is imported.
        from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window
        from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

        plans = _plans(Path(folder), shape, spacing_mm)
    rows = []
    for name in ("2d", "3d_fullres"):
        plan = plans["configurations"][name]
        made = plan["architecture"]
        network = get_network_from_plans(
            made["network_class_name"], made["arch_kwargs"], made["_kw_requires_import"], 1, 2, deep_supervision=False
        ).eval()
        patch = plan["patch_size"]
        order = plans["transpose_forward"]
        stored = [(shape[2], shape[1], shape[0])[axis] for axis in order]
        spaced = [(spacing_mm[2], spacing_mm[1], spacing_mm[0])[axis] for axis in order]
        target = plan["spacing"] if len(plan["spacing"]) == 3 else [spaced[0], *plan["spacing"]]
        size = [round(n * mm / new) for n, mm, new in zip(stored, spaced, target, strict=True)]
        flat = len(patch) == 2
        steps = compute_steps_for_sliding_window(tuple(size[1:] if flat else size), tuple(patch), 0.5)
        tiles = (size[0] if flat else 1) * _product(len(step) for step in steps)
        rows.append(_timed(f"nnU-Net v2 {name}", network, torch.rand(1, 1, *patch), tiles))
    return rows


def _plans(folder: Path, shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> dict[str, Any]:
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

    data, prepared = (folder / name / "Dataset001_Neck" for name in ("nnUNet_raw", "nnUNet_preprocessed"))
    (data / "imagesTr").mkdir(parents=True)  # empty: the planner lists it
    prepared.mkdir(parents=True)
    content = {
        "channel_names": {"0": "MRI"}, "labels": {"background": 0, "cord": 1}, "numTraining": 40,
        "file_ending": ".nii.gz",
    }  # fmt: skip
    (data / "dataset.json").write_text(json.dumps(content))
    grid = {"spacings": [list(spacing_mm[::-1])] * 40, "shapes_after_crop": [list(shape[::-1])] * 40}
    intensities = dict.fromkeys(("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std"), 1.0)
    fingerprint = grid | {
        "foreground_intensity_properties_per_channel": {"0": intensities}, "median_relative_size_after_cropping": 1.0,
    }  # fmt: skip
    (prepared / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    planner = ExperimentPlanner(1)
    # The reader is asked of a training image, and there is none: the default one.
    planner.determine_reader_writer = lambda: _reader()
    return planner.plan_experiment()


def _reader() -> Any:
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    return SimpleITKIO


def _monai(shape: tuple[int, ...]) -> dict[str, Any]:
    """The 3D U-Net of MONAI's tutorials over tiles of 96³, overlap of a quarter (its default)."""
    import torch
    from monai.data.utils import dense_patch_slices
    from monai.networks.nets import UNet

    network = UNet(3, 1, 2, channels=(16, 32, 64, 128, 256), strides=(2, 2, 2, 2), num_res_units=2).eval()
    roi = (96, 96, 96)
    interval = tuple(int(side * 0.75) for side in roi)
    padded = tuple(max(n, side) for n, side in zip(shape, roi, strict=True))
    tiles = len(dense_patch_slices(padded, roi, interval))
    return _timed("MONAI U-Net 3D, sliding window", network, torch.rand(1, 1, *roi), tiles)


def _timed(name: str, network: Callable[[Any], Any], tile: Any, tiles: int) -> dict[str, Any]:
    """The least of up to three tiles; one alone where it takes long, for then the first is no slower than the next."""
    seconds: list[float] = []
    while len(seconds) < _TILES_TIMED and sum(seconds) < _LONG_S:
        started = time.perf_counter()
        network(tile)
        seconds.append(time.perf_counter() - started)
    print(f"{name}: {len(seconds)} tiles, {min(seconds):.1f} s", file=sys.stderr, flush=True)
    return {
        "way": name, "tile": list(tile.shape[2:]), "seconds_a_tile": min(seconds), "tiles": tiles,
        "seconds": min(seconds) * tiles, "threads": _threads(),
    }  # fmt: skip


def _threads() -> int:
    import torch

    return int(torch.get_num_threads())


def _product(numbers: Any) -> int:
    result = 1
    for number in numbers:
        result *= number
    return result


if __name__ == "__main__":
    grid = tuple(int(n) for n in sys.argv[1].split(","))
    spacing = tuple(float(mm) for mm in sys.argv[2].split(","))
    print(json.dumps(peers(grid, spacing)))
