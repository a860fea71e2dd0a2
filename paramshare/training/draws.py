"""From a seed to everything random in a run: data, initial weights, depths, in the reference's order.

The article draws from the two global generators after `random.seed(s); torch.manual_seed(s)`: x, y, then weight and
bias of the three Linear layers from torch's, one depth a step from Python's. Generators of our own give the same
bits and leave the global ones as they were found. All draws are made on the CPU, so that a seed means the same
start on every device.
"""

import math
import random
from dataclasses import dataclass

import torch

from paramshare.training.nets import DynamicNet
from paramshare.training.spec import DEPTHS, TrainSpec

__all__ = ["Draws", "draw"]


@dataclass(frozen=True, slots=True)
class Draws:
    """What a seed determines.

    Args:
        x: float32 (batch_size, input_size), standard normal.
        y: float32 (batch_size, output_size), standard normal.
        net: DynamicNet with its initial weights, on the CPU.
        depths: one of 0 to 3 for every step.
    """

    x: torch.Tensor
    y: torch.Tensor
    net: DynamicNet
    depths: tuple[int, ...]


def draw(spec: TrainSpec) -> Draws:
    """The data, the initial net and the depths of `spec`'s seed."""
    generator = torch.Generator().manual_seed(spec.seed)
    x = torch.randn(spec.batch_size, spec.input_size, generator=generator, dtype=torch.float32)
    y = torch.randn(spec.batch_size, spec.output_size, generator=generator, dtype=torch.float32)
    input_linear = _linear(spec.input_size, spec.hidden_size, generator)
    middle_linear = _linear(spec.hidden_size, spec.hidden_size, generator)
    output_linear = _linear(spec.hidden_size, spec.output_size, generator)

    with torch.device("meta"):  # nothing is drawn there
        net = DynamicNet(spec.input_size, spec.hidden_size, spec.output_size, spec.variant)
    net.input_linear.load_state_dict(input_linear, assign=True)
    for middle in net.middle_linears:
        middle.load_state_dict({name: tensor.clone() for name, tensor in middle_linear.items()}, assign=True)
    net.output_linear.load_state_dict(output_linear, assign=True)

    rng = random.Random(spec.seed)  # noqa: S311 - the reference's own generator
    depths = tuple(rng.randint(DEPTHS[0], DEPTHS[-1]) for _ in range(spec.steps))
    return Draws(x, y, net, depths)


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """What `nn.Linear.reset_parameters` draws, weight (outputs, inputs) first, then bias (outputs,)."""
    weight = torch.empty(outputs, inputs, dtype=torch.float32)
    torch.nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
    bound = 1 / math.sqrt(inputs)
    bias = torch.empty(outputs, dtype=torch.float32).uniform_(-bound, bound, generator=generator)
    return {"weight": weight, "bias": bias}
