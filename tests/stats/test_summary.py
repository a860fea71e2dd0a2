"""One group's numbers are the right ones, their intervals hold the truth as often as they say, a
run that diverged is counted as the worst or left out with a note, and where an interval may not be, there is none.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from paramshare.errors import UsageError
from paramshare.stats.descriptive.location import geometric_mean, iqm, mean, median, quantile, sd
from paramshare.stats.estimate import Note
from paramshare.stats.summary import summarise

Coverage = Callable[..., float]
AT_LEAST = 0.95 - 4 * math.sqrt(0.95 * 0.05 / 1000)  # of 1000 intervals that hold at 0.95: once in 30,000 fewer
AT_MOST = 0.95 + 4 * math.sqrt(0.95 * 0.05 / 1000)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 30])
def test_the_interval_of_the_mean_covers_at_its_level_for_normal_values(n: int, coverage: Coverage) -> None:
    assert AT_LEAST < coverage(lambda v: mean(v, 0.95), lambda rng: rng.normal(7, 2, n), 7) < AT_MOST


@pytest.mark.parametrize("n", [3, 10, 30])
def test_the_interval_of_the_geometric_mean_covers_at_its_level_for_lognormal_values(
    n: int, coverage: Coverage
) -> None:
    found = coverage(lambda v: geometric_mean(v, 0.95), lambda rng: rng.lognormal(1, 1.5, n), math.e)
    assert AT_LEAST < found < AT_MOST


def test_the_interval_of_the_mean_covers_less_for_skewed_values_and_has_a_note() -> None:
    rng, truth, missed, said = np.random.default_rng(1), math.exp(0.5), 0, 0
    for _ in range(1000):
        interval = mean(rng.lognormal(0, 1, 15), 0.95).interval
        assert interval is not None
        missed += truth not in interval
        said += interval.note is Note.NOT_NORMAL
    assert missed > 100  # and not 50
    assert said > 700
    with_note = sum(mean(rng.normal(0, 1, 15), 0.95).footnotes != () for _ in range(1000))
    assert with_note < 60


@pytest.mark.parametrize("n", [3, 10, 30])
def test_the_interval_of_the_deviation_covers_at_its_level_for_normal_values(n: int, coverage: Coverage) -> None:
    assert AT_LEAST < coverage(lambda v: sd(v, 0.95), lambda rng: rng.normal(0, 3, n), 3) < AT_MOST


def test_the_interval_of_the_deviation_covers_far_less_for_other_values_and_has_a_note(coverage: Coverage) -> None:
    assert coverage(lambda v: sd(v, 0.95), lambda rng: rng.standard_t(3, 30), math.sqrt(3)) < 0.85
    skewed = sd(np.random.default_rng(0).lognormal(0, 1, 30), 0.95)
    assert skewed.footnotes == (Note.NOT_NORMAL,)


@pytest.mark.parametrize("n", [6, 10, 29])
@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (lambda rng, n: rng.lognormal(0, 1, n), 1.0),
        (lambda rng, n: rng.binomial(4, 0.5, n).astype(float), 2.0),
        (lambda rng, n: np.where(rng.random(n) < 0.2, np.inf, rng.uniform(0, 8, n)), 5.0),
    ],
    ids=["skewed", "with ties", "a fifth diverged"],
)
def test_the_interval_of_the_median_covers_at_least_at_its_level_for_any_values(
    draw: Callable[..., np.ndarray], truth: float, n: int, coverage: Coverage
) -> None:
    assert coverage(lambda v: median(v, 0.95), lambda rng: draw(rng, n), truth) > AT_LEAST


@pytest.mark.parametrize("n", range(1, 60))
def test_the_interval_of_the_median_is_the_narrowest_at_its_level(n: int) -> None:
    """By counting coin throws: the interval from the k-th to the k-th last misses if fewer than k fall on a side."""
    missed = [2 * sum(math.comb(n, i) for i in range(k)) / 2**n for k in range(n // 2 + 2)]
    best = max(k for k, share in enumerate(missed) if share <= 0.05)
    found = median(np.arange(1.0, n + 1), 0.95)
    if best == 0:
        assert (found.interval, found.notes) == (None, (Note.FEW_FOR_ORDER,))
    else:
        assert found.interval is not None
        assert (found.interval.low, found.interval.high) == (best, n + 1 - best)


@pytest.mark.parametrize(("n", "repeats"), [(10, 300), (30, 150)])
@pytest.mark.parametrize("diverged", [0.0, 0.05])
def test_the_interval_of_the_iqm_covers_about_at_its_level(
    n: int, repeats: int, diverged: float, coverage: Coverage
) -> None:
    """What a diverged run does to it is what any value far out does; the truth is that of a large sample."""

    def draw(rng: np.random.Generator, size: int = n) -> np.ndarray:
        return np.where(rng.random(size) < diverged, np.inf, rng.lognormal(0, 0.5, size))

    rng = np.random.default_rng(3)
    truth = float(np.mean([iqm_by_hand(draw(rng)) for _ in range(4000)])) if not diverged else None
    if truth is None:  # a mean of IQMs of which some are infinite says nothing
        truth = iqm_by_hand(draw(rng, 400_000))
    found = coverage(lambda v: iqm(v, 0.95, np.random.default_rng(0)), draw, truth, repeats)
    assert 0.95 - 4.5 * math.sqrt(0.95 * 0.05 / repeats) < found < 0.995


def iqm_by_hand(values: np.ndarray) -> float:
    kept = sorted(values)[len(values) // 4 : len(values) - len(values) // 4]
    return sum(kept) / len(kept)


@pytest.mark.parametrize(("n", "known"), [(3, 0.75), (5, 0.84), (10, 0.90)])
def test_a_plain_bootstrap_of_few_values_covers_too_rarely(n: int, known: float) -> None:
    rng = np.random.default_rng(n)
    values = rng.normal(size=(1500, n, 1))
    means = values[np.arange(1500)[:, None, None], rng.integers(n, size=(1500, 600, n)), 0].mean(axis=2)
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    assert np.mean((low <= 0) & (high >= 0)) == pytest.approx(known, abs=0.035)


def test_an_iqm_is_the_trimmed_mean_and_has_no_interval_below_ten_values() -> None:
    rng = np.random.default_rng(0)
    for n in range(1, 30):
        values = rng.lognormal(size=n)
        found = iqm(values, 0.95, np.random.default_rng(0))
        assert found.value == pytest.approx(stats.trim_mean(values, 0.25))
        assert (found.interval is None, Note.FEW_FOR_BOOTSTRAP in found.notes) == (n < 10, n < 10)


def test_intervals_of_a_summary_equal_those_of_scipy() -> None:
    values = np.random.default_rng(5).lognormal(size=12)
    found, by_bootstrap = mean(values, 0.9), stats.bootstrap((values,), np.mean, rng=np.random.default_rng(0))
    assert found.interval is not None
    second = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert (found.interval.low, found.interval.high) == pytest.approx(tuple(second))
    assert found.interval.low < by_bootstrap.confidence_interval.high
    assert geometric_mean(values, 0.9).value == pytest.approx(stats.gmean(values))
    for share in (0, 0.1, 0.25, 0.5, 0.9, 1):
        assert quantile(np.sort(values), share) == pytest.approx(np.quantile(values, share))


def test_a_diverged_run_is_the_worst_in_order_and_omitted_from_means_with_a_note() -> None:
    found = summarise([3.0, math.nan, 1.0, math.inf, 2.0], planned=7)
    assert (found.planned, found.finished, found.diverged) == (7, 5, 2)
    assert (found.mean.value, found.mean.n, found.mean.notes) == (2, 3, (Note.DIVERGED_OUT,))
    assert (found.sd.n, found.geometric_mean.n) == (3, 3)
    assert (found.median.value, found.median.n) == (3, 5)
    assert Note.DIVERGED_WORST in found.median.notes
    assert (found.iqm.value, found.iqm.n) == (math.inf, 5)
    assert (found.quartiles, found.minimum, found.maximum) == ((2, math.inf), 1, math.inf)


def test_a_diverged_run_is_the_worst_of_accuracies() -> None:
    found = summarise([0.9, math.nan, 0.8], better="higher")
    assert (found.minimum, found.median.value, found.maximum) == (-math.inf, 0.8, 0.9)


@pytest.mark.parametrize(
    ("values", "notes"),
    [
        ([], {"mean": Note.NO_VALUES, "median": Note.NO_VALUES, "iqm": Note.NO_VALUES, "sd": Note.NO_VALUES}),
        ([1.0], {"mean": Note.ONE_VALUE, "sd": Note.ONE_VALUE, "geometric_mean": Note.ONE_VALUE}),
        ([2.0] * 12, {"mean": Note.CONSTANT, "sd": Note.CONSTANT, "iqm": Note.CONSTANT}),
        ([1.0, 0.0, 2.0], {"geometric_mean": Note.NOT_POSITIVE}),
        ([1.0] * 5, {"median": Note.FEW_FOR_ORDER, "iqm": Note.FEW_FOR_BOOTSTRAP}),
        ([math.nan] * 3, {"mean": Note.NO_VALUES}),
    ],
)
def test_a_missing_interval_of_a_summary_has_a_note(values: list[float], notes: dict[str, Note]) -> None:
    found = summarise(values)
    for name, note in notes.items():
        estimate = getattr(found, name)
        assert estimate.interval is None
        assert note in estimate.footnotes


def test_every_number_of_a_summary_is_finite_for_the_largest_floats() -> None:
    found = summarise([1e308, 1.2e308, 1.1e308] * 4)
    assert found.mean.value == pytest.approx(1.1e308)
    assert found.iqm.value == pytest.approx(1.1e308)
    assert found.sd.interval is not None


def test_the_same_seed_gives_the_same_bootstrap() -> None:
    values = np.random.default_rng(0).normal(size=20)
    assert summarise(values, seed=4) == summarise(values, seed=4) != summarise(values, seed=5)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="planned=1 is less than the number of values, 2"):
        summarise([1, 2], planned=1)
    with pytest.raises(UsageError, match="level=95"):
        summarise([1, 2], level=95)
    with pytest.raises(UsageError, match="'lower' or 'higher'"):
        summarise([1, 2], better="smaller")  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [10, 37, 300])
def test_the_interval_of_the_iqm_does_not_depend_on_the_block_size(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(n).lognormal(size=n)
    whole = iqm(values, 0.95, np.random.default_rng(1))
    for block in (1, 7 * n, 10**9):  # one row, rows that 4000 is no multiple of, all
        monkeypatch.setattr("paramshare.stats.descriptive.location._BLOCK", block)
        assert iqm(values, 0.95, np.random.default_rng(1)) == whole
