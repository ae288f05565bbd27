"""One neck scanned twice, the second time moved, turned, on another grid and over another stretch."""

import numpy as np
import pytest
import SimpleITK as sitk

from SpinalCordSegLib.cli import main
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.image_io import read_image, read_labels, write_volume
from SpinalCordSegLib.longitudinal.registration import align, register_rigid
from SpinalCordSegLib.longitudinal.visits import VisitSource, read_visit
from SpinalCordSegLib.morphometry import centreline
from SpinalCordSegLib.volume import Volume, lps_to_ras, to_canonical

FLIP = np.array([-1.0, -1.0, 1.0])


def _slab(volume, window):
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, :3] @ [one.start for one in window]
    return Volume(np.ascontiguousarray(volume.voxels[window]), matrix)


def _moved(volume, motion, interpolator):
    """Resampled by SimpleITK onto 1.2×0.9×1.6 mm."""
    image = sitk.GetImageFromArray(volume.voxels.astype(np.float32).transpose(2, 1, 0))
    image.SetSpacing(volume.spacing_mm)
    lps = lps_to_ras(volume.ijk_to_ras)
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / np.array(volume.spacing_mm)).ravel().tolist())
    spacing = (1.2, 0.9, 1.6)
    size = [int(n * mm / new) for n, mm, new in zip(image.GetSize(), image.GetSpacing(), spacing, strict=True)]
    out = sitk.Resample(image, size, motion, interpolator, image.GetOrigin(), spacing, image.GetDirection())
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(out.GetDirection(), (3, 3)) * np.array(spacing)
    matrix[:3, 3] = out.GetOrigin()
    return Volume(sitk.GetArrayFromImage(out).transpose(2, 1, 0), lps_to_ras(matrix))


@pytest.fixture(scope="module")
def two_scans(shared_data):
    """(image, mask) of both scans, and the motion that takes LPS points of the second to the first."""
    folder = shared_data / "t2_masked"
    image = to_canonical(read_image(folder / "errsm_18_T2w.nii.gz").volume)
    mask = to_canonical(read_labels(folder / "errsm_18_T2w_seg-manual.nii.gz"))
    cord = np.argwhere(mask.voxels > 0)
    middle, top = cord.mean(axis=0).astype(int), int(cord[:, 2].max())
    beside = slice(max(0, middle[1] - 45), middle[1] + 45)
    first = (slice(0, image.shape[0]), beside, slice(top - 75, top - 5))
    second = (slice(0, image.shape[0]), beside, slice(top - 95, top - 20))
    motion = sitk.Euler3DTransform()
    motion.SetCenter(((image.ijk_to_ras @ [*middle, 1])[:3] * FLIP).tolist())
    motion.SetRotation(0.06, -0.04, 0.05)
    motion.SetTranslation((3.0, -4.0, 6.0))
    moved = _moved(_slab(image, second), motion, sitk.sitkLinear)
    moved_mask = _moved(_slab(mask, second), motion, sitk.sitkNearestNeighbor)
    return (_slab(image, first), _slab(mask, first)), (moved, moved_mask), motion


def test_the_same_place_is_found_again(two_scans):
    (fixed, fixed_cord), (moving, moving_cord), motion = two_scans
    found = register_rigid(fixed, fixed_cord, moving, moving_cord)
    line, back = centreline(fixed_cord), motion.GetInverse()
    for position in np.linspace(10, line.end_mm - 25, 4):
        point = line.point_at(position)
        truth = np.array(back.TransformPoint((point * FLIP).tolist())) * FLIP
        assert np.linalg.norm(found.apply(point) - truth) < 1.5
    assert not found.ambiguous


def test_visits_are_laid_over_each_other_by_their_images(two_scans, tmp_path):
    (fixed, fixed_cord), (moving, moving_cord), motion = two_scans
    sources = []
    for n, (image, cord) in enumerate(((fixed, fixed_cord), (moving, moving_cord))):
        write_volume(image, tmp_path / f"image{n}.nii.gz")
        write_volume(cord.with_voxels(cord.voxels > 0), tmp_path / f"mask{n}.nii.gz")
        assert main(["measure", str(tmp_path / f"mask{n}.nii.gz"), "--output", str(tmp_path)]) == 0
        sources.append(VisitSource(tmp_path / f"mask{n}", day=str(400 * n), image=tmp_path / f"image{n}.nii.gz"))
    visits = [read_visit(source) for source in sources]
    found = align(visits, lambda visit: read_image(visit.image).volume)
    point = visits[0].line.point_at(found.origins_mm[0])
    truth = np.array(motion.GetInverse().TransformPoint((point * FLIP).tolist())) * FLIP
    assert visits[1].line.nearest(truth.tolist())[0] == pytest.approx(found.origins_mm[1], abs=1.5)
    assert found.residuals_mm[1] < 2
    with pytest.raises(ConfigurationError, match="another grid"):
        align(visits, lambda visit: fixed)
