"""Prefect's history of a sweep is true: a task is Completed only if every seed of its chunk was trained.

The sweeps run in this process, against a real server.
"""

import os
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import State, StateType
from prefect.futures import PrefectTaskRunFuture
from prefect.settings import PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW, temporary_settings
from prefect.states import Failed

from paramshare.flows.context import FlowContext, run_flow
from paramshare.flows.sweep import sweep
from paramshare.flows.tasks.states import name_of, rows_of, state_of
from paramshare.flows.tasks.training import train_chunk
from paramshare.recipes.spec import Spec
from paramshare.sweep.chunks import Chunk, Row
from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.read.runs import search
from paramshare.tracking.store import StoreAddress, open_store
from support.command_line import SIZES
from support.flows.flow_records import connected, history, recorded
from support.flows.prefect_server import PrefectServer
from support.tracking.sweep_checks import runs_of
from support.waiting import wait_until

Status = Literal["FINISHED", "FAILED", "KEPT"]
TASKS = "SELECT t.name, t.state_type, s.message FROM task_run t JOIN task_run_state s ON s.id = t.state_id"
ON_TWO_CORES = {**SIZES, "devices": "cpu", "workers": 2}
FAST = SweepSpec.model_validate({**ON_TWO_CORES, "seeds": "0:40"})
SLOW = SweepSpec.model_validate({**ON_TWO_CORES, "seeds": "0:2", "engine": "reference", "steps": 10_000_000})


def specs_of(variants: str, seeds: str) -> list[Spec]:
    return list(SweepSpec.model_validate({**SIZES, "variant": variants, "seeds": seeds}).train_specs(("cpu",)))


def chunk_of(address: StoreAddress, seeds: str) -> Chunk:
    return Chunk(SweepSpec.model_validate({**SIZES, "seeds": seeds}).run_choices(("cpu",)), address)


def row_of(chunk: Chunk, index: int, status: Status) -> Row:
    return Row(chunk.specs[index], "", status, None, {}, 0.0)


@pytest.mark.parametrize(
    ("variants", "seeds", "name"),
    [
        ("shared", "3", "shared seed 3"),
        ("shared", "3:6", "shared seeds 3 to 5"),
        ("shared,untied", "3", "shared seed 3 to untied seed 3"),
    ],
)
def test_a_chunk_is_named_by_its_variants_and_seeds(variants: str, seeds: str, name: str) -> None:
    assert name_of(specs_of(variants, seeds)) == name


@pytest.mark.parametrize(
    ("statuses", "kind", "message"),
    [
        (["FINISHED", "FINISHED"], StateType.COMPLETED, "2 runs trained"),
        (["FINISHED", "KEPT"], StateType.COMPLETED, "2 runs trained"),
        (["FINISHED", "FAILED"], StateType.FAILED, "1 of 2 runs failed: shared seed 1"),
        (["FINISHED"], StateType.CANCELLED, "the sweep was told to end; 1 of 2 runs trained"),
        ([], StateType.CANCELLED, "the sweep was told to end; 0 of 2 runs trained"),
    ],
)
def test_a_task_is_completed_only_if_every_seed_was_trained(
    statuses: list[Status], kind: StateType, message: str, address: StoreAddress
) -> None:
    chunk = chunk_of(address, "0:2")
    rows = [row_of(chunk, index, status) for index, status in enumerate(statuses)]
    state = state_of(chunk, rows)
    assert (state.type, state.message, state.data) == (kind, message, rows)


def finished_seeds(address: StoreAddress) -> set[int]:
    found = search(open_store(address), "attributes.status = 'FINISHED' AND tags.`paramshare.kind` = 'seed'")
    return {int(run.data.params["seed"]) for run in found}


def seeds_of(task_name: str) -> set[int]:
    first, *last = map(int, re.findall(r"\d+", task_name.removeprefix("cpu:")))
    return set(range(first, (last or [first])[0] + 1))


def test_no_task_of_an_interrupted_sweep_is_completed_unless_its_seeds_were_trained(
    prefect_server: PrefectServer, address: StoreAddress, tmp_path: Path
) -> None:
    def begun() -> int:
        return int(prefect_server.ask("task_runs/count", {"task_runs": {"start_time": {"is_null_": False}}}))

    before = begun()

    def interrupt(_row: Row) -> None:
        wait_until(lambda: begun() >= before + 3, "the third task begins")  # the fourth can begin, too
        raise KeyboardInterrupt

    with recorded(prefect_server, tmp_path / "home", 3), pytest.raises(KeyboardInterrupt):
        run_flow(sweep, FAST, FlowContext(address, on_row=interrupt))
    trained = finished_seeds(address)
    states = {name: kind for name, kind, _ in history(tmp_path / "home", TASKS)}
    expected = {name: "COMPLETED" if seeds_of(name) <= trained else "CANCELLED" for name in states}
    assert states == expected
    assert set(states.values()) == {"COMPLETED", "CANCELLED"}


def test_a_task_whose_process_is_ended_in_the_middle_of_a_seed_is_cancelled(
    prefect_server: PrefectServer, address: StoreAddress, tmp_path: Path
) -> None:
    def running() -> int:
        return int(prefect_server.ask("task_runs/count", {"task_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}))

    of_other_tests = running()

    def tasks_run() -> bool:
        return running() == of_other_tests + 2

    interrupter = threading.Thread(target=interrupt_when, args=(tasks_run,))
    interrupter.start()
    with recorded(prefect_server, tmp_path / "home", 2), pytest.raises(KeyboardInterrupt):
        run_flow(sweep, SLOW, FlowContext(address))
    interrupter.join()
    assert sorted(history(tmp_path / "home", TASKS)) == [
        ("cpu: shared seed 0", "CANCELLED", "the sweep was told to end"),
        ("cpu: shared seed 1", "CANCELLED", "the sweep was told to end"),
    ]


def interrupt_when(met: Callable[[], bool]) -> None:
    """Interrupt this process as Ctrl-C does, as soon as `met` is true."""
    wait_until(met, "the tasks run")
    os.kill(os.getpid(), signal.SIGINT)


def test_a_task_with_a_failed_seed_is_failed_and_not_retried(
    prefect_server: PrefectServer, address: StoreAddress
) -> None:
    chunk = Chunk(SweepSpec.model_validate({**SIZES, "seeds": "0:2"}).run_choices(("cuda:99",)), address)
    alone = temporary_settings({PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW: "ignore"})
    with connected(prefect_server), alone:
        state = train_chunk(chunk, return_state=True)
    assert state.type == StateType.FAILED
    assert [row.status for row in rows_of(FutureOf(state))] == ["FAILED", "FAILED"]
    assert len(runs_of(open_store(address), "seed", "FAILED")) == 2  # a second attempt would write them again


def test_the_rows_of_a_task_that_raised_raise_its_exception() -> None:
    with pytest.raises(ConnectionError, match="gone"):
        rows_of(FutureOf(Failed(data=ConnectionError("gone"))))


class FutureOf(PrefectTaskRunFuture[Any]):
    """The future of a task that has ended in a state."""

    def __init__(self, state: State[Any]) -> None:
        super().__init__(uuid4())
        self._final_state = state

    def wait(self, timeout: float | None = None) -> None: ...

    def add_done_callback(self, fn: Any) -> None: ...

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        assert self._final_state is not None
        return self._final_state.result(raise_on_failure=raise_on_failure)
