"""From image to measures: the order of the steps, ranges, refusals, and answers for odd volumes."""

import hashlib
from dataclasses import replace
from math import cos, isnan, pi, radians
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from SpinalCordSegLib import inference as predict_module
from SpinalCordSegLib.case import Case, save_case
from SpinalCordSegLib.correction import store_correction
from SpinalCordSegLib.errors import ConfigurationError, GeometryError
from SpinalCordSegLib.image_io import Image
from SpinalCordSegLib.model.checkpoint import Calibration
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.pipeline import SegmentOptions, canonical_range, measure_mask, segment_image
from SpinalCordSegLib.volume import Volume, fingerprint

CONFIG = PhantomConfig(shape=(60, 48, 10), spacing_mm=(0.6, 0.8, 3.0))
CHECKPOINT = SimpleNamespace(
    name="made up", version="1", sha256="ab", licence="none", provenance={}, scores={}, is_too_poor=False
)


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(CONFIG)


@pytest.fixture
def perfect_network(monkeypatch):
    """Prediction gives whatever probability the test asks for."""

    def predicting(probability):
        def predict(volume, checkpoint, *, progress, **_):
            progress(0, 10)
            progress(10, 10)
            own = probability.with_ijk(probability.ijk.copy())  # its caller may write over it
            return predict_module.Prediction(own, "cpu", "made up", ("a note",), seconds=1.5)

        monkeypatch.setattr(predict_module, "predict", predict)

    return predicting


def _image(volume: Volume) -> Image:
    return Image(volume, Path("neck.nii.gz"), "neck")


def test_a_phantom_is_measured_close_to_its_truth(phantom, perfect_network):
    perfect_network(phantom.coverage)
    told = []
    result = segment_image(_image(phantom.image), CHECKPOINT, progress=lambda *step: told.append(step))
    assert result.volume_mm3 == pytest.approx(phantom.truth_volume_mm3, rel=0.02)
    assert result.slices.csa_mm2.tolist() == pytest.approx(phantom.truth_csa_mm2, rel=0.04)
    assert result.mask_state == "AI"
    assert (result.device, result.model.name) == ("cpu", "made up")
    assert told == [("segment", 0, 10), ("segment", 10, 10), ("measure", 0, 0)]
    assert result.seconds_by_stage["segment"] == 1.5
    assert "device" in {flag.kind for flag in result.flags}


@pytest.mark.parametrize(("fluid", "asked", "used"), [(400, None, 0.2), (400, 0.5, 0.5), (30, None, 0.5)])
def test_the_outline_of_t2w_images_is_at_the_models_own_threshold(phantom, perfect_network, fluid, asked, used):
    perfect_network(phantom.coverage)
    cord = phantom.coverage.ijk
    near = ndimage.gaussian_filter(cord, (4, 3, 0)) > 0.05
    image = phantom.image.with_ijk(np.where(cord > 0, 120.0, np.where(near, fluid, 50)).astype(np.float32))
    checkpoint = SimpleNamespace(**vars(CHECKPOINT), calibration=Calibration(bright_fluid_threshold=0.2))
    case = segment_image(_image(image), checkpoint, SegmentOptions(threshold=asked))
    assert case.threshold == used
    drawn = segment_image(_image(image), checkpoint, SegmentOptions(threshold=used)).mask
    assert np.array_equal(case.mask.voxels, drawn.voxels)


def test_thin_slices_are_smoothed_along_z_unless_told_not_to(phantom, perfect_network):
    probability = phantom.coverage.ijk.copy()
    probability[:, :, 5] *= 0.45  # one slice in which the network is unsure
    perfect_network(phantom.coverage.with_ijk(probability))
    thin = np.diag([1, 1, 1 / 3, 1]) @ np.eye(4)
    image = Volume.from_ijk(phantom.image.ijk, phantom.image.ijk_to_ras @ thin)
    perfect_network(Volume.from_ijk(probability, image.ijk_to_ras))
    alone = segment_image(_image(image), CHECKPOINT, SegmentOptions(smooth_z_mm=0.0))
    together = segment_image(_image(image), CHECKPOINT)
    assert "gap" in {flag.kind for flag in alone.flags}
    assert "gap" not in {flag.kind for flag in together.flags}
    assert together.smooth_z_mm == 0.8 and alone.smooth_z_mm == 0.0


def test_slices_without_an_edge_are_imputed_unless_told_not_to(phantom, perfect_network):
    """In two slices cord and surroundings have one grey, and what surrounds the cord is hardly less probable."""
    probability, grey = phantom.coverage.ijk.copy(), phantom.image.ijk.copy()
    for k in (4, 5):
        off_mm = ndimage.distance_transform_edt(~phantom.mask.ijk[:, :, k], sampling=CONFIG.spacing_mm[:2])
        probability[:, :, k] = np.where(off_mm > 0, np.where(off_mm < 3, 0.7 - 0.1 * off_mm, 0), 0.99)
        grey[:, :, k] = np.median(grey[:, :, k][phantom.mask.ijk[:, :, k]])
    perfect_network(phantom.coverage.with_ijk(probability))
    image = _image(phantom.image.with_ijk(grey))
    alone = segment_image(image, CHECKPOINT, SegmentOptions(smooth_z_mm=0.0))
    together = segment_image(image, CHECKPOINT)
    areas = [[result.slices.csa_mm2[k] for k in (4, 5)] for result in (alone, together)]
    assert min(areas[0]) > 1.4 * max(phantom.truth_csa_mm2[4:6])
    assert areas[1] == pytest.approx(phantom.truth_csa_mm2[4:6], rel=0.2)
    assert np.flatnonzero(together.slices.is_imputed).tolist() == [4, 5] and not alone.slices.is_imputed.any()
    assert (together.slices.seen_edge[4:6] == 0).all() and (together.slices.seen_edge[6:] == 1).all()
    own = together.slices.network_area_mm2
    assert min(own[4:6]) > 1.2 * max(areas[1])
    assert (together.n_slices, together.n_imputed) == (alone.n_slices - 2, 2)
    assert together.counted_text == f"{together.n_slices} slices, 2 imputed ones left out"
    assert {(4, "unclear_edge"), (5, "unclear_edge")} <= {(flag.slice, flag.kind) for flag in together.flags}
    assert {one.canonical_slice for one in together.queue} >= {4, 5}


def test_the_upper_end_of_the_cord_goes_into_the_table_the_case_and_its_summary(tmp_path, perfect_network):
    """Cord up to 75 mm, brain from 81 mm on; kept by a correction that leaves the end, and not by one that moves it."""
    x, y, z = np.ogrid[:100, :100, :40]
    radius, spacing = np.hypot(x - 50, y - 50) * 0.8, np.diag([0.8, 0.8, 3.0, 1.0])
    cord = (radius < 5) & (z < 25)
    grey = np.where((radius < 5) | ((radius < 30) & (z >= 27)), 100.0, np.where(radius < 11, 30.0, 60.0))
    volume = Volume.from_ijk(np.broadcast_to(grey, cord.shape).astype(np.float32), spacing)
    perfect_network(volume.with_ijk(np.where(cord, 0.99, 0.01).astype(np.float32)))
    found = save_case(segment_image(_image(volume), CHECKPOINT), tmp_path / "neck", has_pictures=False)
    assert found.slices.below_upper_end_mm.tolist() == pytest.approx(75 - 1.5 - 3 * np.arange(25.0))
    assert (found.levels.upper_end.slice, found.discs_from) == (24, "")
    row = Case.load(tmp_path / "neck").summary_row()
    assert row["below_upper_end_mean_csa_mm2"] == pytest.approx(found.mean_csa_mm2, rel=1e-3)
    assert (row["below_upper_end_coverage"], row["disc"], row["c2_c3_mean_csa_mm2"]) == (1, None, None)
    assert Case.load(tmp_path / "neck").levels.upper_end == replace(found.levels.upper_end, at_mm=pytest.approx(75))
    edited = found.mask.ijk.copy()
    edited[48, 48, 10] = False
    kept = store_correction(tmp_path / "neck", found.mask.with_ijk(edited), "A")
    assert kept.levels.upper_end.slice == 24
    edited[:, :, 24] = False
    moved = store_correction(tmp_path / "neck", found.mask.with_ijk(edited), "A")
    assert moved.levels is None and np.isnan(moved.slices.below_upper_end_mm).all()


def test_areas_of_a_model_that_failed_its_validation_are_flagged(phantom, perfect_network):
    perfect_network(phantom.coverage)
    for poor in (False, True):
        result = segment_image(_image(phantom.image), SimpleNamespace(**vars(CHECKPOINT) | {"is_too_poor": poor}))
        assert ("model" in {flag.kind for flag in result.flags}) is poor


def test_no_cord_is_an_answer(phantom, perfect_network):
    perfect_network(phantom.coverage.with_ijk(np.zeros(CONFIG.shape, np.float32)))
    result = segment_image(_image(phantom.image), CHECKPOINT)
    assert result.volume_mm3 == 0
    assert isnan(result.mean_csa_mm2)
    assert "empty" in {flag.kind for flag in result.flags}


def test_range_limits_the_measures_not_the_mask(phantom, perfect_network):
    perfect_network(phantom.coverage)
    options = SegmentOptions(slice_range=(2, 5))
    result = segment_image(_image(phantom.image), CHECKPOINT, options)
    assert result.n_slices == 3
    assert len(result.slices) == 10
    assert result.mean_csa_mm2 == pytest.approx(phantom.truth_csa_mm2[2:5].mean(), rel=0.03)


@pytest.mark.parametrize(("orientation", "expected"), [("RAS", (2, 5)), ("LPI", (5, 8)), ("SRA", (2, 5))])
def test_range_counts_the_inputs_own_slices(orientation, expected):
    volume = make_phantom(replace(CONFIG, orientation=orientation)).image
    assert canonical_range(volume, (2, 5)) == expected
    assert canonical_range(volume, None) is None


@pytest.mark.parametrize("bad", [(0, 11), (5, 5), (-1, 3)])
def test_impossible_range_is_refused_before_the_work(phantom, bad):
    with pytest.raises(ConfigurationError, match="10 slices"):
        segment_image(_image(phantom.image), CHECKPOINT, SegmentOptions(slice_range=bad))


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1.0])
def test_impossible_threshold_is_refused_before_the_work(phantom, threshold):
    with pytest.raises(ConfigurationError, match="threshold"):
        segment_image(_image(phantom.image), CHECKPOINT, SegmentOptions(threshold=threshold))


def test_mask_on_another_grid_than_its_image_is_refused(phantom):
    moved = Volume.from_ijk(phantom.mask.ijk, phantom.mask.ijk_to_ras + np.eye(4)[:, [3, 3, 3, 0]] * 0.5)
    with pytest.raises(GeometryError, match=r"another grid than neck\.nii\.gz \(first voxel"):
        measure_mask(moved, "moved", image=_image(phantom.image))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_fingerprint_does_not_depend_on_how_voxels_lie_in_memory(order):
    """Nor on how many planes are taken at a time: 37 are not whole sixteens."""
    voxels = np.random.default_rng(1).random((37, 5, 9), dtype=np.float32)
    lying = np.ascontiguousarray(voxels.transpose(order)).transpose(np.argsort(order))
    digest = hashlib.sha256(repr(((37, 5, 9), "<f4")).encode() + np.eye(4).tobytes() + voxels.tobytes())
    assert fingerprint(Volume.from_ijk(lying, np.eye(4))) == digest.hexdigest()


def test_fingerprint_tells_inputs_apart(phantom):
    volume = phantom.image
    other = volume.ijk.copy()
    other[3, 4, 5] += 1
    shifted = Volume.from_ijk(volume.ijk, volume.ijk_to_ras + np.eye(4)[:, [3, 3, 3, 0]] * 0.5)
    assert fingerprint(volume) == fingerprint(Volume.from_ijk(volume.ijk.copy(), volume.ijk_to_ras + 1e-9))
    assert len({fingerprint(volume), fingerprint(volume.with_ijk(other)), fingerprint(shifted)}) == 3


# The phantom's truths agree with its voxels, in every storage order.


SMALL = PhantomConfig(shape=(48, 40, 6), spacing_mm=(0.8, 0.6, 4.0))
FINE = PhantomConfig(shape=(120, 120, 5), spacing_mm=(0.25, 0.25, 2.0), cord_csa_mm2=75, curve_mm=0, enlargement=0)


def test_cylinder_has_the_area_worked_by_hand():
    phantom = make_phantom(replace(FINE, cord_csa_mm2=25 * pi, cord_aspect=1.0))
    np.testing.assert_allclose(phantom.truth_csa_mm2, 78.54, atol=0.01)
    assert phantom.truth_volume_mm3 == pytest.approx(785.4, abs=0.1)
    assert phantom.mask.ijk.sum() * phantom.mask.voxel_volume_mm3 == pytest.approx(785.4, rel=1e-2)


@pytest.mark.parametrize("tilt", [(30.0, 0.0), (0.0, -30.0)])
def test_tilt_keeps_the_area_and_lengthens_the_cord(tilt):
    phantom = make_phantom(replace(FINE, tilt_deg=tilt))
    np.testing.assert_allclose(phantom.truth_csa_mm2, 75.0)
    assert phantom.truth_volume_mm3 == pytest.approx(75.0 * 10.0 / cos(radians(30)))
    covered = phantom.coverage.ijk.sum() * phantom.coverage.voxel_volume_mm3
    assert covered == pytest.approx(phantom.truth_volume_mm3, rel=2e-3)


def test_curved_cord_volume_is_what_the_voxels_cover():
    phantom = make_phantom(SMALL)
    covered = phantom.coverage.ijk.sum() * phantom.coverage.voxel_volume_mm3
    assert covered == pytest.approx(phantom.truth_volume_mm3, rel=2e-3)


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PSR", "SAL", "IRP"])
def test_every_orientation_holds_the_same_neck(orientation):
    reference = make_phantom(SMALL)
    oblique = (20.0, -10.0, 5.0) if orientation == "PSR" else (0.0, 0.0, 0.0)
    other = make_phantom(replace(SMALL, orientation=orientation, oblique_deg=oblique))
    assert other.image.orientation == orientation
    np.testing.assert_array_equal(other.image.voxels, reference.image.voxels)
    np.testing.assert_array_equal(other.mask.voxels, reference.mask.voxels)
    assert other.image.reoriented("RAS").ijk_spacing_mm == pytest.approx(SMALL.spacing_mm)
    middle = other.image.ijk_to_ras @ [*((np.array(other.image.ijk_shape) - 1) / 2), 1.0]
    np.testing.assert_allclose(middle[:3], SMALL.centre_ras_mm)


def test_a_cord_that_leaves_the_field_of_view_is_refused():
    with pytest.raises(ConfigurationError, match="field of view"):
        make_phantom(replace(SMALL, tilt_deg=(59, 0), spacing_mm=(0.8, 0.6, 20.0)))
