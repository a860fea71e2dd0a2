"""Puts a container's secrets where its programs look for them, then becomes the program.

    entrypoint.py PROGRAM [ARGUMENT ...]
    entrypoint.py COMMAND [ARGUMENT ...]     the same for `paramshare COMMAND`, as in `doctor` or `train --seeds 0:10`

Compose hands secrets over as files, /run/secrets/NAME (another folder: STACK_SECRETS), so that none stands in the
container's configuration. From there they go into files that only this user reads, below HOME, which lies in memory:

    mlflow_db_password     ~/.pgpass, for the role mlflow: libpq and asyncpg look there
    prefect_db_password    ~/.pgpass, for the role prefect
    mlflow_admin_password  ~/.mlflow/credentials, for MLflow's clients; for `mlflow server` ~/.mlflow/basic_auth.ini
    mlflow_flask_key       the environment of `mlflow server`, which takes it from nowhere else
    prefect_auth           PREFECT_PROFILES_PATH, for Prefect's server and clients

The last three are used with STACK_MLFLOW_PASSWORD=on and STACK_PREFECT_PASSWORD=on; nothing starts where one is then
missing. `mlflow server` gets `--app-name basic-auth` and keeps its users in the database of MLFLOW_BACKEND_STORE_URI.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROLES = {"mlflow_db_password": "mlflow", "prefect_db_password": "prefect"}
MLFLOW_ADMIN = "admin"
AUTH_CACHE_SECONDS = 300  # 0, the default, checks a slow hash at every request


class UnfitError(Exception):
    """What this container was given is not enough to start."""


class Secrets:
    """The secrets that lie in a folder as files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, name: str) -> str | None:
        """A secret without the newline at its end; None where there is no such file."""
        try:
            found = (self.folder / name).read_text().rstrip("\n")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UnfitError(f"the secret {name} cannot be read ({error.strerror}); it needs mode 0644") from error
        if not found or "\n" in found:
            raise UnfitError(f"the secret {name} must be one line")
        return found

    def demand(self, name: str) -> str:
        """The same, where nothing works without it."""
        found = self.find(name)
        if found is None:
            raise UnfitError(f"the secret {name} is missing from {self.folder}")
        return found


def program(arguments: list[str], path: str | None = None) -> list[str]:
    """The command line to run: a command of paramshare where the first argument is no program."""
    if arguments and shutil.which(arguments[0], path=path):
        return arguments
    return ["paramshare", *arguments]


def is_on(environment: Mapping[str, str], name: str) -> bool:
    """Whether a switch is on; it is off where it is not set."""
    value = environment.get(name, "off")
    if value not in ("on", "off"):
        raise UnfitError(f"{name} must be on or off, not {value!r}")
    return value == "on"


def pgpass(secrets: Secrets) -> str:
    """A password file of PostgreSQL's clients, with a line for each role whose password is there."""
    lines = []
    for name, role in ROLES.items():
        password = secrets.find(name)
        if password is None:
            continue
        if set(password) & set(":\\ "):
            raise UnfitError(f"the secret {name} holds : or \\ or a space, which asyncpg reads otherwise than libpq")
        lines.append(f"*:*:*:{role}:{password}\n")
    return "".join(lines)


def ini(**fields: str | int) -> str:
    """A file that MLflow reads with configparser, to which % means something."""
    lines = [f"{name} = {value}".replace("%", "%%") for name, value in fields.items()]
    return "\n".join(["[mlflow]", *lines, ""])


def basic_auth(password: str, environment: Mapping[str, str]) -> str:
    """How MLflow's server asks for passwords. The admin's counts when the first start makes the user."""
    if "MLFLOW_BACKEND_STORE_URI" not in environment:
        raise UnfitError("MLFLOW_BACKEND_STORE_URI is not set: it names the database that holds the users")
    return ini(
        default_permission="READ",
        database_uri=environment["MLFLOW_BACKEND_STORE_URI"],
        admin_username=MLFLOW_ADMIN,
        admin_password=password,
        auth_cache_ttl_seconds=AUTH_CACHE_SECONDS,
    )


def prefect_profile(auth: str) -> str:
    """Prefect's profile of this container; as a string of JSON a value is one of TOML too."""
    value = json.dumps(auth, ensure_ascii=False)
    names = ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING")
    return "\n".join(['active = "stack"', "[profiles.stack]", *(f"{name} = {value}" for name in names), ""])


def write(path: Path, text: str) -> None:
    """Write a file that only this user can read."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def prepare(command: list[str], environment: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Write the files that `command` needs. Returns it and its environment, each with what it needs besides."""
    home = Path(environment["HOME"])
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    secrets = Secrets(Path(environment.get("STACK_SECRETS", "/run/secrets")))
    serves_mlflow = command[:2] == ["mlflow", "server"]
    command, changed = list(command), dict(environment)
    if passwords := pgpass(secrets):
        write(home / ".pgpass", passwords)
    if is_on(environment, "STACK_MLFLOW_PASSWORD"):
        password = secrets.demand("mlflow_admin_password")
        write(
            home / ".mlflow" / "credentials",
            ini(mlflow_tracking_username=MLFLOW_ADMIN, mlflow_tracking_password=password),
        )
        if serves_mlflow:
            settings = home / ".mlflow" / "basic_auth.ini"
            write(settings, basic_auth(password, environment))
            changed["MLFLOW_AUTH_CONFIG_PATH"] = str(settings)
            changed["MLFLOW_FLASK_SERVER_SECRET_KEY"] = secrets.demand("mlflow_flask_key")
            command += ["--app-name", "basic-auth"]
    if is_on(environment, "STACK_PREFECT_PASSWORD"):
        profiles = Path(environment.get("PREFECT_PROFILES_PATH", home / ".prefect" / "profiles.toml"))
        write(profiles, prefect_profile(secrets.demand("prefect_auth")))
        changed["PREFECT_PROFILES_PATH"] = str(profiles)
    return command, changed


def make_user_tables(environment: Mapping[str, str]) -> None:
    """Bring the tables of MLflow's users up to date, which the server's processes would else do at the same time."""
    store = environment["MLFLOW_BACKEND_STORE_URI"]
    command = ["python", "-m", "mlflow.server.auth", "db", "upgrade", "--url", store]
    if subprocess.run(command, env=environment).returncode:
        raise UnfitError(f"the tables of MLflow's users cannot be made in {store}")


def main() -> None:
    """Become the program that the command line names."""
    try:
        command, environment = prepare(program(sys.argv[1:]), os.environ)
        if "MLFLOW_AUTH_CONFIG_PATH" in environment:
            make_user_tables(environment)
    except (UnfitError, OSError) as error:
        sys.exit(f"entrypoint: {error}")
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606
    except OSError as error:
        sys.exit(f"entrypoint: {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
