"""The threshold model's neck as a DICOM series, and a stand-in for Slicer's DICOM database that knows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from SpinalCordSegLib.dicom import save_bare
from SpinalCordSegLib.volume import Volume, lps_to_ras

_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"


def write_series(image: Volume, folder: Path) -> dict[str, Path]:
    """One file a slice of an image with axes right, anterior, superior; gives SOP instance UID → file."""
    folder.mkdir(parents=True)
    study, series, frame = (generate_uid() for _ in range(3))
    lps = lps_to_ras(image.ijk_to_ras)
    x_mm, y_mm, z_mm = image.ijk_spacing_mm
    files = {}
    for k in range(image.ijk_shape[2]):
        # DICOM's rows run to the patient's left and its columns to the back: both against our axes.
        corner = lps @ [image.ijk_shape[0] - 1, image.ijk_shape[1] - 1, k, 1]
        pixels = np.ascontiguousarray(image.ijk[::-1, ::-1, k].T).astype(np.int16)
        one = Dataset()
        one.SOPClassUID, one.SOPInstanceUID = _MR_IMAGE, generate_uid()
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = study, series, frame
        one.Modality, one.SeriesNumber, one.SeriesDescription, one.InstanceNumber = "MR", 4, "T1w neck", k + 1
        one.Manufacturer, one.ManufacturerModelName, one.MagneticFieldStrength = "Anyone", "One", 3.0
        one.PatientName, one.PatientID, one.PatientBirthDate, one.PatientSex = "Pérez^José", "00123456", "19660101", "M"
        one.StudyDate, one.StudyTime, one.StudyID, one.AccessionNumber = "20240131", "101112", "1", "ACC77"
        one.ReferringPhysicianName = ""
        one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        one.ImagePositionPatient = np.round(corner[:3], 6).tolist()
        one.PixelSpacing, one.SliceThickness, one.SpacingBetweenSlices = [y_mm, x_mm], z_mm, z_mm
        one.Rows, one.Columns, one.SamplesPerPixel = *pixels.shape, 1
        one.PhotometricInterpretation, one.BitsAllocated, one.BitsStored = "MONOCHROME2", 16, 16
        one.HighBit, one.PixelRepresentation, one.PixelData = 15, 1, pixels.tobytes()
        one["PixelData"].VR = "OW"
        one.SpecificCharacterSet = "ISO_IR 192"
        path = folder / f"IM{k:03d}"
        save_bare(one, ExplicitVRLittleEndian, path)
        files[str(one.SOPInstanceUID)] = path
    return files


class Database:
    """Stand-in for ctkDICOMDatabase: what it was told of, and where that lies."""

    isOpen = True

    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files

    def fileForInstance(self, uid: str) -> str:
        return str(self._files.get(uid, ""))

    def instanceValue(self, uid: str, tag: str) -> str:
        group, element = (int(part, 16) for part in tag.split(","))
        found = dcmread(self._files[uid], stop_before_pixels=True).get((group, element))
        return "" if found is None else str(found.value)
