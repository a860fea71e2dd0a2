"""Axes and styles that several figures have in common."""

import re
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import LogFormatterSciNotation, MaxNLocator

from paramshare.bands import Band

__all__ = [
    "GROUP_STYLES",
    "SQUARED_ERROR",
    "PowerFormatter",
    "add_legend",
    "draw_band",
    "make_figure",
    "make_log_figure",
]

# One colour and one dash for each group: readable in grey too. The colours are Okabe and Ito's, told apart by every
# kind of colour vision.
GROUP_STYLES = (
    ("#0072B2", "-", "o"), ("#D55E00", "--", "s"), ("#009E73", "-.", "^"), ("#CC79A7", ":", "D"),
    ("#E69F00", "-", "v"), ("#56B4E9", "--", "P"),
)  # fmt: skip
"""The colour, dash and mark of each group, in order; further groups start again."""

_POWER: Final = re.compile(r"\$\\mathdefault\{(-?[0-9.]*)(\\times)?10\^\{(-?[0-9]+)\}\}\$")
_RAISED: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

SQUARED_ERROR: Final = "summed squared error"
"""The loss of DynamicNet."""


def make_figure(title: str, height: float) -> tuple[Figure, Axes]:
    """Return a figure of a height in inches, with one pair of axes."""
    figure = Figure(figsize=(8, height), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def make_log_figure(title: str, measure: str) -> tuple[Figure, Axes]:
    """Return a figure of a loss over steps on a log axis.

    Args:
        measure: the name of the loss.
    """
    figure, axes = make_figure(title, height=4.5)
    axes.set(xlabel="step", ylabel=f"loss ({measure})", yscale="log")
    axes.grid(which="major", color="#eeeeee")
    axes.margins(x=0.01)
    axes.yaxis.set_major_formatter(PowerFormatter())
    axes.yaxis.set_minor_formatter(PowerFormatter(labelOnlyBase=False))
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    return figure, axes


class PowerFormatter(LogFormatterSciNotation):
    """Labels such as 10⁻² and 3×10⁴ in plain text, which needs no parser of formulas to draw."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        formula = super().__call__(x, pos)
        power = _POWER.fullmatch(formula)
        return f"{power[1]}{'×' if power[2] else ''}10{power[3].translate(_RAISED)}" if power else formula


def draw_band(axes: Axes, band: Band, name: str, index: int, linewidth: float = 1.2) -> None:
    """Draw the median of a group's curves as a line and the quartiles as an area around it.

    Args:
        axes: the axes, with the steps on x.
        band: the median and the quartiles at every step.
        name: the name of the group; the label adds n.
        index: the place of the group among the groups, which chooses the colour and the dash.
        linewidth: of the median, in points. Defaults to 1.2.
    """
    color, dashes, _ = GROUP_STYLES[index % len(GROUP_STYLES)]
    steps = np.arange(len(band.median))
    axes.fill_between(steps, band.lower, band.upper, color=color, alpha=0.2, linewidth=0)
    axes.plot(steps, band.median, color=color, linestyle=dashes, linewidth=linewidth, label=f"{name} (n = {band.n})")


def add_legend(axes: Axes, title: str) -> Legend | None:
    """Add a legend, or a remark if there is nothing to show."""
    if not axes.get_legend_handles_labels()[0]:
        axes.text(0.5, 0.5, "nothing to show", transform=axes.transAxes, ha="center")
        return None
    return axes.legend(title=title, frameon=False, loc="upper right", markerscale=1.6)
