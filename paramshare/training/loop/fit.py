"""The default training loop of recipes. It defines the numbers of every recipe that does not override `fit`."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from paramshare.recipes.parts import Data, Step
from paramshare.recipes.recipe import Recipe
from paramshare.training.loop.batch_stream import BatchStream
from paramshare.training.loop.checkpoints import (
    CheckpointFile,
    checkpoint_of,
    kept_values,
    restore_tensors,
    restore_values,
    tensors_of,
)
from paramshare.training.loop.evaluation import evaluated
from paramshare.training.loop.random_state import restored_random_state
from paramshare.training.loop.updates import Updates

__all__ = ["fit"]


def fit(recipe: Recipe, model: nn.Module, data: Data, generator: torch.Generator) -> Iterator[Step]:
    """Train `model` in place and yield each step: the default of `Recipe.fit`.

    Raises:
        SpecError: the recipe has no batches, or its loss is not a tensor with one element.
    """
    checkpoint = checkpoint_of(recipe)
    loop = _Loop(recipe, model, data, generator, checkpoint)
    if checkpoint is not None and (state := checkpoint.load()) is not None:
        yield from loop.restore(state)
    for batch in loop.batches:
        yield loop.step(batch)
        if loop.ended():
            return
        if checkpoint is not None and loop.batches.has_state and checkpoint.due():
            checkpoint.save(loop.state())


class _Loop:
    """The state of a training between two steps."""

    def __init__(
        self,
        recipe: Recipe,
        model: nn.Module,
        data: Data,
        generator: torch.Generator,
        checkpoint: CheckpointFile | None,
    ) -> None:
        self._recipe, self._model, self._data = recipe, model, data
        self._updates = Updates(recipe, model)
        is_due = None if checkpoint is None else checkpoint.due
        self.batches = BatchStream(recipe, data, generator, next(model.parameters()).device, is_due)
        self._losses: list[float] = []
        self._values: list[Mapping[str, float]] = []
        self._evaluations: list[Mapping[str, float]] = []

    def step(self, batch: Any) -> Step:
        """Update the model by one batch, and evaluate the model if it is time."""
        loss, values = self._updates(batch)
        self._losses.append(loss)
        every = self._recipe.option("evaluate_every", 0)
        if every and len(self._losses) % every == 0:
            with restored_random_state():
                self._evaluations.append(evaluated(self._recipe, self._model, self._data))
            values = {**values, **{f"evaluation/{name}": value for name, value in self._evaluations[-1].items()}}
        self._values.append(values)
        return Step(loss, values)

    def ended(self) -> bool:
        """Return whether the training has ended."""
        if len(self._losses) >= self._recipe.option("steps", 1000):
            return True
        return self._recipe.should_stop(self._losses, self._evaluations)

    def state(self) -> dict[str, Any]:
        """Return everything that a checkpoint holds."""
        return {
            "model": tensors_of(self._model),
            "updates": self._updates.state(),
            "batches": self.batches.state(),
            "losses": self._losses,
            "values": self._values,
            "evaluations": self._evaluations,
            "recipe": kept_values(self._recipe),
        }

    def restore(self, state: Mapping[str, Any]) -> Iterator[Step]:
        """Restore a checkpoint, and yield the steps before it."""
        restore_tensors(self._model, state["model"])
        restore_values(self._recipe, state["recipe"])
        self._updates.restore(state["updates"])
        self.batches.restore(state["batches"])
        self._losses, self._values, self._evaluations = state["losses"], state["values"], state["evaluations"]
        yield from map(Step, self._losses, self._values)
