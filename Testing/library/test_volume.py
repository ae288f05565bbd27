"""One head stored in all 48 axis orders is one head: straight, oblique, at 45°, isotropic or not. A mask on a grid."""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from storage_orders import STORAGE_ORDERS, stored, unstored

from SpinalCordSegLib.case import Case, save_case
from SpinalCordSegLib.case_folder import read_mask
from SpinalCordSegLib.correction import store_correction
from SpinalCordSegLib.errors import GeometryError
from SpinalCordSegLib.image_io import read_image, read_labels, select_label, write_volume
from SpinalCordSegLib.longitudinal.registration import propagate_mask
from SpinalCordSegLib.metrics import dice
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.pipeline import measure_mask
from SpinalCordSegLib.training_set import add_to_training_set
from SpinalCordSegLib.volume import Volume, place_on

SHAPE = (4, 5, 6)
ISOTROPIC, ANISOTROPIC = (1.0, 1.0, 1.0), (0.5, 0.75, 5.0)


def rotation(*degrees: float) -> np.ndarray:
    """Turns about R, then A, then S."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


# Where rounding makes both cosines of an exact 45° equal or unequal by 1 ulp must not matter: all three are here.
TURNS = {
    "straight": rotation(0, 0, 0),
    "oblique 20°": rotation(20, -20, 20),
    "45° about R": rotation(45, 0, 0),
    "45° about A": rotation(0, 45, 0),
    "45° about S": rotation(0, 0, -45),
    "45° about R and S": rotation(45, 0, 45),
}


def volume_of(turn: np.ndarray, spacing_mm: tuple[float, float, float]) -> Volume:
    matrix = np.eye(4)
    matrix[:3, :3] = turn * spacing_mm
    matrix[:3, 3] = 10, -20, 30
    return Volume.from_ijk(np.arange(np.prod(SHAPE)).reshape(SHAPE), matrix)


def voxel_at(volume: Volume, ras: np.ndarray) -> int:
    index = np.rint(np.linalg.solve(volume.ijk_to_ras, [*ras, 1])[:3]).astype(int)
    return int(volume.ijk[tuple(index)])


@pytest.mark.parametrize("spacing_mm", [ISOTROPIC, ANISOTROPIC], ids=["isotropic", "anisotropic"])
@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS.keys())
def test_all_48_storage_orders_give_the_same_axial_slices(
    turn: np.ndarray, spacing_mm: tuple[float, float, float]
) -> None:
    volumes = [stored(volume_of(turn, spacing_mm), *order) for order in STORAGE_ORDERS]
    assert len(volumes) == 48
    assert sum(np.linalg.det(volume.ijk_to_ras[:3, :3]) < 0 for volume in volumes) == 24  # half are left-handed
    for volume in volumes:
        np.testing.assert_array_equal(volume.voxels, volumes[0].voxels)
        assert volume.spacing_mm == pytest.approx(volumes[0].spacing_mm)
        np.testing.assert_allclose(volume.voxel_to_ras, volumes[0].voxel_to_ras, atol=1e-9)


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS.keys())
def test_the_way_back_is_exact(turn: np.ndarray) -> None:
    for order in STORAGE_ORDERS:
        reference = volume_of(turn, ANISOTROPIC)
        volume = stored(reference, *order)
        assert volume.ijk_shape == volume.ijk.shape
        np.testing.assert_array_equal(reference.ijk, unstored(volume.ijk, *order))
        back = volume.with_ijk(volume.ijk.copy())
        np.testing.assert_array_equal(back.voxels, volume.voxels)
        np.testing.assert_array_equal(volume.with_voxels(volume.voxels.copy()).ijk, volume.ijk)
        np.testing.assert_array_equal(back.ijk_to_ras, volume.ijk_to_ras)


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS.keys())
def test_no_voxel_moves_in_the_patient(turn: np.ndarray) -> None:
    for order in STORAGE_ORDERS[::5]:
        volume = stored(volume_of(turn, ANISOTROPIC), *order)
        for index in np.ndindex(volume.shape):
            ras = (volume.voxel_to_ras @ [*index, 1])[:3]
            assert voxel_at(volume, ras) == volume.voxels[index]


def test_axial_view_is_seen_as_a_radiologist_does() -> None:
    upright = volume_of(np.eye(3), ANISOTROPIC)
    other = stored(upright, (2, 0, 1), (True, False, True))
    assert other.shape == (6, 5, 4)
    assert other.spacing_mm == (5.0, 0.75, 0.5)
    assert other.voxels[0, 0, 0] == upright.ijk[-1, -1, 0]  # right, anterior, inferior
    assert other.voxels[-1, -1, -1] == upright.ijk[0, 0, -1]  # left, posterior, superior


def test_slice_index_in_the_inputs_own_order() -> None:
    upright = volume_of(np.eye(3), ANISOTROPIC)
    assert upright.to_input_slice(1) == upright.from_input_slice(1) == 1
    reversed_slices = stored(upright, (2, 0, 1), (False, False, True))
    assert reversed_slices.to_input_slice(1) == reversed_slices.from_input_slice(1) == 4


@pytest.mark.parametrize(
    ("order", "orientation"),
    [
        (((0, 1, 2), (False, False, False)), "RAS"),
        (((0, 1, 2), (True, True, False)), "LPS"),
        (((1, 2, 0), (False, True, False)), "PSR"),
        (((2, 0, 1), (True, False, True)), "ILA"),
    ],
)
def test_orientation_names_where_the_axes_point(order: tuple, orientation: str) -> None:
    assert stored(volume_of(rotation(20, 10, -20), ANISOTROPIC), *order).orientation == orientation


def changed(row: int, column: int, value: float) -> np.ndarray:
    matrix = np.diag([0.5, 0.75, 5.0, 1.0])
    matrix[row, column] = value
    return matrix


@pytest.mark.parametrize(
    ("shape", "matrix", "words"),
    [
        ((4, 5, 6), changed(0, 1, 0.3), "sheared"),
        ((4, 5, 6), changed(1, 1, 0.0), "which no MR volume has"),
        ((4, 5, 6), changed(2, 3, -1e30), "lies 1e[+]30 mm off"),
        ((4, 5, 6), changed(0, 0, np.nan), "not a finite 4×4 matrix"),
        ((4, 5, 6), np.eye(3), "not a finite 4×4 matrix"),
        ((4, 5, 6, 2), np.eye(4), "4 dimensions"),
        ((4, 0, 6), np.eye(4), "empty"),
    ],
)
def test_a_grid_that_cannot_be_used_is_refused(shape: tuple[int, ...], matrix: np.ndarray, words: str) -> None:
    with pytest.raises(GeometryError, match=words):
        Volume.from_ijk(np.zeros(shape), matrix)


def test_rounding_of_a_float32_header_is_no_shear() -> None:
    matrix = volume_of(rotation(20, -20, 20), (0.43, 0.43, 1.0)).ijk_to_ras.astype(np.float32)
    Volume.from_ijk(np.zeros(SHAPE), matrix)


def test_voxels_of_another_shape_do_not_fit() -> None:
    volume = volume_of(np.eye(3), ISOTROPIC)
    for other in (volume.with_ijk, volume.with_voxels):
        with pytest.raises(GeometryError, match="does not fit"):
            other(np.zeros((4, 5, 7)))


# A mask on an image's grid: taken where its voxels lie on it, in any order, whole or in part; else refused.


PHANTOM = make_phantom(PhantomConfig(shape=(48, 56, 20), spacing_mm=(1.0, 1.0, 2.0), orientation="LPS"))
IMAGE = PHANTOM.image
TURN = np.radians(20)
OBLIQUE = np.array([[np.cos(TURN), -np.sin(TURN), 0], [np.sin(TURN), np.cos(TURN), 0], [0, 0, 1]])


def moved(mask: Volume, voxels: tuple[float, ...]) -> Volume:
    """The grid moved by parts of its own voxels; the array stays."""
    matrix = mask.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, :3] @ voxels
    return Volume.from_ijk(mask.ijk, matrix)


def cut(mask: Volume, low: tuple[int, ...], high: tuple[int, ...]) -> Volume:
    """The voxels from ``low`` to ``high`` (i, j, k) where they lie; what is outside the grid is 0."""
    shape = np.array(mask.ijk_shape)
    room = np.pad(mask.ijk, 60)
    part = room[tuple(slice(a + 60, b + 60) for a, b in zip(low, high, strict=True))]
    assert part.sum() == mask.ijk.sum() and (np.array(high) - low != shape).any()
    return Volume.from_ijk(part, moved(mask, low).ijk_to_ras)


def extent(mask: Volume) -> tuple[tuple[int, ...], tuple[int, ...]]:
    places = np.argwhere(mask.ijk)
    return tuple(places.min(axis=0)), tuple(places.max(axis=0) + 1)


TAKEN: dict[str, Callable[[Volume], Volume]] = {
    "another voxel order": lambda mask: mask.reoriented("SAR"),
    "a flip": lambda mask: mask.reoriented("RAS"),
    "cropped to its extent": lambda mask: cut(mask, *extent(mask)),
    "beyond the image": lambda mask: cut(mask, (-3, -5, -2), (50, 60, 23)),
    "within 2 % of a voxel": lambda mask: moved(mask, (0.01, -0.01, 0.01)),
    "cropped and turned round": lambda mask: cut(mask, *extent(mask)).reoriented("AIL"),
}


@pytest.mark.parametrize("stored", TAKEN.values(), ids=TAKEN)
@pytest.mark.parametrize("turn", [np.eye(3), OBLIQUE], ids=["straight", "oblique"])
def test_what_lies_on_the_grid_is_taken(stored: Callable[[Volume], Volume], turn: np.ndarray) -> None:
    matrix = IMAGE.ijk_to_ras.copy()
    matrix[:3, :3] = turn @ matrix[:3, :3]
    image = Volume.from_ijk(IMAGE.ijk, matrix)
    mask = image.with_voxels(PHANTOM.mask.voxels)
    placed = place_on(stored(mask), image)
    np.testing.assert_array_equal(placed.voxels, mask.voxels)
    np.testing.assert_array_equal(placed.ijk_to_ras, image.ijk_to_ras)


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (lambda mask: moved(mask, (0.5, 0, 0)), r"m\.nrrd lies on another grid than a\.nii \(first voxel 0\.5 mm away"),
        (lambda mask: moved(mask, (3, 0, 0)), "first voxel 3 mm away"),
        (lambda mask: moved(cut(mask, *extent(mask)), (30, 0, 0)), r"m\.nrrd reaches beyond a\.nii: \d+ voxels"),
        (lambda mask: Volume.from_ijk(mask.ijk[::2], mask.ijk_to_ras @ np.diag([2, 1, 1, 1])), "24×56×20 instead"),
        (lambda mask: Volume.from_ijk(mask.ijk, mask.ijk_to_ras @ np.diag([1, 1, 1.02, 1])), "spacing 1×1×2.04 in"),
        (lambda mask: Volume.from_ijk(mask.ijk, np.pad(OBLIQUE, (0, 1)) @ mask.ijk_to_ras + np.diag([0, 0, 0, 1])),
         "direction turned by 20°"),
    ],
)  # fmt: skip
def test_any_other_grid_is_refused_with_what_differs(stored: Callable[[Volume], Volume], words: str) -> None:
    with pytest.raises(GeometryError, match=words):
        place_on(stored(PHANTOM.mask), IMAGE, ("m.nrrd", "a.nii"))


def test_a_mask_that_was_saved_with_a_slope(tmp_path: Path) -> None:
    """Floats that nibabel stores as integers: 0.99998 in place of 1."""
    file = nibabel.Nifti1Image(PHANTOM.mask.ijk.astype(np.float64) * 7.0001, IMAGE.ijk_to_ras)
    file.set_data_dtype(np.int16)
    nibabel.save(file, tmp_path / "mask.nii.gz")
    mask = select_label(read_labels(tmp_path / "mask.nii.gz"), None, "x")
    np.testing.assert_array_equal(place_on(mask, IMAGE).voxels, PHANTOM.mask.voxels)


def test_through_every_door(tmp_path: Path) -> None:
    """Case 20: in another voxel order, and cropped."""
    mask = cut(PHANTOM.mask, *extent(PHANTOM.mask)).reoriented("SAR")
    write_volume(IMAGE, tmp_path / "neck.nii.gz")
    image = read_image(tmp_path / "neck.nii.gz")
    plain = measure_mask(PHANTOM.mask, "plain", image=image)
    measured = measure_mask(mask, "neck", image=image)
    np.testing.assert_array_equal(measured.mask.ijk, PHANTOM.mask.ijk)
    np.testing.assert_array_equal(measured.slices.csa_mm2, plain.slices.csa_mm2)

    folder = tmp_path / "case"
    save_case(plain, folder)
    assert store_correction(folder, mask, "A").changes.slices == ()
    assert np.array_equal(read_mask(folder).ijk, PHANTOM.mask.ijk)

    assert dice(propagate_mask(IMAGE, mask, IMAGE).mask.ijk, PHANTOM.mask.ijk) > 0.97

    added = add_to_training_set(tmp_path / "set", IMAGE, mask, "S01", case=Case.load(folder))
    assert np.array_equal(read_labels(added.label).ijk, PHANTOM.mask.ijk)


def test_a_case_of_fewer_slices_than_its_image_is_not_corrected_with_it(tmp_path: Path) -> None:
    part = cut(PHANTOM.mask, (0, 0, 0), (48, 56, 21))
    save_case(measure_mask(part, "part"), tmp_path / "part")
    write_volume(IMAGE, tmp_path / "neck.nii.gz")
    with pytest.raises(GeometryError, match=r"neck\.nii\.gz holds 20 slices, the mask of part 21: measure"):
        store_correction(tmp_path / "part", part, image=read_image(tmp_path / "neck.nii.gz"))
