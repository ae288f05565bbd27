"""Asking for files and folders: PythonQt gives a text, newer bindings a pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt


def ask_folder(parent: Any, title: str) -> Path | None:
    return _path(qt.QFileDialog.getExistingDirectory(parent, title))


def ask_file(parent: Any, title: str, pattern: str = "*") -> Path | None:
    return _path(qt.QFileDialog.getOpenFileName(parent, title, "", pattern))


def ask_new_file(parent: Any, title: str, name: str, pattern: str) -> Path | None:
    """The dialog itself asks before an existing file is chosen."""
    return _path(qt.QFileDialog.getSaveFileName(parent, title, name, pattern))


def _path(chosen: Any) -> Path | None:
    text = chosen[0] if isinstance(chosen, tuple) else chosen
    return Path(text) if text else None
