"""Import what every worker needs. The server that workers are forked from runs this first.

Nothing here may run an operation of torch or start a thread: neither survives a fork. The server collects no garbage:
collections cost a fifth of the time of its imports. Its workers do (`pools.start_worker`).
"""

import gc
import sys
from types import TracebackType

gc.disable()


def _print_unless_cut_off(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print an exception, but not that of a process whose parent ended, or gave it up, before it was set up."""
    if not issubclass(kind, EOFError):
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = _print_unless_cut_off

import paramshare.sweep.worker  # noqa: E402, F401 - after the lines above
