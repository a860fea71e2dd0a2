"""A recipe in a user's file goes through the whole pipeline. No file of the package names it."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from paramshare.cli import main
from paramshare.recipes.target import Target
from paramshare.tracking.read.seeds import read_ended
from paramshare.tracking.store import StoreAddress, open_store
from paramshare.training.engines import train
from support.forked import forked
from support.toy_recipe import Changed
from support.tracking.run_counts import finished_runs

LONG = ("steps: int = 6", "steps: int = 1000")


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """Return the object that a command prints with --json, or the text of its error."""
    capsys.readouterr()
    assert main([*arguments, "--json"]) == code
    out, err = capsys.readouterr()
    return json.loads(out) if code == 0 else err


def sweep_arguments(file: Path, *more: str) -> list[str]:
    return ["--target", f"{file}:Toy", "--seeds", "0:3", "--devices", "cpu", *more]


def test_a_recipe_is_trained_resumed_studied_compared_and_reproduced(
    toy: Target, recipe_file: Path, address: StoreAddress, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(capsys, "train", *sweep_arguments(recipe_file, "--variant", "conv,local"))
    assert [row["status"] for row in first["runs"]] == ["FINISHED"] * 6

    study = run(capsys, "study", *sweep_arguments(recipe_file, "--variant", "conv,local,wide"))
    assert (study["target"], study["metric"], len(study["groups"])) == ("toy", "final/error", 3)
    runs = {(run.variant, run.seed): run for run in read_ended(open_store(address))}
    assert {row["run_id"] for row in first["runs"]} < {run.run_id for run in runs.values()}
    assert len(runs) == 9

    recipe_file.rename(recipe_file.with_name("elsewhere.py"))  # reading runs needs no code
    compared = run(capsys, "compare", "--by", "variant")
    assert compared["contrasts"] == study["contrasts"]

    result = train(toy.new(seed=1, variant="local"))
    view = runs["local", 1]
    assert view.curves["train/loss"].astype("float32").tolist() == result.curves["train/loss"].tolist()
    assert view.final_metrics == result.final_metrics
    (error,) = {run(capsys, "reproduce", view.run_id, code=2)}
    assert "was trained by the recipe toy, which is not installed here; pass its code with --recipe" in error


def test_a_changed_source_needs_a_new_version_or_consent(
    toy: Target, changed: Changed, recipe_file: Path, address: StoreAddress, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = sweep_arguments(recipe_file)
    run(capsys, "train", *arguments)
    changed("import torch\n", "import torch  # a comment\n")
    assert "the source of toy has changed since its version 1" in run(capsys, "train", *arguments, code=2)
    reused = run(capsys, "train", *arguments, "--same-source")
    assert [row["reused"] for row in reused["runs"]] == [True] * 3
    changed("class Options(ps", "version = 2\n    class Options(ps")
    trained = run(capsys, "train", *arguments)
    assert [row["reused"] for row in trained["runs"]] == [False] * 3


def test_a_faulty_recipe_leaves_no_run(
    changed: Changed, recipe_file: Path, address: StoreAddress, capsys: pytest.CaptureFixture[str]
) -> None:
    changed("x, y = batch", "x, z = batch")
    assert "NameError: name 'y' is not defined" in run(capsys, "train", *sweep_arguments(recipe_file), code=2)
    assert open_store(address).client.search_runs([open_store(address).experiment_id]) == []


def test_a_killed_sweep_of_a_recipe_is_resumed(
    changed: Changed, recipe_file: Path, address: StoreAddress, capsys: pytest.CaptureFixture[str]
) -> None:
    target = changed(*LONG)
    arguments = sweep_arguments(recipe_file, "--workers", "1")
    assert address.database is not None
    database = address.database
    with forked(main, ["train", *arguments, "--seeds", "0:5"]) as process:
        while finished_runs(database) < 2:
            assert process.is_alive()
            time.sleep(0.05)
        process.kill()
    finished = {run.run_id for run in read_ended(open_store(address))}
    resumed = run(capsys, "train", *arguments, "--seeds", "0:5")
    assert finished <= {row["run_id"] for row in resumed["runs"]}
    assert {row["reused"] for row in resumed["runs"]} == {True, False}
    last = next(view for view in read_ended(open_store(address)) if view.seed == 4)
    result = train(target.new(seed=4))
    assert last.curves["train/loss"].astype("float32").tolist() == result.curves["train/loss"].tolist()
