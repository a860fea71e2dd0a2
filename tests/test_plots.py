"""Proves what the figures show: every step and its depth on a log axis; medians and quartiles over seeds; the counts
of every row and regime, and what is left out of them.
"""

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paramshare.plots import Band, aggregate_curves, loss_curve, picture_of, sharing_bars

BARS = {"shared": [10, 0, 3], "unshared": [100, 20, 30], "dense": [10**30, 200, 300]}


def counts_drawn(axes: Axes) -> dict[str, dict[str, float]]:
    """By regime the length of each bar, by the name of the row that it is drawn in."""
    names = [label.get_text() for label in axes.get_yticklabels()]
    return {
        str(bars.get_label()): {names[round(bar.get_y() + bar.get_height() / 2)]: bar.get_width() for bar in bars}
        for bars in axes.containers
    }


def drawn_rows(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


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


def test_each_count_is_a_bar_in_its_row_on_a_log_axis_and_zero_is_none() -> None:
    (axes,) = sharing_bars(["a", "b", "c"], BARS, "a title").axes
    assert (axes.get_xscale(), axes.get_title()) == ("log", "a title")
    assert counts_drawn(axes) == {
        "shared": {"a": 10, "c": 3},
        "unshared": {"a": 100, "b": 20, "c": 30},
        "dense": {"a": 1e30, "b": 200, "c": 300},
    }


def test_rows_go_down_in_their_order_and_so_do_the_regimes_of_a_row() -> None:
    (axes,) = sharing_bars(["a", "b", "c"], BARS, "").axes
    assert axes.yaxis_inverted()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    tops = [bars[0].get_y() for bars in axes.containers]
    assert tops == sorted(tops)


def test_regimes_are_told_apart_without_colour() -> None:
    figure = sharing_bars(["a", "b", "c"], BARS, "")
    (axes,), (legend,) = figure.axes, figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(BARS)
    assert len({bars[0].get_hatch() for bars in axes.containers}) == len(BARS)


def test_every_bar_has_a_length_and_the_ticks_are_short() -> None:
    (axes,) = (figure := sharing_bars(["a"], {"shared": [1], "dense": [2_000_000]}, "")).axes
    figure.draw_without_rendering()
    left, right = axes.get_xlim()
    assert left < 1
    assert right > 2e6
    assert {"1 k", "1 M"} <= {label.get_text() for label in axes.get_xticklabels()}
    assert [text.get_text() for text in axes.texts] == ["1", "2.0 M"]


def test_of_many_rows_the_largest_are_drawn_in_order_and_the_rest_is_numbered() -> None:
    sizes = [1 + (7 * row) % 200 for row in range(200)]
    figure = sharing_bars([f"row {row}" for row in range(200)], {"shared": sizes, "dense": sizes}, "")
    assert drawn_rows(figure) == [f"row {row}" for row in range(200) if sizes[row] > 140]
    assert "140 of 200 rows" in figure.axes[0].get_xlabel()


def test_the_figure_grows_with_its_rows_within_reason() -> None:
    heights = [
        sharing_bars([str(row) for row in range(rows)], {"shared": [1] * rows}, "").get_figheight()
        for rows in (1, 5, 50, 60, 1000)
    ]
    assert heights == sorted(heights)
    assert heights[0] >= 2
    assert heights[-1] == heights[-2] <= 16


def test_a_long_name_is_shortened_to_its_end_and_no_name_is_a_formula() -> None:
    figure = sharing_bars(["x" * 100 + ".weight", "$a$ $_"], {"shared": [1, 2]}, "$_^$")
    figure.draw_without_rendering()
    long, formula = drawn_rows(figure)
    assert (long[0], long[-8:], formula) == ("…", "x.weight", "$a$ $_")
    assert len(long) < 50


def test_nothing_but_zeros_is_drawn_as_nothing() -> None:
    figure = sharing_bars(["a", "b"], {"shared": [0, 0], "dense": [0, 0]}, "")
    figure.draw_without_rendering()
    assert counts_drawn(figure.axes[0]) == {"shared": {}, "dense": {}}


def test_a_picture_is_of_the_form_that_was_asked_for() -> None:
    figure = sharing_bars(["a"], {"shared": [1]}, "")
    assert picture_of(figure).startswith(b"\x89PNG")
    assert b"<svg" in picture_of(figure, "svg")


def test_no_figure_is_left_in_pyplots_hands() -> None:
    loss_curve([1.0, 2.0], [0, 3], "x")
    aggregate_curves({}, "nothing finished")
    sharing_bars(["a"], {"shared": [1]}, "x")
    assert pyplot.get_fignums() == []
