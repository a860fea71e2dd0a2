"""TrainResult: what one training run gave, as plain arrays."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from paramshare.training.draws import Draws
from paramshare.training.nets import DynamicNet
from paramshare.training.spec import TrainSpec

__all__ = ["TrainResult"]


@dataclass(frozen=True, slots=True)
class TrainResult:
    """One finished run of a spec.

    Args:
        spec: what was trained.
        engine: what computed it.
        threads: torch's threads while it did; bits depend on them.
        losses: float32 (steps,), the loss of every step before its update.
        depths: int64 (steps,), how often the middle layer was applied in each step.
        depth_losses: float (4,), the trained net's loss at the depths 0, 1, 2, 3.
        net: the trained net, on the CPU.
        x: float32 (batch_size, input_size), the data it was trained on, on the CPU.
        y: float32 (batch_size, output_size), its targets.
        started: seconds since 1970, when the training began.
        seconds: how long it took.
        reason: why this engine.
    """

    spec: TrainSpec
    engine: str
    threads: int
    losses: NDArray[np.float32]
    depths: NDArray[np.int64]
    depth_losses: tuple[float, ...]
    net: DynamicNet
    x: torch.Tensor
    y: torch.Tensor
    started: float
    seconds: float
    reason: str = ""

    @classmethod
    def of(
        cls,
        spec: TrainSpec,
        engine: str,
        draws: Draws,
        losses: ArrayLike,
        depth_losses: tuple[float, ...],
        started: float,
        seconds: float,
    ) -> "TrainResult":
        """What an engine gives that trained the net of `draws` in place, at torch's present number of threads."""
        return cls(
            spec=spec,
            engine=engine,
            threads=torch.get_num_threads(),
            losses=np.array(losses, dtype=np.float32),
            depths=np.array(draws.depths, dtype=np.int64),
            depth_losses=depth_losses,
            net=draws.net.cpu(),
            x=draws.x,
            y=draws.y,
            started=started,
            seconds=seconds,
        )

    @property
    def final_loss(self) -> float:
        """The last step's loss. It depends on the depth that step drew: compare `mean_depth_loss` across runs."""
        return float(self.losses[-1])

    @property
    def mean_depth_loss(self) -> float:
        """The trained net's expected loss: depths are drawn uniformly, so the mean over the four."""
        return math.fsum(self.depth_losses) / len(self.depth_losses)

    @property
    def diverged_at(self) -> int | None:
        """The first step whose loss is not finite, counted from 0; None where all are.

        Where only the trained net's losses are not finite it is the number of steps: it went wrong after the last.
        """
        steps = np.flatnonzero(~np.isfinite(self.losses))
        if len(steps):
            return int(steps[0])
        return None if all(map(math.isfinite, self.depth_losses)) else len(self.losses)

    @property
    def parameters(self) -> int:
        """Free parameters of the net."""
        return sum(parameter.numel() for parameter in self.net.parameters())
