"""When a task is tried again: after a server or a connection was gone, and never because of what was asked for."""

from typing import Any, Final

from prefect.client.schemas.objects import State

from paramshare.errors import ServerError
from paramshare.tracking.write.spool import OutageError

__all__ = ["RETRIES", "was_outage"]

_AFTER: Final = [2.0, 8.0, 32.0]  # seconds, and up to half of each more


def was_outage(_task: object, _run: object, state: State[Any]) -> bool:
    """Whether a task that raised may succeed later. A verdict that is bad raises nothing: it stays."""
    error: object = state.result(raise_on_failure=False)
    return isinstance(error, OutageError | ServerError | ConnectionError | TimeoutError)


RETRIES: Final[dict[str, Any]] = {
    "retries": len(_AFTER),
    "retry_delay_seconds": _AFTER,
    "retry_jitter_factor": 0.5,  # so that tasks that failed together do not come back together
    "retry_condition_fn": was_outage,
}
"""What a task is declared with."""
