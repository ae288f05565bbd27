"""Slice caches: normalised slices and their cord coverage as memory-mapped arrays, written once, read often.

A cache is a folder with ``images.npy`` (n, S, S) uint8 (value/255) or float16, already normalised to 0..1 on the
model's grid; ``coverage.npy`` (n, S, S) uint8, the share of each pixel that is cord times 255, so that partial
volume survives; and ``cache.json``. Memory stays bounded: only the slices of a batch are ever read.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.errors import ConfigurationError, OutputError, TrainingDataError
from SpinalCordSegLib.files import explain, from_json, parse_json, remove_abandoned_parts, to_json
from SpinalCordSegLib.model.preprocessing import NormalisationConfig, normalise, normalise_coverage
from SpinalCordSegTrainerLib.dataset import LabelledCase, LoadedCase, load_case
from SpinalCordSegTrainerLib.dataset_check import refuse_twin

_HEADER_BYTES = 128  # of an NPY file of three axes
Dtype = Literal["uint8", "float16"]

CachedSlice = tuple[NDArray, NDArray, str]
"""Image and coverage, (S, S) floats 0..1, and whose slice it is, for the split."""


@dataclass(frozen=True)
class CacheInfo:
    """What cache.json holds.

    ``normalisation``: fields of the model's NormalisationConfig, empty when unknown. ``centres``: (row, column) of the
    cord in pixels per slice, None for a slice without cord. ``source``: what the slices were made from, for the model
    card.
    """

    size: int
    normalisation: dict[str, Any]
    kind: str  # "simulated" or "real"
    source: dict[str, Any]
    subjects: tuple[str, ...]
    centres: tuple[tuple[float, float] | None, ...]


@dataclass(eq=False)
class SliceCache:
    """An opened cache. ``images`` and ``coverage`` are read-only memory maps (n, S, S)."""

    folder: Path
    images: NDArray
    coverage: NDArray
    info: CacheInfo

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: Sequence[int] | NDArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Images and coverage of the given slices, (len, S, S) float32 in 0..1."""
        return _shares(self.images[indices]), _shares(self.coverage[indices])

    @classmethod
    def open(cls, folder: Path | str) -> SliceCache:
        """Raises TrainingDataError when the folder is missing, incomplete, or its parts do not fit together."""
        folder = Path(folder)
        try:
            info = from_json(CacheInfo, parse_json((folder / "cache.json").read_bytes()))
            # np.load would take a file for a zip, or for a pickle, by its first bytes
            images, coverage = (open_memmap(folder / name, mode="r") for name in ("images.npy", "coverage.npy"))
        except (OSError, ValueError, EOFError, TokenError) as error:  # numpy reads the header as Python's tokens
            raise TrainingDataError(f"{folder}: is not a readable slice cache; write it again") from error
        shape = (len(info.subjects), info.size, info.size)
        if images.shape != shape or coverage.shape != shape or len(info.centres) != shape[0]:
            raise TrainingDataError(
                f"{folder}: the arrays are {images.shape} and {coverage.shape}, cache.json says {shape}; write it again"
            )
        return cls(folder, images, coverage, info)

    @classmethod
    def write(
        cls,
        folder: Path | str,
        slices: Iterable[CachedSlice],
        *,
        normalisation: dict[str, Any],
        kind: Literal["simulated", "real"],
        source: dict[str, Any],
        dtype: Dtype = "uint8",
    ) -> SliceCache:
        """Stream slices to disk; the folder appears only once complete. Nothing that is there is replaced.

        Raises TrainingDataError for no slice at all or slices of different sizes, OutputError when the folder holds
        files already, another program was faster, or the system refuses.
        """
        folder = Path(folder)
        part = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.part")
        try:
            if folder.exists() and any(folder.iterdir()):
                raise OutputError(f"{folder}: already holds files; choose another folder or remove it")
            remove_abandoned_parts(folder.parent)
            part.mkdir(parents=True)
            size, subjects, centres = _stream(part, slices, dtype, folder)
            info = CacheInfo(size, normalisation, kind, source, tuple(subjects), tuple(centres))
            (part / "cache.json").write_text(json.dumps(to_json(info)), encoding="utf-8")
            if folder.exists():
                folder.rmdir()  # it is empty, else it is refused; Windows does not replace it
            os.replace(part, folder)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written: {explain(error)}") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return cls.open(folder)


def check_normalisation(cache: SliceCache, wanted: NormalisationConfig) -> None:
    """Raise ConfigurationError where the slices were normalised otherwise than a model wants it."""
    # How large the network's view may be and how label maps are cut does not change what a cached slice looks like.
    ignored = {"min_size", "max_size", "labels"} | ({"size"} if wanted.kind == "fixed_pixel" else set())
    for name, asked in asdict(wanted).items():
        made = cache.info.normalisation.get(name, asked)  # a cache of an earlier version lacks some
        if name not in ignored and made != asked:
            raise ConfigurationError(
                f"{cache.folder}: was normalised with {name} {made!r}, {asked!r} is wanted; use the same or write the"
                " cache again"
            )


def _shares(values: NDArray) -> NDArray[np.float32]:
    """Stored values as 0..1 in float32. By torch, which turns float16 into float32 at five times numpy's speed."""
    shares = torch.from_numpy(values).float()
    if values.dtype == np.uint8:
        shares *= 1 / 255
    return shares.numpy()


def _stream(
    part: Path, slices: Iterable[CachedSlice], dtype: Dtype, folder: Path
) -> tuple[int, list[str], list[tuple[float, float] | None]]:
    subjects: list[str] = []
    centres: list[tuple[float, float] | None] = []
    size = 0
    with open(part / "images.npy", "wb") as images, open(part / "coverage.npy", "wb") as coverage:
        for file in (images, coverage):
            file.seek(_HEADER_BYTES)
        for pixels, cord, subject in slices:
            size = size or pixels.shape[0]
            if pixels.shape != (size, size) or cord.shape != (size, size):
                raise TrainingDataError(f"{folder}: a slice is {pixels.shape}, expected {(size, size)}")
            image = np.rint(np.clip(pixels, 0, 1) * 255) if dtype == "uint8" else pixels
            images.write(image.astype(dtype).tobytes())
            share = np.rint(np.clip(cord, 0, 1) * 255).astype(np.uint8)
            coverage.write(share.tobytes())
            subjects.append(subject)
            centres.append(_centre(share))
        if not subjects:
            raise TrainingDataError(f"{folder}: no slice to write")
        for file, kind in ((images, dtype), (coverage, "uint8")):  # the count is known only now
            file.seek(0)
            descr = np.lib.format.dtype_to_descr(np.dtype(kind))
            header = {"descr": descr, "fortran_order": False, "shape": (len(subjects), size, size)}
            np.lib.format.write_array_header_1_0(file, header)
            file.flush()
            os.fsync(file.fileno())
    return size, subjects, centres


def _centre(share: NDArray[np.uint8]) -> tuple[float, float] | None:
    if not (share >= 128).any():
        return None
    row, column = ndimage.center_of_mass(share)
    return round(float(row), 2), round(float(column), 2)


def slices_of(cache: SliceCache, subjects: Iterable[str]) -> NDArray[np.int64]:
    """Indices of the slices that belong to these subjects, ascending."""
    wanted = set(subjects)
    return np.flatnonzero([one in wanted for one in cache.info.subjects])


def evenly(indices: NDArray[np.int64], count: int | None) -> NDArray[np.int64]:
    """At most ``count`` of the indices, evenly spread; None keeps all."""
    if count is None or count >= len(indices):
        return indices
    return indices[np.linspace(0, len(indices) - 1, count).round().astype(np.int64)]


# Labelled cases → slices on the model's grid, by its own normalisation → a slice cache.


_log = logging.getLogger(__name__)
_CHUNK = 16  # slices normalised at a time: bounded memory for large matrices


def case_slices(loaded: LoadedCase, config: NormalisationConfig, only_labelled: bool) -> Iterator[CachedSlice]:
    """Axial slices of a case, inferior first, on the model's grid (fixed_pixel: cut or padded to ``config.size``²).

    ``only_labelled`` leaves out slices whose label is empty: right where such slices show cord that nobody drew.
    """
    images, labels, pixel_mm = loaded.image.voxels, loaded.mask.voxels, loaded.image.pixel_mm
    wanted = np.arange(len(images))
    if only_labelled:
        wanted = np.flatnonzero(labels.any(axis=(1, 2)))
    grid = (config.size, config.size) if config.kind == "fixed_pixel" else None
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        pixels = torch.from_numpy(np.ascontiguousarray(images[chunk], dtype=np.float32))
        cord = torch.from_numpy(np.ascontiguousarray(labels[chunk]))
        image, _ = normalise(pixels, pixel_mm, config, grid)
        coverage = normalise_coverage(cord, pixel_mm, config, grid)
        for one, share in zip(image[:, 0].numpy(), coverage[:, 0].numpy(), strict=True):
            yield one, share, loaded.case.subject


def cache_cases(
    cases: Sequence[LabelledCase],
    folder: Path,
    config: NormalisationConfig,
    *,
    only_labelled: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
    adjust: Callable[[NDArray[np.float32]], NDArray[np.float32]] = lambda coverage: coverage,
    **more: Any,
) -> tuple[SliceCache, list[tuple[str, str]]]:
    """Read all cases once and write their slices; the log says what was resampled.

    Gives the cache, and the name of each case that cannot be used and is left out, with the reason: the same image as
    that of another patient cannot. Raises TrainingDataError when none can. ``progress`` gets (cases done, cases);
    ``adjust`` changes the coverage of each slice, and ``more`` says how, in the cache's ``source``.
    """
    used: list[str] = []
    seen: dict[bytes, LabelledCase] = {}
    problems: list[tuple[str, str]] = []

    def stream() -> Iterator[CachedSlice]:
        for number, case in enumerate(cases):
            try:
                loaded = load_case(case)
                refuse_twin(loaded, seen)
            except TrainingDataError as error:
                problems.append((case.name, str(error).removeprefix(f"case {case.name}: ")))
                continue
            for note in loaded.notes:
                _log.warning("case %s: %s", case.name, note)
            used.append(case.name)
            for image, coverage, subject in case_slices(loaded, config, only_labelled):
                yield image, adjust(coverage), subject
            progress(number + 1, len(cases))
        if not used:
            raise TrainingDataError("no case can be used; " + "; ".join(": ".join(one) for one in problems[:5]))

    written = SliceCache.write(
        folder,
        stream(),
        normalisation=asdict(config),
        kind="real",
        source={"cases": used, "only_labelled": only_labelled, **more},
        dtype="float16",
    )
    return written, problems
