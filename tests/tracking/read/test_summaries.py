"""Proves that SQL reads the same parts of the same runs as MLflow's client."""

from dataclasses import replace

import numpy as np
import pytest

from paramshare.tracking.read.finished_seeds import find_finished
from paramshare.tracking.read.summaries import Selection, read_seeds
from paramshare.tracking.store import Store, StoreAddress, open_store
from paramshare.tracking.write.kinds.seeds import write_failure, write_run
from paramshare.training.engines import train
from paramshare.training.result import TrainResult
from paramshare.training.spec import TrainSpec


@pytest.fixture
def store(address: StoreAddress) -> Store:
    return open_store(address)


@pytest.fixture
def result(small: TrainSpec) -> TrainResult:
    return train(small)


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
def test_summaries_read_by_sql_equal_those_read_by_mlflows_client(
    finished: bool, names: tuple[str, ...] | None, count: int, store: Store, small: TrainSpec, result: TrainResult
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
    assert repr(find_finished(store, specs)) == repr(find_finished(by_client, specs))
