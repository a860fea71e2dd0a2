"""The estimates of shift and ratio are Hodges and Lehmann's, their intervals are the values that the
test does not reject, by a second library's tests, and they leave out no difference exactly if the test finds one.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from paramshare.stats.comparison import Comparison
from paramshare.stats.estimate import Estimate, Note
from paramshare.stats.paired import compare_paired
from paramshare.stats.rank_tests import hodges_lehmann, inversion
from paramshare.stats.unpaired import compare_unpaired

Coverage = Callable[..., float]


def paired(one: Any, other: Any, **options: Any) -> Comparison:
    return compare_paired(dict(enumerate(one)), dict(enumerate(other)), **options)


def limits(estimate: Estimate) -> tuple[float, float]:
    assert estimate.interval is not None
    return estimate.interval.low, estimate.interval.high


def groups_p(one: np.ndarray, other: np.ndarray) -> float:
    """The second library's statistic under the second library's permutations."""

    def statistic(first: np.ndarray, second: np.ndarray) -> float:
        with np.errstate(all="ignore"):
            return abs(float(stats.brunnermunzel(first, second, distribution="normal").statistic))

    return float(stats.permutation_test((one, other), statistic, alternative="greater").pvalue)


@pytest.mark.parametrize("n", [6, 11, 25])
def test_the_shift_of_pairs_is_the_median_of_the_walsh_averages_with_tukeys_interval(n: int) -> None:
    one, other = np.random.default_rng(n).lognormal(0, 1, (2, n))
    found = paired(one, other).hl_difference
    differences = one - other
    walsh = np.sort((np.add.outer(differences, differences) / 2)[np.triu_indices(n)])
    assert found.value == pytest.approx(np.median(walsh))
    # Tukey: the statistic below which two-sided p is below alpha counts the averages that are cut off at either end
    sums = range(n * (n + 1) // 4 + 1)
    pretended = [stats.wilcoxon(np.arange(1, n + 1) * np.where(signs_of(n, total), 1, -1)).pvalue for total in sums]
    cut = sum(p < 0.05 for p in pretended)
    assert limits(found) == pytest.approx((walsh[cut - 1], walsh[-cut]))


def signs_of(n: int, total: int) -> np.ndarray:
    """Which of the ranks 1 to n are positive so that they add up to `total`."""
    positive = np.zeros(n, bool)
    for rank in range(n, 0, -1):
        if rank <= total:
            positive[rank - 1], total = True, total - rank
    return positive


@pytest.mark.parametrize("seed", range(4))
def test_the_interval_of_the_ratio_of_pairs_inverts_scipys_test(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.lognormal(0.5, 0.5, 12), rng.lognormal(0, 0.5, 12)
    found = paired(one, other).hl_ratio
    low, high = limits(found)
    for limit, outside in ((low, -1), (high, 1)):
        assert stats.wilcoxon(one - limit * (1 + outside * 1e-9) * other, method="exact").pvalue < 0.05
        assert stats.wilcoxon(one - limit * (1 - outside * 1e-9) * other, method="exact").pvalue >= 0.05
    sums = (np.add.outer(one, one) / np.add.outer(other, other))[np.triu_indices(12)]
    assert found.value == pytest.approx(np.median(sums), rel=1e-3)


@pytest.mark.parametrize("seed", range(2))
def test_the_intervals_of_the_shift_and_ratio_of_groups_invert_scipys_test(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.lognormal(1, 0.5, 5), rng.lognormal(0, 0.5, 4)
    found = compare_unpaired(one, other)
    assert found.hl_difference.value == pytest.approx(np.median(np.subtract.outer(one, other)))
    for limit, outside in zip(limits(found.hl_difference), (-1e-9, 1e-9), strict=True):
        assert groups_p(one - limit - outside, other) < 0.05 <= groups_p(one - limit + outside, other)
    for limit, outside in zip(limits(found.hl_ratio), (-1e-9, 1e-9), strict=True):
        assert groups_p(one / (limit + outside), other) < 0.05 <= groups_p(one / (limit - outside), other)


VALUES = st.one_of(st.floats(0.01, 100), st.integers(1, 4).map(float), st.sampled_from([0.1, 0.3, 0.7, math.inf]))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(VALUES, min_size=1, max_size=9),
    st.lists(VALUES, min_size=1, max_size=9),
    st.sampled_from(["lower", "higher"]),
    st.sampled_from([0.8, 0.95]),
    st.sampled_from([paired, compare_unpaired]),
)
def test_the_interval_excludes_no_difference_exactly_if_the_test_is_significant(
    one: list[float], other: list[float], better: str, level: float, compare: Callable[..., Comparison]
) -> None:
    found = compare(one, other, better=better, level=level)
    for estimate, null in ((found.hl_difference, 0), (found.hl_ratio, 1)):
        if Note.NO_RATIO in estimate.notes or Note.NO_FINITE in estimate.notes:
            assert estimate.value is None
            continue
        interval = estimate.interval
        assert (interval is not None and null not in interval) == found.significant
        if interval is not None and estimate.value is not None:
            assert interval.low <= estimate.value <= interval.high


@pytest.mark.parametrize("compare", [paired, compare_unpaired])
def test_swapping_the_groups_inverts_the_hodges_lehmann_estimates(compare: Callable[..., Comparison]) -> None:
    one, other = np.random.default_rng(3).lognormal(0, 1, (2, 8))
    ours, theirs = compare(one, other), compare(other, one)
    low, high = limits(theirs.hl_difference)
    assert limits(ours.hl_difference) == pytest.approx((-high, -low))
    low, high = limits(theirs.hl_ratio)
    assert limits(ours.hl_ratio) == pytest.approx((1 / high, 1 / low))
    assert ours.hl_ratio.value == pytest.approx(1 / (theirs.hl_ratio.value or 0))


@pytest.mark.parametrize(("n", "enough"), [(5, False), (6, True)])
def test_too_few_pairs_for_the_test_have_no_interval(n: int, enough: bool) -> None:
    rng = np.random.default_rng(0)
    found = paired(rng.normal(9, 1, n), rng.normal(0, 1, n))
    assert (found.hl_difference.interval is not None) == found.significant == enough
    assert (Note.FEW_FOR_TEST in found.hl_difference.notes) != enough


def test_an_interval_of_zero_width_has_a_note() -> None:
    found = paired(np.arange(8.0) + 2, np.arange(8.0))
    assert limits(found.hl_difference) == (2, 2)
    assert found.hl_difference.footnotes == (Note.NO_WIDTH,)


@pytest.mark.parametrize("compare", [paired, compare_unpaired])
@pytest.mark.parametrize("better", ["lower", "higher"])
def test_diverged_runs_make_the_interval_unbounded_on_their_side(
    compare: Callable[..., Comparison], better: str
) -> None:
    rng = np.random.default_rng(0)
    one, other = rng.lognormal(0, 0.5, (2, 10))
    one[:4] = math.nan
    low, high = limits(compare(one, other, better=better).hl_difference)
    assert (math.isinf(low), math.isinf(high)) == ((False, True) if better == "lower" else (True, False))


@pytest.mark.parametrize("compare", [paired, compare_unpaired])
def test_a_thinned_set_of_points_gives_the_limits_of_all_points(
    compare: Callable[..., Comparison], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = np.random.default_rng(1).lognormal(0, 1, (2, 40))
    exact = compare(one, other)
    monkeypatch.setattr(inversion, "MAX_VALUES", 15)
    monkeypatch.setattr(hodges_lehmann, "MAX_VALUES", 15)
    thinned = compare(one, other)
    for name in ("hl_difference", "hl_ratio"):
        assert limits(getattr(thinned, name)) == pytest.approx(limits(getattr(exact, name)), rel=1e-6)
        assert getattr(thinned, name).value == pytest.approx(getattr(exact, name).value, rel=1e-6)


def test_the_interval_of_the_shift_covers_at_least_at_its_level(coverage: Coverage) -> None:
    def shift(values: np.ndarray) -> Estimate:
        return paired(values, np.zeros(len(values))).hl_difference

    found = coverage(shift, lambda rng: 1 + rng.standard_t(3, 9), 1, 300)
    assert found > 0.95 - 4 * math.sqrt(0.95 * 0.05 / 300)
