"""Test what a person meets with `reproduce` and `verify`: verdicts, exit codes, one line for what cannot be done."""

import json
from pathlib import Path

import pytest

from paramshare.cli import main
from paramshare.tracking.store import StoreAddress
from support.command_line import SMALL, refused
from support.tracking.sql_edits import tamper

NOBODY = "0" * 32


@pytest.fixture
def swept(address: StoreAddress, capsys: pytest.CaptureFixture[str]) -> dict[str, list[dict[str, str]]]:
    """Return the JSON of `train` for a sweep of four seeds."""
    assert main(["train", "--seeds", "0:4", "--json", *SMALL, "--workers", "1"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_reproduce_prints_bitwise_equal_and_exits_with_0(
    swept: dict[str, list[dict[str, str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = swept["runs"][1]["run_id"]
    assert main(["reproduce", run_id[:8]]) == 0
    run, verdict, compared, environment, pages = capsys.readouterr().out.splitlines()
    assert run == f"run {run_id}: shared seed 1 on cpu, by exact; trained again by exact"
    assert (verdict, environment) == ("bitwise equal", "environment: the same as the run's")
    assert compared == "compared: 20 losses and depths, the trained net's losses, its weights"
    assert pages.startswith("MLflow's pages: ")
    assert main(["reproduce", run_id.upper(), "--engine", "reference", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["verdict"], said["run_engine"], said["engine"]) == ("bitwise equal", "exact", "reference")


def test_reproduce_and_verify_detect_a_changed_loss_and_exit_with_1(
    swept: dict[str, list[dict[str, str]]], address: StoreAddress, capsys: pytest.CaptureFixture[str]
) -> None:
    tamper(address, "UPDATE metrics SET value = value * 2 WHERE key = 'train/loss' AND step = 7")
    assert main(["reproduce", swept["runs"][0]["run_id"]]) == 1
    said = capsys.readouterr().out
    assert "\ndiffers from step 7 on, beyond the one-bit control\nstep 7: " in said
    assert main(["verify"]) == 1
    assert "0 of 3 runs reproduced, a sample of the 4 of shared seeds 0:4 on cpu" in capsys.readouterr().out


def test_verify_prints_a_row_for_each_run_and_exits_with_0(
    swept: dict[str, list[dict[str, str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "--sample", "2"]) == 0
    head, *rows, _, summary, pages = capsys.readouterr().out.splitlines()
    assert head.split() == ["seed", "variant", "device", "run", "verdict"]
    assert [row.split(maxsplit=4)[4].strip() for row in rows] == ["bitwise equal"] * 2
    assert summary == "2 of 2 runs reproduced, a sample of the 4 of shared seeds 0:4 on cpu"
    assert pages.startswith("MLflow's pages: ")
    assert main(["verify", str(swept["parent_run_id"])[:8], "--sample", "9", "--engine", "reference", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [run["run_id"] for run in said["runs"]] == [run["run_id"] for run in swept["runs"]]
    assert {run["reproduction"]["engine"] for run in said["runs"]} == {"reference"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("reproduce",), "RUN-ID is missing; see paramshare reproduce --help"),
        (
            ("reproduce", "first"),
            "'first' is not the id of a run; expected 32 hexadecimal digits, or at least the first 8",
        ),
        (("reproduce", NOBODY[:7]), "is not the id of a run"),
        (("reproduce", NOBODY), f"there is no run {NOBODY} in the experiment 'paramshare'"),
        (("reproduce", NOBODY, "--engine", "fast"), "there is no engine called 'fast'; expected auto, reference"),
        (("reproduce", NOBODY, "--experiment", "misspelt"), "has no experiment 'misspelt'; name another"),
        (("reproduce", NOBODY, "--tracking-uri", "sqlite:////none/mlflow.db"), "there is no store at"),
        (("reproduce", NOBODY, "--tracking-uri", "http://127.0.0.1:9"), "no MLflow server answers"),
        (("verify", "first"), "'first' is not the id of a run"),
        (("verify", NOBODY), f"there is no run {NOBODY}"),
        (("verify", "--sample", "0"), "--sample is '0'; expected at least 1"),
        (("verify", "--experiment", "misspelt"), "has no experiment 'misspelt'"),
        (("flow", "verify", NOBODY), f"there is no run {NOBODY}"),
        (("flow", "verify", "--tracking-uri", "sqlite:////none/mlflow.db"), "there is no store at"),
    ],
)
def test_invalid_requests_to_reproduce_and_verify_are_refused_in_one_line(
    arguments: tuple[str, ...],
    said: str,
    swept: dict[str, list[dict[str, str]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert said in refused(capsys, *arguments)


def test_reproduce_and_verify_do_not_create_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("reproduce", NOBODY), ("verify",), ("flow", "verify"):
        assert main(command) == 2
        assert "there is no store at" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
