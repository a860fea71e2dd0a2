"""Figures: arrays in, a matplotlib Figure or the bytes of a picture out. No file and no global state is touched."""

from paramshare.plots.axes import GROUP_STYLES, draw_band
from paramshare.plots.figures import aggregate_curves, inline_picture, picture_of, sharing_bars
from paramshare.plots.loss_picture import LossPlot

__all__ = ["GROUP_STYLES", "LossPlot", "aggregate_curves", "draw_band", "inline_picture", "picture_of", "sharing_bars"]
