"""Read sweeps: their parent runs, and the runs in the tables among their artifacts."""

import json
from dataclasses import dataclass

from mlflow.entities import Run

from paramshare.errors import UsageError
from paramshare.tracking.read.artifacts import read_artifact
from paramshare.tracking.read.run_view import RunView
from paramshare.tracking.read.runs import find_run, search
from paramshare.tracking.store import Store
from paramshare.tracking.tags import KIND, NOTE, SWEEP_KEY, TABLE_FILE

__all__ = ["Members", "find_sweep", "read_members", "read_note"]


@dataclass(frozen=True, slots=True)
class Members:
    """A sweep and its FINISHED runs, including the runs that it reused.

    Args:
        parent_run_id: MLflow's id of the parent run.
        name: the name of the parent run.
        runs: in the order of the sweep's table, with their seed, variant and device.
    """

    parent_run_id: str
    name: str
    runs: tuple[RunView, ...]


def find_sweep(store: Store, sweep_key: str) -> str | None:
    """Return the id of the newest FINISHED parent run over exactly these specs; None if there is none."""
    if store.database is not None:
        return store.database.newest_finished(SWEEP_KEY, sweep_key)
    condition = f"attributes.status = 'FINISHED' AND tags.`{SWEEP_KEY}` = '{sweep_key}'"
    run = next(search(store, condition), None)
    return run.info.run_id if run else None


def read_members(store: Store, parent_run_id: str | None = None) -> Members:
    """Return the runs of a sweep.

    Args:
        parent_run_id: the id of the parent run or its beginning, see `find_run`. Defaults to the newest FINISHED sweep.

    Raises:
        UsageError: there is no such sweep, or it has no FINISHED run.
    """
    parent = _newest(store) if parent_run_id is None else find_run(store, parent_run_id)
    run_id = parent.info.run_id
    if parent.data.tags.get(KIND) != "sweep":
        raise UsageError(f"the run {run_id} is not a sweep; pass the id of a parent run")
    content = read_artifact(store, run_id, TABLE_FILE)
    if content is None:
        raise UsageError(
            f"the sweep {run_id} is {parent.info.status} and has no {TABLE_FILE}; pass the id of a sweep that ended"
        )
    runs = _finished(content, run_id)
    if not runs:
        raise UsageError(f"the sweep {run_id} has no FINISHED run; pass the id of another sweep")
    return Members(run_id, parent.info.run_name, runs)


def read_note(store: Store, run_id: str) -> str:
    """Return the note on a run's page, in Markdown."""
    if store.database is not None:
        return store.database.tag(run_id, NOTE) or ""
    return str(store.client.get_run(run_id).data.tags.get(NOTE, ""))


def _newest(store: Store) -> Run:
    run = next(search(store, f"attributes.status = 'FINISHED' AND tags.`{KIND}` = 'sweep'"), None)
    if run is None:
        raise UsageError(
            f"the experiment {store.address.experiment!r} has no finished sweep; train one, or name another experiment"
        )
    return run


def _finished(table: bytes, run_id: str) -> tuple[RunView, ...]:
    try:
        content = json.loads(table)
        rows = [dict(zip(content["columns"], cells, strict=True)) for cells in content["data"]]
        return tuple(
            RunView.listed(row["run_id"], int(row["seed"]), row["variant"], row["device"])
            for row in rows
            if row["status"] == "FINISHED"
        )
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"the sweep {run_id} was changed: its {TABLE_FILE} is not a table of its runs") from error
