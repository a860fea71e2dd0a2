"""One variant of a recipe, built, compared with the model as built, and trained for some steps."""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import torch
from torch import nn

from paramshare.errors import in_a_line
from paramshare.recipes.checking.contents import hash_of, largest_difference, same_function_limit, tensor_bytes
from paramshare.recipes.recipe import Recipe
from paramshare.recipes.spec import Spec
from paramshare.sharing.analyze import analyze
from paramshare.training.loop.evaluation import evaluated
from paramshare.training.loop.examples import data_on_device
from paramshare.training.loop.random_state import restored_random_state, seed_all
from paramshare.training.loop.steps import steps_of
from paramshare.training.start import Start, as_built, begin, sample_inputs

__all__ = ["Trial", "try_variant"]

_STEPS: Final = 3
_TIMED_STEPS, _TIMED_SECONDS = 20, 0.5
_EXAMPLES: Final = 8

Problem = tuple[str, str]
"""A method of the recipe, and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class _Tried:
    """Some steps of a training.

    Args:
        data, weights: hashes of the data and of the initial weights.
        losses: of the steps.
        metrics: by name, after the steps.
        bytes: of parameters, gradients and the optimizer's state.
        state_known: whether `bytes` includes the optimizer's state.
        seconds: of a whole training, estimated; None if the number of steps is not known, or not asked for.
    """

    data: str
    weights: str
    losses: tuple[float, ...]
    metrics: Mapping[str, float]
    bytes: int
    state_known: bool
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Trial:
    """A variant that was tried. The fields not named here are as in `VariantCheck`.

    Args:
        data: a hash of the data.
        losses: of the first steps.
        problems: what is wrong.
        notes: remarks that are no problems.
    """

    variant: str
    data: str
    parameters: int
    macs: int | None
    bytes: int
    state_known: bool
    difference: float | None
    losses: tuple[float, ...]
    metrics: Mapping[str, float]
    seconds: float | None
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]


def try_variant(spec: Spec) -> Trial:
    """Build a variant, count it, compare it with the model as built, train some steps of it twice, and evaluate it.

    Raises:
        SpecError: the recipe returns something that cannot be trained.
        Exception: of the recipe's code.
    """
    with restored_random_state():
        first = _tried(spec, timed=False)  # also warms torch up
        tried = _tried(spec, timed=True)
        start = begin(spec)
        faults = [*_not_finite(tried), *_not_repeated(first, tried, spec.device)]
        difference, changed = (None, []) if faults else _change_of_function(spec, start)
        macs, notes = _macs(start)
    return Trial(
        variant=spec.variant,
        data=tried.data,
        parameters=sum(parameter.numel() for parameter in start.model.parameters()),
        macs=macs,
        bytes=tried.bytes,
        state_known=tried.state_known,
        difference=difference,
        losses=tried.losses,
        metrics=tried.metrics,
        seconds=tried.seconds,
        problems=(*faults, *changed),
        notes=notes,
    )


def _tried(spec: Spec, *, timed: bool) -> _Tried:
    """Train a variant for some steps, then evaluate it.

    Args:
        timed: whether to train more steps to estimate the seconds of a training. The metrics are those after them.
    """
    clock = time.perf_counter()
    start = begin(spec)
    recipe, optimizers = start.recipe, list[torch.optim.Optimizer]()
    _keep_optimizers(recipe, optimizers)
    data_hash, weights = hash_of((start.data.train, start.data.test)), hash_of(start.model.state_dict())
    model = start.model.to(spec.device)
    data = data_on_device(start.data, spec.device)
    steps = steps_of(recipe, model, data, start.order)
    losses = tuple(step.loss for step in islice(steps, _STEPS))
    size = tensor_bytes((list(model.parameters()), [parameter.grad for parameter in model.parameters()]))
    size += sum(tensor_bytes(list(optimizer.state.values())) for optimizer in optimizers)
    first, each = time.perf_counter() - clock, _seconds_of_a_step(steps) if timed else None
    clock = time.perf_counter()
    metrics = evaluated(recipe, model, data)
    seconds = None if each is None else _estimate(spec, recipe, first, each, time.perf_counter() - clock)
    return _Tried(data_hash, weights, losses, metrics, size, bool(optimizers), seconds)


def _keep_optimizers(recipe: Recipe, optimizers: list[torch.optim.Optimizer]) -> None:
    """Put every optimizer that the recipe creates from now on into a list."""
    create = recipe.optimizer

    def optimizer(model: nn.Module) -> torch.optim.Optimizer:
        optimizers.append(create(model))
        return optimizers[-1]

    recipe.optimizer = optimizer  # type: ignore[method-assign]


def _seconds_of_a_step(steps: Iterator[Any]) -> float | None:
    """Return the mean seconds of further steps; None if the training has ended."""
    clock, count = time.perf_counter(), 0
    for _ in islice(steps, _TIMED_STEPS):
        count += 1
        if time.perf_counter() - clock > _TIMED_SECONDS:
            break
    return (time.perf_counter() - clock) / count if count else 0.0


def _estimate(spec: Spec, recipe: Recipe, first: float, each: float, evaluation: float) -> float | None:
    """Return the seconds of a training; None if a `fit` of the recipe's own may take any number of steps."""
    if type(recipe).fit is not Recipe.fit and "steps" not in dict(spec.options):
        return None
    every = recipe.option("evaluate_every", 0)
    evaluations = 1 + (spec.steps // every if every else 0)
    return first + max(0, spec.steps - _STEPS) * each + evaluations * evaluation


def _not_finite(tried: _Tried) -> Iterator[Problem]:
    if not math.isfinite(tried.losses[0]):
        yield "loss", f"the loss is {tried.losses[0]} at step 0; expected a finite number"
        return
    for name, value in tried.metrics.items():
        if not math.isfinite(value):
            yield "evaluate", f"the metric {name} is {value} after some steps; expected a finite number"


def _not_repeated(one: _Tried, other: _Tried, device: str) -> Iterator[Problem]:
    """Yield the first thing in which two trainings of one seed differ."""
    differing = [step for step, pair in enumerate(zip(one.losses, other.losses, strict=False)) if _differ(*pair)]
    if one.data != other.data:
        method, what = "data", "other data"
    elif one.weights != other.weights:
        method, what = "model", "other initial weights"
    elif differing or len(one.losses) != len(other.losses):
        method, what = "loss", f"another loss at step {differing[0]}" if differing else "another number of steps"
    else:
        return
    kind = "" if device == "cpu" else f", or {device} adds in another order"
    yield (
        method,
        f"the recipe draws random numbers that are not from its generators{kind}: the same seed, trained twice, has "
        f"{what}",
    )


def _differ(one: float, other: float) -> bool:
    return one != other and not (math.isnan(one) and math.isnan(other))


def _change_of_function(spec: Spec, start: Start) -> tuple[float | None, list[Problem]]:
    """Return how far the outputs of a variant are from those of the model as built, and the problem if it is too far.

    Both are evaluated on some training examples. None for a variant that is not made from the model as built.
    """
    variant = start.recipe.variants[spec.variant]
    if variant is None or isinstance(variant, Mapping):
        return None, []
    _, _, built = as_built(spec)
    inputs = sample_inputs(start.recipe, start.data, _EXAMPLES)
    difference = largest_difference(_outputs(start.model, inputs, spec.seed), _outputs(built, inputs, spec.seed))
    if difference <= same_function_limit(built):
        return difference, []
    words = "outputs of other shapes" if math.isinf(difference) else f"outputs that differ by up to {difference:.2g}"
    return difference, [
        (
            f"variants {spec.variant}",
            f"is another function than the model as built: {words}, relative to the largest one",
        )
    ]


def _outputs(model: nn.Module, inputs: tuple[Any, ...], seed: int) -> Any:
    seed_all(seed)
    with torch.no_grad():
        return model.eval()(*inputs)


def _macs(start: Start) -> tuple[int | None, tuple[str, ...]]:
    """Return the multiply-accumulates of one example; None if they cannot be counted, and a note."""
    if not start.recipe.counts_macs:
        return None, ("the multiply-accumulates differ from step to step (counts_macs = False)",)
    try:
        report = analyze(start.model, args=start.example)
    except Exception as error:  # such as a model that cannot run without values
        return None, (f"the multiply-accumulates cannot be counted: {in_a_line(error)}",)
    return report.totals.macs, ()
