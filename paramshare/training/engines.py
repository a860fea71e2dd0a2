"""Run specs on the engine that fits them, at one torch thread."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Literal, get_args

import torch

from paramshare.errors import SpecError
from paramshare.training.exact import train_exact
from paramshare.training.reference import train_reference
from paramshare.training.result import TrainResult
from paramshare.training.spec import TrainSpec

__all__ = ["ENGINES", "Engine", "choose_engine", "train", "train_many"]

Engine = Literal["auto", "reference", "exact"]
ENGINES: Final[tuple[Engine, ...]] = get_args(Engine)

_RUN: Final[dict[Engine, Callable[[TrainSpec], TrainResult]]] = {"reference": train_reference, "exact": train_exact}


def train(spec: TrainSpec, engine: Engine = "auto") -> TrainResult:
    """Train one spec in this process. Global random state and torch's thread count are left as they were found.

    Args:
        engine: `reference` is the definition, the plain loop; `exact` gives the same bits about twice as fast, on the
            CPU; `auto` takes the fastest that gives the reference's bits on the spec's device.

    Raises:
        SpecError: the engine does not run on the spec's device, or there is none of that name.
        RuntimeError: torch's own, where the spec's device is not there or runs out of memory.
    """
    with _one_thread():
        return _RUN[choose_engine(spec, engine)](spec)


def train_many(specs: Iterable[TrainSpec], engine: Engine = "auto") -> Iterator[TrainResult]:
    """Train specs in this process and yield each result as its training ends. Takes and raises what `train` does."""
    return (train(spec, engine) for spec in specs)


def choose_engine(spec: TrainSpec, engine: Engine = "auto") -> Engine:
    """The engine that `engine` means for `spec`.

    Raises:
        SpecError: it does not run on the spec's device, or there is none of that name.
    """
    if engine not in ENGINES:
        raise SpecError(f"there is no engine called {engine!r}; expected {', '.join(ENGINES)}")
    if engine == "auto":
        return "exact" if spec.device == "cpu" else "reference"
    if engine == "exact" and spec.device != "cpu":
        raise SpecError(f"the engine exact runs on the CPU alone, not on {spec.device}; expected reference or auto")
    return engine


@contextmanager
def _one_thread() -> Iterator[None]:
    """One torch thread inside: faster for matrices of this size, and the bits do not depend on the core count."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
