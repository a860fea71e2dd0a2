"""Run specs on the engine that fits them, at one torch thread."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from paramshare.training.reference import train_reference
from paramshare.training.result import TrainResult
from paramshare.training.spec import TrainSpec

__all__ = ["train", "train_many"]


def train(spec: TrainSpec) -> TrainResult:
    """Train one spec in this process. Global random state and torch's thread count are left as they were found.

    Raises:
        RuntimeError: torch's own, where the spec's device is not there or runs out of memory.
    """
    with _one_thread():
        return train_reference(spec)


def train_many(specs: Iterable[TrainSpec]) -> Iterator[TrainResult]:
    """Train specs in this process and yield each result as its training ends."""
    return (train(spec) for spec in specs)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One torch thread inside: faster for matrices of this size, and the bits do not depend on the core count."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
