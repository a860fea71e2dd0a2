"""A study in words: an answer for each group, and tables with a column for each group. Used by every kind of output."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from paramshare.comparing.groups import missing_runs
from paramshare.comparing.numbers import between, number, p_value, percent, ratio_percent, with_interval
from paramshare.comparing.study import Contrast, GroupResult, Study
from paramshare.recipes.metrics import PARAMETERS, SECONDS, SIZES
from paramshare.stats.comparison import Comparison
from paramshare.stats.estimate import Estimate, Interval, Note
from paramshare.stats.paired import Paired

__all__ = ["Table", "answers", "contrast_table", "footnotes", "group_table", "title"]

_ESTIMATES: Final[dict[str, tuple[Callable[[Comparison], Estimate], float]]] = {
    "difference (Hodges-Lehmann)": (lambda comparison: comparison.hl_difference, 0),
    "ratio (Hodges-Lehmann)": (lambda comparison: comparison.hl_ratio, 1),
    "difference of means": (lambda comparison: comparison.difference, 0),
    "ratio of geometric means": (lambda comparison: comparison.ratio, 1),
    "win rate": (lambda comparison: comparison.beats, 0.5),
    "effect size (Cohen's d)": (lambda comparison: comparison.effect, 0),
}
"""Every estimate of a comparison, and its value of no difference. The intervals of the first two are the test's."""
_MARKS: Final = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_VERBS: Final = {("untied", "shared"): "Untying"}  # groups whose difference has a verb


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a column for each group, or for each pair of groups.

    Args:
        head: the names of the columns, first the name of the column with the rows' names.
        rows: the cells of each row, first its name.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def title(study: Study) -> str:
    """Return the title of a study: `DynamicNet: shared, untied`."""
    return f"{study.grouped.target.title}: {', '.join(group.name for group in study.groups)}"


def answers(study: Study) -> tuple[str, ...]:
    """Compare each group with the first one: its parameters and the metric, in a sentence or two per group."""
    base = study.groups[0]
    results = {result.name: result for result in study.groups}
    sentences = [
        f"{_cost(results[contrast.one], base)}{_effect(study, contrast)}"
        for contrast in study.contrasts
        if contrast.other == base.name
    ]
    if study.grouped.missing:
        sentences.append(f"Runs are missing: {missing_runs(study.grouped)}.")
    return tuple(sentences)


def group_table(study: Study) -> Table:
    """Return the table of the groups in numbers."""
    marked, results = _Marked(study), study.groups
    rows = [
        _row("runs planned", results, lambda result: str(result.summary.planned)),
        _row("runs finished", results, lambda result: str(result.summary.finished)),
        _row("runs diverged", results, lambda result: str(result.summary.diverged)),
        _row("mean", results, lambda result: marked.shown(result.summary.mean)),
        _row("geometric mean", results, lambda result: marked.shown(result.summary.geometric_mean)),
        _row("median", results, lambda result: marked.shown(result.summary.median)),
        _row("interquartile mean", results, lambda result: marked.shown(result.summary.iqm)),
        _row("standard deviation", results, lambda result: marked.shown(result.summary.sd)),
        _row("minimum", results, lambda result: number(result.summary.minimum)),
        _row("maximum", results, lambda result: number(result.summary.maximum)),
    ]
    for metric in study.grouped.final_metrics:
        if metric != study.metric:
            rows.append(_row(f"{metric.label}, median", results, _median_cell(metric.name, marked)))
    for size in SIZES:
        if any(size.name in result.sizes for result in results):
            # the other sizes are equal in all runs of a group
            name = f"{size.description}, median" if size.name == SECONDS else size.description
            rows.append(_row(name, results, _size_cell(size.name)))
    return Table((_corner(study), *(result.name for result in results)), tuple(rows))


def contrast_table(study: Study) -> Table:
    """Return the table of the pairwise comparisons."""
    marked, contrasts = _Marked(study), study.contrasts
    rows = [
        _row("n", contrasts, lambda contrast: contrast.n),
        *(_row(name, contrasts, _estimate_cell(name, marked)) for name in _ESTIMATES),
        _row("p", contrasts, lambda contrast: f"{p_value(contrast.comparison.p)} ({contrast.comparison.test})"),
        _row("p, Holm-adjusted", contrasts, _adjusted_p),
        _row("smallest detectable effect", contrasts, _detectable),
        _row("verdict", contrasts, _verdict),
    ]
    head = (_corner(study), *(f"{contrast.one} against {contrast.other}" for contrast in contrasts))
    return Table(head, tuple(rows))


def footnotes(study: Study) -> tuple[str, ...]:
    """Return the footnotes of the tables, each with its mark, in the order of the marks."""
    return tuple(f"{_mark(index)} {note}" for index, note in enumerate(_notes(study)))


class _Marked:
    """A formatter of estimates that adds the marks of their footnotes."""

    def __init__(self, study: Study) -> None:
        self._places = {note: index for index, note in enumerate(_notes(study))}

    def shown(self, estimate: Estimate, null: float | None = None) -> str:
        """Format an estimate: `0.31 [0.26, 0.38]¹`."""
        marks = "".join(_mark(self._places[note]) for note in estimate.footnotes)
        return f"{with_interval(estimate, null)}{marks}"


def _notes(study: Study) -> list[Note]:
    """Return the notes of every estimate in the tables, each once."""
    shown: list[Estimate] = []
    for result in study.groups:
        summary = result.summary
        shown += [summary.mean, summary.geometric_mean, summary.median, summary.iqm, summary.sd]
        shown += [final.median for name, final in result.final_metrics.items() if name != study.metric.name]
    for contrast in study.contrasts:
        shown += [_estimate(contrast, name) for name in _ESTIMATES]
    return list(dict.fromkeys(note for estimate in shown for note in estimate.footnotes))


def _mark(index: int) -> str:
    return str(index + 1).translate(_MARKS)


def _estimate(contrast: Contrast, name: str) -> Estimate:
    """Return an estimate of a comparison, with a note if its interval and the verdict disagree."""
    estimate, null = _ESTIMATES[name]
    return contrast.comparison.explained(estimate(contrast.comparison), null)


def _row(name: str, columns: Sequence[GroupResult] | Sequence[Contrast], cell: Callable[..., str]) -> tuple[str, ...]:
    return (name, *(cell(column) for column in columns))


def _estimate_cell(name: str, marked: _Marked) -> Callable[[Contrast], str]:
    return lambda contrast: marked.shown(_estimate(contrast, name), _ESTIMATES[name][1])


def _median_cell(metric: str, marked: _Marked) -> Callable[[GroupResult], str]:
    return lambda result: marked.shown(result.final_metrics[metric].median)


def _size_cell(name: str) -> Callable[[GroupResult], str]:
    return lambda result: number(result.sizes.get(name))


def _corner(study: Study) -> str:
    return f"{study.metric.description} [{100 * study.level:g} % confidence intervals]"


def _adjusted_p(contrast: Contrast) -> str:
    return p_value(contrast.comparison.p if contrast.comparison.p_holm is None else contrast.comparison.p_holm)


def _detectable(contrast: Contrast) -> str:
    power = contrast.comparison.power
    return "none" if power.detectable is None else f"d = {number(power.detectable)} (power {100 * power.target:g} %)"


def _verdict(contrast: Contrast) -> str:
    comparison = contrast.comparison
    if comparison.significant:
        return f"{contrast.one if comparison.ahead else contrast.other} is better"
    return _underpowered(contrast) if comparison.underpowered else f"no difference found ({_power(comparison)})"


def _underpowered(contrast: Contrast) -> str:
    """Return the size that the groups need: `underpowered: d = 0.8 needs 15 pairs`."""
    comparison = contrast.comparison
    unit = "pairs" if isinstance(comparison, Paired) else "runs per group"
    return f"underpowered: d = {comparison.power.interest:g} needs {comparison.power.needed} {unit}"


def _power(comparison: Comparison) -> str:
    """Return the power of the comparison: `power 96 % at d = 0.8`."""
    return f"power {100 * comparison.power.chance:.0f} % at d = {comparison.power.interest:g}"


def _cost(result: GroupResult, base: GroupResult) -> str:
    """Begin an answer: `Untying adds 20,200 parameters (131,410 instead of 111,210) and `."""
    name = result.name.capitalize() if result.name.isalpha() else result.name  # not Cuda:0
    subject = _VERBS.get((result.name, base.name), f"{name} instead of {base.name}")
    if PARAMETERS not in result.sizes or PARAMETERS not in base.sizes:
        return f"{subject} "
    ours, theirs = result.sizes[PARAMETERS], base.sizes[PARAMETERS]
    if ours == theirs:
        return f"{subject} keeps the number of parameters ({number(ours)}) and "
    change = f"{'adds' if ours > theirs else 'removes'} {abs(ours - theirs):,.0f} parameters"
    return f"{subject} {change} ({ours:,.0f} instead of {theirs:,.0f}) and "


def _effect(study: Study, contrast: Contrast) -> str:
    """End an answer: the change of the metric, n, and the verdict. All of them count the diverged runs as the test."""
    comparison, metric, basis = contrast.comparison, study.metric.description, _basis(study, contrast)
    if comparison.significant:
        return f"{_change(study, contrast)} ({basis})."
    amount = f"{_amount(study, contrast)} ({basis})"
    if comparison.underpowered:
        return f"shows no significant difference in {metric}: {amount}. The comparison is {_underpowered(contrast)}."
    return f"shows no difference in {metric}: {amount}; {_power(comparison)}."


def _change(study: Study, contrast: Contrast) -> str:
    """Return a significant change: `cuts the loss to 29 % [24 %, 36 %]`, or `raises the accuracy by 0.2 [0.1, 0.3]`."""
    estimate, metric = _amount_estimate(study, contrast), study.metric.description
    value, as_ratio = estimate.value, _as_ratio(study, contrast)
    if value is None or math.isinf(value) or (value == 0 and as_ratio) or _is_unknown(estimate, as_ratio=as_ratio):
        side = "better" if contrast.comparison.ahead else "worse"
        return f"makes {metric} {side}: {_amount(study, contrast)}"
    if as_ratio:
        return f"{'cuts' if value < 1 else 'raises'} {metric} to {ratio_percent(estimate)}"
    return f"{'lowers' if value < 0 else 'raises'} {metric} by {_absolute(estimate)}"


def _amount(study: Study, contrast: Contrast) -> str:
    """Return the size of a difference: `99 % [90 %, 108 %] of that of shared`, or `0.02 [-0.01, 0.05] above ...`."""
    estimate, as_ratio = _amount_estimate(study, contrast), _as_ratio(study, contrast)
    if _is_unknown(estimate, as_ratio=as_ratio) or estimate.value is None:
        return "the amount is unknown, since too many runs diverged"
    if as_ratio:
        return f"{ratio_percent(estimate)} of that of {contrast.other}"
    return f"{_absolute(estimate)} {'below' if estimate.value < 0 else 'above'} that of {contrast.other}"


def _absolute(estimate: Estimate) -> str:
    """Format the absolute value of a difference and its interval, mirrored if the difference is negative."""
    assert estimate.value is not None
    interval = estimate.interval
    limits = "" if interval is None else f" {between(interval, 0, -1 if estimate.value < 0 else 1)}"
    return f"{number(abs(estimate.value))}{limits}"


def _basis(study: Study, contrast: Contrast) -> str:
    """Return n, the win rate and p: `n = 9 pairs, 95 % confidence intervals; win rate 97 % [91 %, 99 %]; p = 0.01`."""
    comparison = contrast.comparison
    level = f"{100 * study.level:g} % confidence interval"
    too_few = Note.FEW_FOR_TEST in _amount_estimate(study, contrast).notes
    parts = [f"n = {contrast.n}, {f'too few for a {level} of the test' if too_few else f'{level}s'}"]
    if comparison.beats.value is not None:
        wins = f"win rate {percent(comparison.beats)}"
        if Note.OTHER_METHOD in comparison.explained(comparison.beats, 0.5).notes:
            wins += ", whose interval is not the test's and disagrees with the test"
        parts.append(wins)
    p = _adjusted_p(contrast)
    parts.append(f"p {'' if p.startswith('<') else '= '}{p}")
    if (comparison.p < comparison.alpha) != comparison.significant:
        parts[-1] += (
            f" after Holm's correction for {len(study.contrasts)} comparisons, which decides; "
            f"p = {p_value(comparison.p)} before it, to which the intervals belong"
        )
    return "; ".join([*parts, *_diverged(study, contrast)])


def _as_ratio(study: Study, contrast: Contrast) -> bool:
    """Return whether the answer gives a ratio: for losses, if there is one."""
    return study.metric.better == "lower" and contrast.comparison.hl_ratio.value is not None


def _amount_estimate(study: Study, contrast: Contrast) -> Estimate:
    return contrast.comparison.hl_ratio if _as_ratio(study, contrast) else contrast.comparison.hl_difference


def _is_unknown(estimate: Estimate, *, as_ratio: bool) -> bool:
    """Return whether diverged runs alone make the interval, so that it says nothing about the amount."""
    interval = estimate.interval
    if estimate.value is None:
        return True
    return interval is not None and math.isinf(_nearest(interval, as_ratio=as_ratio))


def _nearest(interval: Interval, *, as_ratio: bool) -> float:
    """Return the minimum distance of the nearer limit from no difference; infinite if only diverged runs make it."""
    return math.inf if as_ratio and interval.high == 0 else max(interval.low, -interval.high)


def _diverged(study: Study, contrast: Contrast) -> list[str]:
    """Return the numbers of diverged runs of the two groups, if there are any."""
    names = (contrast.one, contrast.other)
    counts = {result.name: result.summary.diverged for result in study.groups if result.name in names}
    if not any(counts.values()):
        return []
    return [f"diverged runs, which count as the worst: {', '.join(f'{n} of {name}' for name, n in counts.items())}"]
