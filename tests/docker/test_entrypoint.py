"""A container's entry point hands secrets on in files that only its user reads, and becomes the program.

Each test runs `docker/entrypoint.py` as a container does, with a folder of secrets and a HOME of its own.
"""

import base64
import configparser
import json
import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

ENTRYPOINT = Path(__file__).parents[2] / "docker" / "entrypoint.py"
AWKWARD = r"a:b\c%d'e\"f=#g"  # each of the formats gives one of these a meaning
STORE = "postgresql+psycopg://mlflow@postgres/mlflow"


@dataclass(frozen=True)
class Container:
    """A place to run the entry point in: its secrets, its HOME, and programs that tell what they were given."""

    secrets: Path
    home: Path
    programs: Path

    def start(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """What the entry point did with a command line and settings."""
        environment = {
            "PATH": f"{self.programs}:{os.environ['PATH']}", "HOME": str(self.home), "STACK_SECRETS": str(self.secrets),
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, "-I", ENTRYPOINT, *arguments], env=environment | settings, capture_output=True, text=True
        )

    def told(self, *arguments: str, **settings: str) -> tuple[list[str], dict[str, str]]:
        """The command line and the environment that a program was started with."""
        done = self.start(*arguments, **settings)
        assert done.returncode == 0, done.stderr
        command, environment = json.loads(done.stdout)
        return command, environment


@pytest.fixture
def container(tmp_path: Path) -> Container:
    made = Container(tmp_path / "secrets", tmp_path / "home", tmp_path / "bin")
    made.secrets.mkdir()
    made.programs.mkdir()
    for name in ("mlflow", "paramshare", "prefect"):
        program = made.programs / name
        program.write_text(
            f"#!{sys.executable}\nimport json, os, sys\nprint(json.dumps([sys.argv, dict(os.environ)]))\n"
        )
        program.chmod(0o755)
    python = made.programs / "python"  # what MLflow's server is preceded by; tests/containers runs the real one
    python.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/run-before\n')
    python.chmod(0o755)
    return made


def files(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}


def test_a_program_runs_with_its_arguments_unchanged(container: Container) -> None:
    command, _ = container.told("prefect", "server", "start")
    assert command == [str(container.programs / "prefect"), "server", "start"]


@pytest.mark.parametrize("arguments", [["doctor"], ["train", "--seeds", "0:10"], ["--help"], []])
def test_arguments_that_name_no_program_are_a_paramshare_command(container: Container, arguments: list[str]) -> None:
    command, _ = container.told(*arguments)
    assert command == [str(container.programs / "paramshare"), *arguments]


def test_the_program_replaces_the_entry_point_and_its_exit_code_is_that_of_the_container(
    container: Container,
) -> None:
    program = "import os; print(os.getpid(), flush=True); os._exit(7)"
    with subprocess.Popen(
        [sys.executable, "-I", ENTRYPOINT, sys.executable, "-c", program],
        env={"HOME": str(container.home), "PATH": os.environ["PATH"]}, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        out, _ = process.communicate()
    assert (int(out), process.returncode) == (process.pid, 7)


def test_a_start_without_secrets_leaves_an_empty_home(container: Container) -> None:
    container.told("doctor")
    assert container.home.is_dir()
    assert not files(container.home)


def test_a_missing_program_is_named_in_the_error(container: Container) -> None:
    (container.programs / "paramshare").unlink()
    done = container.start("no-such-program", PATH=str(container.programs))
    assert done.returncode == 1
    assert done.stderr == "entrypoint: paramshare: No such file or directory\n"


def test_postgresql_clients_read_the_password_of_each_role(container: Container) -> None:
    (container.secrets / "mlflow_db_password").write_text("first-_#\n")
    (container.secrets / "prefect_db_password").write_text("second\n")
    container.told("prefect", "version")
    from asyncpg.connect_utils import _read_password_from_pgpass

    asked = {"passfile": container.home / ".pgpass", "hosts": ["postgres"], "ports": [5432]}
    for role, password in (("mlflow", "first-_#"), ("prefect", "second"), ("postgres", None)):
        assert _read_password_from_pgpass(**asked, database=role, user=role) == password


@pytest.mark.parametrize("password", ["a:b", "a\\b", "a b"])
def test_a_password_that_postgresql_clients_would_misread_is_refused(container: Container, password: str) -> None:
    (container.secrets / "prefect_db_password").write_text(password)
    refused = container.start("prefect", "version")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "the secret prefect_db_password contains" in refused.stderr


def test_mlflow_clients_read_the_password_of_the_admin(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    (container.secrets / "mlflow_admin_password").write_text(AWKWARD)
    container.told("doctor", STACK_MLFLOW_PASSWORD="on")
    monkeypatch.setenv("HOME", str(container.home))
    from mlflow.utils.credentials import read_mlflow_creds

    assert read_mlflow_creds() == ("admin", AWKWARD)
    assert files(container.home) == {".mlflow/credentials"}


def test_the_mlflow_server_requires_passwords_and_keeps_its_users_in_its_database(container: Container) -> None:
    (container.secrets / "mlflow_admin_password").write_text(AWKWARD)
    (container.secrets / "mlflow_flask_key").write_text("key")
    command, environment = container.told(
        "mlflow", "server", "--port", "5000", STACK_MLFLOW_PASSWORD="on", MLFLOW_BACKEND_STORE_URI=STORE
    )
    assert command[1:] == ["server", "--port", "5000", "--app-name", "basic-auth"]
    assert environment["MLFLOW_FLASK_SERVER_SECRET_KEY"] == "key"
    before = (container.home.parent / "run-before").read_text()
    assert before == f"-m mlflow.server.auth db upgrade --url {STORE}\n"
    read = configparser.ConfigParser()
    read.read(environment["MLFLOW_AUTH_CONFIG_PATH"])
    assert dict(read["mlflow"]) == {
        "default_permission": "READ", "database_uri": STORE, "admin_username": "admin", "admin_password": AWKWARD,
        "auth_cache_ttl_seconds": "300",
    }  # fmt: skip


def test_only_the_mlflow_server_gets_its_own_secrets(container: Container) -> None:
    (container.secrets / "mlflow_admin_password").write_text("word")
    (container.secrets / "mlflow_flask_key").write_text("key")
    for arguments in (["mlflow", "db", "upgrade", STORE], ["doctor"]):
        command, environment = container.told(*arguments, STACK_MLFLOW_PASSWORD="on", MLFLOW_BACKEND_STORE_URI=STORE)
        assert "--app-name" not in command
        assert not {"MLFLOW_FLASK_SERVER_SECRET_KEY", "MLFLOW_AUTH_CONFIG_PATH"} & environment.keys()


def test_disabled_passwords_reach_neither_servers_nor_clients(container: Container) -> None:
    for name in ("mlflow_admin_password", "mlflow_flask_key", "prefect_auth"):
        (container.secrets / name).write_text("secret")
    for arguments in (["mlflow", "server"], ["prefect", "server", "start"], ["doctor"]):
        command, environment = container.told(*arguments, STACK_MLFLOW_PASSWORD="off", STACK_PREFECT_PASSWORD="off")
        assert command[1:] == (arguments if arguments == ["doctor"] else arguments[1:])
        assert "secret" not in environment.values()
    assert not files(container.home)


def test_prefects_server_and_clients_read_the_same_credentials(container: Container) -> None:
    (container.secrets / "prefect_auth").write_text(f"admin:{AWKWARD}\n")
    _, environment = container.told("prefect", "server", "start", STACK_PREFECT_PASSWORD="on")
    profiles = tomllib.loads(Path(environment["PREFECT_PROFILES_PATH"]).read_text())
    assert profiles["profiles"][profiles["active"]] == {
        "PREFECT_API_AUTH_STRING": f"admin:{AWKWARD}", "PREFECT_SERVER_API_AUTH_STRING": f"admin:{AWKWARD}",
    }  # fmt: skip
    program = "from prefect.settings import PREFECT_API_AUTH_STRING as a; print(a.value())"
    done = container.start(sys.executable, "-c", program, STACK_PREFECT_PASSWORD="on")
    assert done.stdout == f"admin:{AWKWARD}\n"


def test_a_start_without_a_required_secret_is_refused(container: Container) -> None:
    refused = container.start("mlflow", "server", STACK_MLFLOW_PASSWORD="on")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == f"entrypoint: the secret mlflow_admin_password is missing from {container.secrets}\n"
    refused = container.start("prefect", "version", STACK_PREFECT_PASSWORD="on")
    assert "the secret prefect_auth is missing" in refused.stderr
    (container.secrets / "prefect_auth").write_text("\n")
    refused = container.start("prefect", "version", STACK_PREFECT_PASSWORD="on")
    assert "the secret prefect_auth must be one line" in refused.stderr


def test_a_switch_other_than_on_or_off_is_refused(container: Container) -> None:
    refused = container.start("doctor", STACK_PREFECT_PASSWORD="yes")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "entrypoint: STACK_PREFECT_PASSWORD must be on or off, not 'yes'\n"


def test_secret_files_are_private_and_rewritten_at_each_start(container: Container) -> None:
    for name in ("mlflow_db_password", "mlflow_admin_password", "mlflow_flask_key", "prefect_auth"):
        (container.secrets / name).write_text("first")
    switches = {"STACK_MLFLOW_PASSWORD": "on", "STACK_PREFECT_PASSWORD": "on", "MLFLOW_BACKEND_STORE_URI": STORE}
    container.told("mlflow", "server", **switches)
    for name in ("mlflow_db_password", "mlflow_admin_password", "mlflow_flask_key", "prefect_auth"):
        (container.secrets / name).write_text("second")
    container.told("mlflow", "server", **switches)
    found = {path for path in container.home.rglob("*") if path.is_file()}
    assert files(container.home) == {
        ".pgpass",
        ".mlflow/credentials",
        ".mlflow/basic_auth.ini",
        ".prefect/profiles.toml",
    }
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in found)
    assert all(path.parent.stat().st_mode & 0o077 == 0 for path in found)
    assert not any("first" in path.read_text() for path in found)


def test_only_the_secret_without_another_channel_is_in_the_environment(container: Container) -> None:
    secrets = {f"{name}": base64.b64encode(os.urandom(9)).decode() for name in (
        "mlflow_db_password", "prefect_db_password", "mlflow_admin_password", "mlflow_flask_key", "prefect_auth",
    )}  # fmt: skip
    for name, secret in secrets.items():
        (container.secrets / name).write_text(secret)
    switches = {"STACK_MLFLOW_PASSWORD": "on", "STACK_PREFECT_PASSWORD": "on", "MLFLOW_BACKEND_STORE_URI": STORE}
    command, environment = container.told("mlflow", "server", **switches)
    held = {
        name for name, secret in secrets.items() if any(secret in text for text in [*command, *environment.values()])
    }
    assert held == {"mlflow_flask_key"}


@pytest.mark.parametrize("bind", ["10.0.0.1", "0.0.0.0", "::"])
@pytest.mark.parametrize("server", ["STACK_MLFLOW_PASSWORD", "STACK_PREFECT_PASSWORD"])
def test_a_server_beyond_loopback_without_a_password_is_refused(container: Container, server: str, bind: str) -> None:
    done = container.start("prefect", "server", **{server: "off", "STACK_BIND": bind, "STACK_OPEN": "no"})
    assert done.returncode == 1
    assert f"STACK_BIND is {bind} and {server} is off" in done.stderr
    assert f"set {server}=on, or STACK_OPEN=yes" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"STACK_BIND": "127.0.0.1"},
        {"STACK_BIND": "::1"},
        {"STACK_BIND": "10.0.0.1", "STACK_OPEN": "yes"},
        {},  # of a worker, which serves nothing
    ],
)
def test_a_server_on_loopback_or_opened_on_purpose_needs_no_password(
    container: Container, settings: dict[str, str]
) -> None:
    container.told("prefect", "server", **{"STACK_PREFECT_PASSWORD": "off", **settings})


def test_a_bind_that_is_not_an_address_is_refused(container: Container) -> None:
    done = container.start("prefect", "server", STACK_BIND="server.example", STACK_PREFECT_PASSWORD="off")
    assert "STACK_BIND must be an address such as 10.0.0.1, not 'server.example'" in done.stderr
