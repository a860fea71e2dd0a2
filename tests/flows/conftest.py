"""One Prefect server for all flows that run in this process, and homes for flows that start a server of their own."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.flows.prefect_server import PrefectServer, register, running_prefect_server

MIGRATED, REGISTERED = "migrated.db", "registered.db"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A server on which everything is registered and every schedule paused. A test that changes it needs its own."""
    home = tmp_path_factory.mktemp("prefect") / "home"
    with running_prefect_server(home) as started:
        _copy(home / "prefect.db", home / MIGRATED)
        done = register(started)
        assert done.returncode == 0, done.stderr
        assert "deployment sweep/sweep-nightly: 0 2 * * * UTC, paused\n" in done.stdout
        _copy(home / "prefect.db", home / REGISTERED)
        yield started


@pytest.fixture(scope="module")
def migrated_home(server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `$PREFECT_HOME` with an empty, migrated database: a migration takes ten seconds."""
    return _home(server.home / MIGRATED, tmp_path_factory)


@pytest.fixture(scope="module")
def registered_home(server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `$PREFECT_HOME` after the first `python -m paramshare.flows.register`."""
    return _home(server.home / REGISTERED, tmp_path_factory)


def _home(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("prefect") / "home"
    home.mkdir()
    _copy(database, home / "prefect.db")
    return home


def _copy(database: Path, to: Path) -> None:
    """Copy a database, even while a server writes to it."""
    with closing(sqlite3.connect(database, timeout=60)) as source, closing(sqlite3.connect(to)) as into:
        source.backup(into)
