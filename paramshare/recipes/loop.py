"""The default training loop of recipes. It defines the numbers of every recipe that does not override `fit`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from paramshare.errors import SpecError
from paramshare.recipes.random_state import restored_random_state
from paramshare.recipes.recipe import Data, Recipe, Step

__all__ = [
    "batches_of",
    "evaluated",
    "example_count",
    "fit",
    "loss_of",
    "mean_loss",
    "on_device",
    "shuffled_batches",
    "take",
]

_EVALUATION_BATCH = 1000  # examples


def fit(recipe: Recipe, model: nn.Module, data: Data, generator: torch.Generator) -> Iterator[Step]:
    """Train `model` in place and yield each step: the default of `Recipe.fit`.

    Raises:
        SpecError: the recipe has no batches, or its loss is not a tensor with one element.
    """
    device = next(model.parameters()).device
    optimizer = recipe.optimizer(model)
    scheduler = recipe.scheduler(optimizer)
    backward = _Backward(recipe, model, optimizer, device)
    losses: list[float] = []
    evaluations: list[Mapping[str, float]] = []
    every = recipe.option("evaluate_every", 0)
    for batch in batches_of(recipe, data, generator):
        loss, values = backward.loss(on_device(batch, device))
        optimizer.zero_grad()
        backward(loss)
        if scheduler is not None:
            scheduler.step()
        losses.append(loss.item())
        if every and len(losses) % every == 0:
            with restored_random_state():
                evaluations.append(evaluated(recipe, model, data))
            values = {**values, **{f"evaluation/{name}": value for name, value in evaluations[-1].items()}}
        yield Step(losses[-1], values)
        if len(losses) == recipe.option("steps", 1000) or recipe.should_stop(losses, evaluations):
            return


class _Backward:
    """The forward and backward pass of one step, in the precision that the recipe asks for."""

    def __init__(
        self, recipe: Recipe, model: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
    ) -> None:
        self._recipe, self._model, self._optimizer = recipe, model, optimizer
        self._clip = recipe.option("clip_norm", None)
        precision = recipe.option("precision", "float32")
        self._autocast: Callable[[], Any] = nullcontext
        if precision != "float32":
            kind = {"bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
            self._autocast = lambda: torch.autocast(device.type, kind)
        self._scaler = torch.amp.GradScaler(device.type) if precision == "float16" else None

    def loss(self, batch: Any) -> tuple[Tensor, Mapping[str, float]]:
        """Return the loss of a batch, and the other numbers of the step."""
        with self._autocast():
            return loss_of(self._recipe, self._model, batch)

    def __call__(self, loss: Tensor) -> None:
        """Compute the gradients and update the weights."""
        if self._scaler is None:
            loss.backward()  # type: ignore[no-untyped-call]
            self._clip_gradients()
            self._optimizer.step()
            return
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self._optimizer)
        self._clip_gradients()
        self._scaler.step(self._optimizer)
        self._scaler.update()

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


def batches_of(recipe: Recipe, data: Data, generator: torch.Generator) -> Iterator[Any]:
    """Yield the batches of one epoch after the other, without an end."""
    while True:
        batch = None
        for batch in recipe.batches(data.train, generator):
            yield batch
        if batch is None:
            raise SpecError("batches yields no batch; check the number of examples and the batch size")


def shuffled_batches(data: Any, size: int | None, generator: torch.Generator) -> Iterator[Any]:
    """Yield the batches of one epoch: the default of `Recipe.batches`.

    Raises:
        SpecError: there are fewer examples than a batch has.
    """
    count = example_count(data)
    if size is None or size == count:
        yield data
        return
    if size > count:
        raise SpecError(f"batch_size is {size}, and there are {count} examples; expected at most as many")
    order = torch.randperm(count, generator=generator)
    for begin in range(0, count - size + 1, size):
        yield take(data, order[begin : begin + size])


def take(data: Any, chosen: "Tensor | slice") -> Any:
    """Return some of the examples of data that consist of tensors."""
    if isinstance(chosen, slice):
        return tree_map(lambda part: part[chosen] if isinstance(part, Tensor) else part, data)
    return tree_map(lambda part: part[chosen.to(part.device)] if isinstance(part, Tensor) else part, data)


def example_count(data: Any) -> int:
    """Return the number of examples.

    Raises:
        SpecError: the data have no tensor, or tensors with different numbers of examples.
    """
    counts = {len(part) if part.dim() else 0 for part in tree_leaves(data) if isinstance(part, Tensor)}
    if len(counts) != 1 or 0 in counts:
        raise SpecError(
            "the training data have "
            + ("no examples" if not counts or counts == {0} else f"tensors of {sorted(counts)} examples")
            + "; expected tensors whose first axis counts the examples, or a recipe that overrides batches"
        )
    return counts.pop()


def on_device(data: Any, device: torch.device | str) -> Any:
    """Return data with every tensor on a device; other parts are kept."""
    return tree_map(lambda part: part.to(device) if isinstance(part, Tensor) else part, data)


def mean_loss(recipe: Recipe, model: nn.Module, data: Any) -> float:
    """Return the mean of the loss over all examples, in batches of 1000: the default of `Recipe.evaluate`."""
    count, total = example_count(data), 0.0
    for begin in range(0, count, _EVALUATION_BATCH):
        part = take(data, slice(begin, begin + _EVALUATION_BATCH))
        loss = recipe.loss(model, part)
        total += float(loss[0] if isinstance(loss, tuple) else loss) * min(_EVALUATION_BATCH, count - begin)
    return total / count


def evaluated(recipe: Recipe, model: nn.Module, data: Data) -> dict[str, float]:
    """Return every metric of the recipe by name. Evaluation mode and gradients are restored after it.

    Raises:
        SpecError: `evaluate` returns a metric that is not declared, or lacks one.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.no_grad():
            values = {name: float(value) for name, value in recipe.evaluate(model.eval(), data).items()}
    finally:
        for module, training in modes:
            module.training = training
    _check_metrics(values, [metric.name for metric in recipe.metrics])
    return values


def _check_metrics(values: Mapping[str, float], declared: Sequence[str]) -> None:
    if set(values) == set(declared):
        return
    missing, unknown = sorted(set(declared) - set(values)), sorted(set(values) - set(declared))
    parts = [f"lacks {', '.join(missing)}"] * bool(missing)
    parts += [f"returns {', '.join(unknown)}, not declared in metrics"] * bool(unknown)
    raise SpecError(f"evaluate {' and '.join(parts)}; expected {', '.join(declared)}")
