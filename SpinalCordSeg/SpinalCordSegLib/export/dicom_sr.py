"""The measures of a case as a DICOM structured report (TID 1500), written by highdicom.

Codes: volume by summed voxels, path length, area of the defined region with mean and SD, major and minor axis.
A number without an answer is left out; what a reader must know beside the numbers stands as a comment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from SpinalCordSegLib.doubts.review import ACCEPTED, ON_ANOTHER_MASK, Review
from SpinalCordSegLib.export.dicom_seg import ANATOMY, CORD, MANUAL, SOFTWARE, Algorithm, new_series
from SpinalCordSegLib.export.dicom_source import SourceSeries
from SpinalCordSegLib.images.segment_metadata import SEGMENT_NAME
from SpinalCordSegLib.version import SOFTWARE_VERSION

CERVICAL_SPINE = Code("122494005", "SCT", "Cervical spine")
VOLUME = Code("118565006", "SCT", "Volume")
SUM_OF_VOXELS = Code("126030", "DCM", "Sum of segmented voxel method for volume")
AREA = Code("131184002", "SCT", "Area of defined region")
LENGTH = Code("121211", "DCM", "Path length")
MAJOR_AXIS, MINOR_AXIS = Code("131187009", "SCT", "Major Axis"), Code("131188004", "SCT", "Minor Axis")
MEAN, DEVIATION = Code("373098007", "SCT", "Mean"), Code("386136009", "SCT", "Standard Deviation")
MM3, MM2 = Code("mm3", "UCUM", "cubic millimeter"), Code("mm2", "UCUM", "square millimeter")
MM = Code("mm", "UCUM", "millimeter")
_COMMENT = Code("121106", "DCM", "Comment")
_MR_IMAGING = Code("25056-3", "LN", "MRI unspecified body region")

_DEFINITIONS = (
    "Research use, not for diagnosis.",
    "Area: at a right angle to the cord. Major axis: right-left, minor axis: anterior-posterior, of the ellipse with"
    " the same second moments. Length: along the cord. Volume follows the coverage.",
)

# key in report.json, what it is, unit, how it was got from several values, method
_WHOLE_CORD = (("volume_mm3", VOLUME, MM3, None, SUM_OF_VOXELS), ("length_mm", LENGTH, MM, None, None))
_RANGE = (("range_volume_mm3", VOLUME, MM3, None, SUM_OF_VOXELS), ("range_length_mm", LENGTH, MM, None, None))
_SECTIONS = (
    ("mean_csa_mm2", AREA, MM2, MEAN, None),
    ("sd_csa_mm2", AREA, MM2, DEVIATION, None),
    ("mean_rl_mm", MAJOR_AXIS, MM, MEAN, None),
    ("mean_ap_ellipse_mm", MINOR_AXIS, MM, MEAN, None),
)


def measurement_report(
    content: Mapping[str, Any], source: SourceSeries, segmentation: Dataset, algorithm: Algorithm, number: int
) -> Dataset:
    """A Comprehensive SR about ``segmentation``. ``content``: of report.json; ``number``: SeriesNumber.

    With a range of slices there are two groups: the whole cord, and the range with the mean areas. Complete, and
    always unverified: VERIFIED would say that an observer, named with organisation, attests to the content and answers
    for it (PS3.3 C.17.2). Whoever accepted the case here typed a name: that is told as a comment. UIDs are new.
    """
    import highdicom as hd

    observer = hd.sr.ObserverContext(
        observer_type=Code("121007", "DCM", "Device"),
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=hd.UID(), name=SOFTWARE, manufacturer_name=SOFTWARE, model_name=f"{SOFTWARE} {SOFTWARE_VERSION}"
        ),
    )
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=_MR_IMAGING,
        imaging_measurements=_groups(content, source, segmentation, algorithm),
        title=Code("126000", "DCM", "Imaging Measurement Report"),
    )
    return hd.sr.ComprehensiveSR(
        evidence=[*source.headers, segmentation],
        content=report[0],
        **new_series(number),
        is_complete=True,
        is_final=True,
        is_verified=False,
        series_description=f"Spinal cord measurements ({SOFTWARE})",
    )


def _groups(content: Mapping[str, Any], source: SourceSeries, segmentation: Dataset, algorithm: Algorithm) -> list[Any]:
    remarks = [
        *_DEFINITIONS,
        _reviewed(content),
        *(str(flag["message"]) for flag in _flags(content) if flag.get("slice") is None),
    ]
    about = (content, source, segmentation, algorithm)
    if not content.get("range"):
        return [_volume_group((*_WHOLE_CORD, *_SECTIONS), [*remarks, *_counts(content)], *about)]
    return [_volume_group(_WHOLE_CORD, remarks, *about), _range_group(content, algorithm)]


def _reviewed(content: Mapping[str, Any]) -> str:
    review = Review.from_dict(content.get("review"))
    if review.state != ACCEPTED:
        return "Not reviewed by a person to the end."
    who = f" by {review.who}" if review.who else ""
    doubt = f" {ON_ANOTHER_MASK}." if review.is_of_another(content.get("mask_sha256")) else ""
    return f"Accepted{who} in review; a name that was typed, no signature.{doubt}"


def _volume_group(
    wanted: tuple[Any, ...],
    remarks: list[str],
    content: Mapping[str, Any],
    source: SourceSeries,
    segmentation: Dataset,
    algorithm: Algorithm,
) -> Any:
    """TID 1411: about the whole segment."""
    import highdicom as hd

    segment = segmentation.SegmentSequence[0]
    group = hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=segment.TrackingUID, identifier=segment.TrackingID),
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=1,
            source_series=hd.sr.SourceSeriesForSegmentation(source.headers[0].SeriesInstanceUID),
        ),
        **_common(wanted, content, algorithm),
    )
    return _with_comment(group, remarks)


def _range_group(content: Mapping[str, Any], algorithm: Algorithm) -> Any:
    """TID 1501: about the slices asked for, which are less than the segment."""
    import highdicom as hd

    first, end = content["range"]
    words = f"slices {first} to {end - 1}"
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=hd.UID(), identifier=f"{SEGMENT_NAME}, {words}"),
        **_common((*_RANGE, *_SECTIONS), content, algorithm),
    )
    counted = f"Range: {words} of the image, counted from 0 along its axis nearest to the body axis."
    return _with_comment(group, [counted, *_counts(content)])


def _common(wanted: tuple[Any, ...], content: Mapping[str, Any], algorithm: Algorithm) -> dict[str, Any]:
    import highdicom as hd

    made = None
    if algorithm.kind != MANUAL:
        parameters = [f"{name}: {value}" for name, value in algorithm.parameters.items()]
        made = hd.sr.AlgorithmIdentification(algorithm.name, algorithm.version, parameters)
    return {
        "finding_category": ANATOMY,
        "finding_type": CORD,
        "finding_sites": [hd.sr.FindingSite(anatomic_location=CERVICAL_SPINE)],
        "algorithm_id": made,
        "measurements": [
            hd.sr.Measurement(name=name, value=float(content[key]), unit=unit, derivation=derivation, method=method)
            for key, name, unit, derivation, method in wanted
            if content.get(key) is not None
        ],
    }


def _with_comment(group: Any, lines: list[str]) -> Any:
    import highdicom as hd

    contains = hd.sr.RelationshipTypeValues.CONTAINS
    comment = hd.sr.TextContentItem(name=_COMMENT, value="\n".join(lines), relationship_type=contains)
    group[0].ContentSequence.append(comment)
    return group


def _counts(content: Mapping[str, Any]) -> list[str]:
    flagged = {flag["slice"] for flag in _flags(content) if flag.get("slice") is not None}
    coverage = content.get("coverage") or 0.0
    return [
        f"Slices measured: {content.get('n_slices')}, coverage {100 * coverage:.0f} %.",
        f"Slices with a quality flag, in the whole cord: {len(flagged)}.",
    ]


def _flags(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(content.get("flags") or [])
