"""The recovery of interrupted flow runs: they are scheduled again, so that a worker resumes them.

Prefect leaves a run in the state Running if its worker is killed together with it. The labels of a run, which the
worker writes, name its worker: so a run is only ever taken from a worker that is known to have ended.
"""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import AwaitingRetry, Cancelled, Crashed

__all__ = ["lost_workers", "reschedule_interrupted"]

_MAX_ATTEMPTS: Final = 10  # of one run: a run that has ended its process so often will end the next one, too
_SILENCE: Final = timedelta(minutes=3)  # without a heartbeat; a worker sends one every 30 s
_RECENT: Final = timedelta(days=1)
_UNCLAIMED: Final = timedelta(minutes=10)  # a worker labels a run within seconds after the run becomes Pending
_TASKS_A_REQUEST: Final = 200
_ACTIVE: Final = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING, StateType.SCHEDULED]
_INTERRUPTED: Final = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING, StateType.CRASHED]


def lost_workers(client: SyncPrefectClient, pool: str, own: Collection[str]) -> set[str]:
    """Return the workers of a pool, except `own`, that have sent no heartbeat for minutes by the server's clock."""
    heartbeats = {worker.name: worker.last_heartbeat_time for worker in client.read_workers_for_work_pool(pool)}
    known = {name: time for name, time in heartbeats.items() if time is not None}
    newest = max(known.values(), default=None)
    return {name for name, time in known.items() if newest and time < newest - _SILENCE and name not in own}


def reschedule_interrupted(
    client: SyncPrefectClient,
    pool: str,
    lost: Collection[str],
    own: Collection[str] = (),
    running: Collection[str] = (),
) -> list[str]:
    """Schedule the interrupted runs of a pool again. A run that a user cancelled becomes Cancelled.

    A run that was interrupted ten times is left as it is.

    Args:
        lost: workers that have ended, and with them every process that they had started.
        own: workers that run. Their crashed runs are interrupted runs.
        running: the ids of the processes of `own`, as Prefect stores them.

    Returns:
        A line for each run that was changed.
    """
    of_pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[pool]))
    states = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_INTERRUPTED)))
    newest = FlowRunSort.EXPECTED_START_TIME_DESC
    lines = []
    for run in client.read_flow_runs(work_pool_filter=of_pool, flow_run_filter=states, sort=newest, limit=200):
        worker = run.labels.get("prefect.worker.name")
        crashed = run.state_type == StateType.CRASHED and run.infrastructure_pid not in running
        if worker in lost or (worker in own and crashed) or (worker is None and _is_unclaimed(run)):
            lines += _set_next_state(client, run)
    return lines


def _is_unclaimed(run: FlowRun) -> bool:
    """Return whether a run has been Pending for minutes without a worker's label."""
    return (
        run.state is not None
        and run.state.type == StateType.PENDING
        and run.state.timestamp < datetime.now(UTC) - _UNCLAIMED
    )


def _set_next_state(client: SyncPrefectClient, run: FlowRun) -> list[str]:
    """Set the next state of an interrupted run, unless its state has changed meanwhile."""
    now = client.read_flow_run(run.id).state
    if now is None or run.state is None or now.id != run.state.id:
        return []
    if now.type == StateType.CANCELLING:
        _end_tasks(client, run)
        client.set_flow_run_state(run.id, Cancelled(message="Its process has ended."), force=True)
        return [f"{run.name}: cancelled, as requested"]
    if now.type == StateType.CRASHED and (run.run_count == 0 or now.timestamp < datetime.now(UTC) - _RECENT):
        return []  # the run never began, so it would not begin the next time; or it is history
    if run.run_count >= _MAX_ATTEMPTS:
        return []
    _end_tasks(client, run)
    why = f"The run was interrupted ({now.name}: {now.message or 'its worker has ended'}); it will be resumed."
    client.set_flow_run_state(run.id, AwaitingRetry(message=why), force=True)
    return [f"{run.name}: was {now.name}, is scheduled again"]


def _end_tasks(client: SyncPrefectClient, run: FlowRun) -> None:
    """End the task runs of an interrupted flow run, whose processes have ended with it."""
    of_run = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    active = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=_ACTIVE)))
    ended = set[UUID]()
    while tasks := [
        task.id
        for task in client.read_task_runs(flow_run_filter=of_run, task_run_filter=active, limit=_TASKS_A_REQUEST)
        if task.id not in ended
    ]:
        for task in tasks:
            client.set_task_run_state(task, Crashed(message="Its process has ended."), force=True)
        ended.update(tasks)
