"""Cases on the disk for the scene: what a run wrote, and the images that the cases of a work list were made from."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import slicer

from SpinalCordSegLib.errors import InputFileError, OutputError, SpinalCordSegError
from SpinalCordSegLib.review import Review
from SpinalCordSegLib.volume import Volume, fingerprint, place_on
from SpinalCordSegNodes.editing import read_review, write_review
from SpinalCordSegNodes.results import add_result, read_case_folder
from SpinalCordSegNodes.segmentations import MASK_ONLY, cord_segment_id, cropped_mask
from SpinalCordSegNodes.volumes import node_from_volume

if TYPE_CHECKING:
    from SpinalCordSegLib.case import Case
    from SpinalCordSegLib.dicom import DicomSeries
    from SpinalCordSegLib.identity import Identity
    from SpinalCordSegLib.work_list import WorkItem


@dataclass
class OpenCase:
    """A case of a work list in the scene, bound to its folder.

    ``results``: the folder of its list. ``image``: the file it was made from, None where only the mask is there;
    ``problem``: why that is so, or why the image may be another one. ``stored``: state of the mask (its digest) and the
    review that the folder had when it was read or written last; ``mask_sha256``: what its report called the mask then.
    """

    name: str
    folder: Path
    results: Path
    segmentation: Any
    image: Path | None
    problem: str
    mask_sha256: str
    stored: tuple[str, Review] = ("", Review())

    @classmethod
    def read(cls, scene: Any, item: WorkItem, results: Path, images: ImageFolder | None) -> OpenCase:
        """Put a case into the scene as its folder is now: its mask, measures and review, on its image where that is
        found in ``images``. Raises SpinalCordSegError."""
        from SpinalCordSegLib.case_folder import AI_MASK, read_mask

        case = read_case_folder(item.folder)
        image, problem = _image_of(case, images)
        # without an image something to scroll through: the mask's own voxels
        volume = case.mask.with_ijk(np.asarray(case.mask.ijk).astype(np.uint8)) if image is None else image.volume
        volume_node = node_from_volume(scene, volume, f"{item.case} (mask only)" if image is None else item.case)
        if image is None:
            volume_node.SetAttribute(MASK_ONLY, "1")
        began = read_mask(item.folder, AI_MASK) if case.changes is not None else None
        node = add_result(scene, case, volume_node, ai_mask=began).segmentation
        write_review(node, cord_segment_id(node), case.review)
        path = None if image is None else image.path
        found = cls(item.case, item.folder, results, node, path, problem, case.mask_sha256)
        found.stored = found.now()
        return found

    @property
    def in_scene(self) -> bool:
        return bool(slicer.mrmlScene.IsNodePresent(self.segmentation))

    def now(self) -> tuple[str, Review]:
        """Mask (its digest) and review as the scene has them. Raises SpinalCordSegError."""
        segment_id = cord_segment_id(self.segmentation)
        return cropped_mask(self.segmentation, segment_id).digest(), read_review(self.segmentation, segment_id)

    def set_visible(self, visible: bool) -> None:
        if self.in_scene and self.segmentation.GetDisplayNode() is not None:
            self.segmentation.GetDisplayNode().SetVisibility(visible)

    @property
    def is_outdated(self) -> bool:
        """Whether somebody has changed the folder since. Raises SpinalCordSegError."""
        from SpinalCordSegLib.case import Case

        try:
            case = Case.load(self.folder, needs_slices=False)
        except InputFileError:  # no finished case any more
            return False
        return (case.mask_sha256, case.review) != (self.mask_sha256, self.stored[1])

    @property
    def is_in_conflict(self) -> bool:
        """Whether the user has changed the case in the scene too. Raises SpinalCordSegError."""
        return self.is_outdated and self.now() != self.stored

    @property
    def conflict(self) -> OutputError:
        return OutputError(
            f"The folder of {self.name} was changed by somebody else meanwhile: nothing is written over it. To continue"
            " with its contents, delete this mask (export it first if you need it) and open the case again."
        )

    def check_folder(self) -> None:
        """Raises OutputError where somebody has changed the folder since: that is not written over."""
        if self.is_outdated:
            raise self.conflict

    def write(self, review: Review) -> None:
        """Put a review into the case's folder. Raises SpinalCordSegError."""
        from SpinalCordSegLib.case import update_review

        def change(there: Review) -> Review:
            if there != self.stored[1]:
                raise self.conflict
            return review

        self.check_folder()
        update_review(self.folder, change, decides_on=review.mask_sha256 or None)

    def take_measured(self, digest: str) -> None:
        """The folder has the mask of that digest now, and what came with it. Raises SpinalCordSegError."""
        from SpinalCordSegLib.case import Case

        case = Case.load(self.folder, needs_slices=False)
        self.mask_sha256, self.stored = case.mask_sha256, (digest, case.review)


def _image_of(case: Case, images: ImageFolder | None) -> tuple[FoundImage | None, str]:
    """The image, or why there is none, or why it may be another person's."""
    if images is None:
        return None, "no folder of images was chosen: only the mask is shown"
    try:
        image = images.find(case)
        if image is None:
            text = "the folder of images holds neither the image that was measured nor one of this case's name"
            return None, f"{text}: only the mask is shown"
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


class _Source(NamedTuple):
    """An image that is there, not read yet. ``identity``: whose it is by its header."""

    name: str
    path: Path
    identity: Callable[[], Identity | None]
    read: Callable[[], Volume]


class ImageFolder:
    """The images of a work list. A DICOM series lies in one folder. Headers are read once, and no image is read twice
    to be passed over twice."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fingerprints: dict[tuple[str, Path], str] = {}  # "": cannot be read

    def find(self, case: Case) -> FoundImage | None:
        """The input of a case: the one with its fingerprint, first where the batch had found it, then by its name;
        then, if the case does not record where it lay, among all but other patients' (by their header). Else the only
        one of its name; None without.

        Raises SpinalCordSegError where the only one of its name cannot be read or is another patient's.
        """
        # of a mask made elsewhere the first is of its image, the other its own
        wanted = case.input.image_fingerprint or case.input.fingerprint
        first = self._folder / (case.input.source or "…")
        if first.exists() and (found := self._same(_of_file(first), wanted)) is not None:
            return found
        sources, is_recorded = self._sources(), case.input.source and not case.input.image_fingerprint
        likely = [one for one in sources if one.name in case.name]
        for one in likely if is_recorded else dict.fromkeys(likely + sources):
            if not _other_patient(case, one) and (found := self._same(one, wanted)) is not None:
                return found
        named = [one for one in sources if one.name == case.name]
        if len(named) != 1:
            return None
        if differ := _other_patient(case, named[0]):
            raise InputFileError(f"the image of this case's name is another patient's ({' and '.join(differ)} differ)")
        return FoundImage(named[0].path, named[0].read(), is_known=False)

    def _same(self, one: _Source, wanted: str) -> FoundImage | None:
        """The image where its fingerprint is the one that is ``wanted``; "": no image's."""
        which = one.name, one.path  # a file may hold several
        if not wanted or self._fingerprints.get(which, wanted) != wanted:
            return None
        self._fingerprints[which] = ""
        with suppress(SpinalCordSegError):
            volume = one.read()
            self._fingerprints[which] = fingerprint(volume)
            if self._fingerprints[which] == wanted:
                return FoundImage(one.path, volume)
        return None

    def _sources(self) -> list[_Source]:
        """Image files, then DICOM series."""
        from SpinalCordSegLib.image_io import find_inputs

        return [_of_file(path) for path in find_inputs([self._folder]) if path.is_file()] + self._series

    @cached_property
    def _series(self) -> list[_Source]:
        from SpinalCordSegLib.dicom import dicom_files, read_series
        from SpinalCordSegLib.identity import safe_case_name

        folders: dict[Path, list[Path]] = {}
        for path in dicom_files(self._folder):
            folders.setdefault(path.parent, []).append(path)
        found = []
        for one in (series for files in folders.values() for series in _list(files)):
            name, file, who = safe_case_name(one.files[0], one), one.files[0], partial(getattr, one, "identity")
            found.append(_Source(name, file, who, partial(read_series, one)))
        return found


def _of_file(path: Path) -> _Source:
    from SpinalCordSegLib.identity import safe_case_name
    from SpinalCordSegLib.image_io import read_identity, read_image

    return _Source(safe_case_name(path), path, partial(read_identity, path), lambda: read_image(path).volume)


def _other_patient(case: Case, one: _Source) -> list[str]:
    """What case and header both state, and not alike; [] where the header cannot be read."""
    from SpinalCordSegLib.identity import differing

    try:
        return differing(case.input.identity, one.identity())
    except SpinalCordSegError:  # reading the image tells why
        return []


def _list(files: list[Path]) -> list[DicomSeries]:
    """The series of these files, in the order of their first ones; a damaged file is left out."""
    from SpinalCordSegLib.dicom import list_series, sort_frames, volumes_of

    groups: dict[str, list[DicomSeries]] = {}
    for path in files:
        try:
            for part in list_series(path):
                groups.setdefault(part.uid, []).append(part)
        except InputFileError:
            continue
    return [
        volume
        for parts in groups.values()
        for volume in volumes_of(replace(parts[0], frames=sort_frames([one for part in parts for one in part.frames])))
    ]
