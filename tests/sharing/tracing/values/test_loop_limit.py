"""A loop which waits for a value is refused with its place, and a long loop is counted."""

import inspect
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from paramshare import analyze
from paramshare.errors import SpecError
from paramshare.sharing.tracing.values.loop_limit import MAX_READS


class Loops(nn.Module):
    """A layer and a loop around it."""

    def __init__(self, loop: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2, bias=False)
        self.loop = loop

    def forward(self, x: Tensor) -> Tensor:
        return self.loop(self.layer, x)


def until_all_are_done(layer: nn.Module, x: Tensor) -> Tensor:
    done = torch.zeros(2, dtype=torch.bool, device=x.device)
    while not done.all():
        done = done | (x[0] > 0)
    result: Tensor = layer(x)
    return result


def until_a_draw_is_accepted(layer: nn.Module, x: Tensor) -> Tensor:
    while True:
        if torch.rand((), device=x.device) < x.mean():
            return x


def until_the_error_is_small(layer: nn.Module, x: Tensor) -> Tensor:
    error = x.sum().item()
    while error > 1e-3:
        error = x.sum().item()
    return x


def until_nothing_is_selected(layer: nn.Module, x: Tensor) -> Tensor:
    while (x > 0).nonzero().numel():
        x = x - 1
    return x


def until_a_mask_is_empty(layer: nn.Module, x: Tensor) -> Tensor:
    while len(x[x > 0]):
        x = x - 1
    return x


@pytest.mark.parametrize(
    "loop",
    [
        until_all_are_done, until_a_draw_is_accepted, until_the_error_is_small, until_nothing_is_selected,
        until_a_mask_is_empty,
    ],
)  # fmt: skip
def test_loop_that_waits_for_a_value_is_refused_in_one_line_with_its_place(
    loop: Callable[[nn.Module, Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paramshare.sharing.tracing.values.loop_limit.MAX_READS", 50)
    with pytest.raises(SpecError) as error:
        analyze(Loops(loop), (2,))
    line = str(error.value)
    source, first = inspect.getsourcelines(loop)
    numbers = [int(word) for word in line.split("in line ")[1].split() if word.isdigit()][:1]
    assert first < numbers[0] < first + len(source)
    assert line.startswith("(model) (Loops) waits in line ")
    assert "of test_loop_limit.py for a value that is not known without the data (50 reads)" in line
    assert "\n" not in line


def test_loop_that_reads_a_value_each_step_and_ends_is_counted() -> None:
    def steps(layer: nn.Module, x: Tensor) -> Tensor:
        for _ in range(300):
            if x[0, 0] > 0:
                return x
            x = layer(x)
        return x

    assert MAX_READS >= 300
    assert analyze(Loops(steps), (2,)).totals.macs == 300 * 4


def test_short_loop_that_many_calls_repeat_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paramshare.sharing.tracing.values.loop_limit.MAX_READS", 50)

    def once(layer: nn.Module, x: Tensor) -> Tensor:
        result: Tensor = layer(x) if not x[0, 0] > 0 else x
        return result

    def many(layer: nn.Module, x: Tensor) -> Tensor:
        for _ in range(60):
            x = once(layer, x)
        return x

    assert analyze(Loops(many), (2,)).totals.macs == 60 * 4
