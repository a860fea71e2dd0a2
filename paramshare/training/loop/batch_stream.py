"""The batches of a training, epoch after epoch, with a position to resume from."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import torch

from paramshare.errors import SpecError
from paramshare.recipes.parts import Data
from paramshare.recipes.recipe import Recipe
from paramshare.training.loop.checkpoints import generator_states, restore_generators
from paramshare.training.loop.examples import on_device

__all__ = ["BatchStream"]

_SHORT: Final = 1.0  # seconds: a checkpoint waits for the end of an epoch that is shorter


class BatchStream:
    """The batches of one epoch after the other, without an end, on the device of the model.

    Args:
        recipe: the recipe, which yields the batches of an epoch.
        data: the data.
        generator: the generator of the order of the examples.
        device: the device of the model.
        is_due: whether a checkpoint is due. Defaults to None: the training has no checkpoints.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Data,
        generator: torch.Generator,
        device: torch.device,
        is_due: Callable[[], bool] | None = None,
    ) -> None:
        self._recipe, self._data, self._generator, self._device = recipe, data, generator, device
        self._is_due = is_due
        self._epoch_start: Mapping[str, Any] | None = None
        self._began = -math.inf
        self._taken = 0
        self._resumed: Mapping[str, Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        """Yield batches.

        Raises:
            SpecError: an epoch has no batches.
        """
        while True:
            if self._resumed is None:
                self._begin_epoch()
            batches = iter(self._recipe.batches(self._data.train, self._generator))
            if self._resumed is not None:  # skip those that were trained before
                for _ in range(self._taken):
                    next(batches)
                restore_generators(self._resumed, self._generator, self._device)
                self._resumed = None
            for batch in batches:
                self._taken += 1
                yield on_device(batch, self._device)
            if not self._taken:
                raise SpecError("batches yields no batch; check the number of examples and the batch size")

    @property
    def has_state(self) -> bool:
        """Return whether the present epoch has a `state`. A short epoch has one only if a checkpoint was due before."""
        return self._epoch_start is not None

    def state(self) -> dict[str, Any]:
        """Return the position and the states of all generators, for a checkpoint."""
        return {
            "epoch_start": self._epoch_start,
            "taken": self._taken,
            "now": generator_states(self._generator, self._device),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Resume at the position of a checkpoint: the epoch begins again, and its trained batches are skipped."""
        self._epoch_start, self._taken, self._resumed = state["epoch_start"], state["taken"], state["now"]
        restore_generators(state["epoch_start"], self._generator, self._device)

    def _begin_epoch(self) -> None:
        """Note the states of the generators, which takes as long as a small step, unless the epochs are short."""
        now = time.monotonic()
        noted = self._is_due is not None and (now - self._began >= _SHORT or self._is_due())
        self._epoch_start = generator_states(self._generator, self._device) if noted else None
        self._began, self._taken = now, 0
