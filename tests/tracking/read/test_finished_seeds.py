"""Proves that the newest FINISHED run of each spec is found, and no other."""

from dataclasses import replace

import numpy as np
import pytest

from paramshare.tracking.read.finished_seeds import find_finished
from paramshare.tracking.store import Store, StoreAddress, open_store
from paramshare.tracking.write.kinds.seeds import write_run
from paramshare.training.engines import train
from paramshare.training.result import TrainResult
from paramshare.training.spec import TrainSpec


@pytest.fixture
def store(address: StoreAddress) -> Store:
    return open_store(address)


@pytest.fixture
def result(small: TrainSpec) -> TrainResult:
    return train(small)


def test_a_run_without_the_tag_is_known_to_have_diverged_by_its_numbers(store: Store, result: TrainResult) -> None:
    run = write_run(store, replace(result, depth_losses=(1.0, np.inf, np.nan, 1.0)), {})
    store.client.delete_tag(run.run_id, "paramshare.diverged")
    assert find_finished(store, [result.spec])[result.spec.key()].diverged


def test_only_the_runs_of_the_given_sweep_are_found(store: Store, result: TrainResult) -> None:
    mine = write_run(store, result, {"mlflow.parentRunId": "a"})
    write_run(store, result, {"mlflow.parentRunId": "b"})
    assert find_finished(store, [result.spec], "a") == {mine.key: mine}
    assert find_finished(store, [result.spec], "c") == {}


def test_only_the_newest_finished_run_of_each_key_is_found(store: Store, small: TrainSpec) -> None:
    first, other = train(small), train(replace(small, seed=4))
    write_run(store, first, {})
    newest, unasked = write_run(store, train(small), {}), write_run(store, other, {})
    absent, twin = replace(small, seed=5), replace(small, variant="untied")
    assert find_finished(store, [small, absent, twin]) == {small.key(): newest}
    assert find_finished(store, [other.spec]) == {unasked.key: unasked}
    assert find_finished(store, []) == {}


def test_runs_are_found_among_hundreds_of_requested_seeds(store: Store, small: TrainSpec) -> None:
    last = write_run(store, train(replace(small, seed=449)), {})
    assert find_finished(store, [replace(small, seed=seed) for seed in range(450)]) == {last.key: last}
