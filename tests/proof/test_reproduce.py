"""A run is trained again from the store alone, anything that was changed in it is found, and what
other arithmetic does is told from what an error does: by the one-bit control, and only where something explains it.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from mlflow.utils.file_utils import local_file_uri_to_path

from paramshare.errors import DeviceError, UsageError
from paramshare.proof.reproduce import reproduce
from paramshare.provenance import provenance_tags
from paramshare.recipes.dynamicnet.recipe import TrainSpec
from paramshare.recipes.dynamicnet.variants import VARIANTS, VariantName
from paramshare.recipes.spec import Spec
from paramshare.tracking.read.models import model_of
from paramshare.tracking.store import Store, StoreAddress, open_store
from paramshare.tracking.tags import MODEL_WEIGHTS
from paramshare.tracking.write.kinds.seeds import write_run
from paramshare.training.choice import EngineName
from paramshare.training.engines import train
from support.specs import replace
from support.tracking.sql_edits import tamper


@pytest.fixture
def store(address: StoreAddress) -> Store:
    return open_store(address)


def written(store: Store, spec: Spec, engine: EngineName = "exact", **tags: str) -> str:
    """The id of a run of `spec` that says where it came from, `tags` put in place of what is so."""
    others = {f"paramshare.{name.replace('_', '.', 1)}": value for name, value in tags.items()}
    return write_run(store, train(spec, engine), {**provenance_tags(), **others}).run_id


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("engine", ["reference", "exact", "gram"])
def test_a_run_is_reproduced_to_the_bit_by_its_own_engine(
    engine: EngineName, variant: VariantName, store: Store, small: Spec
) -> None:
    run_id = written(store, replace(small, variant=variant), engine)
    outcome = reproduce(run_id, store.address)
    assert (outcome.verdict, outcome.failed) == ("bitwise equal", False)
    assert (outcome.run_engine, outcome.engine) == (engine, engine)
    assert outcome.compared.weights == 0
    assert (outcome.bit_flips, outcome.differences) == ((), ())


def test_an_engine_of_the_same_arithmetic_gives_the_same_bits(store: Store, small: Spec) -> None:
    outcome = reproduce(written(store, small), store.address, "reference")
    assert (outcome.run_engine, outcome.engine, outcome.verdict) == ("exact", "reference", "bitwise equal")


def test_a_diverged_run_is_reproduced_to_the_bit(store: Store, small: Spec) -> None:
    run_id = written(store, replace(small, learning_rate=1e6))
    outcome = reproduce(run_id, store.address)
    assert outcome.verdict == "bitwise equal"


@pytest.mark.parametrize(("trained", "again"), [("gram", "reference"), ("exact", "gram")])
def test_an_engine_of_other_arithmetic_reproduces_a_run_within_the_control(
    trained: EngineName, again: EngineName, store: Store
) -> None:
    outcome = reproduce(written(store, TrainSpec(seed=1), trained), store.address, again)
    assert not outcome.equal
    assert outcome.within
    assert not outcome.failed
    assert outcome.verdict.startswith("differs from step ")
    assert outcome.verdict.endswith(" on, within the one-bit control")
    assert len(outcome.bit_flips) >= 4
    (difference,) = outcome.differences
    assert (difference.name, difference.run, difference.here, difference.explains) == ("engine", trained, again, True)


def test_a_changed_loss_is_detected_with_its_step_and_deviation(store: Store, small: Spec) -> None:
    run_id = written(store, small)
    tamper(store.address, "UPDATE metrics SET value = value * 2 WHERE key = 'train/loss' AND step = 7")
    outcome = reproduce(run_id, store.address)
    assert (outcome.verdict, outcome.failed) == ("differs from step 7 on, beyond the one-bit control", True)
    assert outcome.compared.losses == 1
    assert outcome.compared.deviation.largest == pytest.approx(np.log(2))
    assert len(outcome.bit_flips) == 64
    lines = "\n".join(outcome.lines())
    for said in (
        "step 7: ",
        "1 of 20 losses, 0 depths, 0 of the trained net's losses, 0 weights",
        "n = 64 flips",
    ):
        assert said in lines


def test_an_unexplained_difference_within_the_control_is_a_failure(store: Store, small: Spec) -> None:
    run_id = written(store, small)
    tamper(store.address, "UPDATE metrics SET value = value * (1 + 1e-12) WHERE key = 'train/loss' AND step = 7")
    outcome = reproduce(run_id, store.address)
    assert outcome.verdict == "differs from step 7 on, within the one-bit control, unexplained"
    assert outcome.failed


@pytest.mark.parametrize(
    ("name", "explains"),
    [
        ("version_torch", True),
        ("hardware_cpu", True),
        ("version_mlflow", False),
        ("hardware_cores", False),
        ("hardware_accelerators", False),  # of a run on the CPU
    ],
)
def test_only_differences_that_can_change_bits_explain_a_deviation_within_the_control(
    name: str, explains: bool, store: Store, small: Spec
) -> None:
    run_id = written(store, small, **{name: "another"})
    assert not reproduce(run_id, store.address).failed
    tamper(store.address, "UPDATE metrics SET value = value * (1 + 1e-12) WHERE key = 'train/loss' AND step = 7")
    outcome = reproduce(run_id, store.address)
    (difference,) = outcome.differences
    assert (difference.name, difference.run) == (name.replace("_", "."), "another")
    assert difference.explains is explains
    assert outcome.failed is not explains
    assert f"  {difference.name}  another -> {difference.here}" in outcome.lines()


def test_no_difference_explains_a_deviation_beyond_the_control(store: Store, small: Spec) -> None:
    run_id = written(store, small, version_torch="another")
    tamper(store.address, "UPDATE metrics SET value = value * 1.01 WHERE key = 'train/loss' AND step = 0")
    assert reproduce(run_id, store.address).failed


def test_a_different_commit_and_thread_count_are_reported(store: Store, small: Spec) -> None:
    run_id = written(store, small)
    store.client.set_tag(run_id, "mlflow.source.git.commit", "0" * 40)
    store.client.set_tag(run_id, "paramshare.threads", "2")
    commit, threads = reproduce(run_id, store.address).differences
    assert (commit.name, commit.run[:40], commit.explains) == ("git.commit", "0" * 40, False)
    assert (threads.name, threads.run, threads.here, threads.explains) == ("threads", "2", "1", True)


@pytest.mark.parametrize(
    ("statement", "verdict"),
    [
        (
            "metrics SET value = 5 WHERE key = 'depth' AND step = 4",
            "differs from step 4 on, beyond the one-bit control",
        ),
        (
            "latest_metrics SET value = 9 WHERE key = 'final/loss_depth_2'",
            "differs in the final losses, beyond the one-bit control",
        ),
        (
            "latest_metrics SET value = 9 WHERE key = 'final/loss_mean_depth'",
            "differs in the final losses, beyond the one-bit control",
        ),
    ],
)
def test_changed_depths_and_final_losses_are_detected(statement: str, verdict: str, store: Store, small: Spec) -> None:
    run_id = written(store, small, version_torch="another")
    tamper(store.address, f"UPDATE {statement}")
    outcome = reproduce(run_id, store.address)
    assert (outcome.verdict, outcome.failed) == (verdict, True)


def test_changed_weights_of_the_logged_model_are_detected(store: Store, small: Spec) -> None:
    run_id, other = written(store, small), written(store, replace(small, seed=4))
    models = [model_of(store, one) for one in (run_id, other)]
    file, others = (Path(local_file_uri_to_path(model.location), MODEL_WEIGHTS) for model in models if model)
    file.write_bytes(others.read_bytes())
    outcome = reproduce(run_id, store.address)
    assert outcome.compared.weights == 8 * 6 + 6 + 6 * 6 + 6 + 6 * 3 + 3
    assert outcome.verdict == "differs in the weights, within the one-bit control, unexplained"
    file.unlink()
    without = reproduce(run_id, store.address)
    assert without.verdict == "bitwise equal"
    assert without.lines()[2].endswith("; the run has no model, so its weights were not compared")


def test_a_run_whose_engine_or_device_is_unavailable_is_refused(store: Store, small: Spec) -> None:
    run_id = written(store, small)
    store.client.set_tag(run_id, "paramshare.engine", "quantum")
    with pytest.raises(UsageError, match="was trained by the engine 'quantum', which this version does not have"):
        reproduce(run_id, store.address)
    assert reproduce(run_id, store.address, "reference").equal
    store.client.set_tag(run_id, "paramshare.engine", "gram")
    with pytest.raises(UsageError, match=r"was changed, .*its arithmetic is direct, but its engine is gram"):
        reproduce(run_id, store.address)
    elsewhere = replace(train(small, "reference"), spec=replace(small, device="cuda:99"))
    away = write_run(store, elsewhere, {}).run_id
    with pytest.raises(DeviceError, match="'cuda:99' is not on this machine"):
        reproduce(away, store.address)
    with pytest.raises(UsageError, match="the engine exact runs on cpu, not on cuda:99"):
        reproduce(away, store.address, "exact")


def test_reproducing_a_run_writes_nothing(store: Store, small: Spec) -> None:
    run_id = written(store, small)
    before = store.client.get_run(run_id).to_dictionary()
    reproduce(run_id, store.address)
    assert store.client.get_run(run_id).to_dictionary() == before
    assert len(store.client.search_runs([store.experiment_id])) == 1


def test_the_json_of_a_reproduction_is_valid_and_has_every_number(store: Store, small: Spec) -> None:
    run_id = written(store, small)
    tamper(store.address, "UPDATE metrics SET is_nan = 1, value = 0 WHERE key = 'train/loss' AND step = 7")
    said = json.loads(json.dumps(reproduce(run_id, store.address).as_dict(), allow_nan=False))
    assert (said["run_id"], said["reproduced"], said["equal"], said["first_step"]) == (run_id, False, False, 7)
    assert said["first_losses"]["run"] is None
    assert said["first_losses"]["here"] > 0
    assert said["deviation"]["largest"] is None
    assert said["differing"] == {"losses": 1, "depths": 0, "finals": 0, "weights": 0}
    assert {tuple(one) for one in said["control"]} == {("largest", "rms", "final")}
