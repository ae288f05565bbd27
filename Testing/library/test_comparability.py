"""What breaks a series, what is flagged, and what is not known."""

from dataclasses import replace

import pytest

from SpinalCordSegLib.longitudinal.visits import Conditions, conditions_of, differences, runs, same_scanner, unknowns

ONE = Conditions(
    scanner="Siemens Prisma", field_strength="3 T", sequence="GR\\SP 3D", timing=(("TR", 8.2), ("TE", 2.7)),
    contrast_agent="without", model="starter 1 abc", voxel_mm=(0.7, 0.7, 3.0), orientation="LPS",
    distortion_correction="DIS3D", made_by="AI", software="0.1.0", threshold="0.5", along_mm="1.6 mm",
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "kind", "breaks"),
    [
        ({"scanner": "GE Signa"}, "scanner", True),
        ({"field_strength": "1.5 T"}, "field_strength", True),
        ({"sequence": "SE 2D"}, "sequence", True),
        ({"timing": (("TR", 8.2), ("TE", 4.0))}, "sequence", True),
        ({"contrast_agent": "with"}, "contrast_agent", True),
        ({"model": "starter 2 def"}, "model", True),
        ({"voxel_mm": (0.7, 0.7, 2.5)}, "voxel_mm", False),
        ({"orientation": "PSR"}, "orientation", False),
        ({"distortion_correction": "DIS2D"}, "distortion_correction", False),
        ({"made_by": "corrected"}, "made_by", False),
        ({"software": "0.2.0"}, "software", False),
        ({"threshold": "0.4"}, "threshold", False),
        ({"along_mm": "none"}, "along_mm", False),
    ],
)
def test_every_change_is_seen(changes, kind, breaks):
    found = differences(ONE, replace(ONE, **changes))
    assert [(one.kind, one.breaks) for one in found] == [(kind, breaks)]
    assert runs([ONE, replace(ONE, **changes)]) == ([(0, 1), (1, 2)] if breaks else [(0, 2)])


def test_equal_visits_and_rounding_are_no_change():
    assert differences(ONE, ONE) == ()
    assert differences(ONE, replace(ONE, timing=(("TR", 8.21), ("TE", 2.72)), voxel_mm=(0.7, 3.01, 0.7))) == ()


def test_a_visit_without_header_hides_no_change():
    silent = Conditions(voxel_mm=(0.7, 0.7, 3.0))
    assert differences(ONE, silent) == ()
    assert runs([ONE, silent, replace(ONE, scanner="GE Signa")]) == [(0, 2), (2, 3)]
    assert runs([silent, ONE, silent, replace(ONE, contrast_agent="with")]) == [(0, 3), (3, 4)]
    assert runs([]) == []


def test_what_is_not_known_is_said():
    assert unknowns(ONE) == ()
    (found,) = unknowns(replace(ONE, scanner="", distortion_correction=""))
    assert (found.kind, found.breaks) == ("unknown", False)
    assert "scanner, distortion correction" in found.message
    assert same_scanner([ONE, ONE])
    assert not same_scanner([ONE, replace(ONE, scanner="")])
    assert not same_scanner([replace(ONE, scanner="")])


@pytest.mark.parametrize(
    ("before", "after", "slice_mm", "words"),
    [
        (1.6, 0.8, 1.0, "from 1.6 mm to 0.8 mm"),
        (1.6, 0.0, 1.0, "from 1.6 mm to none"),
        (1.6, None, 1.0, "from 1.6 mm to none"),  # a report from before there was averaging
        (1.6, 1.6, 1.0, None),
        (1.6, 0.0, 4.0, None),  # slices that thick are averaged with neither setting
        (1.6, 5.0, 4.0, "from none to 5 mm"),
    ],
)
def test_thin_slices_averaged_over_another_length_are_told(before, after, slice_mm, words):
    """The slices are the second axis here: stored from the patient's back."""
    source = {"spacing_mm": [0.7, slice_mm, 0.7], "orientation": "PSR"}
    reports = [{"model": {"name": "m"}, "along_mm": along_mm, "input": source} for along_mm in (before, after)]
    told = differences(*map(conditions_of, reports))
    assert [(one.kind, one.breaks) for one in told] == ([("along_mm", False)] if words else [])
    assert words is None or f"averaging along the cord changed {words}:" in told[0].message
    given = conditions_of({"model": None, "along_mm": None, "input": source})
    assert given.along_mm == "" and differences(conditions_of(reports[0]), given) == ()


def test_a_visit_whose_doubtful_slices_were_not_steadied_is_told():
    reports = [{"model": {"name": "m"}, "along_mm": 1.6, "input": {}, "slices_steadied": n} for n in (None, 0, 7)]
    without, none, some = map(conditions_of, reports)
    (told,) = differences(without, none)
    assert (told.kind, told.breaks) == ("along_mm", False)
    assert "changed from 1.6 mm to 1.6 mm, doubtful slices steadied:" in told.message
    assert differences(none, some) == ()


def test_conditions_come_from_a_report_and_the_user_knows_better():
    acquisition = {
        "manufacturer": "Siemens", "model": "Prisma", "field_strength_t": 3.0, "sequence": "GR", "dimension": "3D",
        "repetition_time_ms": 8.2, "echo_time_ms": None, "contrast_agent": False,
        "image_type": ["ORIGINAL", "PRIMARY", "M", "DIS2D"],
    }  # fmt: skip
    report = {
        "mask_state": "AI", "threshold": 0.5, "software_version": "0.1.0",
        "model": {"name": "starter", "version": "1", "sha256": "f" * 64},
        "input": {"spacing_mm": [0.7, 0.7, 3.0], "orientation": "LPS", "acquisition": acquisition},
    }  # fmt: skip
    found = conditions_of(report)
    assert (found.scanner, found.field_strength, found.sequence) == ("Siemens Prisma", "3 T", "GR 3D")
    assert (found.contrast_agent, found.distortion_correction, found.made_by) == ("without", "DIS2D", "AI")
    assert found.model == "starter 1 " + "f" * 12
    assert found.timing == (("TR", 8.2),)
    assert conditions_of(report, {"scanner": "hospital A"}).scanner == "hospital A"
    assert conditions_of({}) == Conditions()
