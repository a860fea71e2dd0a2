"""A gradient in forward adds multiply-accumulates, and is not another use."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from paramshare import analyze
from paramshare.errors import SpecError


class Forces(nn.Module):
    """The gradient of an energy by the positions: one product forward and one backward, with the same weight."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4, bias=False)

    def energy(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer(x).pow(2).sum()
        return result

    def forward(self, x: Tensor) -> Any:
        return torch.autograd.grad(self.energy(x), x, create_graph=True)[0]


class Enables(Forces):
    def forward(self, x: Tensor) -> Any:
        with torch.enable_grad():
            positions = x.detach().requires_grad_()
            return torch.autograd.grad(self.energy(positions), positions)[0]


class Requires(Forces):
    def forward(self, x: Tensor) -> Any:
        x.requires_grad_()
        return torch.autograd.grad(self.energy(x), x)[0]


class Backward(Forces):
    def forward(self, x: Tensor) -> Any:
        x.requires_grad_()
        self.layer.requires_grad_(False)
        self.energy(x).backward()
        return x.grad


@pytest.mark.parametrize("kind", [Forces, Enables, Requires, Backward])
def test_gradient_in_forward_doubles_the_macs_and_is_not_another_use(kind: type[Forces]) -> None:
    model = kind()
    report = analyze(model, (4,))
    totals = report.totals
    assert (totals.shared, totals.per_use, totals.unshared, totals.unused) == (16, 16, 16, 0)
    assert (totals.macs, report.warnings) == (2 * 16, ())
    assert model.layer.weight.requires_grad
    assert model.layer.weight.grad is None


def test_input_that_requires_a_gradient_is_not_changed() -> None:
    x = torch.zeros(1, 4, requires_grad=True)
    assert analyze(Forces(), args=(x,)).totals.macs == 32
    assert x.grad is None


def test_macs_of_a_second_derivative_are_counted() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 1, bias=False)

        def forward(self, x: Tensor) -> Any:
            first = torch.autograd.grad(self.layer(x).pow(3).sum(), x, create_graph=True)[0]
            return torch.autograd.grad(first.sum(), x)[0]

    totals = analyze(Twice(), (1,)).totals
    assert (totals.per_use, totals.unused) == (1, 0)
    assert totals.macs == 4  # y = wx, 3y²·w, and back through both


def test_model_whose_pass_with_gradients_fails_is_refused_in_one_line() -> None:
    class Detached(Forces):
        def forward(self, x: Tensor) -> Any:
            return torch.autograd.grad(self.energy(x.detach()).detach(), x)[0]

    with pytest.raises(SpecError) as error:
        analyze(Detached(), (4,))
    assert "(model) (Detached) refuses its input" in str(error.value)
    assert "\n" not in str(error.value)


def forward_mode(model: nn.Module, x: Tensor, how: str) -> Tensor:
    if how == "dual":
        with torch.autograd.forward_ad.dual_level():
            return torch.as_tensor(model(torch.autograd.forward_ad.make_dual(x, x)))
    if how == "jvp":
        return torch.func.jvp(model, (x,), (x,))[1]  # type: ignore[no-any-return]
    return torch.as_tensor(getattr(torch.func, how)(lambda y: model(y).sum())(x))


class Transformed(nn.Module):
    """A layer whose derivative is computed by one of torch's functions."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.layer, self.how = nn.Linear(3, 4, bias=False), how

    def forward(self, x: Tensor) -> Tensor:
        return forward_mode(self.layer, x, self.how)


@pytest.mark.parametrize(("how", "products"), [("dual", 2), ("jvp", 2), ("jacfwd", 1 + 15), ("hessian", 1 + 15 + 1)])
def test_forward_mode_derivative_adds_macs_and_is_not_another_use(how: str, products: int) -> None:
    """The derivative by each of 15 inputs has one product; the gradient, which the hessian derives, is constant."""
    report = analyze(Transformed(how), (5, 3))
    totals = report.totals
    assert (totals.per_use, totals.unshared, totals.unused, report.warnings) == (12, 60, 0, ())
    assert totals.macs == products * 60


class Physics(nn.Module):
    """A net for a differential equation: f, f' and f'' of one input, as `how` computes them, in another net."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
        self.equation, self.how = nn.Linear(3, 1), how

    def derivative(self, f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        if self.how == "forward":
            return lambda x: torch.func.jvp(f, (x,), (torch.ones_like(x),))[1]  # type: ignore[no-any-return]
        return torch.func.grad(lambda x: f(x).sum())

    def forward(self, x: Tensor) -> Tensor:
        first = self.derivative(self.f)
        return torch.as_tensor(self.equation(torch.cat([self.f(x), first(x), self.derivative(first)(x)], -1)))


@pytest.mark.parametrize("how", ["forward", "backward"])
def test_values_and_derivatives_of_a_net_are_inputs_of_another(how: str) -> None:
    report = analyze(Physics(how), (1,))
    totals = report.totals
    assert (totals.shared, totals.unused, report.warnings) == (29, 0, ())
    assert [(row.name, row.uses) for row in report.layers if row.uses] == [("f.0", 3), ("f.2", 3), ("equation", 1)]
    assert totals.per_use == 3 * 25 + 4
    assert how == "backward" or totals.macs == (6 + 7) * 8 + 3  # the input of f.0 has no second derivative


def test_a_layer_on_a_tangent_within_a_dual_level_is_a_use() -> None:
    class Within(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)

        def forward(self, x: Tensor) -> Any:
            with torch.autograd.forward_ad.dual_level():
                dual = self.first(torch.autograd.forward_ad.make_dual(x, torch.ones_like(x)))
                return self.second(torch.autograd.forward_ad.unpack_dual(dual).tangent)

    totals = analyze(Within(), (3,)).totals
    assert (totals.per_use, totals.unused, totals.macs) == (18, 0, 27)


def test_reverse_mode_derivative_of_a_function_is_one_use() -> None:
    totals = analyze(Transformed("jacrev"), (5, 3)).totals
    assert (totals.per_use, totals.unshared) == (12, 60)
