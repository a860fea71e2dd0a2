"""Chunks: the part of a sweep that one worker trains and writes, and the processes that do it.

A chunk carries all that a worker needs, so that it can be run in this process, in a pool of this machine, or
wherever a flow sends it.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, takewhile
from multiprocessing.synchronize import Event
from typing import Final, Literal

from paramshare.tracking.runs import SeedRun, write_failure, write_run
from paramshare.tracking.store import Store, StoreAddress, open_store
from paramshare.training.devices import cpu_cores
from paramshare.training.engines import train
from paramshare.training.spec import TrainSpec

__all__ = ["SPAWN", "Chunk", "Row", "make_chunks", "run_chunk", "run_chunks", "slots", "start_worker"]

SPAWN: Final = multiprocessing.get_context("spawn")
"""How processes are started here: torch and its threads do not survive a fork."""


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
    """

    spec: TrainSpec
    run_id: str
    status: Literal["FINISHED", "FAILED"]
    final_loss: float | None
    mean_depth_loss: float | None
    seconds: float
    reused: bool = False
    error: str = ""

    @classmethod
    def finished(cls, spec: TrainSpec, run: SeedRun, *, reused: bool) -> "Row":
        """The row of a FINISHED run."""
        return cls(spec, run.run_id, "FINISHED", run.final_loss, run.mean_depth_loss, run.seconds, reused)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Specs of one device, trained one after the other by one worker.

    Args:
        specs: all on the same device.
        address: the store that their runs go to.
        tags: what each of their runs carries: its parent, where it came from.
    """

    specs: tuple[TrainSpec, ...]
    address: StoreAddress
    tags: dict[str, str]

    @property
    def device(self) -> str:
        """The device of all its specs."""
        return self.specs[0].device


def slots(device: str, workers: int | None = None) -> int:
    """How many chunks can run on `device` at once: one a core on the CPU (or `workers`), one on any other."""
    return (workers or cpu_cores()) if device == "cpu" else 1


def make_chunks(specs: Sequence[TrainSpec], size: int, address: StoreAddress, tags: dict[str, str]) -> list[Chunk]:
    """`specs` cut into chunks of at most `size`, none of more than one device, those of a device together."""
    by_device = sorted(specs, key=lambda spec: spec.device)  # stable: the order within a device stays
    return [
        Chunk(tuple(group[begin : begin + size]), address, tags)
        for _, specs_of_device in groupby(by_device, key=lambda spec: spec.device)
        for group in [list(specs_of_device)]
        for begin in range(0, len(group), size)
    ]


def run_chunk(chunk: Chunk) -> list[Row]:
    """Train the chunk's specs here and write each as a run when its training ends.

    A training that raises becomes a FAILED run and a row that says so; the others go on. Where the process is one of a
    pool that has been told to stop, only the specs begun before have rows.
    """
    store = _store(chunk.address)
    begun = takewhile(lambda _: not _pool_stops(), chunk.specs)
    return [_run(spec, store, chunk.tags) for spec in begun]


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
    stop = SPAWN.Event()
    with ExitStack() as stack:
        futures = []
        for device, queue in queues.items():
            pool = ProcessPoolExecutor(at_once[device], SPAWN, start_worker, (stop,))
            stack.callback(pool.shutdown, wait=True, cancel_futures=True)
            futures += [pool.submit(run_chunk, chunk) for chunk in queue]
        stack.callback(stop.set)
        for future in as_completed(futures):
            yield from future.result()


def _run(spec: TrainSpec, store: Store, tags: dict[str, str]) -> Row:
    try:
        result = train(spec)
    except Exception as error:  # whatever it was, the other seeds go on
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return Row(spec, write_failure(store, spec, reason, tags), "FAILED", None, None, 0.0, error=reason)
    return Row.finished(spec, write_run(store, result, tags), reused=False)


def _pool_stops() -> bool:
    """Whether the pool that this process belongs to has been told to stop; `start_worker` puts the answer here."""
    return False


@lru_cache(maxsize=1)
def _store(address: StoreAddress) -> Store:
    return open_store(address)


def start_worker(stop: Event) -> None:
    """What a pool's process does first: leave Ctrl-C to its parent, and end when its parent has died.

    A pool's process waits for work for ever, and a parent ended by kill -9 cannot tell it to stop.

    Args:
        stop: set by the parent when no further spec shall be begun.
    """
    global _pool_stops
    _pool_stops = stop.is_set
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
