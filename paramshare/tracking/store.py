"""Open a store of runs, once and safely: an embedded SQLite file, or an MLflow server.

Embedded, the runs lie in `<folder>/mlflow.db` and what they wrote in `<folder>/artifacts/`. A new database is made
under a file lock, since several processes that migrate a fresh one together break it.
"""

import logging
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Experiment, ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from sqlalchemy.exc import SQLAlchemyError

from paramshare.errors import ServerError, StoreError
from paramshare.tracking.embedded import Database, open_database
from paramshare.tracking.views import VIEWS, saved_view_tags

__all__ = ["Store", "StoreAddress", "analyse", "check_store", "open_store", "redacted", "store_failures"]

_FOLDER = Path("mlruns")
_SQLITE = "sqlite:///"
_HEALTH_TIMEOUT = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where runs are kept: enough for another process to open the same store.

    Args:
        uri: `sqlite:///<absolute path>` or an MLflow server's `http(s)://` address.
        experiment: the MLflow experiment's name.
    """

    uri: str
    experiment: str

    @classmethod
    def of(cls, uri: str | None, experiment: str) -> "StoreAddress":
        """The store at `uri`; where there is none, the embedded one in `mlruns/` of the working directory."""
        return cls(uri or f"{_SQLITE}{(_FOLDER / 'mlflow.db').resolve()}", experiment)

    @property
    def database(self) -> Path | None:
        """The SQLite file of an embedded store; None for a server."""
        return Path(self.uri.removeprefix(_SQLITE)) if self.uri.startswith(_SQLITE) else None


@dataclass(frozen=True, slots=True)
class Store:
    """An open store.

    Args:
        address: what it was opened with.
        experiment_id: MLflow's id of the experiment.
        client: talks to it; never MLflow's global active run.
        database: writes whole runs to an embedded store; None for a server, or a database that MLflow alone can write.
    """

    address: StoreAddress
    experiment_id: str
    client: MlflowClient = field(repr=False, compare=False)
    database: Database | None = field(repr=False, compare=False)


def open_store(address: StoreAddress) -> Store:
    """Open the store, and make its database and experiment where they are not there yet.

    Raises:
        StoreError: the address is of no known kind, or what it names cannot be opened or does not answer.
    """
    check_store(address)
    _quiet_mlflow()
    try:
        if address.database is None:
            client = MlflowClient(tracking_uri=address.uri)
        else:
            client = _embedded_client(address.uri, address.database)
        experiment = _experiment(client, address)
        database = open_database(address.uri, experiment) if address.database else None
        return Store(address, str(experiment.experiment_id), client, database)
    except (MlflowException, OSError, sqlite3.Error, SQLAlchemyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise StoreError(f"the store {redacted(address.uri)} cannot be opened: {reason}") from error


@contextmanager
def store_failures(address: StoreAddress) -> Iterator[None]:
    """Say in one line what a store that fails in this block has to say.

    Raises:
        ServerError: MLflow gave up on the store.
    """
    try:
        yield
    except MlflowException as error:
        reason = str(error).strip().splitlines()[0]
        raise ServerError(
            f"the store {redacted(address.uri)} failed: {reason}; what was finished stays, "
            "run the same command again for the rest"
        ) from error


def check_store(address: StoreAddress) -> None:
    """Look whether the store can be opened. Writes nothing.

    Raises:
        StoreError: it cannot, and why.
    """
    shown = redacted(address.uri)
    if address.uri.startswith(("http://", "https://")):
        _check_server(address.uri, shown)
    elif address.database is not None:
        _check_file(address.database)
    else:
        raise StoreError(
            f"the tracking URI {shown!r} is of a kind that is not supported; "
            "expected sqlite:///path/to/mlflow.db or the http(s):// address of an MLflow server"
        )


def analyse(store: Store) -> None:
    """Keep an embedded store's pages fast after many runs were written to it; a server sees to that itself."""
    if store.database is not None:
        store.database.analyse()


def redacted(uri: str) -> str:
    """`uri` without the user and password that may stand in it."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]))


def _check_server(uri: str, shown: str) -> None:
    parts = urlsplit(uri)
    health = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], path=parts.path.rstrip("/") + "/health"))
    try:
        with urllib.request.urlopen(health, timeout=_HEALTH_TIMEOUT) as response:  # noqa: S310 - http(s) only, see caller
            answer = response.read(64).decode(errors="replace").strip()
    except (OSError, ValueError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", error)
        raise StoreError(
            f"no MLflow server answers at {shown} ({reason}); start it, or leave PARAMSHARE_TRACKING_URI out "
            "to use the embedded store"
        ) from error
    if answer != "OK":
        raise StoreError(f"what answers at {shown} is not an MLflow server; expected OK from its /health page")


def _check_file(database: Path) -> None:
    if database.is_dir():
        raise StoreError(f"the store {database} is a folder; expected an SQLite file, such as mlruns/mlflow.db")
    folder = next(parent for parent in database.parents if parent.exists())
    if not folder.is_dir():
        raise StoreError(f"the store {database} cannot be made: {folder} is a file; expected a folder")
    if database.exists():
        _check_database(database)


def _check_database(database: Path) -> None:
    """Let SQLite itself look: closing the file by any other hand drops the locks of this process's connections."""
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True)) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"the store {database} cannot be opened as an SQLite database: {error}; move it away or name another file"
        ) from error


def _embedded_client(uri: str, database: Path) -> MlflowClient:
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(database.with_suffix(".lock")):
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(view_type=ViewType.ALL, max_results=1)  # makes the tables
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # kept in the file: readers and a writer at once
    return client


def _experiment(client: MlflowClient, address: StoreAddress) -> Experiment:
    """The address's experiment, made where there is none.

    Raises:
        StoreError: it was deleted.
    """
    found = client.get_experiment_by_name(address.experiment) or _new_experiment(client, address)
    if found.lifecycle_stage != "active":
        raise StoreError(
            f"the experiment {found.name!r} was deleted; restore it with "
            f"`mlflow experiments restore -x {found.experiment_id}`, or name another with --experiment"
        )
    return found


def _new_experiment(client: MlflowClient, address: StoreAddress) -> Experiment:
    location = (address.database.parent / "artifacts").as_uri() if address.database else None
    tags = {"mlflow.note.content": _NOTE, **saved_view_tags(*VIEWS)}
    try:
        client.create_experiment(address.experiment, location, tags=tags)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise  # else another process was first
    return client.get_experiment_by_name(address.experiment)


def _quiet_mlflow() -> None:
    """MLflow and its migrations report each step of opening a database; a person waits for none of that."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


_NOTE = """\
**What does sharing weights buy?** Each nested run is DynamicNet trained once, for one seed on one device; the runs \
above them are sweeps, with the curves of all their seeds together. `train/loss` and `depth` are logged at every step. \
Compare runs by `final/loss_mean_depth` and `final/loss_depth_0` to `_3`, the trained net's loss: the last step's \
depends on the depth that it drew. Runs with `sharing/` metrics are counts: what a model's weights are, and would be \
if they were not shared.
"""
