"""Wrong values in the fields of binary headers, each put where the format keeps it: NIfTI, DICOM, weights files."""

from __future__ import annotations

import io
import json
import math
import random
import struct
from typing import Any

import numpy as np
import pydicom
from damage import changed_value, value_changed
from pydicom import dcmread
from pydicom.uid import UID

from SpinalCordSegLib.dicom import quiet_pydicom
from SpinalCordSegLib.model.checkpoint import signed_file

_REALS = (0.0, -0.0, -1.0, 1.0, 1e-30, 1e30, 3e38, math.nan, math.inf, -math.inf, 352.5)
_SIZES = (0, 1, 2, 3, 7, 8, -1, -32768, 32767, 1000)
_CODES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, 9999, -1)
# of nifti1.h: offset, struct code, values
_NIFTI = [
    *((40 + 2 * n, "h", _SIZES) for n in range(8)), (70, "h", _CODES), (72, "h", (0, 1, 7, 8, 16, 24, 32, 64, 128, -8)),
    *((76 + 4 * n, "f", _REALS) for n in range(8)), (108, "f", (*_REALS, 0.0, 100.0, 347.0, 348.0, 1e9)),
    (112, "f", _REALS), (116, "f", _REALS), (123, "B", (0, 1, 2, 3, 10, 255)), (252, "h", (0, 1, 2, 3, 4, 5, -1, 99)),
    (254, "h", (0, 1, 2, 3, 4, 5, -1, 99)), *((256 + 4 * n, "f", _REALS) for n in range(18)), (0, "i", (0, 347, 540, -1)),
    (344, "I", (0, 0x0031696E, 0x00312B6E, 0x00322B6E)), (4, "I", (0, 0xFFFFFFFF)),
]  # fmt: skip


def nifti_field(rng: random.Random, data: bytes) -> bytes:
    """One to three fields of a NIfTI-1 header."""
    changed = bytearray(data.ljust(352, b"\0"))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        offset, code, values = rng.choice(_NIFTI)
        struct.pack_into(rng.choice(("<", "<", "<", ">")) + code, changed, offset, rng.choice(values))
    return bytes(changed)


def nifti_grid(rng: random.Random, data: bytes) -> bytes:
    """Another sform and qform: flattened, singular, sheared, turned, mirrored, tiny, huge; rarely a good one."""
    changed = bytearray(data)
    matrix = np.array(np.eye(3, 4) * rng.choice((0.0, 1e-30, 1e-3, 0.7, 1.0, 1e4, 1e30)), np.float32)
    matrix[:, 3] = rng.choice((0, 50, 1e30, np.nan))
    for _ in range(rng.randrange(4)):
        matrix[rng.randrange(3), rng.randrange(3)] = rng.choice(_REALS)
    struct.pack_into("<2h", changed, 252, rng.randrange(3), rng.randrange(4))
    struct.pack_into("<12f", changed, 280, *matrix.ravel().tolist())
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(matrix[:, :3], axis=0)
    if rng.random() < 0.6:
        struct.pack_into("<3f", changed, 80, *lengths.tolist())
    return bytes(changed)


_TEXTS = (
    "",
    "0",
    "-1",
    "1e30",
    "nan",
    "inf",
    "x",
    "0\\0",
    "1\\2\\3\\4\\5\\6\\7",
    "nan\\nan\\nan",
    "a" * 200,
    "1e999",
    "\\",
)
_DICOM: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("Rows", "Columns"), (0, 1, 3, 65535)),
    "BitsAllocated": (0, 1, 8, 12, 16, 32, 64, 999),
    **dict.fromkeys(("BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel"), (0, 1, 2, 3, 12, 99)),
    "PhotometricInterpretation": ("RGB", "MONOCHROME1", "PALETTE COLOR", "", "x"),
    "NumberOfFrames": ("0", "-1", "2", "1000000000", "x", ""),
    **dict.fromkeys(
        ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "RescaleSlope",
         "RescaleIntercept", "InstanceNumber", "SeriesNumber", "EchoTime", "RepetitionTime", "MagneticFieldStrength"),
        (*_TEXTS, "1\\0\\0\\0\\1\\0", "0\\0\\0\\0\\0\\0", "1\\0\\0\\1\\0\\0"),
    ),
    "SeriesInstanceUID": ("", "x", "1.2.3", "a" * 200),
    "SeriesDescription": ("", "../../outside", "a\nb", "a" * 300, "\x00"),
    "SpecificCharacterSet": ("", "nonsense", "ISO_IR 192", "ISO 2022 IR 87", "\\"),
    "Modality": ("", "SEG", "SR", "CT"),
    "PixelData": (b"", b"\0\0", b"\xff" * 5000),
}  # fmt: skip
_SYNTAXES = (
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5", "1.2.3", "",
)  # fmt: skip


def dicom_element(rng: random.Random, data: bytes) -> bytes:
    """One or two elements of a DICOM file wrong or missing, or another transfer syntax than the pixels have."""
    mode = pydicom.config.settings.writing_validation_mode
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
    try:
        with quiet_pydicom():
            dataset = dcmread(io.BytesIO(data), force=True)
            for _ in range(rng.choice((1, 1, 2))):
                keyword = rng.choice(list(_DICOM))
                if rng.random() < 0.15:
                    if keyword in dataset:
                        del dataset[keyword]
                    continue
                value = rng.choice(_DICOM[keyword])
                raw = value.encode("utf-8") if isinstance(value, str) else value
                raw = struct.pack("<H", value) if isinstance(value, int) else raw
                element = dataset.get_item(keyword) if keyword in dataset else None
                _put_raw(dataset, keyword, element.VR if element is not None else "LO", raw)
            if rng.random() < 0.1:
                dataset.file_meta.TransferSyntaxUID = UID(rng.choice(_SYNTAXES))
            buffer = io.BytesIO()
            pydicom.dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True, force_encoding=True)
            return buffer.getvalue()
    except (ValueError, OverflowError, TypeError, AttributeError, KeyError, NotImplementedError):
        return data[: rng.randrange(len(data))]  # what cannot be written so is cut short instead
    finally:
        pydicom.config.settings.writing_validation_mode = mode


def _put_raw(dataset: pydicom.Dataset, keyword: str, vr: str, raw: bytes) -> None:
    tag = pydicom.tag.Tag(keyword)
    raw += (b"\0" if vr in ("UI", "OW", "OB", "US") else b" ") * (len(raw) % 2)
    dataset._dict[tag] = pydicom.dataelem.RawDataElement(tag, vr, len(raw), raw, 0, False, True)


def split_header(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and tensor bytes of serialised safetensors."""
    end = 8 + struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8:end]), content[end:]


def card_value(rng: random.Random, data: bytes) -> bytes:
    """A value of a model's card changed, its digest made right again."""
    table, tensors = split_header(data)
    card = value_changed(rng, table.pop("__metadata__")["card"].encode()).decode("utf-8", "replace")
    return _joined(card, table, tensors)


def tensor_entry(rng: random.Random, data: bytes) -> bytes:
    """An entry of the tensor table changed, the digest made right again."""
    table, tensors = split_header(data)
    card = table.pop("__metadata__")["card"]
    return _joined(card, changed_value(rng, table), tensors)


def weights_not_finite(rng: random.Random, data: bytes) -> bytes:
    table, tensors = split_header(data)
    card = table.pop("__metadata__")["card"]
    changed = bytearray(tensors)
    struct.pack_into("<f", changed, 4 * rng.randrange(len(tensors) // 4), rng.choice((math.nan, math.inf, 1e30)))
    return _joined(card, table, bytes(changed))


def _joined(card: str, table: Any, tensors: bytes) -> bytes:
    if not isinstance(table, dict):
        text = json.dumps(table).encode()
        return struct.pack("<Q", len(text)) + text + tensors
    return signed_file(card, table, tensors)
