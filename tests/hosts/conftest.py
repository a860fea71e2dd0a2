"""The Prefect server of the tests whose workers are on several hosts."""

from collections.abc import Iterator

import pytest

from support.flows.prefect_server import PrefectServer, register, running_prefect_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """Start a server of the module's own, on which everything is registered."""
    with running_prefect_server(tmp_path_factory.mktemp("prefect") / "home") as started:
        done = register(started)
        assert done.returncode == 0, done.stderr
        yield started
