"""SIGINT and SIGTERM as exceptions, and work that they must not cut in two."""

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, NoReturn

__all__ = ["INTERRUPTED", "TERMINATED", "raise_received", "signals_deferred", "signals_raise"]

INTERRUPTED: Final = 128 + signal.SIGINT
"""The exit code of shells for a program that SIGINT ended."""

TERMINATED: Final = 128 + signal.SIGTERM
"""The exit code of shells for a program that SIGTERM ended; `signals_raise` raises SystemExit with this code."""

_received: Final[list[int]] = []
"""The signals that `signals_raise` has received."""

_ENDING: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def signals_raise() -> Iterator[list[int]]:
    """Raise an exception on SIGINT and SIGTERM, so that the stack unwinds and runs are closed.

    Yield the list of received signals. Python allows handlers only in the main thread. An ignored SIGINT, as in a
    background job of a script, stays ignored.
    """
    received = _received
    received.clear()

    def leave(number: int, _frame: object) -> NoReturn:
        received.append(number)
        _raise(number)

    former = {}
    if threading.current_thread() is threading.main_thread():
        former[signal.SIGTERM] = signal.signal(signal.SIGTERM, leave)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            former[signal.SIGINT] = signal.signal(signal.SIGINT, leave)
    try:
        yield received
    finally:
        received.clear()
        for number, handler in former.items():
            signal.signal(number, handler or signal.SIG_DFL)


def raise_received() -> None:
    """Raise the exception of a signal again that `signals_raise` has raised and a library has swallowed.

    An exception between any two instructions can be swallowed (in a finalizer) or turned into another one (by a `with`
    block that cannot close half of its work). Call this before each piece of work that a signal is to prevent.
    """
    if _received:
        _raise(_received[0])


def _raise(number: int) -> NoReturn:
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(TERMINATED)


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
