"""The execution of a chunk: train its specs and write each as a run.

Importing this module loads torch and MLflow; worker processes are forked from one that has done so (`forkserver`).
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Final

from paramshare.errors import in_a_line
from paramshare.recipes.loading.find import place_of
from paramshare.recipes.metrics import LOSS
from paramshare.recipes.spec import Spec
from paramshare.signals import raise_received
from paramshare.sweep.chunks import Chunk, Row
from paramshare.sweep.workers.live import LiveRuns
from paramshare.tracking.read.run_view import view_of
from paramshare.tracking.read.seeds import find_finished
from paramshare.tracking.store import Store, StoreAddress, open_store
from paramshare.tracking.tags import PARENT
from paramshare.tracking.write.kinds.seeds import failure_record, seed_record, write_failure, write_run
from paramshare.tracking.write.orphans import close_run, close_seeds
from paramshare.tracking.write.record import Begun, RunClosedError, RunExistsError
from paramshare.tracking.write.spool import SPOOL, OutageError, call_guarded, keep
from paramshare.training.engines import train_choices
from paramshare.training.loop.checkpoints import Checkpoints
from paramshare.training.result import Result

__all__ = ["recover_chunks", "resume_chunk", "run_chunk"]

_CHECKPOINTS: Final = "checkpoints"


def _never() -> bool:
    return False


def run_chunk(
    chunk: Chunk, should_stop: Callable[[], bool] = _never, *, discard_when_stopped: bool = False
) -> list[Row]:
    """Train the specs of a chunk in this process and write each as a run when its training ends.

    A training that raises becomes a FAILED run and a row with the error; the other specs are still trained. A result
    that a server cannot accept now is kept in the spool, and its row has the status KEPT.

    Args:
        should_stop: asked before each spec. If it is true, the remaining specs are not trained and have no rows.
        discard_when_stopped: whether `should_stop` is also asked before each write. A process that its sweep neither
            ends nor waits for needs this: it could otherwise write a run long after the sweep has ended.
    """
    live = LiveRuns(chunk, _tags(chunk), lambda: _store(chunk.address))
    trainings = _train(chunk, live)
    rows: list[Row] = []
    while not should_stop() and (training := next(trainings, None)):
        raise_received()
        if discard_when_stopped and should_stop():
            break
        rows.append(_write(chunk, *training, live.begun(training[0])))
        _remove_checkpoint(chunk, rows[-1])
    return rows


def resume_chunk(
    chunk: Chunk, should_stop: Callable[[], bool] = _never, *, discard_when_stopped: bool = False
) -> list[Row]:
    """Run a chunk that another process may have begun: runs that the sweep already has are not trained again.

    Args:
        should_stop, discard_when_stopped: see `run_chunk`.

    Raises:
        OutageError: a server does not answer. No spec was trained.
    """
    remaining, rows = call_guarded(chunk.address, lambda: recover_chunks([chunk]))
    for part in remaining:
        rows += run_chunk(part, should_stop, discard_when_stopped=discard_when_stopped)
    return rows


def recover_chunks(chunks: Sequence[Chunk]) -> tuple[list[Chunk], list[Row]]:
    """Close the runs that lost processes were writing.

    Args:
        chunks: the chunks of one sweep whose processes have ended.

    Returns:
        The chunks that remain, without the specs that are written, and the rows of the written runs.
    """
    parent = chunks[0].parent_run_id
    if parent is None:
        return list(chunks), []
    store, specs = _store(chunks[0].address), [spec for chunk in chunks for spec in chunk.specs]
    close_seeds(store, parent, "the process that wrote it was ended", {spec.key() for spec in specs})
    finished = find_finished(store, specs, parent)
    rows = [replace(Row.finished(spec, finished[spec.key()]), reused=False) for spec in specs if spec.key() in finished]
    remaining = [
        replace(chunk, choices=tuple(choice for choice in chunk.choices if choice.spec.key() not in finished))
        for chunk in chunks
    ]
    return [chunk for chunk in remaining if chunk.choices], rows


def _train(chunk: Chunk, live: LiveRuns) -> Iterator[tuple[Spec, Result | Exception]]:
    """Yield each spec with its result, or with the exception that its training raised."""
    waiting, checkpoints = deque(chunk.choices), _checkpoints(chunk)
    while waiting:
        results: Iterator[Result] | None = None
        result: Result | Exception | None = None
        while waiting and not isinstance(result, Exception):
            try:
                results = results or train_choices(list(waiting), checkpoints=checkpoints, on_progress=live.show)
                result = next(results)
            except Exception as error:  # any error: the other specs are still trained
                raise_received()
                result = error
            yield waiting.popleft().spec, result


def _checkpoints(chunk: Chunk) -> Checkpoints | None:
    """Return where the trainings of a chunk write checkpoints. The default is beside an embedded store or the spool."""
    if not chunk.checkpoint_every:
        return None
    if chunk.checkpoint_folder:
        return Checkpoints(Path(chunk.checkpoint_folder), chunk.checkpoint_every)
    folder = chunk.address.database.parent if chunk.address.database else SPOOL.parent
    return Checkpoints(folder / _CHECKPOINTS, chunk.checkpoint_every)


def _remove_checkpoint(chunk: Chunk, row: Row) -> None:
    """Remove the checkpoint of a training whose result is in the store or the spool."""
    if row.status != "FAILED" and (checkpoints := _checkpoints(chunk)):
        checkpoints.remove(row.spec)


def _tags(chunk: Chunk) -> dict[str, str]:
    """Return the tags of each run of a chunk."""
    return {**chunk.tags, **({} if chunk.parent_run_id is None else {PARENT: chunk.parent_run_id})}


def _write(chunk: Chunk, spec: Spec, result: Result | Exception, begun: Begun | None) -> Row:
    """Write a result as a run. If the server cannot accept the result, keep it in the spool.

    Args:
        begun: the run of the training if MLflow shows it already.
    """
    address, tags = chunk.address, _tags(chunk)
    if isinstance(result, Exception):
        paths = [file.path for file in spec.recipe.files]
        reason = in_a_line(result) + place_of(result, paths)
        try:
            run_id = call_guarded(address, lambda: write_failure(_store(address), spec, reason, tags, begun))
        except OutageError:
            keep(failure_record(spec, reason, tags), address)
            run_id = ""
        return Row(spec, run_id, "FAILED", None, {}, 0.0, error=reason)
    try:
        run = call_guarded(address, lambda: write_run(_store(address), result, tags, again=chunk.force, begun=begun))
    except RunExistsError as other:  # another sweep was first
        if begun is not None:
            close_run(_store(address), begun.run_id, f"another sweep has finished the run {other.run_id} of this seed")
        return Row.finished(spec, view_of(_store(address).client.get_run(other.run_id), _store(address)))
    except (OutageError, RunClosedError) as outage:
        keep(seed_record(result, tags, again=chunk.force), address)
        return Row.kept(spec, result, str(outage))
    except Exception:  # a refusal, as when a password has changed, ends the sweep; the result is kept
        if address.database is None:
            keep(seed_record(result, tags, again=chunk.force), address)
        raise
    return Row.finished(spec, run, result.curves[LOSS])


@lru_cache(maxsize=1)
def _store(address: StoreAddress) -> Store:
    return open_store(address)
