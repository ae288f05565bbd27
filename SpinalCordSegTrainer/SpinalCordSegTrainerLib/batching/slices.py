"""Labelled cases → slices on the model's grid → a slice cache, through the model's own normalisation."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from SpinalCordSegLib.errors import ConfigurationError, TrainingDataError
from SpinalCordSegLib.images.volume import axial_slices
from SpinalCordSegLib.network.normalise import NormalisationConfig, normalise, normalise_coverage
from SpinalCordSegTrainerLib.batching.loader import CachedSlice, Dtype, SliceCache
from SpinalCordSegTrainerLib.batching.origin import FILES, case_origin
from SpinalCordSegTrainerLib.datasets.cases import Case, LoadedCase, load_case
from SpinalCordSegTrainerLib.datasets.duplicates import Duplicates

_log = logging.getLogger(__name__)
_FINER = 4  # parts of a pixel, along each axis, in which a contour is moved
_CHUNK = 16  # slices normalised at a time: bounded memory for large matrices
Slices = Literal["all", "with_label"]


def inset(coverage: NDArray[np.float32], pixel_mm: float, inset_mm: float) -> NDArray[np.float32]:
    """(H, W) share of each pixel that is cord, its contour (share ½) moved inwards by ``inset_mm``; 0 where nothing is
    left. A slice without cord stays as it is."""
    if not coverage.any():
        return coverage
    fine = functional.interpolate(
        torch.from_numpy(coverage)[None, None], scale_factor=_FINER, mode="bilinear", align_corners=False
    )
    inside = fine[0, 0].numpy() >= 0.5
    depth = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    depth -= 0.5 * np.sign(depth)  # from the edge, not from the first pixel beyond it
    kept = np.clip(0.5 + depth - inset_mm * _FINER / pixel_mm, 0, 1).astype(np.float32)
    return np.asarray(functional.avg_pool2d(torch.from_numpy(kept)[None, None], _FINER)[0, 0].numpy())


def case_slices(
    loaded: LoadedCase, config: NormalisationConfig, slices: Slices = "all", inset_mm: float = 0.0
) -> Iterator[CachedSlice]:
    """Axial slices of a case, inferior first, on the model's grid (fixed_pixel: cut or padded to ``config.size``²).

    ``with_label`` leaves out slices whose label is empty: right where such slices show cord that nobody drew.
    ``inset_mm``: how far inside the label's contour the model is to draw. Raises ConfigurationError for an inset on a
    grid whose pixels have no fixed size.
    """
    if inset_mm and config.pixel_mm is None:
        raise ConfigurationError("an inset in mm needs a model with pixels of a fixed size (normalisation fixed_pixel)")
    images, labels = axial_slices(loaded.image), axial_slices(loaded.mask)
    wanted = np.arange(len(images.pixels))
    if slices == "with_label":
        wanted = np.flatnonzero(labels.pixels.any(axis=(1, 2)))
    grid = (config.size, config.size) if config.kind == "fixed_pixel" else None
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        pixels = torch.from_numpy(np.ascontiguousarray(images.pixels[chunk], dtype=np.float32))
        cord = torch.from_numpy(np.ascontiguousarray(labels.pixels[chunk]))
        image, _ = normalise(pixels, images.pixel_mm, config, grid)
        coverage = normalise_coverage(cord, images.pixel_mm, config, grid)
        for one, share in zip(image[:, 0].numpy(), coverage[:, 0].numpy(), strict=True):
            if inset_mm and config.pixel_mm:
                share = inset(share, config.pixel_mm, inset_mm)
            yield CachedSlice(one, share, loaded.case.subject)


def cache_cases(
    cases: Sequence[Case],
    folder: Path,
    config: NormalisationConfig,
    *,
    label: int | None = None,
    slices: Slices = "all",
    dtype: Dtype = "float16",
    leave_out: bool = False,
    tolerant: bool = False,
    inset_mm: float = 0.0,
    replacing: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> SliceCache:
    """Read all cases once and write their slices. ``progress`` gets (cases done, cases).

    Raises TrainingDataError that names every case that cannot be used, with its reason, before anything is kept;
    with ``leave_out`` the others are kept, and the log names those left out. The same image as that of another patient
    cannot be used. ``tolerant``, ``inset_mm`` and ``replacing``: as load_case, case_slices and SliceCache.write take
    them; the log says what was resampled. The cache keeps what it was made from: these options, every case's files.
    """
    options = {"label": label, "slices": slices, "leave_out": leave_out, "tolerant": tolerant, "inset_mm": inset_mm}
    used: list[str] = []
    files: dict[str, Any] = {}
    seen = Duplicates()

    def stream() -> Iterator[CachedSlice]:
        problems: list[str] = []
        for number, case in enumerate(cases):
            files[case.name] = case_origin(case, label)
            try:
                loaded = load_case(case, label, tolerant=tolerant)
                seen.refuse_twin(loaded)
            except TrainingDataError as error:
                problems.append(str(error))
                continue
            for note in loaded.notes:
                _log.warning("case %s: %s", case.name, note)
            used.append(case.name)
            if leave_out or not problems:
                yield from case_slices(loaded, config, slices, inset_mm)
            if progress is not None:
                progress(number + 1, len(cases))
        if problems and not (leave_out and used):
            raise TrainingDataError("; ".join(problems))
        for problem in problems:
            _log.warning("left out: %s", problem)

    return SliceCache.write(
        folder,
        stream(),
        pixel_mm=config.pixel_mm if config.kind == "fixed_pixel" else None,
        normalisation=dataclasses.asdict(config),
        kind="real",
        source={"cases": used, **options, FILES: files},
        dtype=dtype,
        replacing=replacing,
    )
