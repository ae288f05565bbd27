"""A series full of identifiers, and the search for them in everything that was written, unpacked."""

import gzip
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from SpinalCordSegLib.dicom import save_bare
from SpinalCordSegLib.volume import Volume

NAME, PATIENT_ID, BIRTH, ACCESSION = "Pérezmüller^Josefine", "00987654321", "19410923", "ACC5550123"
DATES = {"StudyDate": "20230417", "AcquisitionDate": "20230418"}
TEXTS = {
    "OtherPatientIDs": "OLD-7788991",
    "PatientMotherBirthName": "Quintanilla",
    "PatientTelephoneNumbers": "0049301234567",
    "InstitutionName": "Klinikum Entenhausen",
    "StationName": "MRSTATION77",
    "DeviceSerialNumber": "SERIAL445566",
    "ReferringPhysicianName": "Hausarztova^Olgalena",
    "OperatorsName": "Bedienerin^Ritalinde",
    "StudyID": "STUDY998877",
    "PatientAddress": "Lindenallee 17b",
    "PatientComments": "Schwesterkind",
    "PerformingPhysicianName": "Radiologova^Svetlana",
    "RequestingPhysician": "Ueberweiser^Gottfried",
    "ImageComments": "Zimmernachbarin",
    "StudyDescription": "Pérezmüller Verlaufskontrolle",
}


def write_series(folder: Path, image: Volume, **elements: Any) -> list[str]:
    """An image stored in LPS order as a series full of identifiers, of files IM0, IM1, …; gives all that must not show:
    the UIDs of study, series, frame of reference and files. ``elements`` replace those of the header."""
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    pixels = np.clip(image.ijk, 0, 30_000).astype(np.int16)
    uids = [str(study), str(series), str(frame)]
    origin, (x_mm, y_mm, z_mm) = image.ijk_to_ras[:3, 3] * (-1, -1, 1), image.ijk_spacing_mm
    folder.mkdir(parents=True)
    for k in range(pixels.shape[2]):
        one = Dataset()
        one.SpecificCharacterSet = "ISO_IR 192"
        one.SOPClassUID, one.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", generate_uid()
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = study, series, frame
        one.Modality, one.SeriesNumber, one.InstanceNumber = "MR", 3, k + 1
        one.SeriesDescription = "T1w Pérezmüller neck"
        one.PatientName, one.PatientID, one.PatientBirthDate, one.AccessionNumber = NAME, PATIENT_ID, BIRTH, ACCESSION
        one.Manufacturer, one.ManufacturerModelName, one.MagneticFieldStrength = "Maker", "Model M", 3.0
        one.ImageType = ["ORIGINAL", "PRIMARY", "M", "DIS3D"]
        one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        one.ImagePositionPatient = np.round(np.add(origin, (0, 0, z_mm * k)), 6).tolist()
        one.PixelSpacing, one.SliceThickness = [y_mm, x_mm], z_mm
        one.Rows, one.Columns = pixels.shape[1], pixels.shape[0]
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation = 15, 1
        one.PixelData = np.ascontiguousarray(pixels[:, :, k].T).tobytes()
        one["PixelData"].VR = "OW"
        for keyword, value in {**DATES, **TEXTS, **elements}.items():
            setattr(one, keyword, value)
        save_bare(one, ExplicitVRLittleEndian, folder / f"IM{k}")
        uids.append(str(one.SOPInstanceUID))
    return uids


def _unpacked(path: Path) -> bytes:
    """A file's bytes and, behind them, what is compressed in it. A page's picture is left out: it is a file as well,
    and four letters of a name are found by chance in base64."""
    data = re.sub(rb"data:image/png;base64,[A-Za-z0-9+/=]+", b"", path.read_bytes())
    more = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else b""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        more = _png_texts(data)
    if b"encoding: gzip" in data[:4096]:
        more = zlib.decompress(data[data.index(b"\n\n") + 2 :], wbits=31)
    return data + more


def _png_texts(data: bytes) -> bytes:
    """The content of all chunks but the pixels; compressed text is unpacked."""
    found, at = b"", 8
    while at < len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind != b"IDAT":
            found += data[at + 8 : at + 8 + size]
        if kind in (b"zTXt", b"iTXt"):
            found += zlib.decompress(data[at + 8 : at + 8 + size].split(b"\0", 2)[-1])
        at += 12 + size
    return found


def _spellings(text: str) -> list[bytes]:
    parts = [text, *text.replace("^", " ").split()]
    return [part.encode(code) for part in parts if len(part) > 3 for code in ("utf-8", "latin-1", "utf-16-le")]


def leaks(folder: Path, secrets: list[str], said: str = "") -> list[str]:
    """Where a secret stands: in a file's content, in its name, or in what was said. There must be files at all."""
    files = {path: _unpacked(path).lower() for path in sorted(folder.rglob("*")) if path.is_file()}
    assert files
    names = {path: str(path.relative_to(folder)).encode().lower() for path in files}
    wrong = []
    for secret in secrets:
        for spelled in (one.lower() for one in _spellings(secret)):
            wrong += [f"{path.name}: {secret}" for path, content in files.items() if spelled in content]
            wrong += [f"name {path}: {secret}" for path, name in names.items() if spelled in name]
        wrong += [f"said: {secret}" for part in secret.split("^") if part.casefold() in said.casefold()]
    return wrong


def secrets_of(uids: list[str]) -> list[str]:
    dashed = [f"{d[:4]}-{d[4:6]}-{d[6:]}" for d in (*DATES.values(), BIRTH)]
    others = [text for key, text in TEXTS.items() if key != "StudyDescription"]
    return [NAME, "Perezmueller", "Perezmuller", PATIENT_ID, BIRTH, ACCESSION, *DATES.values(), *dashed, *others, *uids]
