"""One Prefect server for all flows that run in this process, and homes for flows that start a server of their own."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.flows.prefect_server import PrefectServer, register, running_prefect_server

MIGRATED, REGISTERED = "migrated.db", "registered.db"


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """Start a server once a session, on which everything is registered and every schedule is paused.

    A test that changes registrations takes `own_prefect_server`.
    """
    home = tmp_path_factory.mktemp("prefect") / "home"
    with running_prefect_server(home) as started:
        _copy(home / "prefect.db", home / MIGRATED)
        done = register(started)
        assert done.returncode == 0, done.stderr
        assert "deployment sweep/sweep-nightly: 0 2 * * * UTC, paused\n" in done.stdout
        _copy(home / "prefect.db", home / REGISTERED)
        yield started


@pytest.fixture(scope="module")
def migrated_home(prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a `$PREFECT_HOME` with an empty, migrated database: a migration takes ten seconds."""
    return _home(prefect_server.home / MIGRATED, tmp_path_factory)


@pytest.fixture(scope="module")
def registered_home(prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a `$PREFECT_HOME` after the first `python -m paramshare.flows.register`."""
    return _home(prefect_server.home / REGISTERED, tmp_path_factory)


@pytest.fixture(scope="module")
def own_prefect_server(registered_home: Path) -> Iterator[PrefectServer]:
    """Start a server of a module's own, on which everything is registered, for tests that change registrations."""
    with running_prefect_server(registered_home) as started:
        yield started


def _home(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("prefect") / "home"
    home.mkdir()
    _copy(database, home / "prefect.db")
    return home


def _copy(database: Path, to: Path) -> None:
    """Copy a database, even while a server writes to it."""
    with closing(sqlite3.connect(database, timeout=60)) as source, closing(sqlite3.connect(to)) as into:
        source.backup(into)
