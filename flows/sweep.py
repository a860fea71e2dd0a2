"""The sweep as a Prefect flow: one task for each chunk.

The flow writes the same runs as `paramshare train` and adds history, a report, schedules and remote workers.
Deployments and `paramshare flow sweep` run it.
"""

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from paramshare.flows.context import current_context, leave_report, pages_base, pages_hint
from paramshare.flows.tasks.states import summary_of
from paramshare.flows.tasks.training import run_sweep_tasks
from paramshare.plots import inline_picture
from paramshare.sweep.report import sweep_name
from paramshare.sweep.result import SweepResult
from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.display.urls import picture_url, run_url
from paramshare.tracking.read.artifacts import read_figure
from paramshare.tracking.store import Store, open_store
from paramshare.tracking.tags import CURVES_FILE

__all__ = ["sweep"]


def _flow_run_name() -> str:
    spec = SweepSpec.model_validate(runtime.flow_run.parameters["spec"])
    return sweep_name(spec, spec.device_list)


@flow(name="sweep", flow_run_name=_flow_run_name, persist_result=False)
def sweep(spec: SweepSpec) -> State[SweepResult]:
    """Train every variant, seed and device asked for, each an MLflow run under one parent run.

    Finished runs that the store already holds are reused. The flow run fails if one of its runs fails.
    """
    context = current_context(spec.experiment)
    result = run_sweep_tasks(spec, context, "flows/sweep.py")
    if not result.kept:  # otherwise there are no curves and no pages yet
        leave_report("sweep", result.name, lambda: _report(open_store(context.address), result))
    final = Failed if result.failed or result.kept else Completed
    return final(data=result, message=summary_of(result))


def _report(store: Store, result: SweepResult) -> str:
    """Return the note of the sweep with an inline picture, and with links to MLflow's pages that work anywhere."""
    base, parent = pages_base(store), result.parent_run_id
    picture = inline_picture(read_figure(store, parent))
    note = result.note.replace("(#/", f"({base}#/").replace(picture_url("", parent, CURVES_FILE), picture)
    link = f"[The sweep on MLflow's pages]({run_url(base, result.experiment_id, parent)}){pages_hint(store)}"
    return f"{link}\n\n{note}"
