"""Discs from maps and markups of other programs, drawn so that each disc's place is known."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from SpinalCordSegLib.disc_files import DISCS, VERTEBRAE, read_discs
from SpinalCordSegLib.errors import ConfigurationError, InputFileError
from SpinalCordSegLib.image_io import read_labels, write_volume
from SpinalCordSegLib.morphometry import centreline, measure
from SpinalCordSegLib.postprocessing import clean
from SpinalCordSegLib.vertebral_levels import LevelOptions, measure_levels
from SpinalCordSegLib.volume import Volume

_TOPS = [140, 122, 104, 87, 71, 54, 36]  # slice (mm) where C2 … C7 and T1 begin from above; T1 ends at 16
_EDGES = [*_TOPS, 16]
_DISCS = {3: 122, 4: 104, 5: 87, 6: 71, 7: 54, 8: 36}
_MATRIX = np.diag([1.0, 1.0, 1.0, 1.0])


def _write(path: Path, voxels: np.ndarray) -> Path:
    write_volume(Volume.from_ijk(voxels.astype(np.uint8), _MATRIX), path)
    return path


def _levels_of_the_cord(label_of) -> np.ndarray:
    voxels = np.zeros((60, 70, 160), np.uint8)
    for n, (top, end) in enumerate(pairwise(_EDGES), start=2):
        voxels[26:36, 20:28, end:top] = label_of(n)
    return voxels


def _vertebrae(label_of) -> np.ndarray:
    """Bodies before the cord, arches beside it and spinous processes that hang down behind the next vertebra."""
    voxels = np.zeros((60, 70, 160), np.uint8)
    for n, (top, end) in enumerate(pairwise(_EDGES), start=2):
        voxels[20:42, 40:56, end + 2 : top - 2] = label_of(n)
        for side in (16, 42):
            voxels[side : side + 5, 12:44, end + 1 : top - 1] = label_of(n)
        voxels[29:33, 2:14, end - 8 : end + 4] = label_of(n)
    return voxels


@pytest.mark.parametrize(
    ("draw", "label_of", "more"),
    [
        (_levels_of_the_cord, lambda n: n, ()),
        (_vertebrae, lambda n: n, ()),
        (_vertebrae, lambda n: 26 - n, ()),
        (_vertebrae, lambda n: 21 if n == 8 else n + 10, (1, 2, 63, 64)),
        (_vertebrae, lambda n: 42 - n, (200, 201, 224)),
    ],
    ids=["SCT levels", "SCT numbers", "TotalSegmentator", "TotalSpineSeg", "TotalSpineSeg of 2024"],
)
def test_bodies_of_each_program_give_the_discs_between_them(tmp_path, draw, label_of, more):
    voxels = draw(label_of)
    for i, label in enumerate(more):  # cord, canal and discs of TotalSpineSeg
        voxels[28:34, 60:66, :10] = np.where(np.arange(10) == i, label, voxels[28:34, 60:66, :10])
    marks = read_discs(_write(tmp_path / "map.nii.gz", voxels))
    assert [mark.disc for mark in marks] == list(_DISCS)
    assert not any(mark.from_points for mark in marks)
    for mark in marks:
        assert mark.ras_mm[2] == pytest.approx(_DISCS[mark.disc] - 0.5, abs=1.0)
        assert abs(mark.ras_mm[0] - 30.5) < 2


def _points(places: dict[int, tuple[int, int, int]]) -> np.ndarray:
    voxels = np.zeros((60, 70, 160), np.uint8)
    for label, at in places.items():
        voxels[at] = label
    return voxels


def test_points_are_discs_where_they_lie_before_the_cord_and_asked_inside(tmp_path):
    cord = clean(Volume.from_ijk(_levels_of_the_cord(lambda n: 1) > 0, _MATRIX))
    measures = measure(cord, shape=False)

    def levels(y: int, points: str | None = None):
        path = _write(
            tmp_path / "points.nii.gz", _points({n: (30, y, z) for n, z in _DISCS.items()} | {50: (30, y, 150)})
        )
        return measure_levels(cord.mask, measures, LevelOptions(read_discs(path, points)))

    assert levels(34).discs_mm.keys() == {"C2/C3", "C3/C4", "C4/C5", "C5/C6", "C6/C7", "C7/T1"}
    with pytest.raises(ConfigurationError, match="vertebrae=FILE"):
        levels(24)
    assert levels(24, DISCS).discs_mm == pytest.approx(levels(34).discs_mm, abs=0.1)


def test_points_in_the_middle_of_vertebrae_give_the_discs_between(tmp_path):
    middles = {n: (30, 24, (top + end) // 2) for n, (top, end) in enumerate(pairwise(_EDGES), start=2)}
    path = _write(tmp_path / "middles.nii.gz", _points(middles))
    marks = {mark.disc: mark.ras_mm[2] for mark in read_discs(path, VERTEBRAE)}
    assert {n: marks[n] for n in _DISCS} == pytest.approx(_DISCS, abs=2.0)
    with pytest.raises(ConfigurationError, match="at least 2"):
        read_discs(_write(tmp_path / "one.nii.gz", _points({3: (30, 24, 110)})), VERTEBRAE)


def test_public_points_inside_the_cord_are_asked_about(shared_data):
    """SCT's own test data: 3 and 5 are the middles of C3 and C5; by eye C2/C3 lies 52 mm along the cord."""
    folder = shared_data / "morphometry"
    cleaned = clean(read_labels(folder / "t2_seg-manual.nii.gz"))
    measures = measure(cleaned, shape=False)
    with pytest.raises(ConfigurationError, match="inside the cord"):
        measure_levels(cleaned.mask, measures, LevelOptions(read_discs(folder / "t2_discs.nii.gz")))
    found = measure_levels(cleaned.mask, measures, LevelOptions(read_discs(folder / "t2_discs.nii.gz", VERTEBRAE)))
    assert found.discs_mm["C2/C3"] == pytest.approx(52, abs=3)
    assert found.discs_mm["C4/C5"] == pytest.approx(16.5, abs=3)


def test_template_levels_give_the_templates_discs(shared_data, tmp_path):
    labels = read_labels(shared_data / "atlas" / "PAM50_levels.nii.gz")
    upper = labels.with_voxels(np.where(labels.voxels <= 9, labels.voxels, 0))
    write_volume(upper.with_voxels(upper.voxels.astype(np.uint8)), tmp_path / "levels.nii.gz")
    line = centreline(labels.with_voxels(labels.voxels > 0))
    marks = {mark.disc: line.nearest(mark.ras_mm)[0] for mark in read_discs(tmp_path / "levels.nii.gz")}
    lengths = [marks[n] - marks[n + 1] for n in range(3, 8)]
    assert lengths == pytest.approx([18.5, 18.5, 16.5, 15.5, 17.0], abs=1.0)


@pytest.mark.parametrize(("system", "sign"), [("LPS", -1), ("RAS", 1)])
def test_markups_of_slicer(tmp_path, system, sign):
    points = [
        {"label": name, "position": [sign * 3.0, sign * 20.0, z]} for name, z in (("C2/C3", 122.0), ("C3-C4", 104.0))
    ]
    points.append({"label": "C4/C5", "position": [0, 0, 0], "positionStatus": "preview"})
    path = tmp_path / "discs.mrk.json"
    path.write_text(json.dumps({"markups": [{"coordinateSystem": system, "controlPoints": points}]}))
    marks = read_discs(path)
    assert [(mark.disc, mark.ras_mm) for mark in marks] == [(3, (3.0, 20.0, 122.0)), (4, (3.0, 20.0, 104.0))]


@pytest.mark.parametrize("text", ["{", "[]", '{"markups": [{}]}', '{"markups": [{"controlPoints": [{"label": "3"}]}]}'])
def test_damaged_markups_are_refused(tmp_path, text):
    (tmp_path / "x.mrk.json").write_text(text)
    with pytest.raises(InputFileError, match=r"x\.mrk\.json"):
        read_discs(tmp_path / "x.mrk.json")


@pytest.mark.parametrize(
    "places", [{3: 122, 4: 118}, {3: 104, 4: 122}, {3: 122, 4: 60}], ids=["too near", "upside down", "too far"]
)
def test_impossible_discs_are_refused(tmp_path, places):
    path = _write(tmp_path / "discs.nii.gz", _points({n: (30, 34, z) for n, z in places.items()}))
    with pytest.raises(ConfigurationError, match="are these labels discs"):
        read_discs(path)


def test_unnumbered_vertebrae_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="vertebrae_mr"):
        read_discs(_write(tmp_path / "vertebrae.nii.gz", _vertebrae(lambda n: 5)))
