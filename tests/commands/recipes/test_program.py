"""Test when the code of a recipe runs: only if a command trains it."""

import json
from pathlib import Path

import pytest

from paramshare.cli import main
from paramshare.tracking.store import StoreAddress
from support.command_line import refused


@pytest.mark.parametrize("arguments", [["--help"], ["compare", "--help"], ["completion", "bash"], ["flush"]])
def test_a_command_that_trains_nothing_imports_no_recipe(
    arguments: list[str], recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARAMSHARE_TARGET", recipe)
    assert main(arguments) == 0
    assert not Path("imported").exists()


def test_a_command_that_trains_a_recipe_prints_nothing_but_its_result(
    recipe: str, address: StoreAddress, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "train",
        "--seeds",
        "0:2",
        recipe,
        "--width",
        "4",
        "--variant",
        "conv,local",
        "--workers",
        "1",
        "--json",
    ]
    assert main(arguments) == 0
    assert Path("imported").exists()
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [(run["variant"], run["seed"], run["status"]) for run in runs] == [
        ("conv", 0, "FINISHED"), ("conv", 1, "FINISHED"), ("local", 0, "FINISHED"), ("local", 1, "FINISHED"),
    ]  # fmt: skip
    assert main(arguments) == 0
    assert all(run["reused"] for run in json.loads(capsys.readouterr().out)["runs"])
    run_id = runs[0]["run_id"]
    assert main(["reproduce", run_id, "--recipe", recipe]) == 0
    assert "bitwise equal" in capsys.readouterr().out
    assert main(["verify", "--sample", "2", "--recipe", recipe]) == 0
    assert "2 of 2 runs reproduced" in capsys.readouterr().out
    assert "pass its code with --recipe" in refused(capsys, "reproduce", run_id)
    assert "cannot read 'nosuch.py'" in refused(capsys, "verify", "--recipe", "nosuch.py")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nosuch\n", "importing bad.py failed (bad.py, line 1, in <module>): ModuleNotFoundError: No module"),
        ("def f(:\n", "bad.py, line 1: invalid syntax"),
        ("import sys\n\nsys.exit(0)\n", "importing bad.py failed (bad.py, line 3, in <module>): SystemExit: 0"),
        (
            "import paramshare as ps\n\nclass Bad(ps.Recipe):\n"
            "    class Options(ps.Options):\n        sizes: list = []\n"
            "    data = model = loss = lambda self, *_: 0\n",
            "bad.py: the option sizes is of type <class 'list'>; expected int, float, bool, str",
        ),
        ("x = 1\n", "bad.py has no class that inherits ps.Recipe"),
    ],
)
@pytest.mark.parametrize("command", [("train",), ("study",), ("flow", "sweep"), ("check",), ("recipes",)], ids=" ".join)
def test_a_recipe_that_cannot_be_imported_is_refused_in_one_line(
    command: tuple[str, ...], text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.py").write_text(text)
    assert said in refused(capsys, *command, "bad.py")


def test_a_recipe_that_is_not_there_is_refused_with_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no recipe called 'digts'; did you mean digits?" in refused(capsys, "train", "digts")
