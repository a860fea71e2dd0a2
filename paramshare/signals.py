"""SIGINT and SIGTERM as exceptions, and work that they must not cut in two."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

__all__ = ["INTERRUPTED", "TERMINATED", "raise_received", "signals_deferred", "signals_raise"]

INTERRUPTED: Final = 128 + signal.SIGINT
"""The exit code of shells for a program that SIGINT ended."""

TERMINATED: Final = 128 + signal.SIGTERM
"""The exit code of shells for a program that SIGTERM ended; `signals_raise` raises SystemExit with this code."""

_received: Final[list[int]] = []
"""The signals that `signals_raise` has received."""

_ENDING: Final = (signal.SIGINT, signal.SIGTERM)
_AGAIN: Final = 0.02  # seconds after which a signal is sent again


@contextmanager
def signals_raise() -> Iterator[list[int]]:
    """Raise an exception on SIGINT and SIGTERM, so that the stack unwinds and runs are closed.

    Yield the list of received signals. Python allows handlers only in the main thread. An ignored SIGINT, as in a
    background job of a script, stays ignored.

    At two kinds of moments the exception would not unwind the stack: while torch is imported, its C++ code calls Python
    and ends the process with SIGABRT on any exception; and Python prints the exception of a finalizer and goes on. A
    signal that arrives at such a moment is sent again afterwards.
    """
    received = _received
    received.clear()
    with ExitStack() as stack:
        stack.callback(received.clear)
        send_again = stack.enter_context(_repeater())

        def leave(number: int, _frame: object) -> None:
            if _torch_is_initializing():
                send_again(number)
            else:
                received.append(number)
                _raise(number)

        if threading.current_thread() is threading.main_thread():
            stack.enter_context(_swallowed_signals(received, send_again))
            ignored = signal.getsignal(signal.SIGINT) is not signal.default_int_handler
            for number in (signal.SIGTERM,) if ignored else _ENDING:
                stack.callback(signal.signal, number, signal.signal(number, leave) or signal.SIG_DFL)
        yield received


@contextmanager
def _repeater() -> Iterator[Callable[[int], None]]:
    """Yield a function that sends a signal again, soon and after torch's import, unless the block has ended by then."""
    ended, main = threading.Event(), threading.main_thread().ident

    def send(number: int) -> None:
        while not ended.wait(_AGAIN):
            if main is not None and not _torch_is_initializing():
                signal.pthread_kill(main, number)  # the main thread may sleep: only its own signal wakes it
                return

    try:
        yield lambda number: threading.Thread(target=send, args=(number,), name="send-again", daemon=True).start()
    finally:
        ended.set()


@contextmanager
def _swallowed_signals(received: list[int], send_again: Callable[[int], None]) -> Iterator[None]:
    """Send a received signal again if a finalizer has swallowed its exception, instead of printing the exception."""
    former = sys.unraisablehook

    def report(unraisable: "UnraisableHookArgs") -> None:
        if received and isinstance(unraisable.exc_value, KeyboardInterrupt | SystemExit):
            send_again(received[-1])
        else:
            former(unraisable)

    sys.unraisablehook = report
    try:
        yield
    finally:
        sys.unraisablehook = former


def _torch_is_initializing() -> bool:
    """Return whether torch is being imported, by the mark that Python's import system sets on a module."""
    return bool(getattr(getattr(sys.modules.get("torch"), "__spec__", None), "_initializing", False))


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
