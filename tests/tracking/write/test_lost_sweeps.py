"""Sweeps whose process is gone are closed in every experiment of a server, and others are not."""

import time
from dataclasses import replace

import pytest
from mlflow import MlflowClient

from paramshare.tracking.store import StoreAddress
from paramshare.tracking.tags import ALIVE_UNTIL, CLOSED, FLOW_RUN, KIND, PARENT
from paramshare.tracking.write.lost_sweeps import LostSweeps
from paramshare.tracking.write.owners import Owner
from support.tracking.mlflow_server import MlflowServer

ELSEWHERE = replace(Owner.here(), host="another").tags()
HOUR = 3600 * 1000


class Clock:
    """A clock that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def address(mlflow_server: MlflowServer, request: pytest.FixtureRequest) -> StoreAddress:
    """Return the address of an experiment of the server with the name of the test."""
    address = mlflow_server.remote(request.node.name)
    client_of(address).create_experiment(address.experiment)
    return address


def client_of(address: StoreAddress) -> MlflowClient:
    return MlflowClient(tracking_uri=address.uri)


def begin(address: StoreAddress, kind: str, tags: dict[str, str], age: int = 0) -> str:
    """Create a RUNNING run that started `age` milliseconds ago, and return its id."""
    experiment = client_of(address).get_experiment_by_name(address.experiment)
    run = client_of(address).create_run(experiment.experiment_id, int(time.time() * 1000) - age, {KIND: kind, **tags})
    return str(run.info.run_id)


def lease(seconds: float) -> dict[str, str]:
    """Return the tags of a sweep of another machine whose lease ends in so many seconds."""
    return {**ELSEWHERE, ALIVE_UNTIL: str(int((time.time() + seconds) * 1000))}


def closed(sweeps: LostSweeps, clock: Clock, *run_ids: str) -> list[str]:
    """Watch for a minute and return the lines of those of the runs that are closed then, not before."""
    lines = []
    for seconds in (0, 59, 1):
        assert lines == []
        clock.now += seconds
        lines = [line for line in sweeps.close() if any(run_id in line for run_id in run_ids)]
    return lines


def status(address: StoreAddress, run_id: str) -> str:
    return str(client_of(address).get_run(run_id).info.status)


def test_a_sweep_with_an_expired_lease_is_closed_with_its_seeds(address: StoreAddress, clock: Clock) -> None:
    sweep = begin(address, "sweep", lease(-1))
    seed = begin(address, "seed", {PARENT: sweep})
    other_experiment = replace(address, experiment="any other")
    (line,) = closed(LostSweeps(other_experiment, clock), clock, sweep)
    assert line.endswith(f"({sweep}) is closed: its process was gone")
    assert [status(address, run_id) for run_id in (sweep, seed)] == ["KILLED", "KILLED"]
    assert client_of(address).get_run(sweep).data.tags[CLOSED].endswith("its process was gone")


def test_a_former_attempt_of_a_flow_run_is_closed_and_the_present_one_is_not(
    address: StoreAddress, clock: Clock
) -> None:
    former = begin(address, "sweep", {**lease(300), FLOW_RUN: "one"}, HOUR)
    seed = begin(address, "seed", {PARENT: former})
    present = begin(address, "sweep", {**lease(300), FLOW_RUN: "one"})
    alone = begin(address, "sweep", {**lease(300), FLOW_RUN: "another"})
    (line,) = closed(LostSweeps(address, clock), clock, former, present, alone)
    assert line.endswith("its flow run has begun again")
    runs = (former, seed, present, alone)
    assert [status(address, run_id) for run_id in runs] == ["KILLED", "KILLED", "RUNNING", "RUNNING"]
    for run_id in (present, alone):
        client_of(address).set_terminated(run_id)


def test_a_sweep_that_renews_its_lease_again_is_not_closed(address: StoreAddress, clock: Clock) -> None:
    """As after an outage of the server that lasted longer than the lease."""
    sweep, sweeps = begin(address, "sweep", lease(-1)), LostSweeps(address, clock)
    sweeps.close()
    for _ in range(3):
        clock.now += 40
        client_of(address).set_tag(sweep, ALIVE_UNTIL, str(int(time.time() * 1000) - 1))  # renewed, and expired again
        sweeps.close()
    assert status(address, sweep) == "RUNNING"
    client_of(address).set_terminated(sweep)


def test_a_running_run_of_another_program_is_not_closed(address: StoreAddress, clock: Clock) -> None:
    foreign = begin(address, "other", {}, 48 * HOUR)
    assert closed(LostSweeps(address, clock), clock, foreign) == []
    assert status(address, foreign) == "RUNNING"
