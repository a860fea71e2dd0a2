"""A twin has the same gradients with and without activation checkpointing."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from paramshare import untie
from paramshare.errors import SpecError
from paramshare.sharing.twins.depth.unrolled import Unrolled

Step = Callable[[nn.Module, Callable[..., Tensor], Tensor], Tensor]


class Net(nn.Module):
    """A cell that is applied as `step` says, each time through `run`."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.cell, self.step = nn.Sequential(nn.Linear(4, 4), nn.Tanh()).double(), step
        self.run: Callable[..., Tensor] = plain

    def forward(self, x: Tensor) -> Tensor:
        return self.step(self.cell, self.run, x)


def plain(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return function(x)


def again(reentrant: bool) -> Callable[..., Tensor]:
    return lambda function, x: checkpoint(function, x, use_reentrant=reentrant)


def chain(cell: nn.Module, run: Callable[..., Tensor], x: Tensor) -> Tensor:
    for _ in range(3):
        x = run(cell, x)
    return x


def part(cell: nn.Module, run: Callable[..., Tensor], x: Tensor) -> Tensor:
    """Twice within one function, not at its beginning, and once outside."""
    return cell(run(lambda y: cell(cell(y.sin()).cos()), x))


def same_input(cell: nn.Module, run: Callable[..., Tensor], x: Tensor) -> Tensor:
    return run(cell, x) * 2 - run(cell, x).exp() + run(cell, x)


def nested(cell: nn.Module, run: Callable[..., Tensor], x: Tensor) -> Tensor:
    return run(lambda y: run(cell, cell(y)) + run(cell, y.cos()), cell(x))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")  # torch's, of nesting
@pytest.mark.parametrize("step", [chain, part, same_input, nested])
@pytest.mark.parametrize("reentrant", [False, True])
def test_gradients_of_a_twin_are_the_same_with_checkpointing(step: Step, reentrant: bool) -> None:
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    twin = untie(Net(step), {"depth"}, args=(x[:1].detach(),))
    with torch.no_grad():  # copies that differ, so that a wrong one is seen
        for parameter in twin.parameters():
            parameter.add_(torch.randn_like(parameter))
    other = copy.deepcopy(twin)
    other.run = again(reentrant)
    for _ in range(2):  # a second step begins anew
        for net in (twin, other):
            net(x).square().sum().backward()
    for one, two in zip(twin.parameters(), other.parameters(), strict=True):
        assert one.grad is not None
        torch.testing.assert_close(two.grad, one.grad, rtol=1e-12, atol=1e-12)
    assert len({copy_[0].weight.grad.sum().item() for copy_ in twin.cell.copies}) == len(twin.cell.copies)


@pytest.mark.parametrize("reentrant", [False, True])
def test_whole_twin_can_be_checkpointed_twice_with_a_second_backward_pass(reentrant: bool) -> None:
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    twin = untie(Net(chain), {"depth"}, args=(x[:1].detach(),))
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(torch.randn_like(parameter))
    run = again(reentrant)
    losses = [
        (twin(x) - twin(twin(x.sin()))).square().sum(),
        (run(twin, x) - run(lambda y: twin(twin(y)), x.sin())).square().sum(),
    ]
    grads = []
    for loss in losses:
        for _ in range(2):
            twin.zero_grad()
            loss.backward(retain_graph=True)
            grads.append([parameter.grad.clone() for parameter in twin.parameters()])
    for other in grads[1:]:
        torch.testing.assert_close(other, grads[0], rtol=1e-12, atol=1e-12)


def test_call_in_a_backward_pass_outside_of_checkpoint_is_refused() -> None:
    cell = Unrolled([nn.Linear(2, 2), nn.Linear(2, 2)], "cell")
    x = torch.randn(1, 2, requires_grad=True)
    x.register_hook(cell)
    with pytest.raises(SpecError, match="cell is called in a backward pass, by something other than"):
        x.sum().backward()


@pytest.mark.parametrize("reentrant", [False, True])
def test_twin_trains_under_checkpoint_sequential(reentrant: bool) -> None:
    layer = nn.Linear(4, 4).double()
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    twin = untie(nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), layer), {"depth"}, args=(x[:1].detach(),))
    twin(x).sum().backward()
    grads = [parameter.grad.clone() for parameter in twin.parameters()]
    twin.zero_grad()
    for module in twin.modules():
        if isinstance(module, Unrolled):
            module.restart()
    checkpoint_sequential([*twin], 3, x, use_reentrant=reentrant).sum().backward()
    torch.testing.assert_close([parameter.grad for parameter in twin.parameters()], grads, rtol=1e-12, atol=1e-12)
