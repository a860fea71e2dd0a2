"""A name for each worker of a folder, which outlives it: by it a later worker knows the runs that it has left.

The name stands in a file that its worker keeps locked. A lock ends with its process, however that ends; so a name whose
file is not locked is that of a worker that is gone. It holds in containers, too, whose host names change.
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

__all__ = ["Names", "claimed_names"]


@dataclass(frozen=True, slots=True)
class Names:
    """Names that this process has, until it ends.

    Args:
        mine: for its workers.
        left: of workers that are gone. Nobody else takes them, until `release`.
    """

    mine: tuple[str, ...]
    left: tuple[str, ...]
    _held: list[int]

    def release(self) -> None:
        """Let others have the names of `left`."""
        while self._held:
            os.close(self._held.pop())


@contextmanager
def claimed_names(folder: Path, pool: str, number: int) -> Iterator[Names]:
    """Claim names for `number` workers of a pool: those of workers that are gone, or new ones.

    Raises:
        OSError: the folder cannot be written to, or its file system knows no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mine: list[tuple[int, str]] = []
    left: list[tuple[int, str]] = []
    try:
        for place in count():
            file = folder / f"{pool}-{place}"
            if len(mine) == number and not file.exists():
                break
            found = _claim(file, pool)
            if found:
                (mine if len(mine) < number else left).append(found)
        names = Names(tuple(name for _, name in mine), tuple(name for _, name in left), [one for one, _ in left])
        left.clear()
        try:
            yield names
        finally:
            names.release()
    finally:
        for descriptor, _ in (*mine, *left):
            os.close(descriptor)


def _claim(file: Path, pool: str) -> tuple[int, str] | None:
    """The file, open and locked, and the name in it; None where it is another's."""
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
