"""One update of the weights: the loss of a batch, its gradients, and the optimizer's step."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from paramshare.errors import SpecError
from paramshare.recipes.recipe import Recipe

__all__ = ["Updates", "loss_of"]


class Updates:
    """The optimizer, scheduler and precision of a training.

    Args:
        recipe: the recipe, which makes the optimizer and the scheduler.
        model: the model, on the device.
    """

    def __init__(self, recipe: Recipe, model: nn.Module) -> None:
        self._recipe, self._model = recipe, model
        self._optimizer = recipe.optimizer(model)
        self._scheduler = recipe.scheduler(self._optimizer)
        self._clip = recipe.option("clip_norm", None)
        device = next(model.parameters()).device
        precision = recipe.option("precision", "float32")
        self._autocast: Callable[[], Any] = nullcontext
        if precision != "float32":
            kind = {"bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
            self._autocast = lambda: torch.autocast(device.type, kind)
        self._scaler = torch.amp.GradScaler(device.type) if precision == "float16" else None

    def __call__(self, batch: Any) -> tuple[float, Mapping[str, float]]:
        """Update the weights by one batch. Return the loss before the update, and the other numbers of the step."""
        with self._autocast():
            loss, values = loss_of(self._recipe, self._model, batch)
        self._optimizer.zero_grad()
        if self._scaler is None:
            loss.backward()  # type: ignore[no-untyped-call]
            self._clip_gradients()
            self._optimizer.step()
        else:
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self._scaler.unscale_(self._optimizer)
            self._clip_gradients()
            self._scaler.step(self._optimizer)
            self._scaler.update()
        if self._scheduler is not None:
            self._scheduler.step()
        return loss.item(), values

    def state(self) -> dict[str, Any]:
        """Return the states of optimizer, scheduler and gradient scaler, for a checkpoint."""
        parts = {"optimizer": self._optimizer, "scheduler": self._scheduler, "scaler": self._scaler}
        return {name: None if part is None else part.state_dict() for name, part in parts.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the states of a checkpoint."""
        self._optimizer.load_state_dict(state["optimizer"])
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state["scheduler"])
        if self._scaler is not None:
            self._scaler.load_state_dict(state["scaler"])

    def _clip_gradients(self) -> None:
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self._model.parameters(), self._clip)


def loss_of(recipe: Recipe, model: nn.Module, batch: Any) -> tuple[Tensor, Mapping[str, float]]:
    """Return the loss of a batch, and the other numbers of the step.

    Raises:
        SpecError: the loss is not a tensor with one element.
    """
    result = recipe.loss(model, batch)
    loss, values = result if isinstance(result, tuple) else (result, {})
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        given = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise SpecError(f"loss returns {given}; expected a tensor with one element, such as a mean")
    return loss, {name: float(value) for name, value in values.items()}
