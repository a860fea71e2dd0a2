"""A study in words: its answers, a sentence each, and its tables, a column a group; for whatever shows them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from paramshare.comparing.groups import missing_runs
from paramshare.comparing.study import Contrast, GroupResult, Study
from paramshare.stats.estimate import Estimate, Note
from paramshare.stats.paired import Paired
from paramshare.training.targets import PARAMETERS, SECONDS, SIZES

__all__ = ["Table", "answers", "contrast_table", "footnotes", "group_table", "title"]

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
        _row("difference of the means", contrasts, lambda one: marked.shown(one.found.difference)),
        _row("ratio of the geometric means", contrasts, lambda one: marked.shown(one.found.ratio)),
        _row("chance that the first is better", contrasts, lambda one: marked.shown(one.found.beats)),
        _row("effect size (Cohen's d)", contrasts, lambda one: marked.shown(one.found.effect)),
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


def number(value: float | None, none: str = "–") -> str:
    """Four digits that mean something; a whole number as it is."""
    if value is None:
        return none
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if float(value).is_integer() and abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def p_value(p: float) -> str:
    """Two digits, and no false zero."""
    return "< 1e-15" if p < 1e-15 else f"{p:.2g}"


class _Marked:
    """Numbers with their intervals and the marks of their footnotes."""

    def __init__(self, study: Study) -> None:
        self._places = {note: index for index, note in enumerate(_notes(study))}

    def shown(self, estimate: Estimate) -> str:
        """`0.31 [0.26, 0.38]¹`."""
        marks = "".join(_mark(self._places[note]) for note in estimate.footnotes)
        return f"{_with_interval(estimate)}{marks}"


def _notes(study: Study) -> list[Note]:
    """The footnotes of all that is shown, each once."""
    shown: list[Estimate] = []
    for one in study.groups:
        summary = one.summary
        shown += [summary.mean, summary.geometric_mean, summary.median, summary.iqm, summary.sd]
        shown += [final.median for name, final in one.finals.items() if name != study.metric.name]
    for contrast in study.contrasts:
        found = contrast.found
        shown += [found.difference, found.ratio, found.beats, found.effect]
    return list(dict.fromkeys(note for estimate in shown for note in estimate.footnotes))


def _mark(index: int) -> str:
    return str(index + 1).translate(_MARKS)


def _with_interval(estimate: Estimate) -> str:
    interval = estimate.interval
    limits = "" if interval is None else f" [{number(interval.low)}, {number(interval.high)}]"
    return f"{number(estimate.value)}{limits}"


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
    """What it brings, with n, an interval and a verdict.

    How far the groups differ is over finite values, and whether they do over all: so how many diverged is said, and no
    amount stands for a difference that goes the other way.
    """
    found = contrast.found
    amount = _amount(study, contrast)
    wins = "" if found.beats.value is None else f"; {contrast.one} is better in {_percent(found.beats)}"
    p = _among_all(contrast)
    basis = f"n = {contrast.n}, {100 * study.level:g} % intervals{wins}; p {'' if p.startswith('<') else '= '}{p}"
    basis += _diverged(study, contrast)
    if found.significant:
        if _amount_ahead(study, contrast) != found.ahead:
            return f"is {'better' if found.ahead else 'worse'} by {study.metric.words}, though {amount} ({basis})."
        to = "to " if _as_ratio(study, contrast) else ""
        return f"brings {study.metric.words} {to}{amount} ({basis})."
    if found.underpowered:
        return (
            f"cannot be told from it by {study.metric.words}, {amount} ({basis}): underpowered for a difference of "
            f"d = {found.power.interest:g}, which takes {found.power.needed}."
        )
    return f"shows no difference in {study.metric.words}, {amount} ({basis})."


def _as_ratio(study: Study, contrast: Contrast) -> bool:
    """Whether a difference is said as a ratio: of losses, where there is one."""
    return study.metric.better == "lower" and contrast.found.ratio.value is not None


def _amount(study: Study, contrast: Contrast) -> str:
    """`0.31 [0.26, 0.38] times that of shared`, or `0.79 [0.77, 0.81] below that of conv`."""
    found = contrast.found
    if _as_ratio(study, contrast):
        return f"{_with_interval(found.ratio)} times that of {contrast.other}{_finite(contrast)}"
    value, interval = found.difference.value, found.difference.interval
    if value is None:
        return f"how far from {contrast.other} is not known, for want of finite values"
    side, sign = ("below", -1) if value < 0 else ("above", 1)
    low, high = (interval.low, interval.high) if interval else (0.0, 0.0)
    within = f" [{number(min(sign * low, sign * high))}, {number(max(sign * low, sign * high))}]" if interval else ""
    return f"{number(abs(value))}{within} {side} that of {contrast.other}{_finite(contrast)}"


def _amount_ahead(study: Study, contrast: Contrast) -> bool | None:
    """Whether the amount that is said has the first group as the better; None where there is none, or it is even."""
    ratio, difference = contrast.found.ratio.value, contrast.found.difference.value
    away = math.log(ratio) if ratio is not None and _as_ratio(study, contrast) else difference
    return (away < 0) == (study.metric.better == "lower") if away else None


def _finite(contrast: Contrast) -> str:
    """Over how many the amount is, where some diverged."""
    found = contrast.found
    if isinstance(found, Paired):
        pairs = "pair" if found.finite == 1 else f"{found.finite} pairs"
        return "" if found.finite == found.n else f" over the {pairs} of which neither run diverged"
    if (found.finite_one, found.finite_other) == (found.n_one, found.n_other):
        return ""
    return f" over the {found.finite_one} and {found.finite_other} runs that did not diverge"


def _diverged(study: Study, contrast: Contrast) -> str:
    """How many runs of the two groups diverged, where any did."""
    counts = {one.name: one.summary.diverged for one in study.groups if one.name in (contrast.one, contrast.other)}
    if not any(counts.values()):
        return ""
    return f"; diverged: {', '.join(f'{count} of {name}' for name, count in counts.items())}"


def _percent(beats: Estimate) -> str:
    assert beats.value is not None
    limits = beats.interval
    within = "" if limits is None else f" [{100 * limits.low:.0f} %, {100 * limits.high:.0f} %]"
    return f"{100 * beats.value:.0f} %{within} of them"
