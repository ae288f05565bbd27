"""DICOM pixels: whatever their compression, the same numbers; what cannot be read is named."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, RLELossless

from SpinalCordSegLib.dicom import find_series, read_series
from SpinalCordSegLib.errors import DicomSeriesError, InputFileError, VoxelError


def expected(n: int = 4) -> np.ndarray:
    i, j, k = np.mgrid[0:5, 0:4, 0:n]
    return k * 100.0 + j * 10 + i


def read(folder: Path) -> np.ndarray:
    return read_series(find_series(folder)).ijk


def test_colour_is_refused(dicom: Any, tmp_path: Path) -> None:
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PixelData": b"\0" * 120}
    dicom.write(tmp_path, change=lambda k: colour)
    with pytest.raises(VoxelError, match="the pixels are RGB"):
        read(tmp_path)


def test_pixels_cut_short(dicom: Any, tmp_path: Path) -> None:
    dicom.write(tmp_path)
    path = tmp_path / "IM42"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputFileError, match="IM42: the pixel data are missing or cut short"):
        read(tmp_path)


def lossless_jpeg(values: np.ndarray, folder: Path) -> bytes:
    """Encapsulated pixel data as GDCM makes it."""
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(folder / "packed.dcm"))
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    writer.Execute(sitk.GetImageFromArray(values))
    dataset = dcmread(folder / "packed.dcm")
    (folder / "packed.dcm").unlink()
    assert dataset.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    return dataset.PixelData


def set_encapsulated(dataset: Dataset, data: bytes) -> None:
    dataset.PixelData = data
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"


def test_lossless_jpeg_is_undone(dicom: Any, tmp_path: Path, save_dicom: Callable[..., Path]) -> None:
    for k in range(4):
        one = dicom.slice(k, RescaleIntercept=-5, RescaleSlope=1)
        set_encapsulated(one, lossless_jpeg(np.frombuffer(one.PixelData, np.int16).reshape(4, 5), tmp_path))
        save_dicom(one, tmp_path / "series" / f"{k}.dcm", JPEGLosslessSV1)
    np.testing.assert_array_equal(read(tmp_path / "series"), expected() - 5)


def test_run_lengths_are_undone(dicom: Any, tmp_path: Path) -> None:
    dicom.write(tmp_path)
    for path in tmp_path.iterdir():
        one = dcmread(path)
        one.compress(RLELossless)
        one.save_as(path)
    np.testing.assert_array_equal(read(tmp_path), expected())


def test_jpeg_2000_is_undone(dicom: Any, tmp_path: Path, save_dicom: Callable[..., Path]) -> None:
    for k in range(4):
        one, packed = dicom.slice(k, PixelRepresentation=0), io.BytesIO()
        values = np.frombuffer(one.PixelData, np.uint16).reshape(4, 5)
        PIL.Image.fromarray(values).save(packed, "JPEG2000", no_jp2=True, num_resolutions=1)
        set_encapsulated(one, encapsulate([packed.getvalue()]))
        save_dicom(one, tmp_path / f"{k}.dcm", JPEG2000Lossless)
    np.testing.assert_array_equal(read(tmp_path), expected())


def test_compression_that_cannot_be_undone(
    dicom: Any, tmp_path: Path, save_dicom: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    one = dicom.slice(0)
    set_encapsulated(one, encapsulate([b"rubbish!"]))
    save_dicom(one, tmp_path / "x.dcm", JPEGLosslessSV1)
    with pytest.raises(DicomSeriesError, match=r"x\.dcm is compressed \(JPEG Lossless.*convert the series"):
        read(tmp_path)
    assert capfd.readouterr().err == ""
