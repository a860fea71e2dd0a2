"""The signal by which a sweep stops its worker processes."""

import multiprocessing
from typing import Any, Final

__all__ = ["StopSignal", "adopt_stop_signal", "stop_requested"]


class StopSignal:
    """A signal from a parent to the worker processes of its pools. Each process receives it when it starts.

    The signal is the end of a pipe. A lock could stay held after the process that holds it was killed; a pipe cannot.
    """

    def __init__(self) -> None:
        self._receiver, self._sender = multiprocessing.Pipe(duplex=False)

    def __getstate__(self) -> object:
        return self._receiver

    def __setstate__(self, receiver: Any) -> None:
        self._receiver = receiver

    def set(self) -> None:
        """Request that the processes stop. The death of the parent has the same effect."""
        self._sender.close()

    def is_set(self) -> bool:
        """Return whether the processes were requested to stop."""
        return self._receiver.poll()

    def wait(self) -> None:
        """Wait until the processes are requested to stop."""
        self._receiver.poll(None)


class _ThisProcess:
    """The signal that this process received when it started; None if it is not a worker process."""

    signal: StopSignal | None = None


_this_process: Final = _ThisProcess()


def adopt_stop_signal(signal: StopSignal) -> None:
    """Make this process a worker process that the signal stops."""
    _this_process.signal = signal


def stop_requested() -> bool:
    """Return whether the pool of this process was requested to stop. Return False outside a worker process."""
    return _this_process.signal is not None and _this_process.signal.is_set()
