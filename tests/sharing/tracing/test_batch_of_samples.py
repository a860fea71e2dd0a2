"""Proves that a batch in the arguments is counted as one sample, or reported if it may also be positions."""

import pytest
import torch
from torch import Tensor, nn

from paramshare import analyze, untie
from paramshare.sharing.report import SharingReport

CONV = nn.Conv2d(3, 4, 3, padding=1)


def counts(report: SharingReport) -> tuple[int, ...]:
    totals = report.totals
    return totals.per_use, totals.unshared, totals.unshared_live, totals.dense, totals.macs


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize(
    ("model", "size", "batch_axis"),
    [
        (CONV, (3, 6, 6), 0),
        (nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, 5)), (3, 6, 6), 0),
        (nn.Sequential(nn.Linear(3, 4), nn.LSTM(4, 2, batch_first=True)), (6, 3), 0),
        (nn.GRU(3, 4), (6, 3), 1),
        (nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 2), (6, 4), 0),
    ],
    ids=["conv", "net", "lstm", "gru of steps first", "encoder"],
)
def test_batch_of_several_samples_counts_as_one_with_a_warning(
    model: nn.Module, size: tuple[int, ...], batch_axis: int
) -> None:
    shapes = [[*size[:batch_axis], length, *size[batch_axis:]] for length in (1, 4)]
    one, several = (analyze(model, args=(torch.empty(shape),)) for shape in shapes)
    assert counts(one) == counts(several)
    assert (one.warnings, len(several.warnings)) == ((), 1)
    place = ("first", "second")[batch_axis]
    assert f"is a batch of 4 samples (its {place} axis): the counts are for one sample of " in several.warnings[0]
    assert several.input == one.input


def test_batch_of_tokens_counts_as_one_sample() -> None:
    tokens = torch.zeros(4, 7, dtype=torch.long)
    report = analyze(nn.Embedding(9, 4), kwargs={"input": tokens})
    assert report.totals.unshared == 7 * 9 * 4
    assert report.warnings[0].startswith("the input input=4×7 int64 is a batch of 4 samples")


def test_axis_that_may_hold_positions_is_counted_and_reported() -> None:
    report = analyze(nn.Linear(8, 4), args=(torch.empty(6, 8),))
    assert report.totals.unshared == 6 * 36
    assert report.warnings == (
        "the first axis of the input 6×8 is counted as 6 positions of one sample; "
        "if it is a batch, give one sample, 1×8",
    )


def test_batch_that_a_norm_needs_in_training_is_reported() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    assert analyze(model, args=(torch.empty(8, 4),)).totals.unshared == 28
    (said,) = analyze(model, args=(torch.empty(8, 4),), training=True).warnings
    assert said.endswith("since the model refuses one sample in this mode; divide the sites of a batch")


class Graph(nn.Module):
    """A layer over the nodes of a graph, which are positions."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, nodes: Tensor, neighbours: Tensor) -> Tensor:
        return neighbours @ self.linear(nodes)


@pytest.mark.parametrize(
    ("model", "shapes"),
    [
        (CONV, [(3, 6, 6)]),
        (nn.LSTM(3, 4), [(6, 1, 3)]),
        (nn.LSTM(3, 4), [(6, 3)]),
        (Graph(), [(6, 4), (6, 6)]),
        (Graph(), [(1, 6, 4), (1, 6, 6)]),
    ],
    ids=["image without a batch", "steps first", "steps alone", "nodes", "batch of one"],
)
def test_one_sample_of_any_layout_has_no_warning(model: nn.Module, shapes: list[tuple[int, ...]]) -> None:
    assert analyze(model, args=tuple(map(torch.empty, shapes))).warnings == ()


class Folded(nn.Module):
    """A recurrent net over each row of an image, whose rows are a batch for the net."""

    def __init__(self, net: nn.RNNBase) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x[0])[0]
        return out


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_net_over_rows_has_sites_for_each_row(kind: type[nn.RNNBase]) -> None:
    net = kind(3, 4, batch_first=True)
    row, rows = (analyze(Folded(net), (length, 5, 3)) for length in (1, 2))
    assert rows.totals.unshared == 2 * row.totals.unshared == 2 * analyze(net, (5, 3)).totals.unshared
    assert rows.totals.unshared_live == 2 * row.totals.unshared_live
    assert rows.warnings == ()


def test_twin_of_a_batch_is_the_twin_of_one_sample() -> None:
    x = torch.randn(4, 3, 6, 6)
    twin = untie(CONV, {"space"}, args=(x,))  # any warning is an error
    assert sum(parameter.numel() for parameter in twin.parameters()) == 36 * 112
    torch.testing.assert_close(twin(x), CONV(x))
