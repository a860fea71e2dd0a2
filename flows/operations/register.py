"""Make what workers need on a Prefect server: work pools, the deployments of `prefect.yaml`, a watch over silent runs.

    python -m paramshare.flows.register

It can be run again at any time, and with every upgrade: deployments are brought up to date, and of ours those that
`prefect.yaml` no longer names are deleted. One that had another name keeps all that it had (`renamed.py`). Parameters,
tags, a pause and a limit that a person has changed stay so (`kept.py`), as do pools, and schedules that a person has
added. Whether a schedule of ours is active is for the person to say who paused or resumed it last; that is set only
where the schedule is new, or where STACK_SCHEDULES says something else than at the last time.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Final

import yaml  # type: ignore[import-untyped]
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import DeploymentSchedule, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import SCHEDULE_TYPES, CronSchedule
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound
from prefect.variables import Variable
from prefect.workers.process import ProcessWorker

from paramshare.errors import ParamshareError, ServerError, SettingsError
from paramshare.flows.api.server import check_api
from paramshare.flows.operations.deployments import OURS, Document, find_file, names_in, read_file
from paramshare.flows.operations.renaming import activate, copy_former, former_name, hand_over, retire
from paramshare.flows.operations.user_changes import keep_changes, record
from paramshare.settings import StackSettings

__all__ = ["main", "register"]

_SETTING: Final = "paramshare_schedules"
"""The Prefect variable that holds what STACK_SCHEDULES was at the last time."""

_WATCH: Final = "paramshare: runs without a heartbeat"
_SILENCE: Final = timedelta(minutes=5)  # runs send a heartbeat every 30 s; a server may be gone for some minutes

_POOLS: Final = {
    "cpu": "Workers that train on a CPU: python -m paramshare.flows.worker --pool cpu",
    "gpu": "Workers that train on one GPU each: python -m paramshare.flows.worker --pool gpu",
}


def register(file: Path, settings: StackSettings) -> Iterator[str]:
    """Register everything with the Prefect API that is configured; yields a line for each thing done.

    Args:
        file: `prefect.yaml`.

    Raises:
        SettingsError: the file is not a file of deployments.
        ServerError: no API is configured, it does not answer, or it refuses a deployment.
    """
    document = read_file(file)
    wanted = names_in(document)
    said, well = check_api()
    if not well or said.startswith("no API"):
        raise ServerError(f"nothing was registered: {said}")
    with get_client(sync_client=True) as client:
        yield from _make_pools(client)
        _name_schedules(client)
        yield from copy_former(client, dict(_ours(client)), wanted)
        before = {key for key, _, _ in _schedules(client)}
        changed = Variable.get(_SETTING) != settings.schedules
        kept, changes = keep_changes(document, dict(_ours(client)))
        _deploy(kept, settings)
        record(document)
        for name, fields in changes.items():
            yield f"deployment {name}: {', '.join(fields)} as somebody has set on the server, not as in {file.name}"
        hand_over(client, dict(_ours(client)), wanted)
        for (name, slug), deployment, schedule in _schedules(client):
            of_file = slug in wanted.get(name, ())
            if of_file and schedule.active != settings.active and (changed or (name, slug) not in before):
                activate(client, deployment, schedule, settings.active)
        Variable.set(_SETTING, settings.schedules, overwrite=True)
        yield from _remove_others(client, wanted)
        yield from _describe(client)
        yield from _watch(client)


def _make_pools(client: SyncPrefectClient) -> Iterator[str]:
    """The work pools; one that is there stays as somebody may have set it."""
    for name, description in _POOLS.items():
        try:
            pool = client.read_work_pool(name)
            if pool.description == description.replace("paramshare.flows", "flows"):  # names a command of version 0.1
                client.update_work_pool(name, WorkPoolUpdate(description=description))
            yield f"work pool {name}: there"
        except ObjectNotFound:
            template = ProcessWorker.get_default_base_job_template()
            client.create_work_pool(
                WorkPoolCreate(name=name, type="process", description=description, base_job_template=template)
            )
            yield f"work pool {name}: made"


def _name_schedules(client: SyncPrefectClient) -> None:
    """Name the schedules that a person added without a name: Prefect deletes what has none when it deploys."""
    for (_, slug), deployment, schedule in _schedules(client):
        if slug is None:
            slug = f"added-{schedule.id.hex[-8:]}"
            client.update_deployment_schedule(deployment.id, schedule.id, slug=slug, parameters=schedule.parameters)


def _deploy(document: Document, settings: StackSettings) -> None:
    """Let Prefect's own command read a file of the deployments. It leaves schedules active or paused, as they are.

    Raises:
        ServerError: it failed.
    """
    variables = {"STACK_VERSION": version("paramshare"), "STACK_TIMEZONE": settings.timezone}
    with tempfile.TemporaryDirectory(prefix="paramshare-") as folder:
        file = Path(folder, "prefect.yaml")
        file.write_text(yaml.safe_dump(document, allow_unicode=True))
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)],
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise ServerError(f"`prefect deploy` failed. The end of its output:\n{(done.stdout + done.stderr)[-2000:]}")


def _ours(client: SyncPrefectClient) -> Iterator[tuple[str, DeploymentResponse]]:
    """Our deployments by their names, such as `sweep/sweep-cpu`."""
    found = client.read_deployments(deployment_filter=OURS)
    named = ((f"{client.read_flow(one.flow_id).name}/{one.name}", one) for one in found)
    yield from sorted(named, key=lambda pair: pair[0])


def _schedules(
    client: SyncPrefectClient,
) -> list[tuple[tuple[str, str | None], DeploymentResponse, DeploymentSchedule]]:
    """The schedules of our deployments by deployment and slug."""
    return [
        ((name, schedule.slug), deployment, schedule)
        for name, deployment in _ours(client)
        for schedule in deployment.schedules
    ]


def _remove_others(client: SyncPrefectClient, wanted: Collection[str]) -> Iterator[str]:
    """Delete those deployments of ours that the file does not name: of an older version, as a rule."""
    ours = dict(_ours(client))
    successors = {former_name(name): ours[name] for name in wanted if name in ours}
    for name, deployment in ours.items():
        if name in wanted:
            continue
        if name in successors:
            yield retire(client, deployment, name, successors[name])
        else:
            client.delete_deployment(deployment.id)
            yield f"deployment {name}: deleted, prefect.yaml does not name it"


def _describe(client: SyncPrefectClient) -> Iterator[str]:
    for name, deployment in _ours(client):
        said = [f"{_when(one.schedule)}, {'active' if one.active else 'paused'}" for one in deployment.schedules]
        yield f"deployment {name}: {'; '.join(said) or 'no schedule'}"


def _when(schedule: SCHEDULE_TYPES) -> str:
    if isinstance(schedule, CronSchedule):
        return f"{schedule.cron} {schedule.timezone or 'UTC'}"
    return "a schedule that a person added"


def _watch(client: SyncPrefectClient) -> Iterator[str]:
    """Let Prefect say Crashed of a run that has fallen silent: its machine is gone, and nobody was left to say it."""
    if client.read_automations_by_name(_WATCH):
        yield f"automation {_WATCH!r}: there"
        return
    client.create_automation(
        AutomationCore(
            name=_WATCH,
            description="A run that sends no heartbeat has lost its machine. A worker takes it up again.",
            trigger=EventTrigger(
                match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
                for_each={"prefect.resource.id"},
                after={"prefect.flow-run.heartbeat"},
                expect={"prefect.flow-run.*"},  # a heartbeat, an end, or that it was scheduled anew
                posture=Posture.Proactive,
                threshold=1,
                within=_SILENCE,
            ),
            actions=[
                ChangeFlowRunState(
                    state=StateType.CRASHED,
                    message=f"No heartbeat for {_SILENCE.total_seconds():.0f} s: the process or its machine is gone.",
                )
            ],
        )
    )
    yield f"automation {_WATCH!r}: made"


def main(arguments: Sequence[str] | None = None) -> int:
    """Register, say what was done; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m paramshare.flows.register", description="Register the deployments."
    )
    parser.add_argument(
        "--file",
        type=Path,
        help="defaults to prefect.yaml of this folder if it is paramshare's, else to the installed one",
    )
    options = parser.parse_args(arguments)
    try:
        for line in register(find_file(options.file), StackSettings.read()):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
    except ParamshareError as error:
        sys.stderr.write(f"paramshare: {error}\n")
        return 2 if isinstance(error, SettingsError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
