"""Two rank tests, and the smallest p that they can have. They are exact for any distribution and count diverged runs.

Both are permutation tests, so p is valid for any n, also with ties. With few runs p cannot be small, see
`smallest_p_of_pairs` and `smallest_p_of_groups`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, islice, pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = [
    "SamePermutations",
    "Superiority",
    "signed_rank_p",
    "signed_rank_sum",
    "smallest_p_of_groups",
    "smallest_p_of_pairs",
    "studentized_permutation_p",
]

_EXACT_PAIRS: Final = 200  # with more pairs, the normal approximation is correct to 4 digits
_PERMUTATIONS: Final = 20_000  # if there are more, so many are drawn
_PERMUTED_RUNS: Final = 200  # with more runs, the t approximation is correct, unless a group is small
_SMALL_GROUP: Final = 20  # with groups of 2 and 250 runs, the approximation rejects a true hypothesis in 15 % of tests
_RUNS_WITH_TIES: Final = 60  # with more runs, permutations for each pattern of ties take seconds
_BLOCK: Final = 1_000_000  # values that are permuted at a time: 8 MB per array


def signed_rank_p(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test: each sign of a difference has probability 1/2.

    The distribution is exact for the observed ranks, including ties and zeros. Zeros are ranked and then omitted
    (Pratt, Journal of the American Statistical Association 54 (1959)). An infinite difference has the highest rank.

    Args:
        one, other: (n,), the two values of each pair, without NaN.
    """
    signed = _signed_ranks(one, other)
    if len(signed) == 0:
        return 1.0
    ranks, observed = np.abs(signed), abs(int(signed.sum()))
    if len(ranks) > _EXACT_PAIRS:
        return float(2 * stats.norm.sf(observed / math.sqrt(float((ranks**2).sum()))))
    total = int(ranks.sum())
    sums = 2 * np.arange(total + 1) - total
    return min(1.0, float(_distribution_of_sum(tuple(ranks.tolist()))[np.abs(sums) >= observed].sum()))


@lru_cache(maxsize=8)
def _distribution_of_sum(ranks: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the probability of each sum of the ranks of positive differences, from 0 to the sum of all ranks."""
    probabilities = np.zeros(sum(ranks) + 1)
    probabilities[0] = 1
    for rank in ranks:
        probabilities /= 2
        probabilities[rank:] += probabilities[:-rank].copy()
    return probabilities


def signed_rank_sum(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the statistic of the signed-rank test: the sum of the signed ranks of the differences one − other.

    The ranks weigh pairs by the size of their difference. So the group that the statistic favours can be another one
    than the group that wins most pairs.
    """
    return int(_signed_ranks(one, other).sum()) / 2


def smallest_p_of_pairs(n: int) -> float:
    """Return the smallest p of n pairs: all differences have the same sign."""
    return min(1.0, 2.0 ** (1 - n))


@dataclass(frozen=True, slots=True)
class Superiority:
    """The probability that a run of the first group has the larger value; a tie counts half.

    Source: Brunner and Munzel, Biometrical Journal 42 (2000).

    Args:
        share: the estimate: Mann and Whitney's U divided by the number of pairs.
        variance: the variance of the estimate, from the placements of each run in the other group (DeLong 1988).
        freedom: Satterthwaite's degrees of freedom of the variance; None if the variance is 0.
    """

    share: float
    variance: float
    freedom: float | None

    @classmethod
    def of(cls, one: NDArray[np.float64], other: NDArray[np.float64]) -> "Superiority":
        """Estimate it from the values of two groups, (n,) and (m,), without NaN and at least 2 each."""
        membership, starts, ends = _pooled(one, other)
        twice, first, second = _placements(membership[None], starts, ends, len(one), len(other))
        n, m = len(one), len(other)
        parts = (float(first[0]) / (4 * m * m * n), float(second[0]) / (4 * n * n * m))
        variance = sum(parts)
        freedom = variance**2 / (parts[0] ** 2 / (n - 1) + parts[1] ** 2 / (m - 1)) if variance else None
        return cls(float(twice[0]) / (2 * n * m), variance, freedom)


def studentized_permutation_p(one: NDArray[np.float64], other: NDArray[np.float64], rng: np.random.Generator) -> float:
    """Return the two-sided p of Neubert and Brunner's test that neither group tends to larger values.

    The test permutes Brunner and Munzel's statistic. It is exact if both groups have the same distribution, and
    asymptotically valid if their variances differ, which Mann and Whitney's test is not.
    Source: Neubert and Brunner, Computational Statistics & Data Analysis 51 (2007).

    Args:
        one, other: (n,) and (m,), at least 2 values each, without NaN.
        rng: the generator of the permutations, which are drawn if there are more than 20,000.
    """
    n, m = len(one), len(other)
    membership, starts, ends = _pooled(one, other)
    observed = abs(float(_statistics(membership[None], starts, ends, n, m)[0]))
    if n + m > _PERMUTED_RUNS and min(n, m) >= _SMALL_GROUP:
        freedom = Superiority.of(one, other).freedom
        p = float(2 * stats.t.sf(observed, freedom)) if freedom else float(observed == 0)
        return max(p, smallest_p_of_groups(n, m))
    return _share_as_far(observed, _permuted(membership, starts, ends, n, m, rng), n, m)


class SamePermutations:
    """The studentized permutation test for many pairs of groups of the same sizes, with the same permutations for all.

    So p does not vary randomly between pairs of groups. Groups with the same pattern of ties have the same
    permutations. With more than 60 runs ties are ignored, since they hardly change the distribution of a studentized
    statistic.

    Args:
        n, m: the sizes, at least 2 each.
        seed: the seed of the permutations, which are drawn if there are more than 20,000.
    """

    def __init__(self, n: int, m: int, seed: int) -> None:
        self._n, self._m, self._seed = n, m, seed
        self._permuted: dict[bytes, NDArray[np.float64]] = {}

    def p(self, one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
        """Return the p of two groups, (n,) and (m,), without NaN."""
        n, m = self._n, self._m
        if n + m > _PERMUTED_RUNS and min(n, m) >= _SMALL_GROUP:
            return studentized_permutation_p(one, other, np.random.default_rng(self._seed))
        membership, starts, ends = _pooled(one, other)
        observed = abs(float(_statistics(membership[None], starts, ends, n, m)[0]))
        if n + m > _RUNS_WITH_TIES:
            starts, ends = np.arange(n + m), np.arange(n + m) + 1
        ties = starts.tobytes() + ends.tobytes()
        if ties not in self._permuted:
            first = np.arange(n + m) < n
            self._permuted[ties] = _permuted(first, starts, ends, n, m, np.random.default_rng(self._seed))
        return _share_as_far(observed, self._permuted[ties], n, m)


def _permuted(
    membership: NDArray[np.bool_],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    n: int,
    m: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return the absolute statistics of all choices, or of drawn choices, sorted."""
    source = _every_choice(n, m) if math.comb(n + m, n) <= _PERMUTATIONS else _drawn_choices(membership, rng)
    statistics = np.concatenate([np.abs(_statistics(chosen, starts, ends, n, m)) for chosen in source])
    statistics.sort()
    return statistics


def _share_as_far(observed: float, permuted: NDArray[np.float64], n: int, m: int) -> float:
    """Return the share of permuted statistics that are at least as large as the observed one."""
    total = len(permuted)
    extreme = total - int(np.searchsorted(permuted, observed * (1 - 1e-9)))
    return extreme / total if math.comb(n + m, n) <= _PERMUTATIONS else (extreme + 1) / (total + 1)


def smallest_p_of_groups(n: int, m: int) -> float:
    """Return the smallest p of groups of n and m runs: all values of one group are larger."""
    return min(1.0, 2 / math.comb(n + m, n)) if min(n, m) >= 2 else 1.0


def _signed_ranks(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return twice the signed ranks of the differences that are not 0. Doubled ranks of ties are whole numbers."""
    sizes, signs = _magnitudes(one, other)
    signed: NDArray[np.int64] = np.rint(2 * stats.rankdata(sizes) * signs).astype(np.int64)[signs != 0]
    return signed


def _magnitudes(
    one: NDArray[np.float64], other: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sizes and signs of the differences. Sizes that differ only by rounding are made equal."""
    with np.errstate(invalid="ignore"):
        differences = np.where(one == other, 0.0, one - other)
    sizes = np.abs(differences)
    largest = np.maximum(np.abs(one), np.abs(other))
    rounding = 8 * np.finfo(np.float64).eps * np.where(np.isfinite(largest), largest, 0.0)
    order = np.argsort(sizes, kind="stable")
    with np.errstate(invalid="ignore"):
        gaps = np.diff(sizes[order])
        if not np.any((gaps > 0) & (gaps <= np.maximum(rounding[order][1:], rounding[order][:-1]))):
            return sizes, np.sign(differences)
        for before, after in pairwise(order):
            if sizes[before] > 0 and sizes[after] - sizes[before] <= max(rounding[before], rounding[after]):
                sizes[after] = sizes[before]
    return sizes, np.sign(differences)


def _pooled(
    one: NDArray[np.float64], other: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """Sort the values of both groups; return whether each is of the first, and the start and end of its ties."""
    values = np.concatenate([one, other])
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts, ends = (np.searchsorted(ordered, ordered, side) for side in ("left", "right"))
    return order < len(one), starts.astype(np.int64), ends.astype(np.int64)


def _placements(
    chosen: NDArray[np.bool_], starts: NDArray[np.int64], ends: NDArray[np.int64], n: int, m: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return twice U of the first group and the placement variance of each group, (rows,) each.

    Counts are doubled, so that the counts of ties are whole numbers, and a variance of 0 is exactly 0.

    Args:
        chosen: (rows, n + m), whether each value belongs to the first group.
        starts, ends: (n + m,), the start and end of the ties of each value.
        n, m: the sizes of the groups.
    """
    counts = np.zeros((len(chosen), n + m + 1), np.int64)
    np.cumsum(chosen, axis=1, out=counts[:, 1:])
    of_first = counts[:, starts] + counts[:, ends]  # twice the number of values of the first that are below
    of_second = (starts + ends) - of_first
    first, second = np.where(chosen, of_second, 0), np.where(chosen, 0, of_first)
    sums = first.sum(axis=1)
    spread_first = (n * (first**2).sum(axis=1) - sums**2) / (n * (n - 1))
    spread_second = (m * (second**2).sum(axis=1) - second.sum(axis=1) ** 2) / (m * (m - 1))
    return sums, spread_first, spread_second


def _statistics(
    chosen: NDArray[np.bool_], starts: NDArray[np.int64], ends: NDArray[np.int64], n: int, m: int
) -> NDArray[np.float64]:
    """Return Brunner and Munzel's statistic of each row; infinite if all values of one group are larger."""
    twice, first, second = _placements(chosen, starts, ends, n, m)
    distance = twice - n * m  # without the factor 1 / (2 n m), which the root below lacks too
    with np.errstate(divide="ignore", invalid="ignore"):
        statistics = distance / np.sqrt(first * n + second * m)
    return np.where(distance == 0, 0.0, statistics)


def _every_choice(n: int, m: int) -> Iterator[NDArray[np.bool_]]:
    choices = combinations(range(n + m), n)
    while block := list(islice(choices, _BLOCK // (n + m))):
        chosen = np.zeros((len(block), n + m), np.bool_)
        np.put_along_axis(chosen, np.array(block), True, axis=1)
        yield chosen


def _drawn_choices(membership: NDArray[np.bool_], rng: np.random.Generator) -> Iterator[NDArray[np.bool_]]:
    remaining = _PERMUTATIONS - 1
    while remaining:
        rows = min(remaining, _BLOCK // len(membership))
        yield rng.permuted(np.tile(membership, (rows, 1)), axis=1)
        remaining -= rows
