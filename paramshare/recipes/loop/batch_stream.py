"""The batches of a training, epoch after epoch, with a position to resume from."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from paramshare.errors import SpecError
from paramshare.recipes.loop.checkpoints import generator_states, restore_generators
from paramshare.recipes.loop.examples import on_device
from paramshare.recipes.recipe import Data, Recipe

__all__ = ["BatchStream"]


class BatchStream:
    """The batches of one epoch after the other, without an end, on the device of the model.

    Args:
        recipe: the recipe, which yields the batches of an epoch.
        data: the data.
        generator: the generator of the order of the examples.
        device: the device of the model.
    """

    def __init__(self, recipe: Recipe, data: Data, generator: torch.Generator, device: torch.device) -> None:
        self._recipe, self._data, self._generator, self._device = recipe, data, generator, device
        self._epoch_start = generator_states(generator, device)
        self._taken = 0
        self._resumed: Mapping[str, Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        """Yield batches.

        Raises:
            SpecError: an epoch has no batches.
        """
        while True:
            if self._resumed is None:
                self._epoch_start, self._taken = generator_states(self._generator, self._device), 0
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
        restore_generators(self._epoch_start, self._generator, self._device)
