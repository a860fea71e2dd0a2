"""A long run that is killed on one Prefect worker is continued by another worker, bit for bit.

The workers have folders of their own, as on two machines, an MLflow server as their store, and one folder of
checkpoints. Everything is real; the kill is `kill -9` of the worker and all of its processes at a random moment.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paramshare.tracking.read.seeds import read_ended
from paramshare.tracking.store import open_store
from paramshare.training.environment.torch_defaults import torch_defaults
from paramshare.training.reference import train_reference
from support.flows.prefect_server import PrefectServer
from support.flows.prefect_worker import running_worker
from support.toy_recipe import Changed
from support.tracking.mlflow_server import MlflowServer
from support.waiting import wait_until

STEPS = 6000
LOSS = """x, y = batch
        with open(__import__("os").environ["TRAINED"], "ab") as file:
            file.write(b".")"""  # counts the steps that a worker trains


@pytest.mark.parametrize("draw", range(2))
def test_a_run_that_is_killed_on_one_worker_goes_on_on_another_worker_with_the_same_bits(
    draw: int, server: PrefectServer, mlflow_server: MlflowServer, changed: Changed, recipe_file: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    target = changed("steps: int = 6", f"steps: int = {STEPS}", "x, y = batch", LOSS)
    experiment, folder = f"checkpoints-{draw}", tmp_path / "shared"
    spec: dict[str, Any] = {
        "target": f"{recipe_file}:Toy", "seeds": "3", "devices": "cpu", "experiment": experiment,
        "checkpoint_every": 0.01,
    }  # fmt: skip

    def environment(worker: str) -> dict[str, str]:
        return {
            **server.environment,
            "PARAMSHARE_TRACKING_URI": mlflow_server.url,
            "PARAMSHARE_CHECKPOINT_FOLDER": str(folder),
            "TRAINED": str(tmp_path / f"trained-{worker}"),
        }

    def trained(worker: str) -> int:
        return (tmp_path / f"trained-{worker}").stat().st_size

    with running_worker(tmp_path / "a", environment("a")) as worker:
        server.start_run("sweep/sweep-cpu", spec)
        wait_until(lambda: list(folder.glob("*.pt")), "a checkpoint is written", every=0.01)
        time.sleep(np.random.default_rng(draw).uniform(0, 1))
        worker.kill()
    assert trained("a") < STEPS
    with running_worker(tmp_path / "b", environment("b")):
        run_id = server.start_run("sweep/sweep-cpu", spec)
        wait_until(lambda: server.state(run_id) in ("Completed", "Failed"), f"{run_id} ends")
    assert server.state(run_id) == "Completed", server.run(run_id)["state"]
    assert trained("b") < STEPS  # it did not begin from the start
    assert list(folder.iterdir()) == []

    (view,) = read_ended(open_store(mlflow_server.remote(experiment)))
    monkeypatch.setenv("TRAINED", str(tmp_path / "undisturbed"))
    torch.set_num_threads(1)
    with torch_defaults():
        undisturbed = train_reference(target.new(seed=3))
    assert view.curves["train/loss"].astype("float32").tolist() == undisturbed.losses.tolist()
