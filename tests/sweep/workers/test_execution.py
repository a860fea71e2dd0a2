"""The execution of a chunk in this process."""

import contextlib
import signal
from typing import Any

import pytest

from paramshare.signals import signals_raise
from paramshare.sweep.chunks import Chunk
from paramshare.sweep.spec import SweepSpec
from paramshare.sweep.workers import execution
from paramshare.tracking.store import StoreAddress, open_store
from support.command_line import SIZES


def chunk_of(address: StoreAddress, seeds: str) -> Chunk:
    open_store(address)
    return Chunk(SweepSpec.model_validate({**SIZES, "seeds": seeds}).run_choices(("cpu",)), address)


def test_a_signal_that_a_write_swallows_ends_the_chunk_before_the_next_write(
    address: StoreAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, write_run = [], execution.write_run

    def swallow(*arguments: Any, **options: Any) -> Any:
        with contextlib.suppress(SystemExit):
            signal.raise_signal(signal.SIGTERM)
        written.append(arguments)
        return write_run(*arguments, **options)

    monkeypatch.setattr(execution, "write_run", swallow)
    with signals_raise(), pytest.raises(SystemExit):
        execution.run_chunk(chunk_of(address, "0:3"))
    assert len(written) == 1


def test_a_signal_that_a_library_turns_into_an_error_is_no_failed_training(
    address: StoreAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    def turn(*_: Any, **__: Any) -> Any:
        try:
            signal.raise_signal(signal.SIGTERM)
        except SystemExit as error:
            raise ValueError("cannot close") from error

    monkeypatch.setattr(execution, "train_choices", turn)
    with signals_raise(), pytest.raises(SystemExit):
        execution.run_chunk(chunk_of(address, "0:3"))
    assert open_store(address).client.search_runs([open_store(address).experiment_id]) == []
