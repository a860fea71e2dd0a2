"""Test what `recipes` lists, and that `init` writes a recipe that runs as it is and never over a file."""

import ast
import json
from pathlib import Path

import pytest

from paramshare.cli import main
from paramshare.recipes.target import TARGETS
from paramshare.tracking.store import StoreAddress
from support.command_line import refused
from support.toy_recipe import NEIGHBOUR, RECIPE


def test_the_list_has_a_line_for_every_built_in_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == list(TARGETS)
    assert main(["recipes", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["recipes"]
    assert {recipe["name"]: [option["name"] for option in recipe["options"]] for recipe in listed} == {
        name: list(target.options) for name, target in TARGETS.items()
    }


def test_a_recipe_is_shown_with_options_variants_and_metrics(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", recipe, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (shown["name"], shown["line"], shown["version"]) == ("toy", "A toy.", 1)
    assert shown["options"][:2] == [
        {"name": "width", "type": "int", "default": 3, "description": "channels of the convolution"},
        {"name": "kind", "type": "a, b", "default": "a", "description": "kind"},
    ]
    assert shown["variants"] == {
        "conv": "the model as built", "local": "untied along space", "wide": "width = 5",
        "twice": "changed by a function",
    }  # fmt: skip
    assert shown["metrics"] == [{"name": "final/error", "better": "lower", "description": "mean absolute error"}]
    assert main(["recipes", recipe]) == 0
    assert "--width         int   3       channels of the convolution" in capsys.readouterr().out


def test_installed_recipes_are_listed_trained_by_name_and_do_no_harm_if_they_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "noise_of_package.py").write_text(NEIGHBOUR)
    (tmp_path / "package_of_toys.py").write_text(RECIPE.replace("from noise ", "from noise_of_package "))
    metadata = tmp_path / "toys-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1\n")
    entries = "toy = package_of_toys:Toy\nbroken = nosuch_package:Toy\n"
    (metadata / "entry_points.txt").write_text(f"[paramshare.recipes]\n{entries}")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["recipes", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["recipes"]
    assert [recipe["name"] for recipe in listed] == [*TARGETS, "toy", "broken"]
    assert (
        listed[-1]["error"] == "importing nosuch_package failed: ModuleNotFoundError: No module named 'nosuch_package'"
    )
    assert main(["check", "--width", "5", "toy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["options"]["width"] == 5


def test_the_recipe_that_init_writes_is_checked_and_trained_as_it_is(
    address: StoreAddress, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "mine.py"]) == 0
    assert capsys.readouterr().out == (
        "mine.py is written. Next:\n"
        "  paramshare check mine.py:Spirals\n"
        "  paramshare study mine.py:Spirals --seeds 0:10\n"
    )
    assert "paramshare train mine.py:Spirals" in (ast.get_docstring(ast.parse(Path("mine.py").read_text())) or "")
    assert main(["check", "mine.py:Spirals", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == []
    assert main(["study", "mine.py:Spirals", "--seeds", "0:2", "--workers", "1", "--json"]) == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    accuracy = {group["name"]: min(group["values"].values()) for group in groups}
    assert accuracy["conv"] > 0.8 > 0.3 > max(accuracy["local"], accuracy["dense"])


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("mine.py", "mine.py exists already; choose another name, or remove the file"),
        ("none/mine.py", "none/mine.py cannot be written: there is no folder none; create it first"),
        ("mine.txt", "mine.txt is not a Python file; expected a name that ends in .py"),
    ],
)
def test_init_writes_over_no_file_and_into_no_missing_folder(
    file: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.py").write_text("mine")
    assert said in refused(capsys, "init", file)
    assert Path("mine.py").read_text() == "mine"
