"""Progress as plain lines on stderr, for a log or a pipe: a bar needs a terminal."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["lines_of_progress", "no_foreign_bars", "readable_seconds"]

_FIRST: Final = 30.0  # seconds of silence: a command that ends before prints its answer alone
_BETWEEN: Final = 30.0
_SWITCHES: Final = {
    "TQDM_DISABLE": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}


@contextmanager
def lines_of_progress(describe: Callable[[], str], first: float = _FIRST, between: float = _BETWEEN) -> Iterator[None]:
    """Print `describe()` and the elapsed time to stderr at intervals, until the block ends.

    Args:
        describe: returns the state of the work; it is called in a thread of its own.
        first: seconds before the first line.
        between: seconds between two lines.
    """
    ended, started = threading.Event(), time.monotonic()

    def print_lines() -> None:
        pause = first
        while not ended.wait(pause):
            passed = readable_seconds(time.monotonic() - started)
            print(f"paramshare: {describe()}, {passed}", file=sys.stderr, flush=True)  # noqa: T201
            pause = between

    printer = threading.Thread(target=print_lines, name="paramshare progress", daemon=True)
    printer.start()
    try:
        yield
    finally:
        ended.set()
        printer.join()


def no_foreign_bars() -> None:
    """Switch off the bars of other libraries, here and in child processes, if stderr is no terminal.

    A variable that the user has set stays. Call this before those libraries are imported.
    """
    if not sys.stderr.isatty():
        for name, value in _SWITCHES.items():
            os.environ.setdefault(name, value)


def readable_seconds(seconds: float) -> str:
    """Return a duration as text: `45 s`, `3 min 5 s`, `2 h 4 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
