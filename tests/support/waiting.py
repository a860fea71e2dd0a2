"""Waiting for events in other processes."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

PATIENCE: Final = 600.0
"""Seconds in which anything that must happen does happen, on a busy machine too."""

Value = TypeVar("Value")


def wait_until(
    condition: Callable[[], Value | None], event: str | Callable[[], str], within: float = PATIENCE, every: float = 0.1
) -> Value:
    """Return the first true value of a condition.

    Args:
        event: what the condition waits for, or a function that describes the failure.
        within: seconds.
        every: seconds between two evaluations.

    Raises:
        AssertionError: the condition is not true in time.
    """
    deadline = time.monotonic() + within
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {event if isinstance(event, str) else event()}")
        time.sleep(every)
    return value
