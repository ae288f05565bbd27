"""A name for a case's folder that is safe for any file system and does not tell who the patient is.

What can be known: a DICOM header states name, identifiers and birth date; so may the JSON file that dcm2niix leaves
beside a NIfTI, and the "0010|..." fields that ITK copies into NRRD and MetaImage files. Against these the name is
checked. A NIfTI header has no such field (``descrip``, ``aux_file`` and ``db_name`` hold the converter's remarks),
so without any of these a file's base name is taken for the user's own choice and kept.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import Path

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.images.dicom import DicomSeries
from SpinalCordSegLib.images.identity import identity_words, tells_identity
from SpinalCordSegLib.plain_json import parse_json
from SpinalCordSegLib.writing import file_suffix

_LONGEST = 64
_MAX_SIDECAR_BYTES = 1 << 20
_SIDECAR_KEYS = ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "OtherPatientIDs")
_ITK_PATIENT_GROUP = "0010|"
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


def safe_case_name(path: Path, dicom: DicomSeries | None = None, fields: dict[str, str] | None = None) -> str:
    """The base name of a file, or description and number of a DICOM series, made safe.

    Letters and digits of any script, "-", "_", "." and "+", at most 64 characters, never beginning with "-" or ".".
    A generated code, the same every time for the same data, takes its place when nothing is left, or when it holds
    a part of the patient's name or identifiers. ``fields``: text fields of a NRRD or MetaImage header.
    """
    path = Path(path)
    if dicom is not None:
        raw = "-".join(filter(None, (dicom.description or "series", "" if dicom.number is None else str(dicom.number))))
        words = dicom.patient_words
    else:
        raw = path.name[: len(path.name) - len(file_suffix(path))]
        words = identity_words([*_sidecar_texts(path), *_header_texts(fields or {})])
    name = _sanitise(raw)
    if not name or tells_identity(raw, words):
        return _code(path, dicom)
    return f"case-{name}" if _RESERVED.match(name) else name


def check_code(code: str) -> str:
    """A subject code given by the user, as it is. Raises ConfigurationError where no folder can be called so."""
    if not code or code != _sanitise(code) or _RESERVED.match(code):
        raise ConfigurationError(
            f'"{code}" cannot be a code: letters, digits, "-", "_", "." and "+", at most {_LONGEST}, not beginning'
            ' with "-" or "."'
        )
    return code


def _sanitise(raw: str) -> str:
    composed = unicodedata.normalize("NFC", raw)
    kept = "".join(letter if letter.isalnum() or letter in "-_.+" else "-" for letter in composed)
    return re.sub(r"-{2,}", "-", kept)[:_LONGEST].strip("-. ")


def _code(path: Path, dicom: DicomSeries | None) -> str:
    """From the series UID or the file's content, never from the name: a hashed name can be guessed back."""
    digest = hashlib.sha256()
    if dicom is not None:
        digest.update(dicom.uid.encode())
    elif path.is_file():
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return f"case-{digest.hexdigest()[:8]}"


def _header_texts(fields: dict[str, str]) -> list[str]:
    return [value for key, value in fields.items() if key.startswith(_ITK_PATIENT_GROUP)]


def _sidecar_texts(path: Path) -> list[str]:
    sidecar = path.with_name(path.name[: len(path.name) - len(file_suffix(path))] + ".json")
    try:
        if sidecar.stat().st_size > _MAX_SIDECAR_BYTES:
            return []
        content = parse_json(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none there, or not JSON: then it states no name
        return []
    return [str(content[key]) for key in _SIDECAR_KEYS if key in content] if isinstance(content, dict) else []
