"""Whatever makes a DICOM stack crooked or incomplete is named with file and place."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from SpinalCordSegLib.dicom import find_series, read_series
from SpinalCordSegLib.errors import DicomSeriesError
from SpinalCordSegLib.volume import Volume

# The stack of conftest.py in RAS: x and y of DICOM's LPS turned round.
C, S = np.cos(np.radians(20)), np.sin(np.radians(20))
MATRIX = np.array([[-0.5, 0, 0, 10], [0, -0.75 * C, 3 * S, -5], [0, 0.75 * S, 3 * C, 100], [0, 0, 0, 1]])


def read(folder: Path) -> Volume:
    return read_series(find_series(folder))


def without(*gone: int) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        for k in gone:
            os.remove(folder / f"IM{(k * 7) % 10}{k}")

    return remove


def shift(k: int, along_mm: float = 0.0, aside_mm: float = 0.0) -> dict[str, Any]:
    position = np.array([-10.0, 5.0, 100.0]) + (3 * k + along_mm) * np.array([0, -S, C]) + [aside_mm, 0, 0]
    return {"ImagePositionPatient": position.round(6).tolist()}


CROOKED: dict[str, tuple[Callable[[int], dict[str, Any]], str]] = {
    "duplicate position": (
        lambda k: shift(2) if k == 3 else {},
        r"two slices lie at the same position: IM\d\d and IM\d\d at 98\.3 mm",
    ),
    "gantry tilt": (
        lambda k: shift(k, aside_mm=0.8 * k),
        r"tilted \(gantry tilt\): IM\d5 at \d+\.\d mm lies 4\.0 mm beside the slice normal \(14\.9°\)",
    ),
    "one slice aside": (lambda k: shift(k, aside_mm=2.0 if k == 4 else 0), "IM84 at 104.3 mm lies 2.0 mm beside"),
    "uneven steps": (
        lambda k: shift(k, along_mm=1.0 if k == 3 else 0),
        r"slice spacing varies: 4\.00 mm between IM42 at 98\.3 mm and IM13 at 102\.3 mm, usually 3\.00 mm",
    ),
    "orientation": (
        lambda k: {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]} if k == 1 else {},
        r"the orientation varies: IM71 at .* mm .*20\.0° apart",
    ),
    "two orientations in equal parts": (
        lambda k: {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]} if k >= 3 else {},
        r"the orientation varies: .*20\.0° apart",
    ),
    "pixel spacing": (
        lambda k: {"PixelSpacing": [0.75, 0.6]} if k == 2 else {},
        r"the pixel spacing varies: IM42 at 98\.3 mm has \(0\.75, 0\.6\), most have \(0\.75, 0\.5\)",
    ),
    "size": (
        lambda k: {"Rows": 2, "PixelData": b"\0" * 20} if k == 2 else {},
        r"the size varies: IM42 at 98\.3 mm has \(2, 5\), most have \(4, 5\)",
    ),
    "no position": (lambda k: {"ImagePositionPatient": None}, "has no ImagePositionPatient"),
    "no orientation": (lambda k: {"ImageOrientationPatient": None}, "has no ImageOrientationPatient"),
    "no pixel spacing": (lambda k: {"PixelSpacing": None}, "has no usable PixelSpacing"),
    "crooked directions": (lambda k: {"ImageOrientationPatient": [1, 0, 0, 0.6, 0.8, 0]}, "not at right angles"),
}


@pytest.mark.parametrize("case", CROOKED, ids=CROOKED.keys())
def test_a_crooked_stack_is_refused(dicom: Any, tmp_path: Path, case: str) -> None:
    change, words = CROOKED[case]
    dicom.write(tmp_path, n=6, change=change)
    with pytest.raises(DicomSeriesError, match=words) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ((2,), r"1 slice is missing between IM71 at 95\.3 mm and IM13 at 101\.3 mm \(the usual step is 3\.00 mm\)"),
        ((2, 3), r"2 slices are missing between IM71 at 95\.3 mm and IM84 at 104\.3 mm"),
    ],
)
def test_missing_slices(dicom: Any, tmp_path: Path, gone: tuple[int, ...], words: str) -> None:
    without(*gone)(dicom.write(tmp_path, n=7))
    with pytest.raises(DicomSeriesError, match=words):
        read(tmp_path)


def test_one_of_three_slices_missing(dicom: Any, tmp_path: Path) -> None:
    without(1)(dicom.write(tmp_path, n=4))
    with pytest.raises(DicomSeriesError, match="1 slice is missing between IM00"):
        read(tmp_path)


def test_positions_rounded_as_scanners_do(dicom: Any, tmp_path: Path) -> None:
    def rounded(k: int) -> dict[str, Any]:
        return {"ImagePositionPatient": np.round(shift(k)["ImagePositionPatient"], 2).tolist()}

    dicom.write(tmp_path, n=20, change=rounded)
    np.testing.assert_allclose(read(tmp_path).ijk_to_ras[:3, :3], MATRIX[:3, :3], atol=1e-3)
