"""Import what every worker needs. The server that workers are forked from imports this module first.

Nothing here may run an operation of torch or start a thread: neither survives a fork. The server collects no garbage:
collections cost a fifth of the time of its imports. Its workers collect (`forkserver.start_worker`).
"""

import gc
import sys
from types import TracebackType

gc.disable()


def _print_unless_cut_off(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print an exception, except that of a process whose parent ended, or gave it up, before it was set up."""
    if not issubclass(kind, EOFError):
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = _print_unless_cut_off

import paramshare.sweep.workers.execution  # noqa: E402 - after the line above
import paramshare.sweep.workers.pools  # noqa: E402, F401
