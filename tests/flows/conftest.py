"""A Prefect home in which everything is registered: made once, as it takes half a minute; a copy takes none."""

import shutil
from pathlib import Path

import pytest
from stack import prefect_server, register


@pytest.fixture(scope="session")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server's home after the first `python -m flows.register`, every schedule paused."""
    home = tmp_path_factory.mktemp("registered") / "home"
    with prefect_server(home) as server:
        done = register(server)
        assert done.returncode == 0, done.stderr
        assert "deployment sweep/nightly: 0 2 * * * UTC, paused\n" in done.stdout
    return home


@pytest.fixture(scope="module")
def prefect_home(registered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of it for a module's own server."""
    return Path(shutil.copytree(registered, tmp_path_factory.mktemp("prefect") / "home"))
