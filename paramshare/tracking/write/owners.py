"""Who runs a sweep, and whether they still do: a process of this machine is there or not; any other has a lease."""

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
from paramshare.tracking.write.record import Addition
from paramshare.tracking.write.runs import add

__all__ = ["ALIVE_UNTIL", "OWNER", "Owner", "is_alive", "renewed"]

OWNER: Final = "paramshare.owner"
ALIVE_UNTIL: Final = "paramshare.alive_until"

_PROC: Final = Path("/proc")
_LEASE: Final = 300.0  # seconds: a server may be gone, or a laptop asleep, for some of them
_RENEWED_EVERY: Final = 25.0
_GONE: Final = ("Z", "X")  # states of a process that has ended and was not waited for


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, named so that no other is ever taken for it: ids are used again, on this machine and on others.

    Args:
        host: its machine's name.
        boot: what tells this start of the machine from any other.
        pid_namespace: in which `pid` means something: a container has its own.
        pid: its id.
        started: when it did, as its machine counts.
        token: what tells its sweeps apart.
    """

    host: str
    boot: str
    pid_namespace: str
    pid: int
    started: str
    token: str = field(default="", compare=False)

    @classmethod
    def here(cls) -> "Owner":
        """This process, with a token that no sweep has yet."""
        pid = os.getpid()
        return cls(platform.node(), _boot(), _pid_namespace(), pid, _started(pid) or "", uuid.uuid4().hex)

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> "Owner | None":
        """The owner that a run's tags name; None where they name none."""
        try:
            return cls(**json.loads(tags[OWNER]))
        except (KeyError, TypeError, ValueError):
            return None

    def tags(self) -> dict[str, str]:
        """The owner as tags of a run, with the first lease."""
        return {OWNER: json.dumps(asdict(self)), ALIVE_UNTIL: _lease()}

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def is_alive(tags: Mapping[str, str], here: Owner) -> bool | None:
    """Whether the owner of a run with these tags still runs it; None where they name no owner.

    On the same machine, since the same start and in the same namespace, the process is there or not: a lease that a
    busy or sleeping machine has let run out means nothing then. Elsewhere the lease is all that can be seen from here.
    """
    owner = Owner.of(tags)
    if owner is None:
        return None
    if (owner.host, owner.boot, owner.pid_namespace) == (here.host, here.boot, here.pid_namespace):
        return _started(owner.pid) == owner.started
    with suppress(ValueError):
        return int(tags.get(ALIVE_UNTIL, "")) > time.time() * 1000
    return False


@contextmanager
def renewed(store: Store, run_id: str) -> Iterator[None]:
    """Renew the lease of a run while the block runs. A store that fails meanwhile is not this thread's to tell."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(_RENEWED_EVERY):
            with suppress(Exception):
                add(store, run_id, Addition(tags={ALIVE_UNTIL: _lease()}))

    threading.Thread(target=renew, name="renew-lease", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _lease() -> str:
    """Until when a lease taken now lasts, in milliseconds since 1970."""
    return str(int((time.time() + _LEASE) * 1000))


@cache
def _boot() -> str:
    with suppress(OSError):
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    return _answer("sysctl", "-n", "kern.boottime")


@cache
def _pid_namespace() -> str:
    with suppress(OSError):
        return str((_PROC / "self/ns/pid").readlink())
    return ""


def _started(pid: int) -> str | None:
    """When the process with this id started; None where there is none, or where it has ended."""
    if not (_PROC / "self/stat").exists():  # no Linux
        return _answer("ps", "-o", "lstart=", "-p", str(pid)) or None
    try:
        after_its_name = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if after_its_name[0] in _GONE else after_its_name[19]  # fields 3 and 22 of proc_pid_stat(5)


def _answer(*command: str) -> str:
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    return ""
