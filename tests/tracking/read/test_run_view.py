"""The spec and the numbers of a run are read from the store alone, and a changed run is refused."""

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path

from paramshare.errors import StoreError, UsageError
from paramshare.recipes.spec import Spec
from paramshare.tracking.read.models import model_of
from paramshare.tracking.read.run_view import read_run
from paramshare.tracking.read.weights import read_weights
from paramshare.tracking.store import Store, StoreAddress, open_existing_store
from paramshare.tracking.tags import MODEL_WEIGHTS
from paramshare.tracking.write.kinds.seeds import write_failure, write_run
from paramshare.training.engines import train
from paramshare.training.result import Result
from support.specs import replace
from support.tracking.sql_edits import tamper


@pytest.fixture
def result(small: Spec) -> Result:
    return train(replace(small, variant="untied", learning_rate=1 / 3, seed=2**62 + 1))


def model_file(store: Store, run_id: str) -> Path:
    model = model_of(store, run_id)
    assert model is not None
    return Path(local_file_uri_to_path(model.location), MODEL_WEIGHTS)


@pytest.mark.parametrize("engine", ["exact", "gram"])
def test_the_spec_of_a_run_is_read_back_unchanged(engine: str, store: Store, result: Result) -> None:
    written = train(result.spec, engine)  # type: ignore[arg-type]
    recalled = read_run(store, write_run(store, written, {}).run_id)
    assert recalled.spec == written.spec
    assert recalled.engine == engine


def test_every_number_of_a_run_is_read_back_unchanged(store: Store, result: Result) -> None:
    odd = np.array([np.inf, np.nan, np.float32(1e-45), *result.losses[3:]], np.float32)
    result = replace(result, losses=odd, depth_losses=(np.inf, 1.0, np.nan, 3.0))
    recalled = read_run(store, write_run(store, result, {}).run_id)
    np.testing.assert_array_equal(recalled.curves["train/loss"], odd.astype(np.float64))
    np.testing.assert_array_equal(recalled.curves["depth"], result.curves["depth"])
    np.testing.assert_equal(recalled.final_metrics, result.final_metrics)


def test_the_weights_of_a_run_are_bit_for_bit_those_of_the_trained_net(store: Store, result: Result) -> None:
    weights = read_weights(store, write_run(store, result, {}).run_id)
    assert weights is not None
    state = result.net.state_dict()
    assert set(weights) == set(state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(weights[name].view(np.uint32), tensor.numpy().view(np.uint32))


def test_a_run_without_a_model_has_no_weights(store: Store, result: Result) -> None:
    run_id = write_run(store, result, {}).run_id
    model_file(store, run_id).unlink()
    assert read_weights(store, run_id) is None


def test_weights_that_need_unpickling_are_refused(store: Store, result: Result) -> None:
    run_id = write_run(store, result, {}).run_id
    file, changed = model_file(store, run_id), BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b'"use_pickle": false', b'"use_pickle": true'))
    file.write_bytes(changed.getvalue())
    with pytest.raises(UsageError, match=r"the weights in its .* cannot be read .*is pickled"):
        read_weights(store, run_id)
    file.write_bytes(b"no archive")
    with pytest.raises(UsageError, match=r"the weights in its .* cannot be read"):
        read_weights(store, run_id)


def test_a_run_without_the_parameter_arithmetic_has_the_direct_one(
    store: Store, result: Result, address: StoreAddress
) -> None:
    run_id = write_run(store, result, {}).run_id
    tamper(address, "DELETE FROM params WHERE key = 'arithmetic'")
    assert read_run(store, run_id).spec == result.spec


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE params SET value = '4' WHERE key = 'batch_size' OR key = 'seed'", "its parameters have the key"),
        ("UPDATE params SET value = 'x' WHERE key = 'seed'", "its parameters are not a valid spec"),
        (
            "UPDATE params SET value = 'tied' WHERE key = 'variant'",
            "its parameters are not a valid spec .*expected shared, untied",
        ),
        ("DELETE FROM params WHERE key = 'momentum'", "it has no parameter momentum"),
        ("DELETE FROM tags WHERE key = 'paramshare.key'", "its tag paramshare.key is missing"),
        ("DELETE FROM metrics WHERE key = 'train/loss' AND step = 7", "has 19 values of train/loss"),
        ("UPDATE metrics SET step = 30 WHERE key = 'depth' AND step = 7", "has 20 values of depth, and not one for"),
        ("DELETE FROM latest_metrics WHERE key = 'final/loss_depth_2'", "it has no metric final/loss_depth_2"),
    ],
)
def test_a_run_whose_content_was_changed_is_refused(
    statement: str, message: str, store: Store, result: Result, address: StoreAddress
) -> None:
    run_id = write_run(store, result, {}).run_id
    tamper(address, statement)
    with pytest.raises(UsageError, match=f"the run {run_id} was changed, or is of another version.*{message}"):
        read_run(store, run_id)


def test_a_run_with_an_additional_loss_is_refused(store: Store, result: Result) -> None:
    run_id = write_run(store, result, {}).run_id
    store.client.log_metric(run_id, "train/loss", 0.0, step=7)
    with pytest.raises(UsageError, match="has 21 values of train/loss"):
        read_run(store, run_id)


def test_a_run_is_found_by_the_beginning_of_its_id(store: Store, result: Result) -> None:
    run_id = write_run(store, result, {}).run_id
    assert read_run(store, run_id[:8]).run_id == run_id


def test_an_id_that_several_runs_begin_with_is_refused(store: Store, result: Result, address: StoreAddress) -> None:
    for number, run_id in enumerate([write_run(store, result, {}).run_id for _ in range(2)]):
        tamper(address, f"UPDATE runs SET run_uuid = 'abcdef01{number}{run_id[9:]}' WHERE run_uuid = '{run_id}'")
    with pytest.raises(UsageError, match="several runs begin with abcdef01"):
        read_run(store, "abcdef01")


def test_a_run_that_is_not_a_finished_seed_is_refused(store: Store, small: Spec) -> None:
    failed = write_failure(store, small, "out of memory", {})
    other = store.client.create_run(store.experiment_id).info.run_id
    for run_id, message in (
        (failed, "is FAILED"),
        (other, "was not created by paramshare"),
        ("0" * 32, "there is no run"),
    ):
        with pytest.raises(UsageError, match=message):
            read_run(store, run_id)


def test_opening_an_existing_store_creates_neither_a_store_nor_an_experiment(
    address: StoreAddress, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match="there is no store at"):
        open_existing_store(StoreAddress(f"sqlite:///{tmp_path}/none/mlflow.db", "paramshare"))
    assert not (tmp_path / "none").exists()
    with pytest.raises(StoreError, match="has no experiment 'misspelt'"):
        open_existing_store(StoreAddress(address.uri, "misspelt"))
    assert MlflowClient(address.uri).get_experiment_by_name("misspelt") is None
