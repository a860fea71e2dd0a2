"""The study as a Prefect flow: the sweep's tasks over every variant, then the comparison, with its report."""

from collections.abc import Callable

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from paramshare.comparing.report import markdown_report
from paramshare.comparing.run import Concluded, conclude
from paramshare.comparing.spec import StudySpec
from paramshare.comparing.study import Study
from paramshare.comparing.text import answers
from paramshare.flows.surroundings import Surroundings, here, leave_report, pages_base, pages_hint, run_here
from paramshare.flows.sweep import run_tasks, said_of
from paramshare.sweep.chunks import Row
from paramshare.sweep.report import sweep_name
from paramshare.sweep.run import Outcome, Sweep
from paramshare.tracking.display.urls import run_url
from paramshare.tracking.store import StoreAddress, open_store

__all__ = ["run_study_flow", "study"]

Studied = tuple[Outcome, Study | None]
"""What the sweep came to, and the comparison; None where it could not be made."""


def run_study_flow(
    spec: StudySpec,
    address: StoreAddress,
    on_open: Callable[[Sweep], None] = lambda _: None,
    on_row: Callable[[Row], None] = lambda _: None,
    dask_scheduler: str | None = None,
) -> Studied:
    """Run the flow in this process, against the configured Prefect API or a server that ends with the flow.

    Args:
        on_open, on_row, dask_scheduler: as of `paramshare.flows.sweep.run_flow`.

    Raises:
        UsageError, ServerError, WorkerError: as of `paramshare.flows.sweep.run_flow`.
    """
    surroundings = Surroundings(address, on_open, on_row, dask_scheduler)
    result = run_here(study, spec, surroundings, ("study", *spec.variant_list))
    assert isinstance(result, tuple)
    return result


def _flow_run_name() -> str:
    spec = StudySpec.model_validate(runtime.flow_run.parameters["spec"])
    return sweep_name(spec, spec.device_list)


@flow(name="study", flow_run_name=_flow_run_name, persist_result=False)
def study(spec: StudySpec) -> State[Studied]:
    """Train every variant over the same seeds and hold them against each other.

    What the store already holds finished is re-used. The flow run fails where one of its runs does, or is missing.
    """
    around = here(spec.experiment)
    outcome = run_tasks(spec, around, "flows/study.py")
    concluded = conclude(spec, around.address, outcome)
    if concluded is not None:
        leave_report("study", outcome.name, lambda: _report(spec, around.address, outcome, concluded))
    found = concluded and concluded.study
    verdict = Failed if outcome.failed or outcome.kept or found is None else Completed
    return verdict(
        data=(outcome, found), message=" ".join([f"{said_of(outcome)}.", *(answers(found) if found else ())])
    )


def _report(spec: StudySpec, address: StoreAddress, outcome: Outcome, concluded: Concluded) -> str:
    """The study's report with figures that it carries itself, and a link to MLflow's pages."""
    store = open_store(address)
    url = run_url(pages_base(store), outcome.experiment_id, outcome.parent_run_id)
    return f"[The study on MLflow's pages]({url}){pages_hint(store)}\n\n{markdown_report(*concluded, spec.command)}"
