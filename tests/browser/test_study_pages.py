"""A study can be read: its report alone, on a wide and on a narrow page, every figure with a text for it;
its run's page with the answers; and the saved view of MLflow's pages with the variants as groups. No script fails.

A real study, its report as a file, MLflow's real server, a real headless Chromium.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from paramshare.comparing.run import report_of, run_study
from paramshare.comparing.spec import StudySpec
from paramshare.comparing.study import Study
from paramshare.comparing.text import answers
from paramshare.tracking.display.urls import experiment_url, run_url
from support.chromium import Page, find_chromium, sees
from support.command_line import SIZES
from support.tracking.mlflow_server import MlflowServer

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="no chromium on the PATH: apt-get install chromium"),
]

SPEC = StudySpec.model_validate({**SIZES, "seeds": "0:12", "devices": "cpu", "workers": 1, "experiment": "study"})
FIGURES = 5
TEXTS = "[...document.querySelectorAll('p, td, th, figcaption, h1, h2')]"
LETTER = f"Math.min(...{TEXTS}.map(one => parseFloat(getComputedStyle(one).fontSize)))"


@dataclass(frozen=True)
class Pages:
    """The results of a study, and the addresses at which a server shows them."""

    study: Study
    report: Path
    base: str
    run: str
    view: str


@pytest.fixture(scope="module")
def pages(mlflow_server: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> Pages:
    """Run and write a study of tiny nets, and serve it."""
    address, base = mlflow_server.embedded(SPEC.experiment), mlflow_server.url
    outcome, study = run_study(SPEC, address, {})
    assert study is not None
    report = tmp_path_factory.mktemp("study") / "report.html"
    report.write_text(report_of(study, "html", SPEC.command), encoding="utf-8")
    run = run_url(f"{base}/", outcome.experiment_id, outcome.parent_run_id)
    return Pages(study, report, base, run, experiment_url(f"{base}/", outcome.experiment_id, "dynamicnet"))


@pytest.mark.parametrize("width", [1280, 390])
def test_a_study_report_is_readable_at_any_page_width(pages: Pages, page: Page, width: int) -> None:
    page.resize(width, 900)
    page.open(pages.report.as_uri())
    sees(page, *answers(pages.study), "Pairwise comparisons", "geometric mean")
    images = page.evaluate("[...document.images].map(one => [one.complete && one.naturalWidth, one.alt, one.width])")
    assert len(images) == FIGURES
    for natural, alt, shown in images:
        assert natural == 1040
        assert len(alt) > 40
        assert shown >= 330  # letters of 11 points in 520 pixels are 10 pixels high there
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(LETTER) >= 14
    assert page.evaluate("[...document.querySelectorAll('link, script, [src^=http]')].length") == 0


def test_the_page_of_a_study_shows_its_answers_and_figures(pages: Pages, page: Page) -> None:
    page.open(pages.run)
    sees(page, *(answer.split(" (")[0] for answer in answers(pages.study)))
    page.wait_until(
        "[...document.images].filter(one => one.src.includes('study/') && one.naturalWidth > 1000).length >= 5"
    )


def test_the_saved_view_of_a_study_shows_its_variants_as_groups(pages: Pages, page: Page) -> None:
    page.open(pages.view)
    sees(page, "Group by: variant", "Group: shared", "Group: untied", "Arithmetic means, not medians: loss")
    page.wait_until(
        "document.querySelectorAll('.js-plotly-plot .trace, .js-plotly-plot .scatterlayer .trace').length >= 2"
    )
