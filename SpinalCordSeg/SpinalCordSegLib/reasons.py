"""Why a case failed, in one line that tells nobody's name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from SpinalCordSegLib.errors import SpinalCordSegError

_NO_NAME = re.compile(r"[\W\d_]*[^\W\d_]?[\W\d_]*")  # "07" or "a" stands in every sentence, and is nobody's name
_SHORTEST_BESIDE = 4  # files have longer names; a folder "out" or "T1" is a word of the sentence


def reason(error: BaseException) -> str:
    """One line for a user. Of an unexpected error only its kind: its text could quote the data."""
    if isinstance(error, (SpinalCordSegError, MemoryError)):
        return " ".join(str(error).split())
    if isinstance(error, OSError):
        return f"the system refused: {error.strerror or type(error).__name__}"
    return f"an unexpected {type(error).__name__} inside the program; --verbose shows where"


def without_folders(text: str, path: Path) -> str:
    """``text`` with ``path`` named by its last part alone: the folders above an image are often called after people."""
    for parent in {str(path.parent), os.path.abspath(path.parent)}:
        if parent != ".":
            text = text.replace(parent.rstrip(os.sep) + os.sep, "")
    return text


def without_names(text: str, path: Path) -> str:
    """``text`` without the names of ``path``, of the folders above it and of the files in it or, of a file, beside it:
    scanners and archives make them of the patient's name."""
    is_folder = os.path.isdir(path)
    word = "the folder" if is_folder else "the file"
    full = os.path.abspath(path)
    for whole in (full, str(path)):
        if os.sep in whole:
            text = text.replace(whole, word)
    text = replace_names(without_folders(text, path), [os.path.basename(full)], word)
    names: set[str] = set()
    with suppress(OSError):  # a share that went away: what is there cannot be looked up
        found = path.rglob("*") if is_folder else path.parent.glob("*")
        names = {file.name for file in found if len(file.name) >= _SHORTEST_BESIDE}
    return replace_names(text, names, "a file")


def replace_names(text: str, names: Iterable[str], word: str) -> str:
    """``word`` in the place of each of ``names`` that stands by itself in ``text``; numbers are nobody's name."""
    found = {name for name in names if name in text and not _NO_NAME.fullmatch(name)}
    for name in sorted(found, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", word, text)
    return text
