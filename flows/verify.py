"""Verification as a Prefect flow: a sample of a sweep's runs trained again, one task a run. Made for a schedule."""

from collections.abc import Callable
from typing import Any

from prefect import flow, runtime, task
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from paramshare.errors import in_a_line
from paramshare.flows.retries import RETRIES
from paramshare.flows.surroundings import Surroundings, here, leave_report, pages_base, pages_hint, run_here
from paramshare.proof.report import Verification, VerifyRow
from paramshare.proof.spec import VerifySpec
from paramshare.proof.verify import draw_sample, verify_member
from paramshare.tracking.display.urls import run_url
from paramshare.tracking.read.run_view import RunView
from paramshare.tracking.store import Store, StoreAddress
from paramshare.training.choice import Engine

__all__ = ["run_verify_flow", "verify", "verify_one"]


def run_verify_flow(
    spec: VerifySpec, address: StoreAddress, on_row: Callable[[VerifyRow], None] = lambda _: None
) -> Verification:
    """Run the flow in this process, against the configured Prefect API or a server that ends with the flow.

    Args:
        on_row: called for each run that was compared.

    Raises:
        UsageError: there is no such sweep.
        ServerError: a server did not start or did not answer.
    """
    result = run_here(verify, spec, Surroundings(address, on_row=on_row), ("verify",))
    assert isinstance(result, Verification)
    return result


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
def verify_one(member: RunView, address: StoreAddress, engine: Engine) -> State[VerifyRow]:
    """Train a run again and compare it with what MLflow holds."""
    row = verify_member(member, address, engine)
    get_run_logger().info("run %s: %s", member.run_id, row.verdict)
    return (Failed if row.failed else Completed)(data=row, message=row.verdict)


@flow(name="verify", flow_run_name=_flow_run_name, persist_result=False)
def verify(spec: VerifySpec) -> State[Verification]:
    """Train a sample of a sweep's runs again and compare every number with what MLflow holds.

    The flow run fails where one of them is not reproduced.
    """
    around = here(spec.experiment)
    sample = draw_sample(spec, around.address)
    rows = []
    for member in sample.members:
        rows.append(_row(member, verify_one(member, around.address, spec.engine, return_state=True)))
        around.on_row(rows[-1])
    outcome = sample.outcome(tuple(rows))
    leave_report("verify", outcome.summary, lambda: _report(sample.store, outcome))
    return (Failed if outcome.failed else Completed)(data=outcome, message=outcome.summary)


def _row(member: RunView, state: State[Any]) -> VerifyRow:
    """The row of a task that has ended, whatever its end."""
    result: object = state.result(raise_on_failure=False)
    if isinstance(result, VerifyRow):
        return result
    return VerifyRow(member, error=in_a_line(result))


def _report(store: Store, outcome: Verification) -> str:
    """The verdicts, with links that lead to MLflow's pages from elsewhere."""
    base = pages_base(store)

    def url_of(run_id: str) -> str:
        return run_url(base, outcome.experiment_id, run_id)

    link = f"[The sweep on MLflow's pages]({url_of(outcome.parent_run_id)}){pages_hint(store)}"
    return f"{link}\n\n{outcome.markdown(url_of)}"
