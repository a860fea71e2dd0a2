"""Test `ps.train` and `ps.study` of a recipe: from a module, a script without a guard, and a notebook's cell."""

import linecache
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

import paramshare as ps
from paramshare.errors import ParamshareError, SpecError, UsageError
from paramshare.recipes.loading import source as recipe_source
from paramshare.recipes.loading.find import find_recipe, source_of
from paramshare.recipes.recipe import Recipe
from paramshare.results import StudyResult
from paramshare.tracking.read.seeds import read_ended
from paramshare.tracking.store import StoreAddress, open_store
from support.toy_recipe import NEIGHBOUR, RECIPE


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> type[Recipe]:
    """Return the class of the recipe."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "noise.py").write_text(NEIGHBOUR)
    (folder / "toy.py").write_text(RECIPE)
    return find_recipe(f"{folder / 'toy.py'}:Toy").load()


@pytest.fixture(scope="module")
def store(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the address of a store for the tests of this module."""
    folder = tmp_path_factory.mktemp("store")
    shutil.copy(migrated, folder)
    return f"sqlite:///{folder / 'mlflow.db'}"


@pytest.fixture(scope="module")
def study(toy: type[Recipe], store: str) -> StudyResult:
    """Return a study of two variants."""
    variants = ["conv", "local"]
    return ps.study(toy(width=4), seeds=range(3), variants=variants, devices="cpu", workers=1, tracking_uri=store)


def test_a_study_trains_every_variant_with_the_options_of_the_instance(study: StudyResult, store: str) -> None:
    runs = read_ended(open_store(StoreAddress.of(store, "paramshare")))
    assert sorted((run.variant, run.seed, run.params["width"]) for run in runs) == [
        (variant, seed, "4") for variant in ("conv", "local") for seed in range(3)
    ]


def test_a_study_as_a_data_frame_has_a_row_for_each_run_with_its_metrics(study: StudyResult) -> None:
    frame = study.to_dataframe()
    assert list(zip(frame["variant"], frame["seed"], strict=True)) == [
        (variant, seed) for variant in ("conv", "local") for seed in range(3)
    ]
    assert {"device", "run_id", "final/error", "model/parameters", "time/seconds"} <= set(frame.columns)
    groups = {group.name: group.summary.mean.value for group in study.comparison.groups}
    assert frame.groupby("variant")["final/error"].mean().to_dict() == pytest.approx(groups)


@pytest.mark.parametrize(("file", "begin"), [("study.html", "<!doctype html>"), ("study.md", "**Local instead of")])
def test_a_study_writes_its_report(study: StudyResult, file: str, begin: str) -> None:
    assert study.report(file).read_text().startswith(begin)


@pytest.mark.parametrize(("file", "said"), [("a.pdf", "ends in .html or .md"), ("none/a.html", "No such file")])
def test_a_report_that_cannot_be_written_is_refused(study: StudyResult, file: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        study.report(file)


def test_a_study_shows_its_answers_figures_and_tables_in_a_notebook(study: StudyResult) -> None:
    html = study._repr_html_()
    assert repr(study).startswith("Toy: conv, local\nLocal instead of conv adds")
    assert "<p>Local instead of conv adds" in html
    assert html.count('<img src="data:image/png;base64,') == len(study._figures) > 0
    assert html.count("<table>") == 2


def test_the_command_of_a_study_is_one_that_makes_it_again(study: StudyResult) -> None:
    options = "--seeds 0:3 --devices cpu --variant conv,local --workers 1 --width 4"
    assert re.fullmatch(rf"paramshare study \S+/toy\.py:Toy {options}", study.command)


def test_train_runs_the_first_variant_and_uses_finished_runs(study: StudyResult, toy: type[Recipe], store: str) -> None:
    result = ps.train(toy(width=4), seeds=[2, 0], devices="cpu", workers=1, tracking_uri=store)
    assert [(row.spec.variant, row.spec.seed, row.reused) for row in result.sweep.rows] == [
        ("conv", 2, True), ("conv", 0, True),
    ]  # fmt: skip
    assert list(result.to_dataframe()["seed"]) == [2, 0]
    assert repr(result) == "<conv seeds 2,0 on cpu: 2 runs, 0 failed>"


def test_a_spec_is_trained_in_this_process_as_before(small: ps.TrainSpec, tmp_path: Path) -> None:
    assert ps.train(small).engine == "exact"
    assert ps.train(small, "reference").engine == "reference"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seeds": "3:0"}, "expected a:b with a < b"),
        ({"variants": "dense"}, "no variant 'dense' of toy; expected conv, local, wide, twice"),
        ({"device": "cpu"}, 'there is no "device"'),
        ({"devices": "tpu"}, "expected cpu, cuda, cuda:N or mps"),
    ],
)
def test_a_value_that_is_not_valid_is_refused_and_nothing_is_written(
    options: dict[str, str], said: str, toy: type[Recipe], tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SpecError, match=said):
        ps.study(toy, **options)  # type: ignore[arg-type]
    assert sorted(tmp_path.iterdir()) == before


def test_what_is_no_recipe_is_refused(small: ps.TrainSpec) -> None:
    with pytest.raises(SpecError, match="expected a recipe, such as Spirals"):
        ps.study(small)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="seeds is for recipes; a spec names its seed"):
        ps.train(small, seeds=range(3))  # type: ignore[call-overload]


def test_runs_that_fail_are_named(address: StoreAddress, tmp_path: Path) -> None:
    (tmp_path / "noise.py").write_text(NEIGHBOUR)
    fails = RECIPE.replace("x, y = data.test", "x, y = missing")
    (tmp_path / "fails.py").write_text(fails)
    with pytest.raises(ParamshareError, match=r"2 of 2 runs are missing .*'missing' is not defined.*partial=True"):
        ps.study(find_recipe("fails.py").load(), seeds=[0], variants="conv,wide", devices="cpu", workers=1)


SCRIPT = f"""{RECIPE}
print("begun as", "main" if __name__ == "__main__" else "a worker")
try:
    study = ps.study(Toy(width=4), seeds=range(2), variants="conv,local", devices="cpu", workers=2)
except Exception:
    print("the script has caught the end of its loading")
print(len(study.to_dataframe()), "runs")
"""


def test_a_script_without_a_guard_trains_once_in_workers_that_load_only_its_definitions(
    address: StoreAddress, tmp_path: Path
) -> None:
    (tmp_path / "noise.py").write_text(NEIGHBOUR)
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, timeout=300)
    assert (done.returncode, sorted(set(done.stdout.splitlines()))) == (
        0,
        ["4 runs", "begun as a worker", "begun as main"],
    ), done.stderr
    assert done.stdout.count("begun as main") == done.stdout.count("4 runs") == 1


def test_a_class_of_a_notebook_is_loaded_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell's module is `__main__`, which has no file; IPython keeps the text of cells for tracebacks."""
    run = notebook(monkeypatch)
    run(CELLS[0])
    source = source_of(run(CELLS[1])["Toy"])
    assert source.pickled
    recipe_source._loaded.pop(source)  # as in another process
    assert source.load()(width=5).model().net.out_channels == 5  # type: ignore[union-attr]


def test_a_change_of_any_cell_that_a_recipe_uses_changes_its_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    run = notebook(monkeypatch)
    digests = []
    for first in (CELLS[0], CELLS[0], CELLS[0].replace("relu()", "tanh()"), f"{CELLS[0]}# said\n"):
        run("unrelated = 1\n")
        run(first)
        digests.append(source_of(run(CELLS[1])["Toy"]).digest)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


CELLS = [f"{part}\n" for part in re.split(r"\n(?=class Toy)", RECIPE.replace("from noise import targets\n", NEIGHBOUR))]


def notebook(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Return a function that runs a cell as IPython does and returns the names of the notebook."""
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    namespace: dict[str, Any] = {"__name__": "__main__"}

    def run(cell: str) -> dict[str, Any]:
        name = f"cell-{len(linecache.cache)}"
        monkeypatch.setitem(linecache.cache, name, (len(cell), None, cell.splitlines(keepends=True), name))
        exec(compile(cell, name, "exec"), namespace)
        return namespace

    return run


def test_a_class_without_source_is_refused() -> None:
    namespace: dict[str, Any] = {}
    body = indent(RECIPE.replace("from noise import targets", "targets = abs"), "    ")
    exec(f"def make():\n{body}\n    return Toy\n", namespace)
    with pytest.raises(SpecError, match=r"the source of make\.<locals>.Toy is not known; define the class in a file"):
        source_of(namespace["make"]())
