"""Chunks: the part of a sweep that one worker trains and writes, and the processes that do it.

A chunk carries all that a worker needs, so that it can be run in this process, in a pool of this machine, or
wherever a flow sends it.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import groupby
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from paramshare.errors import WorkerError, in_a_line
from paramshare.tracking.leftover import close_seeds
from paramshare.tracking.record import RunExistsError
from paramshare.tracking.runs import (
    PARENT,
    SeedRun,
    failure_record,
    find_finished,
    seed_record,
    seed_run,
    write_failure,
    write_run,
)
from paramshare.tracking.spool import SPOOL, OutageError, attempt, keep
from paramshare.tracking.store import Store, StoreAddress, open_store
from paramshare.training.choice import Engine, choose_engine
from paramshare.training.devices import cpu_cores
from paramshare.training.engines import train_many
from paramshare.training.export import Template, adopt_templates, make_templates
from paramshare.training.result import Result
from paramshare.training.targets import LOSS, Spec

__all__ = [
    "SPAWN",
    "TOGETHER",
    "Chunk",
    "Row",
    "Stop",
    "make_chunks",
    "not_written",
    "outlast",
    "run_chunk",
    "run_chunks",
    "slots",
    "start_worker",
    "templates_of",
]

SPAWN: Final = multiprocessing.get_context("spawn")
"""How processes are started here: torch and its threads do not survive a fork."""

TOGETHER: Final = 64
"""How many seeds a chunk has that are trained together, as on CUDA."""

_AT_A_GPU: Final = 4  # processes: to write a run takes far longer than its share of training

_MOST_BREAKS: Final = 3  # in a row: more is no accident
_TO_STOP: Final = 2.0  # seconds that a process has to end its seed when it has been told to stop


class Stop:
    """What tells the processes of pools to stop; made by their parent, handed to each as it starts.

    It is the end of a pipe: there is no lock that a process killed at the wrong moment could keep for ever.
    """

    def __init__(self) -> None:
        self._told, self._teller = SPAWN.Pipe(duplex=False)

    def __getstate__(self) -> object:
        return self._told

    def __setstate__(self, told: Any) -> None:
        self._told = told

    def set(self) -> None:
        """Tell them; the parent's death does, too."""
        self._teller.close()

    def is_set(self) -> bool:
        """Whether they have been told."""
        return self._told.poll()

    def wait(self) -> None:
        """Return when they have been told."""
        self._told.poll(None)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a sweep's outcome.

    Args:
        spec: what was asked for.
        run_id: MLflow's id of the run; empty where the store does not have it yet.
        status: the run's, in MLflow's words; KEPT where it was trained and lies in the spool.
        final_loss: the last step's loss; None where there is none.
        finals: what the trained net comes to, by metric, its target's headline first; empty where there is none.
        seconds: how long the training took.
        reused: whether the run was in the store before this sweep.
        error: what went wrong, in a line; empty where nothing did.
        diverged: whether one of its losses is not finite.
        losses: (steps,), the loss of every step, where the run was trained in this sweep.
    """

    spec: Spec
    run_id: str
    status: Literal["FINISHED", "FAILED", "KEPT"]
    final_loss: float | None
    finals: Mapping[str, float]
    seconds: float
    reused: bool = False
    error: str = ""
    diverged: bool = False
    losses: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def finished(cls, spec: Spec, run: SeedRun, losses: NDArray[np.float32] | None = None) -> "Row":
        """The row of a FINISHED run, re-used unless its losses are given."""
        return cls(
            spec,
            run.run_id,
            "FINISHED",
            run.final_loss,
            run.finals,
            run.seconds,
            reused=losses is None,
            diverged=run.diverged,
            losses=losses,
        )

    @classmethod
    def kept(cls, spec: Spec, result: Result, reason: str) -> "Row":
        """The row of a result that lies in the spool, and why."""
        return cls(
            spec,
            "",
            "KEPT",
            result.final_loss,
            dict(result.finals),
            result.seconds,
            error=f"{reason}; the result is kept in {SPOOL}",
            diverged=result.diverged_at is not None,
            losses=result.curves[LOSS],
        )


@dataclass(frozen=True, slots=True)
class Chunk:
    """Specs of one device, trained by one worker.

    Args:
        specs: all on the same device.
        engine: what trains them.
        address: the store that their runs go to.
        tags: what each of their runs carries: its parent, where it came from.
        force: whether a run is written though the store may hold a FINISHED one of its spec.
    """

    specs: tuple[Spec, ...]
    engine: Engine
    address: StoreAddress
    tags: dict[str, str]
    force: bool = False

    @property
    def device(self) -> str:
        """The device of all its specs."""
        return self.specs[0].device


def slots(device: str, workers: int | None, address: StoreAddress) -> int:
    """How many chunks can run on `device` at once: `workers`, or one a core; on CUDA at most four of them, on MPS one.

    Where a server keeps the runs there are half as many again: for much of its time a process waits for it.
    """
    if device == "mps":
        return 1
    cores = cpu_cores()
    processes = workers or (cores if address.database else cores + (cores + 1) // 2)
    return processes if device == "cpu" else min(processes, _AT_A_GPU)


def make_chunks(
    specs: Sequence[Spec],
    size: int,
    engine: Engine,
    address: StoreAddress,
    tags: dict[str, str],
    *,
    force: bool = False,
) -> list[Chunk]:
    """`specs` cut into chunks, none of more than one device, those of a device together.

    Args:
        size: the most specs of a chunk; where they are trained together, it has `TOGETHER` if there are so many.
        engine, address, tags, force: as of `Chunk`.
    """
    by_device = sorted(specs, key=lambda spec: spec.device)  # stable: the order within a device stays
    chunks = []
    for _, of_device in groupby(by_device, key=lambda spec: spec.device):
        group = list(of_device)
        most = max(size, TOGETHER) if choose_engine(group[0], engine).together else size
        chunks += [
            Chunk(tuple(group[begin : begin + most]), engine, address, tags, force)
            for begin in range(0, len(group), most)
        ]
    return chunks


def run_chunk(chunk: Chunk, stops: Callable[[], bool] | None = None) -> list[Row]:
    """Train the chunk's specs here and write each as a run when its training ends.

    A training that raises becomes a FAILED run and a row that says so; the others go on. A result that a server cannot
    take now is kept in the spool, and its row says so. Where the process is one of a pool that has been told to stop,
    only the specs begun before have rows.

    Args:
        stops: asked in place of the pool whether to stop, and before each run is written, too: nobody ends this process
            or waits for it, so that a run could come when its sweep has long ended.
    """
    outcomes = _train(chunk)
    rows: list[Row] = []
    while not (stops or _pool_stops)() and (outcome := next(outcomes, None)):
        if stops is not None and stops():
            break
        rows.append(_write(chunk, *outcome))
    return rows


def run_chunks(chunks: Sequence[Chunk], workers: int | None = None) -> Generator[Row, None, None]:
    """Run chunks on this machine, as many at once as their devices have room for, and yield rows as they end.

    What cannot run beside anything else runs in this process; else each device has a pool of processes, which end
    with this one. Where one of them is ended from outside, new pools train what is not written yet.

    Raises:
        WorkerError: that happened again and again, and nothing was trained in between.
    """
    at_once = _at_once(chunks, workers)
    if sum(at_once.values()) == 1:
        for chunk in chunks:
            yield from run_chunk(chunk)
        return
    templates = templates_of(chunks)
    yield from outlast(chunks, lambda waiting: _in_pools(waiting, at_once, templates))


def outlast(
    chunks: Sequence[Chunk], in_pools: Callable[[Sequence[Chunk]], Iterable[tuple[Chunk, list[Row]]]]
) -> Generator[Row, None, None]:
    """The rows of chunks; where a pool's process is ended from outside, new pools train what is not written yet.

    Args:
        in_pools: runs chunks in processes and gives each with its rows as it ends.

    Raises:
        WorkerError: that happened again and again, and nothing was trained in between.
    """
    waiting, breaks = list(chunks), 0
    while waiting:
        try:
            for chunk, rows in in_pools(tuple(waiting)):
                waiting.remove(chunk)
                breaks = 0
                yield from rows
        except BrokenProcessPool:
            breaks += 1
            if breaks > _MOST_BREAKS:
                raise WorkerError(
                    f"a process that trains was ended from outside {breaks} times in a row, as it is when there is too "
                    "little memory; what was finished stays, run the same command again for the rest, or with fewer "
                    "--workers"
                ) from None
            waiting, rows = not_written(waiting)
            yield from rows


def _at_once(chunks: Sequence[Chunk], workers: int | None) -> dict[str, int]:
    """How many processes each device gets."""
    queues = ((device, list(queue)) for device, queue in groupby(chunks, key=lambda chunk: chunk.device))
    return {device: min(slots(device, workers, queue[0].address), len(queue)) for device, queue in queues}


def _in_pools(
    chunks: Sequence[Chunk], at_once: Mapping[str, int], templates: Sequence[Template]
) -> Iterator[tuple[Chunk, list[Row]]]:
    """Each chunk with its rows as it ends; when this is left, so are the processes, within seconds.

    Raises:
        BrokenProcessPool: a process was ended from outside.
    """
    stop = Stop()
    with ExitStack() as stack:
        futures: dict[Future[list[Row]], Chunk] = {}
        for device, queue in groupby(chunks, key=lambda chunk: chunk.device):
            pool = ProcessPoolExecutor(at_once[device], SPAWN, start_worker, (stop, templates))
            stack.callback(pool.shutdown, wait=True, cancel_futures=True)
            stack.callback(stop.set)
            with _interrupts_held():
                futures |= {pool.submit(run_chunk, chunk): chunk for chunk in queue}
        for future in as_completed(futures):
            yield futures[future], future.result()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let processes start with Ctrl-C held back, which they would report, until `start_worker` has it ignored."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def not_written(chunks: Sequence[Chunk]) -> tuple[list[Chunk], list[Row]]:
    """Of chunks whose processes are gone: what is left to train of them, and the rows of what they have written."""
    parent = chunks[0].tags.get(PARENT)  # that of all
    if parent is None:
        return list(chunks), []
    store, specs = _store(chunks[0].address), [spec for chunk in chunks for spec in chunk.specs]
    close_seeds(store, parent, "the process that wrote it was ended", {spec.key() for spec in specs})
    found = find_finished(store, specs, parent)
    rows = [replace(Row.finished(spec, found[spec.key()]), reused=False) for spec in specs if spec.key() in found]
    rest = [(chunk, tuple(spec for spec in chunk.specs if spec.key() not in found)) for chunk in chunks]
    return [replace(chunk, specs=specs) for chunk, specs in rest if specs], rows


def templates_of(chunks: Sequence[Chunk]) -> tuple[Template, ...]:
    """What the models of the chunks have in common, made here once for all processes that write them."""
    return make_templates(spec for chunk in chunks for spec in chunk.specs)


def _train(chunk: Chunk) -> Iterator[tuple[Spec, Result | Exception]]:
    """The result of each spec, or what its training raised, as it ends."""
    waiting = deque(chunk.specs)
    while waiting:
        results = train_many(list(waiting), chunk.engine)
        outcome: Result | Exception | None = None
        while waiting and not isinstance(outcome, Exception):
            try:
                outcome = next(results)
            except Exception as error:  # whatever it was, the other seeds go on
                outcome = error
            yield waiting.popleft(), outcome


def _write(chunk: Chunk, spec: Spec, outcome: Result | Exception) -> Row:
    """Write what came out as a run; where a server does not take it, keep it in the spool."""
    address, tags = chunk.address, chunk.tags
    if isinstance(outcome, Exception):
        reason = in_a_line(outcome)
        try:
            run_id = attempt(address, lambda: write_failure(_store(address), spec, reason, tags))
        except OutageError:
            keep(failure_record(spec, reason, tags), address)
            run_id = ""
        return Row(spec, run_id, "FAILED", None, {}, 0.0, error=reason)
    try:
        run = attempt(address, lambda: write_run(_store(address), outcome, tags, again=chunk.force))
    except RunExistsError as other:  # another sweep was first
        return Row.finished(spec, seed_run(_store(address).client.get_run(other.run_id)))
    except OutageError as outage:
        keep(seed_record(outcome, tags, again=chunk.force), address)
        return Row.kept(spec, outcome, str(outage))
    except Exception:  # a server refuses, as when a password has changed: that ends the sweep, and loses nothing
        if address.database is None:
            keep(seed_record(outcome, tags, again=chunk.force), address)
        raise
    return Row.finished(spec, run, outcome.curves[LOSS])


def _pool_stops() -> bool:
    """Whether the pool that this process belongs to has been told to stop; `start_worker` puts the answer here."""
    return False


@lru_cache(maxsize=1)
def _store(address: StoreAddress) -> Store:
    return open_store(address)


def start_worker(stop: Stop, templates: Sequence[Template]) -> None:
    """What a pool's process does first: leave Ctrl-C to its parent, and end when that has died or says stop.

    A pool's process waits for work for ever, and a parent ended by kill -9 cannot tell it to stop.

    Args:
        stop: set by the parent when no further spec shall be begun; one that takes longer than seconds is cut short.
        templates: as of `templates_of`.
    """
    global _pool_stops
    _pool_stops = stop.is_set
    adopt_templates(templates)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _end_after("end-when-stopped", stop.wait, _TO_STOP)
    parent = multiprocessing.parent_process()
    if parent is not None:
        _end_after("end-with-parent", parent.join, 0)


def _end_after(name: str, wait: Callable[[], object], grace: float) -> None:
    """End this process, be it in the middle of a seed, some seconds after `wait` has returned."""

    def watch() -> None:
        wait()
        time.sleep(grace)
        os._exit(1)

    threading.Thread(target=watch, name=name, daemon=True).start()
