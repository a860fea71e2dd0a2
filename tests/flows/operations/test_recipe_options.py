"""Test on a real Prefect server that invalid options of a recipe in the registered folder are refused before a run
exists, that valid ones run on a worker, and what happens to a recipe that is added later.
"""

import shutil
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from paramshare.flows.operations.register import main
from support.flows.flow_records import connected
from support.flows.prefect_server import PrefectServer, register
from support.flows.prefect_worker import running_worker
from support.forked import forked
from support.toy_recipe import NEIGHBOUR, RECIPE
from support.waiting import wait_until

TOY = RECIPE.replace("width: int = 3", "width: int = Field(3, ge=1, le=64)")
NAME = "sweep/sweep-cpu"
SPEC: dict[str, Any] = {"target": "recipes/toy.py:Toy", "seeds": "0:2", "devices": "cpu", "workers": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `recipes/` in it: a recipe, a module that it imports, and a broken file."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "recipes").mkdir()
    (folder / "recipes" / "noise.py").write_text(NEIGHBOUR)
    (folder / "recipes" / "toy.py").write_text(f"from pydantic import Field\n{TOY}")
    (folder / "recipes" / "broken.py").write_text("def f(:\n")
    return folder


@pytest.fixture(scope="module")
def server(own_prefect_server: PrefectServer, folder: Path) -> PrefectServer:
    """Register from the folder."""
    done = register(own_prefect_server, folder)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in done.stdout.splitlines() if line.startswith("recipe ")]
    assert lines == [
        "recipe recipes/broken.py: not part of the forms: recipes/broken.py, line 1: invalid syntax",
        "recipe recipes/toy.py:Toy: part of the forms, with width, steps, batch_size, learning_rate",
    ]
    return own_prefect_server


def runs(server: PrefectServer) -> int:
    return len(server.ask("flow_runs/filter", {}))


@pytest.mark.parametrize("deployment", [NAME, "study/study-cpu"])
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"width": "nonsense"}, "spec.width"),
        ({"width": 0}, "0 is less than the minimum of 1"),
        ({"width": 65}, "65 is greater than the maximum of 64"),
        ({"options": {"width": 65}}, "65 is greater than the maximum of 64"),
        ({"options": {"widht": 3}}, "'widht' was unexpected"),
        ({"options": {"steps": 1.5}}, "1.5 is not of type 'integer'"),
        ({"channels": 3}, "'channels' is not one of"),
        ({"variant": "conv,untied"}, "does not match"),
        ({"target": "recipes/toy.py", "width": 65}, "65 is greater than the maximum of 64"),
    ],
)
def test_an_invalid_option_of_a_registered_recipe_is_refused_before_a_run_exists(
    values: dict[str, Any], reason: str, deployment: str, server: PrefectServer
) -> None:
    before, found = runs(server), server.ask(f"deployments/name/{deployment}")["id"]
    given = {"parameters": {"spec": {**SPEC, **values}}}
    status, text = server.refused(f"deployments/{found}/create_flow_run", given)
    assert status == 409
    assert "Validation failed" in text
    assert reason in text
    assert runs(server) == before


def test_a_command_with_an_invalid_option_creates_no_flow_run(
    server: PrefectServer, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from paramshare.cli import main as paramshare

    monkeypatch.chdir(folder)
    before = runs(server)
    with connected(server):
        for value in ("nonsense", "0"):
            assert paramshare(["flow", "sweep", "recipes/toy.py:Toy", "--width", value]) == 2
            error = capsys.readouterr().err
            assert error.count("\n") == 1
            assert "width" in error
    assert runs(server) == before


@pytest.fixture
def with_a_store(folder: Path, migrated: Path) -> None:
    """Give the folder the database of a store."""
    (folder / "mlruns").mkdir(exist_ok=True)
    shutil.copy(migrated, folder / "mlruns")


@pytest.mark.usefixtures("with_a_store")
def test_valid_options_of_a_registered_recipe_run_on_a_worker(server: PrefectServer, folder: Path) -> None:
    with running_worker(folder, server.environment):
        run = server.start_run(NAME, {**SPEC, "width": 64, "steps": 3, "variant": "local,wide"})
        wait_until(lambda: server.state(run) in ("Completed", "Failed"), "the run ends")
    state = server.run(run)["state"]
    assert (state["name"], state["message"]) == ("Completed", "4 of 4 runs finished")


def run_deployed(flow_run_id: str) -> None:
    """Run a flow run of a deployment, as the process that a worker starts for it does."""
    from prefect.flow_engine import load_flow, load_flow_run, run_flow

    flow_run = load_flow_run(UUID(flow_run_id))
    run_flow(load_flow(flow_run), flow_run=flow_run)


@pytest.mark.usefixtures("with_a_store")
def test_a_recipe_that_is_added_later_is_checked_when_its_run_starts_until_it_is_registered(
    server: PrefectServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = (folder / "recipes" / "toy.py").read_text().replace("class Toy", "class Later").replace("le=64", "le=65")
    (folder / "recipes" / "later.py").write_text(later)
    added = {**SPEC, "target": "recipes/later.py:Later"}
    monkeypatch.setenv("STACK_FOLDER", str(folder))
    monkeypatch.setenv("PREFECT_API_URL", server.url)
    ids = [server.start_run(NAME, {**added, "options": {"width": width}}) for width in (65, 66)]
    for each in ids:
        with forked(run_deployed, each) as process:
            process.join()
    states = [server.run(each)["state"] for each in ids]
    assert [state["name"] for state in states] == ["Completed", "Failed"]
    assert "width is 66; expected a number less than or equal to 65" in states[1]["message"]

    given = {"parameters": {"spec": {**added, "options": {"width": 66}}}}
    found = server.ask(f"deployments/name/{NAME}")["id"]
    monkeypatch.chdir(folder)
    with connected(server):
        assert main([]) == 0
    assert server.refused(f"deployments/{found}/create_flow_run", given)[0] == 409


def test_a_folder_of_recipes_that_does_not_exist_is_refused(
    server: PrefectServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with connected(server):
        assert main(["--recipes", str(tmp_path / "missing")]) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert "--recipes" in error
