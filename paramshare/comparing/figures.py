"""The figures of a study: narrow, with large letters, so that they can be read on a telephone; and in grey.

A group has a colour, a dash and a mark of its own, everywhere the same.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator
from numpy.typing import NDArray

from paramshare.comparing.numbers import with_interval
from paramshare.comparing.study import Contrast, GroupResult, Study
from paramshare.plots import GROUP_STYLES, picture_of
from paramshare.stats.estimate import Estimate
from paramshare.stats.paired import Paired
from paramshare.stats.summary import Summary
from paramshare.training.targets import LOSS, PARAMETERS

__all__ = ["Drawn", "draw"]

_WIDTH: Final = 5.2  # inches
_DPI: Final = 200
_GREY: Final = "#666666"
_LETTERS: Final = 11.0


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure with what is said of it.

    Args:
        name: of its file, without the end.
        title: what it shows.
        words: the same for whoever cannot see it.
        png: the picture.
    """

    name: str
    title: str
    words: str
    png: bytes


def draw(study: Study) -> tuple[Drawn, ...]:
    """Every figure that the study has the numbers for."""
    made = (_curves(study), _values(study), _differences(study), _against_parameters(study), _finals(study))
    return tuple(one for one in made if one is not None)


def _curves(study: Study) -> Drawn | None:
    """The loss of every step, the median of each group in its quartiles."""
    drawn = [one for one in study.groups if one.curves is not None]
    if not drawn:
        return None
    figure, axes = _new(3.6)
    for index, one in enumerate(study.groups):
        if one.curves is not None:
            color, dash, _ = _style(index)
            steps = np.arange(len(one.curves.median))
            axes.fill_between(steps, one.curves.lower, one.curves.upper, color=color, alpha=0.2, linewidth=0)
            axes.plot(steps, one.curves.median, color=color, linestyle=dash, label=f"{one.name} (n = {one.curves.n})")
    axes.set(xlabel="step", ylabel=f"{LOSS} ({study.grouped.target.loss})", yscale="log")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _legend(axes)
    ends = ", ".join(f"{one.name} {one.curves.median[-1]:.3g}" for one in drawn if one.curves is not None)
    words = f"Curves of the loss over the steps, on a log axis. The medians end at: {ends}."
    return _done("curves", "The loss of every step: medians and quartiles over the seeds", words, figure)


def _values(study: Study) -> Drawn:
    """A dot a seed, and each group's mean with its interval."""
    figure, axes = _new(1.3 + 0.75 * len(study.groups))
    rng = np.random.default_rng(0)
    for index, one in enumerate(study.groups):
        color, _, mark = _style(index)
        values = np.array([*one.group.values(study.metric.name).values()])
        shown = values[np.isfinite(values)]
        places = index + rng.uniform(-0.25, 0.05, len(shown))
        axes.scatter(shown, places, s=14, color=color, marker=mark, alpha=0.5, linewidths=0)
        _interval(axes, _middle(study, one), index + 0.25, shown)
    if _ratios(study):
        _log(axes)
    axes.set_yticks(range(len(study.groups)), [_counted(one) for one in study.groups])
    axes.set_ylim(len(study.groups) - 0.5, -0.5)
    axes.set_xlabel(study.metric.words)
    mean = "geometric mean" if _ratios(study) else "mean"
    title = f"A dot a seed; below them the {mean} and its {100 * study.level:g} % interval"
    said = "; ".join(f"{one.name}: {_said(_middle(study, one))}, n = {one.summary.finished}" for one in study.groups)
    return _done("values", title, f"Dots for the {study.metric.words}. The {mean}s: {said}.", figure)


def _differences(study: Study) -> Drawn | None:
    """For each pair of groups what every seed's two runs say, and the mean with its interval."""
    contrasts = [one for one in study.contrasts if isinstance(one.found, Paired) and one.found.finite]
    if not contrasts:
        return None
    ratios = _ratios(study)
    figure, axes = _new(1.3 + 0.75 * len(contrasts))
    rng = np.random.default_rng(0)
    for index, one in enumerate(contrasts):
        shown = _pairs(study, one, ratios=ratios)
        places = index + rng.uniform(-0.25, 0.05, len(shown))
        axes.scatter(shown, places, s=14, color=_GREY, alpha=0.5, linewidths=0)
        _interval(axes, one.found.hl_ratio if ratios else one.found.hl_difference, index + 0.25, shown)
    axes.axvline(1 if ratios else 0, color="black", linewidth=0.8)
    if ratios:
        _log(axes)
    axes.set_yticks(
        range(len(contrasts)), [f"{one.one}\n{'over' if ratios else 'less'} {one.other}" for one in contrasts]
    )
    axes.set_ylim(len(contrasts) - 0.5, -0.5)
    axes.set_xlabel(f"{'ratio' if ratios else 'difference'} within a seed: {study.metric.label}")
    estimates = (one.found.hl_ratio if ratios else one.found.hl_difference for one in contrasts)
    said = "; ".join(
        f"{one.one} and {one.other}: {with_interval(estimate, 1 if ratios else 0)}"
        for one, estimate in zip(contrasts, estimates, strict=True)
    )
    alone = (
        " of each comparison alone"
        if any((one.found.p < one.found.alpha) != one.found.significant for one in contrasts)
        else ""
    )
    title = (
        "Seed by seed: a dot a pair of runs that began alike; below them Hodges and Lehmann's estimate with the test's "
        f"{100 * study.level:g} % interval{alone}"
    )
    return _done("differences", title, f"Dots for what two runs of a seed differ by. The estimates: {said}.", figure)


def _against_parameters(study: Study) -> Drawn | None:
    """The median of each group with its quartiles, over the number of parameters."""
    if any(PARAMETERS not in one.sizes for one in study.groups):
        return None
    counts = [one.sizes[PARAMETERS] for one in study.groups]
    spreads = [_spread(one.summary) for one in study.groups]
    if len(set(counts)) == 1 or not np.isfinite([median for median, *_ in spreads]).any():
        return None
    figure, axes = _new(3.2)
    for index, (one, count, (median, *errors)) in enumerate(zip(study.groups, counts, spreads, strict=True)):
        if np.isfinite(median):
            color, _, mark = _style(index)
            error = [[size] for size in errors]
            axes.errorbar(count, median, error, color=color, marker=mark, markersize=8, capsize=4, label=_counted(one))
    axes.set(xscale="log", xlabel="parameters", ylabel=study.metric.label)
    axes.xaxis.set_major_formatter(EngFormatter())
    near = max(counts) < 5 * min(counts)  # else the labels between the powers of ten would cover each other
    axes.xaxis.set_minor_formatter(EngFormatter() if near else "")
    axes.tick_params(axis="x", which="minor", labelsize=8)
    if _ratios(study):
        axes.set_yscale("log")
    axes.margins(0.15)
    _legend(axes)
    said = "; ".join(
        f"{one.name}: {count:,.0f} and {_said(one.summary.median)}"
        for one, count in zip(study.groups, counts, strict=True)
    )
    title = f"What the parameters buy: medians and quartiles over the seeds{_open(study)}"
    return _done("parameters", title, f"Parameters and the median {study.metric.words}: {said}.", figure)


def _finals(study: Study) -> Drawn | None:
    """Every metric of the trained nets that is of the same kind, the medians of each group with their quartiles."""
    metrics = [one for one in study.grouped.finals if one.better == study.metric.better]
    spreads = [np.array([_spread(one.finals[metric.name]) for metric in metrics]).T for one in study.groups]
    if len(metrics) < 2 or not np.isfinite([medians for medians, *_ in spreads]).any():
        return None
    figure, axes = _new(3.4)
    for index, (one, (medians, *errors)) in enumerate(zip(study.groups, spreads, strict=True)):
        color, _, mark = _style(index)
        places = np.arange(len(metrics)) + 0.12 * (index - (len(study.groups) - 1) / 2)
        axes.errorbar(places, medians, errors, color=color, linestyle="none", marker=mark, capsize=3, label=one.name)
    axes.set_xticks(range(len(metrics)), [metric.label.replace(" ", "\n") for metric in metrics])
    if _ratios(study):
        axes.set_yscale("log")
    _legend(axes)
    said = "; ".join(
        f"{one.name}: {', '.join(f'{metric.label} {_said(one.finals[metric.name].median)}' for metric in metrics)}"
        for one in study.groups
    )
    title = f"Each number of the trained nets: medians and quartiles over the seeds{_open(study)}"
    return _done("finals", title, f"The medians. {said}.", figure)


def _new(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(which="major", color="#eeeeee")
    axes.set_axisbelow(True)
    return figure, axes


def _done(name: str, title: str, words: str, figure: Figure) -> Drawn:
    for axes in figure.axes:
        for text in (axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()):
            text.set_fontsize(_LETTERS)
    return Drawn(name, title, words, picture_of(figure))


def _style(index: int) -> tuple[str, str, str]:
    return GROUP_STYLES[index % len(GROUP_STYLES)]


def _legend(axes: Axes) -> None:
    axes.legend(frameon=False, fontsize=_LETTERS - 1)


def _spread(summary: Summary) -> tuple[float, float, float]:
    """The median, and how far below and above it the quartiles lie: 0 where one is infinite. NaN if the median is."""
    median = summary.median.value
    if median is None or not np.isfinite(median) or summary.quartiles is None:
        return np.nan, 0.0, 0.0
    low, high = summary.quartiles
    return median, median - low if np.isfinite(low) else 0.0, high - median if np.isfinite(high) else 0.0


def _open(study: Study) -> str:
    """What a reader must know where runs diverged."""
    if not any(one.summary.diverged for one in study.groups):
        return ""
    return " (no bar where the quartile, no mark where the median is a run that diverged)"


def _ratios(study: Study) -> bool:
    """Whether the values are held against each other by their ratio: losses are, where all are positive."""
    return study.metric.better == "lower" and all(one.summary.geometric_mean.value for one in study.groups)


def _middle(study: Study, one: GroupResult) -> Estimate:
    return one.summary.geometric_mean if _ratios(study) else one.summary.mean


def _log(axes: Axes) -> None:
    """A log axis for what is drawn, with enough labels to read it by where powers of ten are too few."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    if high < 5 * low:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    elif high < 300 * low:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")


def _pairs(study: Study, one: Contrast, *, ratios: bool) -> NDArray[np.float64]:
    by_name = {group.name: group.group.values(study.metric.name) for group in study.groups}
    ours, theirs = by_name[one.one], by_name[one.other]
    both = np.array([(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())])
    both = both[np.isfinite(both).all(axis=1)]
    return np.asarray(both[:, 0] / both[:, 1] if ratios else both[:, 0] - both[:, 1])


def _interval(axes: Axes, estimate: Estimate, place: float, dots: NDArray[np.float64]) -> None:
    """Draw an estimate in its interval; a limit that is infinite is an arrow at the last of the dots."""
    style: dict[str, Any] = {"color": "black", "linewidth": 2}
    interval, value = estimate.interval, estimate.value
    if interval is not None:
        nearest = [
            limit for limit in (*dots, interval.low, interval.high, value) if limit is not None and np.isfinite(limit)
        ]
        low, high = max(interval.low, min(nearest)), min(interval.high, max(nearest))
        axes.plot([low, high], [place, place], **style)
        for limit, end, arrow in ((interval.low, low, "<"), (interval.high, high, ">")):
            if limit != end:
                axes.plot([end], [place], marker=arrow, **style)
    if value is not None and np.isfinite(value):
        axes.plot([value], [place], color="black", marker="|", markersize=9, markeredgewidth=2)


def _counted(one: GroupResult) -> str:
    diverged = f", {one.summary.diverged} diverged" if one.summary.diverged else ""
    return f"{one.name}\nn = {one.summary.finished}{diverged}"


def _said(estimate: Estimate) -> str:
    if estimate.value is None:
        return "none"
    interval = estimate.interval
    return f"{estimate.value:.3g}" + ("" if interval is None else f" [{interval.low:.3g}, {interval.high:.3g}]")
