"""A mask on an image's grid: taken where its voxels lie on it, in any order, whole or in part; else refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from SpinalCordSegLib.case import Case, read_mask, save_case
from SpinalCordSegLib.correction import store_correction
from SpinalCordSegLib.errors import GeometryError
from SpinalCordSegLib.image_io import read_image, read_labels, select_label, write_volume
from SpinalCordSegLib.longitudinal.registration import propagate_mask
from SpinalCordSegLib.metrics import dice
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.pipeline import measure_mask
from SpinalCordSegLib.training_set import add_to_training_set
from SpinalCordSegLib.volume import Volume, place_on

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
