"""Cases on the disk for the scene: what a run wrote, and the images that the cases of a work list were made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from SpinalCordSegLib.errors import InputFileError, SpinalCordSegError
from SpinalCordSegLib.volume import Volume, place_on
from SpinalCordSegNodes.results import Result, add_result
from SpinalCordSegNodes.volumes import node_from_volume

if TYPE_CHECKING:
    from SpinalCordSegLib.case import Case
    from SpinalCordSegLib.dicom import DicomSeries


class CaseFolder(NamedTuple):
    """``case``: with its mask in memory, whatever becomes of the folder. ``page``: of report.html, "" without one."""

    case: Case
    page: str = ""


def read_case_folder(folder: Path) -> CaseFolder:
    """Read what a command wrote for one case. Raises InputFileError when it is not complete; a page may be missing."""
    from SpinalCordSegLib.case import Case  # slow libraries: only when a result is there

    case, page = Case.load(folder), folder / "report.html"
    try:
        text = page.read_text(encoding="utf-8") if page.is_file() else ""
    except (OSError, ValueError) as error:
        raise InputFileError(f"the page of the result cannot be read ({error}): run it again") from error
    return CaseFolder(replace(case, drawn=case.mask), text)


class OpenedCase(NamedTuple):
    """``image``: the file that the volume came from, None where only the mask is there. ``problem``: why that is so, or
    why the image may be another one."""

    case: Case
    result: Result
    image: Path | None
    problem: str


def open_case(scene: Any, folder: Path, name: str, images: ImageFolder | None) -> OpenedCase:
    """Read a finished case into the scene: its mask, measures and review, on its image where that is found.

    ``images``: where its image is looked for. Raises InputFileError when the case cannot be read.
    """
    from SpinalCordSegLib.case import AI_MASK, read_mask

    found = read_case_folder(folder)
    image, problem = _image_of(found.case, images)
    mask = found.case.mask
    # without an image something to scroll through: the mask's own voxels
    volume = mask.with_ijk(np.asarray(mask.ijk).astype(np.uint8)) if image is None else image.volume
    node = node_from_volume(scene, volume, f"{name} (mask only)" if image is None else name)
    began = read_mask(folder, AI_MASK) if found.case.changes is not None else None
    result = add_result(scene, found.case, node, found.page, ai_mask=began)
    return OpenedCase(found.case, result, None if image is None else image.path, problem)


def _image_of(case: Case, images: ImageFolder | None) -> tuple[FoundImage | None, str]:
    """The image, or why there is none, or why it may be another person's."""
    if images is None:
        return None, "no folder of images was chosen: only the mask is shown"
    try:
        image = images.find(case)
        if image is None:
            return None, "the folder of images holds none of this case's name: only the mask is shown"
        place_on(case.mask, image.volume)
    except SpinalCordSegError as error:
        return None, f"{error}: only the mask is shown"
    by_name = "the image was found by its name alone: look whether the mask lies on the cord"
    return image, "" if image.is_known else by_name


class FoundImage(NamedTuple):
    """``path``: what the command line takes as this image; of a DICOM series one of its files. ``is_known``: to be the
    one that was measured, not only to have its name."""

    path: Path
    volume: Volume
    is_known: bool = True


class ImageFolder:
    """The images of a work list. A DICOM series lies in one folder. Headers are read once, and no image is read twice
    to be passed over twice."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._series: list[tuple[str, DicomSeries]] | None = None
        self._fingerprints: dict[Path, str] = {}

    def find(self, case: Case) -> FoundImage | None:
        """The input of a case: the one with its fingerprint, first where the batch had found it; else the only one of
        its name; None without.

        Raises SpinalCordSegError where the only one of its name cannot be read.
        """
        from SpinalCordSegLib.pipeline import fingerprint

        # of a mask made elsewhere the first is of its image, the other its own
        wanted = case.input.image_fingerprint or case.input.fingerprint
        named: dict[Path, Callable[[], Volume]] = {}
        for name, path, read in self._candidates(case):
            if name == case.name:
                named[path] = read
            if self._fingerprints.get(path, wanted) != wanted:
                continue
            try:
                volume = read()
            except SpinalCordSegError:
                continue
            self._fingerprints[path] = fingerprint(volume)
            if self._fingerprints[path] == wanted:
                return FoundImage(path, volume)
        if len(named) != 1:
            return None
        ((path, read),) = named.items()
        return FoundImage(path, read(), is_known=False)

    def _candidates(self, case: Case) -> Iterator[tuple[str, Path, Callable[[], Volume]]]:
        """Name, path and reader of all whose name is part of the case's: files, then DICOM series."""
        from SpinalCordSegLib.dicom import dicom_files, read_series
        from SpinalCordSegLib.identity import safe_case_name
        from SpinalCordSegLib.image_io import find_inputs

        first = self._folder / (case.input.source or "…")
        files = [path for path in find_inputs([self._folder]) if path.is_file()]
        for path in ([first] if first.exists() and first not in files else []) + sorted(files, key=first.__ne__):
            if (name := safe_case_name(path)) in case.name or path == first:
                yield name, path, partial(_read_file, path)
        if self._series is None:
            folders: dict[Path, list[Path]] = {}
            for path in dicom_files(self._folder):
                folders.setdefault(path.parent, []).append(path)
            found = [series for files in folders.values() for series in _list(files)]
            self._series = [(safe_case_name(series.files[0], series), series) for series in found]
        for name, series in self._series:
            if name in case.name:
                yield name, series.files[0], partial(read_series, series)


def _read_file(path: Path) -> Volume:
    from SpinalCordSegLib.image_io import read_image

    return read_image(path).volume


def _list(files: list[Path]) -> list[DicomSeries]:
    """The series of these files, in the order of their first ones; a damaged file is left out."""
    from SpinalCordSegLib.dicom import list_series, sort_frames

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
