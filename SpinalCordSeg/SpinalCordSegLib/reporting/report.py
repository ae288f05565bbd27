"""The results of a case as plain data: report.json, slices.csv, and its row in summary.csv.

Numbers are mm, mm², mm³; what has no answer is null in JSON and an empty field in CSV. No patient data.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from math import isfinite, nan
from typing import Any

import numpy as np

from SpinalCordSegLib.doubts.review import Review
from SpinalCordSegLib.doubts.suitability import COARSE_LEFT_RIGHT
from SpinalCordSegLib.flags import kinds_of_slice
from SpinalCordSegLib.images.volume import AxialAxes, Volume, axial_slices
from SpinalCordSegLib.measurement.level_measures import LevelOptions
from SpinalCordSegLib.measurement.levels import DISC_NAMES
from SpinalCordSegLib.measurement.mask_changes import mask_sha256
from SpinalCordSegLib.measurement.morphometry import SliceMeasures
from SpinalCordSegLib.network.card import REPEATABILITY
from SpinalCordSegLib.pipeline import CaseResult
from SpinalCordSegLib.version import SOFTWARE_VERSION

SCHEMA = "SpinalCordSeg report"
SCHEMA_VERSION = 1
_UNCERTAIN = (0.1, 0.9)

SLICE_COLUMNS = (
    "slice", "canonical_slice", "z_mm",
    "csa_mm2", "csa_raw_mm2", "csa_sct_mm2", "csa_pv_mm2",
    "ap_ellipse_mm", "ap_chord_mm", "rl_mm",
    "orientation_deg", "eccentricity", "solidity", "angle_ap_deg", "angle_rl_deg", "length_mm",
    "flags", "instance_number", "level",
)  # fmt: skip

SUMMARY_COLUMNS = (
    "case", "state", "reason",
    "volume_mm3", "length_mm", "mean_csa_mm2", "sd_csa_mm2", "n_slices", "coverage", "n_flags", "flags",
    "device", "model", "model_version", "software_version", "seconds",
)  # fmt: skip

# Of the DICOM header, what tells how the image was made; nothing that tells of whom.
_ACQUISITION = (
    "number", "modality", "manufacturer", "model", "field_strength_t", "sequence", "dimension",
    "repetition_time_ms", "echo_time_ms", "inversion_time_ms", "flip_angle_deg", "slice_thickness_mm", "contrast_agent",
)  # fmt: skip

_DECIMALS = {
    "z_mm": 3, "csa_mm2": 3, "csa_raw_mm2": 3, "csa_sct_mm2": 3, "csa_pv_mm2": 3,
    "ap_ellipse_mm": 3, "ap_chord_mm": 3, "rl_mm": 3,
    "orientation_deg": 2, "eccentricity": 4, "solidity": 4, "angle_ap_deg": 2, "angle_rl_deg": 2,
    "length_mm": 4,
}  # fmt: skip


def report(result: CaseResult) -> dict[str, Any]:
    """The content of report.json, ready for JSON without NaN."""
    measures, options = result.measures, result.options
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "case": result.case_name,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "software_version": SOFTWARE_VERSION,
        "mask_state": result.mask_state,
        "mask_sha256": mask_sha256(result.mask),
        "volume_mm3": rounded(measures.volume_mm3, 2),
        "length_mm": rounded(measures.length_mm, 3),
        "volume_per_length_mm2": rounded(volume_per_length_mm2(result), 3),
        "mean_csa_mm2": rounded(measures.mean_csa_mm2, 3),
        "sd_csa_mm2": rounded(measures.sd_csa_mm2, 3),
        "mean_ap_ellipse_mm": _mean_diameter(result, "ap_ellipse_mm"),
        "mean_rl_mm": _mean_diameter(result, "rl_mm"),
        "n_slices": measures.n_slices,
        "coverage": rounded(measures.coverage, 4),
        "range": None if options.slice_range is None else list(options.slice_range),
        "range_volume_mm3": rounded(measures.range_volume_mm3, 2),
        "range_length_mm": rounded(measures.range_length_mm, 3),
        "removed_mm3": rounded(result.removed_mm3, 2),
        "filled_mm3": rounded(measures.filled_mm3, 2),
        "flags": [{"slice": f.slice, "kind": f.kind, "message": f.message} for f in result.flags],
        "review_queue": [doubt.as_dict() for doubt in result.queue],
        "review": Review().as_dict(),
        "levels_asked": _levels_asked(options.levels),
        "levels": None if result.levels is None else result.levels.as_dict(),
        "threshold": options.threshold if result.model else None,
        "along_mm": options.along_mm if result.model else None,
        "slices_steadied": result.n_steadied,
        "probability": None if result.probability is None else probability_summary(result.probability, result.mask),
        "device": result.device,
        "engine": result.engine,
        "slices_computed_around_the_cord_only": result.n_windowed,
        "batch_size": result.batch_size,
        "model": _model(result),
        "input": _input(result),
        "seconds": rounded(sum(result.seconds.values()), 3),
        "seconds_by_stage": {stage: rounded(value, 3) for stage, value in result.seconds.items()},
    }
    if result.truth_volume_mm3 is not None:
        truth = result.truth_volume_mm3
        content["truth_volume_mm3"] = rounded(truth, 2)
        content["volume_error_percent"] = rounded(100 * (measures.volume_mm3 - truth) / truth, 3)
    return content


def _levels_asked(asked: LevelOptions) -> dict[str, Any] | None:
    """What was marked, so that a correction is measured at the same levels; nothing about the person."""
    if not asked.discs:
        return None
    discs = []
    for mark in asked.discs:
        place = str(mark.slice) if mark.ras_mm is None else ",".join(f"{mm:.6g}" for mm in mark.ras_mm)
        discs.append(f"{DISC_NAMES[mark.disc]}={place}")
    return {"discs": discs, "around_mm": asked.around_mm, "declared": sorted(asked.declared)}


def _model(result: CaseResult) -> dict[str, Any] | None:
    model = result.model
    if model is None:
        return None
    return {
        "name": model.name, "sha256": model.sha256, "version": model.version, "licence": model.licence,
        REPEATABILITY: model.scores.get(REPEATABILITY),
    }  # fmt: skip


def _input(result: CaseResult) -> dict[str, Any]:
    volume = result.mask if result.image is None else result.image.volume
    content: dict[str, Any] = {
        "shape": list(volume.shape),
        "spacing_mm": [rounded(mm, 5) for mm in volume.spacing_mm],
        "orientation": volume.orientation,
        "ijk_to_ras": [[rounded(float(value), 6) for value in row] for row in volume.ijk_to_ras],
        "fingerprint": result.fingerprint,
    }
    if result.image_fingerprint:
        content["image_fingerprint"] = result.image_fingerprint
    series = None if result.image is None else result.image.dicom
    if series is not None:
        content["acquisition"] = {name: getattr(series, name) for name in _ACQUISITION}
        content["acquisition"]["image_type"] = list(series.image_type)
        if result.options.keep_date:
            content["acquisition_date"] = series.acquisition_date or None
    return content


def _mean_diameter(result: CaseResult, name: str) -> float | None:
    """Length-weighted mean over the slices of the mean area; one of few pixels may have an area but no diameter."""
    chosen = result.measures.slice_range
    used = [
        item
        for item in result.measures.slices
        if isfinite(getattr(item, name)) and (chosen is None or chosen[0] <= item.canonical_slice < chosen[1])
    ]
    if not used:
        return None
    weights = [item.length_mm for item in used]
    return rounded(float(np.average([getattr(item, name) for item in used], weights=weights)), 3)


def volume_per_length_mm2(result: CaseResult) -> float:
    """Volume over length; NaN without length, and where no area may be reported: it is the mean area in other words."""
    length = result.measures.length_mm
    withheld = any(flag.kind == COARSE_LEFT_RIGHT for flag in result.flags)
    return nan if withheld or length <= 0 else result.measures.volume_mm3 / length


def probability_summary(probability: Volume, mask: Volume) -> dict[str, float | None]:
    """How sure the network was: mean probability inside the mask, and the volume it was undecided about."""
    chances = axial_slices(probability).pixels  # by slices, as they lie in memory
    inside = chances[axial_slices(mask).pixels]
    low, high = _UNCERTAIN
    undecided = np.count_nonzero((chances > low) & (chances < high))
    return {
        "mean_in_mask": rounded(float(inside.mean()), 4) if inside.size else None,
        "undecided_mm3": rounded(undecided * probability.voxel_volume_mm3, 2),
        "expected_volume_mm3": rounded(float(chances.sum(dtype=np.float64)) * probability.voxel_volume_mm3, 2),
    }


def slice_rows(result: CaseResult) -> list[dict[str, Any]]:
    """One row a slice, from inferior to superior, first to last with cord, gaps included; None where no answer."""
    return [_slice_row(result, item) for item in result.measures.slices]


def _slice_row(result: CaseResult, item: SliceMeasures) -> dict[str, Any]:
    row: dict[str, Any] = {"slice": item.slice, "canonical_slice": item.canonical_slice}
    for name, decimals in _DECIMALS.items():
        value = getattr(item, name)
        row[name] = None if value is None else rounded(value, decimals)
    row["flags"] = " ".join(kinds_of_slice(result.flags, item.canonical_slice))
    row["instance_number"] = _instance_number(result, item.slice)
    row["level"] = "" if result.levels is None else result.levels.by_slice.get(item.canonical_slice, "")
    return {column: row[column] for column in SLICE_COLUMNS}


def _instance_number(result: CaseResult, slice_index: int) -> int | None:
    series = None if result.image is None else result.image.dicom
    if series is None:
        return result.instance_numbers.get(slice_index)
    is_axial = AxialAxes.of(result.mask.ijk_to_ras).ras[2][0] == 2  # its images are the axial slices
    return series.instance_numbers[slice_index] if is_axial else None


def summary_row(content: Mapping[str, Any]) -> dict[str, Any]:
    """The case's row in summary.csv, from its report.json: a kept result has the row it had."""
    model = content.get("model") or {}
    flags = content.get("flags") or []
    row: dict[str, Any] = {name: content.get(name) for name in SUMMARY_COLUMNS}
    row |= {
        "state": "done",
        "reason": None,
        "n_flags": len(flags),
        "flags": " ".join(dict.fromkeys(flag["kind"] for flag in flags)),
        "model": model.get("name"),
        "model_version": model.get("version"),
    }
    return row


def failed_row(case_name: str, reason: str) -> dict[str, Any]:
    """The row of a case without a result."""
    row: dict[str, Any] = dict.fromkeys(SUMMARY_COLUMNS)
    return row | {"case": case_name, "state": "failed", "reason": reason, "software_version": SOFTWARE_VERSION}


def csv_text(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Comma-separated, "\\n" line ends, None as an empty field; text that a spreadsheet would run is disarmed."""
    names = list(columns)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(row.get(name)) for name in names} for row in rows)
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@"):
        return "'" + value
    return value


def rounded(value: float, decimals: int) -> float | None:
    """Rounded for reading, never -0; None for NaN and infinity."""
    return round(float(value), decimals) + 0.0 if isfinite(value) else None
