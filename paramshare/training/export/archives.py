"""Save a trained net as a program, in a format that loads without unpickling.

Exporting takes seconds, and of all that it gives only the weights differ from net to net. So the graph of nets of one
shape is exported once, as a `Template`, and each net's weights are put into the archive beside it: a millisecond.
"""

import io
import json
import zipfile
from collections.abc import Iterable
from typing import Any, Final

import torch
from numpy.typing import NDArray
from torch import nn

from paramshare.errors import SpecError, in_a_line
from paramshare.recipes.spec import Spec
from paramshare.recipes.target import target_of
from paramshare.training.environment.torch_defaults import torch_defaults
from paramshare.training.export.programs import recipe_program
from paramshare.training.export.templates import Template

__all__ = ["adopt_templates", "array_of", "exported", "make_template"]

_WEIGHTS: Final = "/data/weights/"
_CONFIG: Final = f"{_WEIGHTS}model_weights_config.json"
_OLDEST: Final = (1980, 1, 1, 0, 0, 0)  # a date for the members: equal weights give equal bytes


_templates: dict[Spec, Template] = {}


def exported(spec: Spec, net: nn.Module) -> bytes:
    """`net` of `spec`, on the CPU, as a `.pt2` archive, to be called as `torch.export.load(file).module()(x)`.

    x is a batch of any size. DynamicNet takes its depth beside it, a whole number from 0 to 3. What comes out is equal,
    bit for bit, to `net(x)` and `net(x, depth)`.
    """
    with torch_defaults():
        return _filled(make_template(target_of(spec).shape(spec)), net)


def _filled(template: Template, net: nn.Module) -> bytes:
    """Return the archive of `net`, which has the template's shape and is on the CPU.

    Raises:
        SpecError: torch cannot export the model.
    """
    if template.error:
        raise SpecError(template.error)
    state = net.state_dict()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for name, content in template.members:
            file.writestr(zipfile.ZipInfo(name, _OLDEST), content)
        for name, tensor in template.weights:
            file.writestr(zipfile.ZipInfo(name, _OLDEST), array_of(state[tensor]).tobytes())
    return archive.getvalue()


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
