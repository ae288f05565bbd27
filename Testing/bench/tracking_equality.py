"""Cord tracking against the full run: masks and flags, on all public volumes and on simulated necks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from SpinalCordSegLib.checkpoint import Checkpoint, default_model, load_checkpoint
from SpinalCordSegLib.files import Image, read_image
from SpinalCordSegLib.flags import Flag
from SpinalCordSegLib.pipeline import SegmentOptions, segment_image
from SpinalCordSegLib.volume import axial_slices
from SpinalCordSegTrainerLib.atlas import read_maps
from SpinalCordSegTrainerLib.simulated_people import SimulatedConfig, cohort_person

LEAST_DICE = 0.999
_IMAGE_FOLDERS = ("t1w_masked", "mt_masked", "t1w_scanners", "t2_masked", "t2star_masked")


def tracking_equality(data: Path, simulated: int) -> dict[str, Any]:
    """Both runs of every volume: least Dice, how many miss the bar or have other flags, windows, processor time."""
    checkpoint = load_checkpoint(default_model())
    rows = [_compared(image, checkpoint) for image in _images(data, simulated)]
    full, tracked = (sum(row[name] for row in rows) for name in ("cpu_seconds_full", "cpu_seconds_tracked"))
    slices = sum(row["slices"] for row in rows)
    return {
        "model": f"{checkpoint.name} {checkpoint.version}, SHA-256 {(checkpoint.sha256 or '')[:12]}",
        "volumes": len(rows),
        "simulated among them": simulated,
        "slices": slices,
        "slices computed around the cord only": sum(row["windowed"] for row in rows),
        "least Dice with the full run": min(row["dice"] for row in rows),
        f"volumes under {LEAST_DICE}": sum(row["dice"] < LEAST_DICE for row in rows),
        "volumes whose flags differ": sum(bool(row["flags_differ"]) for row in rows),
        "of these: only in what was removed apart from the cord": sum(
            bool(row["flags_differ"]) and set(row["flags_differ"]) <= {"component"} for row in rows
        ),
        "processor time without writing, full over tracked": round(full / tracked, 3),
        "rows": rows,
    }


def _images(data: Path, simulated: int) -> Iterator[Image]:
    for folder in _IMAGE_FOLDERS:
        for path in sorted((data / folder).glob("*.nii.gz")):
            if "_seg" not in path.name:
                yield read_image(path)
    yield read_image(data / "dicom_t1w_head")
    config = SimulatedConfig(necks=simulated)
    maps = read_maps(data, only=config.shapes)
    for number in range(simulated):
        yield Image(cohort_person(number, maps, config).image, Path("simulated"), f"simulated-{number:03d}")


def _compared(image: Image, checkpoint: Checkpoint) -> dict[str, Any]:
    # Processor time, of all threads: the proof takes long, and the machine may have other work meanwhile.
    times = [time.process_time()]
    full = segment_image(image, checkpoint, SegmentOptions(device="cpu"))
    times.append(time.process_time())
    tracked = segment_image(image, checkpoint, SegmentOptions(device="cpu", track_cord=True))
    times.append(time.process_time())
    first, second = full.mask.voxels, tracked.mask.voxels
    total = int(first.sum()) + int(second.sum())
    dice = 2 * int((first & second).sum()) / total if total else 1.0
    differ = sorted({kind for kind, *_ in _flags(full.flags) ^ _flags(tracked.flags)})
    row = {
        "volume": image.case_name,
        "slices": int(axial_slices(full.mask).pixels.shape[0]),
        "windowed": tracked.n_windowed,
        "dice": dice,
        "flags_differ": differ,
        "cpu_seconds_full": times[1] - times[0],
        "cpu_seconds_tracked": times[2] - times[1],
    }
    print(f"   {row['volume']}: Dice {dice:.5f}, {tracked.n_windowed} windows, flags {differ or 'equal'}", flush=True)
    return row


def _flags(flags: tuple[Flag, ...]) -> set[tuple[str, int | None]]:
    return {(flag.kind, flag.canonical_slice) for flag in flags}
