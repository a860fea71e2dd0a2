"""Save a trained DynamicNet as a program whose depth is an input, in a format that loads without unpickling."""

from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

from paramshare.training.nets import DynamicNet
from paramshare.training.spec import DEPTHS, Variant

__all__ = ["save_exported"]


def save_exported(net: DynamicNet, path: Path) -> None:
    """Write `net` to `path` (`.pt2`), to be called as `torch.export.load(path).module()(x, depth=2)`.

    x is float32 (any batch, input_size), depth a whole number from 0 to 3. Equal, bit for bit, to `net(x, depth)`.
    Exporting `net` itself would freeze one depth into the graph.
    """
    variant: Variant = "shared" if len(net.middle_linears) == 1 else "untied"
    first, last = net.input_linear, net.output_linear
    program = _program(first.in_features, first.out_features, last.out_features, variant)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            program.state_dict[f"net.{name}"].copy_(value)
    torch.export.save(program, path)


@lru_cache(maxsize=4)
def _program(input_size: int, hidden_size: int, output_size: int, variant: Variant) -> torch.export.ExportedProgram:
    """The graph for nets of these sizes, its weights to be filled in: exporting takes seconds, filling nothing."""
    with torch.device("meta"):  # draws nothing from the global generator
        net = DynamicNet(input_size, hidden_size, output_size, variant)
    example = torch.zeros(2, input_size)
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
