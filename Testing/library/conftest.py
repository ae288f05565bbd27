"""Synthetic DICOM for the tests: a small oblique stack with known positions, written by pydicom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from SpinalCordSegLib.dicom_pixels import save_bare

MR_IMAGE, ENHANCED_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
ROW_MM, COLUMN_MM, STEP_MM = 0.75, 0.5, 3.0
_ANGLE = np.radians(20)
ROW_DIRECTION = np.array([1.0, 0.0, 0.0])
COLUMN_DIRECTION = np.array([0.0, np.cos(_ANGLE), np.sin(_ANGLE)])
NORMAL = np.cross(ROW_DIRECTION, COLUMN_DIRECTION)
ORIGIN = np.array([-10.0, 5.0, 100.0])


class SyntheticSeries:
    """Slices of 4 rows × 5 columns, 3 mm apart, tilted by 20° about R; slice k holds k·100 + row·10 + column."""

    def __init__(self) -> None:
        self.uid = generate_uid()

    def slice(self, k: int, **changes: Any) -> Dataset:
        """The data set of slice k; ``changes`` replace elements, None removes one."""
        one = Dataset()
        one.SOPClassUID, one.SOPInstanceUID = MR_IMAGE, generate_uid()
        one.Modality, one.SeriesInstanceUID, one.SeriesNumber = "MR", self.uid, 7
        one.SeriesDescription, one.InstanceNumber = "T1w neck", 100 - k  # numbered from the other end
        one.PatientName, one.PatientID = "Pérez^José", "00123456"
        one.ImageOrientationPatient = [*ROW_DIRECTION, *COLUMN_DIRECTION]
        one.ImagePositionPatient = (ORIGIN + k * STEP_MM * NORMAL).round(6).tolist()
        one.PixelSpacing, one.SliceThickness = [ROW_MM, COLUMN_MM], STEP_MM
        fill_pixels(one, pixels(k))
        for keyword, value in changes.items():
            if value is None:
                del one[keyword]
            else:
                setattr(one, keyword, value)
        return one

    def write(self, folder: Path, n: int = 4, change: Callable[[int], dict[str, Any]] | None = None) -> Path:
        """Slices 0 to n-1, named so that neither name nor number gives the order of positions."""
        folder.mkdir(parents=True, exist_ok=True)
        for k in range(n):
            save(self.slice(k, **(change(k) if change else {})), folder / f"IM{(k * 7) % 10}{k}")
        return folder

    def enhanced(self, n: int = 4, order: tuple[int, ...] = (2, 0, 3, 1)) -> Dataset:
        """One multi-frame data set, its frames stored in ``order``; frame of slice k rescaled by 2 and -k."""
        one = self.slice(0, ImagePositionPatient=None, ImageOrientationPatient=None, PixelSpacing=None)
        one.SOPClassUID, one.NumberOfFrames = ENHANCED_MR_IMAGE, n
        fill_pixels(one, np.stack([pixels(k) for k in order]))
        shared = Dataset()
        shared.PlaneOrientationSequence = item(ImageOrientationPatient=[*ROW_DIRECTION, *COLUMN_DIRECTION])
        shared.PixelMeasuresSequence = item(PixelSpacing=[ROW_MM, COLUMN_MM], SliceThickness=STEP_MM)
        shared.MRTimingAndRelatedParametersSequence = item(RepetitionTime=8.2, FlipAngle=12)
        shared.MREchoSequence = item(EffectiveEchoTime=2.7)
        one.SharedFunctionalGroupsSequence = Sequence([shared])
        frames = []
        for k in order:
            frame = Dataset()
            frame.PlanePositionSequence = item(ImagePositionPatient=(ORIGIN + k * STEP_MM * NORMAL).round(6).tolist())
            frame.PixelValueTransformationSequence = item(RescaleSlope=2, RescaleIntercept=-k)
            frames.append(frame)
        one.PerFrameFunctionalGroupsSequence = Sequence(frames)
        return one


def pixels(k: int) -> np.ndarray:
    rows, columns = np.mgrid[0:4, 0:5]
    return (k * 100 + rows * 10 + columns).astype(np.int16)


def fill_pixels(dataset: Dataset, values: np.ndarray) -> None:
    dataset.Rows, dataset.Columns = values.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = values.itemsize * 8
    dataset.HighBit, dataset.PixelRepresentation = values.itemsize * 8 - 1, 1
    dataset.PixelData = values.tobytes()
    dataset["PixelData"].VR = "OW"


def item(**elements: Any) -> Sequence:
    one = Dataset()
    for keyword, value in elements.items():
        setattr(one, keyword, value)
    return Sequence([one])


def save(dataset: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    save_bare(dataset, syntax, path)
    return path


@pytest.fixture
def dicom() -> SyntheticSeries:
    return SyntheticSeries()


@pytest.fixture
def save_dicom() -> Callable[..., Path]:
    return save
