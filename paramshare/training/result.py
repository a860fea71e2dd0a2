"""What one training run gave, as plain arrays: a Result, whatever was trained; a TrainResult, of DynamicNet."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from paramshare.training.draws import Draws
from paramshare.training.nets import DynamicNet
from paramshare.training.spec import DEPTHS, TrainSpec
from paramshare.training.targets import DEPTH, LOSS, MEAN_DEPTH_LOSS, PARAMETERS, Spec, depth_loss

__all__ = ["Result", "TrainResult", "first_not_finite"]


class Result(Protocol):
    """What a finished run of any spec gives, to be written, compared and drawn by the names of its metrics.

    `spec`, `engine`, `threads`, `reason`, `started` and `seconds` are as in TrainResult.
    """

    @property
    def spec(self) -> Spec:
        """What was trained."""

    @property
    def engine(self) -> str:
        """What computed it."""

    @property
    def threads(self) -> int:
        """Torch's threads while it did."""

    @property
    def reason(self) -> str:
        """Why this engine."""

    @property
    def started(self) -> float:
        """When the training began, in seconds since 1970."""

    @property
    def seconds(self) -> float:
        """How long it took."""

    @property
    def net(self) -> torch.nn.Module:
        """The trained net, on the CPU."""

    @property
    def data(self) -> Mapping[str, torch.Tensor]:
        """What it was trained on, by `features` and `targets`, on the CPU."""

    @property
    def curves(self) -> Mapping[str, NDArray[Any]]:
        """The values of every step, (steps,), by metric; `train/loss` first."""

    @property
    def finals(self) -> Mapping[str, float]:
        """What the trained net comes to, by metric, those of its target in their order."""

    @property
    def sizes(self) -> Mapping[str, float]:
        """How large the net is, by metric."""

    @property
    def final_loss(self) -> float:
        """The last step's loss."""

    @property
    def diverged_at(self) -> int | None:
        """The first step, counted from 0, whose loss is not finite; None where all are."""


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
    def data(self) -> dict[str, torch.Tensor]:
        """x and y by what they are to a training: features and targets."""
        return {"features": self.x, "targets": self.y}

    @property
    def curves(self) -> dict[str, NDArray[Any]]:
        """The loss and the depth of every step, by metric."""
        return {LOSS: self.losses, DEPTH: self.depths}

    @property
    def finals(self) -> dict[str, float]:
        """The trained net's loss, over the depths and at each, by metric."""
        by_depth = {depth_loss(depth): loss for depth, loss in zip(DEPTHS, self.depth_losses, strict=True)}
        return {MEAN_DEPTH_LOSS: self.mean_depth_loss, **by_depth}

    @property
    def sizes(self) -> dict[str, float]:
        """Free parameters of the net, by metric."""
        return {PARAMETERS: float(self.parameters)}

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
        return first_not_finite(self.losses, self.depth_losses)

    @property
    def parameters(self) -> int:
        """Free parameters of the net."""
        return sum(parameter.numel() for parameter in self.net.parameters())


def first_not_finite(losses: NDArray[np.float32], tested: Iterable[float]) -> int | None:
    """The first step whose loss is not finite, or else the number of steps where one of the trained net's is not."""
    steps = np.flatnonzero(~np.isfinite(losses))
    if len(steps):
        return int(steps[0])
    return None if all(map(math.isfinite, tested)) else len(losses)
