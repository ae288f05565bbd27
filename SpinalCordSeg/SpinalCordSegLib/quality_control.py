"""Which slices a person should look at: a judgement of every slice from its features, with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil, exp, hypot, isfinite, log
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.flags import KINDS, Flag, case_flag, merge_flags
from SpinalCordSegLib.morphometry import CordMeasures, slice_centroids
from SpinalCordSegLib.outline import LEAST_SEEN, around
from SpinalCordSegLib.volume import Volume

if TYPE_CHECKING:
    from SpinalCordSegLib.dicom import DicomSeries

# A table of what tells a failed slice from a good one: pure arrays, so that thresholds can be tuned on it.


_NEIGHBOURHOOD_MM = 15.0  # each way: under one vertebral level, in which a healthy cord changes by some 10 %
_NEIGHBOURS = 6  # at least, however thick the slices are


Features = dict[str, NDArray[Any]]
"""By name one value a slice, in the order of the measured slices; NaN in gaps and where it cannot be known.

``area_mm2``: at a right angle to the cord, the network's own where it drew the slice, else the mask's. ``area_ratio``,
``rl_ratio``, ``ap_ratio``: area and diameters over the median of the neighbours within 15 mm (at least six), the slice
itself left out. ``offset_mm``: distance of the centroid from the straight line through those of the neighbours.
``neighbours_each_way``: the fewer of those below and above. ``moved_ratio``: the area of an imputed slice over the
network's, 1 where nothing was moved. ``ap_over_rl``; and of the slice table ``canonical_slice``, ``solidity``,
``confidence`` and ``seen_edge`` (NaN in a mask made elsewhere)."""


def slice_features(mask: Volume, measures: CordMeasures) -> Features:
    """Of a cleaned ``mask`` (bool) and its ``measures``. No cord: arrays of length 0."""
    table = measures.slices
    k = table.canonical_slice
    z_mm: NDArray[np.float64] = np.asarray(k * mask.slice_mm, dtype=np.float64)
    row_mm, column_mm = mask.pixel_mm
    pixels_mm2, centroids = np.full(len(table), np.nan), np.full((len(table), 2), np.nan)
    _, centres, counts = slice_centroids(mask.voxels)
    pixels_mm2[~table.is_gap] = counts * (row_mm * column_mm)
    centroids[~table.is_gap] = centres * mask.pixel_mm
    network_mm2 = table.network_area_mm2
    area = np.where(np.isnan(network_mm2), pixels_mm2, network_mm2) * (mask.slice_mm / table.length_mm)
    near = [_neighbours(z_mm, area, at) for at in range(len(table))]
    return {
        "canonical_slice": k,
        "area_mm2": area,
        "area_ratio": _ratio(area, near),
        "rl_ratio": _ratio(table.rl_mm, near),
        "ap_ratio": _ratio(table.ap_ellipse_mm, near),
        "offset_mm": _offsets(z_mm, centroids, near),
        "ap_over_rl": table.ap_ellipse_mm / table.rl_mm,
        "solidity": table.solidity,
        "neighbours_each_way": np.array([min((n < at).sum(), (n > at).sum()) for at, n in enumerate(near)], np.int64),
        "confidence": table.confidence,
        "seen_edge": table.seen_edge,
        "moved_ratio": np.where(table.is_imputed, pixels_mm2 / network_mm2, 1.0),
    }


def _neighbours(z_mm: NDArray[np.float64], area: NDArray[np.float64], at: int) -> NDArray[np.int64]:
    """The slices to compare slice ``at`` with: all within reach, or the nearest six; none from gaps."""
    apart = np.abs(z_mm - z_mm[at])
    usable = np.isfinite(area)
    usable[at] = False
    within = np.flatnonzero(usable & (apart <= _NEIGHBOURHOOD_MM))
    if len(within) >= _NEIGHBOURS:
        return within
    nearest = np.argsort(np.where(usable, apart, np.inf), kind="stable")
    return np.sort(nearest[: min(_NEIGHBOURS, int(usable.sum()))])


def _ratio(values: NDArray[np.float64], near: list[NDArray[np.int64]]) -> NDArray[np.float64]:
    medians = np.array([np.nanmedian(values[n]) if np.isfinite(values[n]).any() else np.nan for n in near])
    return values / medians


def _offsets(
    z_mm: NDArray[np.float64], centroids_mm: NDArray[np.float64], near: list[NDArray[np.int64]]
) -> NDArray[np.float64]:
    """Distance of every centroid from the robust (Theil-Sen) line through its neighbours', mm."""
    offsets = np.full(len(z_mm), np.nan)
    for at, n in enumerate(near):
        if len(n) < 3:
            continue
        first, second = np.triu_indices(len(n), 1)
        rise = z_mm[n[second]] - z_mm[n[first]]
        slope = np.median((centroids_mm[n[second]] - centroids_mm[n[first]]) / rise[:, None], axis=0)
        level = np.median(centroids_mm[n] - slope * (z_mm[n] - z_mm[at])[:, None], axis=0)
        offsets[at] = np.hypot(*(centroids_mm[at] - level))
    return offsets


_EACH_WAY = 3  # a slice with fewer neighbours on one side lies at an end: there is no trend to hold it against


# Limits: a slice beyond any of them is flagged.
#
# What the network drew is judged by three things alone: how sure it was, how much of the outline the image shows, and
# the area beside its neighbours'. On simulated people they mark 7 of 8 slices with Dice under 0.8 and 1.6 % of 500 good
# ones. A mask made elsewhere is judged by its form: limits set on 1,593 slices with hand-drawn masks (1 mm, and
# 0.4-0.8 mm × 2.5-5 mm), of which they flag under 1 %, and on the same masks spoilt in runs of 1-12 mm by touching
# structures, growth, loss and shifts. Ranges below are the 1st to 99th percentile of the hand-drawn slices.

_MAX_AREA_RATIO = 1.22  # over the neighbours' median; 0.91-1.10 (the enlargement of C4-C6 included)
_MIN_AREA_RATIO = 0.80
_MAX_DIAMETER_RATIO = 1.18  # RL and AP likewise, and the inverse; 0.90-1.09
_END_ALLOWANCE = 1.10  # at the ends all neighbours lie on one side: area 0.76-1.26, diameters 0.86-1.16
_MAX_OFFSET_MM = 1.2  # centroid off the line through the neighbours': up to 1.0 mm at 1 mm slices
_OFFSET_PER_MM = 0.1  # and more per mm of slice distance: the cord bends between the slices
_END_OFFSET_ALLOWANCE = 1.5  # that line is extrapolated at the ends
_MIN_SOLIDITY = 0.93  # for pixels of no size; 0.94 at 0.5 mm
_SOLIDITY_PER_MM = 0.07  # staircases lower it: 0.87 at 1 mm
_MIN_AP_OVER_RL = 0.42  # 0.44-0.89, flattened cords included
_MAX_AP_OVER_RL = 1.10
_MIN_AREA_MM2 = 20.0  # the thoracic cord of a small person has 26
_MAX_AREA_MM2 = 150.0  # the cord has up to 110, the medulla above it up to 140
_MIN_CONFIDENCE = 0.85  # mean probability inside; logistic edges of 0.5 mm give 0.95, of 1.5 mm 0.84
_MIN_SEEN_EDGE = 0.5  # share of the outline
_MAX_MOVED_RATIO = 1.16  # the area after and before an imputed outline was moved
BELOW_END_MM = 20.0  # slices below the end of the mask to look at; a whole spine's cord does end
_MAX_UNSEEN_SHARE = 0.5  # of the slices, whose outline the image does not show: the others are no reference either
_CORD_MEAN_MM2 = (47.0, 100.0)  # norms.json: the least and greatest mean ± 2.5 SD of an age, sex or level C2-C6
_NECK_MM = 100.0  # the uppermost part of the cord, which that mean is of: 60-95 in 31 hand-drawn masks
_LONGEST_NECK_MM = 150.0  # further below the top the cord is thoracic: 0.5-0.7 of the neck's area in 11 masks
_MAX_THORACIC_SHARE = 0.85
_LONGEST_CORD_MM = 520.0  # 450 in a tall man, and the medulla
_MAX_FLAGGED_SHARE = 0.3  # more flagged slices than that: the neighbours are no reference either


def judge_slices(mask: Volume, probability: Volume | None, features: Features) -> list[Flag]:
    """Flags of the slices to look at, and of the case where they are many, besides those of the measures.

    ``mask``: cleaned, bool. ``probability``: 0..1 on its grid, or None for a mask made elsewhere. ``features``: of
    slice_features for the same mask. Kinds: area, implausible_area; of what the network drew low_confidence and
    unclear_edge (of a slice, and of the case where most of its slices show none), of what it did not draw shape and
    position; cord_end (a slice without cord below the lowest that has some, though the network looked there),
    many_flags. No cord: none.
    """
    found = []
    checks = _checks(features, mask)
    for at, k in enumerate(features["canonical_slice"].tolist()):
        row = row_of(features, at)
        texts = [(kind, message) for kind, flagged, message in checks if flagged[at]]
        found += [Flag(mask.to_input_slice(k), k, kind, message.format(**row)) for kind, message in texts]
    case = []
    judged = features["seen_edge"][np.isfinite(features["seen_edge"])]
    unseen = np.count_nonzero(judged < LEAST_SEEN)
    if unseen > _MAX_UNSEEN_SHARE * len(judged):
        text = f"in {unseen} of {len(judged)} slices the image shows no edge along the outline: cord and surroundings"
        case.append(case_flag("unclear_edge", f"{text} have one grey, and the area is little more than a guess"))
    flagged = len({flag.canonical_slice for flag in found})
    measured = int(np.isfinite(features["area_mm2"]).sum())
    if measured and flagged > max(1, _MAX_FLAGGED_SHARE * measured):
        text = f"{flagged} of {measured} slices are flagged: look at the whole mask"
        case.insert(0, case_flag("many_flags", text))
    below = [] if probability is None else _below_the_end(mask, probability)
    return list(merge_flags(case, found, below))


def row_of(features: Features, at: int) -> dict[str, float]:
    """The values of one slice by name."""
    return {name: float(values[at]) for name, values in features.items()}


def _checks(f: Features, grid: Volume) -> list[tuple[str, NDArray[np.bool_], str]]:
    """Kind, the slices that have it, and a message with names of features."""
    at_end, drawn = f["neighbours_each_way"] < _EACH_WAY, np.isnan(f["confidence"])
    # At the ends all neighbours lie on one side.
    allowance = np.where(at_end, _END_ALLOWANCE, 1.0)
    reach_mm = (_MAX_OFFSET_MM + _OFFSET_PER_MM * grid.slice_mm) * np.where(at_end, _END_OFFSET_ALLOWANCE, 1.0)
    wide = _MAX_DIAMETER_RATIO * allowance
    solidity = _MIN_SOLIDITY - _SOLIDITY_PER_MM * max(grid.pixel_mm)
    area, ratio, rl, ap = f["area_mm2"], f["area_ratio"], f["rl_ratio"], f["ap_ratio"]
    unlike = (f["solidity"] < solidity) | (f["ap_over_rl"] < _MIN_AP_OVER_RL) | (f["ap_over_rl"] > _MAX_AP_OVER_RL)
    moved = np.abs(np.log(f["moved_ratio"])) > np.log(_MAX_MOVED_RATIO)
    return [
        (
            "area",
            (ratio > _MAX_AREA_RATIO * allowance) | (ratio < _MIN_AREA_RATIO / allowance),
            "area {area_mm2:.1f} mm² is {area_ratio:.2f} of its neighbours' median",
        ),
        (
            "implausible_area",
            (area < _MIN_AREA_MM2) | (area > _MAX_AREA_MM2),
            "area {area_mm2:.1f} mm² is outside what a cord can have",
        ),
        (
            "low_confidence",
            f["confidence"] < _MIN_CONFIDENCE,
            "the network was unsure: mean probability {confidence:.2f} inside the outline",
        ),
        (
            "unclear_edge",
            (f["seen_edge"] < _MIN_SEEN_EDGE) | moved,
            "the image shows an edge along {seen_edge:.0%} of the outline; imputed area over the network's"
            " {moved_ratio:.2f}",
        ),
        (
            "shape",
            drawn & ((np.fmax(rl, ap) > wide) | (np.fmin(rl, ap) < 1 / wide)),
            "diameters RL {rl_ratio:.2f} and AP {ap_ratio:.2f} of the neighbours' medians",
        ),
        ("position", drawn & (f["offset_mm"] > reach_mm), "centre {offset_mm:.1f} mm off the line of its neighbours"),
        ("shape", drawn & unlike, "outline unlike a cord: AP/RL {ap_over_rl:.2f}, solidity {solidity:.2f}"),
    ]


def check_size(features: Features, length_mm: float, grid: Volume) -> list[Flag]:
    """implausible_size, where area or length of the cord are what no neck has, and a wrong voxel size gives."""
    area, k, texts = features["area_mm2"], features["canonical_slice"], []
    below_top_mm = (k[-1:] - k) * grid.slice_mm
    of_neck, of_thorax = (
        float(np.mean(area[part])) if (part := np.isfinite(area) & further).any() else np.nan
        for further in (below_top_mm < _NECK_MM, below_top_mm > _LONGEST_NECK_MM)
    )
    right = f"is the voxel size {' × '.join(f'{mm:.3g}' for mm in grid.ijk_spacing_mm)} mm right?"
    if not _CORD_MEAN_MM2[0] <= of_neck <= _CORD_MEAN_MM2[1] and isfinite(of_neck):
        limits = "{:.0f} to {:.0f}".format(*_CORD_MEAN_MM2)
        texts.append(f"the mean area, {of_neck:.0f} mm², is outside what healthy adults have ({limits}): {right}")
    if length_mm > _LONGEST_CORD_MM or of_thorax > _MAX_THORACIC_SHARE * of_neck:
        texts.append(f"{length_mm:.0f} mm of cord that does not become thinner as a thoracic cord does: {right}")
    return [case_flag("implausible_size", text) for text in texts]


def _below_the_end(mask: Volume, probability: Volume) -> list[Flag]:
    """Above, a cord ends at the foramen magnum; below, it ends in no image of the neck, but leaves it.

    Slices of probability 0 were not computed: the network's is never exactly 0.
    """
    with_cord = np.flatnonzero(mask.voxels.any(axis=(1, 2)))
    if not with_cord.size:
        return []
    lowest = int(with_cord[0])
    text = "no cord found here, but {:.0f} mm above: a cord goes on to the lower edge of an image of the neck"
    return [
        Flag(mask.to_input_slice(k), k, "cord_end", text.format((lowest - k) * mask.slice_mm))
        for k in range(max(0, lowest - ceil(BELOW_END_MM / mask.slice_mm)), lowest)
        if probability.voxels[k].max() > 0
    ]


# Whether an image is of the kind the method was made for; what it is not is flagged, never refused.


_MAX_LEFT_RIGHT_MM = 1.5

# Rules of thumb for "T1-weighted" from clinical ranges: spin echo TR ≤ 1000 and TE ≤ 40 ms (inversion-prepared ones
# have a longer TR and TI 300-1500 ms), gradient echo TE ≤ 12 ms.
_MAX_TE_SPIN_ECHO_MS = 40.0
_MAX_TE_GRADIENT_ECHO_MS = 12.0
_MAX_TR_SPIN_ECHO_MS = 1000.0
_T1_INVERSION_MS = (300.0, 1500.0)

_RING_MM = (1.0, 3.0)  # from the cord's edge outwards: fluid, beyond partial volume
_BRIGHT_FLUID = 1.0
_DARK_FLUID = 0.85  # over the cord: 0.26-0.75 on 7 T1w volumes, from 0.92 on others
_TISSUE_MM, _T2W_FLUID_OVER_TISSUE = (10.0, 40.0), 5.0  # 7-11 on 6 T2w necks, 1.4-3.9 on 9 T2*w
# 1.4-2.1 and 1.9-3.9 on 7 T2*w; two of pale fluid have 1.0 and 1.1, an image with MT 1.3 and 1.0
_T2STARW_FLUID, _T2STARW_FLUID_OVER_TISSUE = 1.2, 1.5
_LOOKED_AT_WIDELY = 12  # slices
BRIGHT_FLUID_CONTRASTS = ("T2w-like", "T2*w-like")
_UNEVEN, _UNEVEN_OF_BESIDE = 0.15, 0.55
_LOOKED_AT = 40  # slices

_CONTRAST_WORDS = re.compile(
    r"(\+\s*(c|gd|gad\w*|km)\b|\b(post|mit|with|c)[\s_-]*(contrast|gad\w*|gd|km)\b|\+\s*$)", re.I
)
_OTHER_BODY_PARTS = re.compile(
    r"LSPINE|LUMBAR|SACR|ABDOM|PELVI|KNEE|HIP|SHOULDER|ANKLE|FOOT|HAND|WRIST|BREAST|HEART|LIVER"
)


def check_image(volume: Volume, dicom: DicomSeries | None = None, cord: Volume | None = None) -> list[Flag]:
    """Flags of the whole image, none of single slices; [] for what the method was made for.

    Kinds: coarse_voxels (no area may be reported), with a DICOM header acquisition, with the mask of the ``cord`` in it
    contrast.
    """
    found, left_right_mm = [], volume.pixel_mm[1]
    if left_right_mm > _MAX_LEFT_RIGHT_MM:
        text = f"voxels are {left_right_mm:.2f} mm wide from left to right, above {_MAX_LEFT_RIGHT_MM} mm:"
        found.append(("coarse_voxels", f"{text} areas and diameters of the cord would be wrong and are not reported"))
    if cord is not None and (ratio := fluid_over_cord(volume, cord)) > _BRIGHT_FLUID:
        text = f"what surrounds the cord is {ratio:.1f} times as bright as the cord, as in no T1-weighted image:"
        found.append(("contrast", f"{text} areas and norms of T1-weighted images cannot be compared"))
    if dicom is not None:
        found += [("acquisition", text) for text in _unlike_the_method(volume, dicom)]
    return [case_flag(kind, text) for kind, text in found]


def fluid_over_cord(volume: Volume, cord: Volume) -> float:
    """How bright the ring of 1-3 mm around the cord is, over the cord's inner part: medians over slices; NaN without.

    0.3-0.8 on 10 T1w volumes, 2.3-3.4 on 6 T2w, 0.9-2.1 on 9 T2*w ones.
    """
    ratios = []
    for inward, outward, grey in _about_cord(volume, cord):
        core, ring = inward >= _RING_MM[0], (outward >= _RING_MM[0]) & (outward <= _RING_MM[1])
        if core.any() and ring.any() and (level := float(np.median(grey[core]))) > 0:
            ratios.append(float(np.median(grey[ring])) / level)
    return float(np.median(ratios)) if ratios else np.nan


def contrast_of(volume: Volume, cord: Volume) -> str:
    """Of an image, from grey values alone: "T1w-like" (fluid darker than cord), "T2w-like" (brighter than cord, and far
    brighter than muscle and fat 10 to 40 mm away), "T2*w-like" (brighter than all of these, but not so far) or "other";
    "" where they do not tell."""
    fluid = fluid_over_cord(volume, cord)
    if not isfinite(fluid) or fluid < _DARK_FLUID:
        return "T1w-like" if isfinite(fluid) else ""
    ratios = []
    for _, outward, grey in _about_cord(volume, cord, _TISSUE_MM[1], _LOOKED_AT_WIDELY):
        ring, tissue = ((outward >= low) & (outward <= high) for low, high in (_RING_MM, _TISSUE_MM))
        if ring.any() and tissue.any() and (level := float(np.median(grey[tissue]))) > 0:
            ratios.append(float(np.median(grey[ring])) / level)
    over_tissue = float(np.median(ratios)) if ratios else 0.0
    if fluid > _BRIGHT_FLUID and over_tissue > _T2W_FLUID_OVER_TISSUE:
        return "T2w-like"
    return "T2*w-like" if fluid > _T2STARW_FLUID and over_tissue > _T2STARW_FLUID_OVER_TISSUE else "other"


def check_image_of(volume: Volume, cord: Volume) -> list[Flag]:
    """other_image, where a mask made by a person or elsewhere was hardly drawn on ``volume``: the grey inside varies
    by more than 15 % (SD) and more than half as much as beside it, medians over slices.

    Flagged are none of 17 raters' masks on their own image (T1w, T2w, T2*w, MT; at most 24 %, or 0.52 of beside) and 23
    of 24 on another person's of the same grid.
    """
    found = []
    for inward, outward, grey in _about_cord(volume, cord):
        core, ring = inward > min(1.0, inward.max() / 2), (outward > 0.5) & (outward <= 2.0)
        if core.any() and ring.any():
            spread = float(grey[core].std())
            found.append(
                (spread / max(abs(float(grey[core].mean())), 1e-6), spread / max(float(grey[ring].std()), 1e-6))
            )
    uneven, of_beside = np.median(found, axis=0) if found else (0.0, 0.0)
    if uneven <= _UNEVEN or of_beside <= _UNEVEN_OF_BESIDE:
        return []
    text = f"grey values inside the mask vary by {uneven:.0%}, {of_beside:.0%} of what they do beside it, as in no cord"
    return [case_flag("other_image", f"{text}: was the mask drawn on this image?")]


def _about_cord(
    volume: Volume, cord: Volume, mm: float = 6.0, most: int = _LOOKED_AT
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64], NDArray]]:
    """Of slices with cord, at most so many: how deep each pixel within ``mm`` of it lies inside, how far outside (mm),
    and its grey."""
    with_cord = np.flatnonzero(cord.voxels.any(axis=(1, 2)))
    for k in with_cord[:: ceil(len(with_cord) / most) or 1]:
        cord_here = cord.voxels[k] != 0
        window = around(cord_here, cord.pixel_mm, mm)
        inside, grey = cord_here[window], volume.voxels[k][window]
        outward, inward = (ndimage.distance_transform_edt(one, sampling=cord.pixel_mm) for one in (~inside, inside))
        yield inward, outward, grey


def known_facts(dicom: DicomSeries | None) -> dict[str, bool | None]:
    """What a comparison with norms must know; None where no header tells.

    "t1w", "corrected_3d" (ImageType DIS3D), "contrast_agent".
    """
    if dicom is None:
        return {"t1w": None, "corrected_3d": None, "contrast_agent": None}
    corrected = True if "DIS3D" in dicom.image_type else False if {"DIS2D", "ND"} & set(dicom.image_type) else None
    described = dicom.modality == "MR" and bool(dicom.sequence) and dicom.echo_time_ms is not None
    return {
        "t1w": False if _is_other_modality(dicom) or _why_not_t1w(dicom) else True if described else None,
        "corrected_3d": corrected,
        "contrast_agent": not _is_other_modality(dicom) and _has_contrast_agent(dicom),
    }


def _unlike_the_method(volume: Volume, dicom: DicomSeries) -> Iterator[str]:
    """What the header says of an acquisition that the method was not made for, a sentence each."""
    step_mm, thickness_mm = volume.ijk_spacing_mm[2], dicom.slice_thickness_mm
    if thickness_mm and volume.ijk_shape[2] > 1 and step_mm > 1.02 * thickness_mm + 0.01:
        yield f"there is a gap between slices: {thickness_mm:.2f} mm thick, {step_mm:.2f} mm apart; volume is estimated"
    if dicom.dimension == "2D":
        yield "acquired as 2D slices; the method was made for 3D acquisitions"
    if _is_other_modality(dicom):
        yield f"the modality is {dicom.modality}; the method was made for MR"
    else:
        if _has_contrast_agent(dicom):
            source = "header" if dicom.contrast_agent else "series description"
            yield f"a contrast agent was given (DICOM {source}); areas may differ"
        if reason := _why_not_t1w(dicom):
            yield f"probably not T1-weighted: {reason}; areas from other contrasts differ"
    if _OTHER_BODY_PARTS.search(dicom.body_part):
        yield f"the DICOM header names the body part {dicom.body_part}, not the neck"


def _is_other_modality(dicom: DicomSeries) -> bool:
    return bool(dicom.modality) and dicom.modality != "MR"


def _has_contrast_agent(dicom: DicomSeries) -> bool:
    return bool(dicom.contrast_agent or _CONTRAST_WORDS.search(dicom.description))


def _why_not_t1w(dicom: DicomSeries) -> str | None:
    echo, repetition, inversion = dicom.echo_time_ms, dicom.repetition_time_ms, dicom.inversion_time_ms
    kinds = dicom.sequence.upper().split("\\")
    if "EP" in kinds:
        return "echo-planar sequence"
    if "GR" in kinds and "SE" not in kinds:
        too_long = echo is not None and echo > _MAX_TE_GRADIENT_ECHO_MS
        return f"gradient echo with TE {echo:g} ms" if too_long else None
    if echo is not None and echo > _MAX_TE_SPIN_ECHO_MS:
        return f"TE {echo:g} ms"
    prepared = inversion is not None and _T1_INVERSION_MS[0] <= inversion <= _T1_INVERSION_MS[1]
    if "SE" in kinds and repetition is not None and repetition > _MAX_TR_SPIN_ECHO_MS and not prepared:
        return f"spin echo with TR {repetition:g} ms"
    return None


# Which slice to look at first: the flagged slices ranked by how far they lie beyond what good slices do.
#
# ``score`` is a rank, not a probability: it grows with the distance of every feature from its limit,
# and features that agree add up. The weights were set on hand-drawn masks with slices spoilt at random.


_HALF = 2.0  # this far beyond the limits a score is about one half
_BENT = 0.25
_MOST = 6.0  # of one feature: no single one makes the others unheard


@dataclass(frozen=True)
class FlaggedSlice:
    """A flagged slice. ``score``: 0..1, only its order means something. ``kinds``: of its flags; ``message``: theirs.
    ``slice``: of the input; ``canonical_slice``: counted from inferior."""

    slice: int
    canonical_slice: int
    score: float
    kinds: tuple[str, ...]
    message: str


def rank_slices(flags: Iterable[Flag], features: Features) -> tuple[FlaggedSlice, ...]:
    """The flagged slices, the worst first; equal ones from inferior to superior. No flagged slice: ().

    ``features`` of the same mask say how far beyond the limits each lies; beside the mask only the kinds of flag count.
    """
    by_slice: dict[tuple[int, int], list[Flag]] = {}
    for flag in flags:
        if flag.slice is not None and flag.canonical_slice is not None:
            by_slice.setdefault((flag.slice, flag.canonical_slice), []).append(flag)
    rows = {int(k): at for at, k in enumerate(features["canonical_slice"])}
    found = []
    for (number, canonical), own in by_slice.items():
        excess = {flag.kind: KINDS[flag.kind].severity for flag in own}
        if canonical in rows:
            excess |= _measured(row_of(features, rows[canonical]))
        if "tilt" in excess and "area" in excess:
            excess["area"] *= _BENT  # the tilt that its area hangs on may be bent by a neighbour
        kinds, messages = tuple(dict.fromkeys(f.kind for f in own)), dict.fromkeys(f.message for f in own)
        total = hypot(*(min(value, _MOST) for value in excess.values()))
        score = round(1 - exp(-total * log(2) / _HALF), 4)
        found.append(FlaggedSlice(number, canonical, score, kinds, "; ".join(messages)))
    return tuple(sorted(found, key=lambda one: (-one.score, one.canonical_slice)))


def _measured(row: Mapping[str, float]) -> dict[str, float]:
    """How far beyond its limit each feature lies, 1 at the limit; what is not known is left out.

    The diameters' ratios are left out: on spoilt masks they ranked no better than chance beside area and position.
    """
    ratio, confidence, seen = row["area_ratio"], row["confidence"], row["seen_edge"]
    found = {
        "area": abs(log(ratio)) / log(_MAX_AREA_RATIO) if isfinite(ratio) and ratio > 0 else 0.0,
        "position": row["offset_mm"] / _MAX_OFFSET_MM,
        "low_confidence": (1 - confidence) / (1 - _MIN_CONFIDENCE),
        "unclear_edge": (1 - seen) / (1 - _MIN_SEEN_EDGE),
    }
    return {kind: value for kind, value in found.items() if value > 0}
