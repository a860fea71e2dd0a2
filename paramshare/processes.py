"""Processes of this machine: children, orphans, how they are stopped, and servers that end with this process."""

import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Final

from paramshare.errors import ServerError

__all__ = [
    "HOST",
    "Program",
    "Server",
    "children",
    "end",
    "end_after",
    "end_with_parent",
    "kill",
    "orphans",
    "started",
    "terminate",
]

HOST: Final = "127.0.0.1"
"""Where our servers listen."""

_TAIL: Final = 4000  # bytes of a failed server's output in the error


# Other processes. psutil is imported where it is used: it takes as long as all of the above.


def children(pid: int) -> set[int]:
    """Return the children of a process that have not ended."""
    import psutil  # type: ignore[import-untyped]

    with suppress(psutil.NoSuchProcess):
        return {child.pid for child in psutil.Process(pid).children() if _is_running(child.pid)}
    return set()


def orphans(workers: Collection[str]) -> set[int]:
    """Return the processes of flow runs that these Prefect workers have started, without their own children."""
    import psutil

    flows = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            environment = process.environ()
            if environment.get("PREFECT__WORKER_NAME") in workers and environment.get("PREFECT__FLOW_RUN_ID"):
                flows[process.pid] = process.ppid()
    return {pid for pid, parent in flows.items() if parent not in flows}


def end(pids: Collection[int], grace: float) -> None:
    """Terminate processes, wait until they have ended, and kill those that have not after `grace` seconds."""
    terminate(pids)
    deadline = time.monotonic() + grace
    while left := {pid for pid in pids if _is_running(pid)}:
        if time.monotonic() > deadline:
            kill(left)
        time.sleep(0.1)


def terminate(pids: Collection[int]) -> None:
    """Send SIGTERM to processes."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def kill(pids: Collection[int]) -> None:
    """Kill processes at once. With the leader of a group, such as a flow, kill all of the group."""
    for pid in pids:
        with suppress(ProcessLookupError):
            if os.getpgid(pid) == pid:
                os.killpg(pid, signal.SIGKILL)
            else:
                os.kill(pid, signal.SIGKILL)


def _is_running(pid: int) -> bool:
    """Return whether a process has not ended; one that has ended and was not waited for is a zombie."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    return False


# This process.


def end_with_parent(stop: Callable[[], object], grace: float) -> None:
    """End this process when its parent has ended, however that has ended.

    The stdin of this process is a pipe to which the parent does not write. The pipe ends with the parent.

    Args:
        stop: what ends this process in order.
        grace: seconds after which this process exits anyhow.
    """
    end_after(lambda: os.read(0, 1), grace, stop=stop, name="end-with-parent")


def end_after(wait: Callable[[], object], grace: float, *, name: str, stop: Callable[[], object] | None = None) -> None:
    """Start a thread that ends this process `grace` seconds after `wait` has returned, whatever it is doing.

    Args:
        stop: is called before the seconds of grace.
        name: of the thread.
    """

    def watch() -> None:
        wait()
        if stop is not None:
            stop()
        time.sleep(grace)
        os._exit(1)

    threading.Thread(target=watch, name=name, daemon=True).start()


# Servers.


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program that serves HTTP on a socket that listens already, and calls `end_with_parent`.

    Args:
        name: in errors, such as "MLflow's server".
        command: to which the descriptor of the socket is added as the last argument.
        health: the path that answers with status 200 as soon as the server is ready.
        startup: seconds in which the server must answer.
        grace: seconds in which the server must end after SIGTERM.
        environment: the variables of the process.
        folder: its working directory. Defaults to that of this process.
        advice: what to do if the server does not start.
    """

    name: str
    command: tuple[str, ...]
    health: str
    startup: float
    grace: float
    environment: Mapping[str, str]
    folder: Path | None = None
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that was started and may not answer yet.

    Args:
        process: leads a process group of its own.
        port: on 127.0.0.1, where it listens.
        output: what it prints.
    """

    program: Program
    process: subprocess.Popen[bytes]
    port: int
    output: IO[bytes]

    def wait_until_healthy(self) -> None:
        """Wait until the server answers.

        It is asked once: the kernel keeps the request until the server accepts it, or resets it if the server dies.

        Raises:
            ServerError: the server ended, or did not answer in time. The message has the end of its output.
        """
        program = self.program
        try:
            with closing(HTTPConnection(HOST, self.port, timeout=program.startup)) as connection:
                connection.request("GET", program.health)
                status = connection.getresponse().status
            if status == 200:
                return
            what = f"answered {program.health} with status {status}"
        except TimeoutError:
            what = f"did not answer within {program.startup:g} s"
        except (OSError, HTTPException):
            what = f"ended with status {self.process.wait(program.grace)} before it answered"
        self.output.seek(0)
        tail = self.output.read()[-_TAIL:].decode(errors="replace").strip()
        advice = f"; {program.advice}" if program.advice else ""
        raise ServerError(f"{program.name} {what}{advice}. The end of its output:\n{tail or '(nothing)'}")


@contextmanager
def started(program: Program, port: int = 0) -> Iterator[Server]:
    """Start a server on 127.0.0.1 and stop it at the end of the block.

    Args:
        port: Defaults to a free one.

    Raises:
        OSError: the port is taken.
    """
    with tempfile.TemporaryFile() as output:
        with socket.create_server((HOST, port), backlog=128) as listener:
            process = subprocess.Popen(
                [*program.command, str(listener.fileno())],
                stdin=subprocess.PIPE,  # see end_with_parent
                stdout=output,
                stderr=output,
                cwd=program.folder,
                env=dict(program.environment),
                pass_fds=[listener.fileno()],
                start_new_session=True,  # a Ctrl-C is for this process, which stops the server last
            )
            port = listener.getsockname()[1]
        with process:
            try:
                yield Server(program, process, port, output)
            finally:
                _stop(process, program.grace)


def _stop(process: subprocess.Popen[bytes], grace: float) -> None:
    """Terminate a process, wait for it, and kill what is left of its group."""
    try:
        process.terminate()
        process.wait(grace)
    except subprocess.TimeoutExpired:
        pass
    finally:  # also when a second signal cuts the wait short
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
