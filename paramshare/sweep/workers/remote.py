"""The execution of chunks in processes that the sweep did not start, on this machine or another.

Importing this module loads no torch: the process of a flow trains nothing.

A cluster moves a chunk whose worker was lost to another worker, which cannot know how far the first one came: so a
chunk is resumed from the store. A run is tagged with the machine that trained it; the tags of a chunk name the machine
of the sweep.
"""

import os
import platform
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from paramshare.errors import StoreError, UsageError
from paramshare.provenance import provenance_tags
from paramshare.sweep.chunks import Chunk, Row
from paramshare.sweep.workers.templates import make_chunk_templates
from paramshare.tracking.store import StoreAddress, check_store, open_store
from paramshare.tracking.write.owners import Owner
from paramshare.tracking.write.spool import deliver, spooled
from paramshare.training.environment.devices import find_devices
from paramshare.training.export.templates import Template

__all__ = ["WorkerInfo", "WorkerPayload", "deliver_spool", "describe_differences", "run_remote_chunk"]

_LIBRARIES: Final = ("paramshare", "torch", "numpy", "mlflow", "prefect")
_one_chunk: Final = threading.Lock()  # a process has one torch and one figure: one chunk at a time


@dataclass(frozen=True, slots=True)
class WorkerPayload:
    """The data that all chunks of a sweep need on a remote worker.

    Args:
        templates: the templates of the models, see `make_chunk_templates`.
        versions: the versions of Python and the libraries by name; others would give other numbers.
    """

    templates: tuple[Template, ...]
    versions: Mapping[str, str]

    @classmethod
    def of(cls, chunks: Sequence[Chunk]) -> "WorkerPayload":
        """Make the payload of chunks in this process."""
        return cls(make_chunk_templates(chunks), _versions())


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """The properties of a process that decide whether it can train.

    Args:
        versions: see `WorkerPayload`.
        devices: the names of its devices.
        disk: the identity of the folder of an embedded store; empty for a server.
        store_error: why the process cannot use the store; empty if it can.
    """

    versions: Mapping[str, str]
    devices: tuple[str, ...]
    disk: tuple[str | int, ...]
    store_error: str = ""

    @classmethod
    def of_this_process(cls, address: StoreAddress) -> "WorkerInfo":
        """Return the properties of this process with respect to a store. Nothing is written."""
        try:
            check_store(address)
            store_error = ""
        except StoreError as error:
            store_error = str(error)
        return cls(_versions(), tuple(device.name for device in find_devices()), _disk(address), store_error)


def run_remote_chunk(chunk: Chunk, payload: WorkerPayload, should_stop: Callable[[], bool]) -> list[Row]:
    """Resume a chunk in a process that its sweep did not start.

    Args:
        should_stop: asked before each spec and before each write, see `run_chunk`.

    Raises:
        UsageError: this process has other versions than the sweep.
        OutageError: see `resume_chunk`.
    """
    from paramshare.sweep.workers.execution import resume_chunk
    from paramshare.training.export.archives import adopt_templates

    if differences := describe_differences(_versions(), payload.versions):
        raise UsageError(f"a worker on {platform.node()} has {differences}")
    with _one_chunk:
        adopt_templates(payload.templates)
        own = replace(chunk, tags={**chunk.tags, **provenance_tags()})
        return resume_chunk(own, should_stop, discard_when_stopped=True)


def deliver_spool(address: StoreAddress) -> int:
    """Deliver the results that this process has in the spool of its working directory. Return how many remain."""
    return deliver(open_store(address)).left if spooled(address) else 0


def describe_differences(versions: Mapping[str, str], expected: Mapping[str, str]) -> str:
    """Return the differences between a worker's versions and the expected ones as text; empty if there are none."""
    return ", ".join(
        f"{name} {versions[name]} where here is {expected[name]}"
        for name in expected
        if versions[name] != expected[name]
    )


def _versions() -> dict[str, str]:
    versions = {"python": ".".join(platform.python_version_tuple()[:2])}
    for library in _LIBRARIES:
        try:
            versions[library] = version(library).partition("+")[0]  # without the label of a build
        except PackageNotFoundError:
            versions[library] = "missing"
    return versions


def _disk(address: StoreAddress) -> tuple[str | int, ...]:
    """Return the identity of the store's file: SQLite's locks hold between processes of one kernel, on one file."""
    if address.database is None:
        return ()
    existing = next(path for path in (address.database, *address.database.parents) if path.exists())
    status = os.stat(existing)  # noqa: PTH116 - for the device and the inode
    return (Owner.here().boot, status.st_dev, status.st_ino, str(address.database.relative_to(existing)))
