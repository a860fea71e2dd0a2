"""Checks of the result of a sweep, after any fault: each run once and complete, none RUNNING, a sound database."""

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import mlflow
import numpy as np
import torch
from mlflow.entities import Run

from paramshare.recipes.spec import Spec
from paramshare.tracking.read.artifacts import read_artifact
from paramshare.tracking.read.run_view import read_run
from paramshare.tracking.read.runs import search
from paramshare.tracking.read.weights import read_weights
from paramshare.tracking.store import Store
from paramshare.training.engines import train_many
from paramshare.training.result import Result


def trained(specs: Sequence[Spec]) -> dict[str, Result]:
    """Return the result of each spec without faults, by key."""
    return {result.spec.key(): result for result in train_many(list(specs))}


def runs_of(store: Store, kind: str, status: str | None = None) -> list[Run]:
    """Return the runs of a kind, of one status if it is given; the newest first."""
    of_status = f" AND attributes.status = '{status}'" if status else ""
    return list(search(store, f"tags.`paramshare.kind` = '{kind}'{of_status}"))


def check_runs(store: Store, expected: Mapping[str, Result]) -> dict[str, str]:
    """Check that each key has one complete FINISHED run with the bits of `expected`, and no run is RUNNING.

    Returns:
        The id of each run by its key.
    """
    assert [run.info.run_id for run in search(store, "attributes.status = 'RUNNING'")] == []
    finished = runs_of(store, "seed", "FINISHED")
    assert Counter(run.data.tags["paramshare.key"] for run in finished) == Counter(list(expected))
    for run in finished:
        _check_run(store, run, expected[run.data.tags["paramshare.key"]])
    _check_model(store, finished[0], expected[finished[0].data.tags["paramshare.key"]])
    return {run.data.tags["paramshare.key"]: run.info.run_id for run in finished}


def check_parent(store: Store, run_ids: Sequence[str]) -> None:
    """Check that the newest sweep is FINISHED and complete, and that its table names exactly these runs."""
    parent = runs_of(store, "sweep")[0]
    parent_id = parent.info.run_id
    assert parent.info.status == "FINISHED"
    content = read_artifact(store, parent_id, "seeds.json")
    assert content is not None
    table = json.loads(content)
    column = table["columns"].index("run_id")
    assert sorted(row[column] for row in table["data"]) == sorted(run_ids)
    assert parent.data.metrics["runs/planned"] == parent.data.metrics["runs/finished"] == len(run_ids)
    curves = read_artifact(store, parent_id, "loss_curves.png")
    assert curves is not None
    assert curves.startswith(b"\x89PNG")
    assert f"{len(run_ids)} of {len(run_ids)} runs finished" in parent.data.tags["mlflow.note.content"]
    medians = [name for name in parent.data.metrics if name.startswith("loss/median/")]
    assert medians
    for name in medians:
        steps = [point.step for point in store.client.get_metric_history(parent_id, name)]
        assert steps == list(range(int(parent.data.params["steps"])))


def check_database(database: Path) -> None:
    """Check that SQLite finds no fault in the file."""
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def _check_run(store: Store, run: Run, expected: Result) -> None:
    recalled = read_run(store, run.info.run_id)  # refuses one that lacks a step, a metric or a parameter
    assert recalled.curves.keys() == expected.curves.keys()
    for name, curve in expected.curves.items():
        np.testing.assert_array_equal(recalled.curves[name].astype(curve.dtype), curve)
    np.testing.assert_equal(recalled.final_metrics, expected.final_metrics)
    weights = read_weights(store, run.info.run_id)
    assert weights is not None
    for name, tensor in expected.net.state_dict().items():
        np.testing.assert_array_equal(weights[name], tensor.numpy())
    plot = read_artifact(store, run.info.run_id, "loss.png")
    assert plot is not None
    assert plot.startswith(b"\x89PNG")
    assert plot.endswith(b"IEND\xaeB\x60\x82")


def _check_model(store: Store, run: Run, expected: Result) -> None:
    mlflow.set_tracking_uri(store.address.uri)
    (output,) = run.outputs.model_outputs
    net, x = mlflow.pytorch.load_model(f"models:/{output.model_id}"), expected.data["features"]
    with torch.no_grad():
        assert net(x, depth=2).equal(expected.net(x, 2))
