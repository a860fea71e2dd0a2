"""Errors of a store, reported in one line."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from paramshare.errors import ServerError
from paramshare.tracking.store.address import StoreAddress, redacted

__all__ = ["reason_of", "store_errors", "store_failures"]


def store_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """Return the classes of a store's errors, and `others`. MLflow's error is one of them if MLflow is imported."""
    module = sys.modules.get("mlflow.exceptions")
    of_mlflow = getattr(module, "MlflowException", None)
    return (SQLAlchemyError, OSError, *others, *([] if of_mlflow is None else [of_mlflow]))


@contextmanager
def store_failures(address: StoreAddress) -> Iterator[None]:
    """Convert errors of the store at `address` into a `ServerError` with one line.

    Raises:
        ServerError: MLflow gave up on the store, or a file could not be written.
    """
    try:
        yield
    except BrokenPipeError:  # the reader of this program's output is gone: the store did not fail
        raise
    except store_errors() as error:
        room = "make room, then " if _is_full(error) else ""
        raise ServerError(
            f"the store {redacted(address.uri)} failed: {reason_of(error, address)}; finished runs are kept; "
            f"{room}rerun the command to resume"
        ) from error


def reason_of(error: Exception, address: StoreAddress) -> str:
    """Return the first line of `error`, without the user and password of the store's address."""
    lines = str(error).replace(address.uri.rstrip("/"), redacted(address.uri.rstrip("/"))).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _is_full(error: Exception) -> bool:
    """Return true if the disk is full: by the system's error number, or by SQLite's message."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "disk is full" in str(error)
