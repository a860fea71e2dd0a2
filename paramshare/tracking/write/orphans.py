"""Runs that nobody ends: those of a sweep that was cut short, and those that a killed process has left RUNNING.

A RUNNING sweep is left over where its owner's process is gone, or elsewhere when its lease has run out (`owners`); its
RUNNING seeds are left over with it. Those without an owner, of versions that named none, are after a day.
"""

import time
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, Literal

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from paramshare.tracking.read.finished_seeds import FINISHED_SEEDS, KEY, KIND, PARENT, search
from paramshare.tracking.store import Store
from paramshare.tracking.write.deduplication import settle
from paramshare.tracking.write.owners import Owner, is_alive
from paramshare.tracking.write.record import Addition
from paramshare.tracking.write.runs import add

__all__ = ["CLOSED", "FORCED", "close_left_over", "close_seeds", "end_own"]

CLOSED: Final = "paramshare.closed"
FORCED: Final = "paramshare.forced"

_RUNNING: Final = "attributes.status = 'RUNNING'"
_OLD: Final = 24 * 3600 * 1000  # milliseconds


def close_left_over(store: Store) -> list[str]:
    """End every left-over sweep and seed of the experiment as KILLED, with a tag that says when, by whom and why.

    Returns:
        The ids of the sweeps.
    """
    here, now = Owner.here(), time.time() * 1000
    if store.database is not None and not store.database.has_running():
        return []
    running = list(search(store, _RUNNING))
    closed = []
    for run in running:
        tags, old = run.data.tags, run.info.start_time < now - _OLD
        if tags.get(KIND) == "sweep":
            alive = is_alive(tags, here)
            if alive is False or (alive is None and old):
                why = "no process was named and it began over a day before" if alive is None else "its process was gone"
                _take_over(store, run, here, why)
                _end(store, run, "KILLED", why)
                closed.append(run.info.run_id)
    sweeps = {run.info.run_id for run in running if run.data.tags.get(KIND) == "sweep"}
    for run in running:
        seed = run.data.tags.get(KIND) == "seed" and run.data.tags.get(PARENT) not in sweeps
        if seed and run.info.start_time < now - _OLD:
            _close(store, run, "it began over a day before")
    return closed


def close_seeds(store: Store, parent_run_id: str, why: str, keys: Collection[str] | None = None) -> None:
    """End the RUNNING seeds of a sweep as KILLED: for when nobody writes them any more.

    Args:
        keys: of the seeds; all unless given.
    """
    for run in search(store, f"{_RUNNING} AND tags.`{PARENT}` = '{parent_run_id}'"):
        if keys is None or run.data.tags.get(KEY) in keys:
            _close(store, run, why)


def end_own(store: Store, owner: Owner, status: Literal["FAILED", "KILLED"]) -> None:
    """End the sweep of `owner` that was cut short, if it was begun and not ended yet; best effort, as the store may be
    what failed.
    """
    with suppress(MlflowException):
        for run in search(store, _RUNNING):
            found = Owner.of(run.data.tags)
            if found is not None and found.token == owner.token:
                _end(store, run, status, "its sweep was cut short")


def _end(store: Store, run: Run, status: Literal["FAILED", "KILLED"], why: str) -> None:
    """End a sweep that writes no further run: its seeds first, so that none of them is without a RUNNING sweep."""
    parent_run_id = run.info.run_id
    close_seeds(store, parent_run_id, why)
    if store.database is None and FORCED not in run.data.tags:
        own = list(search(store, f"{FINISHED_SEEDS} AND tags.`{PARENT}` = '{parent_run_id}'"))
        ours = {one.data.tags[KEY]: one.info.run_id for one in own}
        settle(store, parent_run_id, ours, dict.fromkeys(int(one.data.params["seed"]) for one in own))
    add(store, parent_run_id, Addition(status=status))


def _take_over(store: Store, run: Run, here: Owner, why: str) -> None:
    """Own the sweep while it is ended: so its claim to settle counts, and it is left over if this process dies."""
    add(store, run.info.run_id, Addition(tags={**here.tags(), CLOSED: _said(here, why)}))


def _close(store: Store, run: Run, why: str) -> None:
    add(store, run.info.run_id, Addition(tags={CLOSED: _said(Owner.here(), why)}, status="KILLED"))


def _said(here: Owner, why: str) -> str:
    return f"{datetime.now(UTC).isoformat(timespec='seconds')} by {here}: {why}"
