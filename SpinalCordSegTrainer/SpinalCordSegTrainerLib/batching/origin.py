"""What slices were made from, kept in their cache, and what of it is otherwise now.

Files are told by size and time, and where only the time differs by their content: data that was copied is the same.
Nothing of ``FILES`` goes into a model file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from SpinalCordSegLib.images.dicom_scan import dicom_files
from SpinalCordSegLib.writing import file_suffix
from SpinalCordSegTrainerLib.datasets.case import Case, stem
from SpinalCordSegTrainerLib.datasets.cases import chosen_label

FILES = "files"  # in a cache's ``source``: case → whose it is, the cord's value, image and label map
_HEADERS = (".hdr", ".mhd", ".nhdr")  # the voxels lie in a file of the same name beside them


def case_origin(case: Case, label: int | None) -> dict[str, Any]:
    """What of one case the slices hang on. ``label``: the cord's value as asked for, None where the case tells it."""
    return {
        **_told(case, label),
        "image": fingerprint(_files(case.image)),
        "label_map": fingerprint(_files(case.label)),
    }


def changes(source: Mapping[str, Any], cases: Sequence[Case], options: Mapping[str, Any]) -> list[str]:
    """How the cache of this ``source`` differs from one that would be made of these cases and ``options`` (as
    cache_cases takes them) now, in words; empty where it does not."""
    words = [
        f"{name} was {source.get(name)} and is {asked} now"
        for name, asked in options.items()
        if source.get(name) != asked
    ]
    then, now = source[FILES], {case.name: case for case in cases}
    words += [f"{name} is new" for name in sorted(now.keys() - then.keys())]
    words += [f"{name} is gone" for name in sorted(then.keys() - now.keys())]
    for name in sorted(now.keys() & then.keys()):
        words += _case_changes(then[name], now[name], options.get("label"))
    return words


def fingerprint(paths: Iterable[Path]) -> dict[str, Any] | None:
    """Size, time of the last change, and content of some files together; None where one cannot be read."""
    files = list(paths)
    try:
        digest = hashlib.sha256()
        for path in files:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return {**_stated(files), "sha256": digest.hexdigest()}
    except OSError:
        return None


def unchanged(then: Any, paths: Iterable[Path]) -> bool:
    """Whether these files are those of which ``then`` is the fingerprint."""
    files = list(paths)
    try:
        now = _stated(files)
    except OSError:
        return then is None
    if not isinstance(then, dict) or then.get("bytes") != now["bytes"]:
        return False
    return then.get("mtime_ns") == now["mtime_ns"] or then.get("sha256") == (fingerprint(files) or {}).get("sha256")


def _told(case: Case, label: int | None) -> dict[str, Any]:
    return {"subject": case.subject, "label": chosen_label(case, label), "series": case.series}


def _case_changes(then: Any, case: Case, label: int | None) -> Iterator[str]:
    then = then if isinstance(then, dict) else {}
    for name, value in _told(case, label).items():
        if then.get(name) != value and (name != "label" or label is None):  # else the option's change says it
            yield f"{case.name}: its {name} was {then.get(name)} and is {value} now"
    for name, path in (("image", case.image), ("label_map", case.label)):
        if not unchanged(then.get(name), _files(path)):
            yield f"{case.name}: its {name.replace('_', ' ')} has changed"


def _files(path: Path) -> list[Path]:
    """All files that hold an image or a label map."""
    if path.is_dir():
        return list(dicom_files(path))
    if file_suffix(path) not in _HEADERS:
        return [path]
    return [path, *sorted(one for one in path.parent.glob(f"{stem(path)}.*") if one != path and one.is_file())]


def _stated(files: Sequence[Path]) -> dict[str, int]:
    found = [path.stat() for path in files]
    return {
        "bytes": sum(one.st_size for one in found),
        "mtime_ns": max((one.st_mtime_ns for one in found), default=0),
    }
