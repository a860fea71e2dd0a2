"""Proves that the stack loses nothing: PostgreSQL, MLflow, Prefect and the worker each killed in the middle of a sweep,
the whole stack taken down and brought up again, its volumes wiped and restored from a backup, a restore that fails, one
that is killed, an upgrade, one that fails in the middle, passwords switched on, without which nobody gets an answer,
and a worker that joins from outside.

Processes really die, volumes are really gone. Some minutes.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from containers.stack import Stack, check_sweep, request, spec_of, wait_for
from draws import DRAWS
from program import SMALL, clean_environment
from stack import worker
from wholeness import runs_of

from paramshare.tracking.owners import ALIVE_UNTIL
from paramshare.tracking.store import StoreAddress, open_store

MLFLOW_SEARCH = "/api/2.0/mlflow/experiments/search"
REVISION = "SELECT version_num FROM alembic_version"
SEEDS = 60
PASSWORDS = {"STACK_MLFLOW_PASSWORD": "on", "STACK_PREFECT_PASSWORD": "on"}


def sweep(stack: Stack, experiment: str, seeds: int, auth: str | None = None) -> None:
    """Let a worker sweep, and see it complete."""
    run = stack.ended(stack.start_flow("sweep/sweep-cpu", spec_of(experiment, seeds), auth), auth=auth)
    assert run.state is not None
    assert run.state.name == "Completed", run.state.message


@pytest.mark.parametrize("service", ["postgres", "mlflow", "prefect", "worker"])
def test_a_service_killed_in_the_middle_of_a_sweep_loses_nothing(stack: Stack, service: str) -> None:
    experiment = f"killed-{service}"
    flow_run = stack.start_flow("sweep/sweep-cpu", spec_of(experiment, SEEDS))
    before = wait_for(lambda: stack.finished(experiment) or None, "the sweep is under way")
    assert before < SEEDS
    stack.kill(service)
    ended = stack.ended(flow_run)
    assert ended.state is not None
    if ended.state.name != "Completed":  # what MLflow could not take is kept: the same sweep again delivers it
        assert service in ("mlflow", "postgres"), ended.state
        assert "kept" in str(ended.state.message), ended.state
        stack.up()
        sweep(stack, experiment, SEEDS)
    if service == "worker":  # the parent run of the attempt that died has a lease: five minutes later
        store = stack.store(experiment)
        for parent in runs_of(store, "sweep", "RUNNING"):
            store.client.set_tag(parent.info.run_id, ALIVE_UNTIL, "0")
        sweep(stack, experiment, SEEDS)
    check_sweep(stack, experiment, SEEDS)


@pytest.fixture(scope="module")
def kept(stack: Stack) -> str:
    """The experiment of a sweep that every test below finds again."""
    stack.up()
    sweep(stack, "kept", 4)
    return "kept"


def known_flow_runs(stack: Stack) -> set[UUID]:
    with stack.client() as client:
        return {run.id for run in client.read_flow_runs()}


def test_down_and_up_again_finds_everything_as_it_was(stack: Stack, kept: str) -> None:
    before = known_flow_runs(stack)
    stack.down()
    assert stack.compose("ps", "--all", "--quiet") == ""
    stack.up()
    check_sweep(stack, kept, 4)
    assert before
    assert known_flow_runs(stack) >= before


def test_a_backup_brings_everything_back_after_the_volumes_are_gone(stack: Stack, kept: str) -> None:
    before = known_flow_runs(stack)
    backup = stack.run("make", "--silent", "backup").strip()
    assert sorted(file.name for file in (stack.folder / backup).iterdir()) == [
        "SHA256SUMS", "artifacts.tar", "mlflow.dump", "prefect.dump",
    ]  # fmt: skip
    assert oct((stack.folder / backup).stat().st_mode)[-3:] == "700"
    stack.down("--volumes")
    stack.up()
    assert stack.finished(kept) == 0
    assert known_flow_runs(stack) == set()

    stack.run("make", "restore", f"BACKUP={backup}")
    check_sweep(stack, kept, 4)
    assert known_flow_runs(stack) >= before
    sweep(stack, "after-the-restore", 2)
    assert stack.query("postgres", "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1") == [
        "mlflow", "postgres", "prefect",
    ]  # fmt: skip
    assert stack.inside("mlflow", "ls", "/data").split() == ["artifacts"]


@pytest.mark.parametrize("broken", ["mlflow.dump", "prefect.dump", "artifacts.tar"])
@pytest.mark.parametrize("summed", [False, True], ids=["by what it is", "though its sum is right"])
def test_a_backup_that_is_broken_changes_nothing(stack: Stack, kept: str, broken: str, summed: bool) -> None:
    backup = Path(stack.run("make", "--silent", "backup").strip())
    folder = stack.folder / backup
    content = (folder / broken).read_bytes()
    (folder / broken).write_bytes(content[: len(content) // 2])
    if summed:
        stack.run("sh", "-c", f"cd {backup} && sha256sum mlflow.dump prefect.dump artifacts.tar > SHA256SUMS")
    with pytest.raises(AssertionError, match="restore: "):
        stack.run("make", "restore", f"BACKUP={backup}")
    check_sweep(stack, kept, 4)
    assert stack.query("postgres", "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1") == [
        "mlflow", "postgres", "prefect",
    ]  # fmt: skip
    assert stack.inside("mlflow", "ls", "/data").split() == ["artifacts"]


def with_faults(stack: Stack, name: str, fault: str) -> dict[str, str]:
    """Settings with which a command's every call of docker goes through a line of shell first."""
    docker = stack.folder / name / "docker"
    docker.parent.mkdir()
    docker.write_text(f'#!/bin/sh\n{fault}\nexec "$REAL_DOCKER" "$@"\n')
    docker.chmod(0o755)
    real = stack.run("sh", "-c", "command -v docker").strip()
    return {"PATH": f"{docker.parent}{os.pathsep}{os.environ['PATH']}", "REAL_DOCKER": real}


def test_a_backup_that_fails_leaves_no_folder(stack: Stack, kept: str) -> None:
    before = sorted((stack.folder / "backups").iterdir())
    failing = with_faults(stack, "failing", 'case "$*" in *artifacts*|*write*) exit 1;; esac')
    with pytest.raises(AssertionError):
        stack.run("make", "backup", **failing)
    assert sorted((stack.folder / "backups").iterdir()) == before


FILES = "from pathlib import Path; print(*sorted(path for path in Path('/data').rglob('*') if path.is_file()))"


def everything(stack: Stack) -> tuple[list[str], list[str], list[str]]:
    """What the stack holds: MLflow's runs, Prefect's flow runs, the artifacts."""
    return (
        stack.query("mlflow", "SELECT run_uuid FROM runs ORDER BY 1"),
        stack.query("prefect", "SELECT id FROM flow_run ORDER BY 1"),
        stack.compose("run", "--rm", "--no-deps", "-T", "mlflow", "python", "-c", FILES).split(),
    )


def test_a_restore_that_is_killed_is_undone_or_kept_by_the_next_even_where_that_fails(stack: Stack, kept: str) -> None:
    stack.compose("stop", "worker", "prefect", "mlflow")
    older = everything(stack)
    backup = stack.run("make", "--silent", "backup").strip()
    failing = f"{backup}-that-fails"
    shutil.copytree(stack.folder / backup, stack.folder / failing)
    (stack.folder / failing / "prefect.dump").write_text("not a dump")
    stack.run("sh", "-c", f"cd {failing} && sha256sum mlflow.dump prefect.dump artifacts.tar > SHA256SUMS")
    stack.up()
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
        with pytest.raises(AssertionError, match="what was there is put back"):
            stack.run("make", "restore", f"BACKUP={failing}")
        exchanged = killed > swap + 1  # after `swap` the databases' names are exchanged
        assert everything(stack) == (older if exchanged else newer), f"killed at call {killed} of {made}"
    stack.run("make", "restore", f"BACKUP={newest}")
    stack.up()
    check_sweep(stack, kept, 4)


@pytest.fixture
def build(stack: Stack) -> dict[str, str]:
    """Settings with which `make upgrade` builds the images that are there."""
    before = stack.run("docker", "image", "inspect", "--format={{json .Config.Labels}}", "paramshare:cpu")
    labels = {name.rpartition(".")[2]: label for name, label in json.loads(before).items()}
    settings = {"STACK_COMMIT": labels["revision"], "STACK_VERSION": labels["version"]}
    if wheels := os.environ.get("PIP_FIND_LINKS"):  # where torch is in a folder and on no index
        context = {"build": {"additional_contexts": {"wheels": wheels}}}
        override = stack.folder / "wheels.json"
        override.write_text(json.dumps({"services": dict.fromkeys(("prefect", "mlflow", "init", "worker"), context)}))
        settings["COMPOSE_FILE"] = f"docker/compose.yaml{os.pathsep}{override}"
    return settings


def test_an_upgrade_of_a_running_stack_keeps_everything(stack: Stack, kept: str, build: dict[str, str]) -> None:
    stack.run("make", "upgrade", **build)
    check_sweep(stack, kept, 4)
    sweep(stack, "after-the-upgrade", 2)


def test_an_upgrade_that_fails_loses_nothing_of_what_a_worker_did_meanwhile(
    stack: Stack, build: dict[str, str]
) -> None:
    stack.up()
    experiment = "during-an-upgrade"
    flow_run = stack.start_flow("sweep/sweep-cpu", spec_of(experiment, SEEDS))
    wait_for(lambda: stack.finished(experiment) or None, "the sweep is under way")
    (revision,) = stack.query("prefect", REVISION)
    stack.query("prefect", "UPDATE alembic_version SET version_num = 'nobody'")  # found after MLflow's is looked at
    with pytest.raises(AssertionError, match="Everything is as it was"):
        stack.run("make", "upgrade", **build)
    parents = (
        "SELECT status FROM runs JOIN experiments USING (experiment_id) JOIN tags USING (run_uuid) "
        f"WHERE experiments.name = '{experiment}' AND tags.key = 'paramshare.kind' AND tags.value = 'sweep'"
    )
    assert stack.query("mlflow", parents) == ["KILLED"], "what the worker wrote when it was stopped"

    stack.query("prefect", f"UPDATE alembic_version SET version_num = '{revision}'")
    stack.up()
    ended = stack.ended(flow_run)
    assert ended.state is not None
    assert ended.state.name == "Completed", ended.state.message
    check_sweep(stack, experiment, SEEDS)


MLFLOW_BACK = """
from alembic import command
from mlflow.store.db.utils import _get_alembic_config
command.downgrade(_get_alembic_config("postgresql+psycopg://mlflow@postgres:5432/mlflow"), "-1")
"""


def schemas(stack: Stack) -> list[str]:
    """The revisions of both databases."""
    return [*stack.query("mlflow", REVISION), *stack.query("prefect", REVISION)]


def test_an_upgrade_of_older_databases_that_fails_puts_them_back_and_can_be_made_again(
    stack: Stack, kept: str, build: dict[str, str]
) -> None:
    new = schemas(stack)
    stack.compose("stop", "worker", "prefect", "mlflow")
    stack.compose("run", "--rm", "--no-deps", "-T", "mlflow", "python", "-c", MLFLOW_BACK)
    stack.compose("run", "--rm", "--no-deps", "-T", "prefect", *"prefect server database downgrade --yes -r -1".split())
    old = schemas(stack)
    assert [before != after for before, after in zip(old, new, strict=True)] == [True, True]

    stack.query("prefect", "UPDATE alembic_version SET version_num = 'nobody'")  # found after MLflow's is upgraded
    with pytest.raises(AssertionError, match="Everything is as it was"):
        stack.run("make", "upgrade", **build)
    assert schemas(stack) == [old[0], "nobody"]
    assert stack.compose("ps", "--services").split() == ["postgres"]

    stack.query("prefect", f"UPDATE alembic_version SET version_num = '{old[1]}'")
    stack.run("make", "upgrade", **build)
    assert schemas(stack) == new
    stack.up()
    check_sweep(stack, kept, 4)


@pytest.fixture
def locked(stack: Stack, kept: str) -> Iterator[Stack]:
    """The stack with both passwords switched on."""
    with stack.changed(**PASSWORDS):
        yield stack


def test_with_passwords_on_nobody_gets_an_answer_without_and_everything_works_with(locked: Stack, kept: str) -> None:
    stack = locked
    body, kind = json.dumps({"max_results": 1}), {"Content-Type": "application/json"}
    assert request(stack.mlflow_port, "POST", MLFLOW_SEARCH, kind, body)[0] == 401
    assert request(stack.mlflow_port, "GET", "/", {})[0] == 401
    assert request(stack.prefect_port, "GET", "/api/admin/version", {})[0] == 401
    wrong = "admin:wrong"
    with pytest.raises(Exception, match="401"), stack.client(wrong) as client:
        client.read_deployments()

    outcome = json.loads(
        stack.compose("run", "--rm", "-T", "cli", "train", "--json", "--seeds", "0:2", "--experiment", "locked", *SMALL)
    )
    assert Counter(run["status"] for run in outcome["runs"]) == {"FINISHED": 2}
    sweep(stack, "locked", 4, auth=stack.secret("prefect_auth"))
    address = f"http://admin:{stack.secret('mlflow_admin_password')}@127.0.0.1:{stack.mlflow_port}"
    store = open_store(StoreAddress(address, "locked"))
    assert len(runs_of(store, "seed", "FINISHED")) == 4


def test_a_worker_on_another_host_joins_with_two_settings_and_the_passwords(
    stack: Stack, kept: str, tmp_path: Path
) -> None:
    with stack.changed(**PASSWORDS, STACK_BIND="127.0.0.2", STACK_HOSTS="127.0.0.2"):
        stack.compose("stop", "worker")
        auth = stack.secret("prefect_auth")
        settings = {
            "PREFECT_API_URL": f"{stack.prefect}/api",
            "PREFECT_API_AUTH_STRING": auth,
            "PARAMSHARE_TRACKING_URI": stack.mlflow.replace("//", f"//admin:{stack.secret('mlflow_admin_password')}@"),
        }
        with worker(tmp_path / "host", {**clean_environment(tmp_path / "home"), **settings}) as joined:
            sweep(stack, "elsewhere", 4, auth)
            assert joined.health() == 200
        store = open_store(StoreAddress(settings["PARAMSHARE_TRACKING_URI"], "elsewhere"))
        assert len(runs_of(store, "seed", "FINISHED")) == 4
