"""Close sweeps whose process is gone, in every experiment of a server.

The process of a sweep renews its lease every 25 seconds. A sweep is lost if its lease has expired, or if its flow run
has begun again; in both cases only after its lease was watched for a minute and not renewed. So a sweep stays open that
could not renew its lease while the server was down.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from mlflow import MlflowClient
from mlflow.entities import Run

from paramshare.tracking.read.runs import search_experiments
from paramshare.tracking.store import StoreAddress, connect_server, open_existing_store
from paramshare.tracking.tags import ALIVE_UNTIL, FLOW_RUN, KIND
from paramshare.tracking.write.orphans import close_sweep

__all__ = ["LostSweeps"]

_WATCHED: Final = 60.0  # seconds
_SWEEPS: Final = f"tags.`{KIND}` = 'sweep'"


class LostSweeps:
    """The RUNNING sweeps of a server, watched from call to call.

    Args:
        address: the address of a server, with any of its experiments.
        clock: returns seconds. Defaults to the monotonic clock.
    """

    def __init__(self, address: StoreAddress, clock: Callable[[], float] = time.monotonic) -> None:
        self._address, self._clock = address, clock
        self._since: dict[tuple[str, str], float] = {}  # by run and lease

    def close(self) -> list[str]:
        """Close the sweeps that are lost. Call it at intervals of less than a minute.

        Returns:
            A line for each closed sweep.

        Raises:
            MlflowException, StoreError: the server does not answer. The watch begins again.
        """
        known, self._since = self._since, {}
        client = connect_server(self._address)
        names = {experiment.experiment_id: experiment.name for experiment in client.search_experiments()}
        now, closed = self._clock(), []
        for run in search_experiments(client, list(names), f"{_SWEEPS} AND attributes.status = 'RUNNING'"):
            seen = run.info.run_id, run.data.tags.get(ALIVE_UNTIL, "")
            since = known.get(seen, now)
            reason = _why_lost(client, run) if now - since >= _WATCHED else ""
            if reason:
                address = replace(self._address, experiment=names[run.info.experiment_id])
                close_sweep(open_existing_store(address), run, reason)
                closed.append(f"the sweep {run.info.run_name} ({run.info.run_id}) is closed: {reason}")
            else:
                self._since[seen] = since
        return closed


def _why_lost(client: MlflowClient, run: Run) -> str:
    """Return why a sweep is lost whose lease is not renewed; empty if it is not lost, or has no lease."""
    lease, flow_run = run.data.tags.get(ALIVE_UNTIL, ""), run.data.tags.get(FLOW_RUN)
    if not lease.isdigit():
        return ""
    if int(lease) < time.time() * 1000:
        return "its process was gone"
    if flow_run is not None:
        condition = f"{_SWEEPS} AND tags.`{FLOW_RUN}` = '{flow_run}'"
        attempts = search_experiments(client, [run.info.experiment_id], condition)
        if any(attempt.info.start_time > run.info.start_time for attempt in attempts):
            return "its flow run has begun again"
    return ""
