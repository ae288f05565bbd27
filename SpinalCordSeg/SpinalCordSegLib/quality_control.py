"""Which slices a person should look at: a judgement of every slice from its features, with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import ceil, exp, hypot, isfinite, log
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SpinalCordSegLib.dicom import DicomSeries
from SpinalCordSegLib.errors import ConfigurationError, GeometryError
from SpinalCordSegLib.flags import Flag, case_flag, merge_flags
from SpinalCordSegLib.morphometry import CordMeasures, SliceMeasures
from SpinalCordSegLib.postprocessing import EDGE_MM, SURE, SteadiedSlice, SteadyCord
from SpinalCordSegLib.review import Review
from SpinalCordSegLib.volume import Volume, axial_slices, input_slice_index, to_canonical

# A table of what tells a failed slice from a good one: pure arrays, so that thresholds can be tuned on it.


_NEIGHBOURHOOD_MM = 15.0  # each way: under one vertebral level, in which a healthy cord changes by some 10 %
_FAR_MM = 40.0  # each way: what grows over several levels moves all near neighbours with it
_NEIGHBOURS = 6  # at least, however thick the slices are
_PROBABILITY_REACH_MM = 5.0  # what the mask may have missed; further off lies other anatomy
_UNCERTAIN = (0.1, 0.9)


@dataclass(frozen=True, eq=False)
class SliceFeatures:
    """One value a slice, in the order of the measured slices; NaN in gaps and where it cannot be known.

    ``area_mm2``: at a right angle to the cord. ``area_ratio``, ``rl_ratio``, ``ap_ratio``: area and diameters over
    the median of the neighbours within 15 mm (at least six), the slice itself left out; ``far_area_ratio``: area over
    that within 40 mm. ``offset_mm``: distance of the centroid from the straight line through those of the neighbours.
    ``ap_over_rl``, ``solidity``. ``end_mm``: distance from the nearer end of the cord found, ``neighbours_each_way``:
    the fewer of those below and above.
    From a probability map: ``expected_dice`` of the mask if the probability is calibrated; ``mean_probability``
    inside; ``uncertain_mm``: width of the band of 0.1 to 0.9 along the outline.
    """

    canonical_slice: NDArray[np.int64]
    area_mm2: NDArray[np.float64]
    area_ratio: NDArray[np.float64]
    far_area_ratio: NDArray[np.float64]
    rl_ratio: NDArray[np.float64]
    ap_ratio: NDArray[np.float64]
    offset_mm: NDArray[np.float64]
    ap_over_rl: NDArray[np.float64]
    solidity: NDArray[np.float64]
    end_mm: NDArray[np.float64]
    neighbours_each_way: NDArray[np.int64]
    expected_dice: NDArray[np.float64]
    mean_probability: NDArray[np.float64]
    uncertain_mm: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.canonical_slice)

    def row(self, index: int) -> dict[str, float]:
        """The values of one slice by name."""
        return {field.name: float(getattr(self, field.name)[index]) for field in fields(self)}


def slice_features(mask: Volume, probability: Volume | None, measures: CordMeasures) -> SliceFeatures:
    """The table for a cleaned ``mask`` (bool) and its ``measures``; areas come from the mask, not from the measures.

    ``probability``: 0..1 on the same grid, or None (three columns of NaN). No cord: a table of no rows.
    Raises GeometryError when the probability lies on another grid.
    """
    if probability is not None and not probability.same_grid(mask):
        raise GeometryError(f"the probability map (shape {probability.shape}) lies on another grid than the mask")
    canonical = to_canonical(mask)
    items = measures.slices
    k = np.array([item.canonical_slice for item in items], dtype=np.int64)
    z_mm: NDArray[np.float64] = np.asarray(k * canonical.spacing_mm[2], dtype=np.float64)
    area, centroids = _area_and_centroid(canonical, items)
    rl, ap, solidity = (_column(items, name) for name in ("rl_mm", "ap_ellipse_mm", "solidity"))
    near, far = (
        [_neighbours(z_mm, area, at, reach) for at in range(len(items))] for reach in (_NEIGHBOURHOOD_MM, _FAR_MM)
    )
    chance = np.full((3, len(items)), np.nan)
    if probability is not None:
        chances = to_canonical(probability)
        for at in np.flatnonzero(area > 0):
            chance[:, at] = _confidence(
                canonical.voxels[:, :, k[at]], chances.voxels[:, :, k[at]], canonical.spacing_mm
            )
    return SliceFeatures(
        canonical_slice=k,
        area_mm2=area,
        area_ratio=_ratio(area, near),
        far_area_ratio=_ratio(area, far),
        rl_ratio=_ratio(rl, near),
        ap_ratio=_ratio(ap, near),
        offset_mm=_offsets(z_mm, centroids, near),
        ap_over_rl=ap / rl,
        solidity=solidity,
        end_mm=np.minimum(z_mm - z_mm[:1], z_mm[-1:] - z_mm),
        neighbours_each_way=np.array([min((n < at).sum(), (n > at).sum()) for at, n in enumerate(near)], np.int64),
        expected_dice=chance[0],
        mean_probability=chance[1],
        uncertain_mm=chance[2],
    )


def _column(items: tuple[SliceMeasures, ...], name: str) -> NDArray[np.float64]:
    return np.array([getattr(item, name) for item in items], dtype=np.float64)


def _area_and_centroid(
    canonical: Volume, items: tuple[SliceMeasures, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Area at a right angle to the cord (mm²) and centroid (mm) per slice, NaN in gaps."""
    x_mm, y_mm, slice_mm = canonical.spacing_mm
    area, centroids = np.full(len(items), np.nan), np.full((len(items), 2), np.nan)
    used = np.any(canonical.voxels, axis=2)
    rows, columns = np.flatnonzero(np.any(used, axis=1)), np.flatnonzero(np.any(used, axis=0))
    for at, item in enumerate(items):
        if not item.is_gap:
            pixels = canonical.voxels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1, item.canonical_slice]
            x, y = np.nonzero(pixels)
            area[at] = len(x) * x_mm * y_mm * slice_mm / item.length_mm
            centroids[at] = (x.mean() + rows[0]) * x_mm, (y.mean() + columns[0]) * y_mm
    return area, centroids


def _neighbours(z_mm: NDArray[np.float64], area: NDArray[np.float64], at: int, reach_mm: float) -> NDArray[np.int64]:
    """The slices to compare slice ``at`` with: all within reach, or the nearest six; none from gaps."""
    apart = np.abs(z_mm - z_mm[at])
    usable = np.isfinite(area)
    usable[at] = False
    within = np.flatnonzero(usable & (apart <= reach_mm))
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


def _confidence(
    pixels: NDArray[np.bool_], probability: NDArray[np.floating], spacing_mm: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Expected Dice 2·Σp(mask)/(|mask| + Σp), mean probability inside, and width of the uncertain band (mm)."""
    pixel_mm = spacing_mm[:2]
    x, y = np.nonzero(pixels)
    margin = [int(_PROBABILITY_REACH_MM / size) + 1 for size in pixel_mm]
    window = tuple(slice(max(0, c.min() - m), c.max() + m + 1) for c, m in zip((x, y), margin, strict=True))
    inside, chance = pixels[window], probability[window].astype(np.float64)
    near = ndimage.distance_transform_edt(~inside, sampling=pixel_mm) <= _PROBABILITY_REACH_MM
    total, found = chance[near].sum(), chance[inside].sum()
    pixel_mm2 = pixel_mm[0] * pixel_mm[1]
    uncertain_mm2 = np.count_nonzero(near & (chance > _UNCERTAIN[0]) & (chance < _UNCERTAIN[1])) * pixel_mm2
    outline_mm = 2 * np.sqrt(np.pi * len(x) * pixel_mm2)  # of the disc of equal area
    return float(2 * found / (len(x) + total)), float(found / len(x)), float(uncertain_mm2 / outline_mm)


UNCLEAR_EDGES = "unclear_edges"
_EACH_WAY = 3  # a slice with fewer neighbours on one side lies at an end: there is no trend to hold it against


@dataclass(frozen=True)
class QualityConfig:
    """Thresholds; a slice beyond any of them is flagged.

    Set on 1,593 slices with hand-drawn masks (1 mm, and 0.4-0.8 mm × 2.5-5 mm), of which they flag under 1 %, and on
    the same masks spoilt in runs of 1-12 mm by touching structures, growth, loss and shifts: of the slices with Dice
    under 0.8 they flag 95 % or more of each kind (but 87 % of shifts at thick slices), and up to 7 % of the good ones
    beside a touching structure. Ranges below are the 1st to 99th percentile of the hand-drawn slices. Of the limits
    on probability, min_expected_dice was set with the starter model 0.5.0 on 26 simulated necks with touching
    structures, of a seed that it is not judged on, as the highest that flags no more than 4 % of the good slices.
    max_shares was set with 0.6.0 on 180 such necks of three other seeds, as the lowest that keeps to that: all flags
    together mark 93 % of 100 slices with Dice under 0.8 and 3.4 % of 3,993 good ones; 65 and 2.2 % without it.
    max_steadied_ratio was set on the same necks with 0.8.0, likewise: all flags mark 22 of 22 slices with Dice under
    0.8 and 3.6 % of 4,088 good ones; 19 of 22 and 2.8 % without it.
    """

    max_area_ratio: float = 1.22  # over the neighbours' median; 0.91-1.10 (the enlargement of C4-C6 included)
    min_area_ratio: float = 0.80
    max_diameter_ratio: float = 1.18  # RL and AP likewise, and the inverse; 0.90-1.09
    end_allowance: float = 1.10  # at the ends all neighbours lie on one side: area 0.76-1.26, diameters 0.86-1.16
    max_offset_mm: float = 1.2  # centroid off the line through the neighbours': up to 1.0 mm at 1 mm slices
    offset_per_mm: float = 0.1  # and more per mm of slice distance: the cord bends between the slices
    end_offset_allowance: float = 1.5  # that line is extrapolated at the ends
    min_solidity: float = 0.93  # for pixels of no size; 0.94 at 0.5 mm
    solidity_per_mm: float = 0.07  # staircases lower it: 0.87 at 1 mm
    min_ap_over_rl: float = 0.42  # 0.44-0.89, flattened cords included
    max_ap_over_rl: float = 1.10
    min_area_mm2: float = 20.0  # the thoracic cord of a small person has 26
    max_area_mm2: float = 150.0  # the cord has up to 110, the medulla above it up to 140
    min_expected_dice: float = 0.885  # by the probability map; logistic edges of 0.5 mm give 0.93, of 1.5 mm 0.79
    min_mean_probability: float = SURE  # inside the mask; the same edges give 0.95 and 0.84
    below_end_mm: float = 20.0  # slices below the end of the mask to look at; a whole spine's cord does end
    far_area_ratio: float = 1.4  # over the median within 40 mm, or the inverse: no limit by itself, levels differ
    max_shares: float = 1.6  # of the limits of area (near and far), place and probability that a slice uses up together
    max_steadied_ratio: float = 1.16  # the area before and after its outline was moved to where the neighbours say
    max_unclear_share: float = 0.5  # of slices without a sharp edge: above, the mean area of simulated people is 6 %
    # off (RMS, 34 of seeds 7 and 8), 2 % below (206)
    max_doubtful_share: float = 0.3  # more doubtful slices than that: the neighbours are no reference either

    def __post_init__(self) -> None:
        for low, high in (
            (self.min_area_ratio, self.max_area_ratio),
            (self.min_ap_over_rl, self.max_ap_over_rl),
            (self.min_area_mm2, self.max_area_mm2),
            (1.0, self.max_diameter_ratio),
        ):
            if not 0 <= low < high:
                raise ConfigurationError(f"quality limits {low} and {high}: expected the lower one first")


@dataclass(frozen=True, eq=False)
class _Doubt:
    """One kind of doubt: which slices (bool), and the sentence with the slice's own values."""

    kind: str
    slices: NDArray[np.bool_]
    message: str


def judge_slices(
    mask: Volume,
    probability: Volume | None,
    measures: CordMeasures,
    config: QualityConfig | None = None,
    features: SliceFeatures | None = None,
    steady: SteadyCord | None = None,
) -> list[Flag]:
    """Flags of the slices to look at, and of the case where they are many; those of ``measures`` are among them.

    ``mask``: cleaned, bool. ``probability``: 0..1 on its grid, or None for a mask made elsewhere. ``features``: of
    slice_features for the same three, where they are known already. ``steady``: of steady_area. Kinds, besides the
    mask's own (gap, several_components, border_contact, ...): area_jump, position_jump, shape, implausible_area,
    low_confidence, cord_end (an area jump among the outermost slices), doubts_add_up (area, place and probability all
    near their limits), unclear_edge (the area is the neighbours' rather than the slice's own), below_end (a slice
    without cord below the lowest that has some, though the network looked there); of the case many_doubts and
    unclear_edges (the network sees no sharp edge in most slices). No cord: only the mask's own.

    Raises GeometryError when the probability lies on another grid.
    """
    if features is None:
        features = slice_features(mask, probability, measures)
    by_slice = {item.canonical_slice: item.slice for item in measures.slices}
    found = [
        Flag(by_slice[canonical_slice], canonical_slice, kind, message)
        for canonical_slice, kind, message in judge_features(features, to_canonical(mask).spacing_mm, config)
    ]
    config = config or QualityConfig()
    case = []
    if steady is not None:
        found += _unclear_edges(mask, steady.slices, config)
        case = _unclear_case(steady.edges_mm, config)
    case = [*_judge_case(features, found, config), *case]
    below = [] if probability is None else _below_the_end(mask, probability, config)
    return list(merge_flags(measures.flags, case, found, below))


def _unclear_edges(mask: Volume, steadied: Sequence[SteadiedSlice], config: QualityConfig) -> list[Flag]:
    """The slices whose area is more their neighbours' than their own."""
    text = "the edge is {:.1f} mm wide: the outline was moved until the area follows the other slices',"
    text += " {:.1f} → {:.1f} mm²"
    return [
        Flag(
            input_slice_index(mask, one.canonical_slice),
            one.canonical_slice,
            "unclear_edge",
            text.format(one.edge_mm, one.before_mm2, one.after_mm2),
        )
        for one in steadied
        if abs(log(one.after_mm2 / one.before_mm2)) > log(config.max_steadied_ratio)
    ]


def _unclear_case(edges_mm: Sequence[float], config: QualityConfig) -> list[Flag]:
    """A doubt of the whole image: where no slice has an edge, no slice can tell another where it is."""
    unclear = sum(edge > EDGE_MM for edge in edges_mm)
    if not edges_mm or unclear < config.max_unclear_share * len(edges_mm):
        return []
    text = (
        f"in {unclear} of {len(edges_mm)} slices the network sees no sharp edge of the cord (over {EDGE_MM:g} mm wide)"
    )
    return [case_flag(UNCLEAR_EDGES, f"{text}: the mean area may be off by some 6 %, and differently at another visit")]


def _below_the_end(mask: Volume, probability: Volume, config: QualityConfig) -> list[Flag]:
    """Above, a cord ends at the foramen magnum; below, it ends in no image of the neck, but leaves it.

    Slices of probability 0 were not computed: the network's is never exactly 0.
    """
    cord, chances = to_canonical(mask), to_canonical(probability)
    with_cord = np.flatnonzero(cord.voxels.any(axis=(0, 1)))
    if not with_cord.size:
        return []
    lowest = int(with_cord[0])
    first = max(0, lowest - ceil(config.below_end_mm / cord.spacing_mm[2]))
    text = "no cord found here, but {:.0f} mm above: a cord goes on to the lower edge of an image of the neck"
    return [
        Flag(input_slice_index(mask, k), k, "below_end", text.format((lowest - k) * cord.spacing_mm[2]))
        for k in range(first, lowest)
        if chances.voxels[:, :, k].max() > 0
    ]


def judge_features(
    features: SliceFeatures, spacing_mm: tuple[float, float, float], config: QualityConfig | None = None
) -> list[tuple[int, str, str]]:
    """(canonical slice, kind, message) of every doubt; a pure function of the table. ``spacing_mm``: R, A, S."""
    config = config or QualityConfig()
    doubts = [*_against_neighbours(features, spacing_mm, config), *_by_itself(features, spacing_mm, config)]
    doubts.append(_together(features, spacing_mm, config, ~np.any([doubt.slices for doubt in doubts], axis=0)))
    return [
        (int(features.canonical_slice[at]), doubt.kind, doubt.message.format(**features.row(at)))
        for at in range(len(features))
        for doubt in doubts
        if doubt.slices[at]
    ]


def _at_end(f: SliceFeatures) -> NDArray[np.bool_]:
    return np.asarray(f.neighbours_each_way < _EACH_WAY)


def _reach_mm(f: SliceFeatures, spacing_mm: tuple[float, float, float], c: QualityConfig) -> NDArray[np.float64]:
    """How far a centre may lie off the line of its neighbours."""
    return (c.max_offset_mm + c.offset_per_mm * spacing_mm[2]) * np.where(_at_end(f), c.end_offset_allowance, 1.0)


def _against_neighbours(f: SliceFeatures, spacing_mm: tuple[float, float, float], c: QualityConfig) -> list[_Doubt]:
    at_end = _at_end(f)
    allowance = np.where(at_end, c.end_allowance, 1.0)
    jump = (f.area_ratio > c.max_area_ratio * allowance) | (f.area_ratio < c.min_area_ratio / allowance)
    wide = c.max_diameter_ratio * allowance
    diameters = (np.fmax(f.rl_ratio, f.ap_ratio) > wide) | (np.fmin(f.rl_ratio, f.ap_ratio) < 1 / wide)
    off = f.offset_mm > _reach_mm(f, spacing_mm, c)
    return [
        _Doubt("area_jump", jump & ~at_end, "area {area_mm2:.1f} mm² is {area_ratio:.2f} of its neighbours' median"),
        _Doubt("cord_end", jump & at_end, "area {area_mm2:.1f} mm² is {area_ratio:.2f} of the next ones, at the end"),
        _Doubt("shape", diameters, "diameters RL {rl_ratio:.2f} and AP {ap_ratio:.2f} of the neighbours' medians"),
        _Doubt("position_jump", off, "centre {offset_mm:.1f} mm off the line of its neighbours"),
    ]


def _together(
    f: SliceFeatures, spacing_mm: tuple[float, float, float], c: QualityConfig, within: NDArray[np.bool_]
) -> _Doubt:
    """A structure that grows onto the cord over some slices moves each value a little, and its neighbours' with it.

    Area, near and far, place and probability as shares of their limits, added, of the slices ``within`` all limits.
    Without a probability no slice is doubted: it is the share that tells a bend of the cord from a failure.
    """
    allowance = np.where(_at_end(f), c.end_allowance, 1.0)
    shares = (
        np.abs(np.log(f.area_ratio)) / np.log(c.max_area_ratio * allowance)
        + np.abs(np.log(f.far_area_ratio)) / np.log(c.far_area_ratio)
        + f.offset_mm / _reach_mm(f, spacing_mm, c)
        + (1 - f.mean_probability) / (1 - c.min_mean_probability)
    )
    text = "area {area_ratio:.2f} of the next slices' and {far_area_ratio:.2f} of those within 40 mm, centre"
    text += " {offset_mm:.1f} mm off, probability {mean_probability:.2f}: each within its limit, not together"
    return _Doubt("doubts_add_up", within & (shares > c.max_shares), text)


def _by_itself(f: SliceFeatures, spacing_mm: tuple[float, float, float], c: QualityConfig) -> list[_Doubt]:
    solidity = c.min_solidity - c.solidity_per_mm * max(spacing_mm[:2])
    form = (f.solidity < solidity) | (f.ap_over_rl < c.min_ap_over_rl) | (f.ap_over_rl > c.max_ap_over_rl)
    area = (f.area_mm2 < c.min_area_mm2) | (f.area_mm2 > c.max_area_mm2)
    unsure = (f.expected_dice < c.min_expected_dice) | (f.mean_probability < c.min_mean_probability)
    return [
        _Doubt("shape", form, "outline unlike a cord: AP/RL {ap_over_rl:.2f}, solidity {solidity:.2f}"),
        _Doubt("implausible_area", area, "area {area_mm2:.1f} mm² is outside what a cord can have"),
        _Doubt(
            "low_confidence",
            unsure,
            "the network was unsure: expected Dice {expected_dice:.2f}, mean probability {mean_probability:.2f}",
        ),
    ]


def _judge_case(features: SliceFeatures, found: list[Flag], config: QualityConfig) -> list[Flag]:
    doubtful = len({flag.canonical_slice for flag in found})
    measured = int(np.isfinite(features.area_mm2).sum())
    if not measured or doubtful <= max(1, config.max_doubtful_share * measured):
        return []
    return [case_flag("many_doubts", f"{doubtful} of {measured} slices are doubtful: look at the whole mask")]


# Whether an image is of the kind the method was made for; doubts are flags, not refusals.


COARSE_LEFT_RIGHT = "coarse_left_right"  # the kind for which no cross-sectional area may be reported
HEADER_KINDS = ("slice_gap", "two_dimensional", "contrast_agent", "not_t1w", "not_mr", "body_part")  # not known without
PIXEL_KINDS = ("no_neck",)  # not known without the image's own voxels: a mask on its grid does not tell
MAX_LEFT_RIGHT_MM = 1.5
_SHORTEST_VIEW_MM = 20.0  # along the cord; less than two vertebrae
_NARROWEST_VIEW_MM = 25.0  # in plane; the canal itself is some 20-25 mm wide

# Rules of thumb for "T1-weighted" from clinical ranges: spin echo TR ≤ 1000 and TE ≤ 40 ms (inversion-prepared ones
# have a longer TR and TI 300-1500 ms), gradient echo TE ≤ 12 ms.
_MAX_TE_SPIN_ECHO_MS = 40.0
_MAX_TE_GRADIENT_ECHO_MS = 12.0
_MAX_TR_SPIN_ECHO_MS = 1000.0
_T1_INVERSION_MS = (300.0, 1500.0)

_CONTRAST_WORDS = re.compile(
    r"(\+\s*(c|gd|gad\w*|km)\b|\b(post|mit|with|c)[\s_-]*(contrast|gad\w*|gd|km)\b|\+\s*$)", re.I
)
_OTHER_BODY_PARTS = re.compile(
    r"LSPINE|LUMBAR|SACR|ABDOM|PELVI|KNEE|HIP|SHOULDER|ANKLE|FOOT|HAND|WRIST|BREAST|HEART|LIVER"
)

# A head is larger than a neck in an axial slice, and the cord begins some 13-15 cm below the vertex.
_HEAD_AREA_MM2 = 15_000.0
_VERTEX_TO_CORD_MM = 145.0


def judge_suitability(volume: Volume, dicom: DicomSeries | None = None) -> list[Flag]:
    """Doubts about the whole image, none about single slices; [] for what the method was made for.

    Kinds: coarse_left_right (no CSA may be reported), short_view, narrow_view, PIXEL_KINDS, and with a DICOM header
    HEADER_KINDS.
    """
    flags = [*_judge_grid(volume), *_judge_neck(volume)]
    if dicom is not None:
        flags += [*_judge_slices(volume, dicom), *_judge_sequence(dicom), *_judge_subject(dicom)]
    return flags


def known_facts(dicom: DicomSeries | None, flags: Iterable[Flag]) -> dict[str, bool | None]:
    """What a comparison with norms must know; None where no header tells.

    "t1w", "corrected_3d" (ImageType DIS3D), "contrast_agent". ``flags``: of judge_suitability for the same image.
    """
    if dicom is None:
        return {"t1w": None, "corrected_3d": None, "contrast_agent": None}
    kinds = {flag.kind for flag in flags}
    corrected = True if "DIS3D" in dicom.image_type else False if {"DIS2D", "ND"} & set(dicom.image_type) else None
    described = dicom.modality == "MR" and bool(dicom.sequence) and dicom.echo_time_ms is not None
    return {
        "t1w": False if kinds & {"not_t1w", "not_mr"} else True if described else None,
        "corrected_3d": corrected,
        "contrast_agent": "contrast_agent" in kinds,
    }


def _judge_grid(volume: Volume) -> list[Flag]:
    canonical = to_canonical(volume)
    extent_mm = np.array(canonical.shape) * canonical.spacing_mm
    flags = []
    left_right_mm = canonical.spacing_mm[0]
    if left_right_mm > MAX_LEFT_RIGHT_MM:
        flags.append(
            case_flag(
                COARSE_LEFT_RIGHT,
                f"voxels are {left_right_mm:.2f} mm wide from left to right, above {MAX_LEFT_RIGHT_MM} mm:"
                " areas and diameters of the cord would be wrong and are not reported",
            )
        )
    if extent_mm[2] < _SHORTEST_VIEW_MM:
        flags.append(case_flag("short_view", f"only {extent_mm[2]:.1f} mm along the cord are in view"))
    if extent_mm[:2].min() < _NARROWEST_VIEW_MM:
        message = f"only {extent_mm[0]:.0f}×{extent_mm[1]:.0f} mm are in view around the cord (left-right × front-back)"
        flags.append(case_flag("narrow_view", message))
    return flags


def _judge_neck(volume: Volume) -> list[Flag]:
    """A head scan that ends above the neck: air above the vertex, and too short a way down from there.

    Only where the vertex itself is seen can this be known; a crop or a neck slab is never flagged.
    """
    slices = axial_slices(volume)
    area_mm2 = _tissue_area_mm2(slices.pixels, slices.pixel_mm)
    if area_mm2.max(initial=0.0) < _HEAD_AREA_MM2 or area_mm2[-1] > 0.05 * area_mm2.max():
        return []
    vertex = int(np.flatnonzero(area_mm2 > 0.1 * area_mm2.max())[-1])
    below_mm = (vertex + 1) * slices.slice_mm
    if below_mm >= _VERTEX_TO_CORD_MM:
        return []
    message = f"the image ends {below_mm:.0f} mm below the top of the head: the neck is hardly or not in view"
    return [case_flag("no_neck", message)]


def _tissue_area_mm2(pixels: NDArray, pixel_mm: tuple[float, float]) -> NDArray[np.float64]:
    """Area above a fifth of the bright tissue's level, per slice; coarse steps in plane are enough."""
    step = [max(1, round(4.0 / spacing)) for spacing in pixel_mm]
    coarse = np.asarray(pixels[:, :: step[0], :: step[1]], dtype=np.float32)
    low, high = np.percentile(coarse, [1, 98])
    tissue = coarse > low + 0.2 * (high - low)
    return tissue.sum(axis=(1, 2)) * (pixel_mm[0] * step[0] * pixel_mm[1] * step[1])


def _judge_slices(volume: Volume, dicom: DicomSeries) -> list[Flag]:
    flags = []
    step_mm, thickness_mm = volume.spacing_mm[2], dicom.slice_thickness_mm
    if thickness_mm and volume.shape[2] > 1 and step_mm > 1.02 * thickness_mm + 0.01:
        message = (
            f"there is a gap between slices: {thickness_mm:.2f} mm thick, {step_mm:.2f} mm apart; volume is estimated"
        )
        flags.append(case_flag("slice_gap", message))
    if dicom.dimension == "2D":
        message = "acquired as 2D slices; the method was made for 3D acquisitions"
        flags.append(case_flag("two_dimensional", message))
    return flags


def _judge_sequence(dicom: DicomSeries) -> list[Flag]:
    flags = []
    if dicom.modality and dicom.modality != "MR":
        flags.append(case_flag("not_mr", f"the modality is {dicom.modality}; the method was made for MR"))
        return flags
    if dicom.contrast_agent or _CONTRAST_WORDS.search(dicom.description):
        source = "header" if dicom.contrast_agent else "series description"
        flags.append(case_flag("contrast_agent", f"a contrast agent was given (DICOM {source}); areas may differ"))
    reason = _why_not_t1w(dicom)
    if reason:
        flags.append(case_flag("not_t1w", f"probably not T1-weighted: {reason}; areas from other contrasts differ"))
    return flags


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


def _judge_subject(dicom: DicomSeries) -> list[Flag]:
    if _OTHER_BODY_PARTS.search(dicom.body_part):
        return [case_flag("body_part", f"the DICOM header names the body part {dicom.body_part}, not the neck")]
    return []


# Which slice to look at first: the flagged slices ranked by how far they lie beyond what good slices do.
#
# ``score`` is a rank, not a probability: it grows with the distance of every feature from its limit (QualityConfig),
# and features that agree add up. The weights were set on hand-drawn masks with slices spoilt at random.


# What a flag alone says, where no feature measures it: 1 is "just beyond a limit".
_WEIGHTS = {
    "gap": 3.0,
    "below_end": 2.5,
    "border_contact": 2.5,
    "several_components": 1.5,
    "steep_cut": 0.7,
    "area_jump": 1.3,
    "cord_end": 1.0,
    "position_jump": 1.3,
    "shape": 0.7,
    "implausible_area": 3.0,
    "low_confidence": 1.5,
    "doubts_add_up": 0.7,
    "unclear_edge": 1.3,
}
_OTHER_KIND = 0.5
_HALF = 2.0  # this far beyond the limits a score is about one half
_BENT = 0.25
_MOST = 6.0  # of one feature: no single one makes the others unheard


@dataclass(frozen=True)
class SliceDoubt:
    """A flagged slice. ``score``: 0..1, only its order means something. ``kinds``: of its flags; ``message``: theirs.
    ``slice``: of the input; ``canonical_slice``: counted from inferior, -1 where an old report does not tell."""

    slice: int
    canonical_slice: int
    score: float
    kinds: tuple[str, ...]
    message: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"kinds": list(self.kinds)}


def rank_doubts(
    flags: Iterable[Flag], features: SliceFeatures | None = None, config: QualityConfig | None = None
) -> tuple[SliceDoubt, ...]:
    """The flagged slices, the most doubtful first; equal ones from inferior to superior. No flagged slice: ().

    ``features`` of the same mask say how far beyond the limits each lies; without them only the kinds of flag count.
    """
    by_slice: dict[int, list[Flag]] = {}
    for flag in flags:
        if flag.slice is not None:
            by_slice.setdefault(flag.slice, []).append(flag)
    rows = {} if features is None else {int(k): at for at, k in enumerate(features.canonical_slice)}
    found = []
    for number, own in by_slice.items():
        canonical = -1 if own[0].canonical_slice is None else own[0].canonical_slice
        excess = {flag.kind: _WEIGHTS.get(flag.kind, _OTHER_KIND) for flag in own}
        if features is not None and canonical in rows:
            excess |= _measured(features.row(rows[canonical]), config or QualityConfig())
        if "steep_cut" in excess and "area_jump" in excess:
            excess["area_jump"] *= _BENT  # the tilt that its area hangs on may be bent by a neighbour
        kinds, messages = tuple(dict.fromkeys(f.kind for f in own)), dict.fromkeys(f.message for f in own)
        found.append(SliceDoubt(number, canonical, _score(excess.values()), kinds, "; ".join(messages)))
    return tuple(sorted(found, key=lambda one: (-one.score, one.canonical_slice, one.slice)))


def queue_of_report(content: Mapping[str, Any]) -> tuple[SliceDoubt, ...]:
    """The ranked slices of a report.json; of an older one, by the kinds of its flags."""
    stored = content.get("review_queue")
    if isinstance(stored, list):
        return tuple(
            SliceDoubt(
                int(one["slice"]),
                int(one["canonical_slice"]),
                float(one["score"]),
                tuple(map(str, one["kinds"])),
                str(one["message"]),
            )
            for one in stored
            if isinstance(one, dict) and {"slice", "canonical_slice", "score", "kinds", "message"} <= one.keys()
        )
    flags = content.get("flags") or ()
    return rank_doubts(
        Flag(int(flag["slice"]), None, str(flag["kind"]), str(flag["message"]))
        for flag in flags
        if flag.get("slice") is not None
    )


def unseen(queue: Sequence[SliceDoubt], review: Review) -> tuple[SliceDoubt, ...]:
    """Those nobody has looked at yet, in the same order."""
    return tuple(one for one in queue if one.slice not in review.seen)


def _measured(row: Mapping[str, float], c: QualityConfig) -> dict[str, float]:
    """How far beyond its limit each feature lies, 1 at the limit; what is not known is left out.

    The diameters' ratios are left out: on spoilt masks they ranked no better than chance beside area and position.
    """
    found = {
        "area_jump": _off(row["area_ratio"], log(c.max_area_ratio)),
        "position_jump": _known(row["offset_mm"] / c.max_offset_mm),
        "low_confidence": max(
            _known((1 - row["expected_dice"]) / (1 - c.min_expected_dice)),
            _known((1 - row["mean_probability"]) / (1 - c.min_mean_probability)),
        ),
    }
    return {kind: value for kind, value in found.items() if value > 0}


def _off(ratio: float, limit: float) -> float:
    return abs(log(ratio)) / limit if isfinite(ratio) and ratio > 0 else 0.0


def _known(value: float) -> float:
    return max(0.0, value) if isfinite(value) else 0.0


def _score(excess: Iterable[float]) -> float:
    total = hypot(*(min(value, _MOST) for value in excess))
    return round(1 - exp(-total * log(2) / _HALF), 4)
