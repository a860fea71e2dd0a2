"""A command that trains has the options of the recipe that it names and of no other, from every source."""

import re
from pathlib import Path

import pytest

from paramshare.cli import main
from paramshare.commands.comparing import Study
from paramshare.commands.recipes.options import command_for
from paramshare.commands.training import Train
from paramshare.recipes.loading.find import find_target
from paramshare.recipes.target import TARGETS
from support.command_line import refused

OWN = {"--seeds", "--devices", "--variant", "--engine", "--experiment", "--force", "--workers", "--json", "--help"}


def options(help_text: str) -> set[str]:
    return set(re.findall(r"--[a-z][a-z-]*", help_text.partition("\n\n")[0] + help_text.partition("options:\n")[2]))


@pytest.mark.parametrize("command", [["train"], ["study"], ["flow", "sweep"], ["flow", "study"]], ids=" ".join)
@pytest.mark.parametrize("name", ["dynamicnet", "digits", "toy.py"])
def test_the_help_of_a_command_shows_the_options_of_its_recipe_and_of_no_other(
    command: list[str], name: str, recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, name, "--help"]) == 0
    shown = options(capsys.readouterr().out)
    every = {*TARGETS, "toy.py"}
    flags = {other: {f"--{option.replace('_', '-')}" for option in find_target(other).options} for other in every}
    assert shown >= OWN | flags[name]
    assert not shown & (flags["dynamicnet"] | flags["digits"] | flags["toy.py"]) - flags[name]


def test_the_help_of_an_option_is_its_description_with_its_default_and_its_choices(
    recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", recipe, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--width INT channels of the convolution (default: 3)" in text
    assert "--kind {a,b} kind (default: a)" in text
    assert "--learning-rate NUMBER the learning rate of the optimizer (default: 0.1)" in text
    assert "the variants to train: conv, local, wide, twice, or a list such as conv,local; defaults to conv" in text


def test_help_without_a_recipe_tells_how_to_see_other_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "`paramshare recipes` lists the recipes; their options: RECIPE --help" in text


def test_an_option_comes_from_the_command_line_the_environment_dotenv_or_the_file_in_this_order(
    recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = command_for(Train, find_target(recipe), reference=recipe)
    widths = [command().spec().options]
    Path("paramshare.toml").write_text("width = 4\nsteps = 7\n")
    widths.append(command().spec().options)
    Path(".env").write_text("PARAMSHARE_WIDTH=5\n")
    widths.append(command().spec().options)
    monkeypatch.setenv("PARAMSHARE_WIDTH", "6")
    widths.append(command().spec().options)
    widths.append(command(width=8).spec().options)
    assert widths == [{}, *({"width": width, "steps": 7} for width in (4, 5, 6, 8))]


def test_options_of_a_built_in_recipe_are_those_of_the_spec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARAMSHARE_CHANNELS", "3")
    monkeypatch.setenv("PARAMSHARE_HIDDEN_SIZE", "4")  # of another recipe
    spec = command_for(Study, TARGETS["digits"])(steps=5).spec()
    assert (spec.target, spec.options) == ("digits", {"channels": 3, "steps": 5})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--width", "0"), "--width is '0'; expected at least 1"),
        (("--width", "wide"), "--width is 'wide'; expected a whole number"),
        (("--kind", "c"), "--kind is 'c'; expected 'a' or 'b'"),
        (("--variant", "dense"), "there is no variant 'dense' of toy; expected conv, local, wide, twice"),
        (("--channels", "3"), "--channels is an option of digits, not of toy; see paramshare"),
        (("--target", "digits"), "two recipes are named, toy.py:Toy and digits; name one"),
    ],
)
@pytest.mark.parametrize("command", [("train",), ("flow", "study")], ids=" ".join)
def test_an_option_that_is_not_valid_is_refused_in_one_line(
    command: tuple[str, ...], arguments: tuple[str, ...], said: str, recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    find_target(recipe)
    Path("imported").touch()
    capsys.readouterr()
    assert said in refused(capsys, *command, recipe, *arguments)


def test_a_validator_of_the_recipe_names_its_option(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = Path("toy.py").read_text().replace("import Field", "import Field, field_validator")
    check = "\n        @field_validator('width')\n        def even(cls, value):\n            if value % 2 == 0:\n"
    check += "                raise ValueError('expected an odd number')\n            return value\n"
    Path("toy.py").write_text(
        text.replace("        learning_rate: float = 0.1\n", f"        learning_rate: float = 0.1\n{check}")
    )
    assert main(["train", recipe, "--width", "4"]) == 2
    assert "paramshare: --width is 4; expected an odd number\n" in capsys.readouterr().err


def test_a_wrong_value_of_a_setting_is_attributed_to_it(
    recipe: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("paramshare.toml").write_text("width = 0\n")
    assert main(["train", recipe]) == 2
    assert "paramshare: width in paramshare.toml is 0; expected at least 1\n" in capsys.readouterr().err
    monkeypatch.setenv("PARAMSHARE_WIDTH", "0")
    assert main(["train", recipe]) == 2
    assert "paramshare: PARAMSHARE_WIDTH is '0'; expected at least 1\n" in capsys.readouterr().err


def test_a_misspelt_option_of_the_recipe_is_refused(
    recipe: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARAMSHARE_WIDHT", "4")
    assert main(["train", recipe]) == 2
    assert "no setting called PARAMSHARE_WIDHT (found in the environment); did you mean PARAMSHARE_WIDTH?" in (
        capsys.readouterr().err
    )


def test_the_settings_may_name_the_recipe_and_its_options_for_every_command(
    recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("paramshare.toml").write_text(f"target = '{recipe}'\nwidth = 4\n")
    assert main(["train", "--help"]) == 0
    assert "--width INT" in capsys.readouterr().out
    assert main(["flush", "--json"]) == 0  # knows `width`, too
    Path("paramshare.toml").write_text("target = 'nosuch.py'\n")
    assert main(["train", "--help"]) == 0
    capsys.readouterr()
    assert "cannot read 'nosuch.py'" in refused(capsys, "train")
