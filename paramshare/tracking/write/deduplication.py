"""Sweeps that ran at once on a server agree which run of a key stays.

An embedded store lets no second run of a key in (`Record.identity`). A server has no transaction that looks and writes:
so two sweeps can both write one, and each sweep settles before it says what it came to. In short:

- Sweeps settle one at a time (`_alone`).
- A sweep that settles deletes each run of its own whose key has another run of a sweep that has settled, or has ended;
  it takes that run for its own. Then it is marked as settled itself, and nothing of it is deleted any more.

Of two sweeps with a run of the same key one settles first. It keeps its run, whether the other's is there or not yet.
The other settles when all of its runs are written and so sees that run, of a settled sweep: it gives way. A run goes
only for one that stays, so that never both go. A sweep that dies before it settles is settled by whoever closes it.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from mlflow.exceptions import MlflowException

from paramshare.tracking.read.finished_seeds import (
    FINISHED_SEEDS,
    KEY,
    PARENT,
    SeedRun,
    finished_runs,
    search,
    seed_run,
)
from paramshare.tracking.read.summaries import Summary
from paramshare.tracking.store import Store
from paramshare.tracking.write.owners import Owner, is_alive
from paramshare.tracking.write.record import Addition
from paramshare.tracking.write.runs import add

__all__ = ["SETTLED", "drop_doubles", "settle"]

_SETTLING: Final = "paramshare.settling"
SETTLED: Final = "paramshare.settled"
"""The tag of a sweep of which nothing is deleted any more; one in an embedded store has it from the start."""

_CLAIMED: Final = f"attributes.status = 'RUNNING' AND tags.`{_SETTLING}` = 'true'"
_LOOK_EVERY: Final = 0.1  # seconds


def settle(store: Store, parent_run_id: str, ours: Mapping[str, str], seeds: Iterable[int]) -> dict[str, SeedRun]:
    """Settle the sweep whose FINISHED runs are all written; what its runs gave way to, by key.

    Args:
        parent_run_id: of the sweep, RUNNING.
        ours: the ids of the runs that it has written, by key.
        seeds: theirs.
    """
    if not ours:
        return {}
    with _alone(store, parent_run_id):
        stay: dict[str, bool] = {}
        found = dict[str, SeedRun]()
        own = dict[str, str]()  # what was delivered from the spool can be another's
        there = set[str]()
        for run in finished_runs(store, seeds):
            key = run.tags.get(KEY, "")
            there.add(run.run_id)
            if run.tags.get(PARENT) == parent_run_id:
                own[run.run_id] = key
            elif key in ours and key not in found and _stays(store, run, stay):
                found[key] = seed_run(run)
        for key in found:
            if ours[key] in own:
                store.client.delete_run(ours[key])
        for run_id, key in own.items():
            if ours.get(key, run_id) != run_id and ours[key] in there:  # trained twice: see `drop_doubles`
                store.client.delete_run(run_id)
        add(store, parent_run_id, Addition(tags={SETTLED: "true"}))
        return found


def drop_doubles(store: Store, parent_run_id: str, ours: Mapping[str, str]) -> None:
    """Of runs of one key that a sweep has written, delete those that it does not name, as `settle` does.

    A chunk whose worker was lost is trained by another, and the lost one can have written on for a moment.

    Args:
        parent_run_id, ours: as of `settle`.
    """
    own = {run.info.run_id: run.data.tags[KEY] for run in search(store, f"{FINISHED_SEEDS} AND {_of(parent_run_id)}")}
    for run_id, key in own.items():
        if ours.get(key, run_id) in own.keys() - {run_id}:
            store.client.delete_run(run_id)


def _of(parent_run_id: str) -> str:
    return f"tags.`{PARENT}` = '{parent_run_id}'"


def _stays(store: Store, run: Summary, stay: dict[str, bool]) -> bool:
    """Whether the run's sweep has settled or ended; `stay` remembers the answer by sweep."""
    parent_id = run.tags.get(PARENT, "")
    if parent_id not in stay:
        try:
            parent = store.client.get_run(parent_id) if parent_id else None
        except MlflowException:  # it is not there any more
            parent = None
        stay[parent_id] = parent is None or parent.info.status != "RUNNING" or SETTLED in parent.data.tags
    return stay[parent_id]


@contextmanager
def _alone(store: Store, run_id: str) -> Iterator[None]:
    """Exclude every other sweep of the experiment that settles, by tags that each writes on its own run alone.

    Burns and Lynch's algorithm of one bit a process ("Bounds on shared memory for mutual exclusion", 1993): claim, step
    back while one of a lower id claims, then wait until none of a higher id does. A claim counts while its process
    lives.
    """
    try:
        _claim(store, run_id, True)
        while others := _claimants(store, run_id):
            if min(others) < run_id:
                _claim(store, run_id, False)
                while min(_claimants(store, run_id), default=run_id) < run_id:
                    time.sleep(_LOOK_EVERY)
                _claim(store, run_id, True)
            else:
                time.sleep(_LOOK_EVERY)
        yield
    finally:
        _claim(store, run_id, False)


def _claim(store: Store, run_id: str, claimed: bool) -> None:
    add(store, run_id, Addition(tags={_SETTLING: str(claimed).lower()}))


def _claimants(store: Store, run_id: str) -> list[str]:
    here = Owner.here()
    claims = search(store, _CLAIMED)
    return [one.info.run_id for one in claims if one.info.run_id != run_id and is_alive(one.data.tags, here)]
