"""Cord tracking against the full run: masks and flags, on all public volumes and on simulated necks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

from Recipes.simulation.atlas import read_maps
from Recipes.simulation.people import SimulatedConfig, cohort_person
from SpinalCordSegLib.flags import Flag
from SpinalCordSegLib.image_io import Image, read_image
from SpinalCordSegLib.model.checkpoint import Checkpoint, default_model, load_checkpoint
from SpinalCordSegLib.pipeline import SegmentOptions, segment_image

LEAST_DICE = 0.999
_IMAGE_FOLDERS = ("t1w_masked", "mt_masked", "t1w_scanners", "t2_masked", "t2star_masked")


def tracking_equality(data: Path, simulated: int, kept: Path) -> dict[str, Any]:
    """Both runs of every volume: least Dice, how many miss the bar or have other flags, windows, processor time.

    ``kept``: a file of JSON lines that gets each volume's row when it is done. Called again it goes on where it was
    ended, as long as the model is the same; rows of another model are left out.
    """
    checkpoint = load_checkpoint(default_model())
    done = _kept_rows(kept, checkpoint)
    rows = []
    for name, read in _images(data, simulated):
        row = done.get(name)
        if row is None:
            row = {"volume": name, "model": checkpoint.sha256} | _compared(read(), checkpoint)
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            told = f"Dice {row['dice']:.5f}, flags {row['flags_differ'] or 'equal'}"
            print(f"   {name}: {told}", flush=True)
        rows.append(row)
    full, tracked = (sum(row[name] for row in rows) for name in ("cpu_seconds_full", "cpu_seconds_tracked"))
    return {
        "model": f"{checkpoint.name} {checkpoint.version}, SHA-256 {(checkpoint.sha256 or '')[:12]}",
        "volumes": len(rows),
        "simulated among them": simulated,
        "slices": sum(row["slices"] for row in rows),
        "least Dice with the full run": min(row["dice"] for row in rows),
        f"volumes under {LEAST_DICE}": sum(row["dice"] < LEAST_DICE for row in rows),
        "volumes whose flags differ": sum(bool(row["flags_differ"]) for row in rows),
        "of these: only in what was removed apart from the cord": sum(
            bool(row["flags_differ"]) and set(row["flags_differ"]) <= {"cleaned"} for row in rows
        ),
        "processor time without writing, full over tracked": round(full / tracked, 3),
        "rows": rows,
    }


def _kept_rows(kept: Path, checkpoint: Checkpoint) -> dict[str, dict[str, Any]]:
    """The rows of this model, by volume."""
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.is_file() else []
    rows = [json.loads(line) for line in lines]
    return {row["volume"]: row for row in rows if row["model"] == checkpoint.sha256}


def _images(data: Path, simulated: int) -> Iterator[tuple[str, Callable[[], Image]]]:
    """Names, and how to get the image: only what is not done yet is read."""
    for folder in _IMAGE_FOLDERS:
        for path in sorted((data / folder).glob("*.nii.gz")):
            if "_seg" not in path.name:
                yield f"{folder}/{path.name}", partial(read_image, path)
    yield "dicom_t1w_head", partial(read_image, data / "dicom_t1w_head")
    config = SimulatedConfig(necks=simulated)
    maps = cache(lambda: read_maps(data, only=config.shapes))

    def person(number: int) -> Image:
        return Image(cohort_person(number, maps(), config).image, Path("simulated"), f"simulated-{number:03d}")

    for number in range(simulated):
        yield f"simulated-{number:03d}", partial(person, number)


def _compared(image: Image, checkpoint: Checkpoint) -> dict[str, Any]:
    # Processor time, of all threads: the proof takes long, and the machine may have other work meanwhile.
    times = [time.process_time()]
    full = segment_image(image, checkpoint, SegmentOptions(device="cpu", track_cord=False))
    times.append(time.process_time())
    tracked = segment_image(image, checkpoint, SegmentOptions(device="cpu", track_cord=True))
    times.append(time.process_time())
    first, second = full.mask.ijk, tracked.mask.ijk
    total = int(first.sum()) + int(second.sum())
    dice = 2 * int((first & second).sum()) / total if total else 1.0
    differ = sorted({kind for kind, *_ in _flags(full.flags) ^ _flags(tracked.flags)})
    return {
        "slices": int(full.mask.voxels.shape[0]),
        "dice": dice,
        "flags_differ": differ,
        "cpu_seconds_full": times[1] - times[0],
        "cpu_seconds_tracked": times[2] - times[1],
    }


def _flags(flags: tuple[Flag, ...]) -> set[tuple[str, int | None]]:
    return {(flag.kind, flag.canonical_slice) for flag in flags}
