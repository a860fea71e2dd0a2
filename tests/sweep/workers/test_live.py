"""Runs of trainings that go on: MLflow shows them RUNNING with their curves, and they end as whole runs."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from paramshare.recipes.target import Target
from paramshare.sweep.chunks import Chunk
from paramshare.sweep.workers import live
from paramshare.sweep.workers.execution import run_chunk
from paramshare.tracking.store import Store, StoreAddress, open_store
from paramshare.tracking.tags import CLOSED, ERROR
from paramshare.training import reference
from paramshare.training.choice import choose_engine
from support.toy_recipe import NEIGHBOUR, RECIPE, load

LOSS = "train/loss"


@pytest.fixture
def store(address: StoreAddress) -> Store:
    return open_store(address)


@pytest.fixture
def chunk_of(tmp_path: Path, address: StoreAddress) -> Callable[..., Chunk]:
    """Return a function that gives a chunk of one training of a small recipe, whose text it changes."""

    def make(*texts: str, **options: object) -> Chunk:
        (tmp_path / "noise.py").write_text(NEIGHBOUR)
        (tmp_path / "toy.py").write_text(RECIPE.replace(*texts) if texts else RECIPE)
        target: Target = load(tmp_path / "toy.py")
        return Chunk((choose_engine(target.new(seed=3, **options)),), address)

    return make


@pytest.fixture
def seen(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Show trainings after every step, and return the list of what MLflow shows then."""
    monkeypatch.setattr(reference, "_FIRST_REPORT", 0)
    monkeypatch.setattr(reference, "_REPORT_EVERY", 0)
    runs: list[Run] = []
    show = live.LiveRuns.show

    def show_and_read(*arguments: object) -> None:
        show(*arguments)  # type: ignore[arg-type]
        runs.extend(runs_of(store))

    monkeypatch.setattr(live.LiveRuns, "show", show_and_read)
    return runs


def runs_of(store: Store) -> list[Run]:
    return list(store.client.search_runs([store.experiment_id]))


def curve(store: Store, run: Run, name: str = LOSS) -> list[tuple[int, int, float]]:
    history = store.client.get_metric_history(run.info.run_id, name)
    return sorted((point.step, point.timestamp - run.info.start_time, point.value) for point in history)


def test_mlflow_shows_a_training_with_its_curve_while_it_goes_on(
    chunk_of: Callable[..., Chunk], seen: list[Run]
) -> None:
    chunk = chunk_of()
    run_chunk(chunk)
    assert {run.info.status for run in seen} == {"RUNNING"}
    assert len({run.info.run_id for run in seen}) == 1
    assert len({run.data.metrics[LOSS] for run in seen}) == len(seen) == 6
    assert seen[0].data.params["width"] == "3"


def test_a_run_that_was_shown_ends_like_a_run_that_was_written_whole(
    chunk_of: Callable[..., Chunk], store: Store, seen: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = chunk_of("steps: int = 6", "steps: int = 6\n        evaluate_every: int = 4")
    run_chunk(chunk)
    monkeypatch.setattr(reference, "_FIRST_REPORT", 1e9)
    run_chunk(Chunk(chunk.choices, chunk.address, force=True))
    whole, shown = runs_of(store)
    assert {run.info.status for run in (whole, shown)} == {"FINISHED"}
    assert shown.info.run_id == seen[0].info.run_id
    assert shown.info.start_time == seen[0].info.start_time
    for name in (LOSS, "evaluation/error"):
        assert curve(store, shown, name) == curve(store, whole, name)
    assert [step for step, _, _ in curve(store, shown, "evaluation/error")] == [3]
    timed = {"time/seconds", "time/steps_per_second"}
    assert {**shown.data.metrics, **dict.fromkeys(timed)} == {**whole.data.metrics, **dict.fromkeys(timed)}
    assert shown.data.params == whole.data.params
    assert shown.data.tags.keys() == whole.data.tags.keys()
    assert shown.inputs.dataset_inputs[0].dataset.digest == whole.inputs.dataset_inputs[0].dataset.digest
    paths = [[file.path for file in store.client.list_artifacts(run.info.run_id)] for run in (shown, whole)]
    assert paths[0] == paths[1]


def test_a_short_training_is_written_once(chunk_of: Callable[..., Chunk], store: Store) -> None:
    run_chunk(chunk_of())
    (run,) = runs_of(store)
    assert run.info.status == "FINISHED"


def test_a_training_that_fails_after_it_was_shown_keeps_its_curve(
    chunk_of: Callable[..., Chunk], store: Store, seen: list[Run]
) -> None:
    run_chunk(chunk_of("x, y = data.test", "raise ArithmeticError('too hot')"))
    (run,) = runs_of(store)
    assert run.info.run_id == seen[0].info.run_id
    assert (run.info.status, "too hot" in run.data.tags[ERROR]) == ("FAILED", True)
    assert len(curve(store, run)) == 6


def test_the_shown_run_of_a_seed_that_another_sweep_has_finished_is_closed(
    chunk_of: Callable[..., Chunk], store: Store, seen: list[Run]
) -> None:
    chunk = chunk_of()
    (first,) = run_chunk(chunk)
    (row,) = run_chunk(chunk)
    assert row.run_id == first.run_id
    (closed,) = [run for run in runs_of(store) if run.info.run_id != first.run_id]
    assert closed.info.status == "KILLED"
    assert closed.data.tags[CLOSED].endswith(f"another sweep has finished the run {first.run_id} of this seed")
    assert seen


def test_a_store_that_cannot_be_written_meanwhile_ends_no_training(
    chunk_of: Callable[..., Chunk], store: Store, seen: list[Run], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def refuse(*_: object) -> None:
        raise MlflowException("database is locked")

    monkeypatch.setattr(live, "begin_run", refuse)
    with caplog.at_level(logging.WARNING):
        (row,) = run_chunk(chunk_of())
    assert row.status == "FINISHED"
    assert len(runs_of(store)) == 1
    assert seen == []
    assert "database is locked" in caplog.text
