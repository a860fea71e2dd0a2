"""Sweeps on the workers of a stack: started, waited for, and nothing of them left running."""

from typing import Final
from uuid import UUID

from prefect.client.schemas.objects import FlowRun

from support.containers.compose_stack import Stack, spec_of
from support.waiting import wait_until

SEEDS: Final = 60
_QUERIES: Final = (
    ("mlflow", "SELECT run_uuid FROM runs WHERE status NOT IN ('FINISHED', 'FAILED', 'KILLED')"),
    ("prefect", "SELECT id FROM flow_run WHERE state_type IN ('RUNNING', 'PENDING', 'CANCELLING')"),
    ("prefect", "SELECT id FROM task_run WHERE state_type IN ('RUNNING', 'PENDING', 'CANCELLING', 'SCHEDULED')"),
)


def sweep(stack: Stack, experiment: str, seeds: int) -> None:
    """Run a sweep on a worker, and check that it completes."""
    completed(stack.ended(stack.start_flow("sweep/sweep-cpu", spec_of(experiment, seeds))))


def completed(run: FlowRun) -> None:
    """Check that a flow run has completed."""
    assert run.state is not None
    assert run.state.name == "Completed", run.state.message


def under_way(stack: Stack, experiment: str) -> UUID:
    """Return the flow run of a sweep that has finished some of its seeds and not all."""
    flow_run = stack.start_flow("sweep/sweep-cpu", spec_of(experiment, SEEDS))
    finished = wait_until(lambda: stack.finished(experiment) or None, "the sweep is under way")
    assert finished < SEEDS
    return flow_run


def nothing_is_left_running(stack: Stack) -> None:
    """Wait up to two minutes until no run of MLflow and no flow run or task run of Prefect is active."""
    wait_until(
        lambda: [row for database, sql in _QUERIES for row in stack.query(database, sql)] == [] or None,
        "no run is left RUNNING in MLflow or Prefect",
        within=120,
        every=1,
    )
