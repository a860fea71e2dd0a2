"""Proves what the figures show: every step and its depth on a log axis; medians and quartiles over seeds."""

import numpy as np
from matplotlib import pyplot

from paramshare.plots import Band, aggregate_curves, loss_curve


def test_a_loss_curve_marks_each_step_by_its_depth_on_a_log_axis() -> None:
    depths = np.array([0, 1, 2, 3, 1, 1])
    (axes,) = loss_curve(np.arange(1.0, 7.0), depths, "a title").axes
    assert axes.get_yscale() == "log"
    assert axes.get_title() == "a title"
    marked = {mark.get_label(): mark.get_offsets().data.tolist() for mark in axes.collections}
    assert marked == {
        "0 (n = 1)": [[0, 1]],
        "1 (n = 3)": [[1, 2], [4, 5], [5, 6]],
        "2 (n = 1)": [[2, 3]],
        "3 (n = 1)": [[3, 4]],
    }


def test_a_band_is_median_and_quartiles_step_by_step() -> None:
    curves = np.random.default_rng(0).exponential(size=(11, 4))
    band = Band.of(list(curves))
    ordered = np.sort(curves, axis=0)
    assert band.n == 11
    np.testing.assert_allclose(band.median, ordered[5])
    np.testing.assert_allclose(band.lower, (ordered[2] + ordered[3]) / 2)
    np.testing.assert_allclose(band.upper, (ordered[7] + ordered[8]) / 2)


def test_aggregate_curves_name_each_group_with_its_n() -> None:
    bands = {"shared": Band.of(np.ones((3, 5))), "untied": Band.of(np.ones((2, 5)))}
    (axes,) = aggregate_curves(bands, "both").axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["shared (n = 3)", "untied (n = 2)"]


def test_no_figure_is_left_in_pyplots_hands() -> None:
    loss_curve([1.0, 2.0], [0, 3], "x")
    aggregate_curves({}, "nothing finished")
    assert pyplot.get_fignums() == []
