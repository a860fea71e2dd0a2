"""Compare the runs of a store or of a sweep, and write the report of a study."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from numpy.typing import ArrayLike

from paramshare.bands import Band
from paramshare.comparing.groups import Grouped, group
from paramshare.comparing.spec import CompareSpec, GroupSpec, StudySpec
from paramshare.comparing.study import Study, make_study
from paramshare.comparing.text import answers
from paramshare.markdown import plain
from paramshare.sweep.chunks import Row
from paramshare.sweep.result import SweepResult
from paramshare.sweep.run import run_sweep
from paramshare.sweep.state import Sweep
from paramshare.tracking.display.urls import picture_url
from paramshare.tracking.display.views import study_view_tags
from paramshare.tracking.read.curves import read_all_losses
from paramshare.tracking.read.seeds import read_ended, read_runs
from paramshare.tracking.store import Store, StoreAddress, open_existing_store, open_store, store_failures
from paramshare.tracking.write.kinds.sweeps import log_report

if TYPE_CHECKING:
    from paramshare.comparing.figures import StudyFigure

__all__ = ["StudyReport", "compare", "compare_sweep", "conclude", "report_of", "run_study"]

_FOLDER: Final = "study"
_MAX_NOTE_LENGTH: Final = 7900  # characters; MLflow cuts a note at 8000


class StudyReport(NamedTuple):
    """The comparison of a sweep's groups, and its figures, which take seconds to draw."""

    study: Study
    figures: "tuple[StudyFigure, ...]"


def compare(spec: CompareSpec, address: StoreAddress, *, curves: bool = False) -> Study:
    """Compare the runs that `spec` selects. Write nothing.

    Args:
        spec: the runs, how they are grouped, and how the groups are compared.
        address: the store that holds the runs.
        curves: whether the loss of every step is read too, for the figures. Defaults to False.

    Raises:
        UsageError: there is no such experiment, or its runs cannot be compared.
        ServerError: the store failed.
    """
    with store_failures(address):
        store = open_existing_store(address)
        grouped = group(read_ended(store), spec)
        return make_study(spec.experiment, grouped, spec, _bands(store, grouped, {}) if curves else {})


def run_study(
    spec: StudySpec,
    address: StoreAddress,
    tags: Mapping[str, str],
    on_open: Callable[[Sweep], None] = lambda _: None,
    on_row: Callable[[Row], None] = lambda _: None,
) -> tuple[SweepResult, Study | None]:
    """Run a sweep on this machine, compare its groups, and write the report.

    Args:
        spec: the sweep, and how its groups are compared.
        address, tags, on_open, on_row: see `run_sweep`.

    Returns:
        The result of the sweep, and the comparison. The comparison is None if runs are missing and `spec.partial` is
        false.

    Raises:
        UsageError, ServerError: see `run_sweep`.
    """
    result = run_sweep(spec, address, tags, on_open, on_row)
    report = conclude(spec, address, result)
    return result, report and report.study


def conclude(spec: StudySpec, address: StoreAddress, result: SweepResult) -> StudyReport | None:
    """Compare the groups of a sweep that has ended, and write the report to the run of the sweep.

    Args:
        spec: the sweep, and how its groups are compared.
        address: the store that holds the runs.
        result: the result of the sweep.

    Returns:
        The report; None if results are in the spool, or if runs failed and `spec.partial` is false.

    Raises:
        ServerError: the store failed.
    """
    if result.kept or (result.failed and not spec.partial):
        return None
    with store_failures(address):
        store = open_store(address)
        study = compare_sweep(spec, store, result.rows)
        from paramshare.comparing.figures import draw

        report = StudyReport(study, draw(study))
        _log_study(store, result.parent_run_id, report, spec.command)
    return report


def report_of(study: Study, form: Literal["html", "md"], command: str) -> str:
    """Return the report of a study.

    Args:
        study: the comparison.
        form: `html` for a page, `md` for Markdown.
        command: the command that made the study; the report quotes it.
    """
    from paramshare.comparing.figures import draw
    from paramshare.comparing.report import html_report, markdown_report

    figures = draw(study)
    return html_report(study, figures, command) if form == "html" else markdown_report(study, figures, command)


def compare_sweep(spec: StudySpec, store: Store, rows: Sequence[Row]) -> Study:
    """Compare the groups of a sweep that has ended.

    Only the runs of the sweep are read from the store. The losses of every step are read for the runs whose rows do not
    hold them, which are the reused ones.

    Args:
        spec: the sweep, and how its groups are compared.
        store: the store that holds the runs.
        rows: the rows of the sweep.

    Raises:
        UsageError: runs are missing, and `spec.partial` is false.
    """
    has_several_devices = len({row.spec.device for row in rows}) > 1
    compare_spec = CompareSpec(
        **{name: getattr(spec, name) for name in GroupSpec.model_fields},
        experiment=spec.experiment,
        by="variant,device" if has_several_devices else "variant",
    )
    runs = read_runs(store, [row.run_id for row in rows if row.run_id])
    grouped = group(runs, compare_spec, spec.seed_list)
    losses = {row.run_id: row.losses for row in rows if row.losses is not None}
    return make_study(spec.experiment, grouped, spec, _bands(store, grouped, losses))


def _log_study(store: Store, parent_run_id: str, report: StudyReport, command: str) -> None:
    """Write the report of a study to the run of its sweep: as a page, as Markdown, as JSON and as the run's note.

    Args:
        store: the store that holds the run.
        parent_run_id: the id of the sweep's run.
        report: the comparison and its figures.
        command: the command that made the study; the report quotes it.
    """
    from paramshare.comparing.report import html_report, markdown_report

    study, figures = report
    files = {
        f"{_FOLDER}/report.html": html_report(study, figures, command).encode(),
        f"{_FOLDER}/report.md": markdown_report(study, figures, command, lambda figure: f"{figure.name}.png").encode(),
        f"{_FOLDER}/study.json": json.dumps(study.as_dict(), allow_nan=False).encode(),
        **{f"{_FOLDER}/{figure.name}.png": figure.png for figure in figures},
    }
    grouped = study.grouped
    views = study_view_tags(grouped.target, grouped.common, several_devices="device" not in grouped.common)
    log_report(store, parent_run_id, files, _note(report, command, parent_run_id), views)


def _note(report: StudyReport, command: str, run_id: str) -> str:
    """Return the note of the run's page: the report; if it is too long, its answers and figures."""
    from paramshare.comparing.report import markdown_figures, markdown_report

    def place(figure: "StudyFigure") -> str:
        return picture_url("", run_id, f"{_FOLDER}/{figure.name}.png")

    study, figures = report
    whole = markdown_report(study, figures, command, place)
    if len(whole) <= _MAX_NOTE_LENGTH:
        return whole
    text = "\n\n".join(f"**{plain(answer)}**" for answer in answers(study))[:_MAX_NOTE_LENGTH]
    with_figures = "\n\n".join((text, *markdown_figures(figures, place)))
    shown = with_figures if len(with_figures) <= _MAX_NOTE_LENGTH else text
    return f"{shown}\n\nThe whole report is the artifact `{_FOLDER}/report.html`."


def _bands(store: Store, grouped: Grouped, losses: Mapping[str, ArrayLike]) -> dict[str, Band]:
    """Return the band of each group's losses.

    Args:
        losses: the losses in memory, (steps,), by run id. Those of other runs are read from the store.
    """
    unread = [run.run_id for runs in grouped.groups for run in runs.runs if run.run_id not in losses]
    losses = {**losses, **dict(zip(unread, read_all_losses(store, unread), strict=True))}
    return {runs.name: Band.of([losses[run.run_id] for run in runs.runs]) for runs in grouped.groups if runs.runs}
