"""Owners of sweeps: the process that runs a sweep, and whether it is alive.

A process of this machine exists or not. A process of another machine is alive until its lease expires.
"""

import json
import os
import platform
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from paramshare.tracking.store import Store
from paramshare.tracking.tags import ALIVE_UNTIL, OWNER
from paramshare.tracking.write.record import Addition
from paramshare.tracking.write.runs import add

__all__ = ["Owner", "is_alive", "renewed_lease"]

_PROC: Final = Path("/proc")
_LEASE: Final = 300.0  # seconds: long enough for a server that is down, or a laptop that sleeps, for a while
_RENEW_EVERY: Final = 25.0  # seconds
_ENDED: Final = ("Z", "X")  # states of a process that has ended, but whose parent has not waited for it


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, identified uniquely: process ids are reused, on this machine and on others.

    Args:
        host: the name of its machine.
        boot: an id of the current boot of the machine.
        pid_namespace: the namespace of `pid`: each container has its own.
        pid: the process id.
        started: the start time of the process, in the machine's own units.
        token: an id of the sweep: a process can run several.
    """

    host: str
    boot: str
    pid_namespace: str
    pid: int
    started: str
    token: str = field(default="", compare=False)

    @classmethod
    def here(cls) -> "Owner":
        """Return this process with a new token."""
        pid = os.getpid()
        return cls(platform.node(), _boot(), _pid_namespace(), pid, _started(pid) or "", uuid.uuid4().hex)

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> "Owner | None":
        """Return the owner that a run's tags name; None if there is none."""
        try:
            return cls(**json.loads(tags[OWNER]))
        except (KeyError, TypeError, ValueError):
            return None

    def tags(self) -> dict[str, str]:
        """Return the owner as tags of a run, with the first lease."""
        return {OWNER: json.dumps(asdict(self)), ALIVE_UNTIL: _lease_end()}

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def is_alive(tags: Mapping[str, str], this_process: Owner) -> bool | None:
    """Return true if the owner of a run with these tags is alive; None if the run has no owner.

    On the same machine, boot and namespace the process itself is checked: its lease can expire while the machine sleeps
    or is busy. For other processes only the lease is known.
    """
    owner = Owner.of(tags)
    if owner is None:
        return None
    local = (this_process.host, this_process.boot, this_process.pid_namespace)
    if (owner.host, owner.boot, owner.pid_namespace) == local:
        return _started(owner.pid) == owner.started
    with suppress(ValueError):
        return int(tags.get(ALIVE_UNTIL, "")) > time.time() * 1000
    return False


@contextmanager
def renewed_lease(store: Store, run_id: str) -> Iterator[None]:
    """Renew the lease of a run while the block runs. Ignore errors of the store: the main thread reports them."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(_RENEW_EVERY):
            with suppress(Exception):
                add(store, run_id, Addition(tags={ALIVE_UNTIL: _lease_end()}))

    threading.Thread(target=renew, name="renew-lease", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _lease_end() -> str:
    """Return the end of a lease that starts now, in milliseconds since 1970."""
    return str(int((time.time() + _LEASE) * 1000))


@cache
def _boot() -> str:
    with suppress(OSError):
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    return _output_of("sysctl", "-n", "kern.boottime")


@cache
def _pid_namespace() -> str:
    with suppress(OSError):
        return str((_PROC / "self/ns/pid").readlink())
    return ""


def _started(pid: int) -> str | None:
    """Return the start time of the process with this id; None if there is none or it has ended."""
    if not (_PROC / "self/stat").exists():  # not Linux
        return _output_of("ps", "-o", "lstart=", "-p", str(pid)) or None
    try:
        fields_after_name = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields_after_name[0] in _ENDED else fields_after_name[19]  # fields 3 and 22 of proc_pid_stat(5)


def _output_of(*command: str) -> str:
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    return ""
