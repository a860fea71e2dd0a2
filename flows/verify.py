"""The verification as a Prefect flow: a sample of a sweep's runs trained again, one task for each run."""

from typing import Any

from prefect import flow, runtime, task
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from paramshare.errors import in_a_line
from paramshare.flows.context import current_context, leave_report, log_store, pages_base, pages_hint
from paramshare.flows.tasks.retries import RETRIES
from paramshare.proof.report import Verification, VerifyRow
from paramshare.proof.spec import VerifySpec
from paramshare.proof.verify import draw_sample, verify_member
from paramshare.tracking.display.urls import run_url
from paramshare.tracking.read.run_view import RunView
from paramshare.tracking.store import Store, StoreAddress
from paramshare.training.choice import Engine

__all__ = ["verify", "verify_one"]


def _flow_run_name() -> str:
    spec = VerifySpec.model_validate(runtime.flow_run.parameters["spec"])
    sweep = f"sweep {spec.parent_run_id[:8]}" if spec.parent_run_id else "the newest sweep"
    return f"{spec.sample} of {sweep} of {spec.experiment}"


def _task_run_name() -> str:
    member: RunView = runtime.task_run.parameters["member"]
    return f"{member.variant} seed {member.seed} on {member.device}"


@task(
    name="verify run",
    task_run_name=_task_run_name,
    persist_result=False,
    **RETRIES,
)
def verify_one(member: RunView, address: StoreAddress, engine: Engine, recipe: str | None = None) -> State[VerifyRow]:
    """Train a run again and compare its numbers with those in MLflow."""
    row = verify_member(member, address, engine, recipe)
    get_run_logger().info("run %s: %s", member.run_id, row.verdict)
    return (Failed if row.failed else Completed)(data=row, message=row.verdict)


@flow(name="verify", flow_run_name=_flow_run_name, persist_result=False)
def verify(spec: VerifySpec) -> State[Verification]:
    """Train a sample of a sweep's runs again and compare every number with MLflow.

    The flow run fails if one of the runs is not reproduced.
    """
    context = current_context(spec.experiment)
    log_store(context.address)
    sample = draw_sample(spec, context.address)
    rows = []
    for member in sample.members:
        rows.append(_row(member, verify_one(member, context.address, spec.engine, spec.recipe, return_state=True)))
        context.on_row(rows[-1])
    verification = sample.verification(tuple(rows))
    leave_report("verify", verification.summary, lambda: _report(sample.store, verification))
    return (Failed if verification.failed else Completed)(data=verification, message=verification.summary)


def _row(member: RunView, state: State[Any]) -> VerifyRow:
    """Return the row of a task that has ended, in whichever state."""
    result: object = state.result(raise_on_failure=False)
    if isinstance(result, VerifyRow):
        return result
    return VerifyRow(member, error=in_a_line(result))


def _report(store: Store, verification: Verification) -> str:
    """Return the verdicts, with links to MLflow's pages that work anywhere."""
    base = pages_base(store)

    def url_of(run_id: str) -> str:
        return run_url(base, verification.experiment_id, run_id)

    link = f"[The sweep on MLflow's pages]({url_of(verification.parent_run_id)}){pages_hint(store)}"
    return f"{link}\n\n{verification.markdown(url_of)}"
