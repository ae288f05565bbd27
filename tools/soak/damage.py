"""What happens to files: cut short, flipped bits, pieces lost, doubled or overwritten, and wrong words in text and JSON.

Every function takes a random generator and a file's bytes, and gives the damaged bytes.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Callable
from typing import Any

Damage = Callable[[random.Random, bytes], bytes]

NUMBERS = (
    "0", "1", "-1", "2", "3", "0.0", "-0.5", "1e-30", "1e30", "1e308", "1e999", "nan", "inf", "-inf", "32767", "65536",
    "2147483648", "1000000000000", "9" * 400, "9" * 5000, "0x10", "1,5", "", " ", "x", "²", "١٢", "1e", "--", "+",
)  # fmt: skip
WORDS = (
    "", "..", "../../outside", "/etc/passwd", "/nowhere/at/all", "C:\\Users\\x", "a" * 300, "a" * 200_000, "ä ö ü", "\n",
    "a\nb", "\x00", "a\x00b", '"', "'", "\\", "%s%n", "{0}", "<b>", "&amp;", "-", "--help", "\ufeff", "\U0001f9e0", "\u202e",
    "none", "null", "true", "LIST",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 7, 10**6, 10**30, -(10**30), 0.5, -0.5, 1e308, float("nan"), float("inf"), [], {},
    [None], [[]], {"a": {}}, [1, 2, 3], [0] * 5000, {"": None}, *WORDS,
)  # fmt: skip


def truncated(rng: random.Random, data: bytes) -> bytes:
    return data[
        : rng.choice((0, 1, 8, 100, 347, rng.randrange(len(data) + 1), max(0, len(data) - rng.randrange(1, 40))))
    ]


def flipped(rng: random.Random, data: bytes) -> bytes:
    """Up to eight bits; mostly near the beginning, where the header is."""
    changed = bytearray(data or b"\0")
    for _ in range(rng.randrange(1, 9)):
        end = min(len(changed), 600) if rng.random() < 0.7 else len(changed)
        changed[rng.randrange(end)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwritten(rng: random.Random, data: bytes) -> bytes:
    at, length = _piece(rng, data)
    filling = rng.choice((b"\0" * length, b"\xff" * length, rng.randbytes(length), b"9" * length))
    return data[:at] + filling + data[at + length :]


def piece_lost(rng: random.Random, data: bytes) -> bytes:
    at, length = _piece(rng, data)
    return data[:at] + data[at + length :]


def piece_doubled(rng: random.Random, data: bytes) -> bytes:
    at, length = _piece(rng, data)
    return data[: at + length] + data[at:]


def begun_otherwise(rng: random.Random, data: bytes) -> bytes:
    beginning = rng.choice(
        (b"\xef\xbb\xbf", b"\n", b"\0", b"\x1f\x8b", b"PK\x03\x04", b"\x80\x04", b"#!/bin/sh\n", b"BZh9")
    )
    return beginning + (data if rng.random() < 0.5 else data[len(beginning) :])


def replaced(rng: random.Random, data: bytes) -> bytes:
    """Another file altogether."""
    deep = rng.choice((b"[", b'{"a":')) * 100_000
    return rng.choice(
        (b"", b"\0" * len(data), rng.randbytes(2000), b"I am a text.\n" * 40, deep, b"\x1f\x8b\x08\0" + bytes(80))
    )


def appended(rng: random.Random, data: bytes) -> bytes:
    return data + rng.choice((b"\0", b"\n", b"\xff" * 100, rng.randbytes(1000), data))


BYTES: tuple[Damage, ...] = (
    truncated, truncated, flipped, flipped, flipped, overwritten, piece_lost, piece_doubled, begun_otherwise, replaced,
    appended,
)  # fmt: skip


def _piece(rng: random.Random, data: bytes) -> tuple[int, int]:
    end = len(data) if rng.random() < 0.4 else min(len(data), 600)
    return rng.randrange(end + 1), rng.choice((1, 2, 4, 8, 16, 64, 300))


def inside_gzip(damage: Damage) -> Damage:
    """``damage`` done to what is compressed, so that gzip's checksum is right."""

    def inside(rng: random.Random, data: bytes) -> bytes:
        return gzip.compress(damage(rng, gzip.decompress(data)), 1)

    inside.__name__ = f"{damage.__name__}_inside"
    return inside


_NUMBER = re.compile(rb"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")


def number_changed(rng: random.Random, data: bytes) -> bytes:
    """One number of a text, or of the text that a file begins with."""
    text, rest = _text_part(data)
    found = list(_NUMBER.finditer(text))
    if not found:
        return flipped(rng, data)
    one = rng.choice(found)
    return text[: one.start()] + rng.choice(NUMBERS).encode() + text[one.end() :] + rest


def line_changed(rng: random.Random, data: bytes) -> bytes:
    """A line lost, doubled, moved, cut, or with another value behind its colon or equals sign."""
    text, rest = _text_part(data)
    lines = text.split(b"\n")
    at = rng.randrange(len(lines))
    kind = rng.randrange(5)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(at, lines[at])
    elif kind == 2:
        lines.insert(rng.randrange(len(lines)), lines.pop(at))
    elif kind == 3:
        lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
    else:
        key, sign, _ = lines[at].partition(b"=" if b"=" in lines[at] else b":")
        lines[at] = key + sign + b" " + rng.choice((*WORDS, *NUMBERS)).encode()
    return b"\n".join(lines) + rest


def _text_part(data: bytes) -> tuple[bytes, bytes]:
    """What a person could read at the beginning, and the rest."""
    for end in (b"\n\n", b"LOCAL\n"):
        at = data.find(end, 0, 20_000)
        if at >= 0 and b"\0" not in data[:at]:
            return data[:at], data[at:]
    return (data, b"") if b"\0" not in data[:2000] else (data[:300], data[300:])


def cell_changed(rng: random.Random, data: bytes) -> bytes:
    """A cell, a column's name or the separators of a table."""
    lines = data.split(b"\n")
    at = 0 if rng.random() < 0.3 else rng.randrange(len(lines))
    cells = lines[at].split(b",")
    cells[rng.randrange(len(cells))] = rng.choice((*WORDS, *NUMBERS)).encode()
    if rng.random() < 0.2:
        cells += [b"one", b"more"]
    lines[at] = (b";" if rng.random() < 0.1 else b",").join(cells)
    return b"\n".join(lines)


def value_changed(rng: random.Random, data: bytes) -> bytes:
    """One or two values of a JSON file replaced, or entries lost."""
    content = json.loads(data)
    for _ in range(rng.choice((1, 1, 1, 2))):
        content = changed_value(rng, content)
    return json.dumps(content, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")


def changed_value(rng: random.Random, content: Any) -> Any:
    """``content`` with one value, anywhere in it, replaced by another or, an entry, lost."""
    if isinstance(content, (dict, list)) and content and rng.random() > 0.08:
        key = rng.choice(list(content)) if isinstance(content, dict) else rng.randrange(len(content))
        if rng.random() < 0.12:
            copy = content.copy()
            del copy[key]
            return copy
        copy = content.copy()
        copy[key] = changed_value(rng, content[key])
        return copy
    return rng.choice(_VALUES)
