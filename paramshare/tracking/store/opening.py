"""Open a store of runs, once and safely: an embedded SQLite file, or an MLflow server.

Embedded, the runs lie in `<folder>/mlflow.db` and what they wrote in `<folder>/artifacts/`. A new database is made
under a file lock, since several processes that migrate a fresh one together break it, and beside its place, so that it
is there whole or not at all.
"""

import base64
import errno
import glob
import logging
import os
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from http.client import HTTPException
from pathlib import Path
from urllib.parse import unquote

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Experiment, ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from paramshare.errors import ServerError, StoreError
from paramshare.tracking.display.views import VIEWS, saved_view_tags
from paramshare.tracking.store.address import StoreAddress, check_kind, redacted
from paramshare.tracking.store.database import Database, find_experiment, let_wait, open_database
from paramshare.tracking.store.preflight import check_file, check_log
from paramshare.tracking.store.relocation import ARTIFACTS, Relocation, relocate

__all__ = [
    "Store",
    "StoreAddress",
    "analyse",
    "check_kind",
    "check_store",
    "open_store",
    "reason_of",
    "redacted",
    "relocate_store",
    "sign_in",
    "store_failures",
]

_HEALTH_TIMEOUT = 5.0  # seconds


@dataclass(frozen=True)
class Store:
    """An open store.

    Args:
        address: what it was opened with.
        experiment_id: MLflow's id of the experiment.
        connect: makes `client`.
        database: writes whole runs to an embedded store; None for a server, or a database that MLflow alone can write.
    """

    address: StoreAddress
    experiment_id: str
    connect: Callable[[], MlflowClient] = field(repr=False, compare=False)
    database: Database | None = field(repr=False, compare=False)

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's client of the store, made when it is first used: half a second for an embedded one."""
        return self.connect()


def open_store(address: StoreAddress) -> Store:
    """Open the store, and make its database and experiment where they are not there yet.

    Raises:
        StoreError: the address is of no known kind, or what it names cannot be opened or does not answer.
    """
    check_store(address)
    sign_in(address)
    _quiet_mlflow()
    try:
        if address.database is None:
            client = MlflowClient(tracking_uri=address.uri)
            return Store(address, str(_experiment(client, address).experiment_id), lambda: client, None)
        experiment = find_experiment(address.database, address.experiment)
        if experiment is not None:
            connect = partial(_waiting_client, address.uri)
            return Store(address, experiment.experiment_id, connect, open_database(address.uri, experiment))
        client = _embedded_client(address.uri, address.database)
        made = _experiment(client, address)
        return Store(address, str(made.experiment_id), lambda: client, open_database(address.uri, made))
    except (MlflowException, OSError, sqlite3.Error, SQLAlchemyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise StoreError(f"the store {redacted(address.uri)} cannot be opened: {reason}") from error


@contextmanager
def store_failures(address: StoreAddress) -> Iterator[None]:
    """Say in one line what a store that fails in this block has to say.

    Raises:
        ServerError: MLflow gave up on the store, or a file could not be written.
    """
    try:
        yield
    except BrokenPipeError:  # whoever read what is printed has read enough: no fault of the store
        raise
    except (MlflowException, SQLAlchemyError, OSError) as error:
        room = "make room, then " if _is_full(error) else ""
        raise ServerError(
            f"the store {redacted(address.uri)} failed: {reason_of(error, address)}; what was finished stays, "
            f"{room}run the same command again for the rest"
        ) from error


def check_store(address: StoreAddress) -> None:
    """Look whether the store can be opened. Writes nothing.

    Raises:
        StoreError: it cannot, and why.
    """
    check_kind(address)
    if address.database is None:
        _check_server(address)
    else:
        _check_path(address.database)
        check_file(address.database, address.experiment)


def relocate_store(address: StoreAddress) -> Relocation | None:
    """Put right an embedded store that was moved or copied; None where it lies where it was made, or is not there.

    Raises:
        StoreError: it is a server's, or it cannot be opened for another reason than that it was moved.
    """
    database = address.database
    if database is None:
        raise StoreError(f"the store {redacted(address.uri)} is no file; only an embedded store can be moved")
    _check_path(database)
    check_file(database, None)
    try:
        return relocate(database, address.experiment) if database.exists() else None
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"the store {database} cannot be changed: {error}; it is as it was") from error


def analyse(store: Store) -> None:
    """Keep an embedded store's pages fast after many runs were written to it; a server sees to that itself."""
    if store.database is not None:
        with suppress(SQLAlchemyError):  # a locked or full database does well without
            store.database.analyse()


def reason_of(error: Exception, address: StoreAddress) -> str:
    """What `error` says in a line, without the user and password that may stand in the store's address."""
    lines = str(error).replace(address.uri.rstrip("/"), redacted(address.uri.rstrip("/"))).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _is_full(error: Exception) -> bool:
    """Whether there was no room: as the system says it, or as SQLite does."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "disk is full" in str(error)


def sign_in(address: StoreAddress) -> None:
    """Give MLflow the user and password where it looks for them, here and in the processes that this one starts."""
    if address.credential:
        names = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
        user, _, password = address.credential.partition(":")
        os.environ.update(zip(names, (unquote(user), unquote(password)), strict=True))


def _check_server(address: StoreAddress) -> None:
    shown = redacted(address.uri)
    try:
        request = urllib.request.Request(f"{address.uri.rstrip('/')}/health")  # noqa: S310 - http(s) only, see caller
        if address.credential:
            encoded = base64.b64encode(unquote(address.credential).encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {encoded}")
        with urllib.request.urlopen(request, timeout=_HEALTH_TIMEOUT) as response:  # noqa: S310 - as above
            answer = response.read(64).decode(errors="replace").strip()
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise StoreError(
            f"no MLflow server answers at {shown} ({reason}); start it, or set PARAMSHARE_TRACKING_URI to another "
            "store, such as sqlite:///mlruns/mlflow.db"
        ) from error
    if answer != "OK":
        raise StoreError(f"what answers at {shown} is not an MLflow server; expected OK from its /health page")


def _check_path(database: Path) -> None:
    """SQLAlchemy reads an address up to its `?`: the rest of the path would be lost, and another file be written."""
    if "?" in str(database):
        raise StoreError(
            f"the store {database} cannot be opened: a ? ends the path in an address; expected one without"
        )
    if database.name == ":memory:":
        raise StoreError("a store in memory would be lost at once; expected sqlite:///path/to/mlflow.db")


def _embedded_client(uri: str, database: Path) -> MlflowClient:
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(database.with_suffix(".lock")):
        if not database.exists() or not database.stat().st_size:
            _make_database(database)
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(view_type=ViewType.ALL, max_results=1)  # makes MLflow's default experiment
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # kept in the file: readers and a writer at once
    let_wait(client)
    return client


def _waiting_client(uri: str) -> MlflowClient:
    client = MlflowClient(tracking_uri=uri)
    let_wait(client)
    return client


def _make_database(database: Path) -> None:
    """Make MLflow's tables beside their place and put them there whole: this takes seconds, and a kill can come."""
    new = database.with_name(f"{database.name}.new")
    for left_over in database.parent.glob(f"{glob.escape(new.name)}*"):
        left_over.unlink()
    try:
        from mlflow.store.db.utils import _initialize_tables  # with MLflow's tables

        engine = create_engine(f"sqlite:///{new}")
        _initialize_tables(engine)
        engine.dispose()
        check_log(database)  # what another hand has moved away meanwhile
        new.replace(database)
    except Exception:
        new.unlink(missing_ok=True)
        raise


def _experiment(client: MlflowClient, address: StoreAddress) -> Experiment:
    """The address's experiment, made where there is none.

    Raises:
        StoreError: it was deleted.
    """
    found = client.get_experiment_by_name(address.experiment) or _new_experiment(client, address)
    if found.lifecycle_stage != "active":
        raise StoreError(
            f"the experiment {found.name!r} was deleted; restore it with "
            f"`mlflow experiments restore -x {found.experiment_id}`, or name another experiment"
        )
    return found


def _new_experiment(client: MlflowClient, address: StoreAddress) -> Experiment:
    location = (address.database.parent / ARTIFACTS).as_uri() if address.database else None
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
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # its errors are raised, too, and said here


_NOTE = """\
**What does sharing weights buy?** Each nested run is a net trained once, for one seed on one device; the runs above \
them are sweeps, with the curves of all their seeds together, and studies with a report. `train/loss` is logged at \
every step. Compare runs of DynamicNet by `final/loss_mean_depth` and `final/loss_depth_0` to `_3`, the trained net's \
loss: the last step's depends on the depth that it drew; runs on digits by `final/accuracy_unseen` and \
`final/accuracy`. Runs with `sharing/` metrics are counts: what a model's weights are, and would be if they were not \
shared.
"""
