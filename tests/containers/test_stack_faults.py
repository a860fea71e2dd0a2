"""The stack loses nothing: its volumes wiped and restored from a backup, a restore that fails, one that is killed, an
upgrade, one that fails in the middle, the whole stack taken down and brought up again, with passwords, without which
nobody gets an answer, and a worker that joins from outside. `test_stack_crashes.py` kills its processes.

Volumes are really gone. Some minutes. A start of the stack takes most of them, so each serves as
many tests as it can; from the first that wants `locked` on, the stack asks for passwords.
"""

import json
import os
import shutil
from base64 import b64encode
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.schemas.objects import FlowRun

from support.command_line import SMALL, clean_environment
from support.containers.compose_stack import IMAGE, Stack, check_sweep, request
from support.containers.stack_sweeps import SEEDS, completed, sweep, under_way
from support.flows.prefect_worker import running_worker
from support.repetitions import DRAWS
from support.tracking.sweep_checks import runs_of

MLFLOW_SEARCH = "/api/2.0/mlflow/experiments/search"
REVISION = "SELECT version_num FROM alembic_version"
SET_REVISION = "UPDATE alembic_version SET version_num = '{}'"
PASSWORDS = {"STACK_MLFLOW_PASSWORD": "on", "STACK_PREFECT_PASSWORD": "on"}


def known_flow_runs(stack: Stack) -> set[UUID]:
    with stack.client() as client:
        return {run.id for run in client.read_flow_runs()}


@pytest.fixture(scope="module")
def backup(stack: Stack, swept: FlowRun) -> str:
    """Make a backup, and return its folder relative to the sources."""
    return stack.run("make", "--silent", "backup").strip()


def test_a_backup_restores_everything_after_the_volumes_are_deleted(stack: Stack, backup: str) -> None:
    before = known_flow_runs(stack)
    assert sorted(file.name for file in (stack.folder / backup).iterdir()) == [
        "SHA256SUMS", "artifacts.tar", "mlflow.dump", "prefect.dump",
    ]  # fmt: skip
    assert oct((stack.folder / backup).stat().st_mode)[-3:] == "700"
    stack.down("--volumes")
    stack.up()
    assert stack.finished("swept") == 0
    assert known_flow_runs(stack) == set()

    stack.run("make", "restore", f"BACKUP={backup}")
    check_sweep(stack, "swept", 6)
    assert known_flow_runs(stack) >= before
    assert stack.query("postgres", "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1") == [
        "mlflow", "postgres", "prefect",
    ]  # fmt: skip
    assert stack.inside("mlflow", "ls", "/data").split() == ["artifacts"]


@pytest.mark.parametrize("broken", ["mlflow.dump", "prefect.dump", "artifacts.tar"])
@pytest.mark.parametrize("summed", [False, True], ids=["by what it is", "though its sum is right"])
def test_a_damaged_backup_is_refused_and_changes_nothing(stack: Stack, backup: str, broken: str, summed: bool) -> None:
    copy = f"{backup}-{broken}-{summed}"
    folder = shutil.copytree(stack.folder / backup, stack.folder / copy)
    content = (folder / broken).read_bytes()
    (folder / broken).write_bytes(content[: len(content) // 2])
    if summed:
        stack.run("sh", "-c", f"cd {copy} && sha256sum mlflow.dump prefect.dump artifacts.tar > SHA256SUMS")
    with pytest.raises(AssertionError, match="restore: "):
        stack.run("make", "restore", f"BACKUP={copy}")
    check_sweep(stack, "swept", 6)
    assert stack.query("postgres", "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1") == [
        "mlflow", "postgres", "prefect",
    ]  # fmt: skip
    assert stack.inside("mlflow", "ls", "/data").split() == ["artifacts"]


def with_faults(stack: Stack, name: str, fault: str) -> dict[str, str]:
    """Return settings with which each call of docker by a command first runs a line of shell."""
    docker = stack.folder / name / "docker"
    docker.parent.mkdir()
    docker.write_text(f'#!/bin/sh\n{fault}\nexec "$REAL_DOCKER" "$@"\n')
    docker.chmod(0o755)
    real = stack.run("sh", "-c", "command -v docker").strip()
    return {"PATH": f"{docker.parent}{os.pathsep}{os.environ['PATH']}", "REAL_DOCKER": real}


def test_a_failed_backup_leaves_no_folder(stack: Stack, backup: str) -> None:
    before = sorted((stack.folder / "backups").iterdir())
    failing = with_faults(stack, "failing", 'case "$*" in *artifacts*|*write*) exit 1;; esac')
    with pytest.raises(AssertionError):
        stack.run("make", "backup", **failing)
    assert sorted((stack.folder / "backups").iterdir()) == before


FILES = "from pathlib import Path; print(*sorted(path for path in Path('/data').rglob('*') if path.is_file()))"


def everything(stack: Stack) -> tuple[list[str], list[str], list[str]]:
    """Return the content of the stack: MLflow's runs, Prefect's flow runs, the artifacts."""
    return (
        stack.query("mlflow", "SELECT run_uuid FROM runs ORDER BY 1"),
        stack.query("prefect", "SELECT id FROM flow_run ORDER BY 1"),
        stack.compose("run", "--rm", "--no-deps", "-T", "mlflow", "python", "-c", FILES).split(),
    )


def test_a_killed_restore_is_undone_or_kept_by_the_next_restore_even_if_that_fails(
    stack: Stack, swept: FlowRun
) -> None:
    older = everything(stack)
    backup = stack.run("make", "--silent", "backup").strip()
    failing = f"{backup}-that-fails"
    shutil.copytree(stack.folder / backup, stack.folder / failing)
    (stack.folder / failing / "prefect.dump").write_text("not a dump")
    stack.run("sh", "-c", f"cd {failing} && sha256sum mlflow.dump prefect.dump artifacts.tar > SHA256SUMS")
    sweep(stack, "after-the-backup", 2)
    stack.compose("stop", "worker", "prefect", "mlflow")
    newer = everything(stack)
    newest = stack.run("make", "--silent", "backup").strip()

    # With its last argument each call is noted; the one of that number kills its whole group instead.
    calls = stack.folder / "calls"
    fault = 'for last; do :; done; echo "$last" >> "$CALLS"; [ "$(wc -l < "$CALLS")" != "$KILLED" ] || kill -9 0'
    faults = {**with_faults(stack, "killing", fault), "CALLS": str(calls)}
    stack.run("make", "restore", f"BACKUP={backup}", KILLED="never", **faults)
    assert everything(stack) == older
    made = calls.read_text().splitlines()
    swap = made.index("swap") + 1
    moments = range(swap, len(made) + 1) if DRAWS > 1 else [swap + 1]  # all, or the exchange of the databases
    for killed in moments:
        if everything(stack) != newer:
            stack.run("make", "restore", f"BACKUP={newest}")
            assert everything(stack) == newer
        calls.unlink()
        with pytest.raises(AssertionError):
            stack.run("setsid", "--wait", "make", "restore", f"BACKUP={backup}", KILLED=str(killed), **faults)
        assert len(calls.read_text().splitlines()) == killed
        with pytest.raises(AssertionError, match="the former data are put back"):
            stack.run("make", "restore", f"BACKUP={failing}")
        exchanged = killed > swap + 1  # after `swap` the databases' names are exchanged
        assert everything(stack) == (older if exchanged else newer), f"killed at call {killed} of {made}"
    stack.run("make", "restore", f"BACKUP={newest}")
    stack.up()
    check_sweep(stack, "swept", 6)


@pytest.fixture
def build(stack: Stack) -> dict[str, str]:
    """Return settings with which `make upgrade` builds the images that exist."""
    before = stack.run("docker", "image", "inspect", "--format={{json .Config.Labels}}", IMAGE)
    labels = {name.rpartition(".")[2]: label for name, label in json.loads(before).items()}
    settings = {
        "STACK_COMMIT": labels["revision"],
        "STACK_CREATED": labels["created"],
        "STACK_SOURCE": labels["source"],
    }
    if wheels := os.environ.get("PIP_FIND_LINKS"):  # where torch is in a folder and on no index
        settings["STACK_WHEELS"] = wheels
    return settings


@pytest.mark.skipif(DRAWS == 1, reason="the next test ends with an upgrade: `make test-all` runs this one too")
def test_an_upgrade_during_a_sweep_keeps_all_runs_and_the_sweep_finishes(
    stack: Stack, swept: FlowRun, build: dict[str, str]
) -> None:
    experiment = "during-an-upgrade"
    flow_run = under_way(stack, experiment)
    stack.run("make", "upgrade", **build)
    completed(stack.ended(flow_run))
    check_sweep(stack, experiment, SEEDS)
    check_sweep(stack, "swept", 6)


MLFLOW_BACK = """
from alembic import command
from mlflow.store.db.utils import _get_alembic_config
command.downgrade(_get_alembic_config("postgresql+psycopg://mlflow@postgres:5432/mlflow"), "-1")
"""


def schemas(stack: Stack) -> list[str]:
    """Return the schema revisions of both databases."""
    return [*stack.query("mlflow", REVISION), *stack.query("prefect", REVISION)]


def make_older(stack: Stack) -> list[str]:
    """Give both databases the schema before theirs; the new ones."""
    new = schemas(stack)
    stack.compose("run", "--rm", "--no-deps", "-T", "mlflow", "python", "-c", MLFLOW_BACK)
    stack.compose("run", "--rm", "--no-deps", "-T", "prefect", *"prefect server database downgrade --yes -r -1".split())
    assert [before != after for before, after in zip(schemas(stack), new, strict=True)] == [True, True]
    return new


def test_a_failed_upgrade_loses_nothing_and_can_be_repeated(
    stack: Stack, swept: FlowRun, build: dict[str, str]
) -> None:
    """One long story, as each chapter begins where the one before it ended."""
    experiment = "during-an-upgrade-that-fails"
    flow_run = under_way(stack, experiment)
    (revision,) = stack.query("prefect", REVISION)
    stack.query("prefect", SET_REVISION.format("nobody"))  # found after MLflow's is looked at
    with pytest.raises(AssertionError, match="the data are restored from"):
        stack.run("make", "upgrade", **build)
    parents = (
        "SELECT status FROM runs JOIN experiments USING (experiment_id) JOIN tags USING (run_uuid) "
        f"WHERE experiments.name = '{experiment}' AND tags.key = 'paramshare.kind' AND tags.value = 'sweep'"
    )
    # What the worker wrote when it was stopped, or before, if a busy machine took longer to stop it than to train.
    assert stack.query("mlflow", parents) in (["KILLED"], ["FINISHED"])
    assert stack.compose("ps", "--services").split() == ["postgres"]

    stack.query("prefect", SET_REVISION.format(revision))
    new = make_older(stack)
    if DRAWS > 1:
        old = schemas(stack)
        stack.query("prefect", SET_REVISION.format("nobody"))  # found after MLflow's is upgraded
        with pytest.raises(AssertionError, match="the data are restored from"):
            stack.run("make", "upgrade", **build)
        assert schemas(stack) == [old[0], "nobody"]
        assert stack.compose("ps", "--services").split() == ["postgres"]
        stack.query("prefect", SET_REVISION.format(old[1]))

    stack.run("make", "upgrade", **build)
    assert schemas(stack) == new
    stack.up()
    completed(stack.ended(flow_run))
    check_sweep(stack, experiment, SEEDS)
    check_sweep(stack, "swept", 6)


def registered(stack: Stack) -> list[tuple[UUID, str, dict[str, object]]]:
    with stack.client() as client:
        return sorted((one.id, one.name, one.parameters) for one in client.read_deployments())


@dataclass(frozen=True)
class Before:
    """The content of a stack before it was stopped."""

    flow_runs: set[UUID]
    deployments: list[tuple[UUID, str, dict[str, object]]]


@pytest.fixture(scope="module")
def locked(stack: Stack, swept: FlowRun) -> Before:
    """Stop and start the stack with both passwords on and on another address; it stays so."""
    before = Before(known_flow_runs(stack), registered(stack))
    stack.down()
    assert stack.compose("ps", "--all", "--quiet") == ""
    stack.settings = {**stack.settings, **PASSWORDS, "STACK_BIND": "127.0.0.2", "STACK_HOSTS": "127.0.0.2"}
    stack.up()
    return before


def test_a_stack_that_is_stopped_and_started_keeps_its_runs_and_registers_nothing_twice(
    stack: Stack, locked: Before
) -> None:
    check_sweep(stack, "swept", 6)
    assert locked.flow_runs
    assert known_flow_runs(stack) >= locked.flow_runs
    assert locked.deployments
    assert registered(stack) == locked.deployments


def test_the_stack_with_passwords_answers_only_clients_that_have_them(stack: Stack, locked: Before) -> None:
    body, kind = json.dumps({"max_results": 1}), {"Content-Type": "application/json"}
    assert request(stack.mlflow_port, "POST", MLFLOW_SEARCH, kind, body, host=stack.host)[0] == 401
    assert request(stack.mlflow_port, "GET", "/health", {}, host=stack.host)[0] == 200
    assert request(stack.mlflow_port, "GET", "/", {}, host=stack.host)[0] == 401
    password = b64encode(f"admin:{stack.secret('mlflow_admin_password')}".encode()).decode()
    known = {"Authorization": f"Basic {password}"}
    assert request(stack.mlflow_port, "GET", "/", known, host=stack.host)[0] == 200
    assert request(stack.mlflow_port, "GET", "/", {"Host": "evil.example", **known}, host=stack.host)[0] == 403
    assert request(stack.prefect_port, "GET", "/api/admin/version", {}, host=stack.host)[0] == 401
    with pytest.raises(Exception, match="401"), stack.client("admin:wrong") as client:
        client.read_deployments()

    outcome = json.loads(
        stack.compose("run", "--rm", "-T", "cli", "train", "--json", "--seeds", "0:2", "--experiment", "locked", *SMALL)
    )
    assert Counter(run["status"] for run in outcome["runs"]) == {"FINISHED": 2}
    sweep(stack, "locked", 4)
    check_sweep(stack, "locked", 4)


def test_a_worker_on_another_host_joins_with_two_settings_and_the_passwords(
    stack: Stack, locked: Before, tmp_path: Path
) -> None:
    stack.compose("stop", "worker")
    assert stack.auth is not None
    settings = {
        "PREFECT_API_URL": f"{stack.prefect}/api",
        "PREFECT_API_AUTH_STRING": stack.auth,
        "PARAMSHARE_TRACKING_URI": stack.tracking_uri,
    }
    with running_worker(tmp_path / "host", {**clean_environment(tmp_path / "home"), **settings}) as joined:
        sweep(stack, "elsewhere", 4)
        assert joined.health() == 200
    assert len(runs_of(stack.store("elsewhere"), "seed", "FINISHED")) == 4
