"""Figures: arrays in, a matplotlib Figure out. Touches no file and no global matplotlib state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

__all__ = ["VARIANT_COLORS", "Band", "aggregate_curves", "loss_curve"]

# One colour and one marker a depth, one colour and one dash a group: readable in grey too. The colours are
# Okabe and Ito's, told apart by every kind of colour vision.
_DEPTH_STYLES = (("#999999", "o"), ("#56B4E9", "s"), ("#0072B2", "^"), ("#D55E00", "D"))
_GROUP_STYLES = (
    ("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"), ("#E69F00", "-"), ("#56B4E9", "--"),
)  # fmt: skip


VARIANT_COLORS = {"shared": _GROUP_STYLES[0][0], "untied": _GROUP_STYLES[1][0]}
"""The colour of a variant wherever it stands alone."""


@dataclass(frozen=True, slots=True)
class Band:
    """Curves of many seeds, summarised step by step.

    Args:
        n: how many curves.
        median, lower, upper: (steps,), the median and the quartiles at every step.
    """

    n: int
    median: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]

    @classmethod
    def of(cls, curves: Sequence[ArrayLike]) -> "Band":
        """The band of curves of equal length. Where a curve is not finite at a step, so is what depends on it."""
        with np.errstate(invalid="ignore"):
            lower, median, upper = np.quantile(np.asarray(curves, dtype=np.float64), (0.25, 0.5, 0.75), axis=0)
        return cls(len(curves), median, lower, upper)


def loss_curve(losses: ArrayLike, depths: ArrayLike, title: str) -> Figure:
    """One run's loss on a log axis, each step marked by the depth it drew.

    Args:
        losses: (steps,), the loss of every step.
        depths: (steps,), how often the middle layer was applied in each.
        title: what was trained.
    """
    loss, depth = np.asarray(losses, dtype=np.float64), np.asarray(depths)
    figure, axes = _log_figure(title)
    axes.plot(loss, color="#cccccc", linewidth=0.8, zorder=1)
    for value in np.unique(depth):
        color, marker = _DEPTH_STYLES[int(value)]
        steps = np.flatnonzero(depth == value)
        axes.scatter(
            steps,
            loss[steps],
            s=11,
            color=color,
            marker=marker,
            linewidths=0,
            zorder=2,
            label=f"{value} (n = {len(steps)})",
        )
    _legend(axes, "middle layer applied")
    return figure


def aggregate_curves(bands: Mapping[str, Band], title: str) -> Figure:
    """The loss of many seeds on a log axis: the median of each group, its quartiles as a band.

    Args:
        bands: by the name of the group.
        title: what was swept.
    """
    figure, axes = _log_figure(title)
    for index, (name, band) in enumerate(bands.items()):
        color, dashes = _GROUP_STYLES[index % len(_GROUP_STYLES)]
        steps = np.arange(len(band.median))
        axes.fill_between(steps, band.lower, band.upper, color=color, alpha=0.2, linewidth=0)
        axes.plot(steps, band.median, color=color, linestyle=dashes, linewidth=1.2, label=f"{name} (n = {band.n})")
    _legend(axes, "median and quartiles over seeds")
    return figure


def _log_figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 4.5), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel="step", ylabel="loss (summed squared error)", yscale="log")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(which="major", color="#eeeeee")
    axes.margins(x=0.01)
    return figure, axes


def _legend(axes: Axes, title: str) -> None:
    if not axes.get_legend_handles_labels()[0]:
        axes.text(0.5, 0.5, "nothing to show", transform=axes.transAxes, ha="center")
        return
    axes.legend(title=title, frameon=False, loc="upper right", markerscale=1.6)
