"""The figures which pages quote from the table of the benchmarks are those of the table."""

import re

import pytest

from support import ROOT

QUOTED = [
    ("docs/training.md", "training, exact, shared", "1.83"),
    ("docs/training.md", "training, gram, shared", "6.46"),
    ("docs/speed.md", "flow sweep, 200 seeds, gram, beside a script by hand, a seed after start-up", "151"),
    ("docs/speed.md", "tracking, a whole run", "35.7"),
    ("docs/machines.md", "tracked sweep, embedded, 1000 seeds, gram", "16.9"),
    ("docs/machines.md", "tracked sweep, postgresql, 100 seeds, gram", "6.2"),
    ("docs/machines.md", "flow sweep, 200 seeds, gram, on Dask beside own processes, a seed after start-up", "1.27"),
]


@pytest.mark.parametrize(("page", "row", "figure"), QUOTED)
def test_a_figure_quoted_on_a_page_equals_the_value_in_the_table(page: str, row: str, figure: str) -> None:
    table, _, rest = (ROOT / "docs" / "speed.md").read_text().partition("<!-- /benchmarks -->")
    measured = re.search(rf"^\| {re.escape(row)} \| (.*?) \|", table, re.MULTILINE)
    assert measured, f"the table has no row {row!r}"
    assert re.match(rf"{re.escape(figure)}\b", measured[1])
    text = rest if page == "docs/speed.md" else (ROOT / page).read_text()
    assert re.search(rf"\b{re.escape(figure)}\b", text), f"{page} quotes it no more: change this test"
