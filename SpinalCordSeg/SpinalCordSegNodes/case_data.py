"""Cases on the disk for the scene: what a run wrote, and the images that the cases of a work list were made from."""

from __future__ import annotations

import re
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
    """Read what a command wrote for one case. Raises InputFileError when it is not complete."""
    from SpinalCordSegLib.case import Case  # slow libraries: only when a result is there

    case = Case.load(folder)
    try:
        page = (folder / "report.html").read_text(encoding="utf-8") if "report.html" in case.files else ""
    except (OSError, ValueError) as error:
        raise InputFileError(f"the page of the result cannot be read ({error}): run it again") from error
    return CaseFolder(replace(case, drawn=case.mask), page)


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
    image, problem = _image_of(found.case, name, images)
    mask = found.case.mask
    # without an image something to scroll through: the mask's own voxels
    volume = mask.with_ijk(np.asarray(mask.ijk).astype(np.uint8)) if image is None else image.volume
    node = node_from_volume(scene, volume, f"{name} (mask only)" if image is None else name)
    began = read_mask(folder, AI_MASK) if found.case.changes is not None else None
    result = add_result(scene, found.case, node, found.page, ai_mask=began)
    return OpenedCase(found.case, result, None if image is None else image.path, problem)


def _image_of(case: Case, name: str, images: ImageFolder | None) -> tuple[FoundImage | None, str]:
    """The image, or why there is none, or why it may be another person's."""
    if images is None:
        return None, "no folder of images was chosen: only the mask is shown"
    try:
        # of a mask made elsewhere the first is of its image, the other its own
        image = images.find(name, case.input.image_fingerprint or case.input.fingerprint)
        if image is None:
            return None, "the folder of images holds none of this case's name: only the mask is shown"
        place_on(case.mask, image.volume)
    except SpinalCordSegError as error:
        return None, f"{error}: only the mask is shown"
    return (
        image,
        "" if image.is_known else "the image was found by its name alone: look whether the mask lies on the cord",
    )


class FoundImage(NamedTuple):
    """``path``: what the command line takes as this image; of a DICOM series one of its files. ``is_known``: to be the
    one that was measured, not only to have its name."""

    path: Path
    volume: Volume
    is_known: bool = True


class _Candidate(NamedTuple):
    name: str
    path: Path
    read: Callable[[], Volume]


class ImageFolder:
    """The images of a work list, found by name and by the input's fingerprint.

    Files come first, then DICOM series in the folder and below. A series lies in one folder. Headers are read once: in
    an archive with a folder for each series one header a folder is enough to know where to look.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._dicom: dict[Path, list[Path]] | None = None  # folder → its own DICOM files
        self._series: dict[tuple[Path, int | None], list[DicomSeries]] = {}
        self._fingerprints: dict[Path, str] = {}  # no image is read twice to be passed over twice

    def find(self, case: str, fingerprint: str = "") -> FoundImage | None:
        """The input of a case: the one with the ``fingerprint``, else the only one of its name; None without.

        Raises SpinalCordSegError where the only one of its name cannot be read.
        """
        from SpinalCordSegLib.pipeline import fingerprint as fingerprint_of

        named: list[_Candidate] = []
        for one in _likeliest_first(case, self._candidates(case)):
            if one.name == case:
                named.append(one)
            if fingerprint and self._fingerprints.get(one.path, fingerprint) == fingerprint:
                try:
                    volume = one.read()
                except SpinalCordSegError:
                    continue
                self._fingerprints[one.path] = fingerprint_of(volume)
                if self._fingerprints[one.path] == fingerprint:
                    return FoundImage(one.path, volume)
        return FoundImage(named[0].path, named[0].read(), False) if len(named) == 1 else None

    def _candidates(self, case: str) -> Iterator[_Candidate]:
        """All that a batch may have called ``case``: it calls the second of a name NAME_2."""
        from SpinalCordSegLib.dicom import dicom_files, read_series
        from SpinalCordSegLib.image_io import find_inputs, safe_case_name

        def fits(name: str) -> bool:
            return case == name or re.fullmatch(rf"{re.escape(name)}_\d+", case) is not None

        def fitting(folder: Path, most: int | None = None) -> list[tuple[str, DicomSeries]]:
            """The series in a folder, by its first files only where ``most`` is given."""
            if (folder, most) not in self._series:
                self._series[folder, most] = _list((self._dicom or {})[folder][:most])
            named = [(safe_case_name(series.files[0], series), series) for series in self._series[folder, most]]
            return [one for one in named if fits(one[0])]

        files = {path: safe_case_name(path) for path in find_inputs([self._folder]) if path.is_file()}
        for path in sorted(files, key=lambda path: files[path] != case):
            if fits(files[path]):
                yield _Candidate(files[path], path, partial(_read_file, path))
        if self._dicom is None:
            self._dicom = {}
            for path in dicom_files(self._folder):
                self._dicom.setdefault(path.parent, []).append(path)
        for folder in sorted(self._dicom, key=lambda folder: not fitting(folder, 1)):
            for name, series in fitting(folder):
                yield _Candidate(name, series.files[0], partial(read_series, series))


def _likeliest_first(case: str, candidates: Iterator[_Candidate]) -> Iterator[_Candidate]:
    """NAME_3 is mostly the third image called NAME: that one before the others; what is called NAME_3 before it."""
    number = re.search(r"_(\d+)$", case)
    before: list[_Candidate] = []
    for candidate in candidates:
        if number is None or candidate.name == case:
            yield candidate
            continue
        before.append(candidate)
        if len(before) == int(number[1]):
            yield before.pop()
            break
    yield from before
    yield from candidates


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
