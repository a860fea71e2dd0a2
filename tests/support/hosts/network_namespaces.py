"""Machines for tests, made of the kernel's namespaces: each with a network, processes, a host name and a folder of its
own, on one virtual switch that nothing outside can reach. And a Dask cluster, on these or on this machine.

A machine that is killed loses all of its processes at once. Needs root, `ip` and `unshare`.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

HUB = "10.77.0.1"
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET of setns(2)


def why_no_namespaces() -> str:
    """Return why machines cannot be made here; empty if they can."""
    if os.geteuid() != 0:
        return "only root can make namespaces"
    missing = [program for program in ("ip", "unshare", "mount") if not shutil.which(program)]
    if missing:
        return f"there is no {', '.join(missing)} here"
    name = f"paramshare-{os.getpid()}-try"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "delete", name], capture_output=True)
    return tried.stderr.strip()


class Machine:
    """A machine of a network; also its end: `kill`."""

    def __init__(self, name: str, namespace: str, folder: Path) -> None:
        self.name, self.namespace, self.folder = name, namespace, folder
        self.processes: list[subprocess.Popen[bytes]] = []
        folder.mkdir(parents=True)

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start a program there as process 1 of a namespace: its end is the end of all that it has started."""
        apart = ["unshare", "--pid", "--fork", "--kill-child=SIGKILL", "--uts", "--mount-proc"]
        named = ["sh", "-c", 'hostname "$0"; exec "$@"', self.name, *command]
        with (self.folder / f"said-{len(self.processes)}.log").open("wb") as said:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, *apart, *named],
                cwd=self.folder,
                env={**environment, "HOME": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def said(self) -> str:
        """Return the output of all its programs."""
        return "".join(file.read_text(errors="replace") for file in sorted(self.folder.glob("said-*.log")))

    def kill(self) -> None:
        """Kill everything on it at once."""
        for process in self.processes:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()
        self.processes.clear()


@contextmanager
def network(folder: Path, names: Sequence[str]) -> Iterator[dict[str, Machine]]:
    """Make machines with these names and a hub, whose network this process uses during the block."""
    prefix = f"paramshare-{os.getpid()}"
    with ExitStack() as stack:
        hub = _namespace(stack, f"{prefix}-hub")
        _ip("-n", hub, "link", "add", "switch", "type", "bridge")
        _ip("-n", hub, "address", "add", f"{HUB}/24", "dev", "switch")
        _ip("-n", hub, "link", "set", "switch", "up")
        machines = {"hub": Machine("hub", hub, folder / "hub")}
        for number, name in enumerate(names, start=2):
            namespace = _namespace(stack, f"{prefix}-{name}")
            _ip(
                "-n",
                hub,
                "link",
                "add",
                "name",
                f"to-{name}",
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                namespace,
            )
            _ip("-n", hub, "link", "set", "dev", f"to-{name}", "master", "switch", "up")
            _ip("-n", namespace, "address", "add", f"10.77.0.{number}/24", "dev", "eth0")
            _ip("-n", namespace, "link", "set", "eth0", "up")
            machines[name] = Machine(name, namespace, folder / name)
        with _inside(hub):
            try:
                yield machines
            finally:
                for machine in machines.values():
                    machine.kill()


def _namespace(stack: ExitStack, name: str) -> str:
    _ip("netns", "add", name)
    stack.callback(subprocess.run, ["ip", "netns", "delete", name], capture_output=True)
    _ip("-n", name, "link", "set", "lo", "up")
    return name


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"


@contextmanager
def _inside(namespace: str) -> Iterator[None]:
    """Use the network of a namespace in this thread and in the processes that it starts."""
    with Path("/proc/thread-self/ns/net").open() as former, Path("/run/netns", namespace).open() as other:
        _enter(other.fileno())
        try:
            yield
        finally:
            _enter(former.fileno())


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _NEW_NETWORK) != 0:
        raise OSError(ctypes.get_errno(), "setns")
