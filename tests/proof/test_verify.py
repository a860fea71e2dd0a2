"""A seed draws the sample from all FINISHED runs of a sweep, re-used ones too, and each is compared."""

import json
from dataclasses import replace

import pytest
from pydantic import ValidationError

from paramshare.bands import Band
from paramshare.errors import StoreError, UsageError
from paramshare.plots import aggregate_curves
from paramshare.proof.spec import VerifySpec
from paramshare.proof.verify import draw_sample, verify
from paramshare.sweep.report import table_of
from paramshare.sweep.result import SweepResult
from paramshare.sweep.run import run_sweep
from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.store import StoreAddress, open_store
from paramshare.tracking.write.kinds.sweeps import finish_sweep, start_sweep
from support.command_line import SIZES
from support.tracking.sql_edits import tamper


def swept(address: StoreAddress, seeds: str = "0:6", **given: object) -> SweepResult:
    spec = SweepSpec.model_validate({**SIZES, "devices": "cpu", "workers": 1, "seeds": seeds, **given})
    return run_sweep(spec, address, {})


def drawn(address: StoreAddress, **given: object) -> list[int]:
    return [member.seed for member in draw_sample(VerifySpec.model_validate(given), address).members]


def test_every_run_of_a_sweep_is_reproduced(address: StoreAddress) -> None:
    sweep = swept(address, "0:2", variant="shared,untied")
    seen = []
    outcome = verify(VerifySpec(sample=9), address, seen.append)
    assert outcome.parent_run_id == sweep.parent_run_id
    assert [row.member.run_id for row in outcome.rows] == [row.run_id for row in sweep.rows]
    assert {row.verdict for row in outcome.rows} == {"bitwise equal"}
    assert tuple(seen) == outcome.rows
    assert outcome.failed == ()
    assert outcome.summary == "4 of 4 runs reproduced, a sample of the 4 of shared, untied seeds 0:2 on cpu"


def test_a_sample_depends_on_its_seed_only(address: StoreAddress) -> None:
    swept(address)
    first = drawn(address)
    assert len(first) == 3
    assert first == sorted(first) == drawn(address)
    assert len({tuple(drawn(address, sample_seed=seed)) for seed in range(8)}) > 3
    assert {one for seed in range(20) for one in drawn(address, sample_seed=seed, sample=1)} == set(range(6))


def test_the_newest_finished_sweep_is_the_default_and_includes_reused_runs(
    address: StoreAddress,
) -> None:
    first = swept(address, "0:2")
    second = swept(address, "0:4")
    assert [row.reused for row in second.rows] == [True, True, False, False]
    assert drawn(address, sample=9) == [0, 1, 2, 3]
    assert drawn(address, sample=9, parent_run_id=first.parent_run_id[:8]) == [0, 1]


def test_a_run_that_is_not_reproduced_is_reported_and_the_others_are_still_verified(address: StoreAddress) -> None:
    sweep = swept(address, "0:3")
    changed, gone, _ = (row.run_id for row in sweep.rows)
    step = f"WHERE key = 'train/loss' AND step = 7 AND run_uuid = '{changed}'"
    tamper(address, f"UPDATE metrics SET value = value * 2 {step}")
    open_store(address).client.delete_run(gone)
    outcome = verify(VerifySpec(), address)
    assert [row.failed for row in outcome.rows] == [True, True, False]
    assert outcome.rows[0].verdict == "differs from step 7 on, beyond the one-bit control"
    assert outcome.rows[1].verdict.startswith(f"UsageError: there is no run {gone}")
    assert outcome.failed == outcome.rows[:2]
    said = json.loads(json.dumps(outcome.as_dict(), allow_nan=False))
    assert (said["reproduced"], said["of"]) == (False, 3)
    assert [run["reproduced"] for run in said["runs"]] == [False, False, True]
    assert said["runs"][0]["reproduction"]["first_step"] == 7
    assert said["runs"][1]["reproduction"] is None
    report = outcome.markdown(lambda run_id: f"#/{run_id}")
    assert f"| 0 | shared | cpu | [{changed[:8]}](#/{changed}) | **differs from step 7 on, beyond" in report


def test_failed_runs_are_not_sampled(address: StoreAddress) -> None:
    sweep = swept(address, "0:3")
    rows = [replace(sweep.rows[0], status="FAILED"), *sweep.rows[1:]]
    store = open_store(address)
    parent = start_sweep(store, "some failed", "0" * 32, {}, {})
    figure = aggregate_curves({"shared-cpu": Band.of([[1.0, 1.0]])}, "none")
    table = table_of(rows)
    finish_sweep(store, parent, status="FAILED", bands={}, metrics={}, figure=figure, table=table, note="", views={})
    assert drawn(address, sample=9) == [0, 1, 2]  # of the finished sweep
    assert drawn(address, sample=9, parent_run_id=parent) == [1, 2]


def test_an_invalid_or_missing_sweep_is_refused(address: StoreAddress) -> None:
    with pytest.raises(StoreError, match="has no experiment 'paramshare'"):
        draw_sample(VerifySpec(), address)
    store = open_store(address)
    with pytest.raises(UsageError, match="the experiment 'paramshare' has no finished sweep"):
        draw_sample(VerifySpec(), address)
    running = start_sweep(store, "running", "0" * 32, {}, {})
    seed = swept(address, "0").rows[0].run_id
    for parent, said in (
        ("0" * 32, "there is no run"),
        (seed, "is not a sweep"),
        (running, "is RUNNING and has no seeds"),
    ):
        with pytest.raises(UsageError, match=said):
            draw_sample(VerifySpec(parent_run_id=parent), address)
    with pytest.raises(ValidationError, match="'sweep' is not the id of a run; expected 32 hexadecimal digits"):
        VerifySpec(parent_run_id="sweep")
