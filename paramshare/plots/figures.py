"""Figures of many runs and of counts: arrays in, a matplotlib Figure or the bytes of a picture out."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from numpy.typing import NDArray

from paramshare.bands import Band
from paramshare.plots.axes import SQUARED_ERROR, add_legend, draw_band, make_figure, make_log_figure

__all__ = ["aggregate_curves", "inline_picture", "picture_of", "sharing_bars"]

# A regime of sharing has a colour, from dark to light, and a hatch.
_REGIME_STYLES = (("#0072B2", ""), ("#E69F00", "////"), ("#dddddd", "...."), ("#009E73", "xxxx"), ("#CC79A7", "----"))
_BAR_EDGE: Final[dict[str, Any]] = {"edgecolor": "#444444", "linewidth": 0.4}

_MOST_ROWS = 60  # more rows of bars are not readable
_ROWS_WITH_VALUES = 12  # maximum number of rows whose bars have room for their numbers
_NAME_LENGTH = 44  # characters


def aggregate_curves(bands: Mapping[str, Band], title: str, measure: str = SQUARED_ERROR) -> Figure:
    """Draw the loss of many seeds on a log axis: the median of each group, its quartiles as a band.

    Args:
        bands: the band of each group, by its name.
        title: the title.
        measure: the name of the loss, such as `cross-entropy`.
    """
    figure, axes = make_log_figure(title, measure)
    for index, (name, band) in enumerate(bands.items()):
        draw_band(axes, band, name, index)
    add_legend(axes, "median and quartiles over seeds")
    return figure


def sharing_bars(names: Sequence[str], bars: Mapping[str, Sequence[int]], title: str) -> Figure:
    """Draw the counts of each row as horizontal bars on a log axis, one bar for each regime, the first row on top.

    A count of zero has no bar. If there are more than 60 rows, the largest are drawn, and the figure tells how many are
    left out.

    Args:
        names: the names of the rows.
        bars: the count of each row, by regime.
        title: the title.
    """
    counts = np.asarray([[float(count) for count in row] for row in bars.values()])  # they can exceed an int64
    rows = _largest(counts, _MOST_ROWS)
    few = len(rows) <= _ROWS_WITH_VALUES
    figure, axes = make_figure(title, height=1.6 + len(rows) * (0.45 if few else 0.22))
    thickness = 0.84 / len(bars)
    for index, (regime, row) in enumerate(zip(bars, counts[:, rows], strict=True)):
        (there,) = np.nonzero(row)
        y = there + (index - (len(bars) - 1) / 2) * thickness
        color, hatch = _REGIME_STYLES[index % len(_REGIME_STYLES)]
        drawn = axes.barh(y, row[there], thickness, facecolor=color, hatch=hatch, label=regime, **_BAR_EDGE)
        if few:
            axes.bar_label(drawn, fmt=_rounded, padding=3, fontsize=7)
    _count_axis(axes, counts[:, rows])
    left_out = len(names) - len(rows)
    note = f"; {left_out} of {len(names)} rows, the smallest, are left out" if left_out else ""
    axes.set_xlabel(f"parameters{note}")
    axes.set_yticks(range(len(rows)), [_shortened(names[row]) for row in rows], fontsize=8, parse_math=False)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    figure.legend(loc="outside upper right", ncols=len(bars), frameon=False)
    return figure


def picture_of(figure: Figure, form: str = "png") -> bytes:
    """Return the bytes of a file with the figure.

    Args:
        form: the format: png, svg or pdf.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format=form)
    return drawn.getvalue()


def inline_picture(png: bytes) -> str:
    """Return the address of a picture that contains the picture itself."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _largest(counts: NDArray[np.float64], most: int) -> list[int]:
    """Return the indices of the `most` columns with the largest counts in any row, in ascending order."""
    by_size = np.argsort(-counts.max(axis=0), kind="stable")
    return sorted(int(column) for column in by_size[:most])


def _count_axis(axes: Axes, counts: NDArray[np.float64]) -> None:
    """Make x a log axis of whole decades that leaves the smallest bar a length and the largest room for its number."""
    positive = counts[counts > 0]
    smallest, largest = (positive.min(), positive.max()) if len(positive) else (1.0, 1.0)
    axes.set_xscale("log")
    axes.set_xlim(10 ** np.floor(np.log10(smallest / 1.5)), 10 ** np.ceil(np.log10(largest * 1.5)))
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.set_axisbelow(True)
    axes.grid(which="major", axis="x", color="#eeeeee")


def _rounded(count: float) -> str:
    return EngFormatter(places=1 if count >= 1000 else 0)(count)


def _shortened(name: str) -> str:
    """Return a short name: the end of a dotted name, which tells most."""
    return name if len(name) <= _NAME_LENGTH else f"…{name[1 - _NAME_LENGTH :]}"
