"""Rows add up to the totals at every depth, and table, JSON and figure have the same numbers."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from jsonschema import Draft202012Validator
from torch import Tensor, nn

from paramshare import SharingReport, analyze
from paramshare.errors import SpecError
from paramshare.sharing.report import REGIMES, SCHEMA, SORTS, Counts, Sort
from paramshare.sharing.text import readable_bytes

SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "sharing-1.schema.json"


class Tied(nn.Module):
    """An embedding tied to a head, a block of two layers that is called twice, one layer unused, one draw."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 4)
        self.block = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))
        self.spare = nn.Linear(3, 3)
        self.head = nn.Linear(4, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        x = self.block(self.block(x))
        if x.sum() > 0:
            x = -x
        out: Tensor = self.head(x)
        return out


@pytest.fixture(scope="module")
def report() -> SharingReport:
    return analyze(Tied(), (6,), dtypes=torch.long)


SUMMED = (*REGIMES, "unused", "macs", "dense_macs")


@pytest.mark.parametrize("depth", [None, 1, 2, 9])
@pytest.mark.parametrize("sort", SORTS)
def test_rows_of_a_report_add_up_to_its_totals_for_every_depth_and_sort(
    report: SharingReport, depth: int | None, sort: Sort
) -> None:
    rows = report.rows(depth, sort)
    for name in SUMMED:
        assert sum(getattr(row.counts, name) for row in rows) == getattr(report.totals, name)
    for regime in REGIMES:
        assert sum(row.counts.memory[regime].weights for row in rows) == report.totals.memory[regime].weights
        assert sum(row.counts.memory[regime].with_adam for row in rows) == report.totals.memory[regime].with_adam


def test_totals_of_a_report_equal_the_parameters_of_the_model(report: SharingReport) -> None:
    block = 4 * 8 + 8 + 8 * 4 + 4
    assert report.totals.shared == 44 + block + 12
    assert report.totals.per_use == 44 + 2 * block + 44
    assert report.totals.unshared == 6 * report.totals.per_use
    assert (report.totals.unused, report.totals.used) == (12, 44 + block)
    assert report.totals.factor == report.totals.unshared / report.totals.used


def test_joined_rows_of_a_report_have_the_uses_and_outward_ties_of_their_parts(report: SharingReport) -> None:
    names = [row.name for row in report.rows(depth=1)]
    assert names == ["embed", "block", "spare", "head"]
    block, head = report.rows(depth=1)[1], report.rows(depth=1)[3]
    assert (block.kind, block.uses, block.tied) == ("2 layers", 4, {})
    assert head.tied == {"embed": 44}


def test_sorted_rows_of_a_report_have_the_largest_first(report: SharingReport) -> None:
    for sort in SORTS[1:]:
        numbers = [getattr(row.counts, sort) or 0 for row in report.rows(sort=sort)]
        assert numbers == sorted(numbers, reverse=True)


def test_report_table_has_totals_ties_and_warnings_with_thousands_separators(report: SharingReport) -> None:
    head, layers, regimes, factor, ties, warnings = report.table().split("\n\n")
    assert head == "Tied, one sample of 1×6 int64"
    assert [line.split()[0] for line in layers.splitlines()] == [
        "layer", "embed", "block.0", "block.2", "spare", "head", "total",
    ]  # fmt: skip
    assert layers.splitlines()[-1].split()[1:4] == ["6", "132", "1,440"]
    assert [line.split()[0] for line in regimes.splitlines()[1:]] == list(REGIMES)
    assert factor == "sharing factor 12.0 (unshared / shared); unused in this pass: 12"
    assert ties.splitlines() == ["ties", "  embed.weight = head.weight: 44 elements"]
    assert warnings.splitlines()[1].startswith("  (model) (Tied) reads a number from the data")


def test_report_table_shows_a_dash_for_a_row_without_used_elements(report: SharingReport) -> None:
    spare = next(line for line in report.table().splitlines() if line.startswith("spare"))
    assert spare.split()[2:] == ["0", "12", "0", "0", "0", "–"]


def test_a_report_is_its_table_when_it_is_printed_or_shown_in_a_notebook(report: SharingReport) -> None:
    named = replace(report, model="<lambda>")
    assert str(named) == named.table()
    assert named._repr_html_() == f"<pre>{named.table().replace('<lambda>', '&lt;lambda&gt;')}</pre>"


def test_report_json_has_a_schema_and_every_number(report: SharingReport) -> None:
    data = json.loads(report.to_json())
    assert data["schema"] == SCHEMA == "paramshare.sharing/1"
    assert list(data) == ["schema", "model", "input", "totals", "layers", "ties", "warnings"]
    assert data["totals"]["unshared"] == report.totals.unshared
    assert [row["name"] for row in data["layers"]] == [row.name for row in report.layers]
    assert set(data["totals"]) == {
        *REGIMES, "unused", "used", "macs", "dense_macs", "factor", "memory",
    }  # fmt: skip
    assert data["layers"][4]["tied"] == {"embed": 44}
    assert data["ties"] == [{"names": ["embed.weight", "head.weight"], "elements": 44}]
    memory = report.totals.memory["dense"]
    assert data["totals"]["memory"]["dense"]["with_adam"] == memory.with_adam == 16 * report.totals.dense


def test_report_json_meets_its_published_schema(report: SharingReport) -> None:
    schema = json.loads(SCHEMA_FILE.read_text())
    assert schema["$id"] == SCHEMA
    Draft202012Validator.check_schema(schema)
    for valid in (report, analyze(nn.Linear(2, 3), (2,))):
        Draft202012Validator(schema).validate(json.loads(valid.to_json()))


def test_report_figure_has_a_bar_for_each_regime_of_each_row_on_a_log_axis(report: SharingReport) -> None:
    (axes,) = report.figure(depth=1).axes
    assert axes.get_xscale() == "log"
    drawn = {bars.get_label(): [bar.get_width() for bar in bars] for bars in axes.containers}
    rows = [row.counts for row in report.rows(depth=1)]
    counts = {regime: [getattr(row, regime) for row in rows] for regime in ("shared", "unshared", "dense")}
    assert drawn == {regime: [count for count in row if count] for regime, row in counts.items()}  # no bar for 0
    assert [len(bars) for bars in drawn.values()] == [3, 3, 3]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["embed", "block", "spare", "head"]


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda report: report.rows(depth=0), "depth is 0; expected at least 1"),
        (lambda report: report.table(sort="size"), "cannot sort by 'size'; expected one of order, factor"),
    ],
)
def test_a_report_refuses_an_invalid_depth_or_sort(
    ask: Callable[[SharingReport], object], said: str, report: SharingReport
) -> None:
    with pytest.raises(SpecError, match=said):
        ask(report)


def test_counts_of_a_report_are_frozen_and_bytes_are_readable() -> None:
    assert [readable_bytes(number) for number in (0, 1023, 1024, 1536, 5 << 40, 1 << 70)] == [
        "0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 TiB", "1,024.0 EiB",
    ]  # fmt: skip
    assert Counts.__dataclass_params__.frozen  # type: ignore[attr-defined]
