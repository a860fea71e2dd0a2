"""A study is made from what a store holds, in a few queries, embedded and on a server alike: the same
numbers, the same bits in the curves; that it leaves its report with the sweep; and runs are read as they ended.
"""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from paramshare.bands import Band
from paramshare.cli import main
from paramshare.commands.comparing import Study as StudyCommand
from paramshare.commands.recipes.options import command_for
from paramshare.comparing.run import compare, compare_sweep, run_study
from paramshare.comparing.spec import CompareSpec, StudySpec
from paramshare.comparing.study import Study
from paramshare.errors import UsageError
from paramshare.recipes.digits.recipe import DigitsRecipe
from paramshare.recipes.dynamicnet.recipe import TrainSpec
from paramshare.recipes.parts import Data
from paramshare.recipes.spec import Spec
from paramshare.recipes.target import TARGETS
from paramshare.sweep.result import SweepResult
from paramshare.tracking.read.curves import read_histories, read_losses
from paramshare.tracking.read.seeds import read_ended
from paramshare.tracking.read.sweeps import read_note
from paramshare.tracking.store import StoreAddress, open_store
from paramshare.tracking.write.kinds.seeds import write_failure, write_run
from paramshare.training.engines import train
from support.command_line import SIZES
from support.specs import digits_spec, replace
from support.tracking.run_counts import finished_runs

SPEC = StudySpec.model_validate({**SIZES, "seeds": "0:6", "devices": "cpu", "workers": 1})
DIGITS = ["--target", "digits", "--placement", "plain", "--examples", "60", "--steps", "12", "--channels", "2"]


def studied(address: StoreAddress) -> tuple[SweepResult, Study]:
    outcome, found = run_study(SPEC, address, {})
    assert found is not None
    return outcome, found


def test_a_study_compares_each_variant_with_the_first_and_has_the_curves_of_all_seeds(address: StoreAddress) -> None:
    outcome, found = studied(address)
    store = open_store(address)
    assert [one.name for one in found.groups] == ["shared", "untied"]
    assert [(one.one, one.other, one.n) for one in found.contrasts] == [("untied", "shared", "6 pairs")]
    for one in found.groups:
        ids = [row.run_id for row in outcome.rows if row.spec.variant == one.name]
        band = Band.of([read_losses(store, run_id) for run_id in ids])
        assert one.curves is not None
        np.testing.assert_array_equal(one.curves.median, band.median)
    again = compare(CompareSpec(), address, curves=True)
    assert json.dumps(again.as_dict()) == json.dumps(found.as_dict())


def test_the_study_report_is_an_artifact_of_the_sweep_whose_note_has_the_answers(address: StoreAddress) -> None:
    outcome, _ = studied(address)
    store = open_store(address)
    files = {file.path for file in store.client.list_artifacts(outcome.parent_run_id, "study")}
    figures = {"curves", "values", "differences", "parameters", "finals"}
    assert files == {
        f"study/{name}" for name in ("report.html", "report.md", "study.json", *(f"{one}.png" for one in figures))
    }
    note = read_note(store, outcome.parent_run_id)
    assert note.startswith("**Untying adds ")
    assert "paramshare study --seeds 0:6" in note
    assert len(re.findall(r"^!\[.+\]\(.+\)\n\n\*\S.+\*$", note, re.MULTILINE)) == len(figures)  # each has its caption
    before = len(list(store.client.search_runs([store.experiment_id])))
    assert studied(address)[0].parent_run_id == outcome.parent_run_id
    assert len(list(store.client.search_runs([store.experiment_id]))) == before


def test_the_curves_of_a_new_study_come_from_memory(address: StoreAddress) -> None:
    outcome, found = studied(address)
    store = open_store(address)
    assert address.database is not None
    with closing(sqlite3.connect(address.database)) as database, database:
        database.execute("DELETE FROM metrics")  # the values of every step
    again = compare_sweep(SPEC, store, outcome.rows)
    for before, after in zip(found.groups, again.groups, strict=True):
        assert before.curves is not None
        assert after.curves is not None
        np.testing.assert_array_equal(before.curves.median, after.curves.median)


def test_a_sweep_is_compared_by_its_own_runs_although_another_sweep_has_newer_ones(address: StoreAddress) -> None:
    outcome, found = studied(address)
    store, result = open_store(address), train(outcome.rows[0].spec)
    write_run(store, replace(result, losses=result.losses * 2, started=result.started + 60), {})
    assert json.dumps(compare_sweep(SPEC, store, outcome.rows).as_dict()) == json.dumps(found.as_dict())


def test_a_server_gives_the_same_study_as_an_embedded_store(
    address: StoreAddress, server_address: StoreAddress
) -> None:
    numbers = [json.dumps(study.as_dict()["contrasts"]) for _, study in (studied(address), studied(server_address))]
    assert numbers[0] == numbers[1]


def test_curves_of_many_runs_read_from_a_server_are_bit_for_bit_those_of_the_store(
    server_address: StoreAddress, small: Spec
) -> None:
    store, ids, curves = open_store(server_address), [], []
    for seed in range(3):
        result = train(replace(small, seed=seed))
        curve = np.array([np.nan, np.inf, *result.losses[2:]], np.float32)
        curves.append(curve)
        ids.append(write_run(store, replace(result, losses=curve), {}).run_id)
    found = read_histories(store, ids, "train/loss")
    assert list(found) == ids
    for run_id, curve in zip(ids, curves, strict=True):
        np.testing.assert_array_equal(read_losses(store, run_id), curve)
        np.testing.assert_array_equal(np.float32(found[run_id][2:]), curve[2:])


def test_the_newest_finished_run_of_a_spec_is_read_and_a_failed_one_if_none_finished(
    address: StoreAddress, small: Spec
) -> None:
    store, result = open_store(address), train(small)
    write_failure(store, small, "no room", {})
    assert [(one.finished, one.metrics) for one in read_ended(store)] == [(False, {})]
    write_run(store, result, {})
    newest = write_run(store, replace(result, started=result.started + 60), {}).run_id
    write_failure(store, small, "no room", {})
    (values,) = read_ended(store)
    assert (values.run_id, values.seed, values.finished) == (newest, 3, True)
    assert values.facts["variant"] == "shared"
    assert values.metrics["final/loss_mean_depth"] == result.final_metrics["final/loss_mean_depth"]


def test_a_study_with_a_failed_seed_is_refused_unless_partial(
    address: StoreAddress, capsys: pytest.CaptureFixture[str]
) -> None:
    studied(address)
    store = open_store(address)
    write_failure(store, TrainSpec(seed=9, variant="untied", **SIZES), "no room", {})
    with pytest.raises(UsageError, match="shared lacks seed 9; untied lacks seed 9"):
        compare(CompareSpec(), address)
    assert main(["compare"]) == 2
    assert "--partial" in capsys.readouterr().err
    assert main(["compare", "--partial"]) == 0
    assert "Runs are missing: shared lacks seed 9" in capsys.readouterr().out


def test_the_command_line_studies_digits_and_reproduces_a_digits_run(
    address: StoreAddress, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["study", *DIGITS, "--seeds", "0:2", "--devices", "cpu", "--workers", "1", "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["target"] == "digits"
    assert [group["name"] for group in plain["groups"]] == ["conv", "local", "dense"]
    assert plain["groups"][0]["sizes"]["model/parameters"] == 20 + 76 + 50
    assert main(["compare", "--report", "report.html", "--metric", "final/loss"]) == 0
    assert "report: report.html" in capsys.readouterr().out
    assert (tmp_path / "report.html").read_text().count("<img ") >= 4
    assert main(["compare", "--report", "report.md", "--metric", "final/loss"]) == 0
    assert "| conv" in (tmp_path / "report.md").read_text()
    run_id = read_ended(open_store(address))[0].run_id
    assert main(["reproduce", run_id]) == 0
    assert "bitwise equal" in capsys.readouterr().out


def test_a_net_with_nan_weights_diverged_by_every_metric_although_it_has_an_accuracy(
    address: StoreAddress, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nans(recipe: DigitsRecipe, generator: torch.Generator) -> Data:
        data = draw(recipe, generator)
        images, labels = data.train
        return replace(data, train=(torch.full_like(images, torch.nan), labels))

    draw = DigitsRecipe.data
    monkeypatch.setattr(DigitsRecipe, "data", nans)  # no learning rate does so on every processor
    arguments = ["--variant", "local", "--seeds", "4:6", "--devices", "cpu", "--workers", "1", "--channels", "2"]
    assert main(["study", *DIGITS[:2], "--examples", "100", "--steps", "12", *arguments]) == 0
    capsys.readouterr()
    store = open_store(address)
    for run in read_ended(store):
        assert 0 <= store.client.get_run(run.run_id).data.metrics["final/accuracy"] <= 1
    for metric in ("final/accuracy_unseen", "final/accuracy", "final/loss", "final/steps"):
        assert main(["compare", "--metric", metric, "--json"]) == 0
        (group,) = json.loads(capsys.readouterr().out)["groups"]
        assert (group["diverged"], group["values"]) == (2, {"4": None, "5": None})


def test_a_study_with_failed_runs_answers_in_the_requested_format(
    address: StoreAddress, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome, _ = studied(address)
    failed = replace(outcome, rows=(replace(outcome.rows[0], status="FAILED", error="no room"), *outcome.rows[1:]))
    with pytest.raises(SystemExit) as left:
        command_for(StudyCommand, TARGETS["dynamicnet"])(as_json=True).finish((failed, None))
    assert left.value.code == 1
    assert json.loads(capsys.readouterr().out)["runs"][0]["status"] == "FAILED"


def test_a_digits_sweep_that_is_rerun_trains_nothing(address: StoreAddress) -> None:
    arguments = [*DIGITS, "--seeds", "0:2", "--devices", "cpu", "--workers", "1"]
    assert main(["train", *arguments, "--variant", "dense"]) == 0
    assert main(["train", *arguments, "--variant", "dense"]) == 0
    assert address.database is not None
    assert finished_runs(address.database) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["compare", "--report", "report.pdf"], "expected a file that ends in .html or .md"),
        (["compare", "--report", "nowhere/report.md"], "there is no folder nowhere"),
        (["study", "--target", "letters"], "there is no recipe called 'letters'"),
        (
            ["study", "--target", "digits", "--hidden-size", "5"],
            "--hidden-size is an option of dynamicnet, not of digits; see paramshare study digits --help",
        ),
        (["train", "--target", "digits", "--variant", "shared"], "no variant 'shared' of digits"),
        (
            ["train", "--placement", "plain"],
            "--placement is an option of digits, not of dynamicnet; see paramshare train --help",
        ),
        (["train", "--target", "digits", "--engine", "gram"], "the engine gram does not train digits"),
    ],
)
def test_invalid_requests_for_a_study_are_refused_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert out == ""


def test_the_digits_net_of_these_tests_is_smaller_than_the_default() -> None:
    """The sizes above are those of a real net: 1 → 2 → 4 channels."""
    net = train(digits_spec(seed=0, placement="plain", examples=60, steps=1, channels=2)).net
    assert sum(parameter.numel() for parameter in net.parameters()) == 20 + 76 + 50
