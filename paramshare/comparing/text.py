"""A study in words: its answers, a sentence each, and its tables, a column a group; for whatever shows them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from paramshare.comparing.groups import missing_runs
from paramshare.comparing.numbers import between, number, p_value, percent, with_interval
from paramshare.comparing.study import Contrast, GroupResult, Study
from paramshare.stats.comparison import Comparison
from paramshare.stats.estimate import Estimate, Interval, Note
from paramshare.stats.paired import Paired
from paramshare.training.targets import PARAMETERS, SECONDS, SIZES

__all__ = ["Table", "answers", "contrast_table", "footnotes", "group_table", "title"]

_COMPARED: Final[dict[str, tuple[Callable[[Comparison], Estimate], float]]] = {
    "difference (Hodges-Lehmann)": (lambda found: found.hl_difference, 0),
    "ratio (Hodges-Lehmann)": (lambda found: found.hl_ratio, 1),
    "difference of the means": (lambda found: found.difference, 0),
    "ratio of the geometric means": (lambda found: found.ratio, 1),
    "chance that the first is better": (lambda found: found.beats, 0.5),
    "effect size (Cohen's d)": (lambda found: found.effect, 0),
}
"""Every number of a comparison that has an interval, and its value of no difference; the first two are the test's."""
_MARKS: Final = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a column a group, or a pair of groups.

    Args:
        head: the columns' names, that of the rows' names first.
        rows: the cells of each row, its name first.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def title(study: Study) -> str:
    """What is compared: `DynamicNet: shared, untied`."""
    return f"{study.grouped.target.title}: {', '.join(one.name for one in study.groups)}"


def answers(study: Study) -> tuple[str, ...]:
    """What each group costs and brings beside the first one, a sentence each."""
    base = study.groups[0]
    against_base = [contrast for contrast in study.contrasts if contrast.other == base.name]
    by_name = {one.name: one for one in study.groups}
    said = [f"{_costs(by_name[contrast.one], base)}{_brings(study, contrast)}" for contrast in against_base]
    if study.grouped.missing:
        said.append(f"Runs are missing: {missing_runs(study.grouped)}.")
    return tuple(said)


def group_table(study: Study) -> Table:
    """Each group in numbers."""
    marked = _Marked(study)
    rows = [
        _row("runs planned", study.groups, lambda one: str(one.summary.planned)),
        _row("runs finished", study.groups, lambda one: str(one.summary.finished)),
        _row("of them diverged", study.groups, lambda one: str(one.summary.diverged)),
        _row("mean", study.groups, lambda one: marked.shown(one.summary.mean)),
        _row("geometric mean", study.groups, lambda one: marked.shown(one.summary.geometric_mean)),
        _row("median", study.groups, lambda one: marked.shown(one.summary.median)),
        _row("interquartile mean", study.groups, lambda one: marked.shown(one.summary.iqm)),
        _row("standard deviation", study.groups, lambda one: marked.shown(one.summary.sd)),
        _row("least", study.groups, lambda one: number(one.summary.minimum)),
        _row("most", study.groups, lambda one: number(one.summary.maximum)),
    ]
    for metric in study.grouped.finals:
        if metric != study.metric:
            rows.append(_row(f"{metric.label}, median", study.groups, _median_of(metric.name, marked)))
    for size in SIZES:
        if any(size.name in one.sizes for one in study.groups):
            words = f"{size.words}, median" if size.name == SECONDS else size.words  # alike in all runs but for it
            rows.append(_row(words, study.groups, _size_of(size.name)))
    return Table((f"{study.metric.words}, {_level(study)}", *(one.name for one in study.groups)), tuple(rows))


def contrast_table(study: Study) -> Table:
    """Each pair of groups held against each other."""
    marked, contrasts = _Marked(study), study.contrasts
    rows = [
        _row("of", contrasts, lambda one: one.n),
        *(_row(words, contrasts, _compared_by(words, marked)) for words in _COMPARED),
        _row("p", contrasts, lambda one: f"{p_value(one.found.p)} ({one.found.test})"),
        _row("p among all of these (Holm)", contrasts, lambda one: _among_all(one)),
        _row("smallest effect that n can show", contrasts, lambda one: number(one.found.power.detectable, "none")),
        _row("verdict", contrasts, _verdict),
    ]
    head = (f"{study.metric.words}, {_level(study)}", *(f"{one.one} against {one.other}" for one in contrasts))
    return Table(head, tuple(rows))


def footnotes(study: Study) -> tuple[str, ...]:
    """What the marks in the tables stand for, in their order."""
    return tuple(f"{_mark(index)} {note}" for index, note in enumerate(_notes(study)))


class _Marked:
    """Numbers with their intervals and the marks of their footnotes."""

    def __init__(self, study: Study) -> None:
        self._places = {note: index for index, note in enumerate(_notes(study))}

    def shown(self, estimate: Estimate, null: float | None = None) -> str:
        """`0.31 [0.26, 0.38]¹`."""
        marks = "".join(_mark(self._places[note]) for note in estimate.footnotes)
        return f"{with_interval(estimate, null)}{marks}"


def _notes(study: Study) -> list[Note]:
    """The footnotes of all that is shown, each once."""
    shown: list[Estimate] = []
    for one in study.groups:
        summary = one.summary
        shown += [summary.mean, summary.geometric_mean, summary.median, summary.iqm, summary.sd]
        shown += [final.median for name, final in one.finals.items() if name != study.metric.name]
    for contrast in study.contrasts:
        shown += [_compared(contrast, words) for words in _COMPARED]
    return list(dict.fromkeys(note for estimate in shown for note in estimate.footnotes))


def _mark(index: int) -> str:
    return str(index + 1).translate(_MARKS)


def _compared(contrast: Contrast, words: str) -> Estimate:
    """A number of the comparison, with a note where its interval and the verdict disagree."""
    estimate, null = _COMPARED[words]
    return contrast.found.explained(estimate(contrast.found), null)


def _compared_by(words: str, marked: _Marked) -> Callable[[Contrast], str]:
    return lambda one: marked.shown(_compared(one, words), _COMPARED[words][1])


def _row(name: str, of: Sequence[GroupResult] | Sequence[Contrast], cell: Callable[..., str]) -> tuple[str, ...]:
    return (name, *(cell(one) for one in of))


def _median_of(metric: str, marked: _Marked) -> Callable[[GroupResult], str]:
    return lambda one: marked.shown(one.finals[metric].median)


def _size_of(name: str) -> Callable[[GroupResult], str]:
    return lambda one: number(one.sizes.get(name))


def _level(study: Study) -> str:
    return f"[{100 * study.level:g} % intervals]"


def _among_all(contrast: Contrast) -> str:
    return p_value(contrast.found.p if contrast.found.p_holm is None else contrast.found.p_holm)


def _verdict(contrast: Contrast) -> str:
    found = contrast.found
    if found.significant:
        return f"{contrast.one if found.ahead else contrast.other} is better"
    if found.underpowered:
        unit = "pairs" if isinstance(found, Paired) else "runs of each"
        return f"underpowered: d = {found.power.interest:g} takes {found.power.needed} {unit}"
    return f"none found; d = {found.power.interest:g} would have been, {100 * found.power.chance:.0f} times of 100"


def _costs(one: GroupResult, base: GroupResult) -> str:
    """`Untied instead of shared takes 20,200 more parameters (131,410, 1.182 times as many) and `."""
    start = f"{one.name.capitalize() if one.name.isalpha() else one.name} instead of {base.name}"  # not Cuda:0
    if PARAMETERS not in one.sizes or PARAMETERS not in base.sizes:
        return f"{start} "
    ours, theirs = one.sizes[PARAMETERS], base.sizes[PARAMETERS]
    if ours == theirs:
        return f"{start} takes as many parameters ({number(ours)}) and "
    more = f"{abs(ours - theirs):,.0f} {'more' if ours > theirs else 'fewer'} parameters"
    return f"{start} takes {more} ({ours:,.0f}, {number(ours / theirs)} times as many) and "


def _brings(study: Study, contrast: Contrast) -> str:
    """What it brings, with n, an interval and a verdict: all of the same test, which counts diverged runs."""
    found = contrast.found
    amount = f"{_amount(study, contrast)} ({_basis(study, contrast)})"
    if found.significant:
        value = _amount_of(study, contrast).value
        if value is None or math.isinf(value) or (value == 0 and _as_ratio(study, contrast)):
            return f"is {'better' if found.ahead else 'worse'} by {study.metric.words}, {amount}."
        return f"brings {study.metric.words} {'to ' if _as_ratio(study, contrast) else ''}{amount}."
    if found.underpowered:
        return (
            f"cannot be told from it by {study.metric.words}, {amount}: underpowered for a difference of "
            f"d = {found.power.interest:g}, which takes {found.power.needed}."
        )
    return f"shows no difference in {study.metric.words}, {amount}."


def _basis(study: Study, contrast: Contrast) -> str:
    """`n = 30 pairs, 95 % intervals; untied is better in 97 % [91 %, 99 %] of them; p < 1e-15`."""
    found = contrast.found
    few = Note.FEW_FOR_TEST in _amount_of(study, contrast).notes
    level = f"{100 * study.level:g} %"
    parts = [f"n = {contrast.n}, {f'too few for an interval of the test at {level}' if few else f'{level} intervals'}"]
    if found.beats.value is not None:
        wins = f"{contrast.one} is better in {percent(found.beats)} of them"
        if Note.OTHER_METHOD in found.explained(found.beats, 0.5).notes:
            wins += ", an interval that is not the test's and disagrees with it"
        parts.append(wins)
    p = _among_all(contrast)
    parts.append(f"p {'' if p.startswith('<') else '= '}{p}")
    if (found.p < found.alpha) != found.significant:
        parts[-1] += (
            f" among all {len(study.contrasts)} comparisons (Holm), which decides, and {p_value(found.p)} for this one "
            "alone, to which the intervals belong"
        )
    return "; ".join([*parts, *_diverged(study, contrast)])


def _as_ratio(study: Study, contrast: Contrast) -> bool:
    """Whether a difference is said as a ratio: of losses, where there is one."""
    return study.metric.better == "lower" and contrast.found.hl_ratio.value is not None


def _amount_of(study: Study, contrast: Contrast) -> Estimate:
    return contrast.found.hl_ratio if _as_ratio(study, contrast) else contrast.found.hl_difference


def _amount(study: Study, contrast: Contrast) -> str:
    """`0.31 [0.26, 0.38] times that of shared`, or `0.79 [0.77, 0.81] below that of conv`."""
    estimate = _amount_of(study, contrast)
    interval = estimate.interval
    if estimate.value is None or (interval is not None and math.isinf(_nearest(interval, _as_ratio(study, contrast)))):
        return f"how far from {contrast.other} is not known, since too many runs diverged"
    if _as_ratio(study, contrast):
        return f"{with_interval(estimate, 1)} times that of {contrast.other}"
    side, sign = ("below", -1) if estimate.value < 0 else ("above", 1)
    within = "" if interval is None else f" {between(interval, 0, sign)}"
    return f"{number(abs(estimate.value))}{within} {side} that of {contrast.other}"


def _nearest(interval: Interval, as_ratio: bool) -> float:
    """How far the nearer limit is from no difference, at least; infinite where only diverged runs make the interval."""
    return math.inf if as_ratio and interval.high == 0 else max(interval.low, -interval.high)


def _diverged(study: Study, contrast: Contrast) -> list[str]:
    """How many runs of the two groups diverged, where any did."""
    counts = {one.name: one.summary.diverged for one in study.groups if one.name in (contrast.one, contrast.other)}
    if not any(counts.values()):
        return []
    return [f"diverged, which is the worst: {', '.join(f'{count} of {name}' for name, count in counts.items())}"]
