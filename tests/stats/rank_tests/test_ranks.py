"""The tests by ranks give the p of going through all that chance could have done, hold their size for any
values, and have the power that `power` says.
"""

import math
from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from paramshare.stats.rank_tests import ranks
from paramshare.stats.rank_tests.power import group_size_needed, pairs_needed
from paramshare.stats.rank_tests.ranks import (
    Superiority,
    signed_rank_p,
    signed_rank_sum,
    smallest_p_of_groups,
    smallest_p_of_pairs,
    studentized_permutation_p,
)


def by_all_signs(one: np.ndarray, other: np.ndarray) -> float:
    differences = [0.0 if a == b else a - b for a, b in zip(one, other, strict=True)]
    sizes = stats.rankdata(np.abs(differences))
    scores = [size for size, difference in zip(sizes, differences, strict=True) if difference]
    seen = abs(sum(size * np.sign(difference) for size, difference in zip(sizes, differences, strict=True)))
    sums = [
        abs(sum(s * r for s, r in zip(signs, scores, strict=True))) for signs in product((1, -1), repeat=len(scores))
    ]
    return float(np.mean(np.array(sums) >= seen - 1e-9))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["continuous", "ties and zeros", "diverged"])
def test_the_signed_rank_p_value_equals_enumeration_of_all_signs(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.normal(0.5, 1, (2, 9))
    if kind == "ties and zeros":
        one, other = rng.integers(0, 4, (2, 9)).astype(float)
    if kind == "diverged":
        one[:2] = other[1:3] = np.inf
    with np.errstate(invalid="ignore"):
        assert signed_rank_p(one, other) == pytest.approx(by_all_signs(one, other), abs=1e-12)
    assert signed_rank_p(one, other) == signed_rank_p(other, one)


def test_the_signed_rank_p_value_equals_scipys() -> None:
    rng = np.random.default_rng(2)
    for n in (5, 12, 40):
        one, other = rng.normal(0, 1, n), rng.normal(0.5, 1, n)
        assert signed_rank_p(one, other) == pytest.approx(stats.wilcoxon(one, other, method="exact").pvalue, rel=1e-9)
    one, other = rng.normal(0, 1, 400), rng.normal(0.15, 1, 400)
    exact = stats.wilcoxon(one, other, method="exact").pvalue
    assert signed_rank_p(one, other) == pytest.approx(exact, rel=0.05)


def test_differences_that_differ_by_rounding_are_ties() -> None:
    one, other = np.array([0.3, 0.2, 0.1, 0.9]), np.array([0.2, 0.1, 0.2, 0.5])
    assert len({abs(difference) for difference in one[:3] - other[:3]}) > 1
    assert signed_rank_p(one, other) == by_all_signs(np.array([3.0, 2, 1, 9]), np.array([2.0, 1, 2, 5]))


@pytest.mark.parametrize("n", [6, 15])
@pytest.mark.parametrize("kind", ["normal", "heavy tails", "ties", "a fifth diverged"])
def test_the_signed_rank_test_keeps_its_level_under_the_null_hypothesis(kind: str, n: int) -> None:
    rng, repeats = np.random.default_rng(n), 1000
    draw = {
        "normal": lambda: rng.normal(size=(2, n)),
        "heavy tails": lambda: rng.standard_cauchy((2, n)),
        "ties": lambda: rng.binomial(3, 0.5, (2, n)).astype(float),
        "a fifth diverged": lambda: np.where(rng.random((2, n)) < 0.2, np.inf, rng.lognormal(size=(2, n))),
    }[kind]
    found = sum(signed_rank_p(*draw()) <= 0.05 for _ in range(repeats))
    assert found <= 50 + 4 * math.sqrt(repeats * 0.05 * 0.95)


@pytest.mark.parametrize("effect", [2.0, 1.44, 1.0, 0.5])
def test_the_signed_rank_test_has_its_power_at_the_required_number_of_pairs(effect: float) -> None:
    rng, n = np.random.default_rng(1), pairs_needed(effect, by_ranks=True)
    found = np.mean([signed_rank_p(rng.normal(effect, 1, n), np.zeros(n)) < 0.05 for _ in range(1000)])
    assert found > 0.8 - 4 * math.sqrt(0.8 * 0.2 / 1000)
    if effect < 1.4:  # before, p cannot fall below alpha with fewer, whatever the power
        assert found < 0.8 + 4 * math.sqrt(0.8 * 0.2 / 1000)


def test_the_signed_rank_sum_equals_scipys() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.normal(size=(2, 14))
    positive = stats.wilcoxon(one, other, alternative="greater").statistic  # the ranks of positive differences
    assert signed_rank_sum(one, other) == 2 * positive - 14 * 15 / 2 == -signed_rank_sum(other, one)


def test_the_placements_and_their_statistic_equal_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.binomial(6, 0.6, 11).astype(float), rng.binomial(6, 0.4, 8).astype(float)
    found = Superiority.of(one, other)
    assert found.share == np.mean([(a > b) + (a == b) / 2 for a in one for b in other])
    assert found.share == stats.mannwhitneyu(one, other).statistic / 88
    second = stats.brunnermunzel(one, other)
    statistic = (found.share - 0.5) / math.sqrt(found.variance)
    assert statistic == pytest.approx(-second.statistic)
    assert 2 * stats.t.sf(abs(statistic), found.freedom) == pytest.approx(second.pvalue)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ties", [False, True])
def test_the_permutation_p_value_equals_enumeration_of_all_choices(seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    pooled = rng.binomial(5, 0.5, 9).astype(float) if ties else rng.normal(size=9)

    def statistic(chosen: tuple[int, ...]) -> float:
        one, other = pooled[list(chosen)], np.delete(pooled, list(chosen))
        found = Superiority.of(one, other)
        if found.share == 0.5:
            return 0.0
        return abs(found.share - 0.5) / math.sqrt(found.variance) if found.variance else math.inf

    seen = statistic((0, 1, 2, 3))
    everything = [statistic(chosen) for chosen in combinations(range(9), 4)]
    expected = np.mean([one >= seen * (1 - 1e-9) for one in everything])
    assert studentized_permutation_p(pooled[:4], pooled[4:], rng) == pytest.approx(expected, abs=1e-12)


def test_sampled_permutations_approximate_the_exact_p_value_reproducibly(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(0, 1, 8), rng.normal(1, 2, 7)
    exact = studentized_permutation_p(one, other, rng)
    monkeypatch.setattr(ranks, "_PERMUTATIONS", 6000)  # of 6435
    by_chance = [studentized_permutation_p(one, other, np.random.default_rng(9)) for _ in range(2)]
    assert by_chance[0] == by_chance[1] == pytest.approx(exact, abs=4 * math.sqrt(exact / 6000))


@pytest.mark.parametrize("n", [101, 150])
def test_the_t_approximation_for_many_runs_agrees_with_permutations(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(n)
    one, other = rng.lognormal(0, 1, n), rng.lognormal(0.25, 1, n)
    quick = studentized_permutation_p(one, other, rng)
    monkeypatch.setattr(ranks, "_PERMUTED_RUNS", 1000)
    monkeypatch.setattr(ranks, "_PERMUTATIONS", 4000)
    assert studentized_permutation_p(one, other, rng) == pytest.approx(quick, abs=4 * math.sqrt(quick / 4000) + 0.002)


@pytest.mark.parametrize(("n", "m"), [(250, 2), (199, 2), (300, 3), (150, 150)])
def test_no_p_value_is_below_the_smallest_possible_for_uneven_groups(n: int, m: int) -> None:
    low, high = np.arange(n, dtype=float), n + np.arange(m, dtype=float)
    found = studentized_permutation_p(low, high, np.random.default_rng(0))
    assert smallest_p_of_groups(n, m) <= found < 0.01


def test_the_test_of_a_small_and_a_large_group_keeps_its_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "_PERMUTATIONS", 500)
    rng, repeats = np.random.default_rng(5), 200
    found = sum(
        studentized_permutation_p(rng.normal(size=250), rng.normal(size=2), rng) <= 0.05 for _ in range(repeats)
    )
    assert found <= repeats * 0.05 + 4 * math.sqrt(repeats * 0.05 * 0.95)  # the t approximation finds 15 of 100


@pytest.mark.parametrize(
    ("n", "m", "spread", "diverged"), [(5, 5, 1, 0), (6, 6, 1, 0.2), (10, 10, 4, 0), (7, 20, 3, 0), (20, 7, 3, 0)]
)
def test_the_permutation_test_keeps_its_level_if_the_spreads_differ(
    n: int, m: int, spread: float, diverged: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mann and Whitney's test finds too much where the smaller group spreads more."""
    monkeypatch.setattr(ranks, "_PERMUTATIONS", 500)
    rng, repeats, found, by_ranks = np.random.default_rng(n + m), 300, 0, 0
    for _ in range(repeats):
        one, other = rng.normal(0, 1, n), rng.normal(0, spread, m)
        one[rng.random(n) < diverged] = other[rng.random(m) < diverged] = np.inf
        found += studentized_permutation_p(one, other, rng) <= 0.05
        by_ranks += stats.mannwhitneyu(one, other).pvalue <= 0.05
    assert found <= 15 + 4 * math.sqrt(repeats * 0.05 * 0.95)
    if m < n:
        assert by_ranks > 27


@pytest.mark.parametrize("effect", [2.0, 1.0])
def test_the_permutation_test_has_its_power_at_the_required_group_size(
    effect: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "_PERMUTATIONS", 999)
    rng, n = np.random.default_rng(2), group_size_needed(effect, by_ranks=True)
    found = [studentized_permutation_p(rng.normal(effect, 1, n), rng.normal(0, 1, n), rng) < 0.05 for _ in range(250)]
    assert np.mean(found) > 0.8 - 4 * math.sqrt(0.8 * 0.2 / 250)


@pytest.mark.parametrize("n", range(2, 7))
def test_the_smallest_p_value_is_that_of_separate_groups(n: int) -> None:
    low, high, rng = np.arange(1.0, n + 1), np.arange(20.0, 20 + n), np.random.default_rng(0)
    assert signed_rank_p(low, high) == smallest_p_of_pairs(n)
    assert studentized_permutation_p(low, high, rng) == pytest.approx(smallest_p_of_groups(n, n))
    assert (smallest_p_of_pairs(n) <= 0.05) == (n >= 6)
