"""The registration on a Prefect server: work pools, the deployments of `prefect.yaml`, an automation for silent runs.

    python -m paramshare.flows.register
    python -m paramshare.flows.register --pool cpu

The forms of the deployments have the options of installed recipes and of those in the folder `recipes` (`--recipes`),
so Prefect's server refuses invalid options before a flow run exists. Register again after the options of a recipe
change.

Prefect shows a work pool without a worker in red, so `--pool` selects the pools that are created. Deployments of a pool
that does not exist are not registered; pools that exist are kept up to date.

Run it again at any time, and after every upgrade: it updates the deployments, and deletes deployments of paramshare
that `prefect.yaml` no longer names. A deployment that had another name keeps its state (`renaming.py`). Parameters,
tags, a pause and a limit that a user has changed are kept (`user_changes.py`), and so are pools, and schedules that a
user has added. A schedule is activated or paused only if it is new, or if STACK_SCHEDULES has changed since the last
time: otherwise users decide.
"""

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

from paramshare.errors import ParamshareError, ServerError, UsageError
from paramshare.flows.api.server import check_api
from paramshare.flows.operations.deployments import OURS, Document, find_file, names_in, read_file, recipe_files
from paramshare.flows.operations.renaming import activate, copy_former, delete_former, former_name, transfer_schedules
from paramshare.flows.operations.user_changes import keep_changes, record_registered
from paramshare.parser import Parser
from paramshare.recipes.loading.find import installed_recipes
from paramshare.recipes.loading.forms import Problem, RecipeForm, read_forms
from paramshare.settings import StackSettings
from paramshare.sweep.form import as_json

__all__ = ["main", "register"]

_SETTING: Final = "paramshare_schedules"
"""The Prefect variable that holds the last value of STACK_SCHEDULES."""

_WATCH: Final = "paramshare: runs without a heartbeat"
_SILENCE: Final = timedelta(minutes=5)  # runs send a heartbeat every 30 s; a server may be gone for some minutes

_POOLS: Final = {
    "cpu": "Workers that train on a CPU: python -m paramshare.flows.worker --pool cpu",
    "gpu": "Workers that train on one GPU each: python -m paramshare.flows.worker --pool gpu",
}

# Prefect's own command, whose forms know the recipes of a file.
_PREFECT: Final = """
import sys
from pathlib import Path
from paramshare.sweep.form import know
know(Path(sys.argv.pop(1)).read_text())
from prefect.cli import app
app()
"""


def register(
    file: Path, settings: StackSettings, pools: Collection[str] = _POOLS, recipes: Sequence[str] = ()
) -> Iterator[str]:
    """Register everything with the configured Prefect API, and yield a line for each action.

    Args:
        file: `prefect.yaml`.
        pools: the work pools to create.
        recipes: the recipes whose options the forms have: files, and names of installed recipes. Their code runs. A
            recipe that cannot be read is a line.

    Raises:
        SettingsError: the file is not a file of deployments.
        ServerError: no API is configured, it does not answer, or it refuses a deployment.
    """
    document = read_file(file)
    status, works = check_api()
    if not works or status.startswith("no API"):
        raise ServerError(f"nothing was registered: {status}")
    entries = list(read_forms(recipes))
    with get_client(sync_client=True) as client:
        yield from _create_pools(client, pools)
        document = _without_missing_pools(client, document)
        wanted = names_in(document)
        _name_schedules(client)
        yield from copy_former(client, dict(_ours(client)), wanted)
        before = {key for key, _, _ in _schedules(client)}
        changed = Variable.get(_SETTING) != settings.schedules
        kept, changes = keep_changes(document, dict(_ours(client)))
        _deploy(kept, settings, [entry for entry in entries if isinstance(entry, RecipeForm)])
        record_registered(document)
        for name, fields in changes.items():
            yield f"deployment {name}: {', '.join(fields)} kept as set on the server, not as in {file.name}"
        transfer_schedules(client, dict(_ours(client)), wanted)
        for (name, slug), deployment, schedule in _schedules(client):
            of_file = slug in wanted.get(name, ())
            if of_file and schedule.active != settings.active and (changed or (name, slug) not in before):
                activate(client, deployment, schedule, settings.active)
        Variable.set(_SETTING, settings.schedules, overwrite=True)
        yield from _remove_others(client, wanted)
        yield from _describe(client)
        yield from map(_recipe_line, entries)
        yield from _watch(client)


def _create_pools(client: SyncPrefectClient, pools: Collection[str]) -> Iterator[str]:
    """Create the given work pools. A pool that exists is not changed."""
    for name, description in _POOLS.items():
        try:
            pool = client.read_work_pool(name)
            if pool.description == description.replace("paramshare.flows", "flows"):  # names a command of version 0.1
                client.update_work_pool(name, WorkPoolUpdate(description=description))
            yield f"work pool {name}: exists"
        except ObjectNotFound:
            if name not in pools:
                continue
            template = ProcessWorker.get_default_base_job_template()
            client.create_work_pool(
                WorkPoolCreate(name=name, type="process", description=description, base_job_template=template)
            )
            yield f"work pool {name}: created"


def _without_missing_pools(client: SyncPrefectClient, document: Document) -> Document:
    """Return the file without the deployments of our pools that do not exist."""
    missing = set(_POOLS) - {pool.name for pool in client.read_work_pools()}
    kept = [entry for entry in document["deployments"] if (entry.get("work_pool") or {}).get("name") not in missing]
    return {**document, "deployments": kept}


def _name_schedules(client: SyncPrefectClient) -> None:
    """Name the schedules that a user added without a name: Prefect deletes unnamed schedules when it deploys."""
    for (_, slug), deployment, schedule in _schedules(client):
        if slug is None:
            slug = f"added-{schedule.id.hex[-8:]}"
            client.update_deployment_schedule(deployment.id, schedule.id, slug=slug, parameters=schedule.parameters)


def _recipe_line(entry: RecipeForm | Problem) -> str:
    if isinstance(entry, Problem):
        return f"recipe {entry.reference}: not part of the forms: {entry.reason}"
    return f"recipe {entry.references[0]}: part of the forms, with {', '.join(entry.options) or 'no options'}"


def _deploy(document: Document, settings: StackSettings, forms: Collection[RecipeForm]) -> None:
    """Deploy a file with Prefect's own command. Schedules stay active or paused, as they are.

    Args:
        forms: the recipes that the forms know.

    Raises:
        ServerError: the command failed.
    """
    variables = {"STACK_VERSION": version("paramshare"), "STACK_TIMEZONE": settings.timezone}
    with tempfile.TemporaryDirectory(prefix="paramshare-") as folder:
        file, known = Path(folder, "prefect.yaml"), Path(folder, "forms")
        file.write_text(yaml.safe_dump(document, allow_unicode=True))
        known.write_text(as_json(forms))
        process = subprocess.run(
            [sys.executable, "-c", _PREFECT, known, "--no-prompt", "deploy", "--all", "--prefect-file", file],
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    if process.returncode:
        raise ServerError(
            f"`prefect deploy` failed. The end of its output:\n{(process.stdout + process.stderr)[-2000:]}"
        )


def _ours(client: SyncPrefectClient) -> Iterator[tuple[str, DeploymentResponse]]:
    """Yield the deployments of paramshare with their names, such as `sweep/sweep-cpu`."""
    deployments = client.read_deployments(deployment_filter=OURS)
    named = ((f"{client.read_flow(entry.flow_id).name}/{entry.name}", entry) for entry in deployments)
    yield from sorted(named, key=lambda pair: pair[0])


def _schedules(
    client: SyncPrefectClient,
) -> list[tuple[tuple[str, str | None], DeploymentResponse, DeploymentSchedule]]:
    """Return the schedules of the deployments of paramshare by deployment and slug."""
    return [
        ((name, schedule.slug), deployment, schedule)
        for name, deployment in _ours(client)
        for schedule in deployment.schedules
    ]


def _remove_others(client: SyncPrefectClient, wanted: Collection[str]) -> Iterator[str]:
    """Delete deployments of paramshare that the file does not name, as an older version may have left them."""
    ours = dict(_ours(client))
    successors = {former_name(name): ours[name] for name in wanted if name in ours}
    for name, deployment in ours.items():
        if name in wanted:
            continue
        if name in successors:
            yield delete_former(client, deployment, name, successors[name])
        else:
            client.delete_deployment(deployment.id)
            yield f"deployment {name}: deleted, prefect.yaml does not name it or its pool does not exist"


def _describe(client: SyncPrefectClient) -> Iterator[str]:
    for name, deployment in _ours(client):
        schedules = [
            f"{_when(entry.schedule)}, {'active' if entry.active else 'paused'}" for entry in deployment.schedules
        ]
        yield f"deployment {name}: {'; '.join(schedules) or 'no schedule'}"


def _when(schedule: SCHEDULE_TYPES) -> str:
    if isinstance(schedule, CronSchedule):
        return f"{schedule.cron} {schedule.timezone or 'UTC'}"
    return "a schedule that a user added"


def _watch(client: SyncPrefectClient) -> Iterator[str]:
    """Create the automation that marks a run without a heartbeat as Crashed: its machine may be lost."""
    if client.read_automations_by_name(_WATCH):
        yield f"automation {_WATCH!r}: exists"
        return
    client.create_automation(
        AutomationCore(
            name=_WATCH,
            description="A run without a heartbeat has lost its process or machine. A worker resumes it.",
            trigger=EventTrigger(
                match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
                for_each={"prefect.resource.id"},
                after={"prefect.flow-run.heartbeat"},
                expect={"prefect.flow-run.*"},  # a heartbeat, an end, or a new schedule
                posture=Posture.Proactive,
                threshold=1,
                within=_SILENCE,
            ),
            actions=[
                ChangeFlowRunState(
                    state=StateType.CRASHED,
                    message=f"No heartbeat for {_SILENCE.total_seconds():.0f} s: the process or its machine is lost.",
                )
            ],
        )
    )
    yield f"automation {_WATCH!r}: created"


def main(arguments: Sequence[str] | None = None) -> int:
    """Register, print what was done, and return the exit code."""
    parser = Parser(
        prog="python -m paramshare.flows.register", description="Register the deployments.", allow_abbrev=False
    )
    parser.add_argument(
        "--file",
        type=Path,
        help="defaults to prefect.yaml of this folder if it is paramshare's, else to the installed one",
    )
    parser.add_argument(
        "--pool",
        dest="pools",
        action="append",
        choices=_POOLS,
        help="create this pool; repeat it for several; defaults to all pools",
    )
    parser.add_argument(
        "--recipes",
        type=Path,
        help="the folder of recipes whose options the forms have, as workers name it; defaults to recipes of this "
        "folder",
    )
    try:
        options = parser.parse_args(arguments)
        recipes = [*recipe_files(options.recipes), *installed_recipes()]
        for line in register(find_file(options.file), StackSettings.read(), options.pools or _POOLS, recipes):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
    except ParamshareError as error:
        sys.stderr.write(f"paramshare: {error}\n")
        return 2 if isinstance(error, UsageError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
