"""What half the bits change: masks of the public volumes in bfloat16 (float16 too on a GPU) against float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from SpinalCordSegLib.image_io import read_image
from SpinalCordSegLib.model.checkpoint import default_model, load_checkpoint
from SpinalCordSegLib.pipeline import SegmentOptions, segment_image

_FOLDERS = ("t1w_masked", "mt_masked", "t1w_scanners", "t2star_masked")


def precision_difference(data: Path, most: int | None = None) -> dict[str, Any]:
    """Least Dice with float32 and largest differences of volume and mean area, percent, by precision."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    checkpoint = load_checkpoint(default_model())
    paths = [path for name in _FOLDERS for path in sorted((data / name).glob("*.nii.gz")) if "_seg" not in path.name]
    found: dict[str, Any] = {"device": device, "volumes": len(paths[:most])}
    rows: list[dict[str, Any]] = []
    for path in paths[:most]:
        image = read_image(path)
        exact = segment_image(image, checkpoint, SegmentOptions(device=device, track_cord=False))
        for precision in ("bfloat16", "float16") if device == "cuda" else ("bfloat16",):
            half = segment_image(image, checkpoint, SegmentOptions(device=device, precision=precision))
            both = int((exact.mask.ijk & half.mask.ijk).sum())
            total = int(exact.mask.ijk.sum()) + int(half.mask.ijk.sum())
            row = {
                "volume": f"{path.parent.name}/{path.name}",
                "precision": precision,
                "dice": 2 * both / total if total else 1.0,
                "volume_percent": _percent(half.volume_mm3, exact.volume_mm3),
                "area_percent": _percent(half.mean_csa_mm2, exact.mean_csa_mm2),
            }
            rows.append(row)
            print(f"   {row['volume']}, {precision}: Dice {row['dice']:.5f}", flush=True)
    for precision in sorted({row["precision"] for row in rows}):
        these = [row for row in rows if row["precision"] == precision]
        found[f"{precision}: least Dice"] = min(row["dice"] for row in these)
        for name in ("volume", "area"):
            largest = max((row[f"{name}_percent"] for row in these), key=abs)
            found[f"{precision}: largest difference of the {name}, %"] = round(largest, 3)
    return found | {"rows": rows}


def _percent(value: float, exact: float) -> float:
    return 100 * (value / exact - 1) if exact else 0.0
