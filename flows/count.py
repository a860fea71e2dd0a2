"""Counting as a Prefect flow: one task for each model.

The models are counted one after the other: an analysis takes seconds, as starting a process would.
"""

from collections.abc import Mapping

from prefect import flow, runtime, task
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from paramshare.counting.report import CountResult, CountRow
from paramshare.counting.spec import CountSpec, ModelSpec
from paramshare.errors import in_a_line
from paramshare.flows.context import current_context, leave_report, log_store, mlflow_tags, pages_base, pages_hint
from paramshare.flows.tasks.retries import RETRIES
from paramshare.plots import inline_picture, picture_of
from paramshare.sharing.report import Sort
from paramshare.tracking.display.urls import run_url, search_url
from paramshare.tracking.store import Store, StoreAddress, open_store

__all__ = ["count", "count_one"]


def _flow_run_name() -> str:
    return CountSpec.model_validate(runtime.flow_run.parameters["spec"]).label


def _task_run_name() -> str:
    return ModelSpec.model_validate(runtime.task_run.parameters["model"]).label


@task(
    name="count model",
    task_run_name=_task_run_name,
    persist_result=False,
    **RETRIES,
)
def count_one(
    model: ModelSpec, address: StoreAddress, tags: Mapping[str, str], depth: int | None, sort: Sort
) -> CountRow:
    """Analyze a model and write its report as an MLflow run."""
    from paramshare.counting.run import count_model  # torch: a registration of the flow needs none

    row = count_model(model, address, tags, depth, sort)
    get_run_logger().info("%s: %s", model.label, row.summary)
    return row


@flow(name="count", flow_run_name=_flow_run_name, persist_result=False)
def count(spec: CountSpec) -> State[CountResult]:
    """Count the parameters of each model, shared and unshared, and write each report as an MLflow run.

    The flow run fails if one of its models fails; the other models are counted in any case.
    """
    context = current_context(spec.experiment)
    log_store(context.address)
    store = open_store(context.address)
    rows = []
    for model in spec.models:
        tags = mlflow_tags("flows/count.py")
        rows.append(_row(model, count_one(model, context.address, tags, spec.depth, spec.sort, return_state=True)))
        context.on_row(rows[-1])
    outcome = CountResult(store.experiment_id, tuple(rows))
    leave_report("count", spec.label, lambda: _report(store, outcome))
    failed = [row.model.label for row in outcome.failed]
    message = f"{len(rows) - len(failed)} of {len(rows)} models counted"
    if failed:
        return Failed(data=outcome, message=f"{message}; failed: {', '.join(failed)}")
    return Completed(data=outcome, message=message)


def _row(model: ModelSpec, state: State[CountRow]) -> CountRow:
    """Return the row of a task that has ended, in whichever state."""
    result: object = state.result(raise_on_failure=False)
    if isinstance(result, CountRow):
        return result
    return CountRow(model, error=in_a_line(result))


def _report(store: Store, outcome: CountResult) -> str:
    """Return the totals of all models with links to their runs, one by one and side by side, and the chart."""
    base = pages_base(store)
    side_by_side = search_url(base, outcome.experiment_id, f"tags.`prefect.flow_run_id` = '{runtime.flow_run.id}'")
    link = f"[These runs on MLflow's pages]({side_by_side}){pages_hint(store)}. Counts are for one sample."
    table = outcome.markdown(lambda run_id: run_url(base, outcome.experiment_id, run_id))
    chart = f"![parameters by regime, model by model]({inline_picture(picture_of(outcome.figure()))})"
    return "\n\n".join((link, table, chart))
