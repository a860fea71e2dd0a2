"""Run specs on the engine that fits them, under torch's defaults and at one thread."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any, Final

from numpy.typing import NDArray

from paramshare.errors import SpecError
from paramshare.recipes.spec import Spec
from paramshare.recipes.target import target_of
from paramshare.training.choice import Choice, Engine, EngineName, choose_engine
from paramshare.training.dynamicnet.exact import train_exact
from paramshare.training.dynamicnet.gram import train_gram
from paramshare.training.dynamicnet.lanes import train_lanes
from paramshare.training.environment.devices import choose_devices, find_devices
from paramshare.training.environment.memory import check_memory
from paramshare.training.environment.torch_defaults import torch_defaults
from paramshare.training.loop.checkpoints import Checkpoints
from paramshare.training.reference import train_reference
from paramshare.training.result import Result

__all__ = ["train", "train_choices", "train_many"]

_log = logging.getLogger(__name__)

_FAST: Final[dict[EngineName, Callable[[Spec], Result]]] = {"exact": train_exact, "gram": train_gram}
"""The engines beside the reference, which is the loop of the recipe. All are DynamicNet's."""


def train(spec: Spec, engine: Engine = "auto") -> Result:
    """Train one spec in this process. What it computes depends on no setting of torch that the caller made.

    Global random state and the settings are left as they were found (see `torch_defaults`). Modes and hooks of the
    caller do not see a training.

    Args:
        engine: as of `choose_engine`.

    Raises:
        SpecError: it is no spec, needs more memory than this machine has, or cannot be run by the engine, or there is
            no engine of that name.
        DeviceError: its device is not there.
        UsageError: torch traces or transforms the caller.
        RuntimeError: torch's own, where the spec's device runs out of memory.
    """
    (result,) = train_many([spec], engine)
    return result


def train_many(
    specs: Iterable[Spec], engine: Engine = "auto", on_result: Callable[[Result], object] | None = None
) -> Iterator[Result]:
    """Train specs in this process and yield each result as its training ends, in the order of the specs.

    Seeds on CUDA are trained together, as many as have room; elsewhere one after the other. That changes no bit of any.

    Args:
        engine: as of `choose_engine`.
        on_result: called with each result before it is yielded.

    Raises:
        SpecError: one of the specs is none, needs more memory than this machine has, or cannot be run by the engine, or
            there is no engine of that name. Nothing is trained then.
        DeviceError: the device of one of the specs is not there. Nothing is trained then.
        UsageError: torch traces or transforms the caller.
        RuntimeError: torch's own, as of `train`. The results before it have been yielded; what came after them has not
            been trained.
    """
    if not isinstance(specs, Iterable):
        raise SpecError(
            f"specs is of type {type(specs).__name__}; expected a list of specs, such as [TrainSpec(seed=0)]"
        )
    if on_result is not None and not callable(on_result):
        raise SpecError(f"on_result is of type {type(on_result).__name__}; expected a function of a result")
    return train_choices([choose_engine(spec, engine) for spec in specs], on_result)


def train_choices(
    choices: Sequence[Choice],
    on_result: Callable[[Result], object] | None = None,
    checkpoints: Checkpoints | None = None,
    on_progress: Callable[[Spec, float, Mapping[str, NDArray[Any]]], object] = lambda *_: None,
) -> Iterator[Result]:
    """Train specs whose engines are chosen, as `train_many` does.

    Args:
        choices: the specs, each with its engine.
        on_result: called with each result before it is yielded.
        checkpoints: where the default loop of recipes writes checkpoints. Defaults to None: nowhere.
        on_progress: called now and then while the reference trains, with the spec and what `train_reference` gives.

    Raises:
        SpecError: a spec needs more memory than this machine has. Nothing is trained then.
        DeviceError: the device of a spec is not there. Nothing is trained then.
        UsageError, RuntimeError: see `train_many`.
    """
    check_memory(choice.spec for choice in choices)
    devices = {choice.spec.device for choice in choices} - {"cpu"}
    if devices:
        choose_devices(sorted(devices), find_devices())

    def reference(spec: Spec) -> Result:
        return train_reference(spec, checkpoints=checkpoints, on_progress=partial(on_progress, spec))

    return _results(choices, on_result or (lambda _: None), reference)


def _results(
    choices: Iterable[Choice], on_result: Callable[[Result], object], reference: Callable[[Spec], Result]
) -> Iterator[Result]:
    for (_, name, device, reason, together), group in groupby(choices, key=_trained_alike):
        specs = [choice.spec for choice in group]
        _log.info("%d runs on %s by the engine %s: %s", len(specs), device, name, reason)
        results = train_lanes(specs) if together else map(_FAST.get(name, reference), specs)
        while result := _next(results):
            result = replace(result, reason=reason)
            on_result(result)
            yield result


def _trained_alike(choice: Choice) -> tuple[str, EngineName, str, str, bool]:
    return target_of(choice.spec).name, choice.engine, choice.spec.device, choice.reason, choice.together


def _next(results: Iterator[Result]) -> Result | None:
    with torch_defaults():
        return next(results, None)
