"""The start and the end of a training of DynamicNet, for its fast engines: the recipe's draws in, a result out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from paramshare.recipes.dynamicnet.net import DynamicNet
from paramshare.recipes.dynamicnet.recipe import DynamicNetRecipe, with_mean
from paramshare.recipes.metrics import DEPTH, FINAL
from paramshare.recipes.spec import Spec
from paramshare.training.result import Result, named_tensors
from paramshare.training.start import drawn_start

__all__ = ["Draws", "draw", "result_of"]


@dataclass(frozen=True, slots=True)
class Draws:
    """The start of a training.

    Args:
        x: float32 (batch_size, input_size), standard normal.
        y: float32 (batch_size, output_size), standard normal.
        net: DynamicNet with its initial weights, on the CPU.
        depths: one of 0 to 3 for every step.
        example: the arguments of the net for one sample.
    """

    x: Tensor
    y: Tensor
    net: DynamicNet
    depths: Sequence[int]
    example: tuple[Any, ...]


def draw(spec: Spec) -> Draws:
    """Return the data, the initial net and the depths of the spec's seed. Global generators are restored."""
    start = drawn_start(spec)
    assert isinstance(start.recipe, DynamicNetRecipe)
    assert isinstance(start.model, DynamicNet)
    x, y = start.data.train
    return Draws(x, y, start.model, start.recipe.depths, start.example)


def result_of(
    spec: Spec,
    engine: str,
    draws: Draws,
    losses: ArrayLike,
    depth_losses: Sequence[float],
    started: float,
    seconds: float,
) -> Result:
    """Return the result of an engine that trained the net of `draws` in place, at torch's present number of threads.

    Args:
        losses: the loss of every step, (steps,).
        depth_losses: the trained net's loss at the depths 0 to 3.
    """
    return Result(
        spec=spec,
        engine=engine,
        threads=torch.get_num_threads(),
        losses=np.array(losses, dtype=np.float32),
        values={DEPTH: np.array(draws.depths, dtype=np.float64)},
        final_metrics={f"{FINAL}{name}": value for name, value in with_mean(depth_losses).items()},
        macs=None,
        net=draws.net.cpu(),
        example=draws.example,
        data=named_tensors((draws.x, draws.y)),
        started=started,
        seconds=seconds,
    )
