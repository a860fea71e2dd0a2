"""Save a trained DynamicNet as a program whose depth is an input, in a format that loads without unpickling.

Exporting takes seconds, and of all that it gives only the weights differ from net to net. So the graph of nets of one
shape is exported once, as a `Template`, and each net's weights are put into the archive beside it: a millisecond.
"""

import io
import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

from paramshare.training.nets import DynamicNet
from paramshare.training.spec import DEPTHS, TrainSpec, Variant

__all__ = ["Shape", "Template", "adopt_templates", "exported", "make_templates"]

Shape = tuple[int, int, int, Variant]
"""What a graph depends on: input_size, hidden_size, output_size and the variant."""

_WEIGHTS: Final = "/data/weights/"
_CONFIG: Final = f"{_WEIGHTS}model_weights_config.json"
_OLDEST: Final = (1980, 1, 1, 0, 0, 0)  # a date for the members: equal weights give equal bytes


@dataclass(frozen=True, slots=True)
class Template:
    """A `.pt2` archive without its weights: some 50 kB that any process can fill, of this machine or another.

    Args:
        shape: of the nets that it is for.
        members: each file of the archive that does not depend on the weights, by its name.
        weights: the name of the file that holds each tensor of a net's `state_dict`, by the tensor's.
    """

    shape: Shape
    members: tuple[tuple[str, bytes], ...]
    weights: tuple[tuple[str, str], ...]

    def filled(self, net: DynamicNet) -> bytes:
        """The archive of `net`, which has this shape and is on the CPU."""
        state = net.state_dict()
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
            for name, content in self.members:
                file.writestr(zipfile.ZipInfo(name, _OLDEST), content)
            for name, tensor in self.weights:
                file.writestr(zipfile.ZipInfo(name, _OLDEST), state[tensor].numpy().tobytes())
        return archive.getvalue()


_templates: dict[Shape, Template] = {}


def exported(net: DynamicNet) -> bytes:
    """`net`, on the CPU, as a `.pt2` archive, to be called as `torch.export.load(file).module()(x, depth=2)`.

    x is float32 (any batch, input_size), depth a whole number from 0 to 3. Equal, bit for bit, to `net(x, depth)`.
    Exporting `net` itself would freeze one depth into the graph.
    """
    variant: Variant = "shared" if len(net.middle_linears) == 1 else "untied"
    first, last = net.input_linear, net.output_linear
    return _template((first.in_features, first.out_features, last.out_features, variant)).filled(net)


def make_templates(specs: Iterable[TrainSpec]) -> tuple[Template, ...]:
    """The templates of all nets that `specs` train, exported here unless this process has them."""
    shapes = {(spec.input_size, spec.hidden_size, spec.output_size, spec.variant): None for spec in specs}
    return tuple(_template(shape) for shape in shapes)


def adopt_templates(templates: Iterable[Template]) -> None:
    """Take templates that another process has made, so that this one need not export."""
    _templates.update((template.shape, template) for template in templates)


def _template(shape: Shape) -> Template:
    if shape not in _templates:
        _templates[shape] = _export(shape)
    return _templates[shape]


def _export(shape: Shape) -> Template:
    program = io.BytesIO()
    torch.export.save(_program(*shape), program)
    with zipfile.ZipFile(program) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (config,) = (content for name, content in members.items() if name.endswith(_CONFIG))
    (root,) = {name.partition("/")[0] for name in members}
    weights = {
        f"{root}{_WEIGHTS}{payload['path_name']}": tensor.removeprefix("net.")
        for tensor, payload in json.loads(config)["config"].items()
    }
    fixed = tuple((name, content) for name, content in members.items() if name not in weights)
    return Template(shape, fixed, tuple(weights.items()))


def _program(input_size: int, hidden_size: int, output_size: int, variant: Variant) -> torch.export.ExportedProgram:
    """The graph for nets of these sizes; its weights mean nothing."""
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
