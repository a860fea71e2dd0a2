"""A task is retried after an outage, and never after a wrong request or a bad verdict."""

import pytest
from prefect.states import Completed, Failed

from paramshare.errors import ServerError, SpecError, StoreError
from paramshare.flows.count import count_one
from paramshare.flows.tasks.retries import was_outage
from paramshare.flows.tasks.training import train_chunk
from paramshare.flows.verify import verify_one
from paramshare.tracking.write.spool import OutageError


@pytest.mark.parametrize("task", [count_one, train_chunk, verify_one])
def test_tasks_are_retried_with_growing_delays_and_jitter(task: object) -> None:
    assert task.retries == 3  # type: ignore[attr-defined]
    assert task.retry_delay_seconds == sorted(task.retry_delay_seconds)  # type: ignore[attr-defined]
    assert task.retry_jitter_factor > 0  # type: ignore[attr-defined]
    assert task.retry_condition_fn is was_outage  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "error", [ServerError("gone"), OutageError("gone"), ConnectionResetError("cut"), TimeoutError("late")]
)
def test_a_task_that_failed_by_an_outage_is_retried(error: Exception) -> None:
    assert was_outage(None, None, Failed(data=error))


@pytest.mark.parametrize("error", [SpecError("no such model"), StoreError("no such store"), ValueError("a bug")])
def test_a_task_that_failed_by_a_mistake_is_not_retried(error: Exception) -> None:
    assert not was_outage(None, None, Failed(data=error))


def test_a_task_that_ended_failed_without_an_exception_is_not_retried() -> None:
    assert not was_outage(None, None, Failed(data="differs from step 7 on"))
    assert not was_outage(None, None, Completed(data="equal"))
