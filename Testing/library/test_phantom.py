"""The phantom's truths agree with its voxels, in every storage order."""

from dataclasses import replace
from math import cos, pi, radians

import numpy as np
import pytest

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom

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
