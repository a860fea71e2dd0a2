"""The forms of recipes are read in another process, which a recipe can end without harm to this one."""

from pathlib import Path

import pytest

from paramshare.recipes.loading.forms import Problem, RecipeForm, read_forms
from support.toy_recipe import RECIPE

TWO = RECIPE + "\n\nclass Other(Toy):\n    pass\n"


def forms(*references: object, seconds: float = 60) -> list[RecipeForm | Problem]:
    return list(read_forms([str(reference) for reference in references], seconds))


def test_a_form_has_the_references_variants_and_options_of_a_recipe(recipe_file: Path) -> None:
    (form,) = forms(recipe_file)
    assert isinstance(form, RecipeForm)
    assert (form.name, form.references) == ("toy", (f"{recipe_file}:Toy", str(recipe_file)))
    assert form.variants == ("conv", "local", "wide", "twice")
    assert form.options["width"] == {"type": "integer", "default": 3, "description": "width"}
    assert form.options["batch_size"]["description"] == "examples of a step"  # as in the help of the command line


def test_a_default_that_a_function_makes_is_part_of_the_form(recipe_file: Path) -> None:
    made = "width: int = __import__('pydantic').Field(default_factory=lambda: 3)"
    recipe_file.write_text(RECIPE.replace("width: int = 3", made))
    (form,) = forms(recipe_file)
    assert isinstance(form, RecipeForm)
    assert form.options["width"]["default"] == 3


def test_a_file_of_several_recipes_has_a_form_for_each_and_no_short_reference(recipe_file: Path) -> None:
    recipe_file.write_text(TWO)
    references = [form.references for form in forms(recipe_file) if isinstance(form, RecipeForm)]
    assert references == [(f"{recipe_file}:Toy",), (f"{recipe_file}:Other",)]


def test_a_file_without_a_recipe_has_no_form(recipe_file: Path) -> None:
    assert forms(recipe_file.with_name("noise.py")) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def f(:\n", "broken.py, line 1: invalid syntax"),
        ("import missing_module\n", "No module named 'missing_module'"),
        ("raise SystemExit(3)\n", "failed (broken.py, line 1, in <module>)"),
        ("import os\nos._exit(3)\n", "importing it ended the process with exit code 3"),
        ("import os\nos.kill(os.getpid(), 9)\n", "importing it ended the process with exit code -9"),
    ],
)
def test_a_broken_file_is_a_problem_and_the_files_after_it_are_read(text: str, reason: str, recipe_file: Path) -> None:
    broken = recipe_file.with_name("broken.py")
    broken.write_text(text)
    problem, form = forms(broken, recipe_file)
    assert isinstance(problem, Problem)
    assert problem.reference == str(broken)
    assert reason in problem.reason
    assert isinstance(form, RecipeForm)


def test_a_recipe_whose_class_is_not_valid_is_a_problem_of_its_own(recipe_file: Path) -> None:
    recipe_file.write_text(TWO.replace("    pass", "    version = 0"))
    form, problem = forms(recipe_file)
    assert isinstance(form, RecipeForm)
    assert isinstance(problem, Problem)
    assert problem.reference == f"{recipe_file}:Other"
    assert "version is 0" in problem.reason


def test_a_file_that_hangs_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(1000)\n")
    assert forms(tmp_path / "hangs.py", seconds=1) == [
        Problem(str(tmp_path / "hangs.py"), "importing it took too long")
    ]


def test_what_a_recipe_prints_is_not_taken_for_a_form(recipe_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe_file.write_text("print('[]')\n" + RECIPE)
    (form,) = forms(recipe_file)
    assert isinstance(form, RecipeForm)
    assert capfd.readouterr() == ("", "")
