"""Ticks and labels of the log axis of losses, chosen by matplotlib, without drawing a figure for each range."""

from functools import lru_cache
from typing import Any, NamedTuple, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.ticker import Formatter
from numpy.typing import NDArray

from paramshare.plots.axes import SQUARED_ERROR, make_log_figure

__all__ = ["LogTicks", "TickChooser", "draw_ticks", "limits_of", "set_widest_ticks"]

_RANGES = 1024  # maximum number that a chooser keeps, about 1 kB each
_CLOSE = 1e-10  # of the distance of the limits: matplotlib draws a tick that is this far outside of them


class Ticks(NamedTuple):
    """Ticks of one kind.

    Args:
        values: where they are.
        labels: the text at each; most of the short ticks have an empty one.
    """

    values: NDArray[np.float64]
    labels: list[str]


class LogTicks(NamedTuple):
    """The ticks within the limits of a log axis.

    Args:
        major, minor: the long and the short ticks.
        width: the largest width of a label in pixels, on which the place of the axes depends.
        widest: the widest label of the long and of the short ticks; empty if there is none.
    """

    major: Ticks
    minor: Ticks
    width: float
    widest: tuple[str, str]


class TickChooser:
    """A chooser of the ticks of `make_log_figure`. It is for one thread."""

    def __init__(self) -> None:
        figure, self._axes = make_log_figure("", SQUARED_ERROR)
        self._renderer = cast(Any, FigureCanvasAgg(figure)).get_renderer()  # matplotlib's backends have no types
        self._label = self._axes.yaxis.get_major_ticks(1)[0].label1
        self._width = lru_cache(maxsize=_RANGES)(self._measure)
        self.ticks = lru_cache(maxsize=_RANGES)(self._choose)
        """Return the ticks between two limits, which are given by their logarithms to base 10."""

    def _choose(self, decades: tuple[float, float]) -> LogTicks:
        axis = self._axes.yaxis
        self._axes.set_ylim(limits_of(decades))
        major = _within(decades, axis.get_majorticklocs(), axis.get_major_formatter())
        minor = _within(decades, axis.get_minorticklocs(), axis.get_minor_formatter())
        long, short = (max(ticks.labels, key=self._width, default="") for ticks in (major, minor))
        return LogTicks(major, minor, max(self._width(long), self._width(short)), (long, short))

    def _measure(self, text: str) -> float:
        self._label.set_text(text)
        return float(self._label.get_window_extent(self._renderer).width)


def limits_of(decades: tuple[float, float]) -> tuple[float, float]:
    """Return the limits whose logarithms to base 10 are given."""
    lower, upper = (float(limit) for limit in 10.0 ** np.array(decades))
    return lower, upper


def set_widest_ticks(axes: Axes, ticks: LogTicks, decades: tuple[float, float]) -> None:
    """Give the log axis one long and one short tick with the widest labels: that is much faster to lay out than all.

    Args:
        decades: the logarithms to base 10 of the limits of the axis.
    """
    for share, minor, label in ((1 / 3, False, ticks.widest[0]), (2 / 3, True, ticks.widest[1])):  # not at one place
        place = 10.0 ** (decades[0] + share * (decades[1] - decades[0]))
        axes.yaxis.set_ticks([place] if label else [], [label] if label else [], minor=minor)


def draw_ticks(axes: Axes, ticks: LogTicks) -> None:
    """Draw the grid, the ticks and their labels on the canvas of `axes`, as `axes.yaxis` itself draws them."""
    (major,), (minor,) = axes.yaxis.get_major_ticks(1), axes.yaxis.get_minor_ticks(1)
    ends = np.repeat(ticks.major.values, 3)
    ends[2::3] = np.nan  # between two lines
    major.gridline.set_data(np.tile([0.0, 1.0, np.nan], len(ticks.major.values)), ends)
    axes.draw_artist(major.gridline)
    for tick, (values, labels) in ((major, ticks.major), (minor, ticks.minor)):
        tick.tick1line.set_data(np.zeros(len(values)), values)
        axes.draw_artist(tick.tick1line)
        for value, text in zip(values, labels, strict=True):
            if text:
                tick.label1.set(y=value, text=text)
                axes.draw_artist(tick.label1)


def _within(decades: tuple[float, float], values: NDArray[np.float64], formatter: Formatter) -> Ticks:
    """Return the ticks among `values` that are within the limits."""
    labels, logarithms = formatter.format_ticks(values.tolist()), np.log10(values)
    margin = (decades[1] - decades[0]) * _CLOSE
    (places,) = np.nonzero((logarithms >= decades[0] - margin) & (logarithms <= decades[1] + margin))
    return Ticks(np.asarray(values)[places], [labels[place] for place in places])
