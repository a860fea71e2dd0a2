"""Train a recipe: the engine `reference` of every recipe."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from paramshare.recipes.loop.checkpoints import Checkpoints, write_checkpoints
from paramshare.recipes.loop.curves import Curves
from paramshare.recipes.loop.evaluation import evaluated
from paramshare.recipes.loop.examples import data_on_device
from paramshare.recipes.loop.random_state import restored_random_state
from paramshare.recipes.loop.steps import steps_of
from paramshare.recipes.spec import RecipeSpec
from paramshare.recipes.start import Start, begin
from paramshare.sharing.analyze import analyze
from paramshare.training.result import first_not_finite
from paramshare.training.targets import LOSS, MACS, PARAMETERS

__all__ = ["RecipeResult", "train_recipe"]

_FIRST_REPORT: Final = 5.0  # seconds: most trainings end before
_REPORT_EVERY: Final = 10.0


@dataclass(frozen=True, slots=True)
class RecipeResult:
    """One finished training of a recipe. `engine` to `seconds` are as in `TrainResult`.

    Args:
        spec: what was trained.
        losses: float32 (steps,), the loss of every step before its update.
        values: other curves by metric, float64 (steps,), masked where a step has no value.
        finals: every metric of the trained model by name, such as `final/accuracy`.
        macs: multiply-accumulates of one example, forward; None if they are not known.
        net: the trained model, on the CPU.
        example: the model's arguments for one example, on the CPU.
        data: the tensors of the training data by position, on the CPU.
    """

    spec: RecipeSpec
    engine: str
    threads: int
    losses: NDArray[np.float32]
    values: dict[str, NDArray[np.float64]]
    finals: dict[str, float]
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
        """Return the loss of the last step."""
        return float(self.losses[-1])

    @property
    def diverged_at(self) -> int | None:
        """Return the first step, counted from 0, whose loss is not finite; None if all are.

        If only a metric of the trained model is not finite, it is the number of steps.
        """
        return first_not_finite(self.losses, self.finals.values())


def train_recipe(
    spec: RecipeSpec,
    change: Callable[[nn.Module], object] | None = None,
    checkpoints: Checkpoints | None = None,
    on_progress: Callable[[float, Mapping[str, NDArray[Any]]], object] = lambda *_: None,
) -> RecipeResult:
    """Train `spec` by its recipe's `fit`, at torch's present number of threads.

    The recipe's own exceptions are not caught. Global generators are restored.

    Args:
        change: called with the initial model on the CPU; it changes the model in place. Defaults to None.
        checkpoints: where the default loop writes checkpoints; it begins at the last one. Defaults to None: nowhere.
            The checkpoint stays: the caller removes it when the result is safe.
        on_progress: called every 10 seconds of a training that lasts more than 5, with its start, in seconds since
            1970, and the curves so far by metric. It may draw from the global generators. Defaults to nothing.

    Raises:
        SpecError: the recipe returns something that cannot be trained.
    """
    started, clock = time.time(), time.perf_counter()
    with restored_random_state():
        start = begin(spec)
        if change is not None:
            change(start.model)
        if checkpoints is not None:
            write_checkpoints(start.recipe, checkpoints.of(spec))
        model = start.model.to(spec.device)
        data = data_on_device(start.data, spec.device)
        curves = _fitted(start, model, data, lambda curves: on_progress(started, curves.by_metric()))
        finals = evaluated(start.recipe, model, data)
    seconds = time.perf_counter() - clock
    model = model.cpu()
    return RecipeResult(
        spec=spec,
        engine="reference",
        threads=torch.get_num_threads(),
        losses=curves.losses,
        values=curves.values,
        finals={f"final/{name}": value for name, value in finals.items()},
        macs=_macs(spec, model, start.example),
        net=model,
        example=start.example,
        data=_tensors(start.data.train),
        started=started,
        seconds=seconds,
    )


def _fitted(start: Start, model: nn.Module, data: Any, report: Callable[[Curves], object]) -> Curves:
    """Train the model in place and return its curves. Call `report` now and then with the curves so far."""
    curves, due = Curves(), time.monotonic() + _FIRST_REPORT
    for step in steps_of(start.recipe, model, data, start.order):
        curves.append(step)
        if time.monotonic() >= due:
            with restored_random_state():
                report(curves)
            due = time.monotonic() + _REPORT_EVERY
    return curves


def _tensors(data: Any) -> dict[str, Tensor]:
    """Return the tensors of the training data by name: `features`, `targets`, and `part 3` for further ones."""
    names = ("features", "targets")
    tensors = [part for part in tree_leaves(data) if isinstance(part, Tensor)]
    return {names[place] if place < len(names) else f"part {place + 1}": part for place, part in enumerate(tensors)}


_known_macs: dict[tuple[object, ...], int | None] = {}


def _macs(spec: RecipeSpec, model: nn.Module, example: tuple[Any, ...]) -> int | None:
    """Return the multiply-accumulates of one example, counted once for each variant and options."""
    asked = (spec.recipe, spec.options, spec.variant)
    if asked not in _known_macs:
        try:
            _known_macs[asked] = analyze(model, args=example).totals.macs
        except Exception:  # such as a model that cannot run without values
            _known_macs[asked] = None
    return _known_macs[asked]
