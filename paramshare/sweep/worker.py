"""The work of one worker: train the specs of a chunk and write each as a run.

Importing this module loads torch and MLflow; a pool's processes are forked from one that has done so (`pools`).
"""

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from paramshare.errors import in_a_line
from paramshare.processes import end_after
from paramshare.sweep.chunks import Chunk, Row
from paramshare.tracking.read.run_view import view_of
from paramshare.tracking.read.seeds import find_finished
from paramshare.tracking.store import Store, StoreAddress, open_store
from paramshare.tracking.tags import PARENT
from paramshare.tracking.write.kinds.seeds import failure_record, seed_record, write_failure, write_run
from paramshare.tracking.write.orphans import close_seeds
from paramshare.tracking.write.record import RunExistsError
from paramshare.tracking.write.spool import OutageError, call_guarded, keep
from paramshare.training.engines import train_many
from paramshare.training.export import Template, adopt_templates
from paramshare.training.kept_templates import make_templates
from paramshare.training.result import Result
from paramshare.training.targets import LOSS, Spec

if TYPE_CHECKING:
    from paramshare.sweep.pools import Stop

__all__ = ["become_worker", "not_written", "run_chunk", "templates_of"]

_TEMPLATES: Final = "templates"  # the folder beside an embedded store
_TO_STOP: Final = 2.0  # seconds that a process has to end its seed when it has been told to stop


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


def not_written(chunks: Sequence[Chunk]) -> tuple[list[Chunk], list[Row]]:
    """Return what is left to train of chunks whose processes are gone, and the rows of the runs that are written."""
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
    """Return the templates of the chunks' models, made once here for all processes that write them.

    An embedded store keeps them in the folder `templates` beside its database, for the next sweep.
    """
    database = chunks[0].address.database if chunks else None
    folder = database.parent / _TEMPLATES if database else None
    return make_templates((spec for chunk in chunks for spec in chunk.specs), folder)


def _train(chunk: Chunk) -> Iterator[tuple[Spec, Result | Exception]]:
    """Yield each spec with its result, or with the exception that its training raised."""
    waiting = deque(chunk.specs)
    while waiting:
        results: Iterator[Result] | None = None
        outcome: Result | Exception | None = None
        while waiting and not isinstance(outcome, Exception):
            try:
                results = results or train_many(list(waiting), chunk.engine)
                outcome = next(results)
            except Exception as error:  # whatever it was, the other seeds go on
                outcome = error
            yield waiting.popleft(), outcome


def _write(chunk: Chunk, spec: Spec, outcome: Result | Exception) -> Row:
    """Write an outcome as a run; if the server cannot take it, keep it in the spool."""
    address, tags = chunk.address, chunk.tags
    if isinstance(outcome, Exception):
        reason = in_a_line(outcome)
        try:
            run_id = call_guarded(address, lambda: write_failure(_store(address), spec, reason, tags))
        except OutageError:
            keep(failure_record(spec, reason, tags), address)
            run_id = ""
        return Row(spec, run_id, "FAILED", None, {}, 0.0, error=reason)
    try:
        run = call_guarded(address, lambda: write_run(_store(address), outcome, tags, again=chunk.force))
    except RunExistsError as other:  # another sweep was first
        return Row.finished(spec, view_of(_store(address).client.get_run(other.run_id), _store(address)))
    except OutageError as outage:
        keep(seed_record(outcome, tags, again=chunk.force), address)
        return Row.kept(spec, outcome, str(outage))
    except Exception:  # a server refuses, as when a password has changed: that ends the sweep, and loses nothing
        if address.database is None:
            keep(seed_record(outcome, tags, again=chunk.force), address)
        raise
    return Row.finished(spec, run, outcome.curves[LOSS])


def _pool_stops() -> bool:
    """Return whether the pool of this process has been told to stop; `become_worker` replaces this function."""
    return False


@lru_cache(maxsize=1)
def _store(address: StoreAddress) -> Store:
    return open_store(address)


def become_worker(stop: "Stop", templates: Sequence[Template]) -> None:
    """Leave Ctrl-C to the parent, and end this process when the parent has died or tells it to stop.

    Without this, a process whose parent was killed by SIGKILL would wait for work forever.

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
    end_after(stop.wait, _TO_STOP, name="end-when-stopped")
    parent = multiprocessing.parent_process()
    if parent is not None:
        end_after(parent.join, 0, name="end-with-parent")
