"""Test that two clones with the same project name do not take each other's containers and volumes over."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.containers.compose_stack import Stack, copy_sources, why_no_stack

PROJECT = f"paramshare-test-clones-{os.getpid()}"


@pytest.fixture(scope="module")
def clones(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Stack]]:
    """Return two clones that both have secrets, and the databases of the first run."""
    if reason := why_no_stack():
        pytest.skip(reason)
    stacks = Stack(tmp_path_factory.mktemp("first"), PROJECT), Stack(tmp_path_factory.mktemp("second"), PROJECT)
    for stack in stacks:
        copy_sources(stack.folder)
        stack.run("make", "secrets")
    try:
        stacks[0].compose("up", "--detach", "--wait", "--no-build", "postgres")
        yield stacks
    finally:
        stacks[0].down("--volumes")


def containers(stack: Stack) -> set[str]:
    """Return the ids of the running containers of a project."""
    of_project = f"label=com.docker.compose.project={stack.project}"
    return set(stack.run("docker", "ps", "--quiet", "--filter", of_project).split())


def test_a_clone_takes_over_neither_containers_nor_volumes_of_another(clones: tuple[Stack, Stack]) -> None:
    """One story, as each chapter begins where the one before it ended."""
    first, second = clones
    before = containers(first)
    assert len(before) == 1
    with pytest.raises(AssertionError, match=r"Conflict.*set-COMPOSE_PROJECT_NAME-in-another-clone"):
        second.compose("up", "--detach", "--wait", "--no-build")
    assert containers(first) == before, "nothing is recreated"
    first.compose("up", "--detach", "--wait", "--no-build", "postgres")
    assert containers(first) == before

    first.down()
    with pytest.raises(AssertionError, match="didn't complete successfully"):
        second.compose("up", "--detach", "--wait", "--no-build")
    assert containers(second) == set()
    assert "the volumes of this stack belong to another clone: set COMPOSE_PROJECT_NAME" in second.compose("logs")
    second.down()
    first.compose("up", "--detach", "--wait", "--no-build", "postgres")


def test_a_new_clone_gets_no_secrets_while_another_has_its_project_name(
    clones: tuple[Stack, Stack], tmp_path: Path
) -> None:
    first, _ = clones
    third = Stack(tmp_path, PROJECT)
    copy_sources(third.folder)
    with pytest.raises(
        AssertionError, match=f"a stack named {PROJECT} already, from {first.folder}; set COMPOSE_PROJECT_NAME"
    ):
        third.run("make", "secrets")
    assert not (third.folder / "docker" / "secrets").exists()
    with pytest.raises(AssertionError, match=r"docker/secrets/clone\.yaml"):
        third.compose("up", "--detach", "--wait", "--no-build")
    third.run("make", "secrets", COMPOSE_PROJECT_NAME=f"{PROJECT}-third")
