"""MLflow's pages open for trainings at any address, in a browser without choices of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from paramshare.tracking.page_defaults import DEFAULTS
from paramshare.tracking.store import open_store
from support.chromium import Page, find_chromium, sees
from support.tracking.mlflow_server import MlflowServer

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="no chromium on the PATH: apt-get install chromium"),
]


@dataclass(frozen=True)
class Pages:
    """The pages of a server, and an experiment."""

    base: str
    experiment_id: str


@pytest.fixture
def pages(mlflow_server: MlflowServer, experiment: str) -> Pages:
    """Return the pages of a server that `paramshare ui` starts, too."""
    store = open_store(mlflow_server.remote(experiment))
    return Pages(store.address.uri.rstrip("/"), store.experiment_id)


@pytest.mark.parametrize("width", [1280, 1920])
@pytest.mark.parametrize("path", ["/", "/#/experiments", "/#/experiments/{experiment_id}"])
def test_a_first_visit_is_in_the_mode_for_training_without_assistant_and_notices(
    path: str, width: int, pages: Pages, page: Page
) -> None:
    page.resize(width, 1000)
    page.open(pages.base + path.format(experiment_id=pages.experiment_id))
    sees(page, "Model registry")  # it is in the menu of this mode alone
    text = page.text()
    assert "MCP registry" not in text  # of the other mode
    assert "usage data" not in text
    assert page.evaluate("localStorage.getItem('mlflow.assistant.panelOpen_v1')") == "false"


def test_an_experiment_opens_on_its_runs_with_the_saved_views_one_click_away(pages: Pages, page: Page) -> None:
    page.open(f"{pages.base}/#/experiments/{pages.experiment_id}")
    sees(page, "Runs", "Views")
    assert "workflowType=machine_learning" in page.evaluate("location.href")


def test_the_choices_of_a_user_stay(pages: Pages, page: Page) -> None:
    page.open(pages.base)
    page.evaluate("localStorage.setItem('mlflow.workflowType_v1', JSON.stringify('genai'))")
    page.open(pages.base)
    sees(page, "MCP registry")


def test_the_scripts_of_mlflow_know_every_key_that_is_set() -> None:
    from mlflow.server import app

    scripts = "".join(file.read_text() for file in Path(str(app.static_folder)).rglob("*.js"))
    for key in DEFAULTS:
        assert f'"{key.removesuffix("_v1")}"' in scripts
