"""A sweep writes every run under one parent run, trains nothing twice, gives the same bits with any number
of processes, and reports failures.
"""

import base64
import json
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from mlflow.entities import Run

from paramshare.bands import Band
from paramshare.errors import DeviceError, StoreError
from paramshare.sweep.chunks import Row, make_chunks
from paramshare.sweep.result import SweepResult
from paramshare.sweep.run import open_sweep, run_sweep
from paramshare.sweep.spec import SweepSpec
from paramshare.sweep.workers import pools
from paramshare.sweep.workers.execution import run_chunk
from paramshare.tracking.read.curves import read_losses
from paramshare.tracking.store import StoreAddress, open_store
from paramshare.tracking.write.owners import Owner
from paramshare.training.environment.devices import Device
from support.command_line import SIZES
from support.specs import replace

ABSENT = "cuda:99"
"""A device that this machine lacks."""

VIEW = "mlflow.sharedViewState.paramshare-sweep"


def spec(**given: object) -> SweepSpec:
    """Return the spec of a small sweep, in this process unless more workers are given."""
    return SweepSpec.model_validate({**SIZES, "devices": "cpu", "seeds": "0:3", "workers": 1, **given})


def run(address: StoreAddress, **given: object) -> SweepResult:
    return run_sweep(spec(**given), address, {"mlflow.source.name": "test"})


def all_runs(address: StoreAddress) -> list[Run]:
    store = open_store(address)
    return list(store.client.search_runs([store.experiment_id], max_results=1000))


def parent_of(address: StoreAddress, outcome: SweepResult) -> Run:
    return open_store(address).client.get_run(outcome.parent_run_id)


def run_elsewhere(address: StoreAddress, *devices: str, **given: object) -> SweepResult:
    """Run a sweep whose plan was made for workers with other devices and memory: runs that do not fit here fail."""
    available = [Device(name, "a worker's", "for this test") for name in devices]
    asked = spec(devices=",".join(devices), **given)
    with open_sweep(asked, address, {}, available) as sweep:
        for row in pools.run_chunks(sweep.chunks(1), asked.workers):
            sweep.add(row)
        return sweep.finish()


def test_every_seed_becomes_a_finished_run_under_one_parent_run(address: StoreAddress) -> None:
    outcome = run(address, variant="shared,untied")
    assert [(row.spec.variant, row.spec.seed, row.status) for row in outcome.rows] == [
        (variant, seed, "FINISHED") for variant in ("shared", "untied") for seed in range(3)
    ]
    runs = {one.info.run_id: one for one in all_runs(address)}
    assert set(runs) == {outcome.parent_run_id, *(row.run_id for row in outcome.rows)}
    assert {one.info.status for one in runs.values()} == {"FINISHED"}
    for row in outcome.rows:
        tags = runs[row.run_id].data.tags
        assert tags["mlflow.parentRunId"] == outcome.parent_run_id
        assert tags["mlflow.source.name"] == "test"
        assert tags["paramshare.version.torch"]
        assert tags["paramshare.hardware.cpu"]


def test_the_parent_run_has_the_median_and_quartiles_of_its_seeds_at_every_step(address: StoreAddress) -> None:
    outcome = run(address)
    store = open_store(address)
    band = Band.of([read_losses(store, row.run_id) for row in outcome.rows])
    for name, expected in (("median", band.median), ("lower_quartile", band.lower), ("upper_quartile", band.upper)):
        history = store.client.get_metric_history(outcome.parent_run_id, f"loss/{name}/shared-cpu")
        assert [point.step for point in history] == list(range(20))
        np.testing.assert_array_equal([point.value for point in history], expected)


def test_the_parent_run_has_a_picture_of_the_curves_a_table_of_all_seeds_and_a_note(address: StoreAddress) -> None:
    outcome = run(address)
    store = open_store(address)
    assert Path(outcome.curves).read_bytes().startswith(b"\x89PNG")
    table = json.loads(Path(store.client.download_artifacts(outcome.parent_run_id, "seeds.json")).read_text())
    seed, run_id = table["columns"].index("seed"), table["columns"].index("run_id")
    assert [(line[seed], line[run_id]) for line in table["data"]] == [(r.spec.seed, r.run_id) for r in outcome.rows]
    note = parent_of(address, outcome).data.tags["mlflow.note.content"]
    assert "3 of 3 runs finished" in note
    assert all(f"/runs/{row.run_id}" in note for row in outcome.rows)


def test_the_saved_view_of_the_last_sweep_shows_the_newest_sweep(address: StoreAddress) -> None:
    for seeds in ("0:2", "0:3"):
        outcome = run(address, seeds=seeds)
        tag = open_store(address).client.get_experiment(outcome.experiment_id).tags[VIEW]
        state = zlib.decompress(base64.b64decode(json.loads(tag)["state"].removeprefix("deflate;")))
        assert outcome.parent_run_id in json.loads(state)["searchFilter"]


def test_a_sweep_that_is_rerun_trains_nothing_and_writes_nothing(address: StoreAddress) -> None:
    first = run(address)
    before = sorted(one.info.run_id for one in all_runs(address))
    second = run(address)
    assert [row.reused for row in second.rows] == [True] * 3
    assert [row.run_id for row in second.rows] == [row.run_id for row in first.rows]
    assert second.parent_run_id == first.parent_run_id
    assert sorted(one.info.run_id for one in all_runs(address)) == before


def test_a_larger_sweep_trains_only_new_seeds_and_reports_the_reused_ones(address: StoreAddress) -> None:
    first = run(address, seeds="0:2")
    second = run(address, seeds="0:4")
    assert [row.reused for row in second.rows] == [True, True, False, False]
    assert [row.run_id for row in second.rows[:2]] == [row.run_id for row in first.rows]
    parent = parent_of(address, second)
    assert parent.data.metrics["runs/reused"] == 2
    assert parent.data.metrics["runs/done"] == parent.data.metrics["runs/planned"] == 4
    assert "(2 re-used, 0 failed)" in parent.data.tags["mlflow.note.content"]


def test_a_run_that_is_not_finished_is_trained_again(address: StoreAddress) -> None:
    first = run(address)
    store = open_store(address)
    store.client.set_terminated(first.rows[1].run_id, "KILLED")
    assert [row.reused for row in run(address).rows] == [True, False, True]


def test_a_forced_sweep_trains_every_run_again(address: StoreAddress) -> None:
    first, second = run(address), run(address, force=True)
    assert not {row.run_id for row in first.rows} & {row.run_id for row in second.rows}
    assert [row.final_loss for row in first.rows] == [row.final_loss for row in second.rows]


def test_a_sweep_with_a_long_seed_list_is_named_by_the_number_of_seeds(address: StoreAddress) -> None:
    outcome = run(address, seeds=",".join(str(10**17 + 2 * seed) for seed in range(30)), steps=1)
    parent = parent_of(address, outcome)
    assert parent.info.run_name == "shared 30 seeds on cpu"
    assert parent.data.params["seeds"] == "30 seeds, listed in the table"


def test_a_sweep_reuses_no_run_of_another_experiment(address: StoreAddress) -> None:
    run(address)
    other = run(StoreAddress(address.uri, "other"))
    assert not any(row.reused for row in other.rows)


def test_the_results_do_not_depend_on_how_many_processes_trained_them(address: StoreAddress) -> None:
    one, two = run(address, seeds="0:4"), run(address, seeds="0:4", workers=2, force=True)
    store = open_store(address)
    for alone, pooled in zip(one.rows, two.rows, strict=True):
        np.testing.assert_array_equal(read_losses(store, alone.run_id), read_losses(store, pooled.run_id))
        assert not pooled.reused


def test_a_sweep_and_each_of_its_runs_are_tagged_with_the_engine_and_the_reason(address: StoreAddress) -> None:
    outcome = run(address, engine="gram")
    runs = {one.info.run_id: one.data for one in all_runs(address)}
    assert runs[outcome.parent_run_id].tags["paramshare.engine"] == "gram on cpu"
    assert runs[outcome.parent_run_id].tags["paramshare.engine_reason"] == "asked for"
    assert runs[outcome.parent_run_id].params["engine"] == "gram"
    for row in outcome.rows:
        assert runs[row.run_id].tags["paramshare.engine"] == "gram"
        assert runs[row.run_id].tags["paramshare.engine_reason"] == "asked for"
        assert runs[row.run_id].params["arithmetic"] == "gram"


def test_engines_with_the_same_bits_reuse_each_others_runs_and_other_engines_do_not(address: StoreAddress) -> None:
    exact, reference = run(address, engine="exact"), run(address, engine="reference")
    assert [row.run_id for row in reference.rows] == [row.run_id for row in exact.rows]
    assert not any(row.reused for row in run(address, engine="gram").rows)


def test_the_seeds_of_a_chunk_are_trained_and_written_in_order(address: StoreAddress) -> None:
    (chunk,) = make_chunks(spec(seeds="0:3").run_choices(("cpu",)), 3, address)
    assert [row.spec.seed for row in run_chunk(chunk)] == [0, 1, 2]


def test_a_device_that_fails_stops_no_other_device(address: StoreAddress) -> None:
    """This machine lacks the first device: each of its runs fails, none on the CPU."""
    choices = spec(seeds="0:2").run_choices((ABSENT, "cpu"))
    rows = list(pools.run_chunks(make_chunks(choices, 1, address), workers=1))
    assert sorted((row.spec.device, row.spec.seed, row.status) for row in rows) == [
        ("cpu", 0, "FINISHED"),
        ("cpu", 1, "FINISHED"),
        (ABSENT, 0, "FAILED"),
        (ABSENT, 1, "FAILED"),
    ]
    assert all(row.error for row in rows if row.spec.device == ABSENT)


def test_a_run_that_fails_is_reported_and_stops_no_other_run(address: StoreAddress) -> None:
    result = run_elsewhere(address, "cpu", ABSENT, seeds="0:2")
    assert [row.status for row in result.rows] == ["FINISHED", "FINISHED", "FAILED", "FAILED"]
    assert result.failed == 2
    failed = result.rows[2]
    assert failed.error.startswith("DeviceError: device 'cuda:99' is not on this machine")
    assert result.as_dict()["runs"][2]["final_loss"] is None
    parent = parent_of(address, result)
    assert parent.info.status == "FAILED"
    assert parent.data.metrics["runs/failed"] == 2
    assert open_store(address).client.get_run(failed.run_id).info.status == "FAILED"


def test_a_sweep_whose_runs_all_fail_has_a_failed_parent_run(address: StoreAddress) -> None:
    assert parent_of(address, run_elsewhere(address, ABSENT, seeds="1")).info.status == "FAILED"


def test_a_model_that_does_not_fit_into_memory_fails_in_each_process_and_names_the_reason(
    address: StoreAddress,
) -> None:
    result = run_elsewhere(address, "cpu", seeds="0:2", hidden_size=10**9, steps=1, workers=2)
    assert [row.status for row in result.rows] == ["FAILED", "FAILED"]
    assert all("of memory" in row.error for row in result.rows)
    assert parent_of(address, result).info.status == "FAILED"


def test_a_run_whose_losses_became_infinite_is_finished_and_reused(address: StoreAddress) -> None:
    outcome = run(address, learning_rate=1e6, seeds="0:2")
    assert outcome.rows[0].status == "FINISHED"
    assert outcome.as_dict()["runs"][0]["final_loss"] is None
    json.dumps(outcome.as_dict(), allow_nan=False)
    assert [row.reused for row in run(address, learning_rate=1e6, seeds="0:2").rows] == [True, True]


def test_runs_that_diverged_are_counted_and_reported_and_stop_no_other_run(address: StoreAddress) -> None:
    outcome = run(address, seeds="0:5", learning_rate=0.05)  # at which seed 1 diverges, the others do not
    assert [row.diverged for row in outcome.rows] == [False, True, False, False, False]
    assert (outcome.failed, outcome.diverged) == (0, 1)
    parent = parent_of(address, outcome)
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["runs/diverged"] == 1
    assert "(0 re-used, 0 failed, 1 diverged)" in outcome.note
    assert "diverged |" in outcome.note
    again = run(address, seeds="0:4", learning_rate=0.05)
    assert [row.diverged for row in again.rows] == [False, True, False, False]


def test_the_median_is_finite_while_few_runs_diverge_and_no_metric_is_infinite(address: StoreAddress) -> None:
    fine, wild = run(address), run(address, learning_rate=1e6)
    store = open_store(address)
    steps = {
        outcome.parent_run_id: len(store.client.get_metric_history(outcome.parent_run_id, "loss/median/shared-cpu"))
        for outcome in (fine, wild)
    }
    assert steps[fine.parent_run_id] == 20
    assert 0 < steps[wild.parent_run_id] < 20
    for outcome in (fine, wild):
        assert all(abs(value) < 1e300 for value in parent_of(address, outcome).data.metrics.values())
    assert "| shared-cpu (n = 3) | inf | inf – inf |" in wild.note


def test_a_run_that_another_sweep_has_written_meanwhile_is_reused_and_not_written_twice(
    address: StoreAddress,
) -> None:
    other: list[SweepResult] = []

    def overtake(row: Row) -> None:
        if not other:
            other.append(run(address, seeds="0:2"))

    outcome = run_sweep(spec(), address, {}, on_row=overtake)
    assert [row.reused for row in other[0].rows] == [True, False]
    assert [row.reused for row in outcome.rows] == [False, True, False]
    assert outcome.rows[1].run_id == other[0].rows[1].run_id
    assert parent_of(address, outcome).data.metrics["runs/reused"] == 1
    again = run_sweep(spec(force=True), address, {})
    assert not {row.run_id for row in outcome.rows} & {row.run_id for row in again.rows}


def test_the_next_sweep_closes_an_orphaned_sweep_and_leaves_a_live_one(
    address: StoreAddress,
) -> None:
    store, me = open_store(address), Owner.here()
    gone, alive = (
        store.client.create_run(store.experiment_id, tags={"paramshare.kind": "sweep", **owner.tags()}).info.run_id
        for owner in (replace(me, started="never"), me)
    )
    run(address)
    assert [store.client.get_run(run_id).info.status for run_id in (gone, alive)] == ["KILLED", "RUNNING"]
    assert not [one for one in all_runs(address) if one.info.status == "RUNNING" and one.info.run_id != alive]


def test_a_sweep_is_tagged_with_its_owner_and_lease_and_ends_only_its_own_runs(address: StoreAddress) -> None:
    with open_sweep(spec(), address, {}) as sweep:
        tags = sweep.store.client.get_run(sweep.parent_run_id).data.tags
        assert Owner.of(tags) == Owner.here()
        assert int(tags["paramshare.alive_until"]) > 1000 * time.time()
        with pytest.raises(SystemExit), open_sweep(spec(seeds="7"), address, {}) as other:
            raise SystemExit(143)
        statuses = [sweep.store.client.get_run(one.parent_run_id).info.status for one in (sweep, other)]
        assert statuses == ["RUNNING", "KILLED"]
        for row in pools.run_chunks(sweep.chunks(1), 1):
            sweep.add(row)
        sweep.finish()


def test_an_interrupted_sweep_has_a_killed_parent_run_and_complete_finished_runs(address: StoreAddress) -> None:
    def stop(row: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(spec(), address, {}, on_row=stop)
    statuses = {one.info.run_name: one.info.status for one in all_runs(address)}
    assert statuses["shared seeds 0:3 on cpu"] == "KILLED"
    assert "FINISHED" in statuses.values()
    assert run(address).rows[0].reused


def test_a_missing_device_is_refused_before_the_store_is_created(tmp_path: Path) -> None:
    with pytest.raises(DeviceError):
        run(StoreAddress.of(None, "x"), devices="cuda:99")
    assert not (tmp_path / "mlruns").exists()


def test_a_store_that_cannot_be_opened_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        run(StoreAddress("http://127.0.0.1:9", "x"))
    assert list(tmp_path.iterdir()) == []
