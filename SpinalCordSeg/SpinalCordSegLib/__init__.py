"""SpinalCordSeg as a library: ``segment`` and ``measure`` give a ``Case``, which ``save_case`` writes with its report.

Nothing is imported before it is needed.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from SpinalCordSegLib.case import Case

# Read when ONNX Runtime is first loaded: from 1.29 on it reports its use to Microsoft on Linux and macOS too.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

_HOME = {
    "Case": "case", "save_case": "case", "Volume": "volume", "read_image": "image_io", "read_cord": "image_io",
    "SpinalCordSegError": "errors", "read_work_list": "work_list", "write_cohort": "cohort",
}  # fmt: skip

__all__ = ["measure", "segment", *_HOME]


def segment(image: str | Path, model: str | Path | None = None, **options: Any) -> Case:
    """Segment and measure an image file or the folder of a DICOM series.

    ``model``: a listed name or a weights file, None for the model that comes along; ``options``: the fields of
    ``pipeline.SegmentOptions``; discs are looked for unless ``levels`` is given. No cord is an answer with a flag.
    Raises SpinalCordSegError.
    """
    from SpinalCordSegLib.image_io import read_image
    from SpinalCordSegLib.model.checkpoint import find_model, load_checkpoint
    from SpinalCordSegLib.pipeline import SegmentOptions, segment_image
    from SpinalCordSegLib.vertebral_levels import LevelOptions

    options.setdefault("levels", LevelOptions(find=True))
    return segment_image(read_image(Path(image)), load_checkpoint(find_model(model)), SegmentOptions(**options))


def measure(mask: str | Path, image: str | Path | None = None, *, label: int | None = None) -> Case:
    """Measure a mask made elsewhere; ``label``: the cord's value in a map of several. ``image``: what it was drawn on,
    in which discs are looked for.

    Raises SpinalCordSegError.
    """
    from SpinalCordSegLib.case_folder import case_name_of_mask
    from SpinalCordSegLib.image_io import read_cord, read_image
    from SpinalCordSegLib.pipeline import measure_mask
    from SpinalCordSegLib.vertebral_levels import LevelOptions

    cord, notes = read_cord(Path(mask), label)
    drawn_on = None if image is None else read_image(Path(image))
    return measure_mask(
        cord, case_name_of_mask(Path(mask)), image=drawn_on, notes=notes, levels=LevelOptions(find=drawn_on is not None)
    )


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
