"""Proves that packed and quantised weights, and tensors computed before the pass, are counted as stored and named."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from paramshare import analyze
from paramshare.errors import SpecError


class Nibbles(nn.Module):
    """A linear layer from 16 to 8 features whose weights are two to a byte, with a scale for each output."""

    def __init__(self, shifts: bool, **buffers: Tensor) -> None:
        super().__init__()
        self.shifts = shifts
        self.packed = nn.Parameter(torch.zeros(64, dtype=torch.uint8), requires_grad=False)
        self.scale = nn.Parameter(torch.ones(8, 1))

    def forward(self, x: Tensor) -> Tensor:
        low, high = (self.packed & 15, self.packed >> 4) if self.shifts else (self.packed % 16, self.packed // 16)
        weight = torch.stack([low, high], -1).view(8, 16).to(x.dtype) * self.scale
        return functional.linear(x, weight)


@pytest.mark.parametrize("shifts", [True, False])
def test_unpacked_weights_are_counted_as_stored_and_their_number_is_named(shifts: bool) -> None:
    report = analyze(Nibbles(shifts), (6, 16))
    totals = report.totals
    assert (totals.shared, totals.per_use, totals.unshared, totals.unshared_live) == (72, 72, 6 * 72, 6 * 72)
    assert totals.macs == 6 * 128
    assert totals.memory["shared"].weights == 64 + 8 * 4
    assert totals.memory["unshared"].weights == 6 * (64 + 8 * 4)
    assert report.warnings == (
        "(model) (Nibbles) unpacks 128 weights from 64 stored integers: parameters and bytes are counted as stored, "
        "multiply-accumulates as unpacked",
    )


class Packed(nn.Module):
    """A linear layer from 64 to 32 features with torch's packed 4-bit or 8-bit product."""

    def __init__(self, bits: int, registered: bool = True) -> None:
        super().__init__()
        integers = torch.randint(0, 15, (32, 64), dtype=torch.int32)
        four = torch.ops.aten._convert_weight_to_int4pack_for_cpu(integers, 2)
        weight = four if bits == 4 else integers.to(torch.int8)
        self.weight: Tensor = nn.Parameter(weight, requires_grad=False) if registered else nn.Buffer(weight)
        self.scales: Tensor = nn.Buffer(torch.ones(2, 32, 2) if bits == 4 else torch.ones(32))
        self.bits = bits

    def forward(self, x: Tensor) -> Tensor:
        if self.bits == 8:
            return torch.ops.aten._weight_int8pack_mm(x, self.weight, self.scales)
        return torch.ops.aten._weight_int4pack_mm_for_cpu(x, self.weight, 32, self.scales)


@pytest.mark.parametrize(("bits", "stored"), [(4, 1024), (8, 2048)])
def test_products_with_packed_weights_have_the_macs_of_their_weights(bits: int, stored: int) -> None:
    report = analyze(Packed(bits), args=(torch.empty(1, 64),))
    totals = report.totals
    assert (totals.shared, totals.per_use, totals.unshared, totals.macs) == (stored, stored, stored, 2048)
    assert totals.memory["shared"].weights == stored
    expected = ["unpacks 2,048 weights from 1,024 stored integers"] if bits == 4 else []
    assert [text for text in expected if text in report.warnings[0]] == expected
    assert len(report.warnings) == len(expected)


def test_quantised_weights_in_buffers_are_named() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.norm = nn.Buffer(torch.zeros(8, 16, dtype=torch.int8)), nn.LayerNorm(8)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.norm(functional.linear(x, self.weight.to(x.dtype) * 0.1))
            return out

    (said,) = analyze(Scaled(), (16,)).warnings
    assert said.startswith("(model) (Scaled) multiplies data with quantised weights that are buffers")


def test_model_of_quantised_buffers_alone_is_refused_in_one_line() -> None:
    with pytest.raises(SpecError) as refused:
        analyze(Packed(4, registered=False), args=(torch.empty(1, 64),))
    assert str(refused.value) == (
        "Packed has no parameters to count; its buffers may be quantised weights: give the model before quantisation"
    )


def test_tensor_computed_from_parameters_before_the_pass_is_named() -> None:
    class Stale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.doubled = self.layer.weight * 2

        def forward(self, x: Tensor) -> Tensor:
            return functional.linear(x, self.doubled)

    (said,) = analyze(Stale(), (4,)).warnings
    assert said.startswith("(model) (Stale) uses a tensor that was computed from parameters before the pass")
