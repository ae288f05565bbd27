"""A visit: areas that do not change when less of the cord is scanned, and what breaks a series of visits."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from SpinalCordSegLib.case import CaseInput, ModelSummary
from SpinalCordSegLib.longitudinal.change import common_extent
from SpinalCordSegLib.longitudinal.visits import (
    Profile,
    changes,
    conditions_of,
    cord_profile,
    differences,
    read_manifest,
    unknowns,
)
from SpinalCordSegLib.morphometry import measure
from SpinalCordSegLib.volume import Volume

SPACING = (0.5, 0.5, 4.0)


def _ragged(n: int, empty_below: int = 0) -> Volume:
    """Discs as a network draws them: radii that jump by 5 %, a leaning path, centres 0.3 mm off."""
    rng = np.random.default_rng(2)
    x, y = np.mgrid[:64, :64] * 0.5
    slices = []
    for k in range(n):
        centre = np.array([16.0, 12 + 0.8 * k]) + rng.normal(0, 0.3, 2)
        slices.append(np.hypot(x - centre[0], y - centre[1]) <= 4.5 * (1 + rng.normal(0, 0.05)))
    voxels = np.stack([np.zeros((64, 64), bool)] * empty_below + slices, axis=2)
    return Volume.from_ijk(voxels, np.diag([*SPACING, 1.0]))


def _cord(mask: Volume) -> Profile:
    return cord_profile(mask, measure(mask, shape=False).slices)[1]


def _profile(mask: Volume, first: int) -> Profile:
    """From slice 8 of the whole; ``first``: which of its slices this mask begins with."""
    cord = _cord(mask)
    return replace(cord, position_mm=cord.position_mm - cord.position_mm[8 - first], flagged=False)


@pytest.mark.parametrize(("low", "high"), [(3, 16), (0, 12), (5, 14)])
def test_less_coverage_changes_no_area(low: int, high: int) -> None:
    whole = _ragged(16)
    matrix = whole.ijk_to_ras.copy()
    matrix[:3, 3] += low * matrix[:3, 2]
    less = Volume.from_ijk(whole.ijk[:, :, low:high], matrix)
    first, second = common_extent([_profile(whole, 0), _profile(less, low)]).mean_csa_mm2
    assert second == pytest.approx(first, rel=2.5e-3)


def test_a_slice_where_the_mask_ends_inside_the_volume_is_left_out() -> None:
    assert np.isfinite(_cord(_ragged(9)).csa_mm2).all()
    found = _cord(_ragged(9, empty_below=2))
    assert np.isnan(found.csa_mm2).tolist() == [True] + [False] * 8
    assert np.isfinite(_cord(_ragged(4, empty_below=2)).csa_mm2).all()  # too few to lose one


def test_drawn_slices_have_the_area_of_their_pixels_and_imputed_ones_none() -> None:
    mask = _ragged(9)
    measured = measure(mask, shape=False).slices
    assert _cord(mask).is_drawn.all()
    drawn = np.isin(measured.canonical_slice, [5, 6])
    share = np.where(drawn, 1.0, 0.9)
    changed = replace(
        measured,
        csa_raw_mm2=share * measured.csa_raw_mm2,
        network_area_mm2=np.where(drawn, np.nan, 0.9 * measured.csa_raw_mm2),
        imputed=(measured.canonical_slice == 2).astype(np.int64),
    )
    _, found = cord_profile(mask, changed)
    assert np.flatnonzero(found.is_drawn).tolist() == [5, 6]
    expected = np.where(np.arange(9) == 2, np.nan, share)
    assert found.csa_mm2 / _cord(mask).csa_mm2 == pytest.approx(expected, nan_ok=True)


# ---- Conditions

MODEL = ModelSummary("cord", "1", "f" * 64, "")
ONE = {
    "scanner": "Siemens Prisma", "field_strength": "3 T", "sequence": "GR\\SP 3D", "timing": {"TR": 8.2, "TE": 2.7},
    "contrast": "T1w-like", "contrast_agent": "without", "model": "cord 1 abc", "voxel_mm": (0.7, 0.7, 3.0),
    "orientation": "LPS", "distortion_correction": "DIS3D", "made_by": "AI", "software": "0.1.0", "threshold": "0.5",
    "smooth_z_mm": "1.6 mm",
}  # fmt: skip


@pytest.mark.parametrize(
    ("other", "kind", "breaks"),
    [
        ({"scanner": "GE Signa"}, "scanner", True),
        ({"field_strength": "1.5 T"}, "field_strength", True),
        ({"sequence": "SE 2D"}, "sequence", True),
        ({"timing": {"TR": 8.2, "TE": 4.0}}, "sequence", True),
        ({"contrast_agent": "with"}, "contrast_agent", True),
        ({"contrast": "T2w-like"}, "contrast", True),
        ({"model": "cord 2 def"}, "model", True),
        ({"voxel_mm": (0.7, 0.7, 2.5)}, "voxel_mm", False),
        ({"orientation": "PSR"}, "orientation", False),
        ({"distortion_correction": "DIS2D"}, "distortion_correction", False),
        ({"made_by": "corrected"}, "made_by", False),
        ({"software": "0.2.0"}, "software", False),
        ({"threshold": "0.4"}, "threshold", False),
        ({"smooth_z_mm": "none"}, "smooth_z_mm", False),
    ],
)
def test_every_change_is_seen(other, kind, breaks):
    found = differences(ONE, ONE | other)
    assert [(one.kind, one.breaks) for one in found] == [(kind, breaks)]


def test_a_visit_without_header_hides_no_change():
    silent = {"voxel_mm": (0.7, 0.7, 3.0), "scanner": ""}
    assert differences(ONE, silent) == ()
    found = changes([silent, ONE, silent, ONE | {"contrast_agent": "with"}, silent, ONE | {"scanner": "GE"}])
    assert [[one.kind for one in each] for each in found] == [
        [], [], [], ["contrast_agent"], [], ["scanner", "contrast_agent"],
    ]  # fmt: skip


def test_what_is_not_known_is_said():
    assert unknowns(ONE) == ()
    (found,) = unknowns(ONE | {"scanner": "", "distortion_correction": ""})
    assert (found.kind, found.breaks) == ("unknown", False)
    assert "scanner, distortion correction" in found.message


def _case(acquisition=None):
    """The slices are the second axis: stored from the patient's back."""
    source = CaseInput((9, 9, 9), (0.7, 1.0, 0.7), "PSR", (), acquisition=acquisition)
    return SimpleNamespace(
        input=source, model=MODEL, smooth_z_mm=0.8, mask_state="AI", threshold=0.5, contrast="",
        software_version="0.1.0",
    )  # fmt: skip


def test_conditions_come_from_a_case_and_the_user_knows_better():
    acquisition = {
        "manufacturer": "Siemens", "model": "Prisma", "field_strength_t": 3.0, "sequence": "GR", "dimension": "3D",
        "repetition_time_ms": 8.2, "echo_time_ms": None, "contrast_agent": False,
        "image_type": ["ORIGINAL", "PRIMARY", "M", "DIS2D"],
    }  # fmt: skip
    found = conditions_of(_case(acquisition=acquisition))
    wanted = {
        "scanner": "Siemens Prisma", "field_strength": "3 T", "sequence": "GR 3D", "contrast_agent": "without",
        "distortion_correction": "DIS2D", "made_by": "AI", "model": "cord 1 " + "f" * 12, "timing": {"TR": 8.2},
    }  # fmt: skip
    assert {name: found[name] for name in wanted} == wanted
    assert conditions_of(_case(acquisition=acquisition), {"scanner": "hospital A"})["scanner"] == "hospital A"
    assert conditions_of(_case())["scanner"] == ""


@pytest.mark.parametrize(
    "text",
    [
        "person,folder,date\nP1,v1,2024-01-02\nP1,v2,2025-01-02\n",
        "Person;Folder;Date\r\nP1;v1;2024-01-02\r\nP1;v2;2025-01-02\r\n;;\r\n",
        "\ufeffPERSON\tFOLDER\tDATE\nP1\tv1\t2024-01-02\n\t\t\nP1\tv2\t2025-01-02\n",
    ],
    ids=["plain", "spreadsheet with semicolons", "tabs"],
)
def test_a_manifest_of_any_spreadsheet_is_read(tmp_path, text) -> None:
    (tmp_path / "cohort.csv").write_text(text, encoding="utf-8", newline="")
    (person,) = read_manifest(tmp_path / "cohort.csv")
    assert person.person == "P1"
    assert [(visit.folder.name, visit.date) for visit in person.visits] == [("v1", "2024-01-02"), ("v2", "2025-01-02")]


def test_an_age_with_a_comma(tmp_path) -> None:
    (tmp_path / "cohort.csv").write_text("person;folder;age\nP1;v1;40,5\n", encoding="utf-8")
    assert read_manifest(tmp_path / "cohort.csv")[0].age_years == 40.5
