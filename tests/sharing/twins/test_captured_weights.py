"""No twin computes with the weights of its original."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from paramshare import untie
from paramshare.errors import SpecError

_KEPT: list[Callable[[Tensor], Tensor]] = []


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x))


class Lambda(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def patched() -> nn.Module:
    net = Net()
    old = net.forward
    net.forward = lambda x: 2 * old(x)  # type: ignore[method-assign]
    return net


def patched_within() -> nn.Module:
    net = nn.Sequential(nn.Tanh(), Net())
    old = net[1].a.forward
    net[1].a.forward = lambda x: old(x) + 1
    return net


def closed_over() -> nn.Module:
    net = Net()
    net.a = Lambda(lambda x: net.b(x))  # type: ignore[assignment]
    return net


def hooked() -> nn.Module:
    net = Net()
    net.a.register_forward_hook(lambda _module, _args, out: net.b(out))
    return net


def listed() -> nn.Module:
    net, hidden = Net(), nn.Parameter(torch.randn(3, 3))
    net.hidden = [hidden]  # type: ignore[assignment]
    net.a = Lambda(lambda x: x @ hidden)  # type: ignore[assignment]
    return net


@pytest.mark.filterwarnings("ignore:not everything was untied")  # a layer with a function of its own stays
@pytest.mark.parametrize("make", [patched, patched_within, closed_over, hooked, listed])
@pytest.mark.parametrize("axes", [{"tie"}, {"depth"}, {"space"}, {"dense"}, {"tie", "depth", "space"}])
def test_a_twin_uses_its_own_weights_or_is_refused(make: Callable[[], nn.Module], axes: set[str]) -> None:
    model, x = make(), torch.randn(2, 4, 3)
    try:
        twin = untie(model, axes, (4, 3))
    except SpecError as error:
        assert "runs a function that holds the model's own weights" in str(error)  # noqa: PT017
        return
    twin(x).sum().backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    with torch.no_grad():
        expected = twin(x)
        for parameter in model.parameters():
            parameter.zero_()
    assert twin(x).equal(expected)


def test_function_that_holds_the_model_is_refused_in_one_line() -> None:
    model = Net()
    _KEPT.append(model.forward)
    model.forward = lambda x: 2 * _KEPT[-1](x)  # type: ignore[method-assign]
    with pytest.raises(SpecError, match=r"runs a function that holds the model's own weights .*; write the") as refusal:
        untie(model, {"tie"}, (3,))
    assert "\n" not in str(refusal.value)


def test_bound_methods_are_bound_to_the_twin() -> None:
    model = nn.Sequential(Net())
    model[0].a.register_forward_pre_hook(lambda _module, args: args)
    model[0].forward = model[0].forward  # type: ignore[method-assign] # a bound method, which a copy binds again
    twin, x = untie(model, {"tie"}, (3,)), torch.randn(2, 3)
    twin(x).sum().backward()
    assert twin[0].a.weight.grad is not None
    assert model[0].a.weight.grad is None
