"""Read the values of a metric at every step, of many runs at once.

MLflow's client asks a server once a run. MLflow's pages ask for many runs in one request, and so does this module.
"""

import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

import numpy as np
from mlflow import MlflowClient
from mlflow.utils.rest_utils import http_request, verify_rest_response
from numpy.typing import ArrayLike, NDArray

from paramshare.recipes.metrics import LOSS
from paramshare.tracking.store import Store
from paramshare.tracking.store.database import Database

__all__ = ["as_trained", "read_all_losses", "read_histories", "read_losses", "value_as_trained"]

_BULK: Final = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
_POINTS_A_RESPONSE: Final = 25_000  # the server's limit: it omits further points silently
_RUNS_A_REQUEST: Final = 45
_RUNS_A_QUERY: Final = 500
_STORED_INFINITY: Final = sys.float_info.max  # MLflow stores infinity as this number, which no training reaches


def read_losses(store: Store, run_id: str) -> NDArray[np.float32]:
    """Return the loss of every step of a run, (steps,), bit for bit as it was trained."""
    return read_all_losses(store, [run_id])[0]


def read_all_losses(store: Store, run_ids: Sequence[str]) -> list[NDArray[np.float32]]:
    """Return the losses of each run, see `read_losses`, in the order of `run_ids`."""
    histories = read_histories(store, run_ids, LOSS)
    return [as_trained(histories[run_id]).astype(np.float32) for run_id in run_ids]


def as_trained(values: ArrayLike) -> NDArray[np.float64]:
    """Restore the infinite values of a metric from those that MLflow stores."""
    stored = np.asarray(values, dtype=np.float64)
    return np.where(np.abs(stored) == _STORED_INFINITY, np.copysign(np.inf, stored), stored)


def value_as_trained(value: float) -> float:
    """Restore an infinite value, as `as_trained` does."""
    return math.copysign(math.inf, value) if abs(value) == _STORED_INFINITY else value


def read_histories(store: Store, run_ids: Sequence[str], metric: str) -> dict[str, list[float]]:
    """Return the values of `metric` in the order of its steps, by run, as MLflow stores them.

    Raises:
        MlflowException: the server failed.
    """
    if store.database is not None:
        return _embedded_histories(store.database, run_ids, metric)
    return _server_histories(store.client, run_ids, metric)


def _server_histories(client: MlflowClient, run_ids: Sequence[str], metric: str) -> dict[str, list[float]]:
    histories = dict[str, list[float]]()
    requests = [run_ids[begin : begin + _RUNS_A_REQUEST] for begin in range(0, len(run_ids), _RUNS_A_REQUEST)]
    while requests:
        requested = requests.pop()
        points = _request_points(client, requested, metric)
        if len(points) < _POINTS_A_RESPONSE:
            histories |= _by_run(requested, points)
        elif len(requested) > 1:
            requests += [requested[: len(requested) // 2], requested[len(requested) // 2 :]]
        else:
            history = client.get_metric_history(requested[0], metric)
            histories[requested[0]] = [point.value for point in sorted(history, key=lambda point: point.step)]
    return histories


def _embedded_histories(database: Database, run_ids: Sequence[str], metric: str) -> dict[str, list[float]]:
    histories = {}
    with database.engine.connect() as connection:
        for begin in range(0, len(run_ids), _RUNS_A_QUERY):
            requested = tuple(run_ids[begin : begin + _RUNS_A_QUERY])
            query = (
                f"SELECT run_uuid, value, is_nan FROM metrics WHERE run_uuid IN ({', '.join('?' * len(requested))}) "  # noqa: S608
                "AND key = ? ORDER BY run_uuid, step"
            )
            rows = connection.exec_driver_sql(query, (*requested, metric))
            for run_id, points in groupby(rows, key=lambda row: row[0]):
                histories[run_id] = [math.nan if is_nan else value for _, value, is_nan in points]
    return histories


def _request_points(client: MlflowClient, run_ids: Sequence[str], metric: str) -> list[dict[str, Any]]:
    params = {"run_id": list(run_ids), "metric_key": metric, "max_results": _POINTS_A_RESPONSE}
    host = client._tracking_client.store.get_host_creds()
    response = verify_rest_response(http_request(host, _BULK, "GET", params=params), _BULK)
    points: list[dict[str, Any]] = response.json()["metrics"]
    return points


def _by_run(run_ids: Sequence[str], points: list[dict[str, Any]]) -> dict[str, list[float]]:
    steps = defaultdict[str, list[tuple[int, float]]](list)
    for point in points:
        steps[point["run_id"]].append((int(point["step"]), float(point["value"])))
    return {run_id: [value for _, value in sorted(steps[run_id], key=lambda pair: pair[0])] for run_id in run_ids}
