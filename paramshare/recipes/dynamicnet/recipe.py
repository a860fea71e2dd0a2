"""The recipe of DynamicNet: J. Johnson's example of control flow and weight sharing. Importing it loads no torch.

After `random.seed(s); torch.manual_seed(s)` the article's script draws x, y and the weights of the three Linear layers
from torch's global generator, and the depth of every step from Python's. Generators of our own give the same bits, and
no other thread can draw from them.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field

from paramshare.recipes.dynamicnet.variants import DEPTHS, VariantName
from paramshare.recipes.metrics import DEPTH
from paramshare.recipes.parts import Data, Metric, Options, Variant
from paramshare.recipes.recipe import Recipe
from paramshare.recipes.spec_values import LARGEST_FLOAT, LARGEST_SIZE

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from paramshare.recipes.dynamicnet.net import DynamicNet
    from paramshare.recipes.spec import Spec

__all__ = ["DynamicNetRecipe", "TrainSpec", "options_of", "with_mean"]


def _untied(model: "nn.Module") -> "nn.Module":
    """Give each application of the middle a layer of its own."""
    return cast("DynamicNet", model).untie()


class DynamicNetRecipe(Recipe):
    """The article's net: one layer applied up to three times (shared), or a layer for each time (untied)."""

    name = "dynamicnet"
    title = "DynamicNet"

    class Options(Options):
        """The defaults are the article's."""

        batch_size: int = Field(64, ge=1, le=LARGEST_SIZE, description="samples of a step")
        input_size: int = Field(1000, ge=1, le=LARGEST_SIZE, description="features of x")
        hidden_size: int = Field(100, ge=1, le=LARGEST_SIZE, description="width of the hidden layers")
        output_size: int = Field(10, ge=1, le=LARGEST_SIZE, description="features of y")
        steps: int = Field(500, ge=1, le=LARGEST_SIZE, description="SGD steps of each run")
        learning_rate: float = Field(1e-4, gt=0, le=LARGEST_FLOAT, description="SGD's learning rate")
        momentum: float = Field(0.9, ge=0, lt=1, description="SGD's momentum")

    metrics = (
        Metric("loss_mean_depth", "the trained net's mean loss over all depths"),
        *(Metric(f"loss_depth_{depth}", f"the trained net's loss at depth {depth}") for depth in DEPTHS),
    )
    loss_name = "summed squared error"
    data_name = "gaussian"
    data_source: ClassVar[Mapping[str, object]] = {
        "generator": "torch.Generator", "order": ["x", "y"], "distribution": "N(0, 1)",
    }  # fmt: skip
    counts_macs = False  # they depend on the depth of the step
    graph_options = ("input_size", "hidden_size", "output_size")
    call_options: ClassVar[Mapping[str, int]] = {"depth": 1}
    variants: ClassVar[Mapping[str, Variant]] = {"shared": None, "untied": _untied}
    _arithmetics = ("direct", "gram")
    _curves = (DEPTH,)

    def data(self, generator: "torch.Generator") -> Data:  # noqa: ARG002 - one generator draws data and weights
        """Return x (batch_size, input_size) and y (batch_size, output_size), standard normal. Draw the depths."""
        import torch

        options, drawn = self.options, torch.Generator().manual_seed(self.seed)
        x = torch.randn(options.batch_size, options.input_size, generator=drawn)
        y = torch.randn(options.batch_size, options.output_size, generator=drawn)
        rng = random.Random(self.seed)  # noqa: S311 - the article's own generator
        self.depths = [rng.randint(DEPTHS[0], DEPTHS[-1]) for _ in range(options.steps)]
        self._generator, self._step = drawn, 0
        return Data(train=(x, y))

    def model(self) -> "DynamicNet":
        """Return the net with one middle layer."""
        from paramshare.recipes.dynamicnet.net import initial_net

        options, generator = self.options, self._generator
        del self._generator  # a checkpoint cannot hold it
        return initial_net(options.input_size, options.hidden_size, options.output_size, generator)

    def batches(self, data: Any, generator: "torch.Generator") -> Iterator[Any]:  # noqa: ARG002 - no order
        """Yield the one batch of an epoch: all samples."""
        yield data

    def loss(self, model: "nn.Module", batch: Any) -> "tuple[Tensor, Mapping[str, float]]":
        """Return the summed squared error at the depth of the step."""
        from torch.nn.functional import mse_loss

        depth = self.depths[self._step]
        self._step += 1
        x, y = batch
        return mse_loss(model(x, depth), y, reduction="sum"), {f"/{DEPTH}": depth}

    def evaluate(self, model: "nn.Module", data: Data) -> dict[str, float]:
        """Return the loss at each depth, and their mean."""
        from torch.nn.functional import mse_loss

        x, y = data.train
        return with_mean([mse_loss(model(x, depth), y, reduction="sum").item() for depth in DEPTHS])

    def program(self, model: "nn.Module", inputs: tuple[Any, ...]) -> "torch.export.ExportedProgram":
        """Return a graph whose depth is an input."""
        from paramshare.recipes.dynamicnet.program import dynamicnet_program

        return dynamicnet_program(model, inputs)

    def least_memory(self, variant: str) -> int:
        """Return the bytes of the data, the parameters, their gradients and velocities."""
        options = self.options
        wide, middles = options.hidden_size, 1 if variant == "shared" else max(DEPTHS)
        parameters = (options.input_size + 1 + middles * (wide + 1)) * wide + (wide + 1) * options.output_size
        numbers = options.batch_size * (options.input_size + options.output_size)
        return int(4 * (numbers + (3 if options.momentum else 2) * parameters))


def with_mean(losses: Sequence[float]) -> dict[str, float]:
    """Return the metrics for the losses at the depths 0 to 3: depths are drawn uniformly, so the mean is the loss."""
    by_depth = {f"loss_depth_{depth}": loss for depth, loss in zip(DEPTHS, losses, strict=True)}
    return {"loss_mean_depth": math.fsum(losses) / len(losses), **by_depth}


def options_of(spec: "Spec") -> DynamicNetRecipe.Options:
    """Return the options of a spec of DynamicNet."""
    return DynamicNetRecipe.Options.model_validate(dict(spec.options))


def TrainSpec(  # noqa: N802 - it makes a spec
    *, seed: int, variant: VariantName = "shared", device: str = "cpu", arithmetic: str = "direct", **options: Any
) -> "Spec":
    """Return the spec of one training of DynamicNet.

    Args:
        seed: of the data, the initial weights and the depths; 0 ≤ seed < 2**63.
        variant: `shared` or `untied`.
        device: `cpu`, `mps`, `cuda:N`; `cuda` means `cuda:0`.
        arithmetic: `direct` adds up as the reference does; `gram` takes the first layer through x xᵀ, which is the same
            mathematics with other roundings, and so other numbers.
        options: batch_size, input_size, hidden_size, output_size, steps, learning_rate, momentum.

    Raises:
        SpecError: a value is out of range.
        DeviceError: `device` is not the name of a device.
    """
    from paramshare.recipes.target import target_named

    given = {"seed": seed, "variant": variant, "device": device, "arithmetic": arithmetic}
    return target_named(DynamicNetRecipe.name).new(**given, **options)
