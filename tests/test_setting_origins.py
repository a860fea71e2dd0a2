"""Proves that messages name the source of a value, and which of MLflow's variables are used."""

from pathlib import Path

import pytest

from paramshare.cli import main
from paramshare.commands.options import address_of
from paramshare.commands.recipes.options import command_for
from paramshare.commands.service import Ui
from paramshare.commands.training import Train as AnyTrain
from paramshare.errors import SpecError
from paramshare.recipes.recipe import Recipe
from paramshare.recipes.target import TARGETS
from paramshare.results import trained
from paramshare.setting_origins import attributed, origin_of

Train = command_for(AnyTrain, TARGETS["dynamicnet"])


def test_the_origin_of_a_store_is_the_source_with_the_highest_priority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origins = [origin_of(Ui(), "tracking_uri")]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///a.db")
    origins.append(origin_of(Ui(), "tracking_uri"))
    (tmp_path / "paramshare.toml").write_text("tracking_uri = 'sqlite:///b.db'\n")
    origins.append(origin_of(Ui(), "tracking_uri"))
    (tmp_path / ".env").write_text("PARAMSHARE_TRACKING_URI=sqlite:///c.db\n")
    origins.append(origin_of(Ui(), "tracking_uri"))
    monkeypatch.setenv("PARAMSHARE_TRACKING_URI", "sqlite:///d.db")
    origins.append(origin_of(Ui(), "tracking_uri"))
    origins.append(origin_of(Ui(tracking_uri="sqlite:///e.db"), "tracking_uri"))
    assert origins == [
        "", "MLFLOW_TRACKING_URI", "tracking_uri in paramshare.toml", "PARAMSHARE_TRACKING_URI in .env",
        "PARAMSHARE_TRACKING_URI", "--tracking-uri",
    ]  # fmt: skip


def test_an_invalid_value_is_attributed_to_the_file_or_variable_that_sets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, shown = "--steps is 0; expected at least 1", "there is no device called 'tpu'; expected cpu"
    assert attributed(said, []) == said
    (tmp_path / "paramshare.toml").write_text("steps = 0\ndevices = 'cpu,tpu'\n")
    assert attributed(said, []) == "steps in paramshare.toml is 0; expected at least 1"
    assert attributed(shown, []) == f"{shown}; the value comes from devices in paramshare.toml"
    (tmp_path / ".env").write_text("PARAMSHARE_STEPS=0\n")
    assert attributed(said, []) == "PARAMSHARE_STEPS in .env is 0; expected at least 1"
    monkeypatch.setenv("PARAMSHARE_STEPS", "0")
    assert attributed(said, []) == "PARAMSHARE_STEPS is 0; expected at least 1"
    assert attributed(said, ["train", "--steps=0"]) == said
    assert attributed(shown, ["train", "--devices", "tpu"]) == shown


def test_a_command_reports_once_which_mlflow_variables_it_uses_and_ignores(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@told-once:5000")
    monkeypatch.setenv("MLFLOW_RUN_ID", "209d02a9")
    for _ in range(2):
        assert address_of(Train()).uri == "http://told-once:5000"
    first, second = capsys.readouterr().err.splitlines()
    assert first == "paramshare: MLFLOW_TRACKING_URI is http://***@told-once:5000"
    assert second.startswith("paramshare: MLFLOW_RUN_ID is not used: ")


def test_training_from_python_reports_which_mlflow_variables_it_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/python.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "python")
    with pytest.raises(SpecError, match="Recipe"):
        trained(Recipe())
    assert capsys.readouterr().err.splitlines() == [
        f"paramshare: MLFLOW_TRACKING_URI is sqlite:///{tmp_path}/python.db",
        "paramshare: MLFLOW_EXPERIMENT_NAME is python",
    ]


def test_the_doctor_reports_which_mlflow_variables_it_uses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    assert main(["doctor"]) == 0
    assert "ok  settings  MLFLOW_EXPERIMENT_NAME is theirs\n" in capsys.readouterr().out
