"""DynamicNet and its untied twin: one class, one layer or several in the middle."""

import copy
import math
import random

import torch
from torch import nn

from paramshare.errors import SpecError
from paramshare.recipes.dynamicnet.variants import DEPTHS, VARIANTS, VariantName
from paramshare.recipes.spec_values import is_int

__all__ = ["DynamicNet", "initial_net", "losses_by_depth"]


class DynamicNet(nn.Module):
    """Linear, `depth` times the middle Linear, Linear; clamp(min=0) after all but the last.

    The net of J. Johnson's tutorial "PyTorch: Control Flow + Weight Sharing", which draws its depth at every
    forward pass.

    Args:
        input_size, hidden_size, output_size: features of x, of the hidden activations, of the result.
        variant: `shared` applies one middle layer again and again; `untied` has a middle layer of its own for
            each application, all equal at the start, so that both variants begin as the same function.

    Raises:
        SpecError: a size is not a whole number of at least 1, or there is no variant of that name.
    """

    def __init__(
        self,
        input_size: int = 1000,
        hidden_size: int = 100,
        output_size: int = 10,
        variant: VariantName = "shared",
    ) -> None:
        super().__init__()
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size), ("output_size", output_size)):
            if not is_int(size) or size < 1:
                raise SpecError(f"{name} is {size!r}; expected a whole number of at least 1")
        if variant not in VARIANTS:
            raise SpecError(f"variant is {variant!r}; expected {' or '.join(VARIANTS)}")
        self.input_linear = nn.Linear(input_size, hidden_size)
        self.middle_linears = nn.ModuleList([nn.Linear(hidden_size, hidden_size)])
        self.output_linear = nn.Linear(hidden_size, output_size)
        if variant == "untied":
            self.untie()

    def middle(self, application: int) -> nn.Module:
        """Return the layer of the `application`-th use of the middle, counted from 0."""
        return self.middle_linears[application % len(self.middle_linears)]

    def forward(self, x: torch.Tensor, depth: int | None = None) -> torch.Tensor:
        """Return the prediction (batch, output_size) for x (batch, input_size).

        Args:
            depth: how often the middle is applied, 0 to 3. Defaults to None: it is drawn from `random`, as in the
                article.

        Raises:
            ValueError: `depth` is outside 0 to 3.
        """
        if depth is None:
            depth = random.randint(DEPTHS[0], DEPTHS[-1])  # noqa: S311 - the reference's own generator
        if isinstance(depth, float) or depth not in DEPTHS:
            raise ValueError(f"depth is {depth!r}; expected a whole number from {DEPTHS[0]} to {DEPTHS[-1]}")
        hidden = self.input_linear(x).clamp(min=0)
        for application in range(depth):
            hidden = self.middle(application)(hidden).clamp(min=0)
        return self.output_linear(hidden)  # type: ignore[no-any-return]

    def untie(self) -> "DynamicNet":
        """Give each application of the middle a layer of its own, in place, and return the net."""
        (middle,) = self.middle_linears
        self.middle_linears.extend(copy.deepcopy(middle) for _ in DEPTHS[2:])
        return self


def initial_net(input_size: int, hidden_size: int, output_size: int, generator: torch.Generator) -> DynamicNet:
    """Return a net with one middle layer and initial weights from a generator, as torch draws them from the global one.

    `nn.Linear.reset_parameters` draws the weight (outputs, inputs) first, then the bias (outputs,).
    """
    with torch.device("meta"):  # nothing is drawn there
        net = DynamicNet(input_size, hidden_size, output_size)
    for linear in (net.input_linear, *net.middle_linears, net.output_linear):
        assert isinstance(linear, nn.Linear)
        weight, bias = torch.empty(linear.weight.shape), torch.empty(linear.bias.shape)
        nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
        bound = 1 / math.sqrt(linear.in_features)
        bias.uniform_(-bound, bound, generator=generator)
        linear.load_state_dict({"weight": weight, "bias": bias}, assign=True)
    return net


def losses_by_depth(net: DynamicNet, x: torch.Tensor, y: torch.Tensor) -> tuple[float, ...]:
    """Return the summed squared error of `net` on (x, y) at each depth, (4,). The first layer is applied once."""
    losses = []
    with torch.no_grad():
        hidden = net.input_linear(x).clamp(min=0)
        for depth in DEPTHS:
            if depth:
                hidden = net.middle(depth - 1)(hidden).clamp(min=0)
            losses.append(float((net.output_linear(hidden) - y).square().sum()))
    return tuple(losses)
