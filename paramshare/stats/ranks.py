"""Two tests by ranks, and what they may conclude at most: exact, whatever the distribution, diverged runs included.

Both permute what chance could have permuted, so their p is right at any n, with ties too; with few runs it cannot be
small: see `smallest_p_of_pairs` and `smallest_p_of_groups`.
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

_EXACT_PAIRS: Final = 200  # beyond, the normal approximation is right to 4 digits
_PERMUTATIONS: Final = 20_000  # all of them up to so many; else so many by chance
_PERMUTED_RUNS: Final = 200  # beyond, the t approximation is right, unless a group is small:
_SMALL_GROUP: Final = 20  # with 2 runs beside 250 it finds something in 15 of 100 where there is nothing
_RUNS_WITH_TIES: Final = 60  # beyond, permutations for each pattern of ties take seconds
_AT_ONCE: Final = 1_000_000  # values that are permuted at a time: 8 MB an array


def signed_rank_p(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Wilcoxon's signed-rank test, two-sided: p if the sign of each pair's difference were a coin's.

    The exact distribution given the ranks that were seen, ties and zeros included (Pratt 1959: zeros are ranked and
    then left out). An infinite difference ranks above any other.

    Args:
        one, other: (n,), the two values of each pair; neither NaN.
    """
    signed = _signed_ranks(one, other)
    if len(signed) == 0:
        return 1.0
    ranks, seen = np.abs(signed), abs(int(signed.sum()))
    if len(ranks) > _EXACT_PAIRS:
        return float(2 * stats.norm.sf(seen / math.sqrt(float((ranks**2).sum()))))
    total = int(ranks.sum())
    sums = 2 * np.arange(total + 1) - total
    return min(1.0, float(_chances_of_sums(tuple(ranks.tolist()))[np.abs(sums) >= seen].sum()))


@lru_cache(maxsize=8)
def _chances_of_sums(ranks: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the chance of each sum of the ranks of positive differences, from 0 to that of all ranks."""
    shares = np.zeros(sum(ranks) + 1)
    shares[0] = 1
    for rank in ranks:
        shares /= 2
        shares[rank:] += shares[:-rank].copy()
    return shares


def signed_rank_sum(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """What that test is about: the sum of the ranks of pairs whose first is larger, less that of the others.

    It weighs how far pairs differ, so that it may lean another way than the number of pairs that are won.
    """
    return int(_signed_ranks(one, other).sum()) / 2


def smallest_p_of_pairs(n: int) -> float:
    """The p of n pairs that all differ the same way: no difference gets below it."""
    return min(1.0, 2.0 ** (1 - n))


@dataclass(frozen=True, slots=True)
class Superiority:
    """The probability that a run of the first group has the larger value, ties half (Brunner and Munzel 2000).

    Args:
        share: the estimate, Mann and Whitney's U over the number of pairs.
        variance: of the estimate, by the placements of each run in the other group (DeLong 1988).
        freedom: Satterthwaite's degrees of freedom of the variance; None where it is 0.
    """

    share: float
    variance: float
    freedom: float | None

    @classmethod
    def of(cls, one: NDArray[np.float64], other: NDArray[np.float64]) -> "Superiority":
        """From two groups' values, (n,) and (m,); neither NaN, at least 2 each."""
        membership, starts, ends = _pooled(one, other)
        twice, first, second = _placements(membership[None], starts, ends, len(one), len(other))
        n, m = len(one), len(other)
        parts = (float(first[0]) / (4 * m * m * n), float(second[0]) / (4 * n * n * m))
        variance = sum(parts)
        freedom = variance**2 / (parts[0] ** 2 / (n - 1) + parts[1] ** 2 / (m - 1)) if variance else None
        return cls(float(twice[0]) / (2 * n * m), variance, freedom)


def studentized_permutation_p(one: NDArray[np.float64], other: NDArray[np.float64], rng: np.random.Generator) -> float:
    """Neubert and Brunner's test, two-sided, that neither group tends to larger values.

    Brunner and Munzel's statistic, permuted: exact where the groups have one distribution, and right for many runs
    where they spread differently, which Mann and Whitney's test is not.
    Source: Computational Statistics & Data Analysis 51 (2007).

    Args:
        one, other: (n,) and (m,), at least 2 each; neither NaN.
        rng: draws permutations where there are too many to go through.
    """
    n, m = len(one), len(other)
    membership, starts, ends = _pooled(one, other)
    seen = abs(float(_statistics(membership[None], starts, ends, n, m)[0]))
    if n + m > _PERMUTED_RUNS and min(n, m) >= _SMALL_GROUP:
        freedom = Superiority.of(one, other).freedom
        p = float(2 * stats.t.sf(seen, freedom)) if freedom else float(seen == 0)
        return max(p, smallest_p_of_groups(n, m))
    return _share_as_far(seen, _permuted(membership, starts, ends, n, m, rng), n, m)


class SamePermutations:
    """That test for many pairs of groups of the same sizes: it permutes once for all of them that have the same ties.

    So its p does not vary by chance from one pair of groups to the next. Of more than 60 runs it permutes as if there
    were no ties: the statistic is studentized, so that they hardly change its distribution.

    Args:
        n, m: the sizes, at least 2 each.
        seed: of the permutations, where there are too many to go through.
    """

    def __init__(self, n: int, m: int, seed: int) -> None:
        self._n, self._m, self._seed = n, m, seed
        self._permuted: dict[bytes, NDArray[np.float64]] = {}

    def p(self, one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
        """Return the p of two groups, (n,) and (m,), neither NaN."""
        n, m = self._n, self._m
        if n + m > _PERMUTED_RUNS and min(n, m) >= _SMALL_GROUP:
            return studentized_permutation_p(one, other, np.random.default_rng(self._seed))
        membership, starts, ends = _pooled(one, other)
        seen = abs(float(_statistics(membership[None], starts, ends, n, m)[0]))
        if n + m > _RUNS_WITH_TIES:
            starts, ends = np.arange(n + m), np.arange(n + m) + 1
        ties = starts.tobytes() + ends.tobytes()
        if ties not in self._permuted:
            first = np.arange(n + m) < n
            self._permuted[ties] = _permuted(first, starts, ends, n, m, np.random.default_rng(self._seed))
        return _share_as_far(seen, self._permuted[ties], n, m)


def _permuted(
    membership: NDArray[np.bool_],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    n: int,
    m: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return the sizes of the statistics of all choices, or of choices by chance, sorted."""
    source = _every_choice(n, m) if math.comb(n + m, n) <= _PERMUTATIONS else _choices(membership, rng)
    found = np.concatenate([np.abs(_statistics(chosen, starts, ends, n, m)) for chosen in source])
    found.sort()
    return found


def _share_as_far(seen: float, permuted: NDArray[np.float64], n: int, m: int) -> float:
    total = len(permuted)
    extreme = total - int(np.searchsorted(permuted, seen * (1 - 1e-9)))
    return extreme / total if math.comb(n + m, n) <= _PERMUTATIONS else (extreme + 1) / (total + 1)


def smallest_p_of_groups(n: int, m: int) -> float:
    """The p of groups of n and m runs of which one has all the larger values: no difference gets below it."""
    return min(1.0, 2 / math.comb(n + m, n)) if min(n, m) >= 2 else 1.0


def _signed_ranks(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.int64]:
    """The ranks of the pairs that differ, with their differences' signs; doubled, so that those of ties are whole."""
    sizes, signs = _magnitudes(one, other)
    signed: NDArray[np.int64] = np.rint(2 * stats.rankdata(sizes) * signs).astype(np.int64)[signs != 0]
    return signed


def _magnitudes(
    one: NDArray[np.float64], other: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The sizes and signs of the differences; sizes that differ by rounding alone are made the same."""
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
    """Both groups' values in order: whether each is of the first, and where its ties start and end."""
    values = np.concatenate([one, other])
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts, ends = (np.searchsorted(ordered, ordered, side) for side in ("left", "right"))
    return order < len(one), starts.astype(np.int64), ends.astype(np.int64)


def _placements(
    chosen: NDArray[np.bool_], starts: NDArray[np.int64], ends: NDArray[np.int64], n: int, m: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """For each row of `chosen`, (rows, n + m): twice U of the first group, and the two groups' placement variances.

    Counts are doubled, so that those of ties are whole, and whole numbers make a variance of 0 exactly 0.
    """
    counts = np.zeros((len(chosen), n + m + 1), np.int64)
    np.cumsum(chosen, axis=1, out=counts[:, 1:])
    of_first = counts[:, starts] + counts[:, ends]  # twice how many of the first are below
    of_second = (starts + ends) - of_first
    first, second = np.where(chosen, of_second, 0), np.where(chosen, 0, of_first)
    sums = first.sum(axis=1)
    spread_first = (n * (first**2).sum(axis=1) - sums**2) / (n * (n - 1))
    spread_second = (m * (second**2).sum(axis=1) - second.sum(axis=1) ** 2) / (m * (m - 1))
    return sums, spread_first, spread_second


def _statistics(
    chosen: NDArray[np.bool_], starts: NDArray[np.int64], ends: NDArray[np.int64], n: int, m: int
) -> NDArray[np.float64]:
    """Brunner and Munzel's for each row; infinite where all of one group's values are larger."""
    twice, first, second = _placements(chosen, starts, ends, n, m)
    away = twice - n * m  # of 2 n m
    with np.errstate(divide="ignore", invalid="ignore"):
        found = away / np.sqrt(first * n + second * m)  # both over 2 n m
    return np.where(away == 0, 0.0, found)


def _every_choice(n: int, m: int) -> Iterator[NDArray[np.bool_]]:
    choices = combinations(range(n + m), n)
    while block := list(islice(choices, _AT_ONCE // (n + m))):
        chosen = np.zeros((len(block), n + m), np.bool_)
        np.put_along_axis(chosen, np.array(block), True, axis=1)
        yield chosen


def _choices(membership: NDArray[np.bool_], rng: np.random.Generator) -> Iterator[NDArray[np.bool_]]:
    left = _PERMUTATIONS - 1
    while left:
        rows = min(left, _AT_ONCE // len(membership))
        yield rng.permuted(np.tile(membership, (rows, 1)), axis=1)
        left -= rows
