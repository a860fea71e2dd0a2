"""The picture of one run's loss, drawn for many runs one after another in a few milliseconds each."""

import math
import re
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, cast

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from numpy.typing import ArrayLike, NDArray

from paramshare.plots.axes import GROUP_STYLES, SQUARED_ERROR, add_legend, make_log_figure
from paramshare.plots.log_ticks import TickChooser, draw_ticks, limits_of, set_widest_ticks
from paramshare.plots.palette import DEPTH_COLORS, encode, palette_indices

__all__ = ["LossPlot"]

_DEPTH_STYLES = tuple(zip(DEPTH_COLORS, "os^D", strict=True))  # the colour and the marker of each depth

_SHEETS = 16  # maximum number that a LossPlot keeps, about 8 MB each
_RANGES = 64  # maximum number that a sheet keeps, about 50 kB each
_WORDINGS = 1024  # maximum number that a sheet keeps, about 5 kB each
_FONT = "DejaVu Sans"  # matplotlib's own; all of its digits are equally wide and have no kerning


class LossPlot:
    """A drawer of pictures of many runs: the loss on a log axis, each step marked by the depth that it drew.

    To place and draw axes and texts takes most of the time. A sheet is drawn once for all runs with the same number of
    steps and the same width of labels at the log axis, and kept; the ticks of that axis are kept for each pair of
    limits; each run adds its curve, title and legend. No picture depends on former pictures. A LossPlot is for one
    thread.
    """

    def __init__(self) -> None:
        self._chooser = TickChooser()
        self._sheets = OrderedDict[tuple[object, ...], _Sheet]()

    def picture(self, losses: ArrayLike, depths: ArrayLike | None, title: str, measure: str = SQUARED_ERROR) -> bytes:
        """Draw the picture of one run, 800 x 450 pixels, and return the bytes of a PNG.

        Args:
            losses: (steps,), the loss of every step. A loss that is not finite and positive has no mark; a loss beyond
                1e±100, which no float32 has, is outside of the limits.
            depths: (steps,), the number of applications of the middle layer in each step, 0 to 3; None to draw only the
                curve.
            title: the title.
            measure: the name of the loss, such as `cross-entropy`.

        Raises:
            ValueError: a step has no loss, or no depth of 0 to 3.
        """
        loss = np.asarray(losses, dtype=np.float64)
        if depths is None:
            return self._picture(loss, None, title, measure)
        depth = np.asarray(depths)
        if loss.shape != depth.shape or not np.isin(depth, range(len(_DEPTH_STYLES))).all():
            raise ValueError(
                f"every step needs a loss and a depth of 0 to {len(_DEPTH_STYLES) - 1}; "
                f"there are {loss.size} losses and {depth.size} depths: {np.unique(depth)}"
            )
        return self._picture(loss, depth, title, measure)

    def _picture(self, loss: NDArray[np.float64], depth: NDArray[np.int64] | None, title: str, measure: str) -> bytes:
        shown = _decades(loss)
        decades = shown or (0.0, 1.0)
        kind = _Kind(len(loss), measure, depth is not None, shown is not None, self._chooser.ticks(decades).width)
        if kind not in self._sheets:
            if len(self._sheets) >= _SHEETS:
                self._sheets.popitem(last=False)
            self._sheets[kind] = _Sheet(kind, decades, self._chooser)
        self._sheets.move_to_end(kind)
        return self._sheets[kind].picture(loss, depth, title, decades)


class _Kind(NamedTuple):
    """All that the common part of pictures depends on.

    Args:
        steps: the number of steps.
        measure: the name of the loss.
        marked: whether each step has the mark of its depth.
        shown: whether there is a loss to show.
        width: the largest width of a label at the log axis in pixels.
    """

    steps: int
    measure: str
    marked: bool
    shown: bool
    width: float


class _Sheet:
    """The common part of pictures: all but the log axis, and what each run adds.

    Args:
        kind: of the pictures.
        decades: the logarithms to base 10 of the limits of one of the pictures.
        chooser: of the ticks.
    """

    def __init__(self, kind: _Kind, decades: tuple[float, float], chooser: TickChooser) -> None:
        figure, self._axes = make_log_figure("title", kind.measure)
        self._chooser, (steps, _, marked, shown, _) = chooser, kind
        margin = max(0.01 * (steps - 1), 0.1)
        self._axes.set(xlim=(-margin, max(steps - 1, 0) + margin), ylim=limits_of(decades))
        set_widest_ticks(self._axes, chooser.ticks(decades), decades)
        self._curve = self._axes.plot([], color="#cccccc" if marked else GROUP_STYLES[0][0], linewidth=0.8)[0]
        self._marks = [
            self._axes.scatter([], [], s=11, color=color, marker=marker, linewidths=0, label=_counted(value, steps))
            for value, (color, marker) in enumerate(_DEPTH_STYLES if shown and marked else ())
        ]
        legend = add_legend(self._axes, "middle layer applied") if marked or not shown else None
        handles = [*filter(None, legend.legend_handles), legend.get_title()] if legend else []
        self._texts: list[Any] = [self._axes.title, *(legend.get_texts() if legend else [])]
        for text in self._texts:
            text.set_fontfamily(_FONT)
        self._canvas = cast(Any, FigureCanvasAgg(figure))  # matplotlib's backends have no types
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # everything has its place; a label of the legend has room for any n
        self._spines = [spine for spine in self._axes.spines.values() if spine.get_visible()]
        self._axes.title.set_animated(True)  # not drawn; if it were invisible, it would be moved
        on_top: list[Any] = [*handles, *self._texts[1:], *self._spines, self._axes.yaxis]
        for artist in on_top:
            artist.set_visible(False)
        self._canvas.draw()
        self._axes.draw_artist(self._axes.yaxis.label)
        self._in_common = self._canvas.copy_from_bbox(figure.bbox)
        self._common_pixels = _packed(self._canvas).copy()
        self._common_indices = palette_indices(self._common_pixels)
        for artist in on_top:
            artist.set_visible(True)
        self._canvas.renderer.clear()
        self._blank = self._canvas.copy_from_bbox(figure.bbox)
        self._handles = [self._ink(handles)] if handles else []
        self._opacity = lru_cache(maxsize=_WORDINGS)(self._draw_text)
        self._layout = lru_cache(maxsize=_WORDINGS)(self._lay_out)
        self._width = lru_cache(maxsize=_WORDINGS)(self._measure)
        self._scale = lru_cache(maxsize=_RANGES)(self._draw_scale)

    def picture(
        self,
        loss: NDArray[np.float64],
        depth: NDArray[np.int64] | None,
        title: str,
        decades: tuple[float, float],
    ) -> bytes:
        places, colored = self._scale(decades)
        self._axes.set_ylim(limits_of(decades))
        self._curve.set_data(np.arange(len(loss)), loss)
        texts = [title]
        for value, marks in enumerate(self._marks):
            (steps,) = np.nonzero(np.asarray(depth == value))
            marks.set_offsets(np.column_stack((steps, loss[steps])))
            texts.append(_counted(value, len(steps)))
        inks = self._handles + [self._text_ink(which, string) for which, string in enumerate(texts) if string]
        self._canvas.restore_region(self._in_common)
        _packed(self._canvas).reshape(-1)[places] = colored
        for artist in (self._curve, *self._marks):
            self._axes.draw_artist(artist)
        colors = np.asarray(self._canvas.buffer_rgba())[..., :3]
        for ink in inks:
            colors[ink.place] = colors[ink.place] * ink.below + ink.added
        return self._encode()

    def _draw_scale(self, decades: tuple[float, float]) -> tuple[NDArray[np.intp], NDArray[np.uint32]]:
        """Draw the log axis, and return the pixels that it changes: their places and their colours."""
        self._axes.set_ylim(limits_of(decades))
        self._canvas.restore_region(self._in_common)
        draw_ticks(self._axes, self._chooser.ticks(decades))
        for spine in self._spines:
            self._axes.draw_artist(spine)
        pixels = _packed(self._canvas)
        places = np.flatnonzero(pixels != self._common_pixels)
        return places, pixels.reshape(-1)[places]

    def _text_ink(self, which: int, string: str) -> "_Ink":
        """Assemble a text from drawn texts whose digits are all the same, so that most texts need no drawing.

        Args:
            which: the index of the text that is replaced.
        """
        zeros = re.sub("[1-9]", "0", string)
        place, cells = self._layout(which, zeros)
        opacity = self._opacity(which, zeros).copy()
        for digit, cell in zip(re.findall("[0-9]", string), cells, strict=True):
            if digit != "0":
                opacity[:, cell] = self._opacity(which, zeros.replace("0", digit))[:, cell]
        return _Ink(place, 1 - opacity[..., None] / np.float32(255), np.float32(0.5))

    def _lay_out(self, which: int, zeros: str) -> "_Layout":
        """Return the place of a text whose digits are all zeros."""
        text = self._texts[which]
        text.set_text(zeros)
        box, height = text.get_window_extent(self._canvas.get_renderer()), int(self._canvas.figure.bbox.height)
        top, left = max(height - math.ceil(box.y1) - 2, 0), max(int(box.x0) - 2, 0)
        place = slice(top, height - math.floor(box.y0) + 2), slice(left, math.ceil(box.x1) + 2)
        digits = [at.start() for at in re.finditer("[0-9]", zeros)]
        columns = {length: self._width(which == 0, zeros[:length]) for at in digits for length in (at, at + 1)}
        ends = {length: round(float(box.x0) + width) - left for length, width in columns.items()}
        return _Layout(place, [slice(ends[at], ends[at + 1]) for at in digits])

    def _measure(self, in_title: bool, string: str) -> float:
        """Return the width of a string in the title or the legend in pixels."""
        font = self._texts[0 if in_title else 1].get_fontproperties()
        return float(self._canvas.get_renderer().get_text_width_height_descent(string, font, ismath=False)[0])

    def _draw_text(self, which: int, string: str) -> NDArray[np.uint8]:
        """Draw a text whose digits are all the same, and return its opacity of 255 in its place: (height, width)."""
        place, text = self._layout(which, re.sub("[1-9]", "0", string)).place, self._texts[which]
        opacity = np.asarray(self._canvas.buffer_rgba())[place][..., 3]
        opacity[...] = 0
        text.set_text(string)
        self._axes.draw_artist(text)
        return opacity.copy()

    def _ink(self, artists: Sequence[Artist]) -> "_Ink":
        drawn = self._drawn(artists)
        rows, columns = (np.nonzero(drawn[..., 3].any(axis=axis))[0] for axis in (1, 0))
        place = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        opacity = drawn[place][..., 3:] / np.float32(255)
        return _Ink(place, 1 - opacity, drawn[place][..., :3] * opacity + np.float32(0.5))

    def _drawn(self, artists: Sequence[Artist]) -> NDArray[np.uint8]:
        """Draw artists on a transparent canvas: (height, width, 4), to be read before anything else is drawn."""
        self._canvas.restore_region(self._blank)
        for artist in artists:
            self._axes.draw_artist(artist)
        return np.asarray(self._canvas.buffer_rgba())

    def _encode(self) -> bytes:
        """Return the canvas as a PNG; only pixels that differ from the common ones are looked up in the palette."""
        pixels = _packed(self._canvas)
        indices, changed = self._common_indices.copy(), pixels != self._common_pixels
        indices[changed] = palette_indices(pixels[changed])
        return encode(indices)


class _Ink(NamedTuple):
    """The effect of a drawing on the pixels below it.

    Args:
        place: the rows and columns.
        below: (height, width, 1), how much of each pixel stays visible.
        added: (height, width, 3) or a number, what is added to that; one half more, since bytes are rounded down.
    """

    place: tuple[slice, slice]
    below: NDArray[np.floating]
    added: NDArray[np.floating] | np.floating


class _Layout(NamedTuple):
    """The place of a text.

    Args:
        place: the rows and columns.
        cells: the columns of each of its digits, counted from the first of `place`.
    """

    place: tuple[slice, slice]
    cells: list[slice]


def _packed(canvas: Any) -> NDArray[np.uint32]:
    """Return the canvas's pixels, (height, width), each in one number: red in the lowest byte."""
    return np.asarray(canvas.buffer_rgba()).view("<u4")[..., 0]


def _counted(depth: int, steps: int) -> str:
    return f"{depth} (n = {steps})"


def _decades(loss: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the logarithms to base 10 of limits for `loss`; None if a log axis can show no value of it.

    The limits are rounded outwards to 1/16 to 1/8 of their distance, so that many runs share a few limits and no mark
    is cut.
    """
    shown = np.log10(loss[(loss > 1e-100) & (loss < 1e100)])
    if not len(shown):
        return None
    low, high = shown.min(), shown.max()
    unit = 2.0 ** np.ceil(np.log2(max(high - low, 1) / 16))
    return float(np.floor(low / unit - 0.25) * unit), float(np.ceil(high / unit + 0.25) * unit)
