"""Whether a finished case may be exported into the study of a series: made from it, unchanged, and not rejected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from SpinalCordSegLib.errors import ConfigurationError, DicomSeriesError, VoxelError
from SpinalCordSegLib.export.dicom_source import SourceSeries, on_series_grid
from SpinalCordSegLib.images.dicom import DicomSeries
from SpinalCordSegLib.images.volume import Volume
from SpinalCordSegLib.measurement.mask_changes import mask_sha256
from SpinalCordSegLib.pipeline import fingerprint

_ROUNDING = 1e-5  # of a value, and of the range of all: a NIfTI's slope and values are float32
_VOLUME_TOLERANCE = 1e-4  # relative; report.json rounds to 0.01 mm³


def refuse_rejected(content: Mapping[str, Any]) -> None:
    """Raise ConfigurationError when a person rejected the case."""
    review = content.get("review")
    states = {content.get("mask_state"), review.get("state") if isinstance(review, dict) else review}
    if "rejected" in states:
        raise ConfigurationError("the case was rejected in review: correct it and accept it before it is exported")


def check_origin(content: Mapping[str, Any], source: SourceSeries, image: Volume | None = None) -> None:
    """Raise DicomSeriesError unless the case was made from these very images, or, for a mask made elsewhere, was
    measured with them as its image. ``image``: what the series was converted to, and the case made from.

    A report from before a given mask's image was fingerprinted ties it to the series by protocol and grid alone."""
    made_from = content.get("input") or {}
    is_given = content.get("mask_state") == "given"
    # "fingerprint" is of what was read first: of a mask made elsewhere its own, which says nothing of any image.
    of_image = made_from.get("image_fingerprint" if is_given else "fingerprint")
    is_untold = is_given and of_image is None
    if of_image == fingerprint(source.volume):
        return
    if image is not None:
        if not is_untold and of_image != fingerprint(image):
            raise DicomSeriesError(
                "the case was not made from this image: segment it again, or measure the mask with it"
            )
        _check_conversion(image, source)
        return
    acquisition = made_from.get("acquisition")
    if not acquisition:
        raise DicomSeriesError(
            "the case was not made from DICOM, so nothing ties it to this series: segment the series itself"
            " (spinalcordseg segment SERIES_FOLDER), or measure the mask with it (measure MASK --image SERIES_FOLDER);"
            " without a series, the mask as .seg.nrrd and report.html say the same"
        )
    differs = [key for key, value in acquisition.items() if _told(source.series, key) != value]
    if is_untold and not differs:
        return
    raise DicomSeriesError(
        f"series {source.series.title()} is not the one that the case was made from"
        f" ({'its ' + ', '.join(differs) + ' differ' if differs else 'its pixels differ'}): give that one, by --series"
        " where the folder holds several"
    )


def _check_conversion(image: Volume, source: SourceSeries) -> None:
    if not _same_pixels(on_series_grid(image, source), source.volume):
        raise DicomSeriesError(
            f"the image does not hold the pixels of series {source.series.title()}: it was made from another series, or"
            " changed since it was loaded; give the series it was loaded from, or load that again and segment it"
        )


def _same_pixels(one: Volume, other: Volume) -> bool:
    """A rescale slope that is no whole number gives values that differ in the last digit from reader to reader."""
    allowed = _ROUNDING * float(np.ptp(other.voxels))
    return np.allclose(one.voxels, other.voxels, rtol=_ROUNDING, atol=allowed)


def _told(series: DicomSeries, key: str) -> Any:
    value = getattr(series, key, None)
    return list(value) if isinstance(value, tuple) else value


def check_mask(mask: Volume, content: Mapping[str, Any]) -> None:
    """Raise VoxelError when the mask, on the grid that its file has, is empty or no longer the one that was measured.

    By its fingerprint; a report from before there was one tells the volume alone."""
    n_voxels = int(np.count_nonzero(mask.voxels))
    if not n_voxels:
        raise VoxelError("the mask is empty: no cord was found, so there is nothing to export")
    measured_sha256 = content.get("mask_sha256")
    if measured_sha256 and mask_sha256(mask) != measured_sha256:
        raise VoxelError("the mask was changed after it was measured: measure it again, and look at it, first")
    found, measured = n_voxels * mask.voxel_volume_mm3, float(content.get("volume_mm3") or 0.0)
    if abs(found - measured) > _VOLUME_TOLERANCE * found + 0.01:
        raise VoxelError(
            f"the mask has {found:.2f} mm³ and the report says {measured:.2f} mm³: it was changed after it was"
            " measured; measure it again first"
        )
