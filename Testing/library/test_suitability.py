"""What an image is not made for is flagged; a good crop, slab or head is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from SpinalCordSegLib.dicom import DicomSeries, find_series
from SpinalCordSegLib.image_io import read_image
from SpinalCordSegLib.quality_control import judge_suitability
from SpinalCordSegLib.volume import Volume


def grid(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Volume:
    return Volume.from_ijk(np.zeros(shape, np.float32), np.diag([*spacing_mm, 1.0]))


@pytest.fixture
def t1w(dicom: Any, tmp_path: Path) -> DicomSeries:
    """A 3D gradient echo as the method was made for."""
    series = find_series(dicom.write(tmp_path))
    return replace(
        series, dimension="3D", sequence="GR\\SP", echo_time_ms=2.7, repetition_time_ms=8.2, slice_thickness_mm=3.0
    )


def kinds(volume: Volume, dicom: DicomSeries | None = None) -> list[str]:
    return [flag.kind for flag in judge_suitability(volume, dicom)]


NECK = grid((100, 100, 20), (1.0, 1.0, 3.0))


def test_what_the_method_was_made_for(t1w: DicomSeries) -> None:
    assert kinds(NECK) == []
    assert kinds(NECK, t1w) == []


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "expected"),
    [
        ((42, 76, 77), (1.0, 1.0, 1.0), []),  # a crop around the cord
        ((100, 100, 20), (1.5, 1.0, 3.0), []),
        ((100, 100, 20), (1.6, 1.0, 3.0), ["coarse_voxels"]),
        ((100, 100, 1), (1.0, 1.0, 3.0), ["small_view"]),
        ((20, 100, 20), (1.0, 1.0, 3.0), ["small_view"]),
    ],
)
def test_grids(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], expected: list[str]) -> None:
    assert kinds(grid(shape, spacing_mm)) == expected


def test_left_right_is_the_patients_not_the_arrays() -> None:
    sagittal = np.zeros((4, 4))
    sagittal[1, 0] = sagittal[2, 1] = 1.0  # i backwards to front, j up
    sagittal[0, 2], sagittal[3, 3] = 2.2, 1.0  # k left to right
    volume = Volume.from_ijk(np.zeros((100, 100, 30), np.float32), sagittal)
    (flag,) = judge_suitability(volume)
    assert flag.kind == "coarse_voxels"
    assert flag.slice is None
    assert "2.20 mm wide" in flag.message


def head(below_vertex_mm: int) -> Volume:
    """A bright box of 98×180 mm in air, 20 mm of air above it, ``below_vertex_mm`` of it in view."""
    voxels = np.zeros((100, 100, (below_vertex_mm + 20) // 2), np.float32)
    voxels[15:85, 5:95, : below_vertex_mm // 2] = 1.0
    return Volume.from_ijk(voxels, np.diag([1.4, 2.0, 2.0, 1.0]))


def test_a_head_scan_that_ends_above_the_neck() -> None:
    (flag,) = judge_suitability(head(120))
    assert flag.kind == "no_neck"
    assert "ends 120 mm below the top of the head" in flag.message
    assert kinds(head(180)) == []


def test_a_slab_without_the_vertex_is_not_judged() -> None:
    full = head(120)
    assert kinds(Volume.from_ijk(full.ijk[:, :, :50], full.ijk_to_ras)) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"contrast_agent": True}, ["acquisition"]),
        ({"description": "T1 MPRAGE post gd"}, ["acquisition"]),
        ({"description": "t1_tse_sag +C"}, ["acquisition"]),
        ({"description": "T1 post processing"}, []),
        ({"slice_thickness_mm": 2.5}, ["acquisition"]),
        ({"slice_thickness_mm": 6.0}, []),  # overlapping or interpolated slices
        ({"slice_thickness_mm": None}, []),
        ({"dimension": "2D"}, ["acquisition"]),
        ({"modality": "CT"}, ["acquisition"]),
        ({"body_part": "LSPINE"}, ["acquisition"]),
        ({"body_part": "HEAD"}, []),
    ],
)
def test_headers(t1w: DicomSeries, changes: dict[str, Any], expected: list[str]) -> None:
    assert kinds(NECK, replace(t1w, **changes)) == expected


@pytest.mark.parametrize(
    ("sequence", "tr_ms", "te_ms", "ti_ms", "t1_weighted"),
    [
        ("GR\\SP", 5.6, 1.7, None, True),
        ("GR\\MP", 2300.0, 2.98, 900.0, True),  # MPRAGE
        ("GR\\IR", 2000.0, 3.5, 1100.0, True),
        ("SE", 500.0, 10.0, None, True),
        ("SE\\IR", 2200.0, 10.0, 860.0, True),  # T1 FLAIR
        ("", None, None, None, True),  # nothing known, nothing claimed
        ("GR", 600.0, 15.0, None, False),  # T2*
        ("SE\\SK", 3500.0, 100.0, None, False),  # T2
        ("SE\\IR", 9000.0, 120.0, 2500.0, False),  # FLAIR
        ("SE", 2500.0, 15.0, None, False),  # proton density
        ("EP\\SK", 4000.0, 30.0, None, False),
    ],
)
def test_weighting(
    t1w: DicomSeries, sequence: str, tr_ms: float, te_ms: float, ti_ms: float, t1_weighted: bool
) -> None:
    changed = replace(t1w, sequence=sequence, repetition_time_ms=tr_ms, echo_time_ms=te_ms, inversion_time_ms=ti_ms)
    assert kinds(NECK, changed) == ([] if t1_weighted else ["acquisition"])


def test_messages_hold_no_patient_data(t1w: DicomSeries) -> None:
    flags = judge_suitability(NECK, replace(t1w, contrast_agent=True, dimension="2D", echo_time_ms=20.0))
    assert len(flags) == 3
    assert not any("perez" in flag.message.casefold() or "\n" in flag.message for flag in flags)


def test_real_images_are_not_flagged(shared_data: Path) -> None:
    for name in ("t1w_masked/sct-testing_T1w.nii.gz", "mt_masked/sub-05_acq-MTon_MTS.nii.gz", "dicom_t1w_head"):
        image = read_image(shared_data / name)
        assert kinds(image.volume, image.dicom) == []
