"""Delete duplicate runs of a sweep: runs of one key that it has written twice, or that another sweep has too.

An embedded store refuses a second run of a key (`Record.identity`). A server cannot check and write in one transaction,
so two simultaneous sweeps can both write one. Each sweep therefore deduplicates its runs before it ends:

- Sweeps take turns (`_turn`).
- A sweep deletes each of its runs whose key has a run of another sweep that is settled or has ended, and uses that run
  instead. Then it is settled: none of its runs is deleted any more.

Of two sweeps with a run of the same key, one is first. It keeps its run, whether or not the other run exists yet. The
second sweep deduplicates after all of its runs are written. So it sees the run of the settled sweep and deletes its
own. A run is deleted only if another one is kept, so never both. A sweep whose process dies is deduplicated by the
process that closes it.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Literal

from mlflow.exceptions import MlflowException

from paramshare.recipes.target import Target
from paramshare.tracking.read.run_view import RunView
from paramshare.tracking.read.runs import FINISHED_SEEDS, search
from paramshare.tracking.read.seeds import finished_runs
from paramshare.tracking.store import Store
from paramshare.tracking.tags import KEY, PARENT, SETTLED, SETTLING
from paramshare.tracking.write.owners import Owner, is_alive
from paramshare.tracking.write.record import Addition
from paramshare.tracking.write.runs import add, delete_run

__all__ = ["Policy", "deduplicate"]

Policy = Literal["one_per_sweep", "one_per_experiment"]
"""The scope in which a key has one run. `one_per_sweep` is for forced sweeps, which train again what others have."""

_CLAIMED: Final = f"attributes.status = 'RUNNING' AND tags.`{SETTLING}` = 'true'"
_POLL_EVERY: Final = 0.1  # seconds


def deduplicate(
    store: Store,
    parent_run_id: str,
    written: Mapping[str, str],
    trained: Iterable[tuple[Target, int]],
    policy: Policy,
) -> dict[str, RunView]:
    """Delete the duplicates among the FINISHED runs of a sweep after all of them are written.

    A sweep has two runs of a key if its worker was taken for lost, its chunk was trained by another one, and the lost
    worker wrote for a moment longer.

    Args:
        store: with `one_per_experiment` an embedded store is left alone, since it has no duplicates.
        parent_run_id: the id of the sweep, which is RUNNING.
        written: the id of the run to keep of each key that the sweep has written.
        trained: the target and the seed of each of these runs.
        policy: see `Policy`.

    Returns:
        The runs of other sweeps that replace deleted ones, by key.
    """
    if policy == "one_per_sweep":
        _delete_repeated(store, written, _own_runs(store, parent_run_id))
        return {}
    if store.database is not None or not written:
        return {}
    with _turn(store, parent_run_id):
        replaced = _replace_duplicates(store, parent_run_id, written, trained)
        add(store, parent_run_id, Addition(tags={SETTLED: "true"}))
    return replaced


def _replace_duplicates(
    store: Store, parent_run_id: str, written: Mapping[str, str], trained: Iterable[tuple[Target, int]]
) -> dict[str, RunView]:
    """Delete the sweep's duplicates: repeated runs, and runs of keys that another settled sweep has.

    Returns:
        The runs of other sweeps that replace deleted ones, by key.
    """
    settled: dict[str, bool] = {}
    others = dict[str, RunView]()
    own = dict[str, str]()
    run_ids = set[str]()
    for run in finished_runs(store, trained):
        key = run.key
        run_ids.add(run.run_id)
        if run.tags.get(PARENT) == parent_run_id:
            own[run.run_id] = key
        elif key in written and key not in others and _is_settled(store, run, settled):
            others[key] = run
    for key in others:
        if written[key] in own:  # a run that was delivered from the spool can belong to another sweep
            delete_run(store.client, store.experiment_id, written[key])
    _delete_repeated(store, written, own, run_ids)
    return others


def _delete_repeated(
    store: Store, written: Mapping[str, str], own: Mapping[str, str], run_ids: Iterable[str] | None = None
) -> None:
    """Delete each own run whose key is written by another run, if that run exists.

    Args:
        own: the key of each run of the sweep, by run id.
        run_ids: the runs that exist. Defaults to `own`.
    """
    existing = set(own if run_ids is None else run_ids)
    for run_id, key in own.items():
        if written.get(key, run_id) in existing - {run_id}:
            delete_run(store.client, store.experiment_id, run_id)


def _own_runs(store: Store, parent_run_id: str) -> dict[str, str]:
    """Return the key of each FINISHED run of the sweep, by run id."""
    runs = search(store, f"{FINISHED_SEEDS} AND tags.`{PARENT}` = '{parent_run_id}'")
    return {run.info.run_id: run.data.tags[KEY] for run in runs}


def _is_settled(store: Store, run: RunView, settled: dict[str, bool]) -> bool:
    """Return true if the run's sweep is settled or has ended.

    Args:
        settled: the results by sweep; updated.
    """
    parent_id = run.tags.get(PARENT, "")
    if parent_id not in settled:
        try:
            parent = store.client.get_run(parent_id) if parent_id else None
        except MlflowException:  # the parent run was deleted
            parent = None
        settled[parent_id] = parent is None or parent.info.status != "RUNNING" or SETTLED in parent.data.tags
    return settled[parent_id]


@contextmanager
def _turn(store: Store, run_id: str) -> Iterator[None]:
    """Exclude every other sweep of the experiment from deduplication. Each sweep writes tags of its own run only.

    Burns and Lynch's algorithm of one bit a process ("Bounds on shared memory for mutual exclusion", 1993): claim,
    withdraw while a run with a lower id claims, then wait until no run with a higher id claims. A claim counts while
    its process is alive.
    """
    try:
        _claim(store, run_id, True)
        while others := _claimants(store, run_id):
            if min(others) < run_id:
                _claim(store, run_id, False)
                while min(_claimants(store, run_id), default=run_id) < run_id:
                    time.sleep(_POLL_EVERY)
                _claim(store, run_id, True)
            else:
                time.sleep(_POLL_EVERY)
        yield
    finally:
        _claim(store, run_id, False)


def _claim(store: Store, run_id: str, claimed: bool) -> None:
    add(store, run_id, Addition(tags={SETTLING: str(claimed).lower()}))


def _claimants(store: Store, run_id: str) -> list[str]:
    this_process = Owner.here()
    claims = search(store, _CLAIMED)
    return [run.info.run_id for run in claims if run.info.run_id != run_id and is_alive(run.data.tags, this_process)]
