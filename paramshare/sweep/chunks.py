"""Chunks: the part of a sweep that one worker trains and writes, and the processes that do it.

A chunk carries all that a worker needs, so that it can be run in this process, in a pool of this machine, or
wherever a flow sends it.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from multiprocessing.synchronize import Event
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from paramshare.tracking.runs import SeedRun, write_failure, write_run
from paramshare.tracking.store import Store, StoreAddress, open_store
from paramshare.training.choice import Engine
from paramshare.training.devices import cpu_cores
from paramshare.training.engines import train_many
from paramshare.training.export import Template, adopt_templates, make_templates
from paramshare.training.result import TrainResult
from paramshare.training.spec import TrainSpec

__all__ = [
    "SPAWN",
    "TOGETHER",
    "Chunk",
    "Row",
    "make_chunks",
    "run_chunk",
    "run_chunks",
    "slots",
    "start_worker",
    "templates_of",
]

SPAWN: Final = multiprocessing.get_context("spawn")
"""How processes are started here: torch and its threads do not survive a fork."""

TOGETHER: Final = 256
"""How many seeds a chunk on CUDA has: they are trained together."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a sweep's outcome.

    Args:
        spec: what was asked for.
        run_id: MLflow's id of the run.
        status: the run's, in MLflow's words.
        final_loss: the last step's loss, which depends on the depth it drew; None where there is none.
        mean_depth_loss: the trained net's loss, averaged over the depths; None where there is none.
        seconds: how long the training took.
        reused: whether the run was in the store before this sweep.
        error: what went wrong, in a line; empty where nothing did.
        losses: (steps,), the loss of every step, where the run was trained in this sweep.
    """

    spec: TrainSpec
    run_id: str
    status: Literal["FINISHED", "FAILED"]
    final_loss: float | None
    mean_depth_loss: float | None
    seconds: float
    reused: bool = False
    error: str = ""
    losses: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def finished(cls, spec: TrainSpec, run: SeedRun, losses: NDArray[np.float32] | None = None) -> "Row":
        """The row of a FINISHED run, re-used unless its losses are given."""
        reused = losses is None
        return cls(
            spec, run.run_id, "FINISHED", run.final_loss, run.mean_depth_loss, run.seconds, reused, losses=losses
        )


@dataclass(frozen=True, slots=True)
class Chunk:
    """Specs of one device, trained by one worker.

    Args:
        specs: all on the same device.
        engine: what trains them.
        address: the store that their runs go to.
        tags: what each of their runs carries: its parent, where it came from.
    """

    specs: tuple[TrainSpec, ...]
    engine: Engine
    address: StoreAddress
    tags: dict[str, str]

    @property
    def device(self) -> str:
        """The device of all its specs."""
        return self.specs[0].device


def slots(device: str, workers: int | None = None) -> int:
    """How many chunks can run on `device` at once: one a core on the CPU (or `workers`), one on any other."""
    return (workers or cpu_cores()) if device == "cpu" else 1


def make_chunks(
    specs: Sequence[TrainSpec], size: int, engine: Engine, address: StoreAddress, tags: dict[str, str]
) -> list[Chunk]:
    """`specs` cut into chunks, none of more than one device, those of a device together.

    Args:
        size: the most specs of a chunk; on CUDA, which trains many together, it has `TOGETHER` where there are so many.
    """
    by_device = sorted(specs, key=lambda spec: spec.device)  # stable: the order within a device stays
    chunks = []
    for device, specs_of_device in groupby(by_device, key=lambda spec: spec.device):
        group = list(specs_of_device)
        most = max(size, TOGETHER) if device.startswith("cuda") else size
        chunks += [
            Chunk(tuple(group[begin : begin + most]), engine, address, tags) for begin in range(0, len(group), most)
        ]
    return chunks


def run_chunk(chunk: Chunk) -> list[Row]:
    """Train the chunk's specs here and write each as a run when its training ends.

    A training that raises becomes a FAILED run and a row that says so; the others go on. Where the process is one of a
    pool that has been told to stop, only the specs begun before have rows.
    """
    store = _store(chunk.address)
    outcomes = _train(chunk)
    rows: list[Row] = []
    while not _pool_stops() and (outcome := next(outcomes, None)):
        rows.append(_write(store, *outcome, chunk.tags))
    return rows


def run_chunks(chunks: Sequence[Chunk], workers: int | None = None) -> Iterator[Row]:
    """Run chunks on this machine, as many at once as their devices have room for, and yield rows as they end.

    What cannot run beside anything else runs in this process; else each device has a pool of processes, which end
    with this one.
    """
    queues = {device: list(of_device) for device, of_device in groupby(chunks, key=lambda chunk: chunk.device)}
    at_once = {device: min(slots(device, workers), len(queue)) for device, queue in queues.items()}
    if sum(at_once.values()) == 1:
        for chunk in chunks:
            yield from run_chunk(chunk)
        return
    stop, templates = SPAWN.Event(), templates_of(chunks)
    with ExitStack() as stack:
        futures = []
        for device, queue in queues.items():
            pool = ProcessPoolExecutor(at_once[device], SPAWN, start_worker, (stop, templates))
            stack.callback(pool.shutdown, wait=True, cancel_futures=True)
            futures += [pool.submit(run_chunk, chunk) for chunk in queue]
        stack.callback(stop.set)
        for future in as_completed(futures):
            yield from future.result()


def templates_of(chunks: Sequence[Chunk]) -> tuple[Template, ...]:
    """What the models of the chunks have in common, made here once for all processes that write them."""
    return make_templates(spec for chunk in chunks for spec in chunk.specs)


def _train(chunk: Chunk) -> Iterator[tuple[TrainSpec, TrainResult | Exception]]:
    """The result of each spec, or what its training raised, as it ends."""
    waiting = deque(chunk.specs)
    while waiting:
        results = train_many(list(waiting), chunk.engine)
        outcome: TrainResult | Exception | None = None
        while waiting and not isinstance(outcome, Exception):
            try:
                outcome = next(results)
            except Exception as error:  # whatever it was, the other seeds go on
                outcome = error
            yield waiting.popleft(), outcome


def _write(store: Store, spec: TrainSpec, outcome: TrainResult | Exception, tags: dict[str, str]) -> Row:
    if isinstance(outcome, Exception):
        reason = f"{type(outcome).__name__}: {outcome}".splitlines()[0]
        return Row(spec, write_failure(store, spec, reason, tags), "FAILED", None, None, 0.0, error=reason)
    return Row.finished(spec, write_run(store, outcome, tags), outcome.losses)


def _pool_stops() -> bool:
    """Whether the pool that this process belongs to has been told to stop; `start_worker` puts the answer here."""
    return False


@lru_cache(maxsize=1)
def _store(address: StoreAddress) -> Store:
    return open_store(address)


def start_worker(stop: Event, templates: Sequence[Template]) -> None:
    """What a pool's process does first: leave Ctrl-C to its parent, and end when its parent has died.

    A pool's process waits for work for ever, and a parent ended by kill -9 cannot tell it to stop.

    Args:
        stop: set by the parent when no further spec shall be begun.
        templates: as of `templates_of`.
    """
    global _pool_stops
    _pool_stops = stop.is_set
    adopt_templates(templates)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
