"""The retries of tasks: after an outage of a server or a connection, and never after a wrong request."""

from typing import Any, Final

from prefect.client.schemas.objects import State

from paramshare.errors import ServerError
from paramshare.tracking.write.spool import OutageError

__all__ = ["RETRIES", "was_outage"]

_AFTER: Final = [2.0, 8.0, 32.0]  # seconds; each is lengthened by up to half at random


def was_outage(_task: object, _run: object, state: State[Any]) -> bool:
    """Return whether a task raised because of an outage. A task that is Failed without an exception is not retried."""
    error: object = state.result(raise_on_failure=False)
    return isinstance(error, OutageError | ServerError | ConnectionError | TimeoutError)


RETRIES: Final[dict[str, Any]] = {
    "retries": len(_AFTER),
    "retry_delay_seconds": _AFTER,
    "retry_jitter_factor": 0.5,  # so that tasks that failed together do not come back together
    "retry_condition_fn": was_outage,
}
"""The options of a task."""
