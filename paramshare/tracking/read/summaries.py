"""Selected parts of many seeds' runs: by SQL from an embedded store's tables.

MLflow's search builds objects of every tag, parameter, metric and dataset of a run, notes and histories included. The
queries here read the rows that a question needs, by the tables' own indexes.
"""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from sys import intern
from typing import Any, Final

from mlflow.entities import Run
from sqlalchemy import Connection

__all__ = ["Selection", "Summary", "read_summaries", "summary_of"]


@dataclass(frozen=True, slots=True)
class Selection:
    """The seeds' runs to read, and the parts of each.

    Args:
        finished: if true, runs that are FINISHED; else all runs that are neither RUNNING nor KILLED.
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


@dataclass(frozen=True, slots=True)
class Summary:
    """The selected parts of a run.

    Args:
        run_id: MLflow's id.
        status: of the run.
        tags: the values of the tags by name.
        params: the values of the parameters by name.
        metrics: the last values of the metrics by name, as MLflow keeps them.
    """

    run_id: str
    status: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]


def summary_of(run: Run) -> Summary:
    """Return the parts of a run that MLflow's client has read."""
    return Summary(run.info.run_id, run.info.status, run.data.tags, run.data.params, run.data.metrics)


def read_summaries(
    connection: Connection, experiment_id: int, kind: tuple[str, str], selection: Selection
) -> Iterator[Summary]:
    """Read the selected parts of the active runs of an experiment, the newest first.

    Args:
        kind: a tag's name and value that each of the runs has.
    """
    run_ids = _run_ids(connection, experiment_id, kind, selection)
    asked = json.dumps([run_id for run_id, _ in run_ids])
    tags = _by_run(connection.exec_driver_sql(*_parts("tags", asked, selection.tags)))
    params = _by_run(connection.exec_driver_sql(*_parts("params", asked, selection.params)))
    metrics = _by_run(connection.exec_driver_sql(*_parts("latest_metrics", asked, selection.metrics)), _number)
    for run_id, status in run_ids:
        yield Summary(run_id, status, tags[run_id], params[run_id], metrics[run_id])


def _run_ids(
    connection: Connection, experiment_id: int, kind: tuple[str, str], selection: Selection
) -> list[tuple[str, str]]:
    """Return the id and status of each run. CROSS JOIN makes SQLite read the tables in this order, each by its key."""
    status = "= 'FINISHED'" if selection.finished else "NOT IN ('RUNNING', 'KILLED')"
    named, values = "", tuple[object, ...]()
    if selection.datasets is not None:
        named = _OF_DATASETS
        values = (json.dumps(selection.datasets), experiment_id)
    query = f"""
        SELECT DISTINCT runs.run_uuid, runs.status, runs.start_time FROM {named} runs
        CROSS JOIN tags ON tags.key = ? AND tags.run_uuid = runs.run_uuid AND tags.value = ?
        WHERE {_JOINED if named else ""} runs.experiment_id = ? AND runs.lifecycle_stage = 'active'
        AND runs.status {status} ORDER BY runs.start_time DESC, runs.run_uuid
    """  # noqa: S608 - of constants alone
    rows = connection.exec_driver_sql(query, (*values, *kind, experiment_id))
    return [(run_id, status) for run_id, status, _ in rows]


_OF_DATASETS: Final = """
        json_each(?) AS asked
        CROSS JOIN datasets ON datasets.experiment_id = ? AND datasets.name = asked.value
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
    """Return the query of a table's rows of some runs, in the order in which they were written, and its parameters."""
    columns = f"{table}.run_uuid, {table}.key, {_COLUMNS[table]}"
    if names is None:
        joined = f"{table} ON {table}.run_uuid = asked.value ORDER BY asked.key, {table}.rowid"
        return f"SELECT {columns} FROM json_each(?) AS asked CROSS JOIN {joined}", (run_ids,)  # noqa: S608 - as above
    joined = f"json_each(?) AS names CROSS JOIN {table} ON {table}.key = names.value AND {table}.run_uuid = asked.value"
    query = f"SELECT {columns} FROM json_each(?) AS asked CROSS JOIN {joined}"  # noqa: S608 - as above
    return query, (run_ids, json.dumps(list(names)))


def _number(value: float, is_nan: bool) -> float:
    return math.nan if is_nan else value


def _by_run(rows: Iterable[Any], value_of: Callable[..., Any] = str) -> dict[str, dict[str, Any]]:
    """Return the values of each run by name."""
    found = defaultdict[str, dict[str, Any]](dict)
    for run_id, name, *value in rows:
        made = value_of(*value)
        found[run_id][intern(name)] = intern(made) if isinstance(made, str) else made
    return found
