"""DigitsResult: what one training run on digits gave, as plain arrays."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from paramshare.training.digits.nets import macs
from paramshare.training.digits.spec import DigitsSpec
from paramshare.training.result import first_not_finite
from paramshare.training.targets import LOSS, MACS, PARAMETERS

__all__ = ["ACCURACY", "ACCURACY_UNSEEN", "FINAL_LOSS", "FINAL_STEPS", "DigitsResult", "Score"]

ACCURACY: Final = "final/accuracy"
ACCURACY_UNSEEN: Final = "final/accuracy_unseen"
FINAL_LOSS: Final = "final/loss"
FINAL_STEPS: Final = "final/steps"


@dataclass(frozen=True, slots=True)
class Score:
    """How a net does on digits that it was not trained on, each at each of some offsets.

    Args:
        accuracy: the part of them that it tells right.
        loss: mean cross entropy, in nats.
    """

    accuracy: float
    loss: float


@dataclass(frozen=True, slots=True)
class DigitsResult:
    """One finished run of a spec.

    Args:
        spec: what was trained.
        engine: what computed it.
        threads: torch's threads while it did; bits depend on them.
        losses: float32 (steps taken,), the loss of every step before its update: its batch's mean cross entropy.
        converged: whether the training ended because the mean loss of its last epoch was at most `stop_loss`.
        seen: the trained net on the test digits at the offsets that training saw.
        unseen: at the others; None where there are none, with the placement `plain`.
        net: the trained net, on the CPU.
        images: float32 (examples, 1, canvas, canvas), the data it was trained on, on the CPU.
        labels: int64 (examples,), what they are.
        started: seconds since 1970, when the training began.
        seconds: how long it took, tests included.
        reason: why this engine.
    """

    spec: DigitsSpec
    engine: str
    threads: int
    losses: NDArray[np.float32]
    converged: bool
    seen: Score
    unseen: Score | None
    net: nn.Module
    images: Tensor
    labels: Tensor
    started: float
    seconds: float
    reason: str = ""

    @property
    def data(self) -> dict[str, Tensor]:
        """What it was trained on, by what it is to a training: features and targets."""
        return {"features": self.images, "targets": self.labels}

    @property
    def curves(self) -> dict[str, NDArray[Any]]:
        """The loss of every step, by metric."""
        return {LOSS: self.losses}

    @property
    def finals(self) -> dict[str, float]:
        """What the trained net comes to, by metric. `plain` has no accuracy at unseen offsets, for it has none."""
        unseen = {} if self.unseen is None else {ACCURACY_UNSEEN: self.unseen.accuracy}
        return {ACCURACY: self.seen.accuracy, **unseen, FINAL_LOSS: self.seen.loss, FINAL_STEPS: float(self.steps)}

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return len(self.losses)

    @property
    def final_loss(self) -> float:
        """The last step's loss, of its batch alone."""
        return float(self.losses[-1])

    @property
    def diverged_at(self) -> int | None:
        """The first step whose loss is not finite, counted from 0; None where all are.

        Where only the trained net's losses are not finite it is the number of steps: it went wrong after the last.
        """
        tested = [score.loss for score in (self.seen, self.unseen) if score is not None]
        return first_not_finite(self.losses, tested)

    @property
    def sizes(self) -> dict[str, float]:
        """Free parameters of the net and its multiply-accumulates for one image, forward, by metric."""
        parameters = sum(parameter.numel() for parameter in self.net.parameters())
        return {PARAMETERS: float(parameters), MACS: float(macs(self.spec))}
