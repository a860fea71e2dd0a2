"""Proves that a reader can tell values off a figure's log axis, however far or near they lie, and whatever diverged."""

import math
import warnings

import pytest
from comparing.test_study import study
from matplotlib.figure import Figure

from paramshare.comparing import figures


@pytest.mark.parametrize("span", [1.02, 1.2, 3, 6, 50, 250, 1e5])
def test_a_log_axis_has_three_labels_or_more_and_no_crowd(span: float) -> None:
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
def test_whatever_diverged_every_figure_that_has_a_number_is_drawn(diverged: tuple[int, int], names: set[str]) -> None:
    groups = {
        name: [*[math.inf] * count, *(1.0 + seed / 7 for seed in range(10 - count))]
        for name, count in zip(("shared", "untied"), diverged, strict=True)
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = {one.name: one for one in figures.draw(study(groups))}
    assert drawn.keys() == names
    assert all("a run that diverged" in one.title for name, one in drawn.items() if name in ("parameters", "finals"))
