"""SIGINT and SIGTERM as exceptions, and work that they must not cut in two."""

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, NoReturn

__all__ = ["INTERRUPTED", "TERMINATED", "signals_deferred", "signals_raise"]

INTERRUPTED: Final = 128 + signal.SIGINT
"""The exit code of shells for a program that SIGINT ended."""

TERMINATED: Final = 128 + signal.SIGTERM
"""The exit code of shells for a program that SIGTERM ended; `signals_raise` raises SystemExit with this code."""

_ENDING: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def signals_raise() -> Iterator[list[int]]:
    """Raise an exception on SIGINT and SIGTERM, so that the stack unwinds and runs are closed.

    Yield the list of received signals. Python allows handlers only in the main thread. An ignored SIGINT, as in a
    background job of a script, stays ignored.
    """
    received: list[int] = []

    def leave(number: int, _frame: object) -> NoReturn:
        received.append(number)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(TERMINATED)

    former = {}
    if threading.current_thread() is threading.main_thread():
        former[signal.SIGTERM] = signal.signal(signal.SIGTERM, leave)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            former[signal.SIGINT] = signal.signal(signal.SIGINT, leave)
    try:
        yield received
    finally:
        for number, handler in former.items():
            signal.signal(number, handler or signal.SIG_DFL)


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Defer SIGINT and SIGTERM until the end of the block, whoever handles them.

    Python runs a handler between any two instructions of the main thread, so an exception that it raises can cut in two
    what no `try` protects: a transaction that has begun and is in no variable yet, a process that has started and is
    in no list yet. The block must be short. Blocking the signals is not enough: any other thread can receive them,
    and Python then runs the handler in the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers run in the main thread alone
        return
    arrived: list[int] = []
    try:
        with ExitStack() as handlers:
            for number in _ENDING:
                handler = signal.getsignal(number)
                if handler is not None:  # else it is not Python's, and Python cannot restore it
                    handlers.callback(signal.signal, number, handler)
                    signal.signal(number, lambda number, _: arrived.append(number))
            yield
    finally:
        for deferred in arrived:
            signal.raise_signal(deferred)
