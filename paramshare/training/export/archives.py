"""Save a trained net as a program, in a format that loads without unpickling.

Exporting takes seconds, and of all that it gives only the weights differ from net to net. So the graph of nets of one
shape is exported once, as a `Template`, and each net's weights are put into the archive beside it: a millisecond.
"""

import io
import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import torch
from numpy.typing import NDArray
from torch import nn

from paramshare.errors import SpecError, in_a_line
from paramshare.recipes.spec import Spec
from paramshare.recipes.target import target_of
from paramshare.training.environment.torch_defaults import torch_defaults
from paramshare.training.export.programs import recipe_program

__all__ = ["Template", "adopt_templates", "array_of", "exported", "make_template"]

_WEIGHTS: Final = "/data/weights/"
_CONFIG: Final = f"{_WEIGHTS}model_weights_config.json"
_OLDEST: Final = (1980, 1, 1, 0, 0, 0)  # a date for the members: equal weights give equal bytes


@dataclass(frozen=True, slots=True)
class Template:
    """A `.pt2` archive without its weights: some 50 kB that any process can fill, of this machine or another.

    Args:
        shape: what the graph depends on: of the nets that it is for.
        members: each file of the archive that does not depend on the weights, by its name.
        weights: the name of the file that holds each tensor of a net's `state_dict`, by the tensor's.
        error: why torch cannot export the model of a recipe; empty otherwise. Then there are no members and no weights.
    """

    shape: Spec
    members: tuple[tuple[str, bytes], ...]
    weights: tuple[tuple[str, str], ...]
    error: str = ""

    def filled(self, net: nn.Module) -> bytes:
        """The archive of `net`, which has this shape and is on the CPU.

        Raises:
            SpecError: torch cannot export the model.
        """
        if self.error:
            raise SpecError(self.error)
        state = net.state_dict()
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
            for name, content in self.members:
                file.writestr(zipfile.ZipInfo(name, _OLDEST), content)
            for name, tensor in self.weights:
                file.writestr(zipfile.ZipInfo(name, _OLDEST), array_of(state[tensor]).tobytes())
        return archive.getvalue()


_templates: dict[Spec, Template] = {}


def exported(spec: Spec, net: nn.Module) -> bytes:
    """`net` of `spec`, on the CPU, as a `.pt2` archive, to be called as `torch.export.load(file).module()(x)`.

    x is a batch of any size. DynamicNet takes its depth beside it, a whole number from 0 to 3. What comes out is equal,
    bit for bit, to `net(x)` and `net(x, depth)`.
    """
    with torch_defaults():
        return make_template(target_of(spec).shape(spec)).filled(net)


def adopt_templates(templates: Iterable[Template]) -> None:
    """Take templates that another process has made, so that this one need not export."""
    _templates.update((template.shape, template) for template in templates)


def make_template(shape: Spec) -> Template:
    """Return the template of nets of a shape, exported here unless this process has it."""
    if shape not in _templates:
        try:
            _templates[shape] = _export(shape)
        except Exception as error:
            if shape.target.built_in:
                raise
            _templates[shape] = Template(shape, (), (), f"torch cannot export the model: {in_a_line(error)}")
    return _templates[shape]


def _export(shape: Spec) -> Template:
    program = io.BytesIO()
    with torch_defaults():
        torch.export.save(recipe_program(shape), program)
    with zipfile.ZipFile(program) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (config,) = (content for name, content in members.items() if name.endswith(_CONFIG))
    (root,) = {name.partition("/")[0] for name in members}
    weights = {
        f"{root}{_WEIGHTS}{payload['path_name']}": tensor for tensor, payload in json.loads(config)["config"].items()
    }
    fixed = tuple((name, content) for name, content in members.items() if name not in weights)
    return Template(shape, fixed, tuple(weights.items()))


def array_of(tensor: torch.Tensor) -> NDArray[Any]:
    """Return a tensor on the CPU as an array; of bfloat16, which NumPy lacks, as int16 with the same bits."""
    tensor = tensor.detach()
    array: NDArray[Any] = (tensor.view(torch.int16) if tensor.dtype is torch.bfloat16 else tensor).numpy()
    return array
