"""Write a container's secrets to the files that its programs read, then replace this process by the program.

    entrypoint.py PROGRAM [ARGUMENT ...]
    entrypoint.py COMMAND [ARGUMENT ...]     the same as `paramshare COMMAND`, such as `doctor` or `train --seeds 0:10`

Compose passes secrets as files, /run/secrets/NAME (in another folder: STACK_SECRETS), so that the container's
configuration contains none. They are written to files below HOME, which is in memory, that only this user can read:

    mlflow_db_password     ~/.pgpass, for the role mlflow; libpq and asyncpg read this file
    prefect_db_password    ~/.pgpass, for the role prefect
    mlflow_admin_password  ~/.mlflow/credentials, for MLflow's clients; for `mlflow server` ~/.mlflow/basic_auth.ini
    mlflow_flask_key       the environment of `mlflow server`, which reads it only from there
    prefect_auth           PREFECT_PROFILES_PATH, for Prefect's server and clients

The last three are used if STACK_MLFLOW_PASSWORD or STACK_PREFECT_PASSWORD is on. The program does not start if one of
them is missing then. `mlflow server` gets `--app-name basic-auth` and stores its users in the database of
MLFLOW_BACKEND_STORE_URI.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

ROLES = {"mlflow_db_password": "mlflow", "prefect_db_password": "prefect"}
MLFLOW_ADMIN = "admin"
PASSWORDS = ("STACK_MLFLOW_PASSWORD", "STACK_PREFECT_PASSWORD")
AUTH_CACHE_SECONDS = 300  # the default of 0 checks a slow hash at every request


class ConfigurationError(Exception):
    """An error in the secrets or settings of this container, which cannot start with it."""


class Secrets:
    """The secrets in the files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, name: str) -> str | None:
        """Return a secret without the newline at its end; None if there is no such file.

        Raises:
            ConfigurationError: the file cannot be read, or is not one line.
        """
        try:
            secret = (self.folder / name).read_text().rstrip("\n")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationError(
                f"the secret {name} cannot be read ({error.strerror}); its file needs mode 0644"
            ) from error
        if not secret or "\n" in secret:
            raise ConfigurationError(f"the secret {name} must be one line")
        return secret

    def require(self, name: str) -> str:
        """Return a secret.

        Raises:
            ConfigurationError: the file is missing, cannot be read, or is not one line.
        """
        secret = self.find(name)
        if secret is None:
            raise ConfigurationError(f"the secret {name} is missing from {self.folder}")
        return secret


def program(arguments: list[str], path: str | None = None) -> list[str]:
    """Return the command line to run: a command of paramshare if the first argument is not a program."""
    if arguments and shutil.which(arguments[0], path=path):
        return arguments
    return ["paramshare", *arguments]


def is_on(environment: Mapping[str, str], name: str) -> bool:
    """Return whether a switch is on. A switch that is not set is off."""
    value = environment.get(name, "off")
    if value not in ("on", "off"):
        raise ConfigurationError(f"{name} must be on or off, not {value!r}")
    return value == "on"


def require_protection(environment: Mapping[str, str]) -> None:
    """Refuse to serve beyond this machine without a password.

    The Host check protects browsers only: any other client sends the header that it likes.

    Raises:
        ConfigurationError: the server's port is open at an address beyond loopback, and its password is off.
    """
    bind = environment.get("STACK_BIND", "127.0.0.1")
    try:
        beyond = not ip_address(bind.strip("[]")).is_loopback
    except ValueError:
        raise ConfigurationError(f"STACK_BIND must be an address such as 10.0.0.1, not {bind!r}") from None
    if not beyond or environment.get("STACK_OPEN") == "yes":
        return
    for name in PASSWORDS:
        if name in environment and not is_on(environment, name):
            raise ConfigurationError(
                f"STACK_BIND is {bind} and {name} is off, so whoever reaches {bind} can change everything; "
                f"set {name}=on, or STACK_OPEN=yes if a firewall or a proxy protects the address"
            )


def pgpass(secrets: Secrets) -> str:
    """Return the password file of PostgreSQL's clients, with a line for each role that has a password."""
    lines = []
    for name, role in ROLES.items():
        password = secrets.find(name)
        if password is None:
            continue
        if set(password) & set(":\\ "):
            raise ConfigurationError(
                f"the secret {name} contains : or \\ or a space, which asyncpg and libpq read differently"
            )
        lines.append(f"*:*:*:{role}:{password}\n")
    return "".join(lines)


def ini(**fields: str | int) -> str:
    """Return a file that MLflow reads with configparser, in which % is escaped."""
    lines = [f"{name} = {value}".replace("%", "%%") for name, value in fields.items()]
    return "\n".join(["[mlflow]", *lines, ""])


def basic_auth(password: str, environment: Mapping[str, str]) -> str:
    """Return the settings of MLflow's authentication. The admin's password applies when the first start creates it."""
    if "MLFLOW_BACKEND_STORE_URI" not in environment:
        raise ConfigurationError("MLFLOW_BACKEND_STORE_URI is not set; set it to the database that holds the users")
    return ini(
        default_permission="READ",
        database_uri=environment["MLFLOW_BACKEND_STORE_URI"],
        admin_username=MLFLOW_ADMIN,
        admin_password=password,
        auth_cache_ttl_seconds=AUTH_CACHE_SECONDS,
    )


def prefect_profile(auth: str) -> str:
    """Return Prefect's profile of this container. A string of JSON is also a string of TOML."""
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
    """Write the files that `command` needs; return the command and its environment with the options for them."""
    home = Path(environment["HOME"])
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    secrets = Secrets(Path(environment.get("STACK_SECRETS", "/run/secrets")))
    serves_mlflow = command[:2] == ["mlflow", "server"]
    command, changed = list(command), dict(environment)
    require_protection(environment)
    if passwords := pgpass(secrets):
        write(home / ".pgpass", passwords)
    if is_on(environment, "STACK_MLFLOW_PASSWORD"):
        password = secrets.require("mlflow_admin_password")
        write(
            home / ".mlflow" / "credentials",
            ini(mlflow_tracking_username=MLFLOW_ADMIN, mlflow_tracking_password=password),
        )
        if serves_mlflow:
            settings = home / ".mlflow" / "basic_auth.ini"
            write(settings, basic_auth(password, environment))
            changed["MLFLOW_AUTH_CONFIG_PATH"] = str(settings)
            changed["MLFLOW_FLASK_SERVER_SECRET_KEY"] = secrets.require("mlflow_flask_key")
            command += ["--app-name", "basic-auth"]
    if is_on(environment, "STACK_PREFECT_PASSWORD"):
        profiles = Path(environment.get("PREFECT_PROFILES_PATH", home / ".prefect" / "profiles.toml"))
        write(profiles, prefect_profile(secrets.require("prefect_auth")))
        changed["PREFECT_PROFILES_PATH"] = str(profiles)
    return command, changed


def upgrade_user_tables(environment: Mapping[str, str]) -> None:
    """Upgrade the tables of MLflow's users once, since the server's processes would do it concurrently."""
    store = environment["MLFLOW_BACKEND_STORE_URI"]
    command = ["python", "-m", "mlflow.server.auth", "db", "upgrade", "--url", store]
    if subprocess.run(command, env=environment).returncode:
        raise ConfigurationError(f"the tables of MLflow's users cannot be created in {store}")


def main() -> None:
    """Replace this process by the program that the command line names."""
    try:
        command, environment = prepare(program(sys.argv[1:]), os.environ)
        if "MLFLOW_AUTH_CONFIG_PATH" in environment:
            upgrade_user_tables(environment)
    except (ConfigurationError, OSError) as error:
        sys.exit(f"entrypoint: {error}")
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606
    except OSError as error:
        sys.exit(f"entrypoint: {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
