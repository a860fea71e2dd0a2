"""Run specs on the engine that fits them, at one torch thread."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import Final

from paramshare.training.choice import Choice, Engine, EngineName, choose_engine
from paramshare.training.exact import train_exact
from paramshare.training.gram import train_gram
from paramshare.training.lanes import train_lanes
from paramshare.training.reference import train_reference
from paramshare.training.result import TrainResult
from paramshare.training.spec import TrainSpec
from paramshare.training.threads import one_thread

__all__ = ["train", "train_many"]

_log = logging.getLogger(__name__)

_ONE: Final[dict[EngineName, Callable[[TrainSpec], TrainResult]]] = {
    "reference": train_reference,
    "exact": train_exact,
    "gram": train_gram,
}


def train(spec: TrainSpec, engine: Engine = "auto") -> TrainResult:
    """Train one spec in this process. Global random state and torch's thread count are left as they were found.

    Args:
        engine: as of `choose_engine`.

    Raises:
        SpecError: the engine cannot run the spec, or there is none of that name.
        RuntimeError: torch's own, where the spec's device is not there or runs out of memory.
    """
    (result,) = train_many([spec], engine)
    return result


def train_many(
    specs: Iterable[TrainSpec], engine: Engine = "auto", on_result: Callable[[TrainResult], object] | None = None
) -> Iterator[TrainResult]:
    """Train specs in this process and yield each result as its training ends, in the order of the specs.

    Seeds on CUDA are trained together, as many as have room; elsewhere one after the other. That changes no bit of any.

    Args:
        engine: as of `choose_engine`.
        on_result: called with each result before it is yielded.

    Raises:
        SpecError: the engine cannot run one of the specs, or there is none of that name. Nothing is trained then.
        RuntimeError: torch's own, as of `train`. The results before it have been yielded; what came after them has not
            been trained.
    """
    return _results([choose_engine(spec, engine) for spec in specs], on_result or (lambda _: None))


def _results(choices: Iterable[Choice], on_result: Callable[[TrainResult], object]) -> Iterator[TrainResult]:
    for (name, device, reason), group in groupby(choices, key=lambda one: (one.engine, one.spec.device, one.reason)):
        specs = [choice.spec for choice in group]
        _log.info("%d runs on %s by the engine %s: %s", len(specs), device, name, reason)
        together = name == "gram" and device.startswith("cuda")
        results = train_lanes(specs) if together else map(_ONE[name], specs)
        while result := _next(results):
            result = replace(result, reason=reason)
            on_result(result)
            yield result


def _next(results: Iterator[TrainResult]) -> TrainResult | None:
    with one_thread():
        return next(results, None)
