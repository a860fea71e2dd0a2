"""Test where settings come from, in which order, and that a misspelt one is not ignored."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from paramshare.cli import Paramshare
from paramshare.commands.comparing import Compare
from paramshare.commands.flows import FlowSweep as AnyFlowSweep
from paramshare.commands.recipes.options import TrainingCommand, command_for
from paramshare.commands.service import Doctor, Ui
from paramshare.commands.training import Train as AnyTrain
from paramshare.errors import SettingsError
from paramshare.recipes.target import TARGETS, Target
from paramshare.settings import StoreSettings, check_names

Train = command_for(AnyTrain, TARGETS["dynamicnet"])
FlowSweep = command_for(AnyFlowSweep, TARGETS["dynamicnet"])


def commands(group: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield the commands of a group and of the groups below it."""
    for field in group.model_fields.values():
        if any(isinstance(metadata, type) and metadata.__name__ == "_CliSubCommand" for metadata in field.metadata):
            (command, _) = get_args(field.annotation)
            yield from commands(command) if command.__name__ == "Flow" else [command]


COMMANDS = tuple(
    command for command in commands(Paramshare) if issubclass(command, StoreSettings) and command is not Doctor
)
"""Every command with settings. The doctor reads them by itself, to report those that cannot be read."""

# What an option can be set to, where that is not 1.
VALUES = {
    "devices": "cpu", "learning_rate": "0.5", "momentum": "0.5", "view": "counts",
    "engine": "reference", "metric": "train/loss", "level": "0.9", "where": "device=cpu", "by": "device",
    "report": "a.md", "pages_url": "http://127.0.0.1:5000",
    "placement": "plain", "stop_loss": "0.5", "sort": "factor", "models": '["nets.py:Net@3x8x8"]',
    "run_id": "209d02a9", "parent_run_id": "50a6a2e6", "dask_scheduler": "tcp://127.0.0.1:8786",
}  # fmt: skip


def test_the_command_line_overrides_the_environment_then_dotenv_then_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "paramshare.toml").write_text("steps = 1\nbatch_size = 1\ninput_size = 1\nhidden_size = 1\n")
    (tmp_path / ".env").write_text("PARAMSHARE_STEPS=2\nPARAMSHARE_BATCH_SIZE=2\nPARAMSHARE_INPUT_SIZE=2\n")
    monkeypatch.setenv("PARAMSHARE_STEPS", "3")
    monkeypatch.setenv("PARAMSHARE_BATCH_SIZE", "3")
    found = Train(steps=4)
    assert (found.steps, found.batch_size, found.input_size, found.hidden_size) == (4, 3, 2, 1)
    assert found.spec().run_options["output_size"] == 10


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_every_command_can_be_set_by_the_environment(
    command: type[Train], target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {**VALUES, "target": target.name, "variant": target.variants[-1]}
    command = command_for(command, target) if issubclass(command, TrainingCommand) else command
    there = set(command.model_fields)
    for name in there:
        alias = command.model_fields[name].validation_alias or name
        monkeypatch.setenv(f"PARAMSHARE_{str(alias).upper()}", values.get(name, "1"))
    check_names()
    assert command().model_fields_set == there


def test_settings_of_other_commands_and_programs_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "paramshare.toml").write_text("seeds = '0:3'\nport = 5001\n")
    (tmp_path / ".env").write_text("PREFECT_API_URL=http://x\nPARAMSHARE_VARIANT=untied\n")
    check_names()
    assert Ui().port == 5001
    assert Train().seeds == "0:3"


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("paramshare.toml", "stepz = 3", "no setting called stepz.*paramshare.toml.*did you mean steps"),
        ("paramshare.toml", "[train]\nsteps = 3", "no setting called train"),
        ("paramshare.toml", "steps = ", "paramshare.toml cannot be read"),
        (".env", "PARAMSHARE_SEEDZ=1", "no setting called PARAMSHARE_SEEDZ.*did you mean PARAMSHARE_SEEDS"),
        (
            ".env",
            "PARAMSHARE_EXPERIMENT=Gewichte für alle",
            r"\.env cannot be read: 'utf-8' codec .* lines in UTF-8 such",
        ),
        ("paramshare.toml", "experiment = 'für alle'", r"paramshare\.toml cannot be read: 'utf-8' codec"),
    ],
)
def test_a_misspelt_setting_or_unreadable_file_is_refused(file: str, text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(text, encoding="latin-1")
    with pytest.raises(SettingsError, match=said):
        check_names()


def test_a_misspelt_setting_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARAMSHARE_EXPERIMENTS", "x")
    with pytest.raises(SettingsError, match="did you mean PARAMSHARE_EXPERIMENT"):
        check_names()


@pytest.mark.parametrize("command", [Train, Compare, FlowSweep, Ui])
def test_mlflow_variables_name_the_store_and_experiment_if_no_setting_does(
    command: type[StoreSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///theirs.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    assert (command().tracking_uri, command().experiment) == ("sqlite:///theirs.db", "theirs")
    (tmp_path / "paramshare.toml").write_text("tracking_uri = 'sqlite:///ours.db'\n")
    assert (command().tracking_uri, command().experiment) == ("sqlite:///ours.db", "theirs")
    (tmp_path / ".env").write_text("PARAMSHARE_EXPERIMENT=ours\n")
    assert (command().tracking_uri, command().experiment) == ("sqlite:///ours.db", "ours")


def test_empty_mlflow_variables_count_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "")
    assert (Train().tracking_uri, Train().experiment) == (None, "paramshare")


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("databricks", "'databricks'"),
        ("./mlruns", "'./mlruns'"),
        ("file:///tmp/mlruns", "'file:///tmp/mlruns'"),
        ("postgresql://user:secret@host/db", r"'postgresql://\*\*\*@host/db'"),
    ],
)
def test_an_unsupported_mlflow_tracking_uri_is_refused_unless_a_setting_overrides_it(
    uri: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(SettingsError, match=f"MLFLOW_TRACKING_URI is {shown}, .*set PARAMSHARE_TRACKING_URI"):
        Train()
    assert Train(tracking_uri="sqlite:///ours.db").tracking_uri == "sqlite:///ours.db"
    monkeypatch.setenv("PARAMSHARE_TRACKING_URI", "sqlite:///ours.db")
    assert Train().tracking_uri == "sqlite:///ours.db"
