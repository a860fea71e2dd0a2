"""Proves that what dead processes left RUNNING is closed, and says so, and that what is alive is left alone."""

import time
from dataclasses import replace

import pytest
from mlflow.entities import Run

from paramshare.tracking.read.finished_seeds import KIND, PARENT
from paramshare.tracking.store import Store, StoreAddress, open_store
from paramshare.tracking.write.kinds.seeds import write_run
from paramshare.tracking.write.orphans import CLOSED, close_left_over, end_own
from paramshare.tracking.write.owners import ALIVE_UNTIL, Owner
from paramshare.training.engines import train
from paramshare.training.spec import TrainSpec

DAY = 24 * 3600 * 1000


@pytest.fixture
def store(address: StoreAddress) -> Store:
    return open_store(address)


def dead() -> Owner:
    return replace(Owner.here(), started="before this machine was built")


def begin(store: Store, kind: str, tags: dict[str, str], age: int = 0) -> str:
    """A RUNNING run of this kind, begun so many milliseconds ago."""
    start = int(time.time() * 1000) - age
    return str(store.client.create_run(store.experiment_id, start, tags={KIND: kind, **tags}).info.run_id)


def get(store: Store, run_id: str) -> Run:
    return store.client.get_run(run_id)


def test_a_sweep_whose_process_is_gone_is_killed_with_its_seeds_and_says_when_and_by_whom(store: Store) -> None:
    sweep = begin(store, "sweep", dead().tags())
    seed = begin(store, "seed", {PARENT: sweep})
    assert close_left_over(store) == [sweep]
    for run_id in (sweep, seed):
        run = get(store, run_id)
        assert run.info.status == "KILLED"
        assert run.data.tags[CLOSED].endswith(f"by {Owner.here()}: its process was gone")
    assert close_left_over(store) == []


def test_a_sweep_that_is_alive_here_or_elsewhere_is_left_alone_with_its_seeds(store: Store) -> None:
    elsewhere = replace(Owner.here(), host="another")
    sweeps = [begin(store, "sweep", owner.tags(), 3 * DAY) for owner in (Owner.here(), elsewhere)]
    seeds = [begin(store, "seed", {PARENT: sweep}, 3 * DAY) for sweep in sweeps]
    assert close_left_over(store) == []
    assert {get(store, run_id).info.status for run_id in sweeps + seeds} == {"RUNNING"}
    store.client.set_tag(sweeps[1], ALIVE_UNTIL, str(int(time.time() * 1000) - 1))
    assert close_left_over(store) == sweeps[1:]
    assert [get(store, run_id).info.status for run_id in seeds] == ["RUNNING", "KILLED"]


def test_what_names_no_owner_is_left_over_after_a_day(store: Store) -> None:
    young = [begin(store, "sweep", {}), begin(store, "seed", {}), begin(store, "seed", {PARENT: "0" * 32})]
    old = [begin(store, kind, tags, 2 * DAY) for kind, tags in (("sweep", {}), ("seed", {}))]
    close_left_over(store)
    assert {get(store, run_id).info.status for run_id in young} == {"RUNNING"}
    assert {get(store, run_id).info.status for run_id in old} == {"KILLED"}


def test_what_is_none_of_ours_or_has_ended_is_left_alone(store: Store, small: TrainSpec) -> None:
    sweep = begin(store, "sweep", dead().tags())
    seed = write_run(store, train(small), {PARENT: sweep}).run_id
    others = [begin(store, "count", {}, 2 * DAY), begin(store, "anything", dead().tags(), 2 * DAY)]
    close_left_over(store)
    assert get(store, seed).info.status == "FINISHED"
    assert {get(store, run_id).info.status for run_id in others} == {"RUNNING"}


def test_a_sweep_that_was_cut_short_ends_its_own_runs_and_no_others(store: Store) -> None:
    mine, other = Owner.here(), Owner.here()
    sweeps = [begin(store, "sweep", owner.tags()) for owner in (mine, other)]
    seeds = [begin(store, "seed", {PARENT: sweep}) for sweep in sweeps]
    end_own(store, mine, "FAILED")
    assert [get(store, run_id).info.status for run_id in sweeps] == ["FAILED", "RUNNING"]
    assert [get(store, run_id).info.status for run_id in seeds] == ["KILLED", "RUNNING"]
