"""A count and a twin are the same whatever modes of torch the caller is in, or they are refused."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from paramshare.errors import UsageError
from paramshare.sharing.analyze import analyze
from paramshare.sharing.twins.untie import untie


def lstm() -> nn.Module:
    return nn.LSTM(4, 5, batch_first=True)


MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "inference mode": torch.inference_mode,
    "without gradients": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu"),
    "within torch.device": lambda: torch.device("meta"),
    "a mode of fake tensors": FakeTensorMode,
}


@pytest.mark.parametrize("mode", MODES)
def test_a_count_is_the_same_in_every_torch_mode_of_the_caller(mode: str) -> None:
    model = lstm()
    plain = analyze(model, (7, 4)).as_dict()
    with MODES[mode]():
        assert analyze(model, (7, 4)).as_dict() == plain


@pytest.mark.parametrize("mode", MODES)
def test_a_twin_is_a_real_module_in_every_torch_mode_of_the_caller(mode: str) -> None:
    model = nn.Conv2d(2, 3, 3)
    with MODES[mode]():
        twin = untie(model, {"space"}, (2, 5, 5))
    x = torch.ones(2, 2, 5, 5)
    torch.testing.assert_close(twin(x), model(x))
    twin(x).sum().backward()


def test_a_count_within_a_backward_pass_has_the_usual_numbers() -> None:
    """The operations of a backward pass are no uses, but those of the counted pass are."""
    model, counted = lstm(), []

    class Counting(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            counted.append(analyze(model, (7, 4)).as_dict())
            return gradient

    Counting.apply(torch.ones(2, requires_grad=True)).sum().backward()  # type: ignore[no-untyped-call]
    assert counted == [analyze(model, (7, 4)).as_dict()]


def test_a_count_within_a_function_that_torch_transforms_is_refused() -> None:
    model = lstm()

    def objective(x: torch.Tensor) -> torch.Tensor:
        analyze(model, (7, 4))
        return x.sum()

    with pytest.raises(UsageError, match=r"^a count cannot run inside a function that torch\.func transforms; call it"):
        torch.func.vmap(objective)(torch.ones(2, 3))
