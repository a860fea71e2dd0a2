"""Flow runs that nobody runs any more: they are put back among the scheduled ones, so that a worker takes them up.

Prefect leaves a run Running for ever where its worker is stopped or killed together with it. Whose run it is stands in
its labels, which the worker writes: so a run is only ever taken from a worker that is known to be gone.
"""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Final

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import AwaitingRetry, Cancelled

__all__ = ["gone_workers", "take_up_again"]

_MOST_ATTEMPTS: Final = 10  # of one run: what has ended its process so often will do it the next time, too
_SILENCE: Final = timedelta(minutes=3)  # without a heartbeat, of which a worker sends one every 30 s
_RECENT: Final = timedelta(days=1)
_UNCLAIMED: Final = timedelta(minutes=10)  # that a run can be Pending before its worker has labelled it: seconds
_CUT_SHORT: Final = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING, StateType.CRASHED]


def gone_workers(client: SyncPrefectClient, pool: str, mine: Collection[str]) -> set[str]:
    """The pool's workers, but for `mine`, that have sent no heartbeat for minutes; by the server's clock alone."""
    beats = {one.name: one.last_heartbeat_time for one in client.read_workers_for_work_pool(pool)}
    known = {name: beat for name, beat in beats.items() if beat is not None}
    newest = max(known.values(), default=None)
    return {name for name, beat in known.items() if newest and beat < newest - _SILENCE and name not in mine}


def take_up_again(
    client: SyncPrefectClient,
    pool: str,
    gone: Collection[str],
    mine: Collection[str] = (),
    running: Collection[str] = (),
) -> list[str]:
    """Schedule those runs of the pool anew that were cut short, but none too often. What a person cancelled ends so.

    Args:
        gone: workers that are gone, and with them every process that they had started.
        mine: workers that are there: their runs have been cut short where they crashed.
        running: the ids of the processes of `mine`, as Prefect holds them.

    Returns:
        What was done, a line for each run.
    """
    of_pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[pool]))
    states = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_CUT_SHORT)))
    newest = FlowRunSort.EXPECTED_START_TIME_DESC
    said = []
    for run in client.read_flow_runs(work_pool_filter=of_pool, flow_run_filter=states, sort=newest, limit=200):
        owner = run.labels.get("prefect.worker.name")
        crashed = run.state_type == StateType.CRASHED and run.infrastructure_pid not in running
        if owner in gone or (owner in mine and crashed) or (owner is None and _is_lost(run)):
            said += _settle(client, run)
    return said


def _is_lost(run: FlowRun) -> bool:
    """Whether a run has no worker's label although one has taken it long ago."""
    return (
        run.state is not None
        and run.state.type == StateType.PENDING
        and run.state.timestamp < datetime.now(UTC) - _UNCLAIMED
    )


def _settle(client: SyncPrefectClient, run: FlowRun) -> list[str]:
    """Give a run that was cut short its next state, unless somebody else has."""
    now = client.read_flow_run(run.id).state
    if now is None or run.state is None or now.id != run.state.id:
        return []
    if now.type == StateType.CANCELLING:
        client.set_flow_run_state(run.id, Cancelled(message="Its process is gone."), force=True)
        return [f"{run.name}: cancelled, as was asked for"]
    if now.type == StateType.CRASHED and (run.run_count == 0 or now.timestamp < datetime.now(UTC) - _RECENT):
        return []  # it never began, so it will not the next time; or it is history
    if run.run_count >= _MOST_ATTEMPTS:
        return []
    why = f"It was cut short ({now.name}: {now.message or 'its worker is gone'}); it goes on where it stopped."
    client.set_flow_run_state(run.id, AwaitingRetry(message=why), force=True)
    return [f"{run.name}: was {now.name}, is scheduled anew"]
