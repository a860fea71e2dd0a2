"""The curves of a training: its loss and other numbers of every step."""

from collections import defaultdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from paramshare.recipes.metrics import LOSS
from paramshare.recipes.parts import Step

__all__ = ["Curves"]

_PREFIX: Final = "train/"


class Curves:
    """The numbers of the steps so far."""

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._values = defaultdict[str, dict[int, float]](dict)

    def append(self, step: Step) -> None:
        """Append the numbers of a step."""
        for name, value in step.values.items():
            metric = name.removeprefix("/") if "/" in name else _PREFIX + name
            self._values[metric][len(self._losses)] = float(value)
        self._losses.append(float(step.loss))

    @property
    def losses(self) -> NDArray[np.float32]:
        """Return the loss of every step, float32 (steps,)."""
        return np.array(self._losses, dtype=np.float32)

    @property
    def values(self) -> dict[str, NDArray[np.float64]]:
        """Return the other curves by metric, float64 (steps,), masked where a step has no value."""
        curves = dict[str, NDArray[np.float64]]()
        for name, by_step in self._values.items():
            curves[name] = curve = np.ma.masked_array(np.zeros(len(self._losses)), mask=True)
            curve[list(by_step)] = list(by_step.values())
        return curves

    def by_metric(self) -> dict[str, NDArray[Any]]:
        """Return all curves by metric, the loss first."""
        return {LOSS: self.losses, **self.values}
