"""Label maps: heights count from the top of the canal, contours are the ellipses that were drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from Recipes.simulation.atlas import N_ANGLES, Maps, area_mm2, read_maps
from SpinalCordSegLib.errors import InputFileError, TrainingDataError


def test_area_of_a_circle_and_of_an_ellipse() -> None:
    assert area_mm2(np.full(N_ANGLES, 5.0)) == pytest.approx(np.pi * 25)
    angle = np.arange(N_ANGLES) * 2 * np.pi / N_ANGLES
    ellipse = 1 / np.hypot(np.cos(angle) / 6, np.sin(angle) / 4)
    assert area_mm2(ellipse) == pytest.approx(np.pi * 24, rel=1e-3)


def test_heights_are_zero_at_the_top_of_the_canal(maps: Maps) -> None:
    assert maps.z_mm[107 - 2] == pytest.approx(0.0)  # slices below -210 mm are cut: two of 2 mm
    assert np.diff(maps.z_mm) == pytest.approx(2.0)


def test_contours_are_the_drawn_ellipses(maps: Maps) -> None:
    atlas, anna = maps.shapes
    assert (atlas.name, anna.name) == ("PAM50", "anna")
    assert area_mm2(atlas.cord_mm) == pytest.approx(np.pi * 24, rel=0.06)
    assert area_mm2(anna.cord_mm) == pytest.approx(np.pi * 35, rel=0.06)
    assert atlas.canal_mm is not None and anna.canal_mm is None
    assert area_mm2(atlas.canal_mm[:-2]) == pytest.approx(np.pi * 63, rel=0.06)
    assert atlas.cord_mm[10, 0] == pytest.approx(6.0, abs=0.5)  # angle 0 is the patient's left
    assert atlas.cord_mm[10, N_ANGLES // 4] == pytest.approx(4.0, abs=0.5)  # a quarter turn on, posterior


def test_bone_lies_in_front_and_discs_fill_its_gaps(maps: Maps) -> None:
    in_front, behind = maps.bone[50, :30], maps.bone[50, 40:]
    assert in_front.max() > 200 and behind.max() == 0
    gaps = np.flatnonzero(maps.bone.max(axis=(1, 2)) == 0)
    inner = gaps[(gaps > 10) & (gaps < 90)]
    assert len(inner) and (maps.disc[inner].max(axis=(1, 2)) > 200).all()


def test_grey_matter_is_central(maps: Maps) -> None:
    assert maps.grey[50, 0].min() > 0.9 and maps.grey[50, -1].max() < 0.1


def test_shapes_can_be_held_out(label_folder: Path) -> None:
    assert [shape.name for shape in read_maps(label_folder).shapes] == ["PAM50", "anna"]
    assert [shape.name for shape in read_maps(label_folder, hold_out=("PAM50",)).shapes] == ["anna"]
    with pytest.raises(TrainingDataError, match="no cord shape is left"):
        read_maps(label_folder, only=("nobody",))


def test_a_missing_map_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=r"PAM50_cord\.nii\.gz"):
        read_maps(tmp_path)


def test_an_unreadable_map_is_named(tmp_path: Path) -> None:
    (tmp_path / "atlas").mkdir()
    (tmp_path / "atlas" / "PAM50_cord.nii.gz").write_text("no image")
    with pytest.raises(InputFileError, match=r"PAM50_cord\.nii\.gz: cannot be read"):
        read_maps(tmp_path)
