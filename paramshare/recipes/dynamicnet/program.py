"""DynamicNet as an exported graph whose depth is an input."""

from typing import Any

import torch
from torch import nn

from paramshare.recipes.dynamicnet.net import DynamicNet
from paramshare.recipes.dynamicnet.variants import DEPTHS

__all__ = ["dynamicnet_program"]


def dynamicnet_program(net: nn.Module, inputs: tuple[Any, ...]) -> torch.export.ExportedProgram:
    """Return the graph of a net, to be called as `(x, depth=2)`.

    Exporting a DynamicNet itself would freeze one depth into the graph.

    Args:
        inputs: x of a batch of two.
    """
    assert isinstance(net, DynamicNet)
    shapes = {"x": {0: torch.export.Dim("batch")}, "depth": torch.export.Dim.DYNAMIC}
    return torch.export.export(_DepthAsInput(net).eval(), inputs, {"depth": 2}, dynamic_shapes=shapes)


class _DepthAsInput(nn.Module):
    """A net that applies the middle three times and selects the result of `depth` of them: no branch to freeze."""

    def __init__(self, net: DynamicNet) -> None:
        super().__init__()
        self.input_linear, self.middle_linears, self.output_linear = (
            net.input_linear, net.middle_linears, net.output_linear,
        )  # fmt: skip

    def forward(self, x: torch.Tensor, depth: int) -> torch.Tensor:
        torch._check(depth >= DEPTHS[0])  # type: ignore[no-untyped-call]
        torch._check(depth <= DEPTHS[-1])  # type: ignore[no-untyped-call]
        asked = torch.full((1, 1), depth)
        hidden = self.input_linear(x).clamp(min=0)
        for application in range(DEPTHS[-1]):
            middle = self.middle_linears[application % len(self.middle_linears)]
            hidden = torch.where(asked > application, middle(hidden).clamp(min=0), hidden)
        return self.output_linear(hidden)  # type: ignore[no-any-return]
