"""One record per DICOM frame: where it lies and how its numbers are scaled, from classic and enhanced files alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from SpinalCordSegLib.errors import DicomSeriesError


@dataclass(frozen=True)
class Frame:
    """One slice as stored. Positions and directions in DICOM's LPS mm.

    ``number``: InstanceNumber of the file, or the 1-based frame number in a multi-frame file. ``index``: 0-based
    frame in the file, None for a single-frame file. ``position``, ``directions`` and ``pixel_mm`` (between rows,
    between columns) are None where the header does not hold them. ``thickness_mm``: nominal, None if unknown.
    """

    file: Path
    index: int | None
    number: int | None
    shape: tuple[int, int]
    position: tuple[float, float, float] | None
    directions: tuple[float, float, float, float, float, float] | None
    pixel_mm: tuple[float, float] | None
    thickness_mm: float | None
    slope: float
    intercept: float

    @property
    def name(self) -> str:
        """For error texts: the file's base name, and the frame where there are several."""
        return self.file.name if self.index is None else f"{self.file.name} frame {self.index + 1}"

    def normal(self) -> NDArray[np.float64]:
        """Unit vector from slice to slice, LPS. Raises DicomSeriesError when the orientation is unknown."""
        if self.directions is None:
            raise DicomSeriesError(f"{self.name} has no ImageOrientationPatient: {_NO_PLACE}")
        return np.cross(self.directions[:3], self.directions[3:])

    def along(self, normal: NDArray[np.float64]) -> float:
        """Position along ``normal``, mm. Raises DicomSeriesError when the position is unknown."""
        if self.position is None:
            raise DicomSeriesError(f"{self.name} has no ImagePositionPatient: {_NO_PLACE}")
        return float(np.dot(self.position, normal))


_MOST_FRAMES = 1 << 16  # each is kept in memory before its pixels are known to be there
_NO_PLACE = "a screenshot or a derived image cannot be placed in the patient; choose the acquired series"


def frames_of(dataset: Dataset, file: Path) -> Iterator[Frame]:
    """All frames of one file, in stored order."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    n_frames = whole_number(dataset.get("NumberOfFrames")) or 1
    if per_frame is None and n_frames == 1:
        yield _frame(file, None, whole_number(dataset.get("InstanceNumber")), dataset, [dataset])
        return
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    groups = list(per_frame or [])
    if n_frames > _MOST_FRAMES:
        raise DicomSeriesError(f"{file.name} claims {n_frames} frames: its header is damaged; copy or export it again")
    for index in range(n_frames):
        own = [groups[index]] if index < len(groups) else []
        yield _frame(file, index, index + 1, dataset, [*own, *shared])


def _frame(file: Path, index: int | None, number: int | None, dataset: Dataset, places: list[Dataset]) -> Frame:
    spacing = _numbers(look_up(places, "PixelMeasuresSequence", "PixelSpacing"), 2)
    slope, intercept = (
        first_number(look_up(places, "PixelValueTransformationSequence", keyword))
        for keyword in ("RescaleSlope", "RescaleIntercept")
    )
    return Frame(
        file=file,
        index=index,
        number=number,
        shape=(int(dataset.Rows), int(dataset.Columns)),
        position=_numbers(look_up(places, "PlanePositionSequence", "ImagePositionPatient"), 3),  # type: ignore[arg-type]
        directions=_numbers(look_up(places, "PlaneOrientationSequence", "ImageOrientationPatient"), 6),  # type: ignore[arg-type]
        pixel_mm=spacing,  # type: ignore[arg-type]
        thickness_mm=first_number(look_up(places, "PixelMeasuresSequence", "SliceThickness")),
        slope=1.0 if slope is None else slope,
        intercept=intercept or 0.0,
    )


def look_up(places: list[Dataset], sequence: str, keyword: str) -> Any:
    """The first value of ``keyword`` in ``places``, directly or in the first item of ``sequence``; None if absent."""
    for place in places:
        if keyword in place:
            return place.get(keyword)
        items = place.get(sequence)
        if items and keyword in items[0]:
            return items[0].get(keyword)
    return None


def first_number(value: Any) -> float | None:
    """A decimal value, or the first of several; None when absent, empty or not a finite number."""
    numbers = _numbers(value if isinstance(value, (list, tuple)) or _is_multiple(value) else [value], None)
    return numbers[0] if numbers else None


def whole_number(value: Any) -> int | None:
    number = first_number(value)
    return None if number is None else int(number)


def _is_multiple(value: Any) -> bool:
    return hasattr(value, "__iter__") and not isinstance(value, (str, bytes))


def _numbers(value: Any, length: int | None) -> tuple[float, ...] | None:
    if value is None or not _is_multiple(value):
        return None
    try:
        numbers = tuple(float(item) for item in value)
    except (TypeError, ValueError, OverflowError):
        return None
    if not all(np.isfinite(numbers)) or (length is not None and len(numbers) != length):
        return None
    return numbers
