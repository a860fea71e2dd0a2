"""Compare what a store holds: read it in a few queries, put it into groups, hold them against each other."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

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
from paramshare.tracking.read.seeds import read_ended
from paramshare.tracking.store import Store, StoreAddress, open_existing_store, open_store, store_failures
from paramshare.tracking.write.kinds.sweeps import log_report

if TYPE_CHECKING:
    from paramshare.comparing.figures import Drawn

__all__ = ["Concluded", "compare", "compare_sweep", "conclude", "log_study", "report_of", "run_study"]

FOLDER: Final = "study"
_LONGEST_NOTE: Final = 7900  # characters


class Concluded(NamedTuple):
    """A sweep's comparison, and its figures, which take seconds to draw."""

    study: Study
    figures: "tuple[Drawn, ...]"


def compare(spec: CompareSpec, address: StoreAddress, *, curves: bool = False) -> Study:
    """Compare the runs that `spec` asks for. Writes nothing.

    Args:
        curves: whether the losses of every step are read, too, for the figures.

    Raises:
        UsageError: there is no such experiment, or no comparison can be made of its runs.
        ServerError: the store failed.
    """
    with store_failures(address):
        store = open_existing_store(address)
        grouped = group(read_ended(store), spec)
        return make_study(spec.experiment, grouped, spec, _curves(store, grouped) if curves else {})


def run_study(
    spec: StudySpec,
    address: StoreAddress,
    tags: Mapping[str, str],
    on_open: Callable[[Sweep], None] = lambda _: None,
    on_row: Callable[[Row], None] = lambda _: None,
) -> tuple[SweepResult, Study | None]:
    """Sweep on this machine, compare, and log the report.

    Args:
        tags, on_open, on_row: as of `run_sweep`.

    Returns:
        What the sweep came to, and the comparison: None where runs are missing and `partial` was not asked for.

    Raises:
        UsageError, ServerError: as `run_sweep`.
    """
    outcome = run_sweep(spec, address, tags, on_open, on_row)
    concluded = conclude(spec, address, outcome)
    return outcome, concluded and concluded.study


def conclude(spec: StudySpec, address: StoreAddress, outcome: SweepResult) -> Concluded | None:
    """Compare the groups of a sweep that has ended, and log the report; None where runs are missing.

    Raises:
        ServerError: the store failed.
    """
    if outcome.kept or (outcome.failed and not spec.partial):
        return None
    with store_failures(address):
        store = open_store(address)
        study = compare_sweep(spec, store, outcome.rows)
        from paramshare.comparing.figures import draw

        concluded = Concluded(study, draw(study))
        log_study(store, outcome.parent_run_id, concluded, spec.command)
    return concluded


def report_of(study: Study, form: Literal["html", "md"], command: str) -> str:
    """The study's report, as a page or as Markdown.

    Args:
        command: that made the study.
    """
    from paramshare.comparing.figures import draw
    from paramshare.comparing.report import html_report, markdown_report

    figures = draw(study)
    return html_report(study, figures, command) if form == "html" else markdown_report(study, figures, command)


def compare_sweep(spec: StudySpec, store: Store, rows: Sequence[Row]) -> Study:
    """Compare the groups of a sweep that has ended.

    Args:
        store: that holds its runs.
        rows: of the sweep.

    Raises:
        UsageError: runs are missing, and `partial` was not asked for.
    """
    several = len({row.spec.device for row in rows}) > 1
    asked = CompareSpec(
        **{name: getattr(spec, name) for name in GroupSpec.model_fields},
        experiment=spec.experiment,
        by="variant,device" if several else "variant",
    )
    ids = {row.run_id for row in rows if row.run_id}
    grouped = group([run for run in read_ended(store) if run.run_id in ids], asked, spec.seed_list)
    return make_study(spec.experiment, grouped, spec, _curves(store, grouped))


def log_study(store: Store, parent_run_id: str, concluded: Concluded, command: str) -> None:
    """Give the sweep's run the report of its study: as a page, as Markdown, as data; and let its note show it.

    Args:
        command: that made it.
    """
    from paramshare.comparing.report import html_report, markdown_report

    study, figures = concluded
    files = {
        f"{FOLDER}/report.html": html_report(study, figures, command).encode(),
        f"{FOLDER}/report.md": markdown_report(study, figures, command, lambda one: f"{one.name}.png").encode(),
        f"{FOLDER}/study.json": json.dumps(study.as_dict(), allow_nan=False).encode(),
        **{f"{FOLDER}/{one.name}.png": one.png for one in figures},
    }
    grouped = study.grouped
    views = study_view_tags(grouped.target, grouped.common, several_devices="device" not in grouped.common)
    log_report(store, parent_run_id, files, _note(concluded, command, parent_run_id), views)


def _note(concluded: Concluded, command: str, run_id: str) -> str:
    """Return the note of the run's page: of a large study answers and figures. MLflow cuts it at 8000 characters."""
    from paramshare.comparing.report import markdown_figures, markdown_report

    def place(figure: "Drawn") -> str:
        return picture_url("", run_id, f"{FOLDER}/{figure.name}.png")

    study, figures = concluded
    whole = markdown_report(study, figures, command, place)
    if len(whole) <= _LONGEST_NOTE:
        return whole
    said = "\n\n".join(f"**{plain(answer)}**" for answer in answers(study))[:_LONGEST_NOTE]
    shown = "\n\n".join((said, *markdown_figures(figures, place)))
    return f"{shown if len(shown) <= _LONGEST_NOTE else said}\n\nAll of it is in the artifact `{FOLDER}/report.html`."


def _curves(store: Store, grouped: Grouped) -> dict[str, Band]:
    """The band of each group's losses."""
    ids = [run.run_id for one in grouped.groups for run in one.runs]
    losses = dict(zip(ids, read_all_losses(store, ids), strict=True))
    return {one.name: Band.of([losses[run.run_id] for run in one.runs]) for one in grouped.groups if one.runs}
