"""One of two sweeps with runs of the same key deletes its run, whatever their order."""

import itertools
import threading
import time
from typing import get_args

import pytest

from paramshare.recipes.spec import Spec
from paramshare.recipes.target import target_of
from paramshare.tracking.read.run_view import RunView
from paramshare.tracking.read.seeds import find_finished, finished_runs
from paramshare.tracking.store import Store
from paramshare.tracking.tags import KIND, PARENT
from paramshare.tracking.write.deduplication import Policy, deduplicate
from paramshare.tracking.write.kinds.seeds import write_run
from paramshare.tracking.write.owners import Owner
from paramshare.training.engines import train_many
from paramshare.training.result import Result
from support.specs import replace


@pytest.fixture
def results(small: Spec) -> list[Result]:
    return list(train_many([replace(small, seed=seed) for seed in range(3)]))


class Sweep:
    """A sweep that has written its runs as to a server: without a check for other runs."""

    def __init__(self, store: Store, results: list[Result], owner: Owner | None = None) -> None:
        self.store = store
        tags = {KIND: "sweep", **(owner or Owner.here()).tags()}
        self.run_id: str = store.client.create_run(store.experiment_id, tags=tags).info.run_id
        self.written = {result.spec.key(): write_run(store, result, {PARENT: self.run_id}).run_id for result in results}
        self.trained = [(target_of(result.spec), result.spec.seed) for result in results]

    def deduplicate(self, policy: Policy = "one_per_experiment") -> dict[str, RunView]:
        server = replace(self.store, database=None)
        return deduplicate(server, self.run_id, self.written, self.trained, policy)

    def end(self, status: str = "FINISHED") -> None:
        self.store.client.set_terminated(self.run_id, status)


def alive(store: Store, results: list[Result]) -> set[str]:
    """Return the ids of the FINISHED runs, of which each key must have one."""
    runs = list(finished_runs(store, [(target_of(result.spec), result.spec.seed) for result in results]))
    assert len(runs) == len({run.tags["paramshare.key"] for run in runs}) == len(results)
    return {run.run_id for run in runs}


def with_models(store: Store) -> set[str]:
    """Return the ids of the runs that have a model; MLflow keeps models of deleted runs."""
    return {str(model.source_run_id) for model in store.client.search_logged_models([store.experiment_id])}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("ends", [False, True])
def test_the_first_of_three_sweeps_to_deduplicate_keeps_its_runs_and_the_others_use_them(
    order: tuple[int, ...], ends: bool, store: Store, results: list[Result]
) -> None:
    sweeps = [Sweep(store, results) for _ in range(3)]
    first, *others = (sweeps[index] for index in order)
    assert first.deduplicate() == {}
    for sweep in others:
        if ends:
            first.end()
        assert {key: run.run_id for key, run in sweep.deduplicate().items()} == first.written
    assert alive(store, results) == with_models(store) == set(first.written.values())


def test_a_run_that_is_written_after_another_sweep_has_settled_is_deleted_for_its_run(
    store: Store, results: list[Result]
) -> None:
    first = Sweep(store, results[:2])
    first.deduplicate()
    second = Sweep(store, results[1:])
    assert list(second.deduplicate()) == [results[1].spec.key()]
    alive(store, results)


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_the_runs_of_a_sweep_that_ended_without_deduplication_are_kept(
    status: str, store: Store, results: list[Result]
) -> None:
    ended, sweep = Sweep(store, results), Sweep(store, results)
    ended.end(status)
    sweep.deduplicate()
    assert alive(store, results) == set(ended.written.values())


def test_a_run_without_a_sweep_is_kept_and_runs_of_other_specs_are_ignored(store: Store, results: list[Result]) -> None:
    write_run(store, next(train_many([replace(results[1].spec, steps=7)])), {})
    alone = write_run(store, results[0], {})
    sweep = Sweep(store, results)
    assert {run.run_id for run in sweep.deduplicate().values()} == {alone.run_id}
    assert find_finished(store, [results[1].spec])[results[1].spec.key()].run_id == sweep.written[results[1].spec.key()]


def test_a_sweep_waits_for_the_deduplication_of_a_live_sweep_but_not_of_a_dead_one(
    store: Store, results: list[Result]
) -> None:
    sweeps = sorted((Sweep(store, results) for _ in range(2)), key=lambda sweep: sweep.run_id)
    dead = Sweep(store, [], replace(Owner.here(), started="never"))
    store.client.set_tag(dead.run_id, "paramshare.settling", "true")
    for waiting, busy in (sweeps, sweeps[::-1]):
        store.client.set_tag(busy.run_id, "paramshare.settling", "true")
        thread = threading.Thread(target=waiting.deduplicate)
        thread.start()
        time.sleep(0.5)
        assert "paramshare.settled" not in store.client.get_run(waiting.run_id).data.tags
        store.client.set_tag(busy.run_id, "paramshare.settling", "false")
        thread.join(20)
        assert store.client.get_run(waiting.run_id).data.tags.pop("paramshare.settled") == "true"
        store.client.delete_tag(waiting.run_id, "paramshare.settled")


def test_simultaneous_deduplications_keep_one_run_of_each_key(store: Store, results: list[Result]) -> None:
    for _ in range(3):
        sweeps = [Sweep(store, results) for _ in range(3)]
        threads = [threading.Thread(target=sweep.deduplicate) for sweep in sweeps]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        for run_id in alive(store, results):
            store.client.delete_run(run_id)


@pytest.mark.parametrize("policy", get_args(Policy))
def test_a_sweep_with_two_runs_of_a_key_keeps_the_run_that_it_names(
    policy: Policy, store: Store, results: list[Result]
) -> None:
    """A worker that was taken for lost can write for a moment longer."""
    sweep = Sweep(store, results)
    for result in results:
        write_run(store, result, {"mlflow.parentRunId": sweep.run_id})
    assert sweep.deduplicate(policy) == {}
    assert alive(store, results) == with_models(store) == set(sweep.written.values())
