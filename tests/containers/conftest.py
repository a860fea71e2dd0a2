"""One stack for all tests of this folder that want a running one, and one sweep that all of them find in it."""

import os
from collections.abc import Iterator

import pytest
from prefect.client.schemas.objects import FlowRun

from support.containers.compose_stack import Stack, running_stack, spec_of, why_no_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Start the stack, and wait until it is healthy."""
    if reason := why_no_stack():
        pytest.skip(reason)
    with running_stack(tmp_path_factory.mktemp("stack"), f"paramshare-test-{os.getpid()}") as running:
        yield running


@pytest.fixture(scope="session")
def swept(stack: Stack) -> FlowRun:
    """Return an ended run of `sweep/sweep-cpu` over the experiment `swept`, started through the API."""
    return stack.ended(stack.start_flow("sweep/sweep-cpu", spec_of("swept", 6)))
