"""The name of each worker of a folder. A name outlives its worker: by it a later worker recognizes its orphaned runs.

The name is in a file that the worker keeps locked. A lock ends with its process, however the process ends: so the name
in an unlocked file belongs to a worker that has ended. This also works in containers, whose host names change.
"""

import fcntl
import os
import platform
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

__all__ = ["WorkerNames", "claimed_names"]


@dataclass(frozen=True, slots=True)
class WorkerNames:
    """Names that this process holds.

    Args:
        own: the names of its workers.
        orphaned: further names of workers that have ended. No other process can claim them until `release`.
    """

    own: tuple[str, ...]
    orphaned: tuple[str, ...]
    _descriptors: list[int]

    def release(self) -> None:
        """Release the lock, so that other processes can claim the orphaned names."""
        while self._descriptors:
            os.close(self._descriptors.pop())


@contextmanager
def claimed_names(folder: Path, pool: str, number: int) -> Iterator[WorkerNames]:
    """Claim names for `number` workers of a pool: names of workers that have ended, or new ones.

    Raises:
        OSError: the folder cannot be written to, or its file system has no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own: list[tuple[int, str]] = []
    orphaned: list[tuple[int, str]] = []
    try:
        for index in count():
            file = folder / f"{pool}-{index}"
            if len(own) == number and not file.exists():
                break
            claim = _claim(file, pool)
            if claim:
                (own if len(own) < number else orphaned).append(claim)
        descriptors = [descriptor for descriptor, _ in orphaned]
        names = WorkerNames(tuple(name for _, name in own), tuple(name for _, name in orphaned), descriptors)
        orphaned.clear()
        try:
            yield names
        finally:
            names.release()
    finally:
        for descriptor, _ in (*own, *orphaned):
            os.close(descriptor)


def _claim(file: Path, pool: str) -> tuple[int, str] | None:
    """Lock a file and return its descriptor and the name in it; None if another process has locked the file."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        name = os.read(descriptor, 500).decode()
        if not name:
            name = f"{platform.node()}-{pool}-{uuid.uuid4().hex[:8]}"
            os.write(descriptor, name.encode())
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        with suppress(OSError):
            os.close(descriptor)
        raise
    return descriptor, name
