"""Test what `paramshare flush` says and with which exit code, and what a sweep with kept results prints."""

import json
import shlex
from pathlib import Path

import pytest

from paramshare.cli import main
from paramshare.console import print_sweep
from paramshare.recipes.dynamicnet.recipe import TrainSpec
from paramshare.sweep.chunks import Row
from paramshare.sweep.result import SweepResult
from paramshare.tracking.store import StoreAddress
from paramshare.tracking.write.kinds.seeds import seed_record
from paramshare.tracking.write.spool import keep, spooled
from paramshare.training.engines import train
from support.command_line import SIZES, refused

RESULT = train(TrainSpec(seed=3, **SIZES))  # type: ignore[arg-type]
FAR = StoreAddress("http://somebody:secret@mlflow.example:5000", "two words; rm -r")


def test_flush_of_an_empty_spool_says_so_and_creates_no_store(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["flush"]) == 0
    assert capsys.readouterr().out.startswith("nothing is kept for sqlite:///")
    assert list(tmp_path.iterdir()) == []


def test_flush_refuses_an_invalid_address_even_if_the_spool_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    assert "the tracking URI 'foo' is not supported" in refused(capsys, "flush", "--tracking-uri", "foo")


def test_flush_delivers_results_and_prints_how_many(address: StoreAddress, capsys: pytest.CaptureFixture[str]) -> None:
    keep(seed_record(RESULT, {}, again=False), address)
    keep(seed_record(RESULT, {}, again=False), address)
    assert main(["flush"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("1 of 2 results delivered to sqlite:///")
    assert said.endswith(", experiment paramshare, 1 dropped that it had already\n")
    assert main(["flush"]) == 0
    assert "nothing is kept" in capsys.readouterr().out


def test_flush_names_results_that_stay_and_exits_with_1(
    address: StoreAddress, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = keep(seed_record(RESULT, {}), address)
    (folder / "record.json").write_text("{")
    assert main(["flush"]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("0 of 1 results delivered")
    assert second.startswith(f"1 stay in mlruns/spool: {folder} cannot be delivered: ")
    assert spooled(address) == [folder]


def test_flush_prints_the_command_for_results_of_another_store(
    capsys: pytest.CaptureFixture[str],
) -> None:
    keep(seed_record(RESULT, {}), FAR)
    assert main(["flush"]) == 0
    said = capsys.readouterr().out.splitlines()[1]
    words = shlex.split(said.partition("for another store: ")[2])
    assert words[words.index("flush") :] == [
        "flush",
        "--experiment",
        FAR.experiment,
        "--tracking-uri",
        "http://mlflow.example:5000",
    ]
    assert "secret" not in said


def test_an_outcome_with_kept_results_prints_the_command_that_delivers_them(capsys: pytest.CaptureFixture[str]) -> None:
    row = Row.kept(RESULT.spec, RESULT, "the server does not answer")
    outcome = SweepResult("1", "abc", (row,), curves="", name="shared seeds 3 on cpu", note="")
    print_sweep(outcome, "paramshare ui", "", "paramshare flush")
    said = capsys.readouterr().out
    assert " kept" in said.splitlines()[1]
    assert "shared seeds 3 on cpu: 1 trained, 0 re-used, 0 failed, 1 kept in mlruns/spool" in said
    assert "to deliver the rest: paramshare flush, or rerun the command" in said
    found = json.loads(json.dumps(outcome.as_dict()))["runs"][0]
    assert (found["status"], found["run_id"]) == ("KEPT", "")
