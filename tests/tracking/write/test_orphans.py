"""RUNNING runs of dead processes are closed with a reason, and runs of live processes are not."""

import time

import pytest
from mlflow.entities import Run

from paramshare.recipes.spec import Spec
from paramshare.tracking.read.runs import search
from paramshare.tracking.store import Store, open_store
from paramshare.tracking.tags import ALIVE_UNTIL, CLOSED, KIND, PARENT
from paramshare.tracking.write.kinds.seeds import write_run
from paramshare.tracking.write.orphans import close_orphans, close_own, close_seeds
from paramshare.tracking.write.owners import Owner
from paramshare.tracking.write.record import RunClosedError
from paramshare.training.engines import train
from support.specs import replace
from support.tracking.mlflow_server import MlflowServer

DAY = 24 * 3600 * 1000


def dead() -> Owner:
    return replace(Owner.here(), started="before this machine was built")


def begin(store: Store, kind: str, tags: dict[str, str], age: int = 0) -> str:
    """Create a RUNNING run of this kind that started `age` milliseconds ago, and return its id."""
    start = int(time.time() * 1000) - age
    return str(store.client.create_run(store.experiment_id, start, tags={KIND: kind, **tags}).info.run_id)


def get(store: Store, run_id: str) -> Run:
    return store.client.get_run(run_id)


def test_a_sweep_of_a_dead_process_and_its_seeds_are_closed_as_killed_with_time_and_process(store: Store) -> None:
    sweep = begin(store, "sweep", dead().tags())
    seed = begin(store, "seed", {PARENT: sweep})
    assert close_orphans(store) == [sweep]
    for run_id in (sweep, seed):
        run = get(store, run_id)
        assert run.info.status == "KILLED"
        assert run.data.tags[CLOSED].endswith(f"by {Owner.here()}: its process was gone")
    assert close_orphans(store) == []


def test_the_model_of_a_seed_that_is_closed_is_deleted(store: Store, small: Spec) -> None:
    sweep = begin(store, "sweep", dead().tags())
    kept = write_run(store, train(small), {PARENT: sweep}).run_id
    cut = begin(store, "seed", {PARENT: sweep})
    store.client.create_logged_model(store.experiment_id, "model", source_run_id=cut)
    close_orphans(store)
    models = store.client.search_logged_models([store.experiment_id])
    assert [model.source_run_id for model in models] == [kept]


@pytest.mark.parametrize("moment", ["log_outputs", "set_terminated"])
def test_a_run_that_is_closed_while_another_machine_writes_it_is_killed_without_a_model(
    moment: str, mlflow_server: MlflowServer, small: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(mlflow_server.remote(f"closed at {moment}"))
    parent, write = begin(store, "sweep", {}), getattr(store.client, moment)

    def close_and_write(run_id: str, *given: object, **named: object) -> None:
        monkeypatch.undo()
        close_seeds(store, parent, "its sweep was interrupted")
        write(run_id, *given, **named)

    monkeypatch.setattr(store.client, moment, close_and_write)
    with pytest.raises(RunClosedError):
        write_run(store, train(small), {PARENT: parent})
    (run,) = search(store, f"tags.`{PARENT}` = '{parent}'")
    assert run.info.status == "KILLED"
    assert store.client.search_logged_models([store.experiment_id]) == []


def test_a_sweep_of_a_live_process_and_its_seeds_are_not_closed(store: Store) -> None:
    elsewhere = replace(Owner.here(), host="another")
    sweeps = [begin(store, "sweep", owner.tags(), 3 * DAY) for owner in (Owner.here(), elsewhere)]
    seeds = [begin(store, "seed", {PARENT: sweep}, 3 * DAY) for sweep in sweeps]
    assert close_orphans(store) == []
    assert {get(store, run_id).info.status for run_id in sweeps + seeds} == {"RUNNING"}
    store.client.set_tag(sweeps[1], ALIVE_UNTIL, str(int(time.time() * 1000) - 1))
    assert close_orphans(store) == sweeps[1:]
    assert [get(store, run_id).info.status for run_id in seeds] == ["RUNNING", "KILLED"]


def test_a_run_without_an_owner_is_orphaned_after_a_day(store: Store) -> None:
    young = [begin(store, "sweep", {}), begin(store, "seed", {}), begin(store, "seed", {PARENT: "0" * 32})]
    old = [begin(store, kind, tags, 2 * DAY) for kind, tags in (("sweep", {}), ("seed", {}))]
    close_orphans(store)
    assert {get(store, run_id).info.status for run_id in young} == {"RUNNING"}
    assert {get(store, run_id).info.status for run_id in old} == {"KILLED"}


def test_runs_of_other_programs_and_ended_runs_are_not_closed(store: Store, small: Spec) -> None:
    sweep = begin(store, "sweep", dead().tags())
    seed = write_run(store, train(small), {PARENT: sweep}).run_id
    others = [begin(store, "count", {}, 2 * DAY), begin(store, "anything", dead().tags(), 2 * DAY)]
    close_orphans(store)
    assert get(store, seed).info.status == "FINISHED"
    assert {get(store, run_id).info.status for run_id in others} == {"RUNNING"}


def test_an_interrupted_sweep_closes_its_own_runs_only(store: Store) -> None:
    mine, other = Owner.here(), Owner.here()
    sweeps = [begin(store, "sweep", owner.tags()) for owner in (mine, other)]
    seeds = [begin(store, "seed", {PARENT: sweep}) for sweep in sweeps]
    close_own(store, mine, "FAILED")
    assert [get(store, run_id).info.status for run_id in sweeps] == ["FAILED", "RUNNING"]
    assert [get(store, run_id).info.status for run_id in seeds] == ["KILLED", "RUNNING"]
