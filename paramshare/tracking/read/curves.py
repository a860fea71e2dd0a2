"""The values of a metric at every step, of many runs at once.

MLflow's client asks a server run by run. Its pages ask for many runs in one request, and so does this, by the same way.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from mlflow import MlflowClient
from mlflow.utils.rest_utils import http_request, verify_rest_response

__all__ = ["histories_of"]

_BULK: Final = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
_MOST_POINTS: Final = 25_000  # that the server gives in one answer, and says nothing of what it leaves out
_RUNS_AT_ONCE: Final = 45


def histories_of(client: MlflowClient, run_ids: Sequence[str], metric: str) -> dict[str, list[float]]:
    """The values of `metric` in the order of its steps, by run.

    Args:
        client: of a server.

    Raises:
        MlflowException: the server failed.
    """
    found = dict[str, list[float]]()
    waiting = [run_ids[begin : begin + _RUNS_AT_ONCE] for begin in range(0, len(run_ids), _RUNS_AT_ONCE)]
    while waiting:
        these = waiting.pop()
        points = _points(client, these, metric)
        if len(points) < _MOST_POINTS:
            found |= _by_run(these, points)
        elif len(these) > 1:
            waiting += [these[: len(these) // 2], these[len(these) // 2 :]]
        else:
            history = client.get_metric_history(these[0], metric)
            found[these[0]] = [point.value for point in sorted(history, key=lambda point: point.step)]
    return found


def _points(client: MlflowClient, run_ids: Sequence[str], metric: str) -> list[dict[str, Any]]:
    asked = {"run_id": list(run_ids), "metric_key": metric, "max_results": _MOST_POINTS}
    host = client._tracking_client.store.get_host_creds()
    answer = verify_rest_response(http_request(host, _BULK, "GET", params=asked), _BULK)
    points: list[dict[str, Any]] = answer.json()["metrics"]
    return points


def _by_run(run_ids: Sequence[str], points: list[dict[str, Any]]) -> dict[str, list[float]]:
    steps = defaultdict[str, list[tuple[int, float]]](list)
    for point in points:
        steps[point["run_id"]].append((int(point["step"]), float(point["value"])))
    return {run_id: [value for _, value in sorted(steps[run_id], key=lambda one: one[0])] for run_id in run_ids}
