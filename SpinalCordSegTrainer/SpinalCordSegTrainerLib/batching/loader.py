"""Slice caches: normalised slices and their cord coverage as memory-mapped arrays, written once, read often.

A cache is a folder with ``images.npy`` (n, S, S) uint8 (value/255) or float16, already normalised to 0..1 on the
model's grid; ``coverage.npy`` (n, S, S) uint8, the share of each pixel that is cord times 255, so that partial
volume survives; and ``cache.json``. Memory stays bounded: only the slices of a batch are ever read.
"""

from __future__ import annotations

import json
import mmap
import os
import secrets
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from SpinalCordSegLib.errors import ConfigurationError, OutputError, TrainingDataError
from SpinalCordSegLib.network.normalise import NormalisationConfig
from SpinalCordSegLib.plain_json import parse_json
from SpinalCordSegLib.writing import explain, remove_abandoned_parts

FORMAT = 1
_HEADER_BYTES = 128
_GIVE_BACK_BYTES = 256 << 20
Dtype = Literal["uint8", "float16"]


@dataclass(frozen=True, eq=False)
class CachedSlice:
    """``image``: (S, S) floats 0..1. ``coverage``: (S, S) floats 0..1. ``subject``: whose, for the split."""

    image: NDArray
    coverage: NDArray
    subject: str


@dataclass(frozen=True)
class CacheInfo:
    """What cache.json holds.

    ``pixel_mm``: mm per pixel, None where it differs between slices. ``normalisation``: fields of the model's
    NormalisationConfig, empty when unknown. ``centres``: (row, column) of the cord in pixels per slice, None for
    a slice without cord. ``source``: what the slices were made from, for the model card (without ``files``: see
    ``origin``).
    """

    size: int
    pixel_mm: float | None
    normalisation: dict[str, Any]
    kind: Literal["simulated", "real"]
    source: dict[str, Any]
    subjects: tuple[str, ...]
    centres: tuple[tuple[float, float] | None, ...]


@dataclass
class _Mapped:
    """Bytes read since the pages of the maps were last given back to the system, which keeps them while it has room.

    Without that a run that has gone through a cache once holds all of it as its own resident memory.
    """

    count: int = 0

    def note(self, n_bytes: int, maps: Iterable[NDArray]) -> None:
        self.count += n_bytes
        if self.count < _GIVE_BACK_BYTES or not hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            return
        self.count = 0
        for pixels in maps:
            pages = getattr(pixels, "_mmap", None)
            if pages is not None:
                pages.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True, eq=False)
class SliceCache:
    """An opened cache. ``images`` and ``coverage`` are read-only memory maps (n, S, S)."""

    folder: Path
    images: NDArray
    coverage: NDArray
    info: CacheInfo
    _mapped: _Mapped = field(default_factory=_Mapped, repr=False)

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: Sequence[int] | NDArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Images and coverage of the given slices, (len, S, S) float32 in 0..1."""
        images, coverage = self.images[indices], self.coverage[indices]
        self._mapped.note(images.nbytes + coverage.nbytes, (self.images, self.coverage))
        return _shares(images), _shares(coverage)

    @classmethod
    def open(cls, folder: Path | str) -> SliceCache:
        """Raises TrainingDataError when the folder is missing, incomplete, or its parts do not fit together."""
        folder = Path(folder)
        try:
            raw = parse_json((folder / "cache.json").read_text(encoding="utf-8"))
            images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
            coverage = np.load(folder / "coverage.npy", mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError, TokenError) as error:  # numpy reads the header as Python's tokens
            raise TrainingDataError(f"{folder}: is not a readable slice cache ({error}); write it again") from error
        info = _info(raw, folder)
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
        pixel_mm: float | None,
        normalisation: dict[str, Any],
        kind: Literal["simulated", "real"],
        source: dict[str, Any],
        dtype: Dtype = "uint8",
        replacing: bool = False,
    ) -> SliceCache:
        """Stream slices to disk; the folder appears only once complete. Nothing that is there is replaced, but with
        ``replacing`` the cache there, which stays as it was until then.

        Raises TrainingDataError for no slice at all or slices of different sizes, OutputError when the folder holds
        files already, another program was faster, or the system refuses.
        """
        folder = Path(folder)
        part = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.part")
        try:
            if folder.exists() and any(folder.iterdir()) and not replacing:
                raise OutputError(f"{folder}: already holds files; choose another folder or remove it")
            remove_abandoned_parts(folder.parent)
            part.mkdir(parents=True)
            size, subjects, centres = _stream(part, slices, dtype, folder)
            details: dict[str, Any] = {"format": FORMAT, "size": size, "pixel_mm": pixel_mm}
            details |= {"normalisation": normalisation, "kind": kind, "source": source}
            details |= {"subjects": subjects, "centres": centres}
            (part / "cache.json").write_text(json.dumps(details), encoding="utf-8")
            _put_in_place(part, folder, replacing)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written: {explain(error)}") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return cls.open(folder)


def _put_in_place(part: Path, folder: Path, replacing: bool) -> None:
    before = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}.part")
    if replacing:
        os.replace(folder, before)
    elif folder.exists():
        folder.rmdir()  # it is empty, else it is refused; Windows does not replace it
    try:
        os.replace(part, folder)
    finally:
        if replacing and not folder.exists():
            os.replace(before, folder)
    shutil.rmtree(before, ignore_errors=True)


def check_normalisation(cache: SliceCache, wanted: NormalisationConfig) -> None:
    """Raise ConfigurationError where the slices were normalised otherwise than a model wants it."""
    different = different_normalisation(cache, wanted)
    if different:
        raise ConfigurationError(f"{cache.folder}: {different}; use the same or write the cache again")


def different_normalisation(cache: SliceCache, wanted: NormalisationConfig) -> str:
    """How the slices were normalised otherwise than a model wants it, in words; "" where they were not."""
    # How large the network's view may be and how label maps are cut does not change what a cached slice looks like.
    ignored = {"min_size", "max_size", "labels"} | ({"size"} if wanted.kind == "fixed_pixel" else set())
    for name, asked in asdict(wanted).items():
        made = cache.info.normalisation.get(name, asked)  # a cache of an earlier version lacks some
        if name not in ignored and made != asked:
            return f"was normalised with {name} {made!r}, {asked!r} is wanted"
    return ""


def _shares(values: NDArray) -> NDArray[np.float32]:
    """Stored values as 0..1 in float32. By torch, which turns float16 into float32 at five times numpy's speed."""
    shares = torch.from_numpy(values).float()
    if values.dtype == np.uint8:
        shares *= 1 / 255
    return shares.numpy()


def _info(raw: Any, folder: Path) -> CacheInfo:
    try:
        if raw["format"] != FORMAT:
            raise TrainingDataError(f"{folder}: cache format {raw['format']}, {FORMAT} is known; write it again")
        return CacheInfo(
            size=int(raw["size"]),
            pixel_mm=None if raw["pixel_mm"] is None else float(raw["pixel_mm"]),
            normalisation=dict(raw["normalisation"]),
            kind=raw["kind"],
            source=dict(raw["source"]),
            subjects=tuple(raw["subjects"]),
            centres=tuple(None if centre is None else (centre[0], centre[1]) for centre in raw["centres"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TrainingDataError(f"{folder}: cache.json is incomplete ({error}); write the cache again") from error


def _stream(
    part: Path, slices: Iterable[CachedSlice], dtype: Dtype, folder: Path
) -> tuple[int, list[str], list[tuple[float, float] | None]]:
    subjects: list[str] = []
    centres: list[tuple[float, float] | None] = []
    size = 0
    with open(part / "images.npy", "wb") as images, open(part / "coverage.npy", "wb") as coverage:
        for file in (images, coverage):
            file.seek(_HEADER_BYTES)
        for one in slices:
            size = size or one.image.shape[0]
            if one.image.shape != (size, size) or one.coverage.shape != (size, size):
                raise TrainingDataError(f"{folder}: a slice is {one.image.shape}, expected {(size, size)}")
            images.write(_encode(one.image, dtype))
            share = np.rint(np.clip(one.coverage, 0, 1) * 255).astype(np.uint8)
            coverage.write(share.tobytes())
            subjects.append(one.subject)
            centres.append(_centre(share))
        if not subjects:
            raise TrainingDataError(f"{folder}: no slice to write")
        _npy_header(images, dtype, (len(subjects), size, size))
        _npy_header(coverage, "uint8", (len(subjects), size, size))
        for file in (images, coverage):
            file.flush()
            os.fsync(file.fileno())
    return size, subjects, centres


def _encode(image: NDArray, dtype: Dtype) -> bytes:
    if dtype == "uint8":
        return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8).tobytes()
    return image.astype(np.float16).tobytes()


def _centre(share: NDArray[np.uint8]) -> tuple[float, float] | None:
    if not (share >= 128).any():
        return None
    weight = share.astype(np.float64)
    rows, columns = np.arange(share.shape[0])[:, None], np.arange(share.shape[1])
    total = weight.sum()
    return round(float((weight * rows).sum() / total), 2), round(float((weight * columns).sum() / total), 2)


def _npy_header(file: BinaryIO, dtype: Dtype, shape: tuple[int, ...]) -> None:
    # Version 1.0 of the NPY format, padded to a fixed length, because the count is known only at the end.
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    room = _HEADER_BYTES - 10
    file.seek(0)
    file.write(b"\x93NUMPY\x01\x00" + room.to_bytes(2, "little") + text.ljust(room - 1).encode("latin1") + b"\n")


def split_subjects(subjects: Sequence[str], fraction: float, seed: int) -> tuple[list[str], list[str]]:
    """Subjects for training and for validation: ``fraction`` of them, at random but seeded, at least one of each.

    Raises TrainingDataError with fewer than two subjects. ``fraction`` 0 gives an empty second list.
    """
    unique = sorted(set(subjects))
    if fraction == 0:
        return unique, []
    if len(unique) < 2:
        raise TrainingDataError(
            f"{len(unique)} subject found: a split by subject needs two; add cases or give validation caches"
        )
    count = min(max(1, round(fraction * len(unique))), len(unique) - 1)
    order = np.random.default_rng([seed, 20]).permutation(len(unique))
    held_out = {unique[n] for n in order[:count]}
    return [one for one in unique if one not in held_out], sorted(held_out)


def slices_of(cache: SliceCache, subjects: Iterable[str]) -> NDArray[np.int64]:
    """Indices of the slices that belong to these subjects, ascending."""
    wanted = set(subjects)
    return np.flatnonzero([one in wanted for one in cache.info.subjects])


def evenly(indices: NDArray[np.int64], count: int | None) -> NDArray[np.int64]:
    """At most ``count`` of the indices, evenly spread; None keeps all."""
    if count is None or count >= len(indices):
        return indices
    return indices[np.linspace(0, len(indices) - 1, count).round().astype(np.int64)]
