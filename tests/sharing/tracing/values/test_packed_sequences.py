"""Recurrent layers over packed sequences count the steps that the lengths leave.

A layer with h units takes h·(inputs + h) multiply-accumulates a gate and step.
"""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

from paramshare import analyze

GATES = {nn.RNN: 1, nn.GRU: 3, nn.LSTM: 4}
STEP = 2 * (3 + 2)
WEIGHTS = 2 * (3 + 2 + 2)


class Packs(nn.Module):
    """A recurrent layer over packed sequences, padded again."""

    def __init__(self, kind: type[nn.RNNBase], lengths: Sequence[int] | None, sort: bool) -> None:
        super().__init__()
        self.layer, self.lengths, self.sort = kind(3, 2, batch_first=True), lengths, sort

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        given = self.lengths if lengths is None else lengths
        packed = pack_padded_sequence(x, given, batch_first=True, enforce_sorted=not self.sort)
        out: Tensor = pad_packed_sequence(self.layer(packed)[0], batch_first=True)[0]
        assert out.shape[0] == x.shape[0]
        return out


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("sort", [True, False])
def test_packed_sequence_with_known_lengths_has_their_steps(kind: type[nn.RNNBase], sort: bool) -> None:
    report = analyze(Packs(kind, [4], sort), (6, 3))
    totals = report.totals
    assert (totals.per_use, totals.unshared) == (GATES[kind] * WEIGHTS, 4 * GATES[kind] * WEIGHTS)
    assert (totals.macs, report.warnings) == (4 * GATES[kind] * STEP, ())


def test_packed_sequences_of_several_lengths_have_the_sum_of_their_steps() -> None:
    report = analyze(Packs(nn.LSTM, [2, 4], sort=True), args=(torch.zeros(2, 6, 3),))
    assert report.totals.macs == (2 + 4) * 4 * STEP


def test_lengths_read_from_data_are_assumed_full_with_a_warning() -> None:
    report = analyze(Packs(nn.GRU, None, sort=True), args=(torch.zeros(1, 6, 3), torch.tensor([4])))
    assert report.totals.macs == 6 * 3 * STEP
    (line,) = report.warnings
    assert line.startswith("(model) (Packs) selects by value (the lengths of packed sequences)")


@pytest.mark.parametrize("lengths", [(4,), (2, 4)])
def test_packed_sequences_are_a_valid_input(lengths: tuple[int, ...]) -> None:
    packed = pack_sequence([torch.zeros(length, 3) for length in lengths], enforce_sorted=False)
    report = analyze(nn.LSTM(3, 2), args=(packed,))
    assert report.totals.macs == sum(lengths) * 4 * STEP
    assert report.totals.unused == 0
