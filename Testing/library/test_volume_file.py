"""Volume files: what is written comes back on the same grid, whatever the format; any kind of input gives one Image."""

import logging
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from SpinalCordSegLib.errors import GeometryError, InputFileError, OutputError, VoxelError
from SpinalCordSegLib.image_io import find_inputs, read_grid, read_image, read_labels, select_label, write_volume
from SpinalCordSegLib.volume import Volume

SUFFIXES = [".nii", ".nii.gz", ".nrrd", ".mha", ".seg.nrrd"]
STRAIGHT = np.array([[0.5, 0, 0, -10.25], [0, 0.75, 0, 20.5], [0, 0, 5, 30], [0, 0, 0, 1]])


def turned(flip: bool) -> np.ndarray:
    """20° about R and S, anisotropic; ``flip`` makes it left-handed."""
    c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
    about_r, about_s = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]), np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    matrix = STRAIGHT.copy()
    matrix[:3, :3] = about_s @ about_r @ STRAIGHT[:3, :3]
    matrix[:, 0] *= -1 if flip else 1
    return matrix


GRIDS = {"straight": STRAIGHT, "oblique": turned(False), "left-handed": turned(True)}


def mask_on(matrix: np.ndarray) -> Volume:
    voxels = np.zeros((4, 5, 6), bool)
    voxels[1:3, 2:4, 1:5] = True
    voxels[3, 4, 5] = True
    return Volume.from_ijk(voxels, matrix)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("matrix", GRIDS.values(), ids=GRIDS.keys())
def test_a_mask_comes_back_on_its_own_grid(tmp_path: Path, matrix: np.ndarray, suffix: str) -> None:
    mask, path = mask_on(matrix), tmp_path / "José Pérez" / "ü 1" / f"mask{suffix}"
    write_volume(mask, path)
    read = read_grid(path).volume
    np.testing.assert_array_equal(read.ijk, mask.ijk)
    assert read.ijk.dtype == np.uint8 and read_grid(path).notes == ()
    limit = 1e-6 if suffix in (".nrrd", ".seg.nrrd", ".mha") else 2e-6  # NIfTI holds float32, 1e-6 of 30 mm
    np.testing.assert_allclose(read.ijk_to_ras, matrix, atol=limit)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("matrix", GRIDS.values(), ids=GRIDS.keys())
def test_nibabel_sees_sform_and_qform_alike(tmp_path: Path, matrix: np.ndarray) -> None:
    write_volume(mask_on(matrix), tmp_path / "mask.nii.gz")
    image = nib.load(tmp_path / "mask.nii.gz")
    assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 1
    np.testing.assert_allclose(image.get_sform(), matrix, atol=2e-6)
    np.testing.assert_allclose(image.get_qform(), matrix, atol=5e-5)  # a quaternion in float32
    np.testing.assert_array_equal(np.asarray(image.dataobj), mask_on(matrix).ijk)
    assert image.header.get_xyzt_units()[0] == "mm"


def test_segmentation_file_says_what_slicer_needs(tmp_path: Path) -> None:
    write_volume(mask_on(STRAIGHT), tmp_path / "mask.seg.nrrd")
    fields = read_grid(tmp_path / "mask.seg.nrrd").fields
    assert fields["Segment0_Name"] == "Spinal cord"
    assert fields["Segment0_Color"] == "0.956863 0.839216 0.192157"
    assert fields["Segment0_Extent"] == "1 3 2 4 1 5"
    assert (fields["Segment0_LabelValue"], fields["Segment0_Layer"]) == ("1", "0")
    assert "|DICOM.SegmentAlgorithmType:AUTOMATIC|DICOM.SegmentAlgorithmName:SpinalCordSeg|" in fields["Segment0_Tags"]
    assert "~SCT^2748008^Spinal cord~" in fields["Segment0_Tags"]
    assert fields["Segmentation_ContainedRepresentationNames"] == "Binary labelmap|"


def test_a_segmentation_file_holds_no_probabilities(tmp_path: Path) -> None:
    with pytest.raises(VoxelError, match="mask of 0 and 1"):
        write_volume(Volume.from_ijk(np.full((4, 5, 6), 0.5), STRAIGHT), tmp_path / "mask.seg.nrrd")
    assert not list(tmp_path.iterdir())


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"mask\.png: the suffix must be one of"):
        write_volume(mask_on(STRAIGHT), tmp_path / "mask.png")


@pytest.mark.skipif(os.name != "posix", reason="no file size limit there")
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_write_cut_short_is_noticed_and_leaves_nothing(
    tmp_path: Path, file_size_limit: Callable[[int], Any], suffix: str
) -> None:
    """A limit on file size cuts ITK's writing short as a full disk does, silently for NIfTI."""
    voxels = np.random.default_rng(0).integers(0, 255, (30, 30, 30), dtype=np.uint8)
    with file_size_limit(4096), pytest.raises(OutputError, match=rf"^cannot write .*x{suffix}: "):
        write_volume(Volume.from_ijk(voxels, np.eye(4)), tmp_path / f"x{suffix}")
    assert not list(tmp_path.iterdir())


def nifti(path: Path, voxels: np.ndarray, matrix: np.ndarray = STRAIGHT) -> Path:
    nib.save(nib.Nifti1Image(voxels, matrix), path)
    return path


def saved(path: Path, kind: Any) -> Path:
    """As another format of nibabel's."""
    nib.save(kind(noise(4, 5, 6), STRAIGHT), path)
    return path


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 1000, shape).astype(np.int16)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8", "i8"])
def test_voxels_are_those_that_simpleitk_reads(tmp_path: Path, kind: str, order: str, suffix: str) -> None:
    """They are read once, by our own code; SimpleITK tells the grid."""
    values = np.random.default_rng(1).integers(-100, 100, (4, 5, 6)).astype(kind)
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(kind)
    nib.save(nib.Nifti1Image(values, turned(True), header), tmp_path / f"x{suffix}")
    found = read_grid(tmp_path / f"x{suffix}").volume
    wanted = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"x{suffix}"))).transpose(2, 1, 0)
    assert found.ijk.dtype == wanted.dtype and found.ijk.dtype.isnative
    np.testing.assert_array_equal(found.ijk, wanted)
    np.testing.assert_array_equal(found.ijk, values)
    np.testing.assert_allclose(found.ijk_to_ras, turned(True), atol=1e-5)


@pytest.mark.parametrize(("slope", "intercept"), [(0.0, 3.0), (1.0, 3.0), (-2.0, 0.0), (0.4456654, -7.3)])
@pytest.mark.parametrize("kind", ["i2", "f4", "f8"])
def test_values_are_scaled_as_simpleitk_does(tmp_path: Path, kind: str, slope: float, intercept: float) -> None:
    path = with_bytes(nifti(tmp_path / "x.nii", noise(4, 5, 6).astype(kind)), 112, "2f", slope, intercept)
    wanted = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).transpose(2, 1, 0)
    found = read_grid(path).volume.ijk
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


def test_a_header_key_in_a_foreign_encoding_is_passed_over(tmp_path: Path) -> None:
    write_volume(mask_on(STRAIGHT), tmp_path / "x.nrrd")
    content = (tmp_path / "x.nrrd").read_bytes()
    (tmp_path / "x.nrrd").write_bytes(content.replace(b"\n\n", b"\nGr\xf6\xdfe:=1\nKeep:=2\n\n", 1))
    assert read_grid(tmp_path / "x.nrrd").fields["Keep"] == "2"


def test_one_time_point_in_a_file_of_four_axes(tmp_path: Path) -> None:
    voxels = noise(4, 5, 6)
    image = sitk.GetImageFromArray(voxels.transpose(2, 1, 0)[np.newaxis], isVector=False)
    image.SetSpacing((0.5, 0.75, 5.0, 1.0))
    sitk.WriteImage(image, str(tmp_path / "x.mha"))
    volume = read_grid(tmp_path / "x.mha").volume
    np.testing.assert_array_equal(volume.ijk, voxels)
    assert volume.ijk_spacing_mm == (0.5, 0.75, 5.0)


def test_half_precision_is_written_as_what_formats_know(tmp_path: Path) -> None:
    values = np.array([0.0, 0.25, 0.5, 1.0], np.float16).reshape(4, 1, 1)
    write_volume(Volume.from_ijk(values, STRAIGHT), tmp_path / "p.nii.gz")
    back = read_grid(tmp_path / "p.nii.gz").volume.ijk
    assert back.dtype == np.float32 and back.ravel().tolist() == [0.0, 0.25, 0.5, 1.0]


# NIfTI headers that hold two orientations, or none.


def sheared() -> np.ndarray:
    matrix = STRAIGHT.copy()
    matrix[0, 1] = 0.2
    return matrix


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
    grid = read_grid(mixed_forms(tmp_path / "x.nii.gz", sform_code, turned(False)))
    assert len(grid.notes) == 1
    assert f": {used} is used, as Slicer does" in grid.notes[0]
    expected = turned(False) if used == "sform" else STRAIGHT
    np.testing.assert_allclose(grid.volume.ijk_to_ras, expected, atol=1e-5)


@pytest.mark.parametrize("sform_code", [1, 4])
def test_a_sheared_sform_does_not_matter_beside_a_qform(tmp_path: Path, sform_code: int) -> None:
    grid = read_grid(mixed_forms(tmp_path / "x.nii.gz", sform_code, sheared()))
    np.testing.assert_allclose(grid.volume.ijk_to_ras, STRAIGHT, atol=1e-5)


def test_a_header_without_orientation_is_read_with_a_remark(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image = nib.Nifti1Image(noise(4, 5, 6), STRAIGHT)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, tmp_path / "x.nii.gz")
    with caplog.at_level(logging.WARNING):
        read = read_image(tmp_path / "x.nii.gz")
    (note,) = read.notes
    assert "holds no orientation" in note and f"x.nii.gz: {note}" in caplog.text
    assert read.volume.orientation == "LPS"


# Volume files that cannot be used are refused in one line that names them, with nothing else on stderr; more of them
# stand in test_reported_inputs.py.


def with_bytes(path: Path, offset: int, kinds: str, *values: float) -> Path:
    """Fields of the header of an uncompressed NIfTI overwritten."""
    content = bytearray(path.read_bytes())
    struct.pack_into("<" + kinds, content, offset, *values)
    path.write_bytes(content)
    return path


def truncated(path: Path, share: float = 0.6) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def metaimage(path: Path, directions: str = "1 0 0 0 1 0 0 0 1", spacing: str = "0.5 0.75 5") -> Path:
    return text_header(path, f"TransformMatrix = {directions}\nElementSpacing = {spacing}\n")


def nrrd(path: Path, directions: str) -> Path:
    return text_header(path, f"space: left-posterior-superior\nspace directions: {directions}\n")


def text_header(path: Path, fields: str) -> Path:
    """Of 2 × 3 × 4 voxels."""
    form = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 3 4\nencoding: raw\n{}\n"
    if "nrrd" not in path.suffix:
        form = "ObjectType = Image\nNDims = 3\nDimSize = 2 3 4\n{}ElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    path.write_bytes(form.format(fields).encode() + bytes(range(24)))
    return path


def itk(voxels: np.ndarray) -> sitk.Image:
    return sitk.GetImageFromArray(voxels.transpose(2, 1, 0))


def written(path: Path, image: sitk.Image) -> Path:
    sitk.WriteImage(image, str(path))
    return path


def text(path: Path) -> Path:
    path.write_text("this is no image\n" * 40)
    return path


def crc_damaged(path: Path) -> Path:
    content = bytearray(path.read_bytes())
    content[-8] ^= 0xFF
    path.write_bytes(content)
    return path


def not_finite() -> np.ndarray:
    voxels = np.zeros((4, 5, 6), np.float32)
    voxels[1, 2, 3], voxels[3, 2, 4] = np.nan, -np.inf
    return voxels


def x(change: Callable[[Path], Path], suffix: str = ".nii", voxels: np.ndarray | None = None) -> Callable[[Path], Path]:
    """A NIfTI file, changed."""
    return lambda folder: change(nifti(folder / f"x{suffix}", noise(4, 5, 6) if voxels is None else voxels))


NOT_FINITE = r"2 voxels are NaN or infinite \(one at i, j, k = \(1, 2, 3\)\)"
DAMAGED, CUT = "damaged or of another kind", "cut short"
BAD: dict[str, tuple[Callable[[Path], Path], type[Exception], str]] = {
    "text called .nii.gz": (lambda d: text(d / "x.nii.gz"), InputFileError, DAMAGED),
    "text called .nrrd": (lambda d: text(d / "x.nrrd"), InputFileError, DAMAGED),
    "another kind": (lambda d: text(d / "x.txt"), InputFileError, "of a kind that is not read here"),
    "empty": (x(lambda path: truncated(path, 0)), InputFileError, "is empty"),
    "a folder": (lambda d: d, InputFileError, "is a folder"),
    "missing": (lambda d: d / "x.nii.gz", InputFileError, "does not exist"),
    "NIfTI-2": (lambda d: saved(d / "x.nii", nib.Nifti2Image), InputFileError, "expected NIfTI-1"),
    "Analyze": (lambda d: saved(d / "x.hdr", nib.AnalyzeImage), GeometryError, "Analyze"),
    "no axes": (x(lambda path: with_bytes(path, 40, "h", 0)), InputFileError, DAMAGED),
    "voxels called elsewhere": (x(lambda path: with_bytes(path, 344, "4s", b"ni1")), InputFileError, "No such file"),
    "truncated .nii.gz": (x(truncated, ".nii.gz", noise(40, 50, 60)), InputFileError, CUT),
    "damaged .nii.gz": (x(crc_damaged, ".nii.gz", noise(40, 50, 60)), InputFileError, DAMAGED),
    "truncated .nrrd": (lambda d: truncated(nrrd(d / "x.nrrd", "(1,0,0) (0,1,0) (0,0,1)"), 0.95), InputFileError, CUT),
    "truncated .mha": (lambda d: truncated(metaimage(d / "x.mha"), 0.95), InputFileError, CUT),
    "NaN .nrrd": (lambda d: written(d / "x.nrrd", itk(not_finite())), VoxelError, NOT_FINITE),
    "sheared .nrrd": (lambda d: nrrd(d / "x.nrrd", "(1,0,0) (0.3,1,0) (0,0,1)"), GeometryError, "sheared"),
    "sheared .mha": (lambda d: metaimage(d / "x.mha", "1 0 0 0.3 1 0 0 0 1"), GeometryError, "sheared"),
    "singular .nrrd": (lambda d: nrrd(d / "x.nrrd", "(1,0,0) (1,0,0) (0,0,1)"), GeometryError, "singular"),
    "zero spacing": (x(lambda path: with_bytes(path, 80, "f", 0)), GeometryError, "the voxel spacing is 0×0.75×5 mm"),
    "a grid on which ITK never ends": (
        x(lambda path: with_bytes(with_bytes(path, 80, "3f", 0, np.inf, np.nan), 320, "2f", -np.inf, np.nan)),
        GeometryError,
        "not finite",
    ),
    "zero spacing .mha": (lambda d: metaimage(d / "x.mha", spacing="0 1 1"), GeometryError, "spacing is zero"),
    "two spacings": (
        x(lambda path: with_bytes(path, 80, "f", 0.6)),
        GeometryError,
        r"two voxel sizes, 0.6×0.75×5 mm \(pixdim\) and 0.5×0.75×5 mm \(sform\)",
    ),
}


@pytest.mark.parametrize("case", BAD, ids=BAD.keys())
def test_bad_files_are_refused_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str], case: str) -> None:
    make, kind, words = BAD[case]
    path = make(tmp_path)
    with pytest.raises(kind, match=words) as caught:
        read_grid(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""  # ITK's C libraries write there by themselves


def test_a_nifti_pair_keeps_its_grid_and_needs_all_its_voxels(tmp_path: Path) -> None:
    saved(tmp_path / "a.hdr", nib.Nifti1Pair)
    volume, data = read_image(tmp_path / "a.hdr").volume, tmp_path / "a.img"
    np.testing.assert_array_equal(volume.ijk, noise(4, 5, 6))
    np.testing.assert_allclose(volume.ijk_to_ras, STRAIGHT, atol=1e-5)
    assert find_inputs([tmp_path]) == [tmp_path / "a.hdr"]
    data.write_bytes(data.read_bytes()[:50])
    with pytest.raises(InputFileError, match=r"a\.img is cut short"):
        read_image(tmp_path / "a.hdr")
    data.unlink()
    with pytest.raises(InputFileError, match=r"No such file.*\(a\.img\)"):
        read_image(tmp_path / "a.hdr")


# Of a header without the size of a voxel nothing can be measured; one without an orientation is remarked on.


_LPS = "space: left-posterior-superior\nspace directions: (0.5,0,0) (0,0.5,0) (0,0,2)\n"


@pytest.mark.parametrize(
    ("suffix", "fields", "words"),
    [
        (".nrrd", "space: right-anterior-superior\n", "does not state the size of a voxel"),
        (".nrrd", "spacings: 0.5 0.5 nan\n", r"size of a voxel \(\"0.5 0.5 nan\"\)"),
        (".mha", "", "expected elementspacing or elementsize"),
        (".mha", "TransformMatrix = 1 0 0 0 1 0 0 0 1\n", "does not state the size of a voxel"),
    ],
)
def test_a_voxel_of_no_size_is_refused(tmp_path: Path, suffix: str, fields: str, words: str) -> None:
    with pytest.raises(GeometryError, match=words):
        read_grid(text_header(tmp_path / f"x{suffix}", fields))


@pytest.mark.parametrize(
    ("suffix", "fields", "remarks"),
    [
        (".nrrd", _LPS, 0),
        (".seg.nrrd", _LPS, 0),
        (".nrrd", "space: left-posterior-superior\nspacedirections: (0.5,0,0) (0,0.5,0) (0,0,2)\n", 0),  # an alias
        (".nrrd", "".join(f"note{n}:={'x' * 900}\n" for n in range(80)) + _LPS, 0),  # longer than what is looked at
        (".mha", "\nElementSpacing = 0.5 0.5 2\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n", 0),
        (".nrrd", "SPACINGS: .5 5e-1 2\n", 1),
        (".mha", "ElementSpacing = 0.5 0.5 2\n", 1),
        (".mha", "ElementSize = 0.5 0.5 2\nOrientation = 1 0 0 0 1 0 0 0 1\n", 0),
    ],
)
def test_what_is_left_open_is_remarked_on(tmp_path: Path, suffix: str, fields: str, remarks: int) -> None:
    grid = read_grid(text_header(tmp_path / f"x{suffix}", fields))
    assert grid.volume.ijk_spacing_mm == (0.5, 0.5, 2.0) and len(grid.notes) == remarks
    assert all("along the patient's axes" in note for note in grid.notes)


# Any kind of input gives one Image; a batch's inputs are found in folders.


GRID = np.diag([0.5, 0.75, 5.0, 1.0])


def volume(dtype: type = np.int16) -> Volume:
    return Volume.from_ijk(np.arange(120).reshape(4, 5, 6).astype(dtype), GRID)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64])
def test_files_become_float32(tmp_path: Path, suffix: str, dtype: type) -> None:
    path = tmp_path / "José Pérez" / "ü 1" / f"t1w{suffix}"
    write_volume(volume(dtype), path)
    image = read_image(path)
    assert image.volume.ijk.dtype == np.float32
    np.testing.assert_array_equal(image.volume.ijk, volume().ijk)
    assert (image.path, image.case_name, image.dicom, image.notes) == (path, "t1w", None, ())


def test_a_dicom_folder_and_one_of_its_files(dicom: Any, tmp_path: Path) -> None:
    folder = dicom.write(tmp_path / "study")
    for path in (folder, folder / "IM00"):
        image = read_image(path)
        assert image.volume.ijk_shape == (5, 4, 4)
        assert image.case_name == "T1w-neck-7"
        assert image.dicom is not None
        assert image.dicom.instance_numbers == (100, 99, 98, 97)


def test_folders_without_an_image_and_missing_paths(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputFileError, match="holds no DICOM image, and no image file"):
        read_image(tmp_path / "empty")
    write_volume(volume(), tmp_path / "two" / "a.nii.gz")
    write_volume(volume(), tmp_path / "two" / "b.nii.gz")
    with pytest.raises(InputFileError, match="holds no DICOM image, but 2 image files: give one of them"):
        read_image(tmp_path / "two")
    with pytest.raises(InputFileError, match="does not exist"):
        read_image(tmp_path / "gone")


def test_numbers_too_large_for_float32(tmp_path: Path) -> None:
    write_volume(Volume.from_ijk(np.full((4, 5, 6), 1e300), GRID), tmp_path / "big.nrrd")
    with pytest.raises(VoxelError, match=r"big\.nrrd holds values beyond 3e38"):
        read_image(tmp_path / "big.nrrd")


def test_label_maps_beside_their_images_are_no_inputs_of_a_folder(tmp_path: Path) -> None:
    masks = ["a_seg.nii.gz", "b.seg.nrrd", "b_seg-manual.nii.gz", "c.seg.nrrd", "lone_seg.nii"]
    image = tmp_path / "a.nii.gz"
    for name in (image.name, "b.nrrd", *masks):
        (tmp_path / name).touch()
    assert [path.name for path in find_inputs([tmp_path])] == ["a.nii.gz", "b.nrrd", "c.seg.nrrd", "lone_seg.nii"]
    assert find_inputs([image, tmp_path])[:2] == [image, tmp_path / "b.nrrd"], "each once"
    assert find_inputs([tmp_path / "a_seg.nii.gz"]) == [tmp_path / "a_seg.nii.gz"]
    assert [path.name for path in find_inputs([tmp_path], masks=True)] == masks
    assert find_inputs([image], masks=True) == [image]


def test_inputs_further_below_and_without_any(tmp_path: Path) -> None:
    (tmp_path / "sub-01" / "anat").mkdir(parents=True)
    (tmp_path / "sub-01" / "anat" / "t1w.nii.gz").touch()
    (tmp_path / "empty").mkdir()
    assert find_inputs([tmp_path]) == [tmp_path / "sub-01" / "anat" / "t1w.nii.gz"]
    assert find_inputs([tmp_path / "empty", tmp_path / "gone"]) == [tmp_path / "empty", tmp_path / "gone"]


def test_results_and_hidden_folders_below_are_no_inputs(tmp_path: Path) -> None:
    """A folder that is segmented into a folder below itself, and then again to go on."""
    for name in ("sub-01/t1w.nii.gz", "out/t1w/mask.nii.gz", "out/.t1w.0123456789ab.part/mask.nii.gz"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    for name in ("report.json", "slices.csv"):
        (tmp_path / "out" / "t1w" / name).touch()
    (tmp_path / "out" / "t1w" / "mask_ai.nii.gz").touch()
    assert find_inputs([tmp_path]) == [tmp_path / "sub-01" / "t1w.nii.gz"]
    assert find_inputs([tmp_path / "out"], masks=True) == [tmp_path / "out" / "t1w" / "mask.nii.gz"]


def test_real_volumes_of_three_orientations(shared_data: Path, tmp_path: Path) -> None:
    for name, orientation in (
        ("t1w_masked/sct-testing_T1w.nii.gz", "RAS"),
        ("t2star_masked/sub-9418_run-1_T2starw.nii.gz", "LAS"),
        ("t2_masked/errsm_11_T2w.nii.gz", "PSR"),
    ):
        image = read_image(shared_data / name)
        assert image.volume.orientation == orientation
        write_volume(image.volume, tmp_path / "back.nii")
        back = read_image(tmp_path / "back.nii").volume
        np.testing.assert_array_equal(back.ijk, image.volume.ijk)
        np.testing.assert_allclose(back.ijk_to_ras, image.volume.ijk_to_ras, rtol=1e-6, atol=1e-5)


# Label maps: whole numbers, and a choice where there are several.


def label_map(*values: int) -> Volume:
    voxels = np.zeros((3, 4, 5), np.int16)
    for index, value in enumerate(values):
        voxels[index] = value
    return Volume.from_ijk(voxels, GRID)


def test_a_probability_map_is_no_label_map(tmp_path: Path) -> None:
    write_volume(Volume.from_ijk(np.full((3, 4, 5), 0.5, np.float32), GRID), tmp_path / "p.nii.gz")
    with pytest.raises(VoxelError, match=r"p\.nii\.gz .*not whole numbers.*threshold"):
        read_labels(tmp_path / "p.nii.gz")


def test_the_choice_of_a_label() -> None:
    only, two = label_map(0, 255), label_map(0, 1, 7)
    assert select_label(only, None, "x").ijk.sum() == 20 and select_label(only, 255, "x").ijk.dtype == bool
    assert select_label(two, 7, "x").ijk[2].all()
    with pytest.raises(VoxelError, match=r"x holds 2 labels \(1, 7\); .*--label N"):
        select_label(two, None, "x")
    with pytest.raises(VoxelError, match=r"x does not hold label 3; it holds 1, 7"):
        select_label(two, 3, "x")
    for label in (None, 9):
        assert not select_label(label_map(), label, "x").ijk.any(), "an empty map gives an empty mask"
