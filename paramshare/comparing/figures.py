"""Draw the figures of a study: narrow and with large letters, so that they are readable on a phone, and in grey.

A group has the same colour, dash and mark in every figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator
from numpy.typing import NDArray

from paramshare.comparing.numbers import with_interval
from paramshare.comparing.study import Contrast, GroupResult, Study
from paramshare.plots import GROUP_STYLES, draw_band, picture_of
from paramshare.recipes.metrics import LOSS, PARAMETERS
from paramshare.stats.estimate import Estimate
from paramshare.stats.paired import Paired
from paramshare.stats.summary import Summary

__all__ = ["StudyFigure", "draw"]

_WIDTH: Final = 5.2  # inches
_DPI: Final = 200
_GREY: Final = "#666666"
_FONT_SIZE: Final = 11.0  # points


@dataclass(frozen=True, slots=True)
class StudyFigure:
    """A figure with its title and its alternative text.

    Args:
        name: the name of its file, without the suffix.
        title: the title.
        alt: the alternative text, for readers who cannot see the figure.
        png: the bytes of the picture.
    """

    name: str
    title: str
    alt: str
    png: bytes


def draw(study: Study) -> tuple[StudyFigure, ...]:
    """Draw every figure that the study has the numbers for."""
    figures = (_curves(study), _values(study), _differences(study), _against_parameters(study), _final_metrics(study))
    return tuple(figure for figure in figures if figure is not None)


def _curves(study: Study) -> StudyFigure | None:
    """Draw the loss of every step: the median and the quartiles of each group."""
    ends = []
    figure, axes = _new_figure(3.6)
    for index, result in enumerate(study.groups):
        if result.curves is not None:
            draw_band(axes, result.curves, result.name, index, linewidth=1.5)
            ends.append(f"{result.name} {result.curves.median[-1]:.3g}")
    if not ends:
        return None
    axes.set(xlabel="step", ylabel=f"{LOSS} ({study.grouped.target.loss})", yscale="log")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _legend(axes)
    alt = f"Curves of the loss over the steps, on a log axis. The medians end at: {', '.join(ends)}."
    return _finished("curves", "The loss of every step: medians and quartiles over the seeds", alt, figure)


def _values(study: Study) -> StudyFigure:
    """Draw a dot for each seed, and the mean of each group with its interval."""
    figure, axes = _new_figure(1.3 + 0.75 * len(study.groups))
    rng = np.random.default_rng(0)
    for index, result in enumerate(study.groups):
        color, _, mark = _style(index)
        values = np.array([*result.group.values(study.metric.name).values()])
        shown = values[np.isfinite(values)]
        places = index + rng.uniform(-0.25, 0.05, len(shown))
        axes.scatter(shown, places, s=14, color=color, marker=mark, alpha=0.5, linewidths=0)
        _interval(axes, _mean(study, result), index + 0.25, shown)
    if _as_ratios(study):
        _log(axes)
    axes.set_yticks(range(len(study.groups)), [_name_and_n(result) for result in study.groups])
    axes.set_ylim(len(study.groups) - 0.5, -0.5)
    axes.set_xlabel(study.metric.description)
    mean = "geometric mean" if _as_ratios(study) else "mean"
    title = f"One dot per seed; below the dots the {mean} and its {100 * study.level:g} % confidence interval"
    means = "; ".join(
        f"{result.name}: {_text(_mean(study, result))}, n = {result.summary.finished}" for result in study.groups
    )
    return _finished("values", title, f"Dots for the {study.metric.description}. The {mean}s: {means}.", figure)


def _differences(study: Study) -> StudyFigure | None:
    """Draw a dot for each pair of runs of a seed, and the estimate of each pair of groups with its interval."""
    contrasts = [
        contrast
        for contrast in study.contrasts
        if isinstance(contrast.comparison, Paired) and contrast.comparison.finite
    ]
    if not contrasts:
        return None
    ratios = _as_ratios(study)
    figure, axes = _new_figure(1.3 + 0.75 * len(contrasts))
    rng = np.random.default_rng(0)
    texts = []
    for index, contrast in enumerate(contrasts):
        shown = _pairs(study, contrast, ratios=ratios)
        places = index + rng.uniform(-0.25, 0.05, len(shown))
        axes.scatter(shown, places, s=14, color=_GREY, alpha=0.5, linewidths=0)
        estimate = contrast.comparison.hl_ratio if ratios else contrast.comparison.hl_difference
        _interval(axes, estimate, index + 0.25, shown)
        texts.append(f"{contrast.one} and {contrast.other}: {with_interval(estimate, 1 if ratios else 0)}")
    axes.axvline(1 if ratios else 0, color="black", linewidth=0.8)
    if ratios:
        _log(axes)
    sign = "/" if ratios else "−"
    axes.set_yticks(range(len(contrasts)), [f"{contrast.one}\n{sign} {contrast.other}" for contrast in contrasts])
    axes.set_ylim(len(contrasts) - 0.5, -0.5)
    axes.set_xlabel(f"{'ratio' if ratios else 'difference'} within a seed: {study.metric.label}")
    kind = "ratios" if ratios else "differences"
    alt = f"Dots for the {kind} of two runs of a seed. The estimates: {'; '.join(texts)}."
    return _finished("differences", _differences_title(study, contrasts), alt, figure)


def _differences_title(study: Study, contrasts: Sequence[Contrast]) -> str:
    comparisons = [contrast.comparison for contrast in contrasts]
    holm_decides = any((comparison.p < comparison.alpha) != comparison.significant for comparison in comparisons)
    return (
        "One dot per seed, for its pair of runs; below the dots the Hodges-Lehmann estimate and the test's "
        f"{100 * study.level:g} % confidence interval{', before Holm correction' if holm_decides else ''}"
    )


def _against_parameters(study: Study) -> StudyFigure | None:
    """Draw the median of each group with its quartiles over the number of parameters."""
    if any(PARAMETERS not in result.sizes for result in study.groups):
        return None
    counts = [result.sizes[PARAMETERS] for result in study.groups]
    spreads = [_spread(result.summary) for result in study.groups]
    if len(set(counts)) == 1 or not np.isfinite([median for median, *_ in spreads]).any():
        return None
    figure, axes = _new_figure(3.2)
    for index, (result, count, (median, *errors)) in enumerate(zip(study.groups, counts, spreads, strict=True)):
        if np.isfinite(median):
            color, _, mark = _style(index)
            bars, label = [[error] for error in errors], _name_and_n(result)
            axes.errorbar(count, median, bars, color=color, marker=mark, markersize=8, capsize=4, label=label)
    axes.set(xscale="log", xlabel="parameters", ylabel=study.metric.label)
    axes.xaxis.set_major_formatter(EngFormatter())
    near = max(counts) < 5 * min(counts)  # otherwise the labels between the powers of ten would overlap
    axes.xaxis.set_minor_formatter(EngFormatter() if near else "")
    axes.tick_params(axis="x", which="minor", labelsize=8)
    if _as_ratios(study):
        axes.set_yscale("log")
    axes.margins(0.15)
    _legend(axes)
    medians = "; ".join(
        f"{result.name}: {count:,.0f} and {_text(result.summary.median)}"
        for result, count in zip(study.groups, counts, strict=True)
    )
    title = f"The metric against the number of parameters: medians and quartiles over the seeds{_on_divergence(study)}"
    return _finished("parameters", title, f"Parameters and the median {study.metric.description}: {medians}.", figure)


def _final_metrics(study: Study) -> StudyFigure | None:
    """Draw the median of each group with its quartiles, for every final metric with the same better direction."""
    metrics = [metric for metric in study.grouped.final_metrics if metric.better == study.metric.better]
    spreads = [
        np.array([_spread(result.final_metrics[metric.name]) for metric in metrics]).T for result in study.groups
    ]
    if len(metrics) < 2 or not np.isfinite([medians for medians, *_ in spreads]).any():
        return None
    figure, axes = _new_figure(3.4)
    for index, (result, (medians, *errors)) in enumerate(zip(study.groups, spreads, strict=True)):
        color, _, mark = _style(index)
        places = np.arange(len(metrics)) + 0.12 * (index - (len(study.groups) - 1) / 2)
        axes.errorbar(places, medians, errors, color=color, linestyle="none", marker=mark, capsize=3, label=result.name)
    axes.set_xticks(range(len(metrics)), [metric.label.replace(" ", "\n") for metric in metrics])
    if _as_ratios(study):
        axes.set_yscale("log")
    _legend(axes)
    texts = []
    for result in study.groups:
        values = (f"{metric.label} {_text(result.final_metrics[metric.name].median)}" for metric in metrics)
        texts.append(f"{result.name}: {', '.join(values)}")
    title = f"Every final metric of the trained nets: medians and quartiles over the seeds{_on_divergence(study)}"
    return _finished("finals", title, f"The medians. {'; '.join(texts)}.", figure)


def _new_figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(which="major", color="#eeeeee")
    axes.set_axisbelow(True)
    return figure, axes


def _finished(name: str, title: str, alt: str, figure: Figure) -> StudyFigure:
    for axes in figure.axes:
        for text in (axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()):
            text.set_fontsize(_FONT_SIZE)
    return StudyFigure(name, title, alt, picture_of(figure))


def _style(index: int) -> tuple[str, str, str]:
    return GROUP_STYLES[index % len(GROUP_STYLES)]


def _legend(axes: Axes) -> None:
    axes.legend(frameon=False, fontsize=_FONT_SIZE - 1)


def _spread(summary: Summary) -> tuple[float, float, float]:
    """Return the median and the distances to the lower and upper quartile.

    An infinite median is NaN. The distance to an infinite quartile is 0.
    """
    median = summary.median.value
    if median is None or not np.isfinite(median) or summary.quartiles is None:
        return np.nan, 0.0, 0.0
    low, high = summary.quartiles
    return median, median - low if np.isfinite(low) else 0.0, high - median if np.isfinite(high) else 0.0


def _on_divergence(study: Study) -> str:
    """Return the remark that a title needs if runs diverged."""
    if not any(result.summary.diverged for result in study.groups):
        return ""
    return " (no bar if the quartile is a run that diverged, no mark if the median is a run that diverged)"


def _as_ratios(study: Study) -> bool:
    """Return whether values are compared by their ratio: losses are, if all of them are positive."""
    return study.metric.better == "lower" and all(result.summary.geometric_mean.value for result in study.groups)


def _mean(study: Study, result: GroupResult) -> Estimate:
    return result.summary.geometric_mean if _as_ratios(study) else result.summary.mean


def _log(axes: Axes) -> None:
    """Make x a log axis, with labels between the powers of ten if there are too few powers of ten to read it."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    if high < 5 * low:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    elif high < 300 * low:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")


def _pairs(study: Study, contrast: Contrast, *, ratios: bool) -> NDArray[np.float64]:
    """Return the ratio or the difference of each pair of runs that did not diverge, (pairs,)."""
    by_name = {result.name: result.group.values(study.metric.name) for result in study.groups}
    ours, theirs = by_name[contrast.one], by_name[contrast.other]
    both = np.array([(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())])
    both = both[np.isfinite(both).all(axis=1)]
    return np.asarray(both[:, 0] / both[:, 1] if ratios else both[:, 0] - both[:, 1])


def _interval(axes: Axes, estimate: Estimate, place: float, dots: NDArray[np.float64]) -> None:
    """Draw an estimate and its interval. An infinite limit is an arrow at the last dot."""
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


def _name_and_n(result: GroupResult) -> str:
    diverged = f", {result.summary.diverged} diverged" if result.summary.diverged else ""
    return f"{result.name}\nn = {result.summary.finished}{diverged}"


def _text(estimate: Estimate) -> str:
    if estimate.value is None:
        return "none"
    interval = estimate.interval
    return f"{estimate.value:.3g}" + ("" if interval is None else f" [{interval.low:.3g}, {interval.high:.3g}]")
