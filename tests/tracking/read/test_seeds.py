"""The newest FINISHED run of each spec is found, by SQL as by MLflow's client."""

import numpy as np
import pytest

from paramshare.recipes.spec import Spec
from paramshare.tracking.read.run_view import RunView
from paramshare.tracking.read.seeds import Selection, find_finished, read_runs, read_seeds
from paramshare.tracking.store import Store
from paramshare.tracking.write.kinds.seeds import write_failure, write_run
from paramshare.training.engines import train
from paramshare.training.result import Result
from support.specs import replace


def values(runs: dict[str, RunView]) -> dict[str, tuple[object, ...]]:
    """Return all that a sweep uses of each run."""
    return {
        key: (run.key, run.run_id, run.final_loss, run.final_metrics, run.seconds, run.diverged)
        for key, run in runs.items()
    }


def test_a_run_without_the_tag_is_known_to_have_diverged_by_its_numbers(store: Store, result: Result) -> None:
    run = write_run(store, replace(result, depth_losses=(1.0, np.inf, np.nan, 1.0)), {})
    store.client.delete_tag(run.run_id, "paramshare.diverged")
    assert find_finished(store, [result.spec])[result.spec.key()].diverged


def test_only_the_runs_of_the_given_sweep_are_found(store: Store, result: Result) -> None:
    mine = write_run(store, result, {"mlflow.parentRunId": "a"})
    write_run(store, result, {"mlflow.parentRunId": "b"})
    assert values(find_finished(store, [result.spec], "a")) == values({mine.key: mine})
    assert find_finished(store, [result.spec], "c") == {}


def test_only_the_newest_finished_run_of_each_key_is_found(store: Store, small: Spec) -> None:
    first, other = train(small), train(replace(small, seed=4))
    write_run(store, first, {})
    newest, unasked = write_run(store, train(small), {}), write_run(store, other, {})
    absent, twin = replace(small, seed=5), replace(small, variant="untied")
    assert values(find_finished(store, [small, absent, twin])) == values({small.key(): newest})
    assert values(find_finished(store, [other.spec])) == values({unasked.key: unasked})
    assert find_finished(store, []) == {}


def test_runs_are_read_by_their_ids_in_the_requested_order_without_deleted_ones(store: Store, result: Result) -> None:
    ids = [write_run(store, replace(result, started=result.started + second), {}).run_id for second in range(4)]
    store.client.delete_run(ids[1])
    runs = read_runs(store, [ids[3], ids[1], ids[0]])
    assert [(run.run_id, run.params, run.metrics) for run in runs] == [
        (run_id, run.data.params, run.data.metrics)
        for run_id in (ids[3], ids[0])
        for run in [store.client.get_run(run_id)]
    ]


def test_runs_are_found_among_hundreds_of_requested_seeds(store: Store, small: Spec) -> None:
    last = write_run(store, train(replace(small, seed=449)), {})
    assert find_finished(store, [replace(small, seed=seed) for seed in range(450)]) == {last.key: last}


@pytest.mark.parametrize(
    ("finished", "names", "count"),
    [
        (True, None, 4),
        (False, None, 5),
        (True, ("gaussian-seed-3", "gaussian-seed-4", "digits-seed-3"), 3),
        (True, ("gaussian-seed-5",), 1),
        (True, (), 0),
    ],
)
def test_seeds_read_by_sql_equal_those_read_by_mlflows_client(
    finished: bool, names: tuple[str, ...] | None, count: int, store: Store, small: Spec, result: Result
) -> None:
    write_failure(store, replace(small, seed=9), "why", {})
    for start, spec in enumerate((small, replace(small, seed=4), replace(small, seed=5))):
        write_run(store, replace(train(spec), started=1000.0 + start % 2), {"mlflow.parentRunId": "a"})  # some at once
    write_run(store, replace(result, losses=np.full_like(result.losses, np.nan), depth_losses=(np.inf,) * 4), {})
    store.client.delete_run(write_run(store, replace(result, started=2000.0), {}).run_id)
    for status in ("RUNNING", "KILLED"):
        store.client.set_terminated(write_run(store, result, {}).run_id, status)
    asked = Selection(finished, names, ("paramshare.key", "paramshare.diverged", "paramshare.engine"))
    by_client = replace(store, database=None)
    expected = [
        replace(run, tags={name: run.tags[name] for name in asked.tags if name in run.tags})
        for run in read_seeds(by_client, asked)
    ]
    read = list(read_seeds(store, asked))
    assert repr(read) == repr(expected)  # NaN is not equal to itself; the order of all names counts
    assert len(read) == count
    specs = [replace(small, seed=seed) for seed in range(10)]
    assert repr(values(find_finished(store, specs))) == repr(values(find_finished(by_client, specs)))
