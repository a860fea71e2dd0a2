"""Test which processes a worker finds, and how it waits, reports its health and ends.

`tests/hosts/test_workers.py` tests it with real flows and kills.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paramshare.flows.operations.worker import _DEFAULTS, main
from paramshare.processes import children, end, orphans
from support.command_line import clean_environment
from support.flows.prefect_server import PrefectServer
from support.flows.prefect_worker import running_worker
from support.ports import free_port
from support.processes import command_line, environment
from support.waiting import wait_until


def test_orphans_are_the_flows_of_a_name_without_their_own_children_and_end_in_time() -> None:
    program = "import subprocess, sys; print('begun', flush=True); subprocess.run(['sleep', '600'])"
    environment = {**os.environ, "PREFECT__WORKER_NAME": "gone-7", "PREFECT__FLOW_RUN_ID": "x"}
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + program
    flows = [
        subprocess.Popen([sys.executable, "-c", one], env=environment, stdout=subprocess.PIPE, start_new_session=True)
        for one in (program, stubborn)
    ]
    for flow in flows:
        assert flow.stdout is not None
        flow.stdout.readline()
    pids = {flow.pid for flow in flows}
    wait_until(lambda: all(children(pid) for pid in pids), "their children are there")
    assert pids <= children(os.getpid())
    assert orphans(["gone-7", "gone-8"]) == pids
    assert orphans(["gone-8"]) == orphans([]) == set()
    end(pids, 2)
    assert [flow.wait(60) for flow in flows] == [-signal.SIGTERM, -signal.SIGKILL]
    end(orphans(["gone-7"]), 5)  # the child of the first
    for flow in flows:
        assert flow.stdout is not None
        flow.stdout.close()


def test_a_gpu_worker_without_a_gpu_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    done = subprocess.run(
        [sys.executable, "-m", "paramshare.flows.worker", "--pool", "gpu"],
        env=os.environ,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == "paramshare: a worker of the pool gpu needs a GPU and torch finds none; see `paramshare doctor`\n"
    )
    assert not (tmp_path / "mlruns").exists()


def test_a_worker_without_the_address_of_prefect_names_the_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--pool", "cpu"]) == 2
    assert capsys.readouterr().err.startswith("paramshare: a worker needs PREFECT_API_URL")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "--pool is missing; see python -m paramshare.flows.worker --help"),
        ("--pool tpu", "--pool is 'tpu'; expected 'cpu', 'gpu'"),
        ("--pool cpu --limit x", "--limit is 'x'; expected a whole number"),
        ("--pool cpu --limit 0", "--limit is 0; expected at least 1"),
        ("--pool cpu --health-port 70000", "--health-port is 70000; expected a port from 1 to 65535"),
        ("--pool cpu --limits 3", "there is no option --limits; did you mean --limit?"),
        ("--pool cpu now", "unexpected argument 'now'; remove it"),
    ],
)
def test_a_wrong_command_line_of_a_worker_is_refused_in_one_line(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments.split()) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"paramshare: {said}")
    assert err.count("\n") == 1
    assert out == ""


@pytest.mark.parametrize("program", ["worker", "register"])
def test_a_home_folder_that_cannot_be_read_is_one_line_of_each_program(program: str) -> None:
    environment = {**os.environ, "HOME": f"/tmp/{'a' * 300}", "PREFECT_HOME": ""}
    command = [sys.executable, "-m", f"paramshare.flows.{program}", "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("paramshare: Prefect cannot read the home folder (")
    assert done.stderr.endswith("; set PREFECT_HOME to a folder that can be written\n")


def test_a_program_under_its_former_name_is_refused_in_one_line_that_names_the_new_one() -> None:
    command = [sys.executable, "-m", "flows.worker", "--pool", "cpu"]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("paramshare: flows is a part of paramshare, such as in `python -m paramshare.flows")
    assert done.stderr.count("\n") == 1


def test_prefect_warns_of_no_home_folder_in_the_processes_of_a_worker() -> None:
    environment = {**os.environ, **_DEFAULTS, "HOME": "/proc/nowhere", "PREFECT_HOME": ""}
    done = subprocess.run([sys.executable, "-c", "import prefect"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_worker_that_waits_for_prefect_is_unhealthy_and_ends_at_once(tmp_path: Path) -> None:
    environment = {**clean_environment(tmp_path / "home"), "PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api"}
    with running_worker(tmp_path / "w", environment) as waiting:
        wait_until(lambda: waiting.health() == 503, "it answers that it is not well")
        wait_until(lambda: "waiting for Prefect" in waiting.log.read_text(), "it says so")
        before = time.monotonic()
        waiting.process.terminate()
        assert waiting.process.wait(60) == 0
        assert time.monotonic() - before < 30
        assert waiting.log.read_text().count("\n") == 1


def test_a_gpu_worker_runs_a_prefect_worker_for_each_gpu_and_is_unhealthy_if_one_dies(
    prefect_server: PrefectServer, tmp_path: Path
) -> None:
    arguments = ("--pool", "gpu", "--devices", "0,1", "--limit", "5")
    with running_worker(tmp_path / "w", prefect_server.environment, *arguments) as gpus:
        wait_until(lambda: gpus.health() == 200, gpus.log.read_text)
        shown, limits = [], []
        for pid in children(gpus.process.pid):
            shown.append(environment(pid)["CUDA_VISIBLE_DEVICES"])
            command = command_line(pid).split()
            limits.append(command[command.index("--limit") + 1])
        assert sorted(shown) == ["0", "1"]
        assert limits == ["1", "1"]
        names = {file.read_text() for file in (tmp_path / "w" / "mlruns" / "workers").iterdir()}

        def known() -> set[str]:
            return {one["name"] for one in prefect_server.ask("work_pools/gpu/workers/filter", {})}

        wait_until(lambda: known() == names, "Prefect knows them")
        os.kill(min(children(gpus.process.pid)), signal.SIGSTOP)
        try:
            wait_until(lambda: gpus.health() == 503, "one of them does not answer")
        finally:
            for pid in children(gpus.process.pid):
                os.kill(pid, signal.SIGCONT)
        gpus.process.terminate()
        assert gpus.process.wait(90) == 0
