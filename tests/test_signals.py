"""Signals: the exceptions that they raise, and their deferral."""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from paramshare.signals import TERMINATED, raise_received, signals_deferred, signals_raise

ENDING = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[Callable[[], list[object]]]:
    """Return a function that gives the handlers of both signals, and restore them afterwards."""
    former = {number: signal.getsignal(number) for number in ENDING}
    yield lambda: [signal.getsignal(number) for number in ENDING]
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDING)
def test_a_deferred_signal_raises_at_the_end_of_the_block(
    number: signal.Signals, handlers: Callable[[], list[object]]
) -> None:
    steps = []

    def run() -> None:
        with signals_deferred():
            signal.raise_signal(number)
            steps.append("the rest of the block")

    with signals_raise() as received:
        before = handlers()
        with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit):
            run()
        assert steps
        assert received == [number]
        assert handlers() == before


def test_a_deferred_signal_is_not_lost_if_the_block_raises() -> None:
    def run() -> None:
        with signals_deferred():
            signal.raise_signal(signal.SIGTERM)
            raise ValueError

    with signals_raise(), pytest.raises(SystemExit) as end:
        run()
    assert end.value.code == TERMINATED
    assert isinstance(end.value.__context__, ValueError)


def test_a_signal_after_the_block_raises_at_once() -> None:
    with signals_raise():
        with signals_deferred():
            pass
        with pytest.raises(SystemExit):
            signal.raise_signal(signal.SIGTERM)


def test_a_block_in_another_thread_leaves_the_handlers_alone(handlers: Callable[[], list[object]]) -> None:
    before, seen = handlers(), []

    def run() -> None:
        with signals_deferred():
            seen.append(handlers())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


def test_the_former_handlers_return_with_the_end_of_the_block(handlers: Callable[[], list[object]]) -> None:
    before = handlers()
    with signals_raise():
        assert handlers() != before
    assert handlers() == before


def test_a_signal_whose_exception_was_swallowed_is_raised_again() -> None:
    with signals_raise():
        raise_received()  # nothing was received
        with contextlib.suppress(SystemExit):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(SystemExit):
            raise_received()
    raise_received()  # it is of that block alone


_DURING_THE_IMPORT_OF_TORCH = """
import signal, sys
from paramshare.signals import signals_raise

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch.distributed":
            signal.raise_signal(signal.SIGTERM)

sys.meta_path.insert(0, Finder())
with signals_raise():
    try:
        import torch
        import time
        time.sleep(60)
    finally:
        print(torch.ones(2).sum().item())
"""


def test_a_signal_during_the_import_of_torch_raises_after_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _DURING_THE_IMPORT_OF_TORCH], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout, done.stderr) == (TERMINATED, "2.0\n", "")


class _Signalling:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_whose_exception_a_finalizer_swallows_raises_after_it(capsys: pytest.CaptureFixture[str]) -> None:
    former = sys.unraisablehook
    with signals_raise() as received:
        with pytest.raises(SystemExit):
            _drop_and_wait()
        assert received == [signal.SIGTERM, signal.SIGTERM]
    assert sys.unraisablehook is former
    assert capsys.readouterr().err == ""


def _drop_and_wait() -> None:
    _Signalling()
    time.sleep(60)
