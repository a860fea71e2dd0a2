"""Chunks in processes that their sweep did not start, on this machine or another: what they need, and how they go on.

A cluster hands a chunk whose worker was lost to another, which cannot know how far the first one came. So a chunk looks
into the store first. And its runs say what trained them: the tags of a sweep tell of the machine that asks.
"""

import os
import platform
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from paramshare.errors import StoreError, UsageError
from paramshare.provenance import provenance_tags
from paramshare.sweep.chunks import Chunk, Row
from paramshare.sweep.worker import not_written, run_chunk, templates_of
from paramshare.tracking.store import StoreAddress, check_store, open_store
from paramshare.tracking.write.owners import Owner
from paramshare.tracking.write.spool import call_guarded, deliver, spooled
from paramshare.training.devices import find_devices
from paramshare.training.export import Template, adopt_templates

__all__ = ["Kit", "Place", "deliver_here", "different", "go_on", "run_elsewhere"]

_SAME: Final = ("paramshare", "torch", "numpy", "mlflow", "prefect")
_ALONE: Final = threading.Lock()  # a process has one torch, one figure: one chunk at a time


@dataclass(frozen=True, slots=True)
class Kit:
    """What a chunk takes along to a process that its sweep did not start.

    Args:
        templates: as of `templates_of`.
        versions: of what computes and writes, by name; others would give other numbers.
    """

    templates: tuple[Template, ...]
    versions: dict[str, str]

    @classmethod
    def of(cls, chunks: Sequence[Chunk]) -> "Kit":
        """What all of `chunks` need, made here once."""
        return cls(templates_of(chunks), _versions())


@dataclass(frozen=True, slots=True)
class Place:
    """What is to be known of a process before it trains.

    Args:
        versions: as of `Kit`.
        devices: the names of its devices.
        disk: what tells the folder of an embedded store from any other; empty for a server.
        trouble: why the store cannot be used from there; empty where it can.
    """

    versions: dict[str, str]
    devices: tuple[str, ...]
    disk: tuple[str | int, ...]
    trouble: str = ""

    @classmethod
    def here(cls, address: StoreAddress) -> "Place":
        """This process, with its view of the store at `address`. Writes nothing."""
        try:
            check_store(address)
            trouble = ""
        except StoreError as error:
            trouble = str(error)
        return cls(_versions(), tuple(device.name for device in find_devices()), _disk(address), trouble)


def run_elsewhere(chunk: Chunk, kit: Kit, stops: Callable[[], bool]) -> list[Row]:
    """`go_on` with a chunk in a process that its sweep did not start.

    Args:
        stops: as of `run_chunk`.

    Raises:
        UsageError: the versions here are others.
        OutageError: as of `go_on`.
    """
    if wrong := different(_versions(), kit.versions):
        raise UsageError(f"a worker on {platform.node()} has {wrong}")
    with _ALONE:
        adopt_templates(kit.templates)
        return go_on(replace(chunk, tags={**chunk.tags, **provenance_tags()}), stops)


def go_on(chunk: Chunk, stops: Callable[[], bool] | None = None) -> list[Row]:
    """`run_chunk` with a chunk that may have been begun before: what its sweep has of it is not trained again.

    Raises:
        OutageError: a server cannot say now what it has. Nothing was trained.
    """
    left, rows = call_guarded(chunk.address, lambda: not_written([chunk]))
    return [*rows, *(row for rest in left for row in run_chunk(rest, stops))]


def deliver_here(address: StoreAddress) -> int:
    """Deliver what a server could not take and this process has kept in its working directory; how many it keeps on."""
    return deliver(open_store(address)).left if spooled(address) else 0


def different(versions: dict[str, str], here: dict[str, str]) -> str:
    """How `versions` differ from those here, in words; empty where they do not."""
    return ", ".join(
        f"{name} {versions[name]} where here is {here[name]}" for name in here if versions[name] != here[name]
    )


def _versions() -> dict[str, str]:
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for library in _SAME:
        try:
            found[library] = version(library).partition("+")[0]  # a build's label is not part of it
        except PackageNotFoundError:
            found[library] = "missing"
    return found


def _disk(address: StoreAddress) -> tuple[str | int, ...]:
    """SQLite's locks hold between processes of one kernel, on one file: so both must be the same."""
    if address.database is None:
        return ()
    there = next(path for path in (address.database, *address.database.parents) if path.exists())
    found = os.stat(there)  # noqa: PTH116 - for the device and the inode
    return (Owner.here().boot, found.st_dev, found.st_ino, str(address.database.relative_to(there)))
