"""Result: what one training gave, as plain arrays."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from paramshare.recipes.metrics import LOSS, MACS, PARAMETERS
from paramshare.recipes.spec import Spec

__all__ = ["Result", "named_tensors"]


@dataclass(frozen=True, slots=True)
class Result:
    """One finished training.

    Args:
        spec: what was trained.
        engine: what computed it.
        threads: torch's threads while it did; bits depend on them.
        losses: float32 (steps,), the loss of every step before its update.
        values: other curves by metric, float64 (steps,), masked where a step has no value.
        final_metrics: every metric of the trained model by name, such as `final/accuracy`.
        macs: multiply-accumulates of one example, forward; None if they are not known.
        net: the trained model, on the CPU.
        example: the model's arguments for one example, on the CPU.
        data: the tensors of the training data by name, on the CPU; see `named_tensors`.
        started: seconds since 1970, when the training began.
        seconds: how long it took, evaluation included.
        reason: why this engine.
    """

    spec: Spec
    engine: str
    threads: int
    losses: NDArray[np.float32]
    values: dict[str, NDArray[np.float64]]
    final_metrics: dict[str, float]
    macs: int | None
    net: nn.Module
    example: tuple[Any, ...]
    data: dict[str, Tensor]
    started: float
    seconds: float
    reason: str = ""

    @property
    def curves(self) -> dict[str, NDArray[Any]]:
        """Return the values of every step by metric, the loss first."""
        return {LOSS: self.losses, **self.values}

    @property
    def sizes(self) -> dict[str, float]:
        """Return the number of free parameters and, if they are known, the multiply-accumulates, by metric."""
        parameters = float(sum(parameter.numel() for parameter in self.net.parameters()))
        return {PARAMETERS: parameters, **({} if self.macs is None else {MACS: float(self.macs)})}

    @property
    def final_loss(self) -> float:
        """Return the loss of the last step. It is of its batch alone: compare metrics of the trained model instead."""
        return float(self.losses[-1])

    @property
    def diverged_at(self) -> int | None:
        """Return the first step, counted from 0, whose loss is not finite; None if all are.

        If only a metric of the trained model is not finite, it is the number of steps.
        """
        return _first_not_finite(self.losses, self.final_metrics.values())


def named_tensors(data: Any) -> dict[str, Tensor]:
    """Return the tensors of training data by name: `features`, `targets`, and `part 3` for further ones."""
    names = ("features", "targets")
    tensors = [part for part in tree_leaves(data) if isinstance(part, Tensor)]
    return {names[place] if place < len(names) else f"part {place + 1}": part for place, part in enumerate(tensors)}


def _first_not_finite(losses: NDArray[np.float32], tested: Iterable[float]) -> int | None:
    steps = np.flatnonzero(~np.isfinite(losses))
    if len(steps):
        return int(steps[0])
    return None if all(map(math.isfinite, tested)) else len(losses)
