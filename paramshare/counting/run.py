"""Count one model: load it by its import path, analyse it, and write its report as a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from paramshare.counting.report import CountRow
from paramshare.counting.spec import ModelSpec
from paramshare.sharing.analyze import analyze
from paramshare.sharing.inputs.sample import parse_dtypes, parse_sizes
from paramshare.sharing.loading.call_arguments import call_arguments
from paramshare.sharing.loading.models import load_model
from paramshare.sharing.loading.user_code import process_state_restored, running_user_code
from paramshare.sharing.report import SharingReport, Sort

if TYPE_CHECKING:
    from paramshare.tracking.store import StoreAddress

__all__ = ["TrackedReport", "analyze_model", "count_model", "track"]


@dataclass(frozen=True, slots=True)
class TrackedReport:
    """The place of a report in a store.

    Args:
        experiment_id, run_id: the ids in MLflow.
    """

    experiment_id: str
    run_id: str


def analyze_model(spec: ModelSpec) -> SharingReport:
    """Load the model that `spec` names and return its report.

    Raises:
        SpecError: the model cannot be loaded or built, refuses its input, or ends the program.
    """
    files: dict[Path, ModuleType] = {}
    with process_state_restored():
        model = load_model(spec.model, spec.args, files)
        args, named = call_arguments(model, spec.input, spec.kwargs or {}, files)
        with running_user_code(f"running {spec.label}", spec.model.rpartition(":")[0]):
            return analyze(
                model,
                parse_sizes(spec.input) if spec.input is not None and args is None else None,
                dtypes=None if spec.dtype is None else parse_dtypes(spec.dtype),
                args=args,
                kwargs=named,
                training=spec.training,
                name=spec.model,
            )


def track(
    report: SharingReport,
    address: "StoreAddress",
    source: Mapping[str, str],
    tags: Mapping[str, str],
    *,
    depth: int | None = None,
    sort: Sort = "order",
) -> TrackedReport:
    """Write a report as a run, with tags of its provenance.

    Args:
        report: the report.
        address: the store.
        source: the options that name the model, see `ModelSpec.source`.
        tags: further tags of the run.
        depth, sort: the rows of the table and the figure, see `SharingReport.rows`. Default to every layer in the
            order of the model.

    Raises:
        UsageError: the store cannot be opened, or `depth` or `sort` is out of range.
        ServerError: the store failed.
    """
    from paramshare.provenance import provenance_tags
    from paramshare.tracking.store import open_store, store_failures
    from paramshare.tracking.write.kinds.counts import write_report

    with store_failures(address):
        store = open_store(address)
        run_id = write_report(store, report, source, {**provenance_tags(), **tags}, depth=depth, sort=sort)
    return TrackedReport(store.experiment_id, run_id)


def count_model(
    spec: ModelSpec, address: "StoreAddress", tags: Mapping[str, str], depth: int | None = None, sort: Sort = "order"
) -> CountRow:
    """Analyse the model that `spec` names, write its report as a run, and return its row.

    Args:
        spec: the model and its input.
        address, tags, depth, sort: see `track`.

    Raises:
        UsageError, ServerError: see `analyze_model` and `track`.
    """
    report = analyze_model(spec)
    tracked = track(report, address, spec.source, tags, depth=depth, sort=sort)
    return CountRow(spec, tracked.run_id, report.totals)
