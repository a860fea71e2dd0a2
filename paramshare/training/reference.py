"""Train a recipe: the engine `reference` of every recipe."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from numpy.typing import NDArray
from torch import nn

from paramshare.recipes.metrics import FINAL
from paramshare.recipes.spec import Spec
from paramshare.sharing.analyze import analyze
from paramshare.training.loop.checkpoints import Checkpoints, write_checkpoints
from paramshare.training.loop.curves import Curves
from paramshare.training.loop.evaluation import evaluated
from paramshare.training.loop.examples import data_on_device
from paramshare.training.loop.random_state import restored_random_state
from paramshare.training.loop.steps import steps_of
from paramshare.training.result import Result, named_tensors
from paramshare.training.start import Start, begin

__all__ = ["train_reference"]

_FIRST_REPORT: Final = 5.0  # seconds: most trainings end before
_REPORT_EVERY: Final = 10.0


def train_reference(
    spec: Spec,
    change: Callable[[nn.Module], object] | None = None,
    checkpoints: Checkpoints | None = None,
    on_progress: Callable[[float, Mapping[str, NDArray[Any]]], object] = lambda *_: None,
) -> Result:
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
        final_metrics = evaluated(start.recipe, model, data)
    seconds = time.perf_counter() - clock
    model = model.cpu()
    return Result(
        spec=spec,
        engine="reference",
        threads=torch.get_num_threads(),
        losses=curves.losses,
        values=curves.values,
        final_metrics={f"{FINAL}{name}": value for name, value in final_metrics.items()},
        macs=_macs(spec, model, start.example),
        net=model,
        example=start.example,
        data=named_tensors(start.data.train),
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


_known_macs: dict[Spec, int | None] = {}


def _macs(spec: Spec, model: nn.Module, example: tuple[Any, ...]) -> int | None:
    """Return the multiply-accumulates of one example, counted once for each graph of the model."""
    if not spec.target.counts_macs:
        return None
    asked = spec.target.shape(spec)
    if asked not in _known_macs:
        try:
            _known_macs[asked] = analyze(model, args=example).totals.macs
        except Exception:  # such as a model that cannot run without values
            _known_macs[asked] = None
    return _known_macs[asked]
