"""A reader can tell values off a figure's log axis, however far or near they lie, and whatever diverged."""

import math
import warnings

import numpy as np
import pytest
from comparing.test_study import study
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paramshare.comparing import figures
from paramshare.stats.estimate import Estimate, Interval


@pytest.mark.parametrize("span", [1.02, 1.2, 3, 6, 50, 250, 1e5])
def test_a_log_axis_has_at_least_three_labels_that_do_not_overlap(span: float) -> None:
    axes = Figure().add_subplot()
    axes.scatter([0.97, 0.97 * span], [0, 0])
    figures._log(axes)
    low, high = axes.get_xlim()
    labels = [
        label.get_text()
        for place, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        if low <= place <= high
    ]
    assert all(labels)
    assert 3 <= len(set(labels)) == len(labels) <= 9


@pytest.mark.parametrize(
    ("diverged", "names"),
    [
        ((3, 0), {"values", "differences", "parameters", "finals"}),
        ((6, 6), {"values", "differences"}),
        ((10, 0), {"values", "parameters", "finals"}),
        ((10, 10), {"values"}),
    ],
)
def test_every_figure_with_a_finite_number_is_drawn_if_runs_diverged(
    diverged: tuple[int, int], names: set[str]
) -> None:
    groups = {
        name: [*[math.inf] * count, *(1.0 + seed / 7 for seed in range(10 - count))]
        for name, count in zip(("shared", "untied"), diverged, strict=True)
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = {figure.name: figure for figure in figures.draw(study(groups))}
    assert drawn.keys() == names
    assert all("a run that diverged" in drawn[name].title for name in names & {"parameters", "finals"})


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Return a list that receives every figure before it becomes a picture."""
    kept: list[Figure] = []

    def keep(figure: Figure) -> bytes:
        kept.append(figure)
        return b""

    monkeypatch.setattr(figures, "picture_of", keep)
    return kept


GROUPS = {name: [1.0 + seed / 7 + place for seed in range(8)] for place, name in enumerate(("shared", "untied"))}


def dots(axes: Axes) -> list[list[float]]:
    """Return the x of the dots of each collection."""
    return [np.asarray(collection.get_offsets())[:, 0].tolist() for collection in axes.collections]


def test_the_figure_of_values_has_a_dot_for_each_seed_and_the_interval_of_each_mean(drawn: list[Figure]) -> None:
    found = study(GROUPS)
    figures.draw(found)
    (axes,) = drawn[0].axes
    assert dots(axes) == [*GROUPS.values()]
    intervals = [result.summary.geometric_mean.interval for result in found.groups]
    ends = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2]  # type: ignore[arg-type]
    assert [(low, high) for low, high in ends] == [(limits.low, limits.high) for limits in intervals if limits]  # type: ignore[misc]


def test_the_figure_of_differences_has_the_ratio_of_each_pair_and_the_interval_of_the_test(drawn: list[Figure]) -> None:
    found = study(GROUPS)
    figures.draw(found)
    (axes,) = drawn[1].axes
    assert dots(axes) == [
        [pytest.approx(one / other) for one, other in zip(GROUPS["untied"], GROUPS["shared"], strict=True)]
    ]
    interval = found.contrasts[0].comparison.hl_ratio.interval
    assert interval is not None
    assert [*axes.lines[0].get_xdata()] == [interval.low, interval.high]  # type: ignore[misc]


def test_the_figure_of_parameters_has_the_median_of_each_group_over_its_parameters(drawn: list[Figure]) -> None:
    found = study(GROUPS)
    figures.draw(found)
    (axes,) = drawn[2].axes
    points = [(*bar[0].get_xdata(), *bar[0].get_ydata()) for bar in axes.containers]  # type: ignore[union-attr]
    assert points == [(result.sizes["model/parameters"], result.summary.median.value) for result in found.groups]


def test_only_curves_over_steps_join_their_points_by_lines(drawn: list[Figure]) -> None:
    figures.draw(study(GROUPS))
    lines = [line for figure in drawn for axes in figure.axes for line in axes.lines]
    joined = [line for line in lines if len(line.get_xdata()) > 2 and line.get_linestyle() != "None"]  # type: ignore[arg-type]
    assert len(drawn) == 4
    assert not joined


def test_an_unbounded_interval_is_drawn_as_an_arrow_at_the_last_dot() -> None:
    axes = Figure().add_subplot()
    estimate = Estimate(math.inf, 9, Interval(1.5, math.inf, 0.95, "t"))
    figures._interval(axes, estimate, 0, np.array([0.5, 3.0]))
    line, arrow = axes.lines
    assert [*line.get_xdata()] == [1.5, 3]  # type: ignore[misc]
    assert ([*arrow.get_xdata()], arrow.get_marker()) == ([3], ">")  # type: ignore[misc]
