"""Proves that a task is tried again where a server was gone, never where the question is wrong or the answer bad."""

import pytest
from prefect.states import Completed, Failed

from paramshare.errors import ServerError, SpecError, StoreError
from paramshare.flows.count import count_one
from paramshare.flows.tasks.retries import was_outage
from paramshare.flows.tasks.training import train_chunk
from paramshare.flows.verify import verify_one
from paramshare.tracking.spool import OutageError


@pytest.mark.parametrize("task", [count_one, train_chunk, verify_one])
def test_tasks_are_tried_again_ever_later_and_not_all_at_once(task: object) -> None:
    assert task.retries == 3  # type: ignore[attr-defined]
    assert task.retry_delay_seconds == sorted(task.retry_delay_seconds)  # type: ignore[attr-defined]
    assert task.retry_jitter_factor > 0  # type: ignore[attr-defined]
    assert task.retry_condition_fn is was_outage  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "error", [ServerError("gone"), OutageError("gone"), ConnectionResetError("cut"), TimeoutError("late")]
)
def test_an_outage_may_pass(error: Exception) -> None:
    assert was_outage(None, None, Failed(data=error))


@pytest.mark.parametrize("error", [SpecError("no such model"), StoreError("no such store"), ValueError("a bug")])
def test_a_mistake_does_not(error: Exception) -> None:
    assert not was_outage(None, None, Failed(data=error))


def test_a_bad_verdict_stays() -> None:
    assert not was_outage(None, None, Failed(data="differs from step 7 on"))
    assert not was_outage(None, None, Completed(data="equal"))
