"""What the values of a label map mean: ITK-SNAP's label description files, and which of the names is the cord."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from SpinalCordSegLib.errors import TrainingDataError

_MARK = "itk-snap label description file"
_LINE = re.compile(r'^\s*(\d+)(?:\s+[-+.\deE]+){6}\s+"(.*)"\s*$')
_CORD = re.compile(r"(?<![a-z])(spinal[ _-]?cord|cord|sc|myelon|medulla[ _-]spinalis)(?![a-z])")
_NOT_CORD = re.compile(r"canal|csf|fluid|lesion|grey|gray|white|vertebra|disc|level|edge|not")
SUFFIXES = (".txt", ".label", ".lbl")


def is_label_description(path: Path) -> bool:
    """True for a text file that ITK-SNAP's heading opens."""
    if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
        return False
    try:
        with path.open("rb") as file:
            head = file.read(400).decode("utf-8", "replace").lower()
    except OSError:
        return False
    return _MARK in head


def read_label_names(path: Path) -> tuple[tuple[int, str], ...]:
    """(value, name) of every label but the background.

    Raises TrainingDataError when the file cannot be read, holds no label, or gives one value two names.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise TrainingDataError(f"{path.name} cannot be read: {error.strerror}") from error
    names: dict[int, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.match(line)
        if found is None:
            raise TrainingDataError(
                f'{path.name}, line {number}: expected value, colour (4 numbers), two switches and "name"'
                " as ITK-SNAP writes them; export the label descriptions again"
            )
        value = int(found.group(1))
        if value in names:
            raise TrainingDataError(f"{path.name}, line {number}: label {value} is described twice; keep one line")
        names[value] = found.group(2)
    return tuple((value, name) for value, name in sorted(names.items()) if value != 0)


def description_for(
    name: str, others: Iterable[str], folder: Path, root: Path, descriptions: Sequence[Path]
) -> Path | None:
    """The description file of a case: the one that begins with its name, else the only one of its folder that begins
    with no other case's (``others``), else of the next folder above, up to ``root``.

    Raises TrainingDataError when several compete.
    """
    for where in (folder, *folder.parents):
        here = [path for path in descriptions if path.parent == where]
        own = [path for path in here if _begins(path, name)]
        own = own or [path for path in here if not any(_begins(path, other) for other in others)]
        if len(own) > 1:
            listed = ", ".join(path.name for path in own)
            raise TrainingDataError(f"{len(own)} label descriptions could belong to {name} ({listed}); keep one")
        if own:
            return own[0]
        if where == root:
            break
    return None


def _begins(path: Path, name: str) -> bool:
    return path.stem == name or path.stem.startswith((f"{name}_", f"{name}-", f"{name}."))


def cord_value(names: Iterable[tuple[int, str]]) -> int | None:
    """The only value whose name says spinal cord; None when none or several do."""
    found = [value for value, name in names if _CORD.search(name.lower()) and not _NOT_CORD.search(name.lower())]
    return found[0] if len(found) == 1 else None
