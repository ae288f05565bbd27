"""Header and voxels in two files (NIfTI pair, Analyze 7.5), and formats without orientation; 0.5 × 0.6 × 4 mm."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from SpinalCordSegLib.errors import GeometryError, InputFileError
from SpinalCordSegLib.image_io import find_inputs, read_grid, read_image

GRID = np.array([[0, 0.6, 0, -10], [-0.5, 0, 0, 20], [0, 0, 4.0, 5], [0, 0, 0, 1]], dtype=float)


@pytest.fixture
def voxels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, (7, 5, 3)).astype(np.int16)


def test_a_nifti_pair_keeps_its_grid(tmp_path: Path, voxels: np.ndarray) -> None:
    nibabel.save(nibabel.Nifti1Pair(voxels, GRID), tmp_path / "a.hdr")
    image = read_image(tmp_path / "a.hdr")
    np.testing.assert_array_equal(image.volume.ijk, voxels)
    np.testing.assert_allclose(image.volume.ijk_to_ras, GRID, atol=1e-5)
    assert find_inputs([tmp_path]) == [tmp_path / "a.hdr"]


def test_a_pair_without_or_with_half_its_voxels(tmp_path: Path, voxels: np.ndarray) -> None:
    nibabel.save(nibabel.Nifti1Pair(voxels, GRID), tmp_path / "a.hdr")
    data = tmp_path / "a.img"
    data.write_bytes(data.read_bytes()[:50])
    with pytest.raises(InputFileError, match=r"a\.img is cut short"):
        read_image(tmp_path / "a.hdr")
    data.unlink()
    with pytest.raises(InputFileError, match=r"no a\.img beside it"):
        read_image(tmp_path / "a.hdr")


def test_analyze_is_refused_unless_orientation_does_not_matter(tmp_path: Path, voxels: np.ndarray) -> None:
    nibabel.save(nibabel.AnalyzeImage(voxels, np.diag([0.5, 0.6, 4.0, 1.0])), tmp_path / "a.hdr")
    with pytest.raises(GeometryError, match="Analyze"):
        read_image(tmp_path / "a.hdr")
    grid = read_grid(tmp_path / "a.hdr", unoriented=True)
    assert not grid.oriented
    assert grid.volume.ijk_spacing_mm == pytest.approx((0.5, 0.6, 4.0))
    np.testing.assert_array_equal(grid.volume.ijk, voxels)


@pytest.mark.parametrize("name", ["a.gipl", "a.gipl.gz"])
def test_gipl_is_refused_unless_orientation_does_not_matter(tmp_path: Path, voxels: np.ndarray, name: str) -> None:
    image = sitk.GetImageFromArray(voxels.transpose(2, 1, 0))
    image.SetSpacing((0.5, 0.6, 4.0))
    sitk.WriteImage(image, str(tmp_path / name))
    with pytest.raises(InputFileError, match="not read here"):
        read_image(tmp_path / name)
    grid = read_grid(tmp_path / name, unoriented=True)
    assert not grid.oriented
    np.testing.assert_array_equal(grid.volume.ijk, voxels)


def test_a_header_of_another_program(tmp_path: Path) -> None:
    (tmp_path / "a.hdr").write_text("ENVI\nsamples = 7\n" * 40, encoding="utf-8")
    with pytest.raises(InputFileError, match="not a NIfTI file"):
        read_image(tmp_path / "a.hdr")
