"""Every table shows every word of every cell, whole, in a terminal of any width and where there is none."""

import io
from collections import Counter
from collections.abc import Callable

import pytest
from comparing.test_study import study

from paramshare.comparing.text import contrast_table, group_table
from paramshare.console import print_counts, print_study, print_sweep, print_verification
from paramshare.counting.report import CountResult, CountRow
from paramshare.counting.spec import ModelSpec
from paramshare.proof.report import Verification, VerifyRow
from paramshare.recipes.dynamicnet.recipe import TrainSpec
from paramshare.sharing.report import Counts
from paramshare.sweep.chunks import Row
from paramshare.sweep.result import SweepResult
from paramshare.tracking.read.run_view import RunView

Printed = tuple[Callable[[], None], list[str]]
FOOTNOTES = set("¹²³⁴⁵⁶⁷⁸⁹")
IDS = [f"{digit * 31}{seed}" for seed, digit in enumerate("a1c2")]


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def a_sweep() -> Printed:
    specs = [TrainSpec(seed=seed, device="cuda:0") for seed in (0, 7, 12345, 4294967295)]
    losses = [0.123456, 1.5e-07, 123456.0, 98765.4]
    rows = tuple(
        Row(spec, run_id, "FINISHED", loss, {}, 1234.56, reused=True)
        for spec, run_id, loss in zip(specs, IDS, losses, strict=True)
    )
    outcome = SweepResult("1", "abc", rows, curves="", name="a sweep", note="")
    cells = ["1234.56", "re-used", "cuda:0", *(str(spec.seed) for spec in specs), *(f"{loss:.6g}" for loss in losses)]
    return lambda: print_sweep(outcome, "ui", "", "flush"), [*cells, *IDS, specs[0].variant]


def a_count() -> Printed:
    numbers = {name: 10**12 + place for place, name in enumerate(("shared", "unshared", "dense"))}
    totals = Counts(**dict.fromkeys(Counts.__dataclass_fields__, 1) | numbers | {"memory": {}})  # type: ignore[arg-type]
    rows = tuple(CountRow(ModelSpec(model="torchvision.models:resnet50", input="3"), run_id, totals) for run_id in IDS)
    cells = ["torchvision.models:resnet50", *(f"{number:,}" for number in numbers.values())]
    return lambda: print_counts(CountResult("1", rows), "ui"), [*cells, *(run_id[:8] for run_id in IDS)]


def a_verification() -> Printed:
    rows = tuple(
        VerifyRow(RunView.listed(run_id, seed, "untied", "cuda:0"), error="could not be trained again")
        for seed, run_id in enumerate(IDS, 4294967290)
    )
    cells = ["untied", "cuda:0", "trained", *(str(row.member.seed) for row in rows), *(run_id[:8] for run_id in IDS)]
    return lambda: print_verification(Verification("1", "abc", "a sweep", 4, rows), "ui"), cells


def a_comparison() -> Printed:
    found = study({name: [1.0 + place, 1.5, 2.25, 3.1, 2.7, 8.0] for place, name in enumerate(("conv", "local", "x"))})
    cells = [cell for table in (group_table(found), contrast_table(found)) for row in table.rows for cell in row]
    return lambda: print_study(found, "ui", None), [*cells, "local", "against"]


def missing(printed: str, cells: list[str]) -> Counter[str]:
    """Return the words of the cells that are not in the text."""
    wanted = Counter(word.rstrip(",;:") for cell in cells for word in cell.split())
    return wanted - Counter(word.rstrip(",;:") for word in printed.split())


@pytest.mark.parametrize("width", [40, 60, 72, 79, 80, 120])
@pytest.mark.parametrize("kind", [a_sweep, a_count, a_verification, a_comparison])
def test_a_table_in_a_terminal_shows_every_word_within_its_width(
    kind: Callable[[], Printed], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    printing, cells = kind()
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    printing()
    shown = plain(terminal.getvalue())
    assert not missing(shown, cells)
    assert all(len(line) <= width for line in shown.splitlines() if is_of_table(line, cells))


@pytest.mark.parametrize("kind", [a_sweep, a_count, a_verification, a_comparison])
def test_a_table_in_a_file_shows_every_word_and_each_row_of_a_sweep_in_one_line(
    kind: Callable[[], Printed], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    printing, cells = kind()
    printing()
    shown = capsys.readouterr().out
    assert not missing(shown, cells)
    if kind is a_sweep:
        assert all(any(run_id in line and "re-used" in line for line in shown.splitlines()) for run_id in IDS)


def plain(printed: str) -> str:
    """Return the text without the escape sequences of bold letters."""
    return printed.replace("\x1b[1m", "").replace("\x1b[0m", "")


def is_of_table(line: str, cells: list[str]) -> bool:
    """Return whether a line shows a cell; the terminal itself wraps sentences and footnotes."""
    return (
        line[:1] not in FOOTNOTES
        and any(cell in line for cell in cells)
        and " instead of " not in line
        and "(n = " not in line
    )
