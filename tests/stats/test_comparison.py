"""Two groups are compared as the second library does, intervals hold as often as they say,
diverged runs count, Holm's p are right, and what n cannot show is called underpowered.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from paramshare.errors import UsageError
from paramshare.stats.comparison import adjusted, holm
from paramshare.stats.estimate import Note
from paramshare.stats.paired import Paired, _beats, compare_paired
from paramshare.stats.unpaired import Unpaired, compare_unpaired
from paramshare.stats.unpaired import _beats as _superiority
from paramshare.stats.unpaired import _difference as _welch

Coverage = Callable[..., float]


def pairs(one: np.ndarray, other: np.ndarray, **options: object) -> Paired:
    return compare_paired(dict(enumerate(one)), dict(enumerate(other)), **options)  # type: ignore[arg-type]


def test_a_paired_comparison_equals_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    one = rng.lognormal(0, 0.5, 14)
    other = one * rng.lognormal(0.3, 0.3, 14)
    found = pairs(one, other)
    assert found.difference.interval is not None
    second = stats.ttest_rel(one, other)
    assert found.difference.value == pytest.approx(np.mean(one - other))
    limits = (found.difference.interval.low, found.difference.interval.high)
    assert limits == pytest.approx(tuple(second.confidence_interval(0.95)))
    assert found.ratio.value == pytest.approx(stats.gmean(one) / stats.gmean(other))
    assert found.ratio.interval is not None
    logs = stats.ttest_rel(np.log(one), np.log(other)).confidence_interval(0.95)
    assert (found.ratio.interval.low, found.ratio.interval.high) == pytest.approx(tuple(np.exp(logs)))
    assert found.beats.interval is not None
    exact = stats.binomtest(int((one < other).sum()), 14).proportion_ci(0.95, "exact")
    assert (found.beats.interval.low, found.beats.interval.high) == pytest.approx(tuple(exact))
    assert found.p == pytest.approx(stats.wilcoxon(one, other, method="exact").pvalue)
    assert found.effect.interval is not None
    below = stats.nct.cdf(second.statistic, 13, found.effect.interval.low * math.sqrt(14))
    assert below == pytest.approx(0.975, abs=1e-4)


@pytest.mark.parametrize("n", [5, 12, 30])
@pytest.mark.parametrize(("win", "tie"), [(0.5, 0.0), (0.75, 0.0), (0.97, 0.0), (0.4, 0.4), (0.8, 0.1)])
def test_the_interval_of_the_win_probability_covers_at_least_at_its_level(n: int, win: float, tie: float) -> None:
    """By adding up the probabilities of all outcomes: no simulation."""
    truth, held = win + tie / 2, 0.0
    for wins in range(n + 1):
        for ties in range(n + 1 - wins) if tie else (0,):
            values = np.array([0.0] * wins + [1.0] * ties + [2.0] * (n - wins - ties))
            interval = _beats(values, np.ones(n), "lower", 0.95).interval
            assert interval is not None
            chance = stats.multinomial.pmf([wins, ties, n - wins - ties], n, [win, tie, 1 - win - tie])
            held += float(chance) * (truth in interval)
    assert held >= 0.95


def test_a_diverged_run_loses_against_any_number_and_ties_with_a_diverged_run() -> None:
    one = np.array([1.0, math.nan, math.inf, 2.0])
    other = np.array([math.inf, 5.0, math.nan, 1.0])
    found = pairs(one, other)
    assert (found.n, found.finite) == (4, 1)
    assert found.beats.value == (1 + 0.5) / 4
    assert set(found.beats.notes) == {Note.TIES, Note.DIVERGED_WORST}
    assert (found.difference.value, found.difference.n) == (1, 1)
    assert set(found.difference.notes) == {Note.DIVERGED_OUT, Note.ONE_VALUE}
    assert (found.median_difference.value, found.median_difference.n) == (1, 3)
    accuracy = pairs(one, other, better="higher")
    assert accuracy.beats.value == (2 + 0.5) / 4
    assert compare_unpaired(one, other).beats.value == (3.5 + 1 + 1 + 3) / 16


def test_seeds_of_one_group_only_are_omitted_and_counted() -> None:
    found = compare_paired({0: 1.0, 1: 2.0, 5: 9.0}, {1: 1.0, 0: 3.0, 7: 4.0, 8: 4.0})
    assert (found.n, found.left_out, found.difference.value) == (2, 3, -0.5)
    assert Note.SEEDS_OUT in found.difference.notes
    assert found.difference.interval is not None


def test_swapping_the_groups_inverts_every_estimate() -> None:
    rng = np.random.default_rng(3)
    one, other = rng.lognormal(0, 1, 11), rng.lognormal(0.5, 1, 11)
    for compare in (pairs, compare_unpaired):
        ours, theirs = compare(one, other), compare(other, one)
        assert ours.p == pytest.approx(theirs.p)
        for name in ("difference", "effect"):
            a, b = getattr(ours, name), getattr(theirs, name)
            assert (a.value, a.interval.low) == pytest.approx((-b.value, -b.interval.high))
        assert (ours.beats.value, ours.beats.interval.low) == pytest.approx(
            (1 - theirs.beats.value, 1 - theirs.beats.interval.high)
        )
        assert ours.ratio.value == pytest.approx(1 / theirs.ratio.value)


def test_an_unpaired_comparison_equals_that_of_scipy() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.lognormal(0, 0.5, 9), rng.lognormal(0.6, 0.9, 12)
    found = compare_unpaired(one, other)
    second = stats.ttest_ind(one, other, equal_var=False)
    assert found.difference.interval is not None
    limits = (found.difference.interval.low, found.difference.interval.high)
    assert limits == pytest.approx(tuple(second.confidence_interval(0.95)))
    pooled = stats.ttest_ind(one, other).statistic * math.sqrt(1 / 9 + 1 / 12)
    assert found.effect.value == pytest.approx(pooled * (1 - 3 / (4 * 19 - 1)), rel=2e-3)
    assert found.beats.value == 1 - stats.mannwhitneyu(one, other).statistic / 108
    assert found.p == pytest.approx(stats.brunnermunzel(one, other).pvalue, abs=0.02)


@pytest.mark.parametrize(("n", "m", "spread"), [(3, 3, 1), (10, 10, 4), (5, 20, 3)])
def test_the_interval_of_the_difference_of_groups_covers_at_its_level(
    n: int, m: int, spread: float, coverage: Coverage
) -> None:
    def draw(rng: np.random.Generator) -> np.ndarray:
        return np.concatenate([rng.normal(1, 1, n), rng.normal(0, spread, m)])

    found = coverage(lambda v: _welch(v[:n], v[n:], 0.95), draw, 1, 600)
    assert 0.95 - 4 * math.sqrt(0.95 * 0.05 / 600) < found < 0.99


@pytest.mark.parametrize(("n", "m"), [(3, 3), (5, 5), (10, 10), (30, 30), (5, 20), (20, 5)])
@pytest.mark.parametrize(
    ("apart", "spread", "diverged"), [(0, 1, 0.0), (0, 4, 0.0), (1, 1, 0.0), (2.5, 1, 0.0), (4, 4, 0.0), (0, 1, 0.1)]
)
def test_the_interval_of_superiority_covers_about_at_its_level(
    n: int, m: int, apart: float, spread: float, diverged: float, coverage: Coverage
) -> None:
    """Simulated at 4000 draws it held between 0.934 (exponential, 5 and 20) and 1 (3 and 3)."""
    truth = stats.norm.cdf(apart / math.hypot(1, spread)) * (1 - diverged) + diverged

    def draw(rng: np.random.Generator) -> np.ndarray:
        one = np.where(rng.random(n) < diverged, np.inf, rng.normal(apart, 1, n))
        return np.concatenate([one, rng.normal(0, spread, m)])

    found = coverage(lambda v: _superiority(v[:n], v[n:], "higher", 0.95), draw, truth, 300)
    assert found > 0.935 - 4 * math.sqrt(0.935 * 0.065 / 300)


@pytest.mark.parametrize("n", [3, 6, 20])
def test_separate_groups_have_the_smallest_p_value_of_their_sizes(n: int) -> None:
    found = compare_unpaired(np.arange(n), np.arange(n) + 100.0)
    assert found.beats.value == 1
    assert found.beats.interval is not None
    assert (found.beats.interval.high, found.beats.interval.note) == (1, Note.ONE_SIDED)
    # n wins of n can come about by chance where the probability is as low as this
    assert found.beats.interval.low < 0.025 ** (1 / n) + 0.02
    assert found.p == pytest.approx(found.power.smallest_p, abs=1e-4)


def test_the_interval_of_the_effect_has_a_note_if_the_spreads_differ() -> None:
    rng = np.random.default_rng(0)
    found = compare_unpaired(rng.normal(0, 1, 20), rng.normal(0, 6, 20))
    assert Note.OTHER_SPREAD in found.effect.footnotes
    assert Note.OTHER_SPREAD not in found.difference.footnotes


@pytest.mark.parametrize(
    ("one", "other", "name", "note"),
    [
        ([1, 2], [1, 3], "effect", None),
        ([], [], "beats", Note.NO_VALUES),
        ([1], [2, 3], "beats", Note.ONE_VALUE),
        ([1], [2, 3], "effect", Note.FEW_FOR_EFFECT),
        ([1, 1], [1, 1], "beats", Note.CONSTANT),
        ([1, 1], [2, 2], "difference", Note.CONSTANT),
        ([1, 1], [2, 3], "difference", Note.ONE_CONSTANT),
        ([0, 1], [2, 3], "ratio", Note.NOT_POSITIVE),
    ],
)
def test_a_missing_interval_has_a_note_with_the_reason(
    one: list[float], other: list[float], name: str, note: Note | None
) -> None:
    estimate = getattr(compare_unpaired(one, other), name)
    assert note in estimate.footnotes if note else estimate.interval is not None
    assert estimate.interval is not None or estimate.notes


def test_differences_that_are_equal_up_to_rounding_have_no_interval() -> None:
    found = pairs(np.array([0.3, 0.2, 0.1]), np.array([0.2, 0.1, 0.0]))
    assert found.difference.value == pytest.approx(0.1)
    assert (found.difference.interval, found.difference.notes) == (None, (Note.CONSTANT,))
    assert (found.effect.value, found.effect.notes) == (None, (Note.CONSTANT,))
    assert found.p == 0.25


def test_too_few_runs_for_a_difference_are_underpowered() -> None:
    rng = np.random.default_rng(4)
    few = pairs(rng.normal(1, 1, 5), rng.normal(0, 1, 5))
    assert few.underpowered
    assert not few.significant
    alike = pairs(rng.normal(0, 1, 60), rng.normal(0, 1, 60))
    assert not alike.significant
    assert not alike.underpowered
    assert pairs(np.zeros(60), rng.normal(0, 1, 60), interest=0.1).underpowered
    apart = pairs(rng.normal(9, 1, 7), rng.normal(0, 1, 7))
    assert apart.significant
    assert not apart.underpowered


def test_a_family_of_comparisons_needs_more_pairs_and_decides_by_adjusted_p_values() -> None:
    rng = np.random.default_rng(6)
    one, other = rng.normal(1.2, 1, 8), rng.normal(0, 1, 8)
    alone, among = pairs(one, other), pairs(one, other, family=6)
    assert among.power.needed > alone.power.needed
    assert (among.p, among.alpha) == (alone.p, alone.alpha)
    first = replace(alone, p=0.03)
    assert first.significant
    assert not adjusted([first, first])[0].significant


def test_paired_and_unpaired_comparisons_are_adjusted_together() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(0, 1, (2, 9))
    found = adjusted([pairs(one, other), compare_unpaired(one, other)])
    assert [type(comparison) for comparison in found] == [Paired, Unpaired]
    assert [comparison.p_holm for comparison in found] == list(holm([comparison.p for comparison in found]))


@pytest.mark.parametrize(
    ("ps", "expected"),
    [
        # Holm's procedure as in the documentation of R's p.adjust and in Wright, Biometrics 48 (1992), by hand.
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.01, 0.02, 0.03, 0.04, 0.05], [0.05, 0.08, 0.09, 0.09, 0.09]),
        ([0.9, 0.8], [1, 1]),
        ([], []),
    ],
)
def test_holm_p_values_equal_published_ones(ps: list[float], expected: list[float]) -> None:
    assert holm(ps) == pytest.approx(tuple(expected))


@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0.001, 0.999))
def test_holm_p_values_reject_the_same_as_the_step_down_procedure(ps: list[float], alpha: float) -> None:
    """The procedure as Holm states it: from the smallest on, against alpha / those left, to the first no."""
    rejected = set()
    left = sorted(range(len(ps)), key=lambda place: ps[place])
    while left and ps[left[0]] * len(left) <= alpha:
        rejected.add(left.pop(0))
    found = holm(ps)
    assert {place for place, p in enumerate(found) if p <= alpha} == rejected
    assert all(p <= other <= 1 for p, other in zip(ps, found, strict=True))
    assert sorted(found) == [found[place] for place in sorted(range(len(ps)), key=lambda place: ps[place])]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="p-values must be between 0 and 1"):
        holm([0.2, math.nan])
    with pytest.raises(UsageError, match="family=0"):
        pairs(np.ones(3), np.zeros(3), family=0)
    with pytest.raises(UsageError, match="use 'lower' or 'higher'"):
        compare_unpaired([1], [2], better="less")  # type: ignore[arg-type]
