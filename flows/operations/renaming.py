"""The transfer of deployments that had another name in an older version: `sweep/cpu` is `sweep/sweep-cpu` now.

Prefect cannot rename a deployment, so a copy replaces it. A kill between any two requests loses nothing and leaves no
schedule active twice: the copy's schedules are paused, those of the former are paused before the copy's are resumed,
and a Prefect variable lists the schedules that are still to be resumed. The next registration continues from there.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.variables import Variable

__all__ = ["activate", "copy_former", "delete_former", "former_name", "transfer_schedules"]

_TO_RESUME: Final = "paramshare_schedules_to_resume"
"""The Prefect variable that lists the schedules of copies that are still to be resumed, by the deployment's name."""


def former_name(name: str) -> str:
    """Return the name that a deployment had before it began with its flow's: `sweep/cpu` of `sweep/sweep-cpu`."""
    flow, _, own = name.partition("/")
    return f"{flow}/{own.removeprefix(f'{flow}-')}"


def copy_former(
    client: SyncPrefectClient, ours: Mapping[str, DeploymentResponse], wanted: Collection[str]
) -> Iterator[str]:
    """Copy each deployment that exists only under its former name, with all of its properties and paused schedules.

    Yields:
        A line for each copy.
    """
    for name in sorted(wanted):
        former = ours.get(former_name(name))
        if former is None or name in ours:
            continue
        limit = former.global_concurrency_limit
        client.create_deployment(
            flow_id=former.flow_id,
            name=name.partition("/")[2],
            version=former.version,
            schedules=[_paused(schedule) for schedule in former.schedules],
            concurrency_limit=limit.limit if limit else None,
            concurrency_options=former.concurrency_options,
            parameters=former.parameters,
            description=former.description,
            work_queue_name=former.work_queue_name,
            work_pool_name=former.work_pool_name,
            tags=former.tags,
            path=former.path,
            entrypoint=former.entrypoint,
            parameter_openapi_schema=former.parameter_openapi_schema,
            paused=former.paused,
            pull_steps=former.pull_steps,
            enforce_parameter_schema=former.enforce_parameter_schema,
            job_variables=former.job_variables,
        )
        yield f"deployment {name}: copied from {former_name(name)}"


def _paused(schedule: DeploymentSchedule) -> DeploymentScheduleCreate:
    return DeploymentScheduleCreate(
        schedule=schedule.schedule,
        active=False,
        parameters=schedule.parameters,
        slug=schedule.slug,
        max_scheduled_runs=schedule.max_scheduled_runs,
    )


def transfer_schedules(
    client: SyncPrefectClient, ours: Mapping[str, DeploymentResponse], wanted: Collection[str]
) -> None:
    """Pause the active schedules of each former deployment, then resume those of its copy."""
    for name in wanted:
        former = ours.get(former_name(name))
        if former is None or name not in ours or former_name(name) == name:
            continue
        active = [schedule for schedule in former.schedules if schedule.active]
        if active:
            _remember(name, [schedule.slug or "" for schedule in active])
        for schedule in active:
            activate(client, former, schedule, False)
    to_resume = _to_resume()
    for name, slugs in to_resume.items():
        for schedule in ours[name].schedules if name in ours else ():
            if schedule.slug in slugs:
                activate(client, ours[name], schedule, True)
    if to_resume:
        Variable.unset(_TO_RESUME)


def _to_resume() -> dict[str, list[str]]:
    value: object = Variable.get(_TO_RESUME, default=None)
    return {str(name): list(slugs) for name, slugs in value.items()} if isinstance(value, dict) else {}


def _remember(name: str, slugs: Collection[str]) -> None:
    to_resume = _to_resume()
    Variable.set(_TO_RESUME, {**to_resume, name: sorted({*to_resume.get(name, ()), *slugs})}, overwrite=True)


def activate(
    client: SyncPrefectClient, deployment: DeploymentResponse, schedule: DeploymentSchedule, active: bool
) -> None:
    """Resume or pause a schedule. Prefect drops its parameters unless they are sent again."""
    client.update_deployment_schedule(deployment.id, schedule.id, active=active, parameters=schedule.parameters)


def delete_former(
    client: SyncPrefectClient, former: DeploymentResponse, name: str, successor: DeploymentResponse
) -> str:
    """Delete a deployment that has a successor, unless runs of it wait or run, which Prefect would drop.

    Args:
        name: the name of the former deployment, such as `sweep/cpu`.

    Returns:
        A line about what was done.
    """
    unfinished = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[former.id]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(not_any_=sorted(TERMINAL_STATES))),
        )
    )
    if not unfinished:
        client.delete_deployment(former.id)
        return f"deployment {name}: deleted, {successor.name} replaces it"
    client.update_deployment(former.id, DeploymentUpdate(entrypoint=successor.entrypoint, version=successor.version))
    return (
        f"deployment {name}: kept, since {len(unfinished)} of its runs have not ended; {successor.name} replaces it. "
        "Register again after they have ended"
    )
