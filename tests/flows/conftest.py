"""One Prefect server for all flows that run in this process, and homes for flows that start a server of their own."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.flows.prefect_server import PrefectServer, register, running_prefect_server
from support.made_once import copy_database, made_once

MIGRATED, REGISTERED = "migrated.db", "registered.db"


@pytest.fixture(scope="session")
def prefect_databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, PrefectServer | None]]:
    """Yield a folder with the databases MIGRATED and REGISTERED, and the server that made them in this process.

    The first process of `pytest -n` that needs them makes them: a migration and a registration take ten seconds each.
    """
    server = None
    with ExitStack() as running:
        with made_once(tmp_path_factory, "prefect-databases") as (folder, must_fill):
            if must_fill:
                home = tmp_path_factory.mktemp("prefect") / "home"
                server = running.enter_context(running_prefect_server(home))
                copy_database(home / "prefect.db", folder / MIGRATED)
                done = register(server)
                assert done.returncode == 0, done.stderr
                assert "deployment sweep/sweep-nightly: 0 2 * * * UTC, paused\n" in done.stdout
                copy_database(home / "prefect.db", folder / REGISTERED)
        yield folder, server


@pytest.fixture(scope="session")
def prefect_server(
    prefect_databases: tuple[Path, PrefectServer | None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrefectServer]:
    """Return the server of this session, on which everything is registered and every schedule is paused.

    A test that changes registrations takes `own_prefect_server`.
    """
    folder, server = prefect_databases
    if server is not None:
        yield server
        return
    with running_prefect_server(_home(folder / REGISTERED, tmp_path_factory)) as started:
        yield started


@pytest.fixture(scope="module")
def migrated_home(
    prefect_databases: tuple[Path, PrefectServer | None], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a `$PREFECT_HOME` with an empty, migrated database."""
    return _home(prefect_databases[0] / MIGRATED, tmp_path_factory)


@pytest.fixture(scope="module")
def own_prefect_server(
    prefect_databases: tuple[Path, PrefectServer | None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrefectServer]:
    """Start a server of a module's own, on which everything is registered, for tests that change registrations."""
    with running_prefect_server(_home(prefect_databases[0] / REGISTERED, tmp_path_factory)) as started:
        yield started


def _home(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("prefect") / "home"
    home.mkdir()
    copy_database(database, home / "prefect.db")
    return home
