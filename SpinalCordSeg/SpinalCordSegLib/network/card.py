"""The model card in the header of a weights file, and the proof that the file is whole. Only the standard library.

A safetensors file is 8 bytes (length of the header, little-endian), a JSON header (tensor table and metadata) and
the tensor bytes. Ours carries two metadata entries: ``card`` (JSON) and ``digest``, the SHA-256 over card, tensor
table and tensor bytes. Nothing in such a file can run code.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from SpinalCordSegLib.errors import ModelFileError
from SpinalCordSegLib.plain_json import parse_json

FORMAT = "SpinalCordSeg model"
FORMAT_VERSION = 1
REPEATABILITY = "repeatability"
"""The field of the scores with the measured repeatability; what it holds: longitudinal/repeatability.py."""

_MAX_HEADER = 16 << 20
_REQUIRED: dict[str, type | tuple[type, ...]] = {
    "format": str,
    "format_version": int,
    "name": str,
    "version": str,
    "network": dict,
    "normalisation": dict,
    "calibration": dict,
    "training": dict,
    "scores": dict,
    "provenance": dict,
    "licence": str,
    "software_version": str,
}


@dataclass(frozen=True)
class ModelCard:
    """What a weights file says of itself; the dictionaries are as stored, checked only for being there.

    ``sha256``: of the whole file, None where it was not read (``load_card`` alone).
    """

    path: Path
    name: str
    version: str
    network: dict[str, Any]
    normalisation: dict[str, Any]
    calibration: dict[str, Any]
    training: dict[str, Any]
    scores: dict[str, Any]
    provenance: dict[str, Any]
    licence: str
    software_version: str
    sha256: str | None = field(default=None)


@dataclass(frozen=True)
class Header:
    """The parsed beginning of a safetensors file. ``data_offset``: where the tensor bytes begin."""

    table: dict[str, Any]
    metadata: dict[str, str]
    data_offset: int


def load_card(path: Path) -> ModelCard:
    """Read only the header: quick, but blind to altered tensor bytes (``verified_card`` is not).

    Raises ModelFileError when this is not a weights file of SpinalCordSeg or one of a newer format.
    """
    return _card(path, _read_header(path), None)


def verified_card(path: Path) -> ModelCard:
    """Read the whole file, check its digest, and give the card with the file's SHA-256.

    Raises ModelFileError as ``load_card``, and when any byte that matters was changed.
    """
    header = _read_header(path)
    card_json = header.metadata.get("card", "")
    sha256, content = hashlib.sha256(), content_hash(card_json, header.table)
    try:
        with path.open("rb") as file:
            sha256.update(file.read(header.data_offset))
            while chunk := file.read(1 << 20):
                sha256.update(chunk)
                content.update(chunk)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from error
    card = _card(path, header, sha256.hexdigest())
    if content.hexdigest() != header.metadata.get("digest"):
        raise ModelFileError(f"{path}: the file is damaged or was altered (its SHA-256 digest differs): get it again")
    return card


def content_hash(card_json: str, table: dict[str, Any]) -> hashlib._Hash:
    """SHA-256 begun with the card and the tensor table; the tensor bytes follow."""
    begun = hashlib.sha256(card_json.encode())
    begun.update(json.dumps(table, sort_keys=True).encode())
    return begun


def join_header(card_json: str, digest: str, table: dict[str, Any], data: bytes) -> bytes:
    """A whole weights file. Written here, because safetensors writes metadata entries in random order."""
    header = json.dumps({"__metadata__": {"card": card_json, "digest": digest}, **table}).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data


def split_header(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and tensor bytes of serialised safetensors."""
    end = 8 + struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8:end]), content[end:]


def _read_header(path: Path) -> Header:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(9)
            _refuse_other_formats(path, start)
            length = struct.unpack("<Q", start[:8])[0]
            if not 0 < length <= min(size - 8, _MAX_HEADER):
                raise ModelFileError(
                    f"{path}: not a safetensors file, or it is truncated ({size} bytes): get the file again"
                )
            text = start[8:] + file.read(length - 1)
    except FileNotFoundError as error:
        raise ModelFileError(f"{path}: there is no such weights file") from error
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        table = parse_json(text)
    except ValueError as error:
        raise ModelFileError(f"{path}: the header is not readable JSON: the file is damaged, get it again") from error
    if not isinstance(table, dict):
        raise ModelFileError(f"{path}: the header is not a table of tensors: not a safetensors file")
    metadata = table.pop("__metadata__", {})
    _check_length(path, table, size - 8 - length)
    return Header(table, metadata if isinstance(metadata, dict) else {}, 8 + length)


def _refuse_other_formats(path: Path, start: bytes) -> None:
    """A pickle could run code when opened: it is named and never opened."""
    begins_as_header = start[4:] == b"\0\0\0\0{"  # 0x80 may also be the length's first byte
    if not begins_as_header and (start[:4] == b"PK\x03\x04" or start[:1] == b"\x80"):
        raise ModelFileError(
            f"{path}: this is a pickle (a torch.save file), which can run programs when it is opened: it is refused;"
            " use a .safetensors file written by SpinalCordSeg"
        )
    if len(start) < 9:
        raise ModelFileError(f"{path}: the file is truncated ({len(start)} bytes): get it again")


def _check_length(path: Path, table: dict[str, Any], n_bytes: int) -> None:
    try:
        expected = max((int(entry["data_offsets"][1]) for entry in table.values()), default=0)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise ModelFileError(f"{path}: the tensor table is not that of a safetensors file") from error
    if n_bytes != expected:
        raise ModelFileError(
            f"{path}: truncated or overlong: {n_bytes} bytes of weights, expected {expected}: get the file again"
        )


def _card(path: Path, header: Header, sha256: str | None) -> ModelCard:
    text = header.metadata.get("card")
    if not isinstance(text, str) or "digest" not in header.metadata:
        raise ModelFileError(
            f"{path}: a safetensors file without a SpinalCordSeg model card: use weights that SpinalCordSeg wrote"
        )
    try:
        card = parse_json(text)
    except ValueError as error:
        raise ModelFileError(f"{path}: the model card is not readable JSON: the file is damaged") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise ModelFileError(f"{path}: the model card is not one of SpinalCordSeg")
    version = card.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise ModelFileError(
            f"{path}: format version {version} is newer than {FORMAT_VERSION}, which this program reads:"
            " update SpinalCordSeg"
        )
    for name, kind in _REQUIRED.items():
        if not isinstance(card.get(name), kind):
            raise ModelFileError(f"{path}: the model card has no valid entry {name!r}: use a complete weights file")
    stored = {name: card[name] for name in _REQUIRED if name not in ("format", "format_version")}
    return ModelCard(path=path, sha256=sha256, **stored)
