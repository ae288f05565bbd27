"""Measuring a mask of the scene in full: the AI's as corrected by a person, any other as a mask made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from SpinalCordSegLib.images.volume import Volume
from SpinalCordSegNodes.case_folder import CaseFolder, read_case_folder
from SpinalCordSegNodes.discs import DISCS, marked_discs
from SpinalCordSegNodes.result_folder import write_result_folder
from SpinalCordSegNodes.results import result_of
from SpinalCordSegNodes.segmentations import AI_COPY, cord_segment_id, mask_of_segment, volume_behind, volume_node_of
from SpinalCordSegWidgets.cord_run import CordRun
from SpinalCordSegWidgets.cord_run import measure_run as measure_given
from SpinalCordSegWidgets.task_run import RESULTS, task_run

_CASE, _MASK, _IMAGE = "case", "corrected.nrrd", "volume.nrrd"


def measure_run(segmentation: Any, segment_id: str, base: Path, by: str = "") -> CordRun:
    """Begin; the outcome is a CaseFolder. ``by``: who corrected the mask. Marked discs go along, for the levels.

    Raises SpinalCordSegError.
    """
    mask = mask_of_segment(segmentation, segment_id)
    image = volume_behind(segmentation, mask)
    discs = disc_arguments(volume_node_of(segmentation) or segmentation)
    ai = _ai_mask(segmentation, segment_id)
    if ai is None:
        return measure_given(mask, base, image=image, more=discs)
    result = result_of(segmentation)

    def prepare(folder: Path) -> None:
        from SpinalCordSegLib.images.files import write_volume  # SimpleITK: only now

        assert result is not None
        write_result_folder(result, segment_id, folder / RESULTS / _CASE, ai)
        write_volume(mask, folder / _MASK)
        if image is not None:
            write_volume(image, folder / _IMAGE)

    arguments = ["correct", f"{RESULTS}/{_CASE}", _MASK, "--by", by, *discs]
    arguments += ["--image", _IMAGE] if image is not None else []
    return task_run(arguments, prepare, _read, base)


def disc_arguments(owner: Any) -> list[str]:
    """The marked discs of an image or mask node, as the command line takes them."""
    return [
        f"--disc={DISCS[disc]}=" + ",".join(f"{mm:.3f}" for mm in place) for disc, place in marked_discs(owner).items()
    ]


def _read(folder: Path) -> CaseFolder:
    return read_case_folder(folder / _CASE)


def _ai_mask(segmentation: Any, segment_id: str) -> Volume | None:
    """What the AI drew, where this segment began as that and its report says so; else None."""
    result = result_of(segmentation)
    copy = segmentation.GetNodeReference(AI_COPY)
    if result is None or copy is None or not result.report_content().get("model"):
        return None
    copy_id = cord_segment_id(copy)
    if not copy_id or segment_id != cord_segment_id(segmentation) or result.slices is None:
        return None
    return mask_of_segment(copy, copy_id)
