"""Labelled cases → slices on the model's grid → a slice cache, through the model's own normalisation."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from SpinalCordSegLib.errors import TrainingDataError
from SpinalCordSegLib.images.volume import axial_slices
from SpinalCordSegLib.network.normalise import NormalisationConfig, normalise, normalise_coverage
from SpinalCordSegTrainerLib.batching.loader import CachedSlice, Dtype, SliceCache
from SpinalCordSegTrainerLib.datasets.cases import Case, LoadedCase, load_case
from SpinalCordSegTrainerLib.datasets.duplicates import Duplicates

_log = logging.getLogger(__name__)
_CHUNK = 16  # slices normalised at a time: bounded memory for large matrices
Slices = Literal["all", "with_label"]


def case_slices(loaded: LoadedCase, config: NormalisationConfig, slices: Slices = "all") -> Iterator[CachedSlice]:
    """Axial slices of a case, inferior first, on the model's grid (fixed_pixel: cut or padded to ``config.size``²).

    ``with_label`` leaves out slices whose label is empty: right where such slices show cord that nobody drew.
    """
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
    progress: Callable[[int, int], None] | None = None,
) -> SliceCache:
    """Read all cases once and write their slices. ``progress`` is called with (cases done, cases).

    Raises TrainingDataError that names every case that cannot be used, with its reason, before anything is kept;
    with ``leave_out`` the others are kept, and the log names those left out. The same image as that of another patient
    cannot be used. ``tolerant``: as load_case takes it; the log says what was resampled.
    """
    used: list[str] = []
    seen = Duplicates()

    def stream() -> Iterator[CachedSlice]:
        problems: list[str] = []
        for number, case in enumerate(cases):
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
                yield from case_slices(loaded, config, slices)
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
        source={"cases": used, "slices": slices},
        dtype=dtype,
    )
