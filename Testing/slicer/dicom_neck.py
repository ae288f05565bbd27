"""The threshold model's neck as a DICOM series, and a stand-in for Slicer's DICOM database that knows it."""

from pathlib import Path

from pydicom import dcmread

import patient_search
from SpinalCordSegLib.volume import Volume


def write_series(image: Volume, folder: Path, **elements: str) -> dict[str, Path]:
    """One file a slice; gives SOP instance UID → file. ``elements`` of the header."""
    lps = image.reoriented("LPS")
    uids = patient_search.write_series(folder, lps, **{"SeriesDescription": "T1w neck", "SeriesNumber": 4} | elements)
    return {uid: folder / f"IM{k}" for k, uid in enumerate(uids[3:])}


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
