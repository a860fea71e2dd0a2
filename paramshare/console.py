"""Print to a terminal: progress to stderr, tables to stdout."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from paramshare.progress_lines import lines_of_progress
from paramshare.sharing.report import MAIN_REGIMES
from paramshare.sharing.text import readable_factor
from paramshare.tables import print_table

if TYPE_CHECKING:
    from paramshare.comparing.study import Study
    from paramshare.counting.report import CountResult
    from paramshare.proof.report import Reproduction, Verification
    from paramshare.sweep.chunks import Row
    from paramshare.sweep.result import SweepResult
    from paramshare.sweep.state import Sweep

__all__ = [
    "print_checks",
    "print_counts",
    "print_reproduction",
    "print_study",
    "print_sweep",
    "print_verification",
    "stdout_console",
    "sweep_progress",
    "working",
]

_MAX_ROWS: Final = 40
_COLUMNS: Final = ("seed", "variant", "device", "final loss", "seconds", "run", "")
_PLAIN_WIDTH: Final = 120  # columns of an output that is not a terminal


@contextmanager
def sweep_progress(
    flush_command: str = "paramshare flush",
) -> "Iterator[tuple[Callable[[Sweep], None], Callable[[Row], None]]]":
    """Show a progress bar over a sweep's runs on stderr; a plain line every 30 s if stderr is not a terminal.

    Yield two functions: one to call with the opened sweep, one to call with each row.

    Args:
        flush_command: the command that delivers the results in the spool; a warning quotes it. Defaults to
            `paramshare flush`.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress, ExitStack() as lines:
        task, has_warned = progress.add_task("opening the store", total=None), False
        if not console.is_terminal:
            lines.enter_context(lines_of_progress(lambda: _state(progress.tasks[0])))

        def opened(sweep: "Sweep") -> None:
            from paramshare.tracking.write.spool import SPOOL, Delivery

            if sweep.delivery != Delivery():
                delivered, left = sweep.delivery.written + sweep.delivery.known, sweep.delivery.left
                rest = f"; {left} are left: {sweep.delivery.reason}" if left else ""
                console.print(f"{delivered} results of {SPOOL} delivered{rest}", markup=False, soft_wrap=True)
            done = len(sweep.specs) - len(sweep.pending)
            engines = ", ".join(dict.fromkeys(choice.engine for choice in sweep.plan.choices))
            progress.update(task, description=f"training ({engines})", total=len(sweep.specs), completed=done)

        def ended(row: "Row") -> None:
            nonlocal has_warned
            progress.advance(task)
            run = f"seed {row.spec.seed} on {row.spec.device}"
            if row.status == "KEPT":
                if not has_warned:
                    warning = f"{run}: {row.error}, as are further results until the server answers; to deliver them: "
                    console.print(f"{warning}{flush_command}", style="yellow", markup=False, soft_wrap=True)
                has_warned = True
            elif row.error:
                console.print(f"{run} failed: {row.error}", style="red", markup=False)

        yield opened, ended


@contextmanager
def working(activity: str) -> Iterator[None]:
    """Show an activity on stderr during the block; a plain line every 30 s if stderr is not a terminal."""
    console = Console(stderr=True)
    with console.status(activity) if console.is_terminal else lines_of_progress(lambda: activity):
        yield


def _state(task: Task) -> str:
    """Return the state of a progress bar as text: `training (exact): 12 of 100 runs`."""
    done = "" if task.total is None else f": {task.completed:.0f} of {task.total:.0f} runs"
    return f"{task.description}{done}"


def print_counts(result: "CountResult", pages_place: str) -> None:
    """Print the counts of several models, the failures, and the command that opens MLflow's pages."""
    console = stdout_console()
    head = ("model", *MAIN_REGIMES, "factor", "run")
    rows = [
        (
            row.model.label,
            *(f"{getattr(row.totals, regime):,}" for regime in MAIN_REGIMES),
            readable_factor(row.totals.factor),
            row.run_id[:8],
        )
        for row in result.rows
        if row.totals is not None
    ]
    print_table(console, head, rows, frozenset({0, len(head) - 1}))
    for row in result.failed:
        console.print(f"{row.model.label} failed: {row.error}", style="red", markup=False, soft_wrap=True)
    counted = len(result.rows) - len(result.failed)
    console.print(f"\n{counted} of {len(result.rows)} models counted", markup=False, highlight=False)
    console.print(f"MLflow's pages: {pages_place}", markup=False, highlight=False, soft_wrap=True)


def print_sweep(result: "SweepResult", pages_place: str, curves: str, flush_command: str) -> None:
    """Print the table of a sweep's runs, their counts, and where to find the curves and MLflow's pages.

    Args:
        result: the result of the sweep.
        pages_place: where MLflow's pages are, see `commands.options.pages_place`.
        curves: the path or the address of the figure of all curves; empty if there is none.
        flush_command: the command that delivers the results in the spool.
    """
    from paramshare.tracking.write.spool import SPOOL

    console = stdout_console()
    print_table(console, _COLUMNS, _rows(result), frozenset({1, 2, 5, 6}))
    reused = sum(row.reused for row in result.rows)
    trained = len(result.rows) - reused - result.failed
    diverged = f", {result.diverged} diverged" if result.diverged else ""
    kept = f", {result.kept} kept in {SPOOL}" if result.kept else ""
    for line in (
        "",
        f"{result.name}: {trained} trained, {reused} re-used, {result.failed} failed{diverged}{kept}",
        f"curves of all seeds: {curves or 'drawn when a rerun finds all of them in the store'}",
        f"MLflow's pages:      {pages_place}",
        *([f"to deliver the rest: {flush_command}, or rerun the command"] if kept else []),
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_reproduction(reproduction: "Reproduction", pages_place: str) -> None:
    """Print the verdict, the deviations if there are any, and the differences of the environments."""
    console = stdout_console()
    for line in (*reproduction.lines(), f"MLflow's pages: {pages_place}"):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_verification(verification: "Verification", pages_place: str) -> None:
    """Print the verdict of each run, and the deviations of the runs that are not bitwise equal."""
    console = stdout_console()
    members = [(row.member, row.verdict) for row in verification.rows]
    rows = [(str(run.seed), run.variant, run.device, run.run_id[:8], verdict) for run, verdict in members]
    print_table(console, ("seed", "variant", "device", "run", "verdict"), rows, frozenset({1, 2, 3, 4}))
    for line in ("", *verification.lines(), verification.summary, f"MLflow's pages: {pages_place}"):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_study(study: "Study", pages_place: str, report: Path | None) -> None:
    """Print the answers, the table of the groups, the pairwise comparisons and the footnotes.

    Args:
        study: the comparison.
        pages_place: where MLflow's pages are, see `commands.options.pages_place`.
        report: the file of the report; None if none was written.
    """
    from paramshare.comparing.text import answers, contrast_table, footnotes, group_table, title

    console = stdout_console()
    for line in (title(study), "", *answers(study)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for table in (group_table(study), *([contrast_table(study)] if study.contrasts else [])):
        console.print()
        print_table(console, table.head, table.rows, frozenset({0}))
    for line in ("", *footnotes(study), f"MLflow's pages: {pages_place}", *([f"report: {report}"] if report else [])):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_checks(checks: Sequence[tuple[str, str, bool]]) -> None:
    """Print a line for each check.

    Args:
        checks: for each check its name, its result, and whether it passed.
    """
    console = stdout_console()
    for name, result, passed in checks:
        console.print("ok" if passed else "!!", style="green" if passed else "red", end="  ")
        console.print(f"{name:<8}  {result}", markup=False, highlight=False, soft_wrap=True)


def _rows(result: "SweepResult") -> list[tuple[str, ...]]:
    """Return the cells of each run's row; only of the first and the last ones if there are many."""
    rows, half = result.rows, _MAX_ROWS // 2
    if len(rows) <= _MAX_ROWS:
        return [_cells(row) for row in rows]
    between = ("…", "", "", "", "", f"{len(rows) - 2 * half} more in its seeds.json", "")
    return [*map(_cells, rows[:half]), between, *map(_cells, rows[-half:])]


def _cells(row: "Row") -> tuple[str, ...]:
    spec = row.spec
    loss = "–" if row.final_loss is None else f"{row.final_loss:.6g}"
    remark = row.status.lower() if row.error else "diverged" if row.diverged else "re-used" if row.reused else ""
    return str(spec.seed), spec.variant, spec.device, loss, f"{row.seconds:.2f}", row.run_id, remark


def stdout_console() -> Console:
    """Return the console of stdout, with a fixed width if stdout is not a terminal."""
    return Console() if sys.stdout.isatty() else Console(width=_PLAIN_WIDTH)
