"""The study as a Prefect flow: the sweep's tasks over every variant, then the comparison with its report."""

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from paramshare.comparing.report import markdown_report
from paramshare.comparing.run import StudyReport, conclude
from paramshare.comparing.spec import StudySpec
from paramshare.comparing.study import Study
from paramshare.comparing.text import answers
from paramshare.flows.context import current_context, leave_report, pages_base, pages_hint
from paramshare.flows.tasks.states import summary_of
from paramshare.flows.tasks.training import run_sweep_tasks
from paramshare.sweep.report import sweep_name
from paramshare.sweep.result import SweepResult
from paramshare.tracking.display.urls import run_url
from paramshare.tracking.store import StoreAddress, open_store

__all__ = ["study"]

StudyResult = tuple[SweepResult, Study | None]
"""The result of the sweep, and the comparison; None if runs are missing."""


def _flow_run_name() -> str:
    spec = StudySpec.model_validate(runtime.flow_run.parameters["spec"])
    return sweep_name(spec, spec.device_list)


@flow(name="study", flow_run_name=_flow_run_name, persist_result=False)
def study(spec: StudySpec) -> State[StudyResult]:
    """Train every variant with the same seeds and compare the variants.

    Finished runs that the store already holds are reused. The flow run fails if one of its runs fails or is missing.
    """
    context = current_context(spec.experiment)
    result = run_sweep_tasks(spec, context, "flows/study.py")
    report = conclude(spec, context.address, result)
    if report is not None:
        leave_report("study", result.name, lambda: _report(spec, context.address, result, report))
    comparison = report and report.study
    final = Failed if result.failed or result.kept or comparison is None else Completed
    message = " ".join([f"{summary_of(result)}.", *(answers(comparison) if comparison else ())])
    return final(data=(result, comparison), message=message)


def _report(spec: StudySpec, address: StoreAddress, result: SweepResult, report: StudyReport) -> str:
    """Return the report of the study with inline figures and a link to MLflow's pages."""
    store = open_store(address)
    url = run_url(pages_base(store), result.experiment_id, result.parent_run_id)
    return f"[The study on MLflow's pages]({url}){pages_hint(store)}\n\n{markdown_report(*report, spec.command)}"
