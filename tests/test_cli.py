"""Test what a person meets on the command line: answers on stdout, one line for bad input, the promised exit codes,
and nothing written where nothing was done.
"""

import argparse
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import pytest

from paramshare.__main__ import main as start
from paramshare.cli import Paramshare, _parser, main
from paramshare.commands.options import curves_place
from paramshare.commands.recipes.program import program_for
from paramshare.parser import commands_of, options_of
from paramshare.settings import StoreSettings
from paramshare.sweep.result import SweepResult
from paramshare.tracking.store import StoreAddress, open_store
from support.command_line import PROGRAM, SMALL, refused
from support.processes import maps
from support.tracking.run_counts import finished_runs


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--seeds", "3:1", "expected a:b with a < b"),
        ("--seeds", "one", "expected a list such as 0:100 or 3,7,9"),
        ("--steps", "-5", "--steps is '-5'; expected at least 1"),
        ("--hidden-size", "0", "--hidden-size is '0'"),
        ("--batch-size", "many", "--batch-size is 'many'; expected a whole number"),
        ("--learning-rate", "nan", "finite"),
        ("--learning-rate", "0", "expected more than 0"),
        ("--momentum", "1", "expected less than 1"),
        ("--pages-url", "mlflow:5000", "expected an address without a user, such as http://127.0.0.1:5000"),
        ("--devices", "tpu", "expected cpu, cuda, cuda:N or mps"),
        ("--devices", "cuda:99", "is not on this machine; there is cpu"),
        ("--variant", "tied", "expected shared, untied"),
        ("--engine", "fast", "expected auto, reference, exact, gram"),
        ("--tracking-uri", "mysql://host", "expected sqlite:///"),
        ("--tracking-uri", "http://127.0.0.1:9", "no MLflow server answers"),
        ("--experiment", "", "expected printable characters"),
        ("--colour", "red", "there is no option --colour; see paramshare"),
    ],
)
@pytest.mark.parametrize("command", [("train",), ("flow", "sweep")])
def test_an_invalid_option_value_is_refused_in_one_line_with_the_expected_values(
    command: tuple[str, ...], option: str, value: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, *command, option, value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("analyze", "m", "--args", "[1]"), "--args is [1]; expected a JSON object"),
        (("analyze", "m", "--depth", "1.5"), "--depth is '1.5'; expected a whole number"),
        (("layer", "cube", "--in", "3"), "KIND is 'cube'; expected 'linear', 'conv1d'"),
        (("completion", "tcsh"), "SHELL is 'tcsh'; expected 'bash', 'zsh' or 'fish'"),
        (("flow",), "a command is missing; expected one of sweep, study, count, verify; see paramshare flow --help"),
        (("flow", "count", '{"model": 1, "input": "3"}'), '"model" is 1; expected text'),
        (("flow", "count", '{"model": "m", "input": "3", "kernel": 1}'), 'there is no "kernel"'),
        (("compare", "--interest", "big"), "--interest is 'big'; expected a number"),
        (("ui", "--view", "runs"), "--view is 'runs'; expected 'seeds', 'digits-seeds', 'dynamicnet'"),
    ],
)
def test_an_error_contains_neither_python_types_nor_internal_names(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = refused(capsys, *arguments)
    assert said in text
    assert not re.search(r"dictionary|integer|string|parse|pydantic|as_json|json_file|Undefined", text)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("train --channels 3", "--channels is an option of digits, not of dynamicnet; see paramshare train --help"),
        ("layer linear --in 3 --channels 4", "there is no option --channels; see paramshare layer --help"),
        ("train --seeds", "--seeds needs a value; see paramshare train --help"),
        ("train --json=yes", "--json takes no value; got 'yes'; see paramshare train --help"),
        ("train dynamicnet digits", "two recipes are named, dynamicnet and digits; name one"),
        ("train --target", "--target needs a value: the recipe to train; `paramshare recipes` lists the recipes"),
        ("completion", "SHELL is missing; see paramshare completion --help"),
        ("layer conv2d", "--in is missing; see paramshare layer --help"),
        ("layer conv2 --in 3,4,4", "or 'attention'; did you mean conv2d?"),
        ("flush now", "unexpected argument 'now'; remove it; see paramshare flush --help"),
        ("--verison", "there is no option --verison; did you mean --version?; see paramshare --help"),
        ("--json doctor", "--json is an option of a command; write it after the command; see paramshare --help"),
        ("--seeds 0:3 flow sweep", "--seeds is an option of a command; write it after the command; see paramshare"),
        ('flow count {"model":', 'MODELS is not valid JSON: Missing end delimiter "}"; see paramshare flow count'),
    ],
)
def test_a_wrong_command_line_is_refused_in_words_that_say_what_to_do(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, *line.split())


@pytest.mark.parametrize("arguments", [("tran",), ("flow",), ("flow", "sleep"), ("ui", "--port", "0")])
def test_an_unknown_command_is_refused(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, *arguments)


def test_a_misspelt_setting_in_the_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "paramshare.toml").write_text("sede = 3")
    assert "did you mean seeds?" in refused(capsys, "train")


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (("tran",), "there is no command 'tran'; did you mean train?; see paramshare --help"),
        (("flow", "swep"), "there is no command 'swep'; did you mean sweep?; see paramshare flow --help"),
        (("train", "--step", "3"), "no option --step; did you mean --steps?; see paramshare train --help"),
        (("flow", "sweep", "--seed=3"), "no option --seed; did you mean --seeds?; see paramshare flow sweep --help"),
    ],
)
def test_an_error_suggests_the_nearest_command_or_option(
    arguments: tuple[str, ...], nearest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nearest in refused(capsys, *arguments)


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield the parser of a command and of each command below it."""
    yield parser
    for command in commands_of(parser).values():
        yield from commands(command)


COMMANDS = [command.prog.split()[1:] for command in commands(_parser()[0])]
"""The words of each command; none for the program itself."""


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_help_of_a_command_is_printed_without_python_types(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(" ".join(("usage: paramshare", *command)))
    assert not re.search(r"null|dict\[|\bstr\b|\bPath\b|False|True", out)
    assert err == ""


def test_the_program_without_a_command_prints_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("usage: paramshare")


def test_every_option_has_a_help_text() -> None:
    without = [
        f"{command.prog} {name}"
        for command in commands(_parser()[0])
        for name, option in options_of(command).items()
        if not option.help
    ]
    assert without == []


def examples() -> list[str]:
    """Return the command lines in the help of every command."""

    pattern = re.compile(r"(?:^|\$\()(paramshare [^>)\n]*)", flags=re.MULTILINE)
    return [line for command in commands(_parser()[0]) for line in pattern.findall(command.description or "")]


@pytest.mark.parametrize("example", examples())
def test_an_example_in_a_command_s_help_is_a_command_line(example: str) -> None:
    assert main(["init", "my_recipe.py"]) == 0
    _, *arguments = shlex.split(example, comments=True)
    program = program_for(Paramshare, arguments)
    parser, _ = _parser(program.root)
    with suppress(SystemExit):  # of --help
        parser.parse_args(program.arguments)


def test_the_usage_shows_a_required_option_without_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layer", "--help"]) == 0
    usage = capsys.readouterr().out.partition("\n\n")[0]
    assert " --in TEXT" in usage
    assert "[--in" not in usage
    assert "[--out INT]" in usage


@pytest.mark.parametrize("program", [PROGRAM, [sys.executable, "-m", "paramshare"]], ids=["main", "module"])
def test_version_option_prints_the_installed_version(program: list[str]) -> None:
    done = subprocess.run([*program, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"paramshare {version('paramshare')}\n"


def test_help_and_doctor_work_with_a_misspelt_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "paramshare.toml").write_text("sede = 3")
    assert main(["train", "--help"]) == 0
    assert main(["--version"]) == 0
    assert main([]) == 0
    capsys.readouterr()
    assert main(["completion", "bash"]) == 0
    capsys.readouterr()
    assert main(["doctor"]) == 1
    out, err = capsys.readouterr()
    assert "will be created by the first run" in out
    assert "!!  settings  there is no setting called sede (found in paramshare.toml); did you mean seeds?\n" in out
    assert err == ""


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (".env", b"PARAMSHARE_EXPERIMENT=f\xfcr", "!!  settings  .env cannot be read: 'utf-8' codec"),
        ("paramshare.toml", b"seeds = ", "!!  settings  paramshare.toml cannot be read: Invalid value"),
        ("paramshare.toml", b"experiment = 3", "!!  settings  experiment in paramshare.toml is 3; expected text"),
    ],
)
def test_the_doctor_reports_an_unreadable_settings_file_and_help_ignores_it(
    file: str, text: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / file).write_bytes(text)
    assert main(["train", "--help"]) == 0
    capsys.readouterr()
    assert main(["doctor"]) == 1
    out, err = capsys.readouterr()
    assert out.count(said) == 1
    assert err == ""


def test_an_internal_field_name_is_not_a_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARAMSHARE_AS_JSON", "1")
    said = refused(capsys, "train")
    assert "no setting called PARAMSHARE_AS_JSON" in said
    assert "as_json" not in said


def test_an_error_of_compare_for_an_unknown_experiment_names_no_option_of_another_command(
    address: StoreAddress, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, "compare", "nosuch")
    assert said.endswith("has no experiment 'nosuch'; name another\n")


def test_an_error_of_compare_for_a_deleted_experiment_names_no_option_of_another_command(
    address: StoreAddress, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(address)
    store.client.delete_experiment(store.experiment_id)
    said = refused(capsys, "compare")
    assert said.endswith(f"`mlflow experiments restore -x {store.experiment_id}`, or name another experiment\n")


@pytest.mark.parametrize(
    ("settings", "base"),
    [
        ({"tracking_uri": "http://user:word@mlflow.example:5000"}, "http://mlflow.example:5000/"),
        ({"tracking_uri": "http://mlflow:5000", "pages_url": "https://see.example/m/"}, "https://see.example/m/"),
    ],
)
def test_the_printed_address_of_curves_on_a_server_opens_in_a_browser(settings: dict[str, str], base: str) -> None:
    outcome = SweepResult("7", "abc", (), curves="mlflow-artifacts:/7/abc/artifacts/loss_curves.png", name="", note="")
    place = curves_place(StoreSettings(**settings), outcome)
    assert place == f"{base}#/experiments/7/runs/abc/artifacts/loss_curves.png?workflowType=machine_learning"


def test_one_error_names_several_invalid_options(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "train", "--steps", "0", "--momentum", "2")
    assert "--steps" in said
    assert "--momentum" in said


def test_train_prints_one_json_object_and_marks_reused_runs(
    address: StoreAddress, capsys: pytest.CaptureFixture[str]
) -> None:
    for reused in (False, True):
        assert main(["train", "--seeds", "0:2", "--json", *SMALL, "--workers", "1"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert set(found) == {"experiment_id", "parent_run_id", "runs"}
        assert [set(run) for run in found["runs"]] == 2 * [
            {"seed", "device", "variant", "run_id", "status", "final_loss", "seconds", "reused"}
        ]
        assert [(run["seed"], run["status"], run["reused"]) for run in found["runs"]] == [
            (0, "FINISHED", reused),
            (1, "FINISHED", reused),
        ]


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        (
            "layer linear --in 4 --out 2",
            {"layer", "shared", "unshared", "unshared_live", "dense", "macs", "dense_macs"},
        ),
        ("article", {"claims"}),
        ("flush", {"store", "experiment", "kept", "written", "known", "left", "reason", "other_stores"}),
        ("relocate", {"database", "moved"}),
        ("doctor", {"checks"}),
    ],
)
def test_commands_without_training_print_one_json_object(
    command: str, keys: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command.split(), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == keys


def test_every_command_except_completion_has_a_json_option(capsys: pytest.CaptureFixture[str]) -> None:
    _, source = _parser()
    assert {
        command.prog
        for command in _leaves(source.root_parser)
        if options_of(command).get("--json", argparse.Action([], "")).nargs != 0
    } == {"paramshare completion"}


def _leaves(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    commands = commands_of(parser)
    return [leaf for command in commands.values() for leaf in _leaves(command)] if commands else [parser]


def test_train_prints_a_table_the_curves_file_and_the_command_for_the_pages(
    address: StoreAddress, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--seeds", "5,7", "--experiment", "mine", *SMALL, "--workers", "1"]) == 0
    *table, summary, curves, pages = capsys.readouterr().out.rstrip().splitlines()
    assert [line.split()[0] for line in table if "cpu" in line] == ["5", "7"]
    assert summary == "shared seeds 5,7 on cpu: 2 trained, 0 re-used, 0 failed"
    assert Path(curves.removeprefix("curves of all seeds: ")).is_file()
    assert pages.endswith(" ui --experiment mine")


def test_the_table_and_summary_of_train_mark_diverged_runs(
    address: StoreAddress, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--seeds", "0:2", "--learning-rate", "1e6", *SMALL, "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "2 trained, 0 re-used, 0 failed, 2 diverged\n" in out
    assert [line.split()[-1] for line in out.splitlines() if line.startswith("   ")] == ["diverged"] * 2


@pytest.mark.parametrize("command", [["article"], ["doctor"], ["--help"]])
def test_a_command_with_a_closed_reader_prints_no_error(command: list[str], tmp_path: Path) -> None:
    with subprocess.Popen(
        [*PROGRAM, *command], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as program:
        assert program.stdout is not None
        program.stdout.close()
        _, said = program.communicate(timeout=60)
    assert said == b""


def test_the_doctor_lists_versions_devices_store_and_servers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    for part in ("torch 2.", "mlflow 3.", "prefect 3.", "cpu", "will be created by the first run", "no API configured"):
        assert part in said
    assert main(["doctor", "--tracking-uri", "http://127.0.0.1:9"]) == 1


def test_ctrl_c_during_imports_ends_the_program_without_a_traceback(tmp_path: Path) -> None:
    train = subprocess.Popen(
        [sys.executable, "-m", "paramshare", "train"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    while not maps(train.pid, "pydantic_core"):
        assert train.poll() is None
        time.sleep(0.01)
    train.send_signal(signal.SIGINT)
    _, said = train.communicate(timeout=60)
    assert "Traceback" not in said
    assert train.returncode in (-signal.SIGINT, 128 + signal.SIGINT)


def test_ctrl_c_between_the_imports_and_the_command_ends_with_the_code_of_the_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("paramshare.cli.main", interrupted)
    former = signal.getsignal(signal.SIGINT)
    try:
        assert start() == 128 + signal.SIGINT
    finally:
        signal.signal(signal.SIGINT, former)


def test_ctrl_c_that_user_code_converts_ends_the_command_by_its_signal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.py").write_text(
        "import os, signal\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\n    signal.pause()\n"
        "except KeyboardInterrupt:\n    pass\n"
    )
    assert main(["analyze", "net.py:net", "--input", "4"]) == 128 + signal.SIGINT
    assert capsys.readouterr().err.splitlines()[-1] == "paramshare: interrupted"


def test_a_command_runs_in_any_thread_and_restores_the_handler_of_sigterm() -> None:
    former = signal.getsignal(signal.SIGTERM)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(main, ["layer", "linear", "--in", "3", "--out", "2"]).result() == 0
    assert main(["layer", "linear", "--in", "3", "--out", "2"]) == 0
    assert signal.getsignal(signal.SIGTERM) is former


def test_a_terminated_sweep_ends_by_its_signal_and_can_be_resumed(
    address: StoreAddress, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a process of its own: what is finished stays and is counted, the next run trains the rest."""
    arguments = ["train", "--seeds", "0:400", "--json", *SMALL, "--workers", "1"]
    sweep = subprocess.Popen([*PROGRAM, *arguments], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert address.database is not None
    while finished_runs(address.database) == 0:
        assert sweep.poll() is None
        time.sleep(0.05)
    sweep.send_signal(signal.SIGTERM)
    _, said = sweep.communicate(timeout=60)
    assert sweep.returncode == 128 + signal.SIGTERM
    come = f"{finished_runs(address.database)} of 400 runs are finished and kept"
    assert said.splitlines()[-1] == f"paramshare: terminated; {come}; rerun the command to resume"
    assert main(["train", "--seeds", "0:3", "--json", *SMALL, "--workers", "1"]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert runs[0]["reused"]
    assert {run["status"] for run in runs} == {"FINISHED"}
