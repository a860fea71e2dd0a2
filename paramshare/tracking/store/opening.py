"""Open a store of runs: an embedded SQLite file, or an MLflow server.

An embedded store has its database in `<folder>/mlflow.db` and the files of its runs in `<folder>/artifacts/`.
"""

import base64
import logging
import os
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from sqlalchemy.exc import SQLAlchemyError

from paramshare.errors import StoreError
from paramshare.tracking.store.address import StoreAddress, check_kind, redacted
from paramshare.tracking.store.database import Database, extend_timeout, find_experiment, open_database
from paramshare.tracking.store.failures import store_errors
from paramshare.tracking.store.preflight import check_file
from paramshare.tracking.store.relocation import Relocation, relocate

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = [
    "Store", "check_store", "connect_server", "experiment_tags", "open_existing_store", "open_store", "relocate_store",
    "tag_experiment", "update_statistics",
]  # fmt: skip

_HEALTH_TIMEOUT: Final = 5.0  # seconds


@dataclass(frozen=True)
class Store:
    """An open store.

    Args:
        address: the address that it was opened with.
        experiment_id: MLflow's id of the experiment.
        connect: creates `client`.
        database: the database of an embedded store; None for a server, or if only MLflow can write the database.
    """

    address: StoreAddress
    experiment_id: str
    connect: "Callable[[], MlflowClient]" = field(repr=False, compare=False)
    database: Database | None = field(repr=False, compare=False)

    @cached_property
    def client(self) -> "MlflowClient":
        """Create MLflow's client of the store at the first use: it takes two seconds for an embedded store."""
        return self.connect()


def open_store(address: StoreAddress) -> Store:
    """Open a store; create its database and its experiment if they do not exist.

    Raises:
        StoreError: the kind of the address is unknown, the store cannot be opened, or the server does not answer.
    """
    check_store(address)
    _sign_in(address)
    try:
        known = find_experiment(address.database, address.experiment) if address.database else None
        if known is None:
            return _open_by_mlflow(address)
        connect = partial(_embedded_client, address.uri)
        return Store(address, known.experiment_id, connect, open_database(address.uri, known))
    except store_errors(sqlite3.Error) as error:
        reason = str(error).strip().splitlines()[0]
        raise StoreError(f"the store {redacted(address.uri)} cannot be opened: {reason}") from error


def open_existing_store(address: StoreAddress) -> Store:
    """Open a store to read from it. Unlike `open_store`, create neither a database nor an experiment.

    Raises:
        StoreError: the store or the experiment does not exist, or cannot be opened.
    """
    check_store(address)
    shown = redacted(address.uri)
    if address.database is not None and not address.database.exists():
        raise StoreError(f"there is no store at {shown}; name one that has runs with --tracking-uri")
    _sign_in(address)
    known = find_experiment(address.database, address.experiment) if address.database else None
    if not known and _client(address.uri).get_experiment_by_name(address.experiment) is None:
        raise StoreError(f"the store {shown} has no experiment {address.experiment!r}; name another")
    return open_store(address)


def connect_server(address: StoreAddress) -> "MlflowClient":
    """Return the client of a server, without an experiment.

    Raises:
        StoreError: no MLflow server answers at the address.
    """
    check_store(address)
    _sign_in(address)
    return _client(address.uri)


def check_store(address: StoreAddress) -> None:
    """Check that a store can be opened. Write nothing.

    Raises:
        StoreError: the store cannot be opened.
    """
    check_kind(address)
    if address.database is None:
        _check_server(address)
    else:
        _check_path(address.database)
        check_file(address.database, address.experiment)


def relocate_store(address: StoreAddress) -> Relocation | None:
    """Correct the addresses of files in an embedded store that was moved or copied.

    Returns:
        The changes; None if the store was not moved or does not exist.

    Raises:
        StoreError: the store is a server, or cannot be opened for another reason.
    """
    database = address.database
    if database is None:
        raise StoreError(f"the store {redacted(address.uri)} is a server; only an embedded store can be relocated")
    _check_path(database)
    check_file(database, None)
    try:
        return relocate(database, address.experiment) if database.exists() else None
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"the store {database} cannot be changed: {error}; nothing was changed") from error


def update_statistics(store: Store) -> None:
    """Update the statistics of an embedded store's tables after many runs were written: its pages stay fast.

    A server's database does so itself.
    """
    if store.database is not None:
        with suppress(SQLAlchemyError):  # optional: the database can be locked or the disk full
            store.database.update_statistics()


def experiment_tags(store: Store) -> Mapping[str, str]:
    """Return the tags of the store's experiment.

    Raises:
        MlflowException: the server does not answer.
    """
    if store.database is not None:
        return store.database.experiment_tags()
    return dict(store.client.get_experiment(store.experiment_id).tags)


def tag_experiment(store: Store, tags: Mapping[str, str]) -> None:
    """Set tags of the store's experiment.

    Raises:
        MlflowException: the server refused the tags or does not answer.
    """
    if store.database is not None:
        store.database.tag_experiment(tags)
        return
    for key, value in tags.items():
        store.client.set_experiment_tag(store.experiment_id, key, value)


def _open_by_mlflow(address: StoreAddress) -> Store:
    """Open a server, or an embedded store that MLflow has to create or to prepare."""
    from paramshare.tracking.store.creation import create_database, ensure_experiment

    if address.database is None:
        client = _client(address.uri)
        return Store(address, str(ensure_experiment(client, address).experiment_id), lambda: client, None)
    _quiet_mlflow()
    client = create_database(address.uri, address.database)
    experiment = ensure_experiment(client, address)
    return Store(address, str(experiment.experiment_id), lambda: client, open_database(address.uri, experiment))


def _sign_in(address: StoreAddress) -> None:
    """Set the user and password in the environment variables that MLflow reads, for child processes too."""
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
        raise StoreError(f"the server at {shown} is not an MLflow server; expected OK from its /health page")


def _check_path(database: Path) -> None:
    """Refuse a path with a `?`. SQLAlchemy reads an address up to its `?`, so it would open another file."""
    if "?" in str(database):
        raise StoreError(
            f"the store {database} cannot be opened: a ? ends the path in an address; use a path without a ?"
        )
    if database.name == ":memory:":
        raise StoreError("a store in memory would be lost at once; use sqlite:///path/to/mlflow.db")


def _client(uri: str) -> "MlflowClient":
    from mlflow import MlflowClient  # slow: a second

    _quiet_mlflow()
    return MlflowClient(tracking_uri=uri)


def _embedded_client(uri: str) -> "MlflowClient":
    client = _client(uri)
    extend_timeout(client)
    return client


def _quiet_mlflow() -> None:
    """Silence the reports of MLflow and its migrations about each step of opening a database.

    Call this after MLflow is imported: its import sets these levels.
    """
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it raises its errors, too
