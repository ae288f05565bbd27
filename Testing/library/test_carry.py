"""A mask carried to an image of another contrast, orientation and grid, in which the person has moved."""

import json

import numpy as np
import pytest

from SpinalCordSegLib.cli import main
from SpinalCordSegLib.errors import GeometryError, VoxelError
from SpinalCordSegLib.image_io import read_labels, write_volume
from SpinalCordSegLib.longitudinal.registration import propagate_mask, resample_image, resample_mask
from SpinalCordSegLib.metrics import dice
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.volume import Volume


def _motion(angles_deg, shift_mm, about) -> np.ndarray:
    x, y, z = np.radians(angles_deg)
    turn_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    turn_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    turn_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    motion = np.eye(4)
    motion[:3, :3] = turn_z @ turn_y @ turn_x
    motion[:3, 3] = np.asarray(shift_mm) + about - motion[:3, :3] @ about
    return motion


def _sagittal(about) -> Volume:
    """An empty grid of sagittal slices: axes P, S, R, 1 × 1 × 2.5 mm, about a place."""
    steps, shape = np.array([[0, 0, 2.5], [-1.0, 0, 0], [0, 1.0, 0]]), (70, 62, 22)
    matrix = np.eye(4)
    matrix[:3, :3] = steps
    matrix[:3, 3] = about - steps @ ((np.array(shape) - 1) / 2)
    return Volume(np.zeros(shape, np.float32), matrix)


@pytest.fixture(scope="module")
def scan():
    phantom = make_phantom(PhantomConfig(shape=(70, 70, 20), spacing_mm=(0.9, 0.9, 3.0)))
    middle = (phantom.mask.ijk_to_ras @ np.append(np.argwhere(phantom.mask.voxels).mean(axis=0), 1))[:3]
    return phantom, middle


def _other(phantom, motion, grid) -> Volume:
    """The same neck moved, on another grid, with bright and dark exchanged above the grey of fat."""
    seen = resample_image(grid, np.linalg.inv(motion), phantom.image).voxels
    return grid.with_voxels(np.where(seen > 0, np.percentile(seen, 99.5) - seen, 0).astype(np.float32))


def test_the_mask_lands_where_the_cord_went(scan) -> None:
    phantom, middle = scan
    motion = _motion((2, -2, 3), (1.5, -2, 2.5), middle)
    target = _other(phantom, motion, _sagittal(middle))
    carried = propagate_mask(phantom.image, phantom.mask, target)
    assert carried.mask.same_grid(target) and carried.doubts == ()
    assert carried.moved_mm == pytest.approx(np.linalg.norm((1.5, -2, 2.5)), abs=0.7)
    cord = np.argwhere(phantom.mask.voxels)[::50]
    places = [(phantom.mask.ijk_to_ras @ np.append(p, 1)) for p in cord]
    off = [np.linalg.norm(carried.registration.apply(p[:3]) - (motion @ p)[:3]) for p in places]
    assert max(off) < 1.0  # mm, at 0.9 and 1 mm pixels
    assert dice(carried.mask.voxels, resample_mask(phantom.mask, motion, target).voxels) > 0.88
    assert json.dumps(carried.as_dict(), allow_nan=False)


def test_an_image_of_something_else_is_doubted(scan) -> None:
    phantom, middle = scan
    grid = _sagittal(middle)
    noise = np.random.default_rng(3).normal(size=grid.shape).astype(np.float32)
    carried = propagate_mask(phantom.image, phantom.mask, grid.with_voxels(noise))
    assert any("little in common" in doubt for doubt in carried.doubts)


def test_what_cannot_be_carried_is_refused(scan) -> None:
    phantom, middle = scan
    target = _other(phantom, np.eye(4), _sagittal(middle))
    with pytest.raises(VoxelError, match="is empty"):
        propagate_mask(phantom.image, phantom.mask.with_voxels(np.zeros(phantom.mask.shape, bool)), target)
    with pytest.raises(GeometryError, match="another grid"):
        propagate_mask(target, phantom.mask, target)
    far = target.ijk_to_ras.copy()
    far[0, 3] += 2000
    with pytest.raises(GeometryError, match="do not overlap"):
        propagate_mask(phantom.image, phantom.mask, Volume(target.voxels, far))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_resampling_keeps_the_volume_in_thick_and_thin_voxels(axis: int) -> None:
    i, j, k = np.indices((40, 40, 40))
    ball = Volume((i - 20) ** 2 + (j - 20) ** 2 + (k - 20) ** 2 <= 14.0**2, np.diag([0.5, 0.5, 0.5, 1.0]))
    steps = np.array([0.7, 0.7, 0.7])
    steps[axis] = 3.5
    matrix = np.diag([*-steps, 1.0])
    matrix[:3, 3] = 21.0
    target = Volume(np.zeros(tuple(int(24 / s) for s in steps)), matrix)
    moved = resample_mask(ball, _motion((0, 0, 0), (1.0, 0, 0), np.zeros(3)), target)
    assert moved.voxels.sum() * moved.voxel_volume_mm3 == pytest.approx(4 / 3 * np.pi * 7.0**3, rel=0.05)
    centre = (moved.ijk_to_ras @ np.append(np.argwhere(moved.voxels).mean(axis=0), 1))[:3]
    assert centre == pytest.approx((11, 10, 10), abs=0.5)


@pytest.mark.parametrize("shift_mm", [0.0, 0.02, -0.02])
@pytest.mark.parametrize("step_mm", [1.0, 5.0])
def test_a_cord_through_the_whole_stack_keeps_its_ends(step_mm: float, shift_mm: float) -> None:
    """A slice is cord over all of its thickness, the outer half of the first and the last one included."""
    stack = Volume(np.zeros((20, 20, 12), bool), np.diag([1.0, 1.0, 5.0, 1.0]))
    stack.voxels[8:13, 8:13] = True
    matrix = np.diag([1.0, 1.0, step_mm, 1.0])
    matrix[2, 3] = step_mm / 2 - 2.5  # both stacks begin at the same plane
    target = Volume(np.zeros((20, 20, round(60 / step_mm))), matrix)
    moved = resample_mask(stack, _motion((0, 0, 0), (0, 0, shift_mm), np.zeros(3)), target)
    assert moved.voxels.sum() * moved.voxel_volume_mm3 == pytest.approx(25 * 60)


def test_the_command_writes_mask_picture_and_numbers(scan, tmp_path, capsys) -> None:
    phantom, middle = scan
    write_volume(phantom.image, tmp_path / "t1.nii.gz")
    write_volume(phantom.mask, tmp_path / "mask.nii.gz")
    write_volume(_other(phantom, np.eye(4), _sagittal(middle)), tmp_path / "stir.nii.gz")
    command = ["propagate", str(tmp_path / "mask.nii.gz"), "--image", str(tmp_path / "t1.nii.gz")]
    command += ["--to", str(tmp_path / "stir.nii.gz"), "--output", str(tmp_path / "out")]
    assert main(command) == 0
    assert "look at the fit" in capsys.readouterr().out
    told = json.loads((tmp_path / "out" / "propagated.json").read_text(encoding="utf-8"))
    carried = read_labels(tmp_path / "out" / "propagated.nii.gz")
    assert carried.shape == (70, 62, 22) and not told["doubtful"] and told["moved_mm"] < 1
    assert told["volume_mm3"] == pytest.approx((carried.voxels > 0).sum() * 2.5, abs=0.1)
    assert (tmp_path / "out" / "fit.png").read_bytes().startswith(b"\x89PNG")
    assert main(command) == 2
    assert "there already" in capsys.readouterr().err
