"""Proves that a reader can tell values off a figure's log axis, however far or near they lie."""

import pytest
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
