"""Test what a person reads of a check, and its exit codes."""

from pathlib import Path

import pytest

from paramshare.cli import main
from support.command_line import refused


def test_a_good_recipe_gets_a_row_for_each_variant_and_the_cost_of_a_sweep(
    recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {*Path().iterdir(), Path("imported")}
    assert main(["check", recipe, "--width", "4", "--seed", "2"]) == 0
    out = capsys.readouterr().out
    rows = [line.split()[:2] for line in out.splitlines()[1:5]]
    assert rows == [["conv", "21"], ["local", "133"], ["wide", "26"], ["twice", "21"]]
    assert "ok  every variant gets the same data, and begins as the same function\n" in out
    assert "ok  seed 2, trained twice on cpu, gives the same losses, to the bit\n" in out
    assert "10 seeds of every variant on this machine's cpu: about " in out
    assert out.endswith("to train it: paramshare study toy.py:Toy --seeds 0:10\n")
    assert set(Path().iterdir()) <= before


def test_a_faulty_recipe_gets_a_line_for_each_problem_and_exit_code_1(
    recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = Path("toy.py").read_text().replace("lambda model: model", "lambda model: None")
    Path("toy.py").write_text(text.replace(".square().mean()", ".square().mean() / 0"))
    assert main(["check", recipe]) == 1
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("!!")] == [
        "!!  conv: the loss is inf at step 0; expected a finite number (toy.py, line 43, in loss)",
        "!!  local: the loss is inf at step 0; expected a finite number (toy.py, line 43, in loss)",
        "!!  wide: the loss is inf at step 0; expected a finite number (toy.py, line 43, in loss)",
        "!!  twice: the variant twice returns NoneType; expected a torch.nn.Module",
    ]
    assert "to train it" not in out


@pytest.mark.parametrize("options", [("digits", "--channels", "2", "--examples", "100"), ("dynamicnet",)])
def test_a_built_in_recipe_passes_its_check(options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *options]) == 0
    out = capsys.readouterr().out
    assert "begins as the same function" in out
    assert ("multiply-accumulates differ from step to step" in out) == (options == ("dynamicnet",))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nosuch",), "there is no recipe called 'nosuch'"),
        (("nosuch.py",), "cannot read 'nosuch.py'"),
    ],
)
def test_there_must_be_a_recipe_to_check(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, "check", *arguments)


@pytest.mark.parametrize(("option", "value", "said"), [("--device", "tpu", "tpu"), ("--seed", "-1", "at least 0")])
def test_a_wrong_device_or_seed_is_refused(
    option: str, value: str, said: str, recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", recipe, option, value]) == 2
    assert said in capsys.readouterr().err
