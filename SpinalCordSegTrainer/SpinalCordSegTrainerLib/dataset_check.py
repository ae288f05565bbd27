"""Which cases can be trained on, what each holds, and why a case is refused. Reads everything, changes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from SpinalCordSegLib.errors import SpinalCordSegError, TrainingDataError
from SpinalCordSegLib.image_io import read_labels
from SpinalCordSegLib.morphometry import measure
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib.dataset import LabelledCase, LoadedCase, MatchedFiles, load_case

_ENOUGH_TO_JUDGE = 5  # cases, for a median area to mean something
_FAR_MADS = 5.0
_HUMAN_CSA_MM2 = (20.0, 180.0)  # mean over a cord; beyond it a spacing or a label is wrong


@dataclass(frozen=True)
class CheckedCase:
    """One case. ``reason``: why it cannot be used, "" when it can. ``remarks``: what is odd about a case that can.

    Of a case that can be used: ``grid``: the image's, in words; ``labels``: values found; ``n_slices``: axial;
    ``n_cord_slices``: those with cord; ``volume_mm3``, ``mean_csa_mm2``: of the mask, None where there is none.
    """

    name: str
    subject: str = ""
    reason: str = ""
    remarks: tuple[str, ...] = ()
    grid: str = ""
    labels: tuple[int, ...] = ()
    n_slices: int = 0
    n_cord_slices: int = 0
    volume_mm3: float | None = None
    mean_csa_mm2: float | None = None

    @property
    def usable(self) -> bool:
        return not self.reason


def check_cases(
    matched: MatchedFiles, progress: Callable[[int, int], None] = lambda _done, _of: None
) -> list[CheckedCase]:
    """Every case that was found, usable ones first, each group by name; files that belong to none are not usable.

    ``progress`` gets (cases done, cases).
    """
    checked: list[CheckedCase] = []
    seen: dict[bytes, LabelledCase] = {}
    for number, case in enumerate(matched.cases):
        try:
            checked.append(_checked(load_case(case), seen))
        except SpinalCordSegError as error:
            reason = str(error).removeprefix(f"case {case.name}: ")
            checked.append(CheckedCase(case.name, case.subject, reason))
        progress(number + 1, len(matched.cases))
    checked = _with_outliers(checked)
    checked += [CheckedCase(name, reason=reason) for name, reason in matched.problems]
    checked += [CheckedCase(path.name, reason="it has no label map") for path in matched.unlabelled]
    return sorted(checked, key=lambda one: (not one.usable, one.name))


def _checked(loaded: LoadedCase, seen: dict[bytes, LabelledCase]) -> CheckedCase:
    case, mask = loaded.case, loaded.mask
    twin = refuse_twin(loaded, seen)
    measured = measure(mask, shape=False)
    n_cord = int(mask.voxels.any(axis=(1, 2)).sum())
    mean_mm2 = float(measured.mean_csa_mm2) if measured.n_slices else None
    remarks = [*loaded.notes, *_remarks(mask, n_cord, mean_mm2)]
    if twin is not None:
        remarks.append(f"the same voxels as {twin.name}: counts twice")
    labels = np.unique(read_labels(case.label).voxels)
    image = loaded.image
    spacing = "×".join(f"{mm:.3g}" for mm in image.ijk_spacing_mm)
    return CheckedCase(
        case.name,
        case.subject,
        remarks=tuple(remarks),
        grid=f"{'×'.join(map(str, image.ijk_shape))} of {spacing} mm, {image.orientation}",
        labels=tuple(int(value) for value in labels if value != 0),
        n_slices=len(image.voxels),
        n_cord_slices=n_cord,
        volume_mm3=float(measured.volume_mm3),
        mean_csa_mm2=mean_mm2,
    )


def refuse_twin(loaded: LoadedCase, seen: dict[bytes, LabelledCase]) -> LabelledCase | None:
    """The first case with the same voxels, of the same patient; None, and remembered in ``seen``, when it is new.

    Found by a digest of the voxels in canonical order: a copy stored in another order or format is found, one that was
    resampled or rescaled is not. Raises TrainingDataError for one of another patient: the image would be trained on and
    validated with.
    """
    voxels = np.ascontiguousarray(loaded.image.voxels)
    digest = hashlib.sha256(f"{voxels.shape}".encode() + voxels.tobytes()).digest()
    twin = seen.setdefault(digest, loaded.case)
    if twin.subject != loaded.case.subject:
        raise TrainingDataError(
            f"case {loaded.case.name}: the same voxels as {twin.name}, as another patient; remove one, or give both the"
            " same patient"
        )
    return None if twin is loaded.case else twin


def summary(checked: Sequence[CheckedCase]) -> dict[str, int]:
    """How many there are: cases, usable ones, patients among these, slices with cord."""
    usable = [case for case in checked if case.usable]
    return {
        "cases": len(checked),
        "usable": len(usable),
        "subjects": len({case.subject for case in usable}),
        "slices_with_cord": sum(case.n_cord_slices for case in usable),
    }


def _remarks(mask: Volume, n_cord: int, mean_mm2: float | None) -> Iterator[str]:
    if n_cord == 0:
        yield "the label map is empty: all slices teach that there is no cord"
        return
    inside = np.flatnonzero(mask.voxels.any(axis=(1, 2)))
    gaps = int(inside[-1] - inside[0] + 1 - n_cord)
    if gaps:
        yield f"{gaps} slices without label between labelled ones"
    low, high = _HUMAN_CSA_MM2
    if mean_mm2 is not None and not low <= mean_mm2 <= high:
        yield f"a mean area of {mean_mm2:.3g} mm² is no cord's: look at the label and at the voxel size"


def _with_outliers(checked: list[CheckedCase]) -> list[CheckedCase]:
    """A remark on cases whose mean area is far from the others' (median ± 5 robust SD)."""
    areas = np.array([case.mean_csa_mm2 for case in checked if case.mean_csa_mm2 is not None])
    if len(areas) < _ENOUGH_TO_JUDGE:
        return checked
    median = float(np.median(areas))
    spread = max(1.4826 * float(np.median(np.abs(areas - median))), 0.05 * median)
    remark = f"mean area far from the others' (median {median:.0f} mm²): look at the label map"
    return [
        replace(case, remarks=(*case.remarks, remark))
        if case.mean_csa_mm2 is not None and abs(case.mean_csa_mm2 - median) > _FAR_MADS * spread
        else case
        for case in checked
    ]
