"""A reference finds its recipe, or says in one line why not."""

import pickle
import sys
from pathlib import Path

import pytest

from paramshare.errors import SpecError
from paramshare.recipes.loading.find import find_recipe, find_target, source_of
from paramshare.recipes.target import TARGETS, Target
from support.toy_recipe import Changed


@pytest.mark.parametrize("reference", ["toy.py", "toy.py:Toy", "./toy.py:Toy"])
def test_a_file_with_one_recipe_needs_no_class(
    recipe_file: Path, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(recipe_file.parent)
    source = find_recipe(reference)
    assert (source.name, source.version, source.attribute, source.reference) == ("toy", 1, "Toy", reference)


def test_a_class_is_named_by_the_copy_of_the_file_that_was_read_last(recipe_file: Path) -> None:
    copied = recipe_file.parent / "copy"
    copied.mkdir()
    for file in recipe_file.parent.glob("*.py"):
        (copied / file.name).write_text(file.read_text())
    references = [f"{folder / recipe_file.name}:Toy" for folder in (recipe_file.parent, copied)]
    assert [source_of(find_recipe(reference).load()).reference for reference in references] == references


def test_the_names_of_built_in_targets_find_them() -> None:
    assert {name: find_target(name) for name in TARGETS} == TARGETS


def test_a_changed_file_is_another_source_of_the_same_name(toy: Target, changed: Changed) -> None:
    other = changed("20, 8", "24, 8")
    assert other.recipe != toy.recipe
    assert (other.name, other.version) == (toy.name, toy.version)


def test_a_source_loads_its_class_in_a_process_that_has_not_read_the_file(
    toy: Target, recipe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = pickle.loads(pickle.dumps(toy.recipe))
    recipe_file.write_text("changed meanwhile")
    monkeypatch.setattr("paramshare.recipes.loading.source._loaded", {})
    monkeypatch.delitem(sys.modules, f"paramshare_recipe_{toy.digest}")
    assert copy.load().name == "toy"


def test_a_class_of_a_module_is_found_by_its_import_path(recipe_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe_file.rename(recipe_file.with_name("importable_toy.py"))
    monkeypatch.syspath_prepend(recipe_file.parent)
    source = find_recipe("importable_toy:Toy")
    assert (source.module, source.files) == ("importable_toy", ())
    assert source_of(source.load()) == source


def test_a_worker_with_another_source_of_an_importable_recipe_refuses_it(
    recipe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = recipe_file.rename(recipe_file.with_name("another_toy.py"))
    monkeypatch.syspath_prepend(recipe_file.parent)
    source = find_recipe("another_toy:Toy")
    monkeypatch.setattr("paramshare.recipes.loading.source._loaded", {})
    file.write_text(file.read_text() + "# another version\n")
    with pytest.raises(SpecError, match=r"has another source here .* install the same version of its package"):
        source.load()


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("missing.py:Toy", r"cannot read 'missing.py'"),
        ("toy.py:Tov", r"toy.py:Tov is not a recipe, a class that inherits ps.Recipe; did you mean Toy\?"),
        ("toy.py:Net", r"toy.py:Net is not a recipe"),
        ("digit", r"there is no recipe called 'digit'; did you mean digits\?"),
        ("no_such_package:Toy", "importing no_such_package failed: ModuleNotFoundError"),
    ],
)
def test_a_wrong_reference_is_one_line(
    recipe_file: Path, reference: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(recipe_file.parent)
    with pytest.raises(SpecError, match=message):
        find_recipe(reference)


def test_a_file_with_several_recipes_needs_a_class(recipe_file: Path) -> None:
    recipe_file.write_text(f"{recipe_file.read_text()}\n\nclass Other(Toy):\n    pass\n")
    with pytest.raises(SpecError, match=r"has the recipes Toy, Other; pass .*toy.py:Toy"):
        find_recipe(str(recipe_file))


def test_the_error_of_an_import_names_file_and_line(recipe_file: Path) -> None:
    recipe_file.write_text("import torch\n\n1 / 0\n")
    with pytest.raises(SpecError, match=r"failed \(toy.py, line 3, in <module>\): ZeroDivisionError: division by zero"):
        find_recipe(str(recipe_file))


def test_the_error_of_a_neighbour_names_the_neighbour(recipe_file: Path) -> None:
    recipe_file.with_name("noise.py").write_text("\nraise ValueError('no')")
    with pytest.raises(SpecError, match=r"failed \(noise.py, line 2, in <module>\): ValueError: no"):
        find_recipe(str(recipe_file))
