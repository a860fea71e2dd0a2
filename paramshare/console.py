"""What a person sees in a terminal: progress on stderr, tables on stdout."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from paramshare.sweep.chunks import Row
from paramshare.sweep.run import Outcome, Sweep

__all__ = ["print_checks", "print_outcome", "sweep_progress"]

_ROWS_SHOWN = 40
_PLAIN_WIDTH = 120  # columns, where the output is no terminal


@contextmanager
def sweep_progress() -> Iterator[tuple[Callable[[Sweep], None], Callable[[Row], None]]]:
    """A progress bar over a sweep's runs, on stderr; silent where stdout is no terminal.

    Gives what to call when the sweep has been opened and for each row.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not sys.stdout.isatty()) as progress:
        task = progress.add_task("opening the store", total=None)

        def opened(sweep: Sweep) -> None:
            done = len(sweep.specs) - len(sweep.pending)
            progress.update(task, description="training", total=len(sweep.specs), completed=done)

        def ended(row: Row) -> None:
            progress.advance(task)
            if row.error:
                console.print(
                    f"seed {row.spec.seed} on {row.spec.device} failed: {row.error}",
                    style="red",
                    markup=False,
                )

        yield opened, ended


def print_outcome(outcome: Outcome, ui_command: str) -> None:
    """The table of a sweep's runs, where the aggregate curve lies, and the command that opens MLflow's pages."""
    console = _stdout()
    console.print(_table(outcome))
    reused = sum(row.reused for row in outcome.rows)
    trained = len(outcome.rows) - reused - outcome.failed
    console.print(f"{outcome.name}: {trained} trained, {reused} re-used, {outcome.failed} failed", markup=False)
    console.print(f"curves of all seeds: {outcome.curves}", markup=False, soft_wrap=True)
    console.print(f"MLflow's pages:      {ui_command}", markup=False, soft_wrap=True)


def print_checks(checks: Sequence[tuple[str, str, bool]]) -> None:
    """A line a check: what, what was found, whether it is well."""
    console = _stdout()
    for name, found, well in checks:
        console.print("ok" if well else "!!", style="green" if well else "red", end="  ")
        console.print(f"{name:<8}  {found}", markup=False, highlight=False, soft_wrap=True)


def _table(outcome: Outcome) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("seed", justify="right")
    table.add_column("variant")
    table.add_column("device")
    table.add_column("final loss", justify="right")
    table.add_column("mean of depths", justify="right")
    table.add_column("seconds", justify="right")
    table.add_column("run", no_wrap=True)
    table.add_column("")
    rows = outcome.rows
    shown = rows if len(rows) <= _ROWS_SHOWN else (*rows[: _ROWS_SHOWN // 2], None, *rows[-_ROWS_SHOWN // 2 :])
    for row in shown:
        if row is None:
            table.add_row("…", f"{len(rows) - _ROWS_SHOWN} more", "", "", "", "", "in seeds.json of the parent run", "")
            continue
        remark = row.error or ("re-used" if row.reused else "")
        spec = row.spec
        losses = ("–" if loss is None else f"{loss:.6g}" for loss in (row.final_loss, row.mean_depth_loss))
        table.add_row(str(spec.seed), spec.variant, spec.device, *losses, f"{row.seconds:.2f}", row.run_id, remark)
    return table


def _stdout() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=_PLAIN_WIDTH)
