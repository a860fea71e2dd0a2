"""What a person sees in a terminal: progress on stderr, tables on stdout."""

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
    "print_outcome",
    "print_reproduction",
    "print_study",
    "print_verification",
    "sweep_progress",
    "working",
]

_ROWS_SHOWN = 40
_COLUMNS: Final = ("seed", "variant", "device", "final loss", "seconds", "run", "")
_PLAIN_WIDTH = 120  # columns, where the output is no terminal


@contextmanager
def sweep_progress(
    flush_command: str = "paramshare flush",
) -> "Iterator[tuple[Callable[[Sweep], None], Callable[[Row], None]]]":
    """Show a progress bar over a sweep's runs on stderr; a plain line every 30 s if stderr is not a terminal.

    Gives what to call when the sweep has been opened and for each row.

    Args:
        flush_command: delivers what the store could not take.
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
        task, told = progress.add_task("opening the store", total=None), False
        if not console.is_terminal:
            lines.enter_context(lines_of_progress(lambda: _state(progress.tasks[0])))

        def opened(sweep: "Sweep") -> None:
            from paramshare.tracking.write.spool import SPOOL, Delivery

            if sweep.delivery != Delivery():
                came = sweep.delivery.written + sweep.delivery.known
                left = f"; {sweep.delivery.left} stay: {sweep.delivery.reason}" if sweep.delivery.left else ""
                console.print(f"{came} results delivered that were kept in {SPOOL}{left}", markup=False, soft_wrap=True)
            done = len(sweep.specs) - len(sweep.pending)
            engines = ", ".join(dict.fromkeys(choice.engine for choice in sweep.plan.choices))
            progress.update(task, description=f"training ({engines})", total=len(sweep.specs), completed=done)

        def ended(row: "Row") -> None:
            nonlocal told
            progress.advance(task)
            if row.status == "KEPT":
                if not told:
                    where = f"seed {row.spec.seed} on {row.spec.device}"
                    said = f"{where}: {row.error}, as are those that follow while that lasts; {flush_command} delivers"
                    console.print(said, style="yellow", markup=False, soft_wrap=True)
                told = True
            elif row.error:
                console.print(
                    f"seed {row.spec.seed} on {row.spec.device} failed: {row.error}",
                    style="red",
                    markup=False,
                )

        yield opened, ended


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show on stderr what is going on during the block; a plain line every 30 s if stderr is not a terminal."""
    console = Console(stderr=True)
    with console.status(what) if console.is_terminal else lines_of_progress(lambda: what):
        yield


def _state(task: Task) -> str:
    """Return what a bar shows, as text: `training (exact): 12 of 100 runs`."""
    done = "" if task.total is None else f": {task.completed:.0f} of {task.total:.0f} runs"
    return f"{task.description}{done}"


def print_counts(outcome: "CountResult", ui_command: str) -> None:
    """The totals of several models, what failed, and the command that opens MLflow's pages."""
    console = _stdout()
    head = ("model", *MAIN_REGIMES, "factor", "run")
    rows = [
        (
            row.model.label,
            *(f"{getattr(row.totals, regime):,}" for regime in MAIN_REGIMES),
            readable_factor(row.totals.factor),
            row.run_id[:8],
        )
        for row in outcome.rows
        if row.totals is not None
    ]
    print_table(console, head, rows, frozenset({0, len(head) - 1}))
    for row in outcome.failed:
        console.print(f"{row.model.label} failed: {row.error}", style="red", markup=False, soft_wrap=True)
    counted = len(outcome.rows) - len(outcome.failed)
    console.print(f"\n{counted} of {len(outcome.rows)} models counted", markup=False, highlight=False)
    console.print(f"MLflow's pages: {ui_command}", markup=False, highlight=False, soft_wrap=True)


def print_outcome(outcome: "SweepResult", ui_command: str, curves: str, flush_command: str) -> None:
    """The table of a sweep's runs, where the aggregate curve lies, and the command that opens MLflow's pages.

    Args:
        curves: the path or the page of the aggregate curve; empty if there is none.
        flush_command: delivers what the store could not take.
    """
    from paramshare.tracking.write.spool import SPOOL

    console = _stdout()
    print_table(console, _COLUMNS, _rows(outcome), frozenset({1, 2, 5, 6}))
    reused = sum(row.reused for row in outcome.rows)
    trained = len(outcome.rows) - reused - outcome.failed
    diverged = f", {outcome.diverged} diverged" if outcome.diverged else ""
    kept = f", {outcome.kept} kept in {SPOOL}" if outcome.kept else ""
    for line in (
        "",
        f"{outcome.name}: {trained} trained, {reused} re-used, {outcome.failed} failed{diverged}{kept}",
        f"curves of all seeds: {curves or 'drawn when the same command finds all of them in the store'}",
        f"MLflow's pages:      {ui_command}",
        *([f"to deliver the rest: {flush_command}, or rerun the command"] if kept else []),
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_reproduction(outcome: "Reproduction", ui_command: str) -> None:
    """Whether the run came out again, how far it is from it if not, and what of its environment is otherwise here."""
    console = _stdout()
    for line in (*outcome.lines(), f"MLflow's pages: {ui_command}"):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_verification(outcome: "Verification", ui_command: str) -> None:
    """A row a run, what there is to say of those that did not come out to the bit, and the command of the pages."""
    console = _stdout()
    members = [(row.member, row.verdict) for row in outcome.rows]
    rows = [(str(one.seed), one.variant, one.device, one.run_id[:8], verdict) for one, verdict in members]
    print_table(console, ("seed", "variant", "device", "run", "verdict"), rows, frozenset({1, 2, 3, 4}))
    for line in ("", *outcome.lines(), outcome.summary, f"MLflow's pages: {ui_command}"):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_study(study: "Study", ui_command: str, report: Path | None) -> None:
    """The answers, the groups and how they stand against each other, and where to see more.

    Args:
        report: where the whole report was written to.
    """
    from paramshare.comparing.text import answers, contrast_table, footnotes, group_table, title

    console = _stdout()
    for line in (title(study), "", *answers(study)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for shown in (group_table(study), *([contrast_table(study)] if study.contrasts else [])):
        console.print()
        print_table(console, shown.head, shown.rows, frozenset({0}))
    for line in ("", *footnotes(study), f"MLflow's pages: {ui_command}", *([f"report: {report}"] if report else [])):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_checks(checks: Sequence[tuple[str, str, bool]]) -> None:
    """A line a check: what, what was found, whether it is well."""
    console = _stdout()
    for name, found, well in checks:
        console.print("ok" if well else "!!", style="green" if well else "red", end="  ")
        console.print(f"{name:<8}  {found}", markup=False, highlight=False, soft_wrap=True)


def _rows(outcome: "SweepResult") -> list[tuple[str, ...]]:
    """The cells of a row a run, of many runs the first and the last ones."""
    rows, half = outcome.rows, _ROWS_SHOWN // 2
    if len(rows) <= _ROWS_SHOWN:
        return [_cells(row) for row in rows]
    between = ("…", "", "", "", "", f"{len(rows) - 2 * half} more in its seeds.json", "")
    return [*map(_cells, rows[:half]), between, *map(_cells, rows[-half:])]


def _cells(row: "Row") -> tuple[str, ...]:
    spec = row.spec
    loss = "–" if row.final_loss is None else f"{row.final_loss:.6g}"
    remark = row.status.lower() if row.error else "diverged" if row.diverged else "re-used" if row.reused else ""
    return str(spec.seed), spec.variant, spec.device, loss, f"{row.seconds:.2f}", row.run_id, remark


def _stdout() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=_PLAIN_WIDTH)
