"""Which cases can be trained on, what each holds, and why a case is refused. Reads everything, changes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from SpinalCordSegLib.errors import GeometryError, SpinalCordSegError, TrainingDataError
from SpinalCordSegLib.image_io import read_image, read_labels, select_label
from SpinalCordSegLib.morphometry import measure
from SpinalCordSegLib.volume import Volume, place_on
from SpinalCordSegTrainerLib.dataset import (
    LabelledCase,
    LoadedCase,
    chosen_label,
    grid_words,
    load_case,
    match_files,
)

# The same image under two names would be trained on and validated with: found by its voxels.


class Duplicates:
    """Remembers the images shown to it, by a digest of their voxels in canonical order: a copy stored in another
    order or format is found, one that was resampled or rescaled is not."""

    def __init__(self) -> None:
        self._seen: dict[bytes, LabelledCase] = {}

    def twin(self, loaded: LoadedCase) -> LabelledCase | None:
        """The first case with the same voxels; None, and remembered, when it is new."""
        voxels = np.ascontiguousarray(loaded.image.voxels)
        digest = hashlib.sha256(f"{voxels.shape}".encode() + voxels.tobytes()).digest()
        first = self._seen.setdefault(digest, loaded.case)
        return None if first is loaded.case else first

    def refuse_twin(self, loaded: LoadedCase) -> None:
        """Raise TrainingDataError when another patient's case holds the same voxels."""
        twin = self.twin(loaded)
        if twin is not None and twin.subject != loaded.case.subject:
            raise TrainingDataError(f"case {loaded.case.name}: {self.reason(twin)}")

    @staticmethod
    def reason(twin: LabelledCase) -> str:
        return f"the same voxels as {twin.name}, as another patient; remove one, or give both the same patient"


_ENOUGH_TO_JUDGE = 5  # cases, for a median area to mean something
_FAR_MADS = 5.0
_MAD_TO_SD = 1.4826
_HUMAN_CSA_MM2 = (20.0, 180.0)  # mean over a cord; beyond it a spacing or a label is wrong


@dataclass(frozen=True)
class CheckedCase:
    """One case. ``reason``: why it cannot be used, "" when it can. ``remarks``: what is odd about a case that can.

    ``image``, ``label``: paths relative to the folder, "" where there is none. ``grid``: the image's, in words;
    ``label_grid``: the label map's where it differs. ``grid_match``: same, placed (another voxel order
    or a part), resampled, or differs; "" where it is not known. ``labels``: values found. ``n_slices``: axial;
    ``n_cord_slices``: those with cord. ``volume_mm3``, ``mean_csa_mm2``: of the mask, None where there is none.
    ``outlier``: its mean area is far from the others'. ``duplicate_of``: a case with the same voxels. ``site``,
    ``scanner``: where known.
    """

    name: str
    subject: str = ""
    image: str = ""
    label: str = ""
    reason: str = ""
    remarks: tuple[str, ...] = ()
    grid: str = ""
    label_grid: str = ""
    labels: tuple[int, ...] = ()
    n_slices: int = 0
    n_cord_slices: int = 0
    volume_mm3: float | None = None
    mean_csa_mm2: float | None = None
    session: str = ""
    grid_match: str = ""
    outlier: bool = False
    duplicate_of: str = ""
    site: str = ""
    scanner: str = ""

    @property
    def usable(self) -> bool:
        return not self.reason


def check_folder(
    folder: Path,
    label: int | None = None,
    *,
    tolerant: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[CheckedCase]:
    """Every case of a folder, manifest or workspace, usable ones first, each group by name.

    ``label``: value of the cord in the maps. ``tolerant``: as load_case takes it. ``progress`` gets (cases done,
    cases). Raises TrainingDataError when the folder is missing.
    """
    folder = Path(folder)
    matched = match_files(folder)
    checked: list[CheckedCase] = []
    seen = Duplicates()
    for number, case in enumerate(matched.cases):
        checked.append(_check(case, folder, label, tolerant, seen))
        if progress is not None:
            progress(number + 1, len(matched.cases))
    unmatched = [_unmatched(path, reason, folder) for path, reason in matched.problems]
    unmatched += [_unmatched(path, "it has no label map", folder) for path in matched.unlabelled]
    found = [*_with_outliers(checked), *unmatched]
    return sorted(found, key=lambda one: (not one.usable, one.name))


def as_dict(case: CheckedCase) -> dict[str, Any]:
    """For JSON: every field, and ``usable``."""
    fields = {name: getattr(case, name) for name in CheckedCase.__dataclass_fields__}
    return {"usable": case.usable, **fields, "remarks": list(case.remarks), "labels": list(case.labels)}


def summary(checked: Sequence[CheckedCase]) -> dict[str, int]:
    """How many there are: cases, usable ones, patients among these, slices with cord."""
    usable = [case for case in checked if case.usable]
    return {
        "cases": len(checked),
        "usable": len(usable),
        "subjects": len({case.subject for case in usable}),
        "slices_with_cord": sum(case.n_cord_slices for case in usable),
    }


def _check(case: LabelledCase, folder: Path, label: int | None, tolerant: bool, seen: Duplicates) -> CheckedCase:
    blank = CheckedCase(
        case.name, case.subject, _relative(case.image, folder), _relative(case.label, folder), session=case.session
    )
    try:
        loaded = load_case(case, label, tolerant=tolerant)
    except SpinalCordSegError as error:
        return _refused(blank, case, label, str(error))
    measured = measure(loaded.mask, shape=False)
    n_cord = int(loaded.mask.voxels.any(axis=(1, 2)).sum())
    mean_mm2 = float(measured.mean_csa_mm2) if measured.n_slices else None
    told = replace(
        blank,
        remarks=(*loaded.notes, *_remarks(loaded.mask, n_cord, mean_mm2)),
        grid=grid_words(loaded.image),
        grid_match=loaded.match,
        labels=_values(read_labels(case.label, loaded.image)),
        n_slices=len(loaded.image.voxels),
        n_cord_slices=n_cord,
        volume_mm3=float(measured.volume_mm3),
        mean_csa_mm2=mean_mm2,
        site=dict(loaded.facts).get("site", ""),
        scanner=dict(loaded.facts).get("scanner", ""),
    )
    return _told_twice(told, loaded, seen)


def _told_twice(told: CheckedCase, loaded: LoadedCase, seen: Duplicates) -> CheckedCase:
    """Refused as another patient's, remarked as the same patient's."""
    twin = seen.twin(loaded)
    if twin is None:
        return told
    if twin.subject != loaded.case.subject:
        return replace(told, reason=seen.reason(twin), duplicate_of=twin.name)
    return replace(
        told, remarks=(*told.remarks, f"the same voxels as {twin.name}: counts twice"), duplicate_of=twin.name
    )


def _refused(blank: CheckedCase, case: LabelledCase, label: int | None, text: str) -> CheckedCase:
    """What can still be told of a case that cannot be used."""
    told = replace(blank, reason=text.removeprefix(f"case {case.name}: "))
    try:
        image = read_image(case.image, case.series).volume
        labels = read_labels(case.label, image)
    except SpinalCordSegError:
        return told
    told = replace(told, grid=grid_words(image), labels=_values(labels), n_slices=len(image.voxels))
    try:
        labels = place_on(labels, image)
    except GeometryError:
        return replace(told, label_grid=grid_words(labels), grid_match="differs")
    try:
        mask = select_label(labels, chosen_label(case, label), case.label.name)
    except SpinalCordSegError:
        return replace(told, grid_match="same")
    n_cord = int(mask.voxels.any(axis=(1, 2)).sum())
    return replace(told, n_cord_slices=n_cord, grid_match="same")


def _remarks(mask: Volume, n_cord: int, mean_mm2: float | None) -> Iterator[str]:
    if n_cord == 0:
        yield "the label map is empty: all slices teach that there is no cord"
        return
    slices = mask.voxels.any(axis=(1, 2))
    inside = np.flatnonzero(slices)
    gaps = int(inside[-1] - inside[0] + 1 - n_cord)
    if gaps:
        yield f"{gaps} slices without label between labelled ones"
    low, high = _HUMAN_CSA_MM2
    if mean_mm2 is not None and not low <= mean_mm2 <= high:
        yield f"a mean area of {mean_mm2:.3g} mm² is no cord's: look at the label and at the voxel size"


def _with_outliers(checked: Sequence[CheckedCase]) -> list[CheckedCase]:
    """Cases whose mean area is far from the others' (median ± 5 robust SD) say so."""
    areas = [case.mean_csa_mm2 for case in checked if case.usable and case.mean_csa_mm2 is not None]
    if len(areas) < _ENOUGH_TO_JUDGE:
        return list(checked)
    median = float(np.median(areas))
    spread = max(_MAD_TO_SD * float(np.median(np.abs(np.array(areas) - median))), 0.05 * median)
    words = f"mean area far from the others' (median {median:.0f} mm²): look at the label map"
    return [
        replace(case, remarks=(*case.remarks, words), outlier=True)
        if case.usable and case.mean_csa_mm2 is not None and abs(case.mean_csa_mm2 - median) > _FAR_MADS * spread
        else case
        for case in checked
    ]


def _unmatched(path: Path, reason: str, folder: Path) -> CheckedCase:
    return CheckedCase(path.name, image=_relative(path, folder), reason=reason)


def _relative(path: Path, folder: Path) -> str:
    root = folder if folder.is_dir() else folder.parent
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _values(labels: Volume) -> tuple[int, ...]:
    return tuple(int(value) for value in np.unique(labels.voxels) if value != 0)
