"""Fixtures of all tests: an empty working directory, no settings from outside, stores and servers."""

import gc
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from weakref import WeakSet

import pytest

from paramshare.recipes.dynamicnet.recipe import TrainSpec
from paramshare.recipes.spec import Spec

pytest.register_assert_rewrite("support")
pytest_plugins = ["support.toy_fixtures"]

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from paramshare.tracking.store import StoreAddress
    from support.tracking.mlflow_server import MlflowServer

# Python's default spends a twentieth of the tests' time on looking for unreachable cycles among all imported modules.
gc.set_threshold(100_000, 50, 100)

# A shell that starts the tests in the background has Ctrl-C ignored, in all that they start too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Their fixtures start a Prefect server or a browser for a whole session, so one process runs all tests of a folder.
WHOLE_FOLDERS = ("tests/flows/", "tests/browser/")
# Each of their files takes seconds at most.
QUICK_FOLDERS = ("tests/counting/", "tests/sharing/", "tests/stats/")


@pytest.hookimpl(optionalhook=True)  # where pytest-xdist is
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let the processes of `pytest -n` share the tests by file, so that what serves a module is started once."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return _whole_folder(nodeid) or nodeid.partition("::")[0]

    config.option.loadscopereorder = False  # keep the order of `pytest_collection_modifyitems`
    return ByFile(config, log)


def _whole_folder(nodeid: str) -> str | None:
    return next((folder for folder in WHOLE_FOLDERS if nodeid.startswith(folder)), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests: the processes of `pytest -n` shall end together, and servers shall not run longer than needed.

    With several processes the whole folders come first and the quick ones last. With one process the whole folders come
    last, as each of their servers takes processor time until the end of the session.
    """
    place_of_whole = -1 if "PYTEST_XDIST_WORKER" in os.environ else 2

    def place(item: pytest.Item) -> int:
        if item.nodeid.startswith(WHOLE_FOLDERS):
            return place_of_whole
        return int(item.nodeid.startswith(QUICK_FOLDERS))

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Exempt the objects of imported modules from later garbage collections."""
    gc.freeze()


def _forget_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the settings of the user, and let MLflow neither send usage data nor print addresses."""
    for name in list(os.environ):
        if name.startswith(("PARAMSHARE_", "PREFECT_", "MLFLOW_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # as the product does when it is imported


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Remove settings of the user for fixtures of a whole session or module."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        _forget_settings(monkeypatch)
        monkeypatch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect-home")))
        yield


@pytest.fixture(autouse=True)
def _nothing_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove settings of the user, and let tests write to a temporary folder only."""
    _forget_settings(monkeypatch)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect-home"))
    monkeypatch.setenv("PYTHONSAFEPATH", "")  # the command line sets it for what it starts
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def _connected_engines() -> Iterator["WeakSet[Engine]"]:
    """Note each engine of SQLAlchemy that connects to a database, whether MLflow's or the product's."""
    from sqlalchemy import Engine, event

    engines: WeakSet[Engine] = WeakSet()

    def note(connection: "Connection") -> None:
        engines.add(connection.engine)

    event.listen(Engine, "engine_connect", note)
    yield engines
    event.remove(Engine, "engine_connect", note)


@pytest.fixture(autouse=True)
def _no_open_database(_connected_engines: "WeakSet[Engine]") -> Iterator[None]:
    """Close the connections that engines keep: MLflow keeps its engines until the process ends.

    Each test has a store of its own, so a process would run out of file descriptors. A later use of an engine connects
    again.
    """
    yield
    for engine in list(_connected_engines):
        engine.dispose()
    _connected_engines.clear()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create the database of a store once for all processes: MLflow takes seconds for it, a copy takes none."""
    from paramshare.tracking.store import StoreAddress, open_store
    from support.made_once import copy_database, made_once

    with made_once(tmp_path_factory, "migrated") as (folder, must_fill):
        if must_fill:
            draft = tmp_path_factory.mktemp("draft") / "mlflow.db"
            open_store(StoreAddress(f"sqlite:///{draft}", "template"))
            copy_database(draft, folder / "mlflow.db")  # which no process has open
    return folder / "mlflow.db"


@pytest.fixture
def address(migrated: Path, tmp_path: Path) -> "StoreAddress":
    """Return the address of an embedded store of this test's own, in the default place of the command line."""
    from paramshare.tracking.store import StoreAddress

    folder = tmp_path / "mlruns"
    folder.mkdir()
    shutil.copy(migrated, folder)
    return StoreAddress.of(None, "paramshare")


@pytest.fixture(scope="session")
def mlflow_server(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator["MlflowServer"]:
    """Start MLflow's server once a session: a start takes seconds. Tests share it, each with its own experiment."""
    from support.tracking.mlflow_server import running_mlflow_server

    folder = tmp_path_factory.mktemp("served")
    shutil.copy(migrated, folder)
    with running_mlflow_server(folder) as server:
        yield server


@pytest.fixture
def own_mlflow_server(address: "StoreAddress") -> Iterator["MlflowServer"]:
    """Start MLflow's server over the embedded store of this test, for a test that stops, kills or changes it."""
    from support.tracking.mlflow_server import running_mlflow_server

    assert address.database is not None
    with running_mlflow_server(address.database.parent) as server:
        yield server


@pytest.fixture
def experiment() -> str:
    """Return the name of an experiment of this test's own, on a server that other tests use, too."""
    return f"experiment-{uuid4().hex[:8]}"


@pytest.fixture
def server_address(mlflow_server: "MlflowServer", experiment: str) -> "StoreAddress":
    """Return the address of an experiment of this test's own on the shared server, over HTTP."""
    return mlflow_server.remote(experiment)


@pytest.fixture
def small() -> Spec:
    """Return a spec that trains in milliseconds, with sizes that are all different."""
    return TrainSpec(seed=3, batch_size=4, input_size=8, hidden_size=6, output_size=3, steps=20)
