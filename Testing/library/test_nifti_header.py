"""NIfTI headers that hold two orientations, or none: which one is used is said."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from SpinalCordSegLib.errors import InputFileError
from SpinalCordSegLib.image_io import read_grid

STRAIGHT = np.array([[0.5, 0, 0, -10.25], [0, 0.75, 0, 20.5], [0, 0, 5, 30], [0, 0, 0, 1]])


def turned() -> np.ndarray:
    """20° about R and S, anisotropic."""
    c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
    about_r, about_s = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]), np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    matrix = STRAIGHT.copy()
    matrix[:3, :3] = about_s @ about_r @ STRAIGHT[:3, :3]
    return matrix


def sheared() -> np.ndarray:
    matrix = STRAIGHT.copy()
    matrix[0, 1] = 0.2
    return matrix


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 1000, shape).astype(np.int16)


def mixed_forms(path: Path, sform_code: int, sform: np.ndarray) -> Path:
    image = nib.Nifti1Image(noise(4, 5, 6), STRAIGHT)
    image.set_qform(STRAIGHT, 1)
    image.set_sform(sform, sform_code)
    nib.save(image, path)
    return path


@pytest.mark.parametrize(
    ("sform_code", "used"),
    [(1, "sform"), (2, "qform"), (4, "qform")],  # what ITK 5.4, and so Slicer, takes
)
def test_where_sform_and_qform_disagree_the_choice_is_said(tmp_path: Path, sform_code: int, used: str) -> None:
    grid = read_grid(mixed_forms(tmp_path / "x.nii.gz", sform_code, turned()))
    assert len(grid.notes) == 1
    assert f": {used} is used, as Slicer does" in grid.notes[0]
    expected = turned() if used == "sform" else STRAIGHT
    np.testing.assert_allclose(grid.volume.ijk_to_ras, expected, atol=1e-5)


def test_a_sheared_registration_to_a_template_does_not_matter_beside_a_qform(tmp_path: Path) -> None:
    grid = read_grid(mixed_forms(tmp_path / "x.nii.gz", 4, sheared()))
    np.testing.assert_allclose(grid.volume.ijk_to_ras, STRAIGHT, atol=1e-5)


def test_a_header_without_orientation_is_read_with_a_note(tmp_path: Path) -> None:
    image = nib.Nifti1Image(noise(4, 5, 6), STRAIGHT)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, tmp_path / "x.nii.gz")
    grid = read_grid(tmp_path / "x.nii.gz")
    assert "no orientation" in grid.notes[0]
    assert grid.volume.orientation == "LPS"


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (344, b"ni1\0"),  # says that its voxels are in another file
        (40, b"\0\0"),  # no axes
        (40, b"\x08\0"),  # eight
        (44, b"\0\0"),  # no row
    ],
)
def test_a_header_that_contradicts_itself_is_none(tmp_path: Path, offset: int, value: bytes) -> None:
    nib.save(nib.Nifti1Image(noise(4, 5, 6), STRAIGHT), tmp_path / "x.nii")
    content = bytearray((tmp_path / "x.nii").read_bytes())
    content[offset : offset + len(value)] = value
    (tmp_path / "x.nii").write_bytes(content)
    with pytest.raises(InputFileError, match=r"x\.nii is not a NIfTI file"):
        read_grid(tmp_path / "x.nii")
