"""Why a case failed, in one line that tells nobody's name."""

from __future__ import annotations

import os
from pathlib import Path

from SpinalCordSegLib.errors import SpinalCordSegError

_SHORTEST_NAME = 4  # "1" or "07" is a number in every sentence, and nobody's name


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
    word = "the folder" if path.is_dir() else "the file"
    full = os.path.abspath(path)
    for whole in (full, str(path)):
        if os.sep in whole:
            text = text.replace(whole, word)
    text = without_folders(text, path)
    if len(own := os.path.basename(full)) >= _SHORTEST_NAME:
        text = text.replace(own, word)
    beside = path.rglob("*") if path.is_dir() else path.parent.glob("*")
    names = {name for file in beside if len(name := file.name) >= _SHORTEST_NAME and name in text}
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, "a file")
    return text
