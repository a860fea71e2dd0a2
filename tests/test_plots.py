"""Test what the figures show: every step and its depth on a log axis, whatever was drawn before; medians and
quartiles over seeds; the counts of every row and regime, and what is left out of them.
"""

import io

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from paramshare.bands import Band, quartiles
from paramshare.plots import LossPlot, aggregate_curves, picture_of, sharing_bars
from paramshare.plots.axes import PowerFormatter, make_log_figure

BARS = {"shared": [10, 0, 3], "unshared": [100, 20, 30], "dense": [10**30, 200, 300]}

STEPS = 500
DEPTHS = np.random.default_rng(0).integers(0, 4, STEPS)
FALLING = np.geomspace(2000, 0.02, STEPS)
DIVERGED = np.where(np.arange(STEPS) < 300, FALLING[::-1], np.nan)
WITH_HOLES = np.where(np.isin(np.arange(STEPS), [3, 50, 51, 80]), np.nan, FALLING)
RUNS = {
    "falling": (FALLING, DEPTHS),
    "higher": (10 * FALLING, DEPTHS),
    "diverged": (DIVERGED, DEPTHS),
    "with holes": (WITH_HOLES, DEPTHS),
    "with what has no mark": ([np.inf, -np.inf, 0, -1, *FALLING[4:]], DEPTHS),
    "depths missing": (FALLING, np.full(STEPS, 3)),
    "always the same": (np.full(STEPS, 647), DEPTHS),
    "all of float32": (np.geomspace(3e38, 1e-45, STEPS), DEPTHS),
    "more than all": (np.geomspace(1e308, 1e-308, STEPS), DEPTHS),
    "never finite": (np.full(STEPS, np.nan), DEPTHS),
    "no step": ([], []),
    "one step": ([5], [0]),
    "three steps": ([647, 640, 600], [0, 1, 2]),
    "many steps": (np.geomspace(1e3, 1e-5, 12_345), np.arange(12_345) % 4),
    "from far above": (1e11 * FALLING, DEPTHS),
}

LONG = "untied seed -9223372036854775808 on cuda:15"
"""The longest title that a run has."""

COLORS = np.array(
    [[255] * 3, [0] * 3, [0xEE] * 3, [0xCC] * 3, [0x99] * 3, [0x56, 0xB4, 0xE9], [0, 0x72, 0xB2], [0xD5, 0x5E, 0]]
)
"""What a run's picture is drawn with: background, text, grid, curve and the marks of four depths."""

CELL = 4 * 3**0.5 + 1e-9
"""How far a colour is at most from the middle of those that share its upper 5 bits a channel, as the palette does."""


def pixels(picture: bytes) -> NDArray[np.uint8]:
    """Return the pixels of a picture as (height, width, 3)."""
    return np.array(Image.open(io.BytesIO(picture)).convert("RGB"))


def drawn_in_one_go(losses: NDArray[np.float64], depths: NDArray[np.int64], title: str, limits: tuple) -> bytes:
    """Draw the picture of a run with matplotlib alone."""
    figure = Figure(figsize=(8, 4.5), dpi=100, layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="loss (summed squared error)", yscale="log", ylim=limits)
    axes.set_title(title, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(which="major", color="#eeeeee")
    axes.margins(x=0.01)
    axes.yaxis.set_major_formatter(PowerFormatter())
    axes.yaxis.set_minor_formatter(PowerFormatter(labelOnlyBase=False))
    axes.plot(losses, color="#cccccc", linewidth=0.8)
    for depth, (color, marker) in enumerate([("#999999", "o"), ("#56B4E9", "s"), ("#0072B2", "^"), ("#D55E00", "D")]):
        (steps,) = np.nonzero(depths == depth)
        label = f"{depth} (n = {len(steps)})"
        axes.scatter(steps, losses[steps], s=11, color=color, marker=marker, linewidths=0, label=label, zorder=3)
    axes.legend(title="middle layer applied", frameon=False, loc="upper right", markerscale=1.6)
    return picture_of(figure)


def rows_of_depth_3(picture: bytes) -> NDArray[np.int64]:
    """Return the row of each pixel of the markers of depth 3, without the legend."""
    orange = (pixels(picture) == (0xD5, 0x5E, 0x00)).all(axis=2)
    return np.nonzero(orange[:, :600])[0]


def counts_drawn(axes: Axes) -> dict[str, dict[str, float]]:
    """Return the length of each bar, by regime and by the name of its row."""
    names = [label.get_text() for label in axes.get_yticklabels()]
    return {
        str(bars.get_label()): {names[round(bar.get_y() + bar.get_height() / 2)]: bar.get_width() for bar in bars}
        for bars in axes.containers
    }


def drawn_rows(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


@pytest.mark.parametrize(
    ("losses", "title", "limits"),
    [
        (FALLING, "$a title_", (-2, 3.5)),
        (FALLING[::-1], "untied seed -9223372036854775808 on cuda:15", (-2, 3.5)),
        (WITH_HOLES, "seed 0123456789", (-2, 3.5)),
        (FALLING**7, "seed 0", (-16, 28)),
        (FALLING**0.01, "seed 0", (-0.0625, 0.0625)),
    ],
    ids=["falling", "rising", "with holes", "many decades", "part of a decade"],
)
def test_each_pixel_of_a_loss_picture_is_the_nearest_palette_colour_to_matplotlibs_drawing(
    losses: NDArray[np.float64], title: str, limits: tuple[float, float]
) -> None:
    plot = LossPlot()
    plot.picture(FALLING * 10, DEPTHS, title)  # its common part serves for other limits
    drawn = plot.picture(losses, DEPTHS, title)
    anew = drawn_in_one_go(losses, DEPTHS, title, limits=(10.0 ** limits[0], 10.0 ** limits[1]))
    palette = np.array(Image.open(io.BytesIO(drawn)).getpalette()).reshape(-1, 3)
    pairs = np.concatenate([pixels(anew), pixels(drawn)], axis=2).reshape(-1, 6).astype(int)
    exact, found = np.split(np.unique(pairs, axis=0), 2, axis=1)
    least = np.linalg.norm(exact[:, None] - palette, axis=2).min(axis=1)
    error = np.linalg.norm(exact - found, axis=1)
    assert (error <= least + 2 * CELL).all()
    pure = (exact[:, None] == COLORS).all(axis=2).any(axis=1)
    assert pure.sum() == len(COLORS)
    assert not error[pure].any()
    assert np.abs(pairs[:, :3] - pairs[:, 3:]).mean() < 0.2  # of 255


@pytest.mark.parametrize(
    ("limits", "labels"),
    [
        ((1e-2, 1e2), {"10⁻²", "10⁻¹", "10⁰", "10¹", "10²"}),
        ((1e-30, 1e30), {"10⁻²⁸", "10⁻⁷", "10⁰", "10²⁸"}),
        ((15, 45), {"2×10¹", "3×10¹", "4×10¹"}),
        ((0.0215, 0.0229), {"2.16×10⁻²", "2.2×10⁻²", "2.24×10⁻²", "2.28×10⁻²"}),
    ],
)
def test_labels_of_a_log_axis_are_powers_of_ten_and_no_formulas(limits: tuple[float, float], labels: set[str]) -> None:
    figure, axes = make_log_figure("", "loss")
    axes.set_ylim(limits)
    figure.draw_without_rendering()
    drawn = {label.get_text() for label in axes.get_yticklabels(which="both")}
    assert drawn >= labels
    assert not any("$" in label for label in drawn)


@pytest.fixture(scope="module")
def alone() -> dict[str, bytes]:
    """Draw the picture of each of RUNS with its own LossPlot."""
    return {name: LossPlot().picture(*run, LONG) for name, run in RUNS.items()}


def test_a_picture_does_not_depend_on_earlier_pictures(
    alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "paramshare.plots.loss_picture._SHEETS", 3
    )  # less than these have limits, so that some are made again
    plot = LossPlot()
    for name in [*RUNS, *reversed(RUNS)]:
        assert plot.picture(*RUNS[name], LONG) == alone[name]


def test_a_picture_does_not_depend_on_the_title_of_the_previous_picture() -> None:
    plot = LossPlot()
    drawn = {title: plot.picture(FALLING, DEPTHS, title) for title in (LONG, "short")}
    assert drawn == {title: LossPlot().picture(FALLING, DEPTHS, title) for title in drawn}


def test_a_loss_picture_has_no_clipped_text(alone: dict[str, bytes]) -> None:
    for picture in alone.values():
        drawn = pixels(picture)
        drawn[2:-2, 2:-2] = 255
        assert drawn.min() == 255


@pytest.mark.parametrize("lowest", [-45, -2.01, 0, 38])
@pytest.mark.parametrize("span", [0.5, 2, 3.99, 4.01, 6, 40])
def test_losses_fill_the_height_of_a_picture_without_clipped_markers(lowest: float, span: float) -> None:
    plot = LossPlot()
    rows = rows_of_depth_3(plot.picture(10.0 ** np.array([lowest, lowest + span, lowest + span / 2]), [3, 3, 0], ""))
    upper, lower = rows[rows < rows.mean()], rows[rows > rows.mean()]
    assert len(upper) == len(lower) == len(rows_of_depth_3(plot.picture([1], [3], "")))
    assert lower.mean() - upper.mean() > 0.7 * 376


def test_a_picture_without_finite_positive_losses_is_empty() -> None:
    plot = LossPlot()
    pictures = {plot.picture([loss] * STEPS, DEPTHS, "") for loss in (np.nan, np.inf, -np.inf, 0, -1)}
    assert len(pictures) == 1
    assert len(rows_of_depth_3(pictures.pop())) == 0


@pytest.mark.parametrize(("losses", "depths"), [([1, 2], [0]), ([1], [0, 1]), ([1], [4]), ([1], [-1]), ([1], [0.5])])
def test_a_step_without_a_loss_or_with_an_unknown_depth_is_refused(losses: ArrayLike, depths: ArrayLike) -> None:
    with pytest.raises(ValueError, match="every step needs a loss and a depth of 0 to 3"):
        LossPlot().picture(losses, depths, "")


def test_a_band_has_the_median_and_quartiles_of_each_step() -> None:
    curves = np.random.default_rng(0).exponential(size=(11, 4))
    band = Band.of(list(curves))
    ordered = np.sort(curves, axis=0)
    assert band.n == 11
    np.testing.assert_allclose(band.median, ordered[5])
    np.testing.assert_allclose(band.lower, (ordered[2] + ordered[3]) / 2)
    np.testing.assert_allclose(band.upper, (ordered[7] + ordered[8]) / 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n", range(1, 12))
def test_diverged_losses_rank_above_any_number_in_quartiles(n: int, bad: float) -> None:
    """The oracle: the same quartiles with a number in its place that is larger than all and known when it shows."""
    numbers = np.random.default_rng(n).exponential(size=n)
    for diverged in range(n + 1):
        curves, large = numbers.copy(), numbers.copy()
        curves[:diverged], large[:diverged] = bad, 1e300
        found = quartiles(curves)
        expected = np.quantile(large, (0.25, 0.5, 0.75))
        np.testing.assert_array_equal(np.isinf(found), expected > 1e200)
        np.testing.assert_array_equal(found[expected < 1e200], expected[expected < 1e200])


def test_curves_of_diverged_runs_are_drawn_up_to_their_last_number() -> None:
    band = Band.of([[1.0, 2.0, np.inf], [1.0, np.nan, np.nan], [1.0, 3.0, np.inf]])
    assert band.median.tolist() == [1.0, 3.0, np.inf]
    picture_of(aggregate_curves({"a": band, "b": Band.of([[np.nan] * 3])}, "some diverged"))


def test_aggregate_curves_name_each_group_with_its_n() -> None:
    bands = {"shared": Band.of(np.ones((3, 5))), "untied": Band.of(np.ones((2, 5)))}
    (axes,) = aggregate_curves(bands, "both").axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["shared (n = 3)", "untied (n = 2)"]


def test_each_count_is_a_bar_on_a_log_axis_and_zero_has_no_bar() -> None:
    (axes,) = sharing_bars(["a", "b", "c"], BARS, "a title").axes
    assert (axes.get_xscale(), axes.get_title()) == ("log", "a title")
    assert counts_drawn(axes) == {
        "shared": {"a": 10, "c": 3},
        "unshared": {"a": 100, "b": 20, "c": 30},
        "dense": {"a": 1e30, "b": 200, "c": 300},
    }


def test_bars_keep_the_order_of_rows_and_regimes_from_top_to_bottom() -> None:
    (axes,) = sharing_bars(["a", "b", "c"], BARS, "").axes
    assert axes.yaxis_inverted()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    tops = [bars[0].get_y() for bars in axes.containers]
    assert tops == sorted(tops)


def test_regimes_are_distinguishable_without_colour() -> None:
    figure = sharing_bars(["a", "b", "c"], BARS, "")
    (axes,), (legend,) = figure.axes, figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(BARS)
    assert len({bars[0].get_hatch() for bars in axes.containers}) == len(BARS)


def test_every_bar_has_a_length_and_ticks_have_short_labels() -> None:
    (axes,) = (figure := sharing_bars(["a"], {"shared": [1], "dense": [2_000_000]}, "")).axes
    figure.draw_without_rendering()
    left, right = axes.get_xlim()
    assert left < 1
    assert right > 2e6
    assert {"1 k", "1 M"} <= {label.get_text() for label in axes.get_xticklabels()}
    assert [text.get_text() for text in axes.texts] == ["1", "2.0 M"]


def test_a_chart_of_many_rows_shows_the_largest_and_counts_the_others() -> None:
    sizes = [1 + (7 * row) % 200 for row in range(200)]
    figure = sharing_bars([f"row {row}" for row in range(200)], {"shared": sizes, "dense": sizes}, "")
    assert drawn_rows(figure) == [f"row {row}" for row in range(200) if sizes[row] > 140]
    assert "140 of 200 rows" in figure.axes[0].get_xlabel()


def test_the_height_of_a_chart_grows_with_its_rows_up_to_a_limit() -> None:
    heights = [
        sharing_bars([str(row) for row in range(rows)], {"shared": [1] * rows}, "").get_figheight()
        for rows in (1, 5, 50, 60, 1000)
    ]
    assert heights == sorted(heights)
    assert heights[0] >= 2
    assert heights[-1] == heights[-2] <= 16


def test_a_long_row_name_is_truncated_and_no_name_is_parsed_as_a_formula() -> None:
    figure = sharing_bars(["x" * 100 + ".weight", "$a$ $_"], {"shared": [1, 2]}, "$_^$")
    figure.draw_without_rendering()
    long, formula = drawn_rows(figure)
    assert (long[0], long[-8:], formula) == ("…", "x.weight", "$a$ $_")
    assert len(long) < 50


def test_a_chart_of_zeros_has_no_bars() -> None:
    figure = sharing_bars(["a", "b"], {"shared": [0, 0], "dense": [0, 0]}, "")
    figure.draw_without_rendering()
    assert counts_drawn(figure.axes[0]) == {"shared": {}, "dense": {}}


def test_a_picture_has_the_requested_format() -> None:
    figure = sharing_bars(["a"], {"shared": [1]}, "")
    assert picture_of(figure).startswith(b"\x89PNG")
    assert b"<svg" in picture_of(figure, "svg")


def test_plots_leave_no_figure_in_pyplot() -> None:
    LossPlot().picture([1.0, 2.0], [0, 3], "x")
    aggregate_curves({}, "nothing finished")
    sharing_bars(["a"], {"shared": [1]}, "x")
    assert pyplot.get_fignums() == []
