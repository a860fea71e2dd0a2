"""Buffers and other tensors decide loops, branches and selections as in a real pass.

The oracle is the real pass. A report without assumptions has no warnings.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from paramshare import SharingReport, analyze, untie


class Holds(nn.Module):
    """A linear layer without bias, and what a function makes of it, the input, and a tensor that the model holds."""

    def __init__(self, held: object, function: Callable[..., Tensor], registered: bool = True) -> None:
        super().__init__()
        self.layer, self.function = nn.Linear(4, 4, bias=False), function
        if registered:
            assert isinstance(held, Tensor)
            self.register_buffer("held", held)
        else:
            self.held = held

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.layer, self.held)


def applied(held: object, function: Callable[..., Tensor], registered: bool = True) -> tuple[SharingReport, int]:
    """Return the report, and the multiply-accumulates of a real pass: 16 for every row of the layer's input."""
    model, rows = Holds(held, function, registered), 0

    def count(_: nn.Module, args: tuple[Tensor]) -> None:
        nonlocal rows
        rows += args[0].numel() // 4

    before = [value.clone() for value in model.buffers()]
    report = analyze(model, (6, 4))
    assert report.totals == analyze(model, (6, 4)).totals
    assert all(map(torch.equal, before, model.buffers()))
    model.layer.register_forward_pre_hook(count)
    model(torch.randn(1, 6, 4))
    return report, 16 * rows


def repeated(times: int) -> Callable[..., Tensor]:
    def loop(x: Tensor, layer: nn.Module, held: Tensor) -> Tensor:
        for _ in range(int(held) * times):
            x = layer(x)
        return x

    return loop


def chosen(x: Tensor, layer: nn.Module, held: Tensor) -> Tensor:
    return layer(x) if held else x


def deeper(x: Tensor, layer: nn.Module, held: Tensor) -> Tensor:
    held.add_(1)
    for _ in range(int((held * 2).clamp(max=5))):
        x = layer(x)
    return x


def listed(x: Tensor, layer: nn.Module, held: Tensor) -> Tensor:
    return torch.cat([layer(part) for part in x.split(held.tolist(), 1)], 1)


def until(x: Tensor, layer: nn.Module, held: Tensor) -> Tensor:
    done = torch.zeros(6, dtype=torch.bool, device=x.device)
    while not done.all():
        x = layer(x)
        done = done | (torch.arange(6, device=x.device) < held)
        held = held + 2
    return x


def nonzero(x: Tensor, layer: nn.Module, held: Tensor) -> Tensor:
    for place in held.nonzero()[:, 0]:
        x = x + layer(x[:, place])[:, None]
    return x


def turned(x: Tensor, layer: nn.Module, held: Tensor) -> Tensor:
    held.unsqueeze_(1)
    return layer(x[:, held[:, 0]])


def equal(x: Tensor, layer: nn.Module, held: Tensor) -> Tensor:
    return layer(x) if torch.equal(held, torch.zeros_like(held)) else x


def alike(x: Tensor, layer: nn.Module, held: Tensor) -> Tensor:
    return repeated(1)(x, layer, torch.ones_like(x)[0, :, 0].sum() - held)


def several(x: Tensor, layer: nn.Module, held: Tensor) -> Tensor:
    torch._foreach_add_([held, held[0]], 1)
    return repeated(1)(x, layer, held[0])


MASK = torch.tensor([True, False, True, True, False, False])


@pytest.mark.parametrize(
    ("held", "function", "macs"),
    [
        (torch.tensor(3), repeated(1), 6 * 48),
        (torch.tensor(2.0), repeated(2), 6 * 64),
        (torch.tensor(True), chosen, 6 * 16),
        (torch.tensor(False), chosen, 0),
        (MASK, lambda x, layer, mask: layer(x[:, mask]), 3 * 16),
        (MASK, lambda x, layer, mask: layer(x[:, ~mask & mask.roll(1)]), 2 * 16),
        (MASK, lambda x, layer, mask: layer(torch.masked_select(x.new_ones(6), mask).expand(4, -1).t()), 3 * 16),
        (MASK, nonzero, 3 * 16),
        (MASK, turned, 3 * 16),
        (torch.tensor([1, 0, 2, 0, 0, 0]), lambda x, layer, n: layer(x.repeat_interleave(n, 1)), 3 * 16),
        (torch.tensor(1), deeper, 6 * 64),
        (torch.tensor([2, 1, 3]), listed, 6 * 16),
        (torch.tensor(1), until, 6 * 64),
        (torch.zeros(3), equal, 6 * 16),
        (torch.tensor(4), alike, 6 * 32),
        (torch.tensor([1, 5]), several, 6 * 48),
    ],
)
def test_buffer_decides_branches_as_in_a_real_pass(held: Tensor, function: Callable[..., Tensor], macs: int) -> None:
    report, real = applied(held.clone(), function)
    assert report.totals.macs == real == macs
    assert report.warnings == ()
    assert report.totals.unused == (0 if macs else 16)


@pytest.mark.parametrize(
    ("held", "function"),
    [
        (torch.tensor(3), repeated(1)),
        ([torch.tensor(3)], lambda x, layer, held: repeated(1)(x, layer, held[0])),
        ({"times": torch.tensor(1)}, lambda x, layer, held: repeated(3)(x, layer, held["times"])),
    ],
)
def test_plain_tensor_attribute_decides_branches_as_in_a_real_pass(
    held: object, function: Callable[..., Tensor]
) -> None:
    report, real = applied(held, function, registered=False)
    assert (report.totals.macs, report.warnings) == (real, ()) == (6 * 48, ())


def test_loop_over_a_buffer_of_three_on_one_sample_has_48_macs() -> None:
    report = analyze(Holds(torch.tensor(3), repeated(1)), (4,))
    assert (report.totals.macs, report.totals.per_use, report.layers[0].uses) == (48, 48, 3)


def test_batch_counter_of_a_norm_is_computed_in_training() -> None:
    class Norm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.layer = nn.BatchNorm1d(4), nn.Linear(4, 4, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(x)
            return repeated(1)(x, self.layer, self.norm.num_batches_tracked)

    report = analyze(Norm(), args=[torch.randn(2, 4)], training=True)
    (said,) = report.warnings
    assert report.totals.macs == 32
    assert "divide the sites of a batch" in said


def test_statistics_with_written_data_are_unknown() -> None:
    class Norm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(x)
            return x * 2 if self.norm.running_mean[0] > 0 else x

    assert analyze(Norm(), args=[torch.randn(1, 4)]).warnings == ()
    (_, said) = analyze(Norm(), args=[torch.randn(2, 4)], training=True).warnings
    assert "reads a number from" in said


@pytest.mark.parametrize("whole", [True, False])
def test_buffer_with_written_data_is_data(whole: bool) -> None:
    def stored(x: Tensor, layer: nn.Module, held: Tensor) -> Tensor:
        if whole:
            held.copy_(x[0, 0])
        else:
            held[0] = x[0, 0, 0]
        return repeated(1)(x, layer, held[0])

    (said,) = analyze(Holds(torch.tensor([3.0, 3, 3, 3]), stored), (6, 4)).warnings
    assert "reads a number from the data" in said


def test_random_values_are_unknown() -> None:
    def drawn(x: Tensor, layer: nn.Module, held: Tensor) -> Tensor:
        return layer(x) if torch.bernoulli(held)[0] else x

    said = analyze(Holds(torch.ones(3), drawn), (6, 4)).warnings
    assert any("reads a number from" in line for line in said)


LARGE_READS: list[Callable[[Tensor], object]] = [
    lambda held: held.sum(),
    lambda held: (held * 2 + 1 - 1).sum() / 2,
    lambda held: held.max() * 3,
    lambda held: len(held.nonzero()),
    lambda held: held[held > 0].numel(),
    lambda held: held[:10][torch.arange(5)].sum(),
    lambda held: (held.view(-1, 10).t() @ held.view(-1, 10)).trace(),
]


@pytest.mark.parametrize("read", LARGE_READS)
@pytest.mark.parametrize("registered", [True, False])
def test_number_read_from_a_large_tensor_decides_a_loop(read: Callable[[Tensor], object], registered: bool) -> None:
    held = torch.zeros(300_000)
    held[:3] = 1

    def repeated(x: Tensor, layer: nn.Module, held: Tensor) -> Tensor:
        for _ in range(int(read(held))):  # type: ignore[call-overload]
            x = layer(x)
        return x

    report = analyze(Holds(held, repeated, registered), (6, 4))
    assert report.warnings == ()
    assert [row.counts.per_use for row in report.layers if row.uses] == [3 * 16]


def test_number_that_is_dear_to_compute_is_reported_as_an_assumption() -> None:
    def scaled(x: Tensor, layer: nn.Module, held: Tensor) -> Tensor:
        square = held @ held.t()
        return torch.as_tensor(layer(x)) * float((square @ square).sum())

    (said,) = analyze(Holds(torch.ones(600, 600), scaled), (6, 4)).warnings
    assert "reads a number from a constant (as `.item()` does), assumed to be 1.0" in said


def test_large_buffer_that_forward_writes_is_not_copied_and_not_changed() -> None:
    held = torch.zeros(300_000)

    def written(x: Tensor, layer: nn.Module, held: Tensor) -> Tensor:
        held[:2] = 5
        return torch.as_tensor(layer(x)) * float(held.sum())

    (said,) = analyze(Holds(held, written), (6, 4)).warnings
    assert "reads a number from a constant" in said
    assert not held.any()


def test_part_of_a_weight_is_not_a_constant() -> None:
    model = Holds(torch.tensor(3), lambda x, layer, held: repeated(1)(x, layer, held))
    model.held = model.layer.weight.detach()[0, 0]
    (said,) = analyze(model, (6, 4)).warnings
    assert "reads a number from weights" in said


def test_initial_state_of_a_recurrent_layer_can_be_a_buffer() -> None:
    class Starts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.GRU(4, 3, batch_first=True)
            self.register_buffer("state", torch.zeros(1, 1, 3))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.net(x, self.state)[0]
            return out

    totals = analyze(Starts(), (6, 4)).totals
    assert (totals.per_use, totals.unshared, totals.macs) == (81, 6 * 81, 6 * 63)


def test_two_buffers_on_one_storage_change_together_and_a_list_can_hold_itself() -> None:
    def both(x: Tensor, layer: nn.Module, held: Tensor) -> Tensor:
        half = held * 0.5
        held[1] += 1
        again = held.view(2)[1] - half[1]  # 3 - 1, for what was computed before holds what was there before
        return repeated(1)(x, layer, again)

    model = Holds(torch.tensor([2.0, 2.0]), both)
    model.itself = [model.held]
    model.itself.append(model.itself)
    report = analyze(model, (4,))
    assert (report.totals.macs, report.warnings) == (32, ())
    assert model.held.tolist() == [2, 2]


def test_chain_of_steps_from_a_buffer_is_computed_when_the_last_is_read() -> None:
    def long(x: Tensor, layer: nn.Module, held: Tensor) -> Tensor:
        for _ in range(3_000):
            held = held + 1
        return repeated(1)(x, layer, held - 3_000)

    assert analyze(Holds(torch.tensor(2), long), (4,)).totals.macs == 32


def test_twin_has_a_copy_for_each_call_that_a_buffer_decides() -> None:
    twin = untie(Holds(torch.tensor(3), repeated(1)), {"depth"}, (6, 4))
    assert sum(parameter.numel() for parameter in twin.parameters()) == 48
