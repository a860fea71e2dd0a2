"""Worker processes have their parent's environment, are spawned if no server can start, and end with
their parent.
"""

import errno
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from paramshare.sweep.workers.forkserver import start_server, start_worker, starting_processes, worker_arguments
from paramshare.sweep.workers.stop_signal import StopSignal
from support.command_line import without_progress

# A parent with two pool processes that have nothing to do; prints their ids and waits to be killed.
PARENT = """
import time
from concurrent.futures import ProcessPoolExecutor
from os import getpid
from paramshare.sweep.workers.forkserver import start_server, start_worker, worker_arguments
from paramshare.sweep.workers.stop_signal import StopSignal
if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, start_server(), start_worker, worker_arguments(StopSignal(), ()))
    print(pool.submit(getpid).result(), flush=True)
    time.sleep(60)
"""


def test_a_worker_process_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    for _ in range(200):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the pool's process was still there ten seconds after its parent")


TERMINATED = """
import os, signal, sys
from multiprocessing import popen_forkserver, popen_spawn_posix

def then_terminate(launch):
    def launch_and_terminate(self, process):
        launch(self, process)
        os.kill(os.getpid(), signal.SIGTERM)
    return launch_and_terminate

for popen in (popen_forkserver.Popen, popen_spawn_posix.Popen):
    popen._launch = then_terminate(popen._launch)

from paramshare.cli import main
if __name__ == "__main__":
    sys.exit(main(["train", "--seeds", "0:4", "--workers", "2", "--devices", "cpu", "--steps", "5"]))
"""


@pytest.mark.parametrize("server", [True, False], ids=["forked", "spawned"])
def test_a_sweep_that_is_terminated_while_a_worker_starts_prints_one_line(server: bool, tmp_path: Path) -> None:
    refuse = "" if server else "multiprocessing.get_all_start_methods = lambda: ['spawn']\n"
    (tmp_path / "terminated.py").write_text(f"import multiprocessing\n{refuse}{TERMINATED}")
    command = [sys.executable, "terminated.py"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 128 + signal.SIGTERM
    said = without_progress(ended.stderr)
    assert said.startswith("paramshare: terminated; 0 of 4 runs are finished and kept")
    assert said.count("\n") == 1


def test_worker_processes_are_spawned_if_no_forkserver_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room() -> None:
        raise OSError("AF_UNIX path too long")

    monkeypatch.setattr(multiprocessing.forkserver, "ensure_running", no_room)
    assert start_server().get_start_method() == "spawn"


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="no forkserver here")
def test_a_worker_has_the_current_environment_of_its_parent_not_that_of_the_forkserver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    processes = start_server()
    for value in ("first", "second"):
        monkeypatch.setenv("PARAMSHARE_TEST", value)
        monkeypatch.delenv("PARAMSHARE_GONE", raising=False)
        arguments = worker_arguments(StopSignal(), ())
        with ProcessPoolExecutor(1, processes, start_worker, arguments) as pool:
            seen = dict(pool.submit(environment_here).result())
            assert seen["PARAMSHARE_TEST"] == value
            assert "PARAMSHARE_GONE" not in seen
        monkeypatch.setenv("PARAMSHARE_GONE", "yes")


@pytest.mark.parametrize(("visible", "expected"), [(None, {"0", "1"}), ("3,GPU-5ab", {"3", "GPU-5ab"})])
def test_the_processes_of_a_spread_sweep_see_one_gpu_each_in_turns(
    visible: str | None, expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    barrier = multiprocessing.get_context("forkserver").Barrier(2)
    arguments = worker_arguments(StopSignal(), (), gpus=2)
    processes = start_server()
    with ProcessPoolExecutor(2, processes, start_together, (barrier, *arguments)) as pool:
        seen = list(pool.map(environment_here_together, range(2)))
    assert {environment["CUDA_VISIBLE_DEVICES"] for environment in seen} == expected


_barriers: list[Any] = []


def start_together(barrier: Any, *arguments: Any) -> None:
    start_worker(*arguments)
    _barriers.append(barrier)


def environment_here_together(_: int) -> dict[str, str]:
    _barriers[0].wait()  # each process has one of the calls
    return environment_here()


def environment_here() -> dict[str, str]:
    return dict(os.environ)


@pytest.mark.parametrize("number", [None, errno.EBADF, errno.EPIPE])
def test_a_pool_whose_pipes_are_closed_while_it_starts_processes_is_broken(number: int | None) -> None:
    with pytest.raises(BrokenProcessPool), starting_processes():
        raise OSError(*([number, "closed"] if number else ["handle is closed"]))


def test_an_error_of_the_system_while_processes_start_does_not_count_as_a_broken_pool() -> None:
    with pytest.raises(OSError, match="too many"), starting_processes():
        raise OSError(errno.EMFILE, "too many open files")


def test_the_main_module_stays_hidden_until_the_last_of_overlapping_starts_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    main, file = sys.modules["__main__"], "a script"
    monkeypatch.setattr(main, "__file__", file, raising=False)  # a process of `pytest -n` has none
    begun, end = threading.Event(), threading.Event()

    def start() -> None:
        with starting_processes():
            begun.set()
            end.wait(60)

    thread = threading.Thread(target=start)
    with starting_processes():
        thread.start()
        begun.wait(60)
    assert main.__file__ is None
    end.set()
    thread.join()
    assert main.__file__ == file
