"""The runs of a sweep, from the table among its parent run's artifacts."""

import json
from dataclasses import dataclass

from mlflow.entities import Run

from paramshare.errors import UsageError
from paramshare.tracking.read.finished_seeds import KIND, search
from paramshare.tracking.read.recorded_run import find_run, read_artifact
from paramshare.tracking.store import Store
from paramshare.tracking.write.kinds.sweeps import TABLE_FILE

__all__ = ["Member", "Members", "read_members"]


@dataclass(frozen=True, slots=True)
class Member:
    """A seed's FINISHED run of a sweep.

    Args:
        seed, variant, device: of its spec.
        run_id: MLflow's id.
    """

    seed: int
    variant: str
    device: str
    run_id: str


@dataclass(frozen=True, slots=True)
class Members:
    """A sweep and its FINISHED runs, those that it re-used among them.

    Args:
        parent_run_id: MLflow's id of the sweep's own run.
        name: what a person calls the sweep.
        runs: in the order of its table.
    """

    parent_run_id: str
    name: str
    runs: tuple[Member, ...]


def read_members(store: Store, parent_run_id: str | None = None) -> Members:
    """The runs of a sweep.

    Args:
        parent_run_id: of the sweep, or how it begins, as of `find_run`; the newest FINISHED one unless given.

    Raises:
        UsageError: there is no such sweep, or it has no FINISHED run.
    """
    parent = _newest(store) if parent_run_id is None else find_run(store, parent_run_id)
    run_id = parent.info.run_id
    if parent.data.tags.get(KIND) != "sweep":
        raise UsageError(f"the run {run_id} is no sweep's; expected the id of a run that has others below it")
    content = read_artifact(store, run_id, TABLE_FILE)
    if content is None:
        raise UsageError(f"the sweep {run_id} is {parent.info.status} and has no {TABLE_FILE}; expected one that ended")
    runs = _finished(content, run_id)
    if not runs:
        raise UsageError(f"the sweep {run_id} has no FINISHED run; expected one that has")
    return Members(run_id, parent.info.run_name, runs)


def _newest(store: Store) -> Run:
    found = next(search(store, f"attributes.status = 'FINISHED' AND tags.`{KIND}` = 'sweep'"), None)
    if found is None:
        raise UsageError(
            f"the experiment {store.address.experiment!r} has no finished sweep; train one, or name another experiment"
        )
    return found


def _finished(table: bytes, run_id: str) -> tuple[Member, ...]:
    try:
        read = json.loads(table)
        rows = [dict(zip(read["columns"], cells, strict=True)) for cells in read["data"]]
        return tuple(
            Member(row["seed"], row["variant"], row["device"], row["run_id"])
            for row in rows
            if row["status"] == "FINISHED"
        )
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"the sweep {run_id} was changed: its {TABLE_FILE} is not the table that it wrote") from error
