"""Failures that must be flagged and natural cords that must not; images that the method was not made for; ranking."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from SpinalCordSegLib.dicom import DicomSeries, find_series
from SpinalCordSegLib.flags import Flag, case_flag, merge_flags
from SpinalCordSegLib.image_io import read_labels
from SpinalCordSegLib.morphometry import measure
from SpinalCordSegLib.postprocessing import clean
from SpinalCordSegLib.quality_control import BELOW_END_MM, check_image, judge_slices, rank_slices, slice_features
from SpinalCordSegLib.volume import Volume

THIN, THICK = (0.8, 0.6, 1.0), (0.5, 0.7, 5.0)


def _cord(spacing: tuple[float, float, float], tilt: float = 0.2) -> np.ndarray:
    """An elliptic cord over 100 mm that leans, bends and swells by 25 % in the middle (the enlargement)."""
    count = [round(mm / size) for mm, size in zip((60.0, 70.0, 100.0), spacing, strict=True)]
    x, y, z = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * s for n, s in zip(count, spacing, strict=True)), indexing="ij"
    )
    swell = np.sqrt(1 + 0.25 * np.exp(-((z / 20) ** 2)))
    bow = 4 * np.cos(np.pi * z / 120)
    return (x / (6 * swell)) ** 2 + ((y - tilt * z - bow) / (4 * swell)) ** 2 <= 1


def _judge(
    voxels: np.ndarray,
    spacing: tuple[float, float, float],
    probability: np.ndarray | None = None,
    **evidence: np.ndarray,
) -> dict:
    """Kinds of flags by canonical slice (None: the case). ``evidence``: of the network, a value a slice."""
    grid = np.diag([*spacing, 1.0])
    cleaned = replace(clean(Volume.from_ijk(voxels, grid)), evidence=evidence)
    chance = None if probability is None else Volume.from_ijk(probability, grid)
    found: dict[int | None, set[str]] = {}
    measures = measure(cleaned)
    features = slice_features(cleaned.mask, measures)
    for flag in (*measures.flags, *judge_slices(cleaned.mask, chance, features)):
        found.setdefault(flag.canonical_slice, set()).add(flag.kind)
    return found


@pytest.mark.parametrize("spacing", [THIN, THICK])
def test_a_natural_cord_with_its_enlargement_raises_nothing(spacing: tuple[float, float, float]) -> None:
    assert _judge(_cord(spacing), spacing) == {}


def test_a_cord_that_ends_above_the_lower_edge_is_flagged_below_its_end() -> None:
    voxels = _cord(THICK)
    missing, reach = round(30 / THICK[2]), round(BELOW_END_MM / THICK[2])
    voxels[:, :, :missing] = False
    looked_at = np.where(voxels, 0.99, 0.001).astype(np.float32)
    found = {k for k, kinds in _judge(voxels, THICK, looked_at).items() if "cord_end" in kinds}
    assert found == set(range(missing - reach, missing))
    looked_at[:, :, : missing - 1] = 0  # the network was told to look at the rest only
    found = {k for k, kinds in _judge(voxels, THICK, looked_at).items() if "cord_end" in kinds}
    assert found == {missing - 1}
    assert not any("cord_end" in kinds for kinds in _judge(voxels, THICK).values())  # a mask made elsewhere
    upside_down = Volume.from_ijk(voxels[:, :, ::-1].copy(), np.diag([THICK[0], THICK[1], -THICK[2], 1.0]))
    cleaned = clean(upside_down)
    probability = upside_down.with_ijk(looked_at[:, :, ::-1].copy())
    flags = judge_slices(cleaned.mask, probability, slice_features(cleaned.mask, measure(cleaned)))
    (below,) = (flag for flag in flags if flag.kind == "cord_end")
    assert (below.slice, below.canonical_slice) == (voxels.shape[2] - missing, missing - 1)


@pytest.mark.parametrize(("spacing", "run"), [(THIN, 1), (THIN, 6), (THICK, 1), (THICK, 2)])
def test_a_touching_structure_of_like_intensity_is_flagged(spacing: tuple[float, float, float], run: int) -> None:
    voxels = _cord(spacing)
    first = voxels.shape[2] // 2 + 3
    for k in range(first, first + run):
        i, j = np.nonzero(voxels[:, :, k])
        x, y = np.ogrid[: voxels.shape[0], : voxels.shape[1]]
        front_mm = j.max() * spacing[1] + 3
        voxels[:, :, k] |= np.hypot((x - i.mean()) * spacing[0], y * spacing[1] - front_mm) <= 4.5
    found = _judge(voxels, spacing)
    spoilt = set(range(first, first + run))
    assert spoilt <= set(found)
    assert all(found[k] & {"area", "shape", "position"} for k in spoilt)
    assert len(set(found) - spoilt) <= 0.1 * voxels.shape[2]


def test_lost_half_grown_and_shifted_slices_are_flagged() -> None:
    voxels = _cord(THIN)
    middle = int(np.nonzero(voxels[:, :, 30])[0].mean())
    voxels[middle:, :, 30] = False
    voxels[:, :, 50] = ndimage.binary_dilation(voxels[:, :, 50], iterations=2)
    voxels[:, :, 70] = np.roll(voxels[:, :, 70], 4, axis=0)
    found = _judge(voxels, THIN)
    assert {"area", "shape", "position"} <= found[30]
    assert {"area", "shape"} <= found[50] and "position" in found[70]
    # A slice far off the line bends the centreline, and with it the areas beside it: those may be flagged too.
    assert set(found) <= {29, 30, 31, 50, 69, 70, 71}


def _evidence(voxels: np.ndarray, **changed: dict[int, float]) -> dict[str, np.ndarray]:
    """What a sure network and a clear image say of every slice, but for what is ``changed``."""
    n = voxels.shape[2]
    area = voxels.sum(axis=(0, 1)) * THICK[0] * THICK[1]
    found = {"network_area_mm2": area, "confidence": np.full(n, 0.95), "seen_edge": np.ones(n), "imputed": np.zeros(n)}
    for name, values in changed.items():
        found[name] = found[name].copy()
        for k, value in values.items():
            found[name][k] = value
    return found | {"imputed": found["imputed"].astype(np.int64)}


def test_what_the_network_drew_is_judged_by_certainty_edge_and_area() -> None:
    voxels = _cord(THICK)
    area = float(voxels[:, :, 9].sum()) * THICK[0] * THICK[1]
    changed = {
        "confidence": {3: 0.84, 4: 0.86},
        "seen_edge": {6: 0.4, 7: 0.6, 9: 0.6, 11: 0.6},
        "network_area_mm2": {9: 1.2 * area, 13: 1.4 * area},
        "imputed": {9: 1},
    }
    found = _judge(voxels, THICK, **_evidence(voxels, **changed))
    assert found == {3: {"low_confidence"}, 6: {"unclear_edge"}, 9: {"unclear_edge"}, 13: {"area"}}
    shifted = voxels.copy()
    shifted[:, :, 8] = np.roll(shifted[:, :, 8], 6, axis=0)
    assert "position" in _judge(shifted, THICK)[8], "a mask made elsewhere is judged by its form"
    assert "position" not in _judge(shifted, THICK, **_evidence(voxels)).get(8, set())


def test_an_image_that_shows_hardly_any_edge_is_flagged_as_a_whole() -> None:
    voxels = _cord(THICK)
    for n, flagged in ((10, False), (11, True)):
        found = _judge(voxels, THICK, **_evidence(voxels, seen_edge=dict.fromkeys(range(n), 0.6)))
        assert found == ({None: {"unclear_edge"}} if flagged else {})


def test_empty_and_single_slice_masks_are_judged_without_failing() -> None:
    voxels = np.zeros((20, 22, 9), bool)
    assert _judge(voxels, THIN) == {None: {"empty"}}
    voxels[5:17, 5:17, 4] = True
    assert _judge(voxels, THIN, voxels.astype(np.float32)) == {None: {"tilt"}}


def test_at_most_five_percent_of_hand_drawn_slices_are_flagged(shared_data: Path) -> None:
    flagged = slices = 0
    for path in sorted((shared_data / "t2star_masked").glob("*_seg-manual.nii.gz")):
        cleaned = clean(read_labels(path))
        measures = measure(cleaned)
        flags = judge_slices(cleaned.mask, None, slice_features(cleaned.mask, measures))
        flagged += len({flag.canonical_slice for flag in flags} - {None})
        slices += measures.n_slices
    assert slices == 143 and flagged <= 0.05 * slices


def test_the_queue_begins_with_the_most_spoilt_slice() -> None:
    voxels = _cord(THIN, tilt=0.0)
    for k, steps in ((30, 1), (50, 3), (70, 2)):
        voxels[:, :, k] = ndimage.binary_dilation(voxels[:, :, k], iterations=steps)
    cleaned = clean(Volume.from_ijk(voxels, np.diag([*THIN, 1.0])))
    measures = measure(cleaned)
    features = slice_features(cleaned.mask, measures)
    queue = rank_slices(judge_slices(cleaned.mask, None, features), features)
    assert [one.canonical_slice for one in queue[:3]] == [50, 70, 30]
    assert queue[0].score > queue[1].score > queue[2].score


def grid(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Volume:
    return Volume.from_ijk(np.zeros(shape, np.float32), np.diag([*spacing_mm, 1.0]))


@pytest.fixture
def t1w(dicom: Any, tmp_path: Path) -> DicomSeries:
    """A 3D gradient echo as the method was made for."""
    series = find_series(dicom.write(tmp_path))
    return replace(
        series, dimension="3D", sequence="GR\\SP", echo_time_ms=2.7, repetition_time_ms=8.2, slice_thickness_mm=3.0
    )


def kinds(volume: Volume, dicom: DicomSeries | None = None) -> list[str]:
    return [flag.kind for flag in check_image(volume, dicom)]


NECK = grid((100, 100, 20), (1.0, 1.0, 3.0))


def test_what_the_method_was_made_for(t1w: DicomSeries) -> None:
    assert kinds(NECK) == []
    assert kinds(NECK, t1w) == []


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "expected"),
    [
        ((42, 76, 77), (1.0, 1.0, 1.0), []),  # a crop around the cord
        ((100, 100, 20), (1.5, 1.0, 3.0), []),
        ((100, 100, 20), (1.6, 1.0, 3.0), ["coarse_voxels"]),
    ],
)
def test_grids(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], expected: list[str]) -> None:
    assert kinds(grid(shape, spacing_mm)) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"contrast_agent": True}, ["acquisition"]),
        ({"description": "T1 MPRAGE post gd"}, ["acquisition"]),
        ({"description": "t1_tse_sag +C"}, ["acquisition"]),
        ({"description": "T1 post processing"}, []),
        ({"slice_thickness_mm": 2.5}, ["acquisition"]),
        ({"slice_thickness_mm": 6.0}, []),  # overlapping or interpolated slices
        ({"slice_thickness_mm": None}, []),
        ({"dimension": "2D"}, ["acquisition"]),
        ({"modality": "CT"}, ["acquisition"]),
        ({"body_part": "LSPINE"}, ["acquisition"]),
        ({"body_part": "HEAD"}, []),
    ],
)
def test_headers(t1w: DicomSeries, changes: dict[str, Any], expected: list[str]) -> None:
    assert kinds(NECK, replace(t1w, **changes)) == expected


@pytest.mark.parametrize(
    ("sequence", "tr_ms", "te_ms", "ti_ms", "t1_weighted"),
    [
        ("GR\\SP", 5.6, 1.7, None, True),
        ("GR\\MP", 2300.0, 2.98, 900.0, True),  # MPRAGE
        ("GR\\IR", 2000.0, 3.5, 1100.0, True),
        ("SE", 500.0, 10.0, None, True),
        ("SE\\IR", 2200.0, 10.0, 860.0, True),  # T1 FLAIR
        ("", None, None, None, True),  # nothing known, nothing claimed
        ("GR", 600.0, 15.0, None, False),  # T2*
        ("SE\\SK", 3500.0, 100.0, None, False),  # T2
        ("SE\\IR", 9000.0, 120.0, 2500.0, False),  # FLAIR
        ("SE", 2500.0, 15.0, None, False),  # proton density
        ("EP\\SK", 4000.0, 30.0, None, False),
    ],
)
def test_weighting(
    t1w: DicomSeries, sequence: str, tr_ms: float, te_ms: float, ti_ms: float, t1_weighted: bool
) -> None:
    changed = replace(t1w, sequence=sequence, repetition_time_ms=tr_ms, echo_time_ms=te_ms, inversion_time_ms=ti_ms)
    assert kinds(NECK, changed) == ([] if t1_weighted else ["acquisition"])


def test_flags_of_one_kind_on_a_slice_or_the_case_are_one_in_order_from_inferior() -> None:
    gap, jump = Flag(3, 7, "gap", "a"), Flag(8, 2, "area", "b")
    again = Flag(3, 7, "gap", "c")
    parts, blocks = case_flag("cleaned", "2 parts were joined"), case_flag("cleaned", "30 mm³ were removed")
    whole = case_flag("cleaned", "2 parts were joined; 30 mm³ were removed")
    assert merge_flags([gap, jump, parts], [again, blocks], [parts]) == (whole, jump, Flag(3, 7, "gap", "a; c"))
