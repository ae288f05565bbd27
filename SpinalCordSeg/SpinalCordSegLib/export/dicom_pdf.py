"""A PDF as a DICOM object (Encapsulated PDF) in the study of its source series."""

from __future__ import annotations

from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from SpinalCordSegLib.export.dicom_source import SourceSeries
from SpinalCordSegLib.version import SOFTWARE_VERSION

_ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
_SOFTWARE = "SpinalCordSeg"
_OF_THE_STUDY = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize",
    "PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod",
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber",
    "ReferringPhysicianName",
)  # fmt: skip


def encapsulated_pdf(document: bytes, source: SourceSeries, number: int) -> Dataset:
    """``document`` (a PDF without the patient's name in it) as a data set without file header.

    ``number``: SeriesNumber. UIDs are new.
    """
    one = Dataset()
    one.SpecificCharacterSet = "ISO_IR 192"
    one.SOPClassUID, one.SOPInstanceUID = _ENCAPSULATED_PDF, generate_uid(prefix=None)
    header = source.headers[0]
    for keyword in _OF_THE_STUDY:
        if keyword in header:
            setattr(one, keyword, header.get(keyword))
    _add_series(one, number)
    now = datetime.now()
    one.ContentDate, one.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    one.AcquisitionDateTime = _acquired(header)
    one.BurnedInAnnotation = "NO"
    one.SourceInstanceSequence = Sequence(_reference(each) for each in source.headers)
    one.DocumentTitle = "Spinal cord report"
    one.ConceptNameCodeSequence = Sequence()
    one.VerificationFlag = "UNVERIFIED"
    one.MIMETypeOfEncapsulatedDocument = "application/pdf"
    one.EncapsulatedDocumentLength = len(document)
    one.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    return one


def _add_series(one: Dataset, number: int) -> None:
    one.Modality, one.SeriesInstanceUID, one.SeriesNumber = "DOC", generate_uid(prefix=None), number
    one.SeriesDescription, one.InstanceNumber = f"Spinal cord report ({_SOFTWARE})", 1
    one.Manufacturer = one.ManufacturerModelName = _SOFTWARE
    one.SoftwareVersions, one.ConversionType = SOFTWARE_VERSION, "WSD"


def _acquired(header: Dataset) -> str:
    """When the images were made; "" where the header does not say."""
    date, time = header.get("AcquisitionDate") or header.get("StudyDate"), header.get("AcquisitionTime")
    return str(header.get("AcquisitionDateTime") or (f"{date}{time or ''}" if date else ""))


def _reference(header: Dataset) -> Dataset:
    one = Dataset()
    one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    return one
