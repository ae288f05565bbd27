"""One neck scanned twice, moved and on another grid; and a mask propagated to an image of another contrast."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from SpinalCordSegLib.cli import main
from SpinalCordSegLib.errors import GeometryError, VoxelError
from SpinalCordSegLib.image_io import read_image, read_labels, to_itk, write_volume
from SpinalCordSegLib.longitudinal.registration import propagate_mask, register_rigid, resample_image, resample_mask
from SpinalCordSegLib.metrics import dice
from SpinalCordSegLib.morphometry import centreline
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.volume import Volume, lps_to_ras

FLIP = np.array([-1.0, -1.0, 1.0])


def _slab(volume, window):
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, :3] @ [one.start for one in window]
    return Volume.from_ijk(np.ascontiguousarray(volume.ijk[window]), matrix)


def _moved(volume, motion, interpolator):
    """Resampled by SimpleITK onto 1.2×0.9×1.6 mm."""
    image = sitk.Cast(to_itk(volume), sitk.sitkFloat32)
    spacing = (1.2, 0.9, 1.6)
    size = [int(n * mm / new) for n, mm, new in zip(image.GetSize(), image.GetSpacing(), spacing, strict=True)]
    out = sitk.Resample(image, size, motion, interpolator, image.GetOrigin(), spacing, image.GetDirection())
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(out.GetDirection(), (3, 3)) * np.array(spacing)
    matrix[:3, 3] = out.GetOrigin()
    return Volume.from_ijk(sitk.GetArrayFromImage(out).transpose(2, 1, 0), lps_to_ras(matrix))


@pytest.fixture(scope="module")
def two_scans(shared_data):
    """(image, mask) of both scans, and the motion that takes LPS points of the second to the first."""
    folder = shared_data / "t2_masked"
    image = read_image(folder / "errsm_18_T2w.nii.gz").volume.reoriented("RAS")
    mask = read_labels(folder / "errsm_18_T2w_seg-manual.nii.gz").reoriented("RAS")
    cord = np.argwhere(mask.ijk > 0)
    middle, top = cord.mean(axis=0).astype(int), int(cord[:, 2].max())
    beside = slice(max(0, middle[1] - 45), middle[1] + 45)
    first = (slice(0, image.ijk_shape[0]), beside, slice(top - 75, top - 5))
    second = (slice(0, image.ijk_shape[0]), beside, slice(top - 95, top - 20))
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


def test_a_fit_of_noise_is_known_as_one(scan):
    phantom, _ = scan
    noise = [
        phantom.image.with_voxels(np.random.default_rng(seed).normal(100, 20, phantom.image.shape)) for seed in (1, 2)
    ]
    assert register_rigid(noise[0], phantom.mask, noise[1], phantom.mask).unrelated
    assert not register_rigid(phantom.image, phantom.mask, phantom.image, phantom.mask).unrelated


# ---- A mask propagated to another image


def _motion(angles_deg, shift_mm, about) -> np.ndarray:
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    motion[:3, 3] = np.asarray(shift_mm) + about - motion[:3, :3] @ about
    return motion


def _sagittal(about) -> Volume:
    """An empty grid of sagittal slices: axes P, S, R, 1 × 1 × 2.5 mm, about a place."""
    steps, shape = np.array([[0, 0, 2.5], [-1.0, 0, 0], [0, 1.0, 0]]), (70, 62, 22)
    matrix = np.eye(4)
    matrix[:3, :3] = steps
    matrix[:3, 3] = about - steps @ ((np.array(shape) - 1) / 2)
    return Volume.from_ijk(np.zeros(shape, np.float32), matrix)


@pytest.fixture(scope="module")
def scan():
    phantom = make_phantom(PhantomConfig(shape=(70, 70, 20), spacing_mm=(0.9, 0.9, 3.0)))
    middle = (phantom.mask.ijk_to_ras @ np.append(np.argwhere(phantom.mask.ijk).mean(axis=0), 1))[:3]
    return phantom, middle


def _other(phantom, motion, grid) -> Volume:
    """The same neck moved, on another grid, with bright and dark exchanged above the grey of fat."""
    seen = resample_image(grid, np.linalg.inv(motion), phantom.image).ijk
    return grid.with_ijk(np.where(seen > 0, np.percentile(seen, 99.5) - seen, 0).astype(np.float32))


def test_the_mask_lands_where_the_cord_went(scan) -> None:
    phantom, middle = scan
    motion = _motion((2, -2, 3), (1.5, -2, 2.5), middle)
    target = _other(phantom, motion, _sagittal(middle))
    propagated = propagate_mask(phantom.image, phantom.mask, target)
    assert np.allclose(propagated.mask.voxel_to_ras, target.voxel_to_ras, atol=1e-4) and propagated.warnings == ()
    assert propagated.moved_mm == pytest.approx(np.linalg.norm((1.5, -2, 2.5)), abs=0.7)
    cord = np.argwhere(phantom.mask.ijk)[::50]
    places = [(phantom.mask.ijk_to_ras @ np.append(p, 1)) for p in cord]
    off = [np.linalg.norm(propagated.registration.apply(p[:3]) - (motion @ p)[:3]) for p in places]
    assert max(off) < 1.0  # mm, at 0.9 and 1 mm pixels
    assert dice(propagated.mask.ijk, resample_mask(phantom.mask, motion, target).ijk) > 0.88
    assert json.dumps(propagated.as_dict(), allow_nan=False)


def test_an_image_of_something_else_is_warned_of(scan) -> None:
    phantom, middle = scan
    grid = _sagittal(middle)
    noise = np.random.default_rng(3).normal(size=grid.ijk_shape).astype(np.float32)
    propagated = propagate_mask(phantom.image, phantom.mask, grid.with_ijk(noise))
    assert any("little in common" in text for text in propagated.warnings)


def test_what_cannot_be_propagated_is_refused(scan) -> None:
    phantom, middle = scan
    target = _other(phantom, np.eye(4), _sagittal(middle))
    with pytest.raises(VoxelError, match="is empty"):
        propagate_mask(phantom.image, phantom.mask.with_ijk(np.zeros(phantom.mask.ijk_shape, bool)), target)
    with pytest.raises(GeometryError, match="another grid"):
        propagate_mask(target, phantom.mask, target)
    far = target.ijk_to_ras.copy()
    far[0, 3] += 2000
    with pytest.raises(GeometryError, match="do not overlap"):
        propagate_mask(phantom.image, phantom.mask, Volume.from_ijk(target.ijk, far))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_resampling_keeps_the_volume_in_thick_and_thin_voxels(axis: int) -> None:
    i, j, k = np.indices((40, 40, 40))
    ball = Volume.from_ijk((i - 20) ** 2 + (j - 20) ** 2 + (k - 20) ** 2 <= 14.0**2, np.diag([0.5, 0.5, 0.5, 1.0]))
    steps = np.array([0.7, 0.7, 0.7])
    steps[axis] = 3.5
    matrix = np.diag([*-steps, 1.0])
    matrix[:3, 3] = 21.0
    target = Volume.from_ijk(np.zeros(tuple(int(24 / s) for s in steps)), matrix)
    moved = resample_mask(ball, _motion((0, 0, 0), (1.0, 0, 0), np.zeros(3)), target)
    assert moved.ijk.sum() * moved.voxel_volume_mm3 == pytest.approx(4 / 3 * np.pi * 7.0**3, rel=0.05)
    centre = (moved.ijk_to_ras @ np.append(np.argwhere(moved.ijk).mean(axis=0), 1))[:3]
    assert centre == pytest.approx((11, 10, 10), abs=0.5)


@pytest.mark.parametrize("shift_mm", [0.0, 0.02, -0.02])
@pytest.mark.parametrize("step_mm", [1.0, 5.0])
def test_a_cord_through_the_whole_stack_keeps_its_ends(step_mm: float, shift_mm: float) -> None:
    """A slice is cord over all of its thickness, the outer half of the first and the last one included."""
    stack = Volume.from_ijk(np.zeros((20, 20, 12), bool), np.diag([1.0, 1.0, 5.0, 1.0]))
    stack.ijk[8:13, 8:13] = True
    matrix = np.diag([1.0, 1.0, step_mm, 1.0])
    matrix[2, 3] = step_mm / 2 - 2.5  # both stacks begin at the same plane
    target = Volume.from_ijk(np.zeros((20, 20, round(60 / step_mm))), matrix)
    moved = resample_mask(stack, _motion((0, 0, 0), (0, 0, shift_mm), np.zeros(3)), target)
    assert moved.ijk.sum() * moved.voxel_volume_mm3 == pytest.approx(25 * 60)


def test_the_command_writes_mask_picture_and_numbers(scan, tmp_path, capsys) -> None:
    phantom, middle = scan
    write_volume(phantom.image, tmp_path / "t1.nii.gz")
    write_volume(phantom.mask, tmp_path / "mask.nii.gz")
    write_volume(_other(phantom, np.eye(4), _sagittal(middle)), tmp_path / "stir.nii.gz")
    command = ["propagate", str(tmp_path / "mask.nii.gz"), "--image", str(tmp_path / "t1.nii.gz")]
    command += ["--to", str(tmp_path / "stir.nii.gz"), "--output", str(tmp_path / "out")]
    assert main(command) == 0
    assert "look at the fit" in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "propagated.json").read_text(encoding="utf-8"))
    propagated = read_labels(tmp_path / "out" / "propagated.nii.gz")
    assert propagated.ijk_shape == (70, 62, 22) and not content["warnings"] and content["moved_mm"] < 1
    assert content["volume_mm3"] == pytest.approx((propagated.ijk > 0).sum() * 2.5, abs=0.1)
    assert (tmp_path / "out" / "fit.png").read_bytes().startswith(b"\x89PNG")
    assert main(command) == 2
    assert "there already" in capsys.readouterr().err
    assert main(["measure", command[1], *command[2:4], "--output", str(tmp_path)]) == 0
    (tmp_path / "mask" / "mask.nii.gz").write_bytes(b"x")
    capsys.readouterr()
    assert main(["propagate", str(tmp_path / "mask"), *command[2:], "--force"]) == 2
    assert capsys.readouterr().err.count("mask cannot be read") == 1
