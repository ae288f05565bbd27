"""Which DICOM files a volume was loaded from, as Slicer's DICOM import notes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer

_UIDS = "DICOM.instanceUIDs"


def instance_uids(volume_node: Any) -> tuple[str, ...]:
    """The SOP instance UIDs of the volume's images; () where it was not loaded from DICOM."""
    return tuple((volume_node.GetAttribute(_UIDS) or "").split())


def dicom_database() -> Any:
    """Slicer's DICOM database; None where there is none, or it is not open."""
    database = getattr(slicer, "dicomDatabase", None)
    return database if database is not None and database.isOpen else None


def source_files(volume_node: Any) -> tuple[Path, ...]:
    """The files behind a volume; () where the database does not know them all, or some are gone."""
    database, uids = dicom_database(), instance_uids(volume_node)
    if database is None or not uids:
        return ()
    files = tuple(Path(database.fileForInstance(uid) or "") for uid in uids)
    return files if all(file.is_file() for file in files) else ()
