"""Read the runs of many seeds: the FINISHED runs of specs, and all runs that have ended.

MLflow's search creates objects for every tag, parameter, metric and dataset of a run. The SQL queries here read only
the selected rows of an embedded store, by the indexes of its tables.
"""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from sys import intern
from typing import Any, Final

from sqlalchemy import Connection

from paramshare.recipes.metrics import LOSS, SECONDS
from paramshare.recipes.spec import Spec
from paramshare.recipes.target import TARGETS, Target, target_of
from paramshare.tracking.read.curves import value_as_trained
from paramshare.tracking.read.run_view import RunView, view_of
from paramshare.tracking.read.runs import ENDED_SEEDS, FINISHED_SEEDS, search
from paramshare.tracking.store import Store
from paramshare.tracking.store.database import Database
from paramshare.tracking.tags import DIVERGED, ENGINE, KEY, KIND, PARENT, RECIPE, RECIPE_DIGEST, TARGET

__all__ = ["Selection", "find_finished", "finished_runs", "read_ended", "read_runs", "read_seeds"]

_NAMES_A_SEARCH: Final = 200


@dataclass(frozen=True, slots=True)
class Selection:
    """The seeds' runs to read, and the parts to read of each.

    Args:
        finished: if true, FINISHED runs; otherwise all runs that are neither RUNNING nor KILLED.
        datasets: the names of the datasets of the runs. Defaults to None: every run of the experiment.
        tags: the tags to read.
        params: the parameters to read. Defaults to None: all.
        metrics: the metrics to read. Defaults to None: all.
    """

    finished: bool
    datasets: tuple[str, ...] | None
    tags: tuple[str, ...]
    params: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None = None


def find_finished(store: Store, specs: Sequence[Spec], parent_run_id: str | None = None) -> dict[str, RunView]:
    """Return the newest FINISHED run of each spec that has one, by the spec's key.

    Args:
        parent_run_id: the id of a sweep. Defaults to None: the runs of all sweeps.
    """
    keys, runs = {spec.key() for spec in specs}, dict[str, RunView]()
    for run in finished_runs(store, ((target_of(spec), spec.seed) for spec in specs)):
        of_sweep = parent_run_id is None or run.tags.get(PARENT) == parent_run_id
        if of_sweep and run.key in keys and run.key not in runs:
            runs[run.key] = run
    return runs


def finished_runs(store: Store, trained: Iterable[tuple[Target, int]]) -> Iterator[RunView]:
    """Yield the parts that a sweep needs of every FINISHED run of these targets and seeds; of one seed newest first.

    The value of a tag has no index, and MLflow's search accepts no list of tags. It accepts a list of datasets, and the
    name of a seed's dataset contains the seed. So of a large store only the runs of these seeds are read.
    """
    targets, names = dict[str, Target](), dict[str, None]()
    for target, seed in trained:
        targets[target.name] = target
        names[f"{target.dataset}{seed}"] = None
    final_metrics = [metric for target in targets.values() for metric in target.final_metrics]
    tags = (KEY, PARENT, DIVERGED, *((RECIPE, RECIPE_DIGEST) if set(targets) - set(TARGETS) else ()))
    params = (TARGET, *dict.fromkeys(metric.only[0] for metric in final_metrics if metric.only))
    metrics = (LOSS, SECONDS, *dict.fromkeys(metric.name for metric in final_metrics))
    yield from read_seeds(store, Selection(True, tuple(names), tags, params, metrics))


def read_ended(store: Store) -> list[RunView]:
    """Return the newest FINISHED run of each engine for every spec in the experiment, or else its newest FAILED run."""
    finished, failed = dict[tuple[str, str], RunView](), dict[str, RunView]()
    for run in read_seeds(store, Selection(finished=False, datasets=None, tags=(KEY, DIVERGED, ENGINE, RECIPE))):
        if run.finished:
            finished.setdefault((run.key, run.engine), run)
        else:
            failed.setdefault(run.key, run)
    finished_keys = {key for key, _ in finished}
    return [*finished.values(), *(run for key, run in failed.items() if key not in finished_keys)]


def read_runs(store: Store, run_ids: Sequence[str]) -> list[RunView]:
    """Return the runs with these ids in this order, each with all of its parameters and metrics.

    The result omits runs that are deleted.
    """
    selection = Selection(finished=False, datasets=None, tags=(KEY, DIVERGED, ENGINE, RECIPE))
    if store.database is not None:
        with store.database.engine.connect() as connection:
            rows = connection.exec_driver_sql(_BY_ID, (json.dumps(list(run_ids)),))
            return _views(connection, [(run_id, status) for run_id, status in rows], selection, store)
    views = dict[str, RunView]()
    for begin in range(0, len(run_ids), _NAMES_A_SEARCH):
        ids = ", ".join(f"'{run_id}'" for run_id in run_ids[begin : begin + _NAMES_A_SEARCH])
        views |= {run.info.run_id: view_of(run, store) for run in search(store, f"attributes.run_id IN ({ids})")}
    return [views[run_id] for run_id in run_ids if run_id in views]


def read_seeds(store: Store, selection: Selection) -> Iterator[RunView]:
    """Yield the selected seeds' runs, the newest first.

    An embedded store is read by SQL. A server is read by MLflow's client, which reads all parts of a run. It is asked
    for some datasets at a time, and the order applies within each request.
    """
    condition = FINISHED_SEEDS if selection.finished else ENDED_SEEDS
    if store.database is not None:
        yield from _embedded_seeds(store, store.database, selection)
    elif selection.datasets is None:
        yield from (view_of(run, store) for run in search(store, condition))
    else:
        for begin in range(0, len(selection.datasets), _NAMES_A_SEARCH):
            names = ", ".join(f"'{name}'" for name in selection.datasets[begin : begin + _NAMES_A_SEARCH])
            of_names = search(store, f"{condition} AND datasets.name IN ({names})")
            yield from (view_of(run, store) for run in of_names)


def _embedded_seeds(store: Store, database: Database, selection: Selection) -> list[RunView]:
    with database.engine.connect() as connection:
        return _views(connection, _run_ids(connection, database.experiment_id, selection), selection, store)


def _views(
    connection: Connection, run_ids: Sequence[tuple[str, str]], selection: Selection, store: Store
) -> list[RunView]:
    """Return the views of runs.

    Args:
        run_ids: the id and status of each run.
        selection: the tags, parameters and metrics to read.
    """
    listed = json.dumps([run_id for run_id, _ in run_ids])
    tags = _by_run(connection.exec_driver_sql(*_parts("tags", listed, selection.tags)))
    params = _by_run(connection.exec_driver_sql(*_parts("params", listed, selection.params)))
    metrics = _by_run(connection.exec_driver_sql(*_parts("latest_metrics", listed, selection.metrics)), _number)
    return [RunView(run_id, status, tags[run_id], params[run_id], metrics[run_id], store) for run_id, status in run_ids]


def _run_ids(connection: Connection, experiment_id: int, selection: Selection) -> list[tuple[str, str]]:
    """Return the id and status of each run. CROSS JOIN makes SQLite read the tables in this order, each by its key."""
    status = "= 'FINISHED'" if selection.finished else "NOT IN ('RUNNING', 'KILLED')"
    datasets, values = "", tuple[object, ...]()
    if selection.datasets is not None:
        datasets = _OF_DATASETS
        values = (json.dumps(selection.datasets), experiment_id)
    query = f"""
        SELECT DISTINCT runs.run_uuid, runs.status, runs.start_time FROM {datasets} runs
        CROSS JOIN tags ON tags.key = ? AND tags.run_uuid = runs.run_uuid AND tags.value = ?
        WHERE {_JOINED if datasets else ""} runs.experiment_id = ? AND runs.lifecycle_stage = 'active'
        AND runs.status {status} ORDER BY runs.start_time DESC, runs.run_uuid
    """  # noqa: S608 - of constants alone
    rows = connection.exec_driver_sql(query, (*values, KIND, "seed", experiment_id))
    return [(run_id, status) for run_id, status, _ in rows]


_BY_ID: Final = """
    SELECT runs.run_uuid, runs.status FROM json_each(?) AS listed
    CROSS JOIN runs ON runs.run_uuid = listed.value AND runs.lifecycle_stage = 'active' ORDER BY listed.key
"""
_OF_DATASETS: Final = """
        json_each(?) AS listed
        CROSS JOIN datasets ON datasets.experiment_id = ? AND datasets.name = listed.value
        CROSS JOIN inputs ON inputs.source_type = 'DATASET' AND inputs.source_id = datasets.dataset_uuid
            AND inputs.destination_type = 'RUN'
        CROSS JOIN
"""
_JOINED: Final = "runs.run_uuid = inputs.destination_id AND"
_COLUMNS: Final = {
    "tags": "tags.value",
    "params": "params.value",
    "latest_metrics": "latest_metrics.value, latest_metrics.is_nan",
}


def _parts(table: str, run_ids: str, names: Sequence[str] | None) -> tuple[str, tuple[str, ...]]:
    """Return a query, with its parameters, for a table's rows of some runs in the order in which they were written."""
    columns = f"{table}.run_uuid, {table}.key, {_COLUMNS[table]}"
    if names is None:
        joined = f"{table} ON {table}.run_uuid = listed.value ORDER BY listed.key, {table}.rowid"
        return f"SELECT {columns} FROM json_each(?) AS listed CROSS JOIN {joined}", (run_ids,)  # noqa: S608 - as above
    joined = (
        f"json_each(?) AS names CROSS JOIN {table} ON {table}.key = names.value AND {table}.run_uuid = listed.value"
    )
    query = f"SELECT {columns} FROM json_each(?) AS listed CROSS JOIN {joined}"  # noqa: S608 - as above
    return query, (run_ids, json.dumps(list(names)))


def _number(value: float, is_nan: bool) -> float:
    return math.nan if is_nan else value_as_trained(value)


def _by_run(rows: Iterable[Any], value_of: Callable[..., Any] = str) -> dict[str, dict[str, Any]]:
    """Return the values of each run by name."""
    by_run = defaultdict[str, dict[str, Any]](dict)
    for run_id, name, *columns in rows:
        value = value_of(*columns)
        by_run[run_id][intern(name)] = intern(value) if isinstance(value, str) else value
    return by_run
