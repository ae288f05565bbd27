"""Which cases of a folder can be trained on, what each holds, and why a case is refused. Reads everything, changes
nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from SpinalCordSegLib.errors import Cancelled, SpinalCordSegError
from SpinalCordSegLib.files import read_image, read_labels, select_label
from SpinalCordSegLib.morphometry import measure
from SpinalCordSegLib.volume import Volume, axial_slices
from SpinalCordSegTrainerLib.cases import Case, grid_words, load_case, match_files

_ENOUGH_TO_JUDGE = 5  # cases, for a median area to mean something
_FAR_MADS = 5.0
_MAD_TO_SD = 1.4826


@dataclass(frozen=True)
class CheckedCase:
    """One case. ``reason``: why it cannot be used, "" when it can. ``remarks``: what is odd about a case that can.

    ``image``, ``label``: paths relative to the folder, "" where there is none. ``grid``: the image's, in words;
    ``label_grid``: the label map's where it differs. ``labels``: values found. ``n_slices``: axial; ``n_cord_slices``:
    those with cord. ``volume_mm3``, ``mean_csa_mm2``: of the mask, None where there is none.
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

    @property
    def usable(self) -> bool:
        return not self.reason


def check_folder(
    folder: Path,
    label: int | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[CheckedCase]:
    """Every case of the folder, usable ones first, each group by name; ``label``: value of the cord in the maps.

    ``progress`` gets (cases done, cases). Raises TrainingDataError when the folder is missing, Cancelled.
    """
    folder = Path(folder)
    matched = match_files(folder)
    checked: list[CheckedCase] = []
    seen: dict[str, str] = {}
    for number, case in enumerate(matched.cases):
        if cancelled is not None and cancelled():
            raise Cancelled("cancelled; nothing was changed")
        checked.append(_check(case, folder, label, seen))
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


def _check(case: Case, folder: Path, label: int | None, seen: dict[str, str]) -> CheckedCase:
    """``seen``: digest of the voxels → name, of the cases so far."""
    blank = CheckedCase(case.name, case.subject, _relative(case.image, folder), _relative(case.label, folder))
    try:
        loaded = load_case(case, label)
    except SpinalCordSegError as error:
        return _refused(blank, case, label, str(error))
    measured = measure(loaded.mask, shape=False)
    n_cord = int(axial_slices(loaded.mask).pixels.any(axis=(1, 2)).sum())
    digest = hashlib.sha256(np.ascontiguousarray(loaded.image.voxels).tobytes()).hexdigest()
    remarks = list(_remarks(loaded.mask, n_cord))
    if digest in seen:
        remarks.append(f"the same voxels as {seen[digest]}: both would count as different patients, remove one")
    seen.setdefault(digest, case.name)
    return replace(
        blank,
        remarks=tuple(remarks),
        grid=grid_words(loaded.image),
        labels=_values(read_labels(case.label)),
        n_slices=len(axial_slices(loaded.image).pixels),
        n_cord_slices=n_cord,
        volume_mm3=float(measured.volume_mm3),
        mean_csa_mm2=float(measured.mean_csa_mm2) if measured.n_slices else None,
    )


def _refused(blank: CheckedCase, case: Case, label: int | None, text: str) -> CheckedCase:
    """What can still be told of a case that cannot be used."""
    told = replace(blank, reason=text.removeprefix(f"case {case.name}: "))
    try:
        image, labels = read_image(case.image).volume, read_labels(case.label)
    except SpinalCordSegError:
        return told
    told = replace(told, grid=grid_words(image), labels=_values(labels), n_slices=len(axial_slices(image).pixels))
    if not image.same_grid(labels):
        return replace(told, label_grid=grid_words(labels))
    try:
        mask = select_label(labels, label, case.label.name)
    except SpinalCordSegError:
        return told
    return replace(told, n_cord_slices=int(axial_slices(mask).pixels.any(axis=(1, 2)).sum()))


def _remarks(mask: Volume, n_cord: int) -> Iterator[str]:
    if n_cord == 0:
        yield "the label map is empty: all slices teach that there is no cord"
        return
    slices = axial_slices(mask).pixels.any(axis=(1, 2))
    inside = np.flatnonzero(slices)
    gaps = int(inside[-1] - inside[0] + 1 - n_cord)
    if gaps:
        yield f"{gaps} slices without label between labelled ones"


def _with_outliers(checked: Sequence[CheckedCase]) -> list[CheckedCase]:
    """Cases whose mean area is far from the others' (median ± 5 robust SD) say so."""
    areas = [case.mean_csa_mm2 for case in checked if case.usable and case.mean_csa_mm2 is not None]
    if len(areas) < _ENOUGH_TO_JUDGE:
        return list(checked)
    median = float(np.median(areas))
    spread = max(_MAD_TO_SD * float(np.median(np.abs(np.array(areas) - median))), 0.05 * median)
    words = f"mean area far from the others' (median {median:.0f} mm²): look at the label map"
    return [
        replace(case, remarks=(*case.remarks, words))
        if case.usable and case.mean_csa_mm2 is not None and abs(case.mean_csa_mm2 - median) > _FAR_MADS * spread
        else case
        for case in checked
    ]


def _unmatched(path: Path, reason: str, folder: Path) -> CheckedCase:
    return CheckedCase(path.name, image=_relative(path, folder), reason=reason)


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _values(labels: Volume) -> tuple[int, ...]:
    return tuple(int(value) for value in np.unique(labels.voxels) if value != 0)
