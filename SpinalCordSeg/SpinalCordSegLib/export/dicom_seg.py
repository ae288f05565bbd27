"""The mask as a DICOM Segmentation (binary), written by highdicom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from SpinalCordSegLib.errors import ConfigurationError, VoxelError
from SpinalCordSegLib.export.dicom_source import SourceSeries
from SpinalCordSegLib.images.segment_metadata import SEGMENT_COLOUR_RGB, SEGMENT_NAME
from SpinalCordSegLib.images.volume import Volume
from SpinalCordSegLib.version import SOFTWARE_VERSION

SOFTWARE = "SpinalCordSeg"
CORD = Code("2748008", "SCT", "Spinal cord")
ANATOMY = Code("123037004", "SCT", "Anatomical Structure")

AUTOMATIC, SEMIAUTOMATIC, MANUAL = "AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"
_OF_STATE = {"AI": AUTOMATIC, "corrected": SEMIAUTOMATIC}
_LONGEST_NAME = 64  # of DICOM's LO


@dataclass(frozen=True)
class Algorithm:
    """Who drew the mask. ``kind``: DICOM's SegmentAlgorithmType; ``name``, ``version`` and ``parameters`` say which
    software and model did, and are empty for MANUAL."""

    kind: str
    name: str = ""
    version: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


def algorithm_of(content: Mapping[str, Any], drawn_by_hand: bool = False) -> Algorithm:
    """From report.json, whose ``mask_state`` decides: the model alone, or the model and a person after it.

    ``drawn_by_hand`` says it for a mask that was made elsewhere. Raises ConfigurationError when nothing says it, and
    when ``drawn_by_hand`` contradicts the report.
    """
    kind, model = _OF_STATE.get(str(content.get("mask_state"))), content.get("model")
    if kind is None or not model:
        if not drawn_by_hand:
            raise ConfigurationError(
                "the mask was made elsewhere and the report does not say how: if a person drew it, add --drawn-by-hand;"
                " if other software made it, that software should export it"
            )
        return Algorithm(MANUAL)
    if drawn_by_hand:
        raise ConfigurationError("the report says that a model made the mask: leave --drawn-by-hand out")
    parameters = {
        "model": f"{model.get('name')} {model.get('version')}",
        "SHA-256 of the model": str(model.get("sha256")),
    }
    if content.get("threshold") is not None:
        parameters["threshold"] = f"{content['threshold']:g}"
    name = f"{SOFTWARE} {model.get('name')} {model.get('version')}"[:_LONGEST_NAME].strip()
    return Algorithm(kind, name, str(content.get("software_version")), parameters)


def segmentation(mask: Volume, source: SourceSeries, algorithm: Algorithm, tracking_uid: str, number: int) -> Dataset:
    """One segment, "Spinal cord", on the frames of ``source``. ``mask``: bool on the series' grid.

    Frames without cord are left out. ``tracking_uid`` ties the segment to its measurements; ``number``:
    SeriesNumber. UIDs are new. Raises VoxelError for an empty mask.
    """
    import highdicom as hd

    if not mask.voxels.any():
        raise VoxelError("the mask is empty: no cord was found, so there is nothing to export")
    identification = None
    if algorithm.kind != MANUAL:
        identification = hd.AlgorithmIdentificationSequence(
            name=algorithm.name,
            family=Code("123110", "DCM", "Artificial Intelligence"),
            version=algorithm.version,
            parameters=dict(algorithm.parameters),
        )
    description = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label=SEGMENT_NAME,
        segmented_property_category=ANATOMY,
        segmented_property_type=CORD,
        algorithm_type=algorithm.kind,
        algorithm_identification=identification,
        tracking_uid=tracking_uid,
        tracking_id=SEGMENT_NAME,
        display_color=hd.color.CIELabColor.from_rgb(*SEGMENT_COLOUR_RGB),
    )
    return hd.seg.Segmentation(
        source_images=list(source.headers),
        pixel_array=source.frame_array(mask),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[description],
        **new_series(number),
        device_serial_number=SOFTWARE_VERSION,  # software has no other
        content_description="Spinal cord, research use",
        content_label="SPINAL_CORD",
        series_description=f"Spinal cord segmentation ({SOFTWARE})",
    )


def new_series(number: int) -> dict[str, Any]:
    """For highdicom's classes: the only instance of a new series, made by this software."""
    import highdicom as hd

    return {
        "series_instance_uid": hd.UID(),
        "series_number": number,
        "sop_instance_uid": hd.UID(),
        "instance_number": 1,
        "manufacturer": SOFTWARE,
        "manufacturer_model_name": SOFTWARE,
        "software_versions": SOFTWARE_VERSION,
    }
