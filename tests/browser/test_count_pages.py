"""MLflow's own pages show a person what sharing saves in a model: the run's picture, totals, ties and
warnings in its note, every metric and parameter, the table of its layers; and no script fails on the way.

A real report, MLflow's real server, a real headless Chromium. What the pages of other programs say is not asserted.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from torch import Tensor, nn

from paramshare.sharing.analyze import analyze
from paramshare.sharing.report import SharingReport
from paramshare.tracking.display.urls import experiment_url, run_url, search_url
from paramshare.tracking.store import open_store
from paramshare.tracking.write.kinds.counts import write_report
from support.chromium import Page, find_chromium, sees
from support.tracking.mlflow_server import MlflowServer

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="no chromium on the PATH: apt-get install chromium"),
]

ROWS = "[...document.querySelectorAll('[role=row], tr')].map(row => row.innerText.split(/\\s+/).filter(Boolean))"


class Net(nn.Module):
    """Convolutions, a matrix that two layers share, and a guess."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.first, self.last = nn.Linear(8, 8, bias=False), nn.Linear(8, 8)
        self.last.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        """Bring data in, and ask for a value."""
        x = self.conv(x).mean((2, 3))
        return self.last(self.first(x) * x.sum().item())


@dataclass(frozen=True)
class Pages:
    """The report of a run in a store, and the addresses at which a server shows it."""

    report: SharingReport
    base: str
    url: str
    side_by_side: str
    view: str

    def tab(self, name: str) -> str:
        """Return the address of a tab of the run's page."""
        path, _, query = self.url.partition("?")
        return f"{path}/{name}?{query}"


@pytest.fixture(scope="module")
def pages(mlflow_server: MlflowServer) -> Pages:
    """Write the report of a small model, and serve it."""
    store = open_store(mlflow_server.embedded("counts"))
    report = analyze(Net(), (3, 32, 32))
    run_id = write_report(store, report, {"model": "nets:Net", "input": "3,32,32"}, {})
    for name in ("nets:Twin", "nets:Stranger"):
        write_report(store, report, {"model": name}, {})
    base, experiment = mlflow_server.url, store.experiment_id
    two = search_url(f"{base}/", experiment, "params.`model` != 'nets:Stranger'")
    view = experiment_url(f"{base}/", experiment, "counts")
    return Pages(report, base, run_url(f"{base}/", experiment, run_id), two, view)


def test_the_page_of_a_count_shows_its_note_with_picture_totals_ties_and_warnings(pages: Pages, page: Page) -> None:
    page.open(pages.url)
    sees(page, "nets:Net on 3,32,32", "Sharing factor", *pages.report.ties[0].names)
    page.wait_until("[...document.images].some(image => image.complete && image.naturalWidth >= 600)")
    rows = page.evaluate(ROWS)
    for regime in ("shared", "per_use", "unshared", "unshared_live", "dense"):
        assert any(row[:2] == [regime, f"{getattr(pages.report.totals, regime):,}"] for row in rows), regime
    assert pages.report.warnings
    sees(page, *pages.report.warnings)


def test_the_page_of_a_count_shows_each_number_as_a_metric_and_as_an_exact_parameter(pages: Pages, page: Page) -> None:
    page.open(pages.url)
    sees(page, "sharing/factor", "memory/dense_with_adam", "paramshare.sharing/1")
    rows = page.evaluate(ROWS)
    for name in ("shared", "unshared", "dense", "macs"):
        count = getattr(pages.report.totals, name)
        assert any(row[0] == f"sharing/{name}" and float(row[1]) == pytest.approx(count) for row in rows if row), name
        assert [name, str(count)] in rows


def test_the_layers_of_a_count_are_shown_as_a_table(pages: Pages, page: Page) -> None:
    page.open(pages.tab("artifacts/layers.json"))
    sees(page, "View as table", "unshared_live", *(layer.name for layer in pages.report.layers))


def test_the_report_of_a_count_is_shown_as_text_and_its_chart_as_a_picture(pages: Pages, page: Page) -> None:
    page.open(pages.tab("artifacts/sharing.txt"))
    sees(page, "sharing factor", "unused in this pass: 0")
    page.open(pages.tab("artifacts/sharing.png"))
    page.wait_until("[...document.images].some(image => image.complete && image.naturalWidth >= 600)")


def test_the_metrics_page_of_a_count_draws_its_numbers(pages: Pages, page: Page) -> None:
    page.open(pages.tab("model-metrics"))
    sees(page, "sharing", "memory")
    page.wait_until("document.querySelectorAll('.js-plotly-plot .point').length >= 5")


def test_the_saved_view_of_counts_shows_each_run_with_numbers_and_bars(pages: Pages, page: Page) -> None:
    page.open(pages.view)
    sees(page, "nets:Net", "nets:Twin", "Parameters", "What sharing saves", "sharing/factor")
    page.wait_until("document.querySelectorAll('.js-plotly-plot .point').length >= 12")  # 3 runs, 4 charts in view


def test_a_search_on_the_page_of_counts_shows_the_matching_runs_only(pages: Pages, page: Page) -> None:
    page.open(pages.side_by_side)
    sees(page, "nets:Net on 3,32,32", "nets:Twin on 1×3×32×32")
    assert "nets:Stranger" not in page.text()
