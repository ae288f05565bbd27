"""Label maps onto their image's grid: voxel order, formats without orientation, resampling; volumes by hand."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from cord_files import CORD_MM3, GRID, cord_image, cord_label

from SpinalCordSegLib.errors import GeometryError, TrainingDataError
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib.dataset import find_cases, load_case, place_mask, read_label_map

LABEL_FILES = [
    "a_seg.nii",
    "a_seg.nii.gz",
    "a_seg.nrrd",
    "a_seg.mha",
    "a_seg.mhd",
    "a_seg.hdr",
    "a_seg.gipl",
    "a_seg.gipl.gz",
]


def _save(volume: Volume, path: Path) -> None:
    """As ITK-SNAP does: through ITK; the pair through nibabel, which writes NIfTI-1 in two files."""
    if path.suffix == ".hdr":
        nibabel.save(nibabel.Nifti1Pair(volume.voxels, volume.ijk_to_ras), path)
        return
    write_volume(volume, path.with_name("kept.nii"))
    image = sitk.ReadImage(str(path.with_name("kept.nii")))
    path.with_name("kept.nii").unlink()
    sitk.WriteImage(image, str(path))


@pytest.mark.parametrize("name", LABEL_FILES)
def test_every_format_of_itk_snap(name: str, tmp_path: Path) -> None:
    write_volume(cord_image(), tmp_path / "a.nii.gz")
    _save(cord_label(), tmp_path / name)
    (case,) = find_cases(tmp_path)
    loaded = load_case(case)
    np.testing.assert_array_equal(loaded.mask.voxels, cord_label().voxels == 1)
    without = name.startswith("a_seg.gipl")
    assert loaded.match == ("unoriented" if without else "same")
    assert bool(loaded.notes) == without


def test_analyze_takes_the_images_orientation(tmp_path: Path) -> None:
    write_volume(cord_image(), tmp_path / "a.nii.gz")
    nibabel.save(nibabel.AnalyzeImage(cord_label().voxels, np.diag([0.6, 0.5, 4.0, 1.0])), tmp_path / "a_seg.hdr")
    loaded = load_case(find_cases(tmp_path)[0])
    assert loaded.match == "unoriented"
    np.testing.assert_array_equal(loaded.mask.voxels, cord_label().voxels == 1)
    nibabel.save(nibabel.AnalyzeImage(cord_label().voxels, np.diag([0.6, 0.5, 3.0, 1.0])), tmp_path / "a_seg.hdr")
    with pytest.raises(TrainingDataError, match="without orientation"):
        load_case(find_cases(tmp_path)[0], tolerant=True)


def test_another_voxel_order_is_undone_exactly() -> None:
    label = cord_label()
    flipped = GRID.copy()
    flipped[:, 2] = -GRID[:, 2]
    flipped[:, 3] = GRID @ [0, 0, 4, 1]
    stored = Volume(label.voxels[:, :, ::-1].transpose(1, 0, 2), flipped[:, [1, 0, 2, 3]])
    placed = place_mask(stored.with_voxels(stored.voxels == 1), True, cord_image(), "a")
    assert placed.match == "reordered"
    np.testing.assert_array_equal(placed.mask.voxels, label.voxels == 1)
    np.testing.assert_array_equal(placed.mask.ijk_to_ras, GRID)


def _finer_label() -> Volume:
    """The box at half the voxel size in i and j, the same corners."""
    grid = GRID.copy()
    grid[:3, 0] /= 2
    grid[:3, 1] /= 2
    grid[:3, 3] -= (GRID[:3, 0] + GRID[:3, 1]) / 4
    return Volume(np.repeat(np.repeat(cord_label().voxels, 2, 0), 2, 1) == 1, grid)


def test_tolerance_resamples_and_says_so() -> None:
    with pytest.raises(GeometryError, match=r"shape 120×96×5 instead of 60×48×5, spacing 0\.3×0\.25×4 instead"):
        place_mask(_finer_label(), True, cord_image(), "a")
    placed = place_mask(_finer_label(), True, cord_image(), "a", tolerant=True)
    np.testing.assert_array_equal(placed.mask.voxels, cord_label().voxels == 1)
    assert f"{CORD_MM3:.0f} mm³ became {CORD_MM3:.0f} mm³" in placed.note


def test_a_label_map_beside_its_image_is_refused_even_so() -> None:
    away = GRID.copy()
    away[0, 3] += 21  # of 24 mm across, the cord from 8 to 16 mm
    with pytest.raises(GeometryError, match="may belong to another image"):
        place_mask(cord_label(grid=away).with_voxels(cord_label().voxels == 1), True, cord_image(), "a", tolerant=True)


def test_fractions_are_no_labels(tmp_path: Path) -> None:
    write_volume(Volume(np.full((3, 4, 5), 0.5, np.float32), GRID), tmp_path / "a.nii.gz")
    with pytest.raises(Exception, match="not whole numbers"):
        read_label_map(tmp_path / "a.nii.gz")
