"""Which slices a person should look at: a judgement of every slice from its features, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log

import numpy as np
from numpy.typing import NDArray

from SpinalCordSegLib.doubts.slice_features import SliceFeatures, slice_features
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.flags import Flag, case_flag, merge_flags
from SpinalCordSegLib.images.volume import Volume, input_slice_index, to_canonical
from SpinalCordSegLib.inference.steady_area import EDGE_MM, SteadiedSlice, SteadyCord
from SpinalCordSegLib.inference.track import SURE
from SpinalCordSegLib.measurement.measures import CordMeasures

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
