"""Change from both images at once: phantoms that shrink by a known share, and images that cannot be compared."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from SpinalCordSegLib.longitudinal import pairs
from SpinalCordSegLib.longitudinal.direct_change import direct_change, likeness
from SpinalCordSegLib.longitudinal.pairs import (
    GAIN,
    LOSS,
    SCATTERED,
    PairChange,
    compare_images,
    direct_rate,
)
from SpinalCordSegLib.longitudinal.registration import Registration
from SpinalCordSegLib.longitudinal.repeatability import Repeatability
from SpinalCordSegLib.morphometry import centreline, fit_local_lines
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.volume import Volume

CONFIG = PhantomConfig(shape=(90, 90, 14), seed=1)


@pytest.fixture(scope="module")
def first():
    return make_phantom(CONFIG)


def _second(first, loss=0.02, **config):
    return make_phantom(replace(CONFIG, cord_csa_mm2=CONFIG.cord_csa_mm2 * (1 - loss), **{"seed": 2, **config}))


def _between(first, second, image=None, motion=None):
    motion = np.eye(4) if motion is None else motion
    return direct_change(first.image, first.mask, image or second.image, second.mask, motion)


@pytest.mark.parametrize(
    ("loss", "config"),
    [
        (0.0, {}),
        (0.02, {}),
        (0.05, {}),
        (0.02, {"oblique_deg": (8.0, -5.0, 6.0), "orientation": "SPR"}),
        (0.02, {"spacing_mm": (0.8, 0.9, 2.5)}),
        (0.02, {"noise": 0.06}),
    ],
)
def test_a_known_loss_is_measured(first, loss, config):
    found = _between(first, _second(first, loss, **config))
    assert found.refused == ()
    assert found.percent == pytest.approx(-100 * loss, abs=0.35)
    assert abs(found.percent + 100 * loss) < 3 * found.se_percent
    assert found.position_mm.shape == found.profile_percent.shape == found.profile_se_percent.shape


def test_visits_exchanged_a_shift_along_the_cord_and_probabilities_change_nothing(first):
    second, motion = _second(first), np.eye(4)
    motion[:3, 3] = 1.5, -1.0, 3.0
    found = _between(first, second)
    assert _between(first, second, motion=motion).percent == pytest.approx(found.percent, abs=0.15)
    assert _between(second, first).percent == pytest.approx(-found.percent, abs=0.15)
    soft = direct_change(first.image, first.coverage, second.image, second.coverage, np.eye(4))
    assert soft.percent == pytest.approx(found.percent, abs=0.15)


def test_a_blurrier_image_is_noticed_and_matched(first):
    second = _second(first)
    sigmas = np.array([0, 0.6, 0.6]) / second.image.spacing_mm
    blurred = second.image.with_voxels(ndimage.gaussian_filter(second.image.voxels, sigmas))
    found = _between(first, second, blurred)
    assert found.blur_mm2 == pytest.approx(0.36, abs=0.06)
    assert found.percent == pytest.approx(-2, abs=0.7)
    pair = PairChange(1, 2, found.percent, found.se_percent, found.blur_mm2, "", found)
    assert pair.at_one_sharpness(-3.0, 80.0) == pytest.approx(-3.0 + 100 * 0.8 * np.pi * found.blur_mm2 / 80)
    assert replace(pair, blur_mm2=0.1).at_one_sharpness(-3.0, 80.0) is None


def test_what_cannot_be_compared_is_refused(first):
    second = _second(first)
    inverted = second.image.with_voxels(second.image.voxels.max() - second.image.voxels)
    noise = second.image.with_voxels(np.random.default_rng(3).normal(100, 20, second.image.shape))
    grey = second.image.with_voxels(np.full(second.image.shape, 5.0))
    for image in (inverted, noise, grey):
        found = _between(first, second, image)
        assert np.isnan(found.percent) and "too different" in found.refused[0]
    bright = 0.88 * np.median(first.image.voxels[first.mask.voxels])
    pale = (one.with_voxels(np.maximum(one.voxels, bright)) for one in (first.image, second.image))
    found = direct_change(next(pale), first.mask, next(pale), second.mask, np.eye(4))
    assert np.isnan(found.percent) and "of nearly one grey" in found.refused[0] and 0 < found.contrast < 0.2
    for cord in (second.mask.voxels & False, second.mask.voxels & (np.arange(14) < 4)[:, None, None]):
        found = direct_change(first.image, first.mask, second.image, second.mask.with_voxels(cord), np.eye(4))
        assert np.isnan(found.percent) and "share less than 15 mm" in found.refused[0]


# ---- One person, at one level?


def _neck(first, texture, seed=0):
    """The phantom with something about its cord that differs from person to person, and noise."""
    own = ndimage.gaussian_filter(np.random.default_rng(texture).normal(size=first.image.shape), (1, 3, 3))
    far = ndimage.distance_transform_edt(first.coverage.voxels == 0, first.image.spacing_mm) > 6
    noise = np.random.default_rng(seed).normal(0, 15, first.image.shape)
    return first.image.with_voxels((first.image.voxels + 500 * own / own.std() * far + noise).astype(np.float32))


def test_a_neck_is_like_itself_and_not_like_another_or_its_mirror_image(first):
    one, again, other = _neck(first, 1, 1), _neck(first, 1, 2), _neck(first, 2, 3)
    alike, mirrored, _ = likeness(one, first.mask, again, first.mask, np.eye(4))
    assert alike > 0.9 and mirrored < 0.7
    assert max(likeness(one, first.mask, other, first.mask, np.eye(4))[:2]) < 0.5
    turned, cord = (volume.with_voxels(volume.voxels[:, :, ::-1].copy()) for volume in (again, first.mask))
    few = first.mask.with_voxels(first.mask.voxels & (np.arange(14) < 2)[:, None, None])
    assert np.isnan(likeness(one, few, again, few, np.eye(4))[0])
    motion = np.eye(4)
    motion[0, 3] = 2 * float((first.image.voxel_to_ras @ [*(np.array(first.image.shape) - 1) / 2, 1])[0])
    motion[0, 3] -= 2 * float(centreline(first.mask).ras_mm[:, 0].mean())
    alike, mirrored, _ = likeness(one, first.mask, turned, cord, motion)
    assert mirrored > 0.9 and alike < 0.7
    wrong = np.eye(4)
    for wrong[:3, 3] in ((0.0, 4.0, 15.0), (0.0, 12.0, 0.0)):
        alike, _, motion = likeness(one, first.mask, again, first.mask, wrong)
        assert alike > 0.8 and np.abs(motion[:3, 3]).max() < 1.6, "where registration failed, cord is laid on cord"


def test_a_turned_head_that_registration_missed_is_found(first):
    one, cord = _neck(first, 1, 1), centreline(first.mask).ras_mm.mean(axis=0)
    turn, around = np.radians(11.0), np.eye(4)
    around[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    around[:3, 3] = cord - around[:3, :3] @ cord
    turned, mask = (Volume.from_ijk(image.ijk, around @ image.ijk_to_ras) for image in (_neck(first, 1, 2), first.mask))
    alike, _, motion = likeness(one, first.mask, turned, mask, np.eye(4))
    assert alike > 0.8 and np.abs(motion - around)[:3, :3].max() < 0.05


@pytest.mark.parametrize(
    ("other", "disc_mm", "conditions", "words"),
    [
        (("own", 2), 20.0, {}, None),
        (("own", 2), 33.0, {}, "the marks of the disc C2/C3 lie 13 mm apart"),
        (("another", 2), 20.0, {}, "may show two persons"),
        (("own", 1), 20.0, {}, "one scan given twice?"),
        (("another", 2), 20.0, {"scanner": "B"}, "may show two persons"),
        (("another", 2), 20.0, {"sequence": "SE 2D"}, None),
    ],
)
def test_what_is_not_one_person_at_one_level_is_in_doubt(first, monkeypatch, other, disc_mm, conditions, words):
    monkeypatch.setattr(pairs, "same_data", lambda visits: [])
    known = {"scanner": "A", "sequence": "GR 3D"}
    images = _neck(first, 1, 1), _neck(first, {"own": 1, "another": 2}[other[0]], other[1])
    line = centreline(first.mask, fit_local_lines)
    visits = [
        SimpleNamespace(
            conditions=known | more, mask=first.mask, line=line, disc_mm=at, source=SimpleNamespace(image=n)
        )
        for n, (at, more) in enumerate(((20.0, {}), (disc_mm, conditions)))
    ]
    monkeypatch.setattr(pairs, "register_rigid", lambda *_: Registration(np.eye(4), 1, False))
    laid = pairs.lay_images(images[0], first.mask, images[1], first.mask)
    (pair,) = compare_images(visits, lambda visit: images[visit.source.image], lambda *_: laid)
    assert len(pair.doubts) == (words is not None) and (words or "") in "".join(pair.doubts)
    assert (pair.percent is None) == bool(conditions)


def test_the_rate_of_all_pairs_and_its_interval():
    def pair(first, second, percent, se=0.3):
        return PairChange(first, second, percent, se, 0.0, "", None)

    two = direct_rate([pair(1, 2, -2.0)], [0.0, 2.0])
    assert two.percent_per_year == pytest.approx(100 * np.log(0.98) / 2)
    assert two.high - two.percent_per_year == pytest.approx(1.96 * 0.3 / 2, rel=1e-3)
    exact = [pair(n, k, 100 * (0.99 ** (k - n) - 1)) for n, k in ((1, 2), (1, 3), (2, 3))]
    three = direct_rate(exact, [0.0, 1.0, 2.0])
    assert three.percent_per_year == pytest.approx(100 * np.log(0.99))
    assert three.high - three.percent_per_year == pytest.approx(1.96 * 0.3 / 2, rel=1e-3), (
        "the middle visit adds nothing"
    )
    scattered = [exact[0], replace(exact[1], percent=1.0), replace(exact[2], percent=2.0)]
    wide = direct_rate(scattered, [0.0, 1.0, 2.0])
    assert wide.high - wide.low > 2 * (three.high - three.low)
    assert (two.verdict, three.verdict, wide.verdict) == (LOSS, LOSS, SCATTERED)
    assert direct_rate([pair(1, 2, 2.0)], [0.0, 2.0]).verdict == GAIN
    assert direct_rate([replace(exact[0], percent=None)], [0.0, 1.0, 2.0]) is None
    repeats = Repeatability(1.5, "own", "same scanner", 5, direct_sd_percent=0.9, direct_freedom=5)
    assert direct_rate([pair(1, 2, -2.0)], [0.0, 2.0], repeats).high > 0 > two.high, "as repeated scans scatter"
