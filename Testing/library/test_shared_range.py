"""What visits share, and nothing else, is compared."""

from dataclasses import replace

import numpy as np
import pytest

from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.longitudinal.registration import Profile, common_extent


def _profile(first, n, step, area, gaps=()):
    at = first + step * (np.arange(n) + 0.5)
    csa = np.array([area(x) for x in at])
    csa[list(gaps)] = np.nan
    return Profile(at, np.full(n, step), csa)


def test_only_the_common_stretch_counts():
    long = _profile(-30, 20, 3.0, lambda x: 80.0 if x < 0 else 70.0)
    short = _profile(3, 10, 2.0, lambda x: 65.0)
    found = common_extent([long, short])
    assert (found.low_mm, found.high_mm, found.length_mm) == pytest.approx((3, 23, 20))
    assert found.mean_csa_mm2.tolist() == pytest.approx([70, 65])
    assert found.volume_mm3.tolist() == pytest.approx([1400, 1300])


def test_a_gap_of_one_visit_is_left_out_in_all():
    rising = _profile(0, 10, 2.0, lambda x: 60.0 + x)
    with_gap = _profile(0, 10, 2.0, lambda x: 60.0 + x, gaps=(4, 5))
    found = common_extent([rising, with_gap])
    assert found.length_mm == pytest.approx(16, abs=0.3)
    assert found.mean_csa_mm2[0] == pytest.approx(found.mean_csa_mm2[1], rel=1e-3)


def _doubted(profile, *slices):
    return replace(profile, flagged=np.isin(np.arange(len(profile.csa_mm2)), slices))


def test_what_one_visit_doubts_is_compared_in_none():
    rising = _profile(0, 20, 2.0, lambda x: 60.0 + x)
    wrong = _profile(0, 20, 2.0, lambda x: 90.0 if 8 < x < 12 or x > 38 else 60.0 + x)
    assert common_extent([rising, wrong]).mean_csa_mm2[1] > common_extent([rising, wrong]).mean_csa_mm2[0] + 0.9
    found = common_extent([rising, _doubted(wrong, 4, 5, 19)])
    assert found.mean_csa_mm2[0] == pytest.approx(found.mean_csa_mm2[1], rel=1e-9)
    assert (found.low_mm, found.high_mm) == pytest.approx((0, 40))
    assert (found.length_mm, found.flagged_mm, found.gap_mm) == pytest.approx((34, 6, 0), abs=0.1)
    assert found.intervals_mm == [pytest.approx((0, 8), abs=0.1), pytest.approx((12, 38), abs=0.1)]
    either = common_extent([_doubted(rising, 0), _doubted(wrong, 4)])
    assert either.flagged_mm == pytest.approx(4, abs=0.1)


@pytest.mark.parametrize("n_doubted", [11, 20])
def test_with_little_left_the_doubtful_slices_are_compared_too(n_doubted):
    one = _profile(0, 20, 2.0, lambda x: 60.0)
    found = common_extent([one, _doubted(one, *range(n_doubted))])
    assert (found.length_mm, found.flagged_mm) == pytest.approx((40, 0))
    assert common_extent([one, _doubted(one, *range(9))]).length_mm == pytest.approx(22, abs=0.1)


def test_limits_and_nothing_in_common():
    one = _profile(0, 10, 2.0, lambda x: 60.0 + x)
    within = common_extent([one, one], (4.0, 100.0))
    assert (within.low_mm, within.high_mm) == pytest.approx((4, 20))
    assert within.mean_csa_mm2[0] == pytest.approx(72, abs=0.1)
    with pytest.raises(ConfigurationError, match="share no stretch"):
        common_extent([one, _profile(40, 5, 2.0, lambda x: 60.0)])
    with pytest.raises(ConfigurationError, match="share no stretch"):
        common_extent([one], (50.0, 60.0))
