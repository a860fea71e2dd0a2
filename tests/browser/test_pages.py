"""MLflow's own pages show a person what a sweep has found: the sweep and its nested runs by name, the
sweep's note as tables whose links lead to the runs, the curves as drawn lines, every metric, parameter and dataset of
a run, its model as a model and its figure as a picture; and no script fails on the way.

A real sweep, MLflow's real server, a real headless Chromium. What the pages of other programs say is not asserted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import quote

import pytest

from paramshare.sweep.result import SweepResult
from paramshare.sweep.run import run_sweep
from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.display.urls import artifact_url, experiment_url, run_url
from paramshare.tracking.registry import register
from paramshare.tracking.store import Store, open_store
from paramshare.tracking.tags import CURVES_FILE
from support.chromium import Page, find_chromium, sees
from support.tracking.mlflow_server import MlflowServer

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="no chromium on the PATH: apt-get install chromium"),
]

SPEC = SweepSpec(
    seeds="0:2",
    devices="cpu",
    steps=20,
    batch_size=4,
    input_size=8,
    hidden_size=6,
    output_size=3,
    workers=1,
)

# Whoever draws a line with Plotly draws it as a path; a point alone is a path of one or two commands.
DRAWN_LINES = """
    [...document.querySelectorAll('.js-plotly-plot path.js-line')]
        .filter(line => (line.getAttribute('d').match(/[LHVQC]/g) || []).length >= 10).length
"""
EXPAND = "document.querySelectorAll('button[data-component-id*=runnamecellrenderer]').forEach(button => button.click())"
NOTE = "[...document.querySelectorAll('table')].filter(table => !table.closest('[role=table]'))"


@dataclass(frozen=True)
class Pages:
    """The sweep in a store, and the address at which a server shows it."""

    store: Store
    outcome: SweepResult
    base: str

    @property
    def experiment(self) -> str:
        """Return the address of the experiment's page."""
        return experiment_url(self.base, self.outcome.experiment_id)

    def run(self, run_id: str, tab: str = "") -> str:
        """Return the address of a run's page, or of one of its tabs."""
        return run_url(self.base, self.outcome.experiment_id, f"{run_id}{tab}")

    def models(self, place: str = "") -> str:
        """Return the address of the page of the experiment's models, or of one of them."""
        return f"{self.base}#/experiments/{self.outcome.experiment_id}/models{place}?workflowType=machine_learning"

    def name(self, run_id: str) -> str:
        """Return the name of a run in the store."""
        return str(self.store.client.get_run(run_id).info.run_name)


@pytest.fixture(scope="module")
def pages(mlflow_server: MlflowServer) -> Pages:
    """Train and write a sweep of two seeds, and serve it."""
    address = mlflow_server.embedded("sweep")
    outcome = run_sweep(SPEC, address, {})
    return Pages(open_store(address), outcome, mlflow_server.url)


def test_the_experiment_page_opens_on_all_seeds_with_their_curves_and_losses_by_depth(pages: Pages, page: Page) -> None:
    page.open(pages.experiment)
    sees(page, "What does sharing weights buy?", *(pages.name(row.run_id) for row in pages.outcome.rows))
    sees(page, "Loss at every step", "The trained nets", "final/loss_mean_depth")
    page.wait_until(f"{DRAWN_LINES} >= {len(pages.outcome.rows)}")


def test_the_experiment_page_without_a_view_lists_the_sweep_with_nested_runs(pages: Pages, page: Page) -> None:
    page.open(pages.experiment.partition("&")[0])
    sees(page, pages.name(pages.outcome.parent_run_id))
    page.wait_until("document.querySelector('button[data-component-id*=runnamecellrenderer]') !== null")
    page.evaluate(EXPAND)
    sees(page, *(pages.name(row.run_id) for row in pages.outcome.rows))


def test_the_view_of_the_last_sweep_draws_medians_and_quartiles_in_one_chart(pages: Pages, page: Page) -> None:
    page.open(experiment_url(pages.base, pages.outcome.experiment_id, "sweep"))
    paths = (
        "new Set([...plot.querySelectorAll('path.js-line')].map(line => line.getAttribute('d')))"  # each is drawn twice
    )
    page.wait_until(f"[...document.querySelectorAll('.js-plotly-plot')].some(plot => {paths}.size === 3)")


def test_the_page_of_several_runs_compares_them_by_the_headline_metric(pages: Pages, page: Page) -> None:
    ids = quote(json.dumps([row.run_id for row in pages.outcome.rows]))
    page.open(f"{pages.base}/#/compare-runs?runs={ids}&experiments=%5B%22{pages.outcome.experiment_id}%22%5D")
    shown = "[...document.querySelectorAll('.js-plotly-plot')].map(plot => plot.textContent).join()"
    page.wait_until(f"{shown}.includes('final/loss_mean_depth')")
    assert "train/loss" not in page.evaluate(shown)


def test_the_page_of_a_sweep_draws_its_aggregate_curves(pages: Pages, page: Page) -> None:
    page.open(pages.run(pages.outcome.parent_run_id, "/model-metrics"))
    page.wait_until(f"{DRAWN_LINES} >= 3")  # the median and both quartiles


def test_the_address_of_a_sweeps_curves_shows_them_as_a_picture(pages: Pages, page: Page) -> None:
    page.open(artifact_url(pages.base, pages.outcome.experiment_id, pages.outcome.parent_run_id, CURVES_FILE))
    sees(page, "loss_curves.png")
    page.wait_until("[...document.images].some(image => image.complete && image.naturalWidth >= 600)")


def test_the_note_of_a_sweep_is_shown_as_tables_with_a_row_for_each_run(pages: Pages, page: Page) -> None:
    page.open(pages.run(pages.outcome.parent_run_id))
    sees(page, pages.outcome.name, "2 of 2 runs finished")
    page.wait_until(f"{NOTE}.length >= 2")
    tables = page.evaluate(f"{NOTE}.map(table => [...table.rows].map(row => [...row.cells].map(c => c.innerText)))")
    cells = [row for table in tables for row in table]
    assert any("shared-cpu (n = 2)" in row for row in cells)
    for row in pages.outcome.rows:
        assert any(row.run_id[:8] in shown for shown in cells)
    assert "| --" not in page.text()


def test_the_links_in_the_note_of_a_sweep_lead_to_its_runs(pages: Pages, page: Page) -> None:
    page.open(pages.run(pages.outcome.parent_run_id))
    links = "[...document.querySelectorAll('table a')].map(link => link.href)"
    page.wait_until(f"{links}.length >= {len(pages.outcome.rows)}")
    followed = [next(href for href in page.evaluate(links) if row.run_id in href) for row in pages.outcome.rows]
    page.open(followed[1])
    title = json.dumps(pages.name(pages.outcome.rows[1].run_id))
    page.wait_until(f"[...document.querySelectorAll('h1, h2, h3')].some(heading => heading.innerText === {title})")


def test_the_seeds_of_a_sweep_are_shown_as_a_table(pages: Pages, page: Page) -> None:
    page.open(pages.run(pages.outcome.parent_run_id, "/artifacts/seeds.json"))
    sees(
        page,
        "View as table",
        "final/loss_mean_depth",
        *(f"{row.seconds:.3f}".rstrip("0") for row in pages.outcome.rows),
    )


def test_the_page_of_a_run_shows_its_metrics_parameters_dataset_parent_and_model(pages: Pages, page: Page) -> None:
    run = pages.store.client.get_run(pages.outcome.rows[1].run_id)
    page.open(pages.run(run.info.run_id))
    sees(page, run.info.run_name, pages.outcome.name, "Logged models")
    sees(page, *(used.dataset.name for used in run.inputs.dataset_inputs))
    rows = "[...document.querySelectorAll('[role=row]')].map(row => row.innerText.split(/\\s+/).filter(Boolean))"
    page.wait_until(f"{rows}.length > {len(run.data.metrics) + len(run.data.params)}")
    shown = [tuple(row) for row in page.evaluate(rows)]
    for name, value in run.data.params.items():
        assert (name, value) in shown
    for name, number in run.data.metrics.items():
        assert any(row[0] == name and float(row[1]) == pytest.approx(number, rel=1e-6) for row in shown), name


def test_the_metrics_page_of_a_run_draws_its_loss_and_depth_at_each_step(pages: Pages, page: Page) -> None:
    page.open(pages.run(pages.outcome.rows[0].run_id, "/model-metrics"))
    page.wait_until(f"{DRAWN_LINES} >= 2")
    sees(page, "loss", "depth")


def test_the_figure_of_a_run_is_shown_as_a_picture(pages: Pages, page: Page) -> None:
    page.open(pages.run(pages.outcome.rows[0].run_id, "/artifacts/loss.png"))
    sees(page, "loss.png")
    page.wait_until("[...document.images].some(image => image.complete && image.naturalWidth >= 600)")


def test_the_models_page_lists_the_model_of_each_run(pages: Pages, page: Page) -> None:
    page.open(pages.models())
    sees(page, "Ready", "Source run", *(pages.name(row.run_id) for row in pages.outcome.rows))


def test_the_page_of_a_model_shows_its_run_metrics_and_registered_version(
    pages: Pages, page: Page, experiment: str
) -> None:
    row = pages.outcome.rows[0]
    registered = register(pages.store.address, row.run_id, experiment, "champion")
    page.open(pages.models(f"/{registered.model_id}"))
    run = pages.store.client.get_run(row.run_id)
    sees(page, "Ready", run.info.run_name, "Model versions", experiment, "v1", *run.data.params)
    sees(page, *(name for name in run.data.metrics if name.startswith("final/")))
