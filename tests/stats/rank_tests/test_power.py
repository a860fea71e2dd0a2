"""The noncentral t is right, and power and the runs needed are the published ones."""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from paramshare.errors import UsageError
from paramshare.stats.descriptive.effect import noncentral_t_cdf, standardized
from paramshare.stats.rank_tests.power import (
    group_size_needed,
    pairs_needed,
    power_of_groups,
    power_of_pairs,
    rank_power_of_groups,
    rank_power_of_pairs,
)


@pytest.mark.parametrize("freedom", [1, 2, 9, 99, 12.5])
@pytest.mark.parametrize("noncentrality", [-2, 0, 1.5, 8])
def test_the_noncentral_t_distribution_equals_its_integral(freedom: float, noncentrality: float) -> None:
    """Over chi's density by adaptive quadrature. SciPy's own is NaN for some of these; ours is right to 3e-5."""
    density = stats.chi(freedom, scale=1 / math.sqrt(freedom)).pdf
    for t in (-3, -0.5, 0, 1, 4, 20):
        expected, _ = quad(lambda u, t=t: density(u) * stats.norm.cdf(t * u - noncentrality), 0, 9, limit=300)
        assert noncentral_t_cdf(t, freedom, noncentrality) == pytest.approx(expected, abs=5e-5)


def test_the_noncentral_t_distribution_equals_scipys_where_that_converges() -> None:
    for t, freedom, noncentrality in ((3, 1, 0), (2.5, 7, 1), (50, 4, 30), (500, 99, 480), (-5, 3, -2)):
        expected = stats.nct.cdf(t, freedom, noncentrality)
        assert noncentral_t_cdf(t, freedom, noncentrality) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(("effect", "pairs"), [(2, 5), (1, 10), (0.8, 15), (0.5, 34), (0.2, 199)])
def test_the_required_number_of_pairs_equals_published_values(effect: float, pairs: int) -> None:
    assert pairs_needed(effect) == pairs


@pytest.mark.parametrize(("effect", "runs"), [(0.2, 394), (0.5, 64), (0.8, 26)])
def test_the_required_group_size_equals_cohens_table(effect: float, runs: int) -> None:
    """Cohen, A power primer (1992), table 2, which gives 393 for 0.2 by an approximation."""
    assert group_size_needed(effect) == runs


def test_the_power_equals_the_rejection_rate_of_a_simulated_t_test() -> None:
    rng = np.random.default_rng(0)
    pairs = stats.ttest_1samp(rng.normal(0.9, 1, (20_000, 8)), 0, axis=1).pvalue < 0.05
    assert power_of_pairs(0.9, 8) == pytest.approx(pairs.mean(), abs=0.014)
    groups = stats.ttest_ind(rng.normal(0.9, 1, (20_000, 8)), rng.normal(0, 1, (20_000, 15)), axis=1).pvalue < 0.05
    assert power_of_groups(0.9, 8, 15) == pytest.approx(groups.mean(), abs=0.014)


@pytest.mark.parametrize("by_ranks", [False, True])
def test_one_pair_less_than_required_has_too_little_power(by_ranks: bool) -> None:
    for effect in (0.3, 0.7, 1.1):
        n = pairs_needed(effect, by_ranks=by_ranks)
        assert n > pairs_needed(effect + 0.2, by_ranks=by_ranks)
        if by_ranks:
            assert rank_power_of_pairs(n, effect, 0.05, 0.8).enough
            assert not rank_power_of_pairs(n - 1, effect, 0.05, 0.8).enough
        else:
            assert power_of_pairs(effect, n) >= 0.8 > power_of_pairs(effect, n - 1)


def test_the_detectable_effect_has_the_requested_power() -> None:
    pairs = rank_power_of_pairs(20, 0.8, 0.05, 0.8)
    assert pairs.detectable is not None
    assert rank_power_of_pairs(20, pairs.detectable, 0.05, 0.8).chance == pytest.approx(0.8)
    groups = rank_power_of_groups(9, 14, 0.8, 0.05, 0.9)
    assert groups.detectable is not None
    assert rank_power_of_groups(9, 14, groups.detectable, 0.05, 0.9).chance == pytest.approx(0.9)


@pytest.mark.parametrize("pairs", [0, 1, 5])
def test_too_few_pairs_for_a_significant_p_value_detect_no_effect(pairs: int) -> None:
    power = rank_power_of_pairs(pairs, 50, 0.05, 0.8)
    assert (power.detectable, power.chance, power.needed) == (None, 0, 6)
    assert rank_power_of_groups(3, 3, 50, 0.05, 0.8).detectable is None


@pytest.mark.parametrize("effect", [0.0, 0.8, 2.5])
@pytest.mark.parametrize("n", [3, 10, 30])
def test_the_interval_of_the_effect_covers_at_its_level_and_its_correction_removes_the_bias(
    effect: float, n: int
) -> None:
    rng, repeats = np.random.default_rng(n), 250
    values = rng.normal(effect, 1, (repeats, n))
    ts = values.mean(axis=1) / values.std(axis=1, ddof=1) * math.sqrt(n)
    found = [standardized(float(t), n - 1, n, 0.95) for t in ts]
    held = np.mean([effect in interval for _, interval in found])
    assert held == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / repeats))
    many = rng.normal(effect, 1, (60_000, n))
    ds = many.mean(axis=1) / many.std(axis=1, ddof=1)
    correction = standardized(math.sqrt(n), n - 1, n, 0.95)[0]  # of d = 1
    if n > 3:  # at 2 degrees of freedom the mean has no variance
        assert correction * ds.mean() == pytest.approx(effect, abs=0.01)


def test_the_bias_correction_equals_that_of_hedges() -> None:
    for freedom in (4, 9, 50):
        assert standardized(1, freedom, 1, 0.95)[0] == pytest.approx(1 - 3 / (4 * freedom - 1), abs=3e-3)


@pytest.mark.parametrize("t", [1e3, 1e8, 1e15])
def test_effects_of_separate_groups_have_a_finite_interval(t: float) -> None:
    value, interval = standardized(t, 9, 10, 0.95)
    assert 0 < interval.low < value < interval.high < math.inf


def test_a_difference_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="no number of runs detects a difference of 0"):
        pairs_needed(0)
    with pytest.raises(UsageError, match="use 0 < alpha < power < 1"):
        pairs_needed(1, alpha=0.9)
