"""DynamicNet as an exported graph whose depth is an input."""

import torch
from torch import nn

from paramshare.training.nets import DynamicNet
from paramshare.training.spec import DEPTHS, TrainSpec

__all__ = ["dynamicnet_program"]


def dynamicnet_program(spec: TrainSpec) -> torch.export.ExportedProgram:
    """The graph for nets of this spec, to be called as `(x, depth=2)`; its weights mean nothing.

    Exporting a DynamicNet itself would freeze one depth into the graph.
    """
    with torch.device("meta"):  # draws nothing from the global generator
        net = DynamicNet(spec.input_size, spec.hidden_size, spec.output_size, spec.variant)
    example = torch.zeros(2, spec.input_size)
    shapes = {"x": {0: torch.export.Dim("batch")}, "depth": torch.export.Dim.DYNAMIC}
    return torch.export.export(
        _DepthAsInput(net.to_empty(device="cpu")).eval(), (example,), {"depth": 2}, dynamic_shapes=shapes
    )


class _DepthAsInput(nn.Module):
    """Applies the middle as often as it can ever be and keeps what `depth` asks for: no branch to freeze."""

    def __init__(self, net: DynamicNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor, depth: int) -> torch.Tensor:
        torch._check(depth >= DEPTHS[0])  # type: ignore[no-untyped-call]
        torch._check(depth <= DEPTHS[-1])  # type: ignore[no-untyped-call]
        asked = torch.full((1, 1), depth)
        hidden = self.net.input_linear(x).clamp(min=0)
        for application in range(DEPTHS[-1]):
            deeper = self.net.middle(application)(hidden).clamp(min=0)
            hidden = torch.where(asked > application, deeper, hidden)
        return self.net.output_linear(hidden)  # type: ignore[no-any-return]
