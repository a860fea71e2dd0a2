"""Close orphaned runs: RUNNING runs whose process is gone, and runs of a sweep that was interrupted.

A RUNNING sweep is orphaned if its owner's process is gone or, for an owner on another machine, if its lease has expired
(`owners`). Its RUNNING seeds are orphaned with it. Runs without an owner, of former versions, are orphaned after a day.
"""

import time
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, Literal

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from paramshare.tracking.read.runs import FINISHED_SEEDS, search, target_of_run
from paramshare.tracking.store import Store
from paramshare.tracking.tags import CLOSED, FORCED, KEY, KIND, PARENT
from paramshare.tracking.write.deduplication import deduplicate
from paramshare.tracking.write.owners import Owner, is_alive
from paramshare.tracking.write.record import Addition
from paramshare.tracking.write.runs import add, delete_models

__all__ = ["close_orphans", "close_own", "close_run", "close_seeds", "close_sweep"]

_RUNNING: Final = "attributes.status = 'RUNNING'"
_DAY: Final = 24 * 3600 * 1000  # milliseconds


def close_orphans(store: Store) -> list[str]:
    """Close every orphaned sweep and seed of the experiment as KILLED, with a tag that gives time, process and reason.

    Returns:
        The ids of the sweeps.
    """
    this_process, now = Owner.here(), time.time() * 1000
    if store.database is not None and not store.database.has_running():
        return []
    running = list(search(store, _RUNNING))
    closed = []
    for run in running:
        tags, is_old = run.data.tags, run.info.start_time < now - _DAY
        if tags.get(KIND) == "sweep":
            alive = is_alive(tags, this_process)
            if alive is False or (alive is None and is_old):
                reason = "it has no owner and started over a day before" if alive is None else "its process was gone"
                close_sweep(store, run, reason)
                closed.append(run.info.run_id)
    sweeps = {run.info.run_id for run in running if run.data.tags.get(KIND) == "sweep"}
    for run in running:
        is_single_seed = run.data.tags.get(KIND) == "seed" and run.data.tags.get(PARENT) not in sweeps
        if is_single_seed and run.info.start_time < now - _DAY:
            close_run(store, run.info.run_id, "it started over a day before")
    return closed


def close_sweep(store: Store, run: Run, reason: str) -> None:
    """Close an orphaned sweep and its seeds as KILLED."""
    _take_over(store, run, Owner.here(), reason)
    _close_sweep(store, run, "KILLED", reason)


def close_seeds(store: Store, parent_run_id: str, reason: str, keys: Collection[str] | None = None) -> None:
    """Close the RUNNING seeds of a sweep as KILLED, after their processes have ended.

    Args:
        keys: the keys of the seeds to close. Defaults to None: all.
    """
    for run in search(store, f"{_RUNNING} AND tags.`{PARENT}` = '{parent_run_id}'"):
        if keys is None or run.data.tags.get(KEY) in keys:
            close_run(store, run.info.run_id, reason)


def close_run(store: Store, run_id: str, reason: str) -> None:
    """Close the RUNNING run of a seed as KILLED. Its model, which can lack files, is deleted.

    The tag is set before the model is deleted, so a process that still writes the run sees it; see `write_by_client`.
    """
    add(store, run_id, Addition(tags={CLOSED: _closing_note(Owner.here(), reason)}))
    delete_models(store.client, store.experiment_id, run_id)
    add(store, run_id, Addition(status="KILLED"))


def close_own(store: Store, owner: Owner, status: Literal["FAILED", "KILLED"]) -> None:
    """Close the RUNNING sweep of `owner`, which was interrupted, if there is one. Ignore errors of the store."""
    with suppress(MlflowException):
        for run in search(store, _RUNNING):
            owner_of_run = Owner.of(run.data.tags)
            if owner_of_run is not None and owner_of_run.token == owner.token:
                _close_sweep(store, run, status, "its sweep was interrupted")


def _close_sweep(store: Store, run: Run, status: Literal["FAILED", "KILLED"], reason: str) -> None:
    """Close a sweep that writes no further run. Close its seeds first, so that no RUNNING seed has an ended sweep."""
    parent_run_id = run.info.run_id
    close_seeds(store, parent_run_id, reason)
    if store.database is None and FORCED not in run.data.tags:
        own = list(search(store, f"{FINISHED_SEEDS} AND tags.`{PARENT}` = '{parent_run_id}'"))
        written = {seed.data.tags[KEY]: seed.info.run_id for seed in own}
        trained = [(target_of_run(seed.data.params, seed.data.tags), int(seed.data.params["seed"])) for seed in own]
        deduplicate(store, parent_run_id, written, trained, "one_per_experiment")
    add(store, parent_run_id, Addition(status=status))


def _take_over(store: Store, run: Run, owner: Owner, reason: str) -> None:
    """Own the sweep while it is closed: its turn to deduplicate counts, and it is orphaned if this process dies."""
    add(store, run.info.run_id, Addition(tags={**owner.tags(), CLOSED: _closing_note(owner, reason)}))


def _closing_note(owner: Owner, reason: str) -> str:
    return f"{datetime.now(UTC).isoformat(timespec='seconds')} by {owner}: {reason}"
