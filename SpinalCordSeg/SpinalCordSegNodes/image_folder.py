"""The images that the cases of a work list were made from, found again by name and by the input's fingerprint."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from SpinalCordSegLib.errors import InputFileError, SpinalCordSegError
from SpinalCordSegLib.images.volume import Volume

if TYPE_CHECKING:  # it brings pydicom along: not when the panel opens
    from SpinalCordSegLib.images.dicom import DicomSeries

_Read = Callable[[], Volume]
_Candidate = tuple[str, Path, _Read]


@dataclass(frozen=True, eq=False)
class FoundImage:
    """``path``: what the command line takes as this image; of a DICOM series one of its files."""

    path: Path
    volume: Volume


class ImageFolder:
    """``find`` looks into the files first, then into DICOM series in the folder and below.

    A series is looked for in the files of one folder. Headers are read once. In an archive with a folder for each
    series one header a folder is enough to know where to look; 500 headers take about a second.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[Path, list[Path]] | None = None  # folder → its own DICOM files
        self._first: dict[Path, list[DicomSeries]] = {}  # folder → what its first file tells
        self._listed: dict[Path, list[DicomSeries]] = {}
        self._fingerprints: dict[Path, str] = {}  # of what was read: no image is read twice to be passed over twice

    def find(self, case: str, fingerprint: str = "") -> FoundImage | None:
        """The input of a case. None where there is none of its name, or several, and none has the ``fingerprint``.

        Raises SpinalCordSegError where the only one cannot be read.
        """
        from SpinalCordSegLib.pipeline import fingerprint as fingerprint_of

        named: list[Callable[[], FoundImage]] = []
        problem: SpinalCordSegError | None = None
        for name, path, read in _likeliest_first(case, self._candidates(case)):
            if fingerprint and self._fingerprints.get(path, fingerprint) != fingerprint:
                if name == case:
                    named.append(partial(_found, path, read))
                continue
            try:
                found = _found(path, read)
            except SpinalCordSegError as error:
                problem = problem or error
                continue
            if fingerprint:
                self._fingerprints[path] = fingerprint_of(found.volume)
                if self._fingerprints[path] == fingerprint:
                    return found
            if name == case:
                named.append(partial(_itself, found))
        if not named and problem is not None:
            raise problem
        return named[0]() if len(named) == 1 else None

    def _candidates(self, case: str) -> Iterator[_Candidate]:
        """Name, path and how to read it, of each that a batch may have called ``case``."""
        from SpinalCordSegLib.images.dicom import read_series
        from SpinalCordSegLib.images.files import find_inputs, safe_case_name

        files = [path for path in find_inputs([self._folder]) if path.is_file()]
        names = {path: safe_case_name(path) for path in files}
        for path in sorted(names, key=lambda path: names[path] != case):
            if _may_be_called(case, names[path]):
                yield names[path], path, partial(_read_file, path)
        for series in self._series(case):
            yield _name(series), series.files[0], partial(read_series, series)

    def _series(self, case: str) -> Iterator[DicomSeries]:
        """Those of such a name, from where the first file is of one first."""
        if self._files is None:
            self._files = _files_by_folder(self._folder)
            self._first = {folder: _list(files[:1]) for folder, files in self._files.items()}
        for folder in sorted(self._files, key=lambda folder: not _fitting(case, self._first[folder])):
            if folder not in self._listed:
                self._listed[folder] = _list(self._files[folder])
            yield from _fitting(case, self._listed[folder])


def _found(path: Path, read: _Read) -> FoundImage:
    return FoundImage(path, read())


def _itself(found: FoundImage) -> FoundImage:
    return found


def _likeliest_first(case: str, candidates: Iterator[_Candidate]) -> Iterator[_Candidate]:
    """NAME_3 is mostly the third image called NAME: that one before the others; what is called NAME_3 before it."""
    number = re.search(r"_(\d+)$", case)
    before: list[_Candidate] = []
    for candidate in candidates:
        if number is None or candidate[0] == case:
            yield candidate
            continue
        before.append(candidate)
        if len(before) == int(number[1]):
            yield before.pop()
            break
    yield from before
    yield from candidates


def _read_file(path: Path) -> Volume:
    from SpinalCordSegLib.images.files import read_image

    return read_image(path).volume


def _files_by_folder(root: Path) -> dict[Path, list[Path]]:
    from SpinalCordSegLib.images.dicom_scan import dicom_files

    found: dict[Path, list[Path]] = {}
    for path in dicom_files(root):
        found.setdefault(path.parent, []).append(path)
    return found


def _list(files: list[Path]) -> list[DicomSeries]:
    """The series of these files, in the order of their first ones; a damaged file is left out, the others may be of
    use."""
    from SpinalCordSegLib.images.dicom import list_series
    from SpinalCordSegLib.images.dicom_stack import sort_frames

    groups: dict[str, list[DicomSeries]] = {}
    for path in files:
        try:
            for part in list_series(path):
                groups.setdefault(part.uid, []).append(part)
        except InputFileError:
            continue
    return [
        replace(parts[0], frames=sort_frames([frame for part in parts for frame in part.frames]))
        for parts in groups.values()
    ]


def _fitting(case: str, found: list[DicomSeries]) -> list[DicomSeries]:
    return [series for series in found if _may_be_called(case, _name(series))]


def _name(series: DicomSeries) -> str:
    from SpinalCordSegLib.images.files import safe_case_name

    return safe_case_name(series.files[0], series)


def _may_be_called(case: str, name: str) -> bool:
    """A batch calls the second of a name NAME_2."""
    return case == name or re.fullmatch(rf"{re.escape(name)}_\d+", case) is not None
