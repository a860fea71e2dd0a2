"""Proves how a sweep is cut up, and that a pool's process does not outlive its parent."""

import errno
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from program import without_progress

from paramshare.sweep.chunks import TOGETHER, make_chunks, slots
from paramshare.sweep.pools import Stop, start_server, start_worker, starting_processes, worker_arguments
from paramshare.tracking.store import StoreAddress
from paramshare.training.devices import cpu_cores
from paramshare.training.digits.spec import DigitsSpec
from paramshare.training.spec import TrainSpec

ADDRESS = StoreAddress("sqlite:////nowhere", "x")

# A parent with two pool processes that have nothing to do; prints their ids and waits to be killed.
PARENT = """
import time
from concurrent.futures import ProcessPoolExecutor
from os import getpid
from paramshare.sweep.pools import Stop, start_server, start_worker, worker_arguments
if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, start_server(), start_worker, worker_arguments(Stop(), ()))
    print(pool.submit(getpid).result(), flush=True)
    time.sleep(60)
"""


@given(st.lists(st.sampled_from(["cpu", "cuda:0", "mps"]), max_size=600), st.integers(1, 7))
def test_chunks_hold_every_spec_once_none_of_two_devices_none_too_large(devices: list[str], size: int) -> None:
    specs = [TrainSpec(seed=seed, device=device) for seed, device in enumerate(devices)]
    chunks = make_chunks(specs, size, "auto", ADDRESS, {})
    assert sorted(spec.seed for chunk in chunks for spec in chunk.specs) == list(range(len(specs)))
    assert all(1 <= len(chunk.specs) <= (TOGETHER if chunk.device == "cuda:0" else size) for chunk in chunks)
    assert all({spec.device for spec in chunk.specs} == {chunk.device} for chunk in chunks)


def test_the_chunks_of_a_device_stand_together_though_its_specs_did_not() -> None:
    specs = [TrainSpec(seed=0, device=device) for device in ("cpu", "mps")]
    specs += [replace(spec, variant="untied") for spec in specs]
    assert [chunk.device for chunk in make_chunks(specs, 1, "auto", ADDRESS, {})] == ["cpu", "cpu", "mps", "mps"]


def test_what_cuda_trains_together_is_a_chunk_however_small_the_others_are() -> None:
    specs = [TrainSpec(seed=seed, device=device) for device in ("cpu", "cuda:0") for seed in range(100)]
    assert [len(chunk.specs) for chunk in make_chunks(specs, 50, "auto", ADDRESS, {})] == [50, 50, 64, 36]
    one_by_one = [DigitsSpec(seed=seed, device="cuda:0") for seed in range(6)]
    assert [len(chunk.specs) for chunk in make_chunks(one_by_one, 3, "auto", ADDRESS, {})] == [3, 3]


def test_a_cpu_has_a_slot_a_core_or_as_many_as_asked_for_a_gpu_at_most_four_of_them_and_mps_one() -> None:
    assert slots("cpu", None, ADDRESS) == cpu_cores()
    assert slots("cpu", 7, ADDRESS) == 7
    assert slots("cuda:0", None, ADDRESS) == min(4, cpu_cores())
    assert [slots("cuda:0", workers, ADDRESS) for workers in (1, 3, 7)] == [1, 3, 4]
    assert slots("mps", 7, ADDRESS) == 1


def test_where_a_server_keeps_the_runs_there_are_half_as_many_processes_again() -> None:
    server = StoreAddress("http://127.0.0.1:5000", "x")
    assert slots("cpu", None, server) == cpu_cores() + (cpu_cores() + 1) // 2
    assert slots("cpu", 7, server) == 7


def test_a_pools_process_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
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
def test_a_sweep_that_is_terminated_between_a_workers_start_and_the_pools_note_of_it_says_one_line(
    server: bool, tmp_path: Path
) -> None:
    refuse = "" if server else "multiprocessing.get_all_start_methods = lambda: ['spawn']\n"
    (tmp_path / "terminated.py").write_text(f"import multiprocessing\n{refuse}{TERMINATED}")
    command = [sys.executable, "terminated.py"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 128 + signal.SIGTERM
    said = without_progress(ended.stderr)
    assert said.startswith("paramshare: terminated; 0 of 4 runs are finished")
    assert said.count("\n") == 1


def test_where_no_server_can_be_started_processes_are_spawned(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room() -> None:
        raise OSError("AF_UNIX path too long")

    monkeypatch.setattr(multiprocessing.forkserver, "ensure_running", no_room)
    assert start_server().get_start_method() == "spawn"


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="no forkserver here")
def test_a_worker_has_the_parents_environment_of_now_not_that_of_the_servers_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    processes = start_server()
    for value in ("first", "second"):
        monkeypatch.setenv("PARAMSHARE_TEST", value)
        monkeypatch.delenv("PARAMSHARE_GONE", raising=False)
        arguments = worker_arguments(Stop(), ())
        with ProcessPoolExecutor(1, processes, start_worker, arguments) as pool:
            seen = dict(pool.submit(environment_here).result())
            assert seen["PARAMSHARE_TEST"] == value
            assert "PARAMSHARE_GONE" not in seen
        monkeypatch.setenv("PARAMSHARE_GONE", "yes")


def environment_here() -> dict[str, str]:
    return dict(os.environ)


@pytest.mark.parametrize("number", [None, errno.EBADF, errno.EPIPE])
def test_a_pool_whose_pipes_are_closed_while_it_starts_processes_is_broken(number: int | None) -> None:
    with pytest.raises(BrokenProcessPool), starting_processes():
        raise OSError(*([number, "closed"] if number else ["handle is closed"]))


def test_an_error_of_the_system_while_processes_start_does_not_count_as_a_broken_pool() -> None:
    with pytest.raises(OSError, match="too many"), starting_processes():
        raise OSError(errno.EMFILE, "too many open files")
