"""Whether an image is of the kind the method was made for; doubts are flags, not refusals."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.flags import Flag, case_flag
from SpinalCordSegLib.images.dicom import DicomSeries
from SpinalCordSegLib.images.volume import Volume, axial_slices, to_canonical

COARSE_LEFT_RIGHT = "coarse_left_right"  # the kind for which no cross-sectional area may be reported
HEADER_KINDS = ("slice_gap", "two_dimensional", "contrast_agent", "not_t1w", "not_mr", "body_part")  # not known without
PIXEL_KINDS = ("no_neck",)  # not known without the image's own voxels: a mask on its grid does not tell
MAX_LEFT_RIGHT_MM = 1.5
_SHORTEST_VIEW_MM = 20.0  # along the cord; less than two vertebrae
_NARROWEST_VIEW_MM = 25.0  # in plane; the canal itself is some 20-25 mm wide

# Rules of thumb for "T1-weighted" from clinical ranges: spin echo TR ≤ 1000 and TE ≤ 40 ms (inversion-prepared ones
# have a longer TR and TI 300-1500 ms), gradient echo TE ≤ 12 ms.
_MAX_TE_SPIN_ECHO_MS = 40.0
_MAX_TE_GRADIENT_ECHO_MS = 12.0
_MAX_TR_SPIN_ECHO_MS = 1000.0
_T1_INVERSION_MS = (300.0, 1500.0)

_CONTRAST_WORDS = re.compile(
    r"(\+\s*(c|gd|gad\w*|km)\b|\b(post|mit|with|c)[\s_-]*(contrast|gad\w*|gd|km)\b|\+\s*$)", re.I
)
_OTHER_BODY_PARTS = re.compile(
    r"LSPINE|LUMBAR|SACR|ABDOM|PELVI|KNEE|HIP|SHOULDER|ANKLE|FOOT|HAND|WRIST|BREAST|HEART|LIVER"
)

# A head is larger than a neck in an axial slice, and the cord begins some 13-15 cm below the vertex.
_HEAD_AREA_MM2 = 15_000.0
_VERTEX_TO_CORD_MM = 145.0


def judge_suitability(volume: Volume, dicom: DicomSeries | None = None) -> list[Flag]:
    """Doubts about the whole image, none about single slices; [] for what the method was made for.

    Kinds: coarse_left_right (no CSA may be reported), short_view, narrow_view, PIXEL_KINDS, and with a DICOM header
    HEADER_KINDS.
    """
    flags = [*_judge_grid(volume), *_judge_neck(volume)]
    if dicom is not None:
        flags += [*_judge_slices(volume, dicom), *_judge_sequence(dicom), *_judge_subject(dicom)]
    return flags


def known_facts(dicom: DicomSeries | None, flags: Iterable[Flag]) -> dict[str, bool | None]:
    """What a comparison with norms must know; None where no header tells.

    "t1w", "corrected_3d" (ImageType DIS3D), "contrast_agent". ``flags``: of judge_suitability for the same image.
    """
    if dicom is None:
        return {"t1w": None, "corrected_3d": None, "contrast_agent": None}
    kinds = {flag.kind for flag in flags}
    corrected = True if "DIS3D" in dicom.image_type else False if {"DIS2D", "ND"} & set(dicom.image_type) else None
    described = dicom.modality == "MR" and bool(dicom.sequence) and dicom.echo_time_ms is not None
    return {
        "t1w": False if kinds & {"not_t1w", "not_mr"} else True if described else None,
        "corrected_3d": corrected,
        "contrast_agent": "contrast_agent" in kinds,
    }


def _judge_grid(volume: Volume) -> list[Flag]:
    canonical = to_canonical(volume)
    extent_mm = np.array(canonical.shape) * canonical.spacing_mm
    flags = []
    left_right_mm = canonical.spacing_mm[0]
    if left_right_mm > MAX_LEFT_RIGHT_MM:
        flags.append(
            case_flag(
                COARSE_LEFT_RIGHT,
                f"voxels are {left_right_mm:.2f} mm wide from left to right, above {MAX_LEFT_RIGHT_MM} mm:"
                " areas and diameters of the cord would be wrong and are not reported",
            )
        )
    if extent_mm[2] < _SHORTEST_VIEW_MM:
        flags.append(case_flag("short_view", f"only {extent_mm[2]:.1f} mm along the cord are in view"))
    if extent_mm[:2].min() < _NARROWEST_VIEW_MM:
        message = f"only {extent_mm[0]:.0f}×{extent_mm[1]:.0f} mm are in view around the cord (left-right × front-back)"
        flags.append(case_flag("narrow_view", message))
    return flags


def _judge_neck(volume: Volume) -> list[Flag]:
    """A head scan that ends above the neck: air above the vertex, and too short a way down from there.

    Only where the vertex itself is seen can this be known; a crop or a neck slab is never flagged.
    """
    slices = axial_slices(volume)
    area_mm2 = _tissue_area_mm2(slices.pixels, slices.pixel_mm)
    if area_mm2.max(initial=0.0) < _HEAD_AREA_MM2 or area_mm2[-1] > 0.05 * area_mm2.max():
        return []
    vertex = int(np.flatnonzero(area_mm2 > 0.1 * area_mm2.max())[-1])
    below_mm = (vertex + 1) * slices.slice_mm
    if below_mm >= _VERTEX_TO_CORD_MM:
        return []
    message = f"the image ends {below_mm:.0f} mm below the top of the head: the neck is hardly or not in view"
    return [case_flag("no_neck", message)]


def _tissue_area_mm2(pixels: NDArray, pixel_mm: tuple[float, float]) -> NDArray[np.float64]:
    """Area above a fifth of the bright tissue's level, per slice; coarse steps in plane are enough."""
    step = [max(1, round(4.0 / spacing)) for spacing in pixel_mm]
    coarse = np.asarray(pixels[:, :: step[0], :: step[1]], dtype=np.float32)
    low, high = np.percentile(coarse, [1, 98])
    tissue = coarse > low + 0.2 * (high - low)
    return tissue.sum(axis=(1, 2)) * (pixel_mm[0] * step[0] * pixel_mm[1] * step[1])


def _judge_slices(volume: Volume, dicom: DicomSeries) -> list[Flag]:
    flags = []
    step_mm, thickness_mm = volume.spacing_mm[2], dicom.slice_thickness_mm
    if thickness_mm and volume.shape[2] > 1 and step_mm > 1.02 * thickness_mm + 0.01:
        message = (
            f"there is a gap between slices: {thickness_mm:.2f} mm thick, {step_mm:.2f} mm apart; volume is estimated"
        )
        flags.append(case_flag("slice_gap", message))
    if dicom.dimension == "2D":
        message = "acquired as 2D slices; the method was made for 3D acquisitions"
        flags.append(case_flag("two_dimensional", message))
    return flags


def _judge_sequence(dicom: DicomSeries) -> list[Flag]:
    flags = []
    if dicom.modality and dicom.modality != "MR":
        flags.append(case_flag("not_mr", f"the modality is {dicom.modality}; the method was made for MR"))
        return flags
    if dicom.contrast_agent or _CONTRAST_WORDS.search(dicom.description):
        source = "header" if dicom.contrast_agent else "series description"
        flags.append(case_flag("contrast_agent", f"a contrast agent was given (DICOM {source}); areas may differ"))
    reason = _why_not_t1w(dicom)
    if reason:
        flags.append(case_flag("not_t1w", f"probably not T1-weighted: {reason}; areas from other contrasts differ"))
    return flags


def _why_not_t1w(dicom: DicomSeries) -> str | None:
    echo, repetition, inversion = dicom.echo_time_ms, dicom.repetition_time_ms, dicom.inversion_time_ms
    kinds = dicom.sequence.upper().split("\\")
    if "EP" in kinds:
        return "echo-planar sequence"
    if "GR" in kinds and "SE" not in kinds:
        too_long = echo is not None and echo > _MAX_TE_GRADIENT_ECHO_MS
        return f"gradient echo with TE {echo:g} ms" if too_long else None
    if echo is not None and echo > _MAX_TE_SPIN_ECHO_MS:
        return f"TE {echo:g} ms"
    prepared = inversion is not None and _T1_INVERSION_MS[0] <= inversion <= _T1_INVERSION_MS[1]
    if "SE" in kinds and repetition is not None and repetition > _MAX_TR_SPIN_ECHO_MS and not prepared:
        return f"spin echo with TR {repetition:g} ms"
    return None


def _judge_subject(dicom: DicomSeries) -> list[Flag]:
    if _OTHER_BODY_PARTS.search(dicom.body_part):
        return [case_flag("body_part", f"the DICOM header names the body part {dicom.body_part}, not the neck")]
    return []
