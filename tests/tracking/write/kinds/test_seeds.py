"""A seed's run contains everything about its training, and a failed run does not look finished."""

import json
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
import yaml
from mlflow.entities import LoggedModel, Run
from mlflow.utils.file_utils import local_file_uri_to_path
from torch import nn

from paramshare.recipes.dynamicnet.variants import VARIANTS
from paramshare.recipes.spec import Spec
from paramshare.tracking.read.seeds import find_finished
from paramshare.tracking.store import Store
from paramshare.tracking.tags import ORDER
from paramshare.tracking.write.kinds.seeds import write_failure, write_run
from paramshare.tracking.write.record import RunExistsError
from paramshare.training.engines import train
from paramshare.training.result import Result
from support.specs import depth_losses, replace

# Loads the models of runs without importing this project, and predicts at every depth.
LOAD = """
import json, sys
sys.modules["paramshare"] = None  # importing it would raise
import mlflow, numpy as np, torch
mlflow.set_tracking_uri(sys.argv[1])
torch.set_num_threads(1)
for run_id in sys.argv[2:]:
    x = np.load(f"{run_id}-x.npy")
    (output,) = mlflow.get_run(run_id).outputs.model_outputs
    net = mlflow.pytorch.load_model(f"models:/{output.model_id}")
    function = mlflow.pyfunc.load_model(f"runs:/{run_id}/model")  # the address in MLflow 2
    for depth in range(4):
        np.save(f"{run_id}-pytorch-{depth}.npy", net(torch.from_numpy(x), depth=depth).detach().numpy())
        np.save(f"{run_id}-pyfunc-{depth}.npy", function.predict(x, params={"depth": depth}))
"""


def written(store: Store, result: Result) -> Run:
    return store.client.get_run(write_run(store, result, {"mlflow.parentRunId": "p"}).run_id)


def test_the_run_of_a_training_has_its_status_name_and_times(store: Store, result: Result) -> None:
    info = written(store, result).info
    assert info.status == "FINISHED"
    assert info.run_name == "shared seed 3 on cpu"
    assert info.start_time == int(result.started * 1000)
    assert info.end_time - info.start_time == int(result.seconds * 1000)


def test_a_run_has_the_whole_spec_as_its_parameters(store: Store, result: Result) -> None:
    assert written(store, result).data.params == {
        "target": "dynamicnet",
        **{k: str(v) for k, v in result.spec.as_dict().items()},
    }


def test_a_run_has_loss_and_depth_at_every_step(store: Store, result: Result) -> None:
    run_id = write_run(store, result, {}).run_id
    for name, expected in (("train/loss", result.losses), ("depth", result.curves["depth"])):
        history = store.client.get_metric_history(run_id, name)
        assert [point.step for point in history] == list(range(20))
        np.testing.assert_array_equal([point.value for point in history], expected)


def test_a_run_has_the_trained_nets_loss_at_each_depth_among_its_final_metrics(store: Store, result: Result) -> None:
    metrics = written(store, result).data.metrics
    assert [metrics[f"final/loss_depth_{depth}"] for depth in range(4)] == list(depth_losses(result))
    assert metrics["final/loss_mean_depth"] == pytest.approx(np.mean(depth_losses(result)))
    history = store.client.get_metric_history(written(store, result).info.run_id, "final/loss_depth_2")
    assert [point.step for point in history] == [0]
    assert metrics["model/parameters"] == 8 * 6 + 6 + 6 * 6 + 6 + 6 * 3 + 3


def test_the_tags_of_a_run_describe_its_training(store: Store, result: Result) -> None:
    tags = written(store, result).data.tags
    assert tags["paramshare.key"] == result.spec.key()
    assert tags["paramshare.variant"] == "shared"
    assert tags["paramshare.device"] == "cpu"
    assert tags["paramshare.engine"] == "exact"
    assert tags["paramshare.threads"] == "1"
    assert tags["mlflow.parentRunId"] == "p"


def test_the_order_tag_sorts_runs_by_the_number_of_their_seed(store: Store, small: Spec) -> None:
    for seed in (10, 2**63 - 1, 2, 0):
        write_failure(store, replace(small, seed=seed), "no room", {})
    runs = store.client.search_runs([store.experiment_id], order_by=[f"tags.`{ORDER}` ASC"])
    assert [int(run.data.params["seed"]) for run in runs] == [0, 2, 10, 2**63 - 1]


def test_the_headline_is_the_first_of_a_runs_metrics(store: Store, result: Result) -> None:
    assert next(iter(written(store, result).data.metrics)) == "final/loss_mean_depth"


def test_the_data_is_an_mlflow_input_with_the_digest_of_its_bytes(store: Store, result: Result) -> None:
    (given,) = written(store, result).inputs.dataset_inputs
    assert given.dataset.name == "gaussian-seed-3"
    assert json.loads(given.dataset.profile) == {"features_shape": [4, 8], "targets_shape": [4, 3]}
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "training")]
    other = train(replace(result.spec, seed=4))
    assert written(store, other).inputs.dataset_inputs[0].dataset.digest != given.dataset.digest


def test_the_plot_of_the_losses_is_a_picture_among_the_artifacts(store: Store, result: Result) -> None:
    run_id = write_run(store, result, {}).run_id
    assert [file.path for file in store.client.list_artifacts(run_id)] == ["loss.png"]
    picture = Path(store.client.download_artifacts(run_id, "loss.png")).read_bytes()
    assert picture.startswith(b"\x89PNG")


def test_the_models_load_in_a_fresh_process_without_unpickling_and_equal_the_trained_nets_at_each_depth(
    store: Store, small: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test both variants in one process, since its start takes most of the time."""
    results = [train(replace(small, variant=variant)) for variant in VARIANTS]
    run_ids = [write_run(store, result, {}).run_id for result in results]
    for run_id, result in zip(run_ids, results, strict=True):
        np.save(tmp_path / f"{run_id}-x.npy", result.data["features"].numpy())
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    subprocess.run([sys.executable, "-c", LOAD, store.address.uri, *run_ids], cwd=tmp_path, check=True)
    for run_id, result in zip(run_ids, results, strict=True):
        for depth in range(4):
            expected = result.net(result.data["features"], depth).detach().numpy()
            for flavor in ("pytorch", "pyfunc"):
                np.testing.assert_array_equal(np.load(tmp_path / f"{run_id}-{flavor}-{depth}.npy"), expected)


def model_written(store: Store, result: Result) -> LoggedModel:
    tags = {"mlflow.user": "jo", "mlflow.source.name": "sweep.py", "mlflow.parentRunId": "p"}
    run = write_run(store, result, tags)
    (output,) = store.client.get_run(run.run_id).outputs.model_outputs
    model = store.client.get_logged_model(output.model_id)
    assert model.source_run_id == run.run_id
    return model


def test_the_model_of_a_run_has_its_parameters_final_metrics_and_origin(store: Store, result: Result) -> None:
    model = model_written(store, result)
    assert model.params == {"target": "dynamicnet", **{k: str(v) for k, v in result.spec.as_dict().items()}}
    assert model.tags == {
        "paramshare.key": result.spec.key(),
        "mlflow.user": "jo",
        "mlflow.source.name": "sweep.py",
    }
    values = {metric.key: metric.value for metric in model.metrics or ()}
    assert values == {**result.final_metrics, **result.sizes}


def test_the_model_of_a_run_that_diverged_lacks_values_that_are_not_finite(store: Store, result: Result) -> None:
    losses = result.losses.copy()
    losses[-1] = np.nan
    diverged = replace(result, losses=losses, depth_losses=(1.0, np.nan, np.inf, 2.0))
    model = model_written(store, diverged)
    assert {metric.key for metric in model.metrics or ()} == {
        "final/loss_depth_0",
        "final/loss_depth_3",
        "model/parameters",
    }
    assert model.tags["paramshare.diverged"] == "true"


@pytest.mark.filterwarnings("ignore")
def test_the_model_of_a_run_has_the_columns_and_description_of_a_model_that_mlflow_logs(
    store: Store, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = model_written(store, result)
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", store.address.uri)
    run_id = store.client.create_run(store.experiment_id).info.run_id
    with mlflow.start_run(run_id):
        theirs = mlflow.pytorch.log_model(
            nn.Linear(8, 3), name="model", pip_requirements=["torch"], input_example=result.data["features"].numpy()
        )
    logged = store.client.get_logged_model(theirs.model_id)
    assert (ours.name, ours.status, ours.model_type) == (logged.name, logged.status, logged.model_type)
    assert ours.artifact_location == logged.artifact_location.replace(logged.model_id, ours.model_id)
    described, example = (
        yaml.safe_load(Path(local_file_uri_to_path(model.artifact_location), "MLmodel").read_text())
        for model in (ours, logged)
    )
    for model, content in ((ours, described), (logged, example)):
        assert content["model_id"] == content["model_uuid"] == model.model_id
        assert content["run_id"] == model.source_run_id
    # The address of the folder changes if a store is moved; the others describe an example and a size.
    left_out = {"artifact_path", "saved_input_example_info", "model_size_bytes"}
    assert example.keys() - described.keys() == left_out
    assert described.keys() <= example.keys()


def test_a_failed_training_is_a_failed_run_with_the_reason(store: Store, small: Spec) -> None:
    run = store.client.get_run(write_failure(store, small, "RuntimeError: out of memory", {"a": "b"}))
    assert run.info.status == "FAILED"
    assert run.data.tags["paramshare.error"] == "RuntimeError: out of memory"
    assert run.data.params["seed"] == "3"
    assert find_finished(store, [small]) == {}


def test_a_run_that_diverged_has_tags_with_the_step(store: Store, result: Result) -> None:
    assert "paramshare.diverged" not in written(store, result).data.tags
    losses = result.losses.copy()
    losses[[5, 7]] = np.nan, np.inf
    run = written(store, replace(result, losses=losses, started=result.started + 1))
    assert run.info.status == "FINISHED"
    assert (run.data.tags["paramshare.diverged"], run.data.tags["paramshare.diverged_at"]) == ("true", "5")
    assert find_finished(store, [result.spec])[result.spec.key()].diverged


def test_a_second_run_of_a_spec_is_written_only_if_requested(store: Store, result: Result) -> None:
    first = write_run(store, result, {}, again=False)
    with pytest.raises(RunExistsError, match=first.run_id):
        write_run(store, result, {}, again=False)
    assert write_run(store, result, {}).run_id != first.run_id
