"""One stack for all tests of this folder that want a running one."""

import os
from collections.abc import Iterator

import pytest
from containers.stack import Stack, running_stack, why_not


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack, up and well."""
    if reason := why_not():
        pytest.skip(reason)
    with running_stack(tmp_path_factory.mktemp("stack"), f"paramshare-test-{os.getpid()}") as running:
        yield running
