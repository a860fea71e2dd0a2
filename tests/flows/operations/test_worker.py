"""Proves what a worker stands on: names that outlive it, processes it sees, runs it takes up and runs it leaves alone.

What it does with real flows when something is killed stands in `tests/hosts/test_workers.py`.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from program import clean_environment, free_port
from stack import PrefectServer, wait_until, worker

from paramshare.flows.operations.recovery import lost_workers, reschedule_interrupted
from paramshare.flows.operations.worker import main
from paramshare.flows.operations.worker_names import claimed_names
from paramshare.processes import children, end, orphans

CLAIM = """
import sys, time
from pathlib import Path
from paramshare.flows.operations.worker_names import claimed_names
with claimed_names(Path("names"), "cpu", 1) as names:
    print(names.own[0], flush=True)
    time.sleep(600)
"""


def test_a_name_outlives_its_worker_and_two_that_are_there_never_share_one(tmp_path: Path) -> None:
    folder = tmp_path / "names"
    with subprocess.Popen([sys.executable, "-c", CLAIM], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            theirs = other.stdout.readline().strip()
            with claimed_names(folder, "cpu", 2) as names:
                first, second = names.own
                assert len({theirs, first, second}) == 3
                assert names.orphaned == ()
        finally:
            other.kill()
    with claimed_names(folder, "cpu", 1) as names:
        assert names.own == (theirs,)
        assert names.orphaned == (first, second)
        with claimed_names(folder, "cpu", 1) as others:
            assert others.own[0] not in (theirs, first, second)
        names.release()
        with claimed_names(folder, "cpu", 1) as others:
            assert others.own == (first,)
    with claimed_names(folder, "gpu", 1) as names:
        assert names.own[0] not in (theirs, first, second)


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


def run_of(server: PrefectServer, owner: str, state: str, pid: int = 0) -> str:
    """A flow run as a worker of this name would have it."""
    run_id = server.start_run("sweep/sweep-cpu", {"seeds": "0:3"})
    server.ask(f"flow_runs/{run_id}/labels", {"prefect.worker.name": owner}, method="PATCH")
    server.ask(f"flow_runs/{run_id}", {"infrastructure_pid": str(pid)}, method="PATCH")
    path = ["PENDING"] if state == "PENDING" else ["PENDING", "RUNNING", *([state] if state != "RUNNING" else [])]
    for one in path:
        server.ask(f"flow_runs/{run_id}/set_state", {"state": {"type": one}, "force": True})
    return run_id


def take_up(server: PrefectServer, *arguments: Any) -> list[str]:
    with temporary_settings({PREFECT_API_URL: server.url}), get_client(sync_client=True) as client:
        return reschedule_interrupted(client, "cpu", *arguments)


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "CRASHED"])
def test_what_a_worker_that_is_gone_had_is_scheduled_anew_and_due_at_once(state: str, server: PrefectServer) -> None:
    run_id = run_of(server, f"gone-{state}", state)
    others = [run_of(server, "there", one) for one in ("RUNNING", "PENDING", "CRASHED")]
    (said,) = take_up(server, {f"gone-{state}"})
    assert said.endswith("is scheduled again")
    run = server.run(run_id)
    assert (run["state_type"], run["state_name"]) == ("SCHEDULED", "AwaitingRetry")
    assert "it goes on where it stopped" in run["state"]["message"]
    assert [server.run(one)["state_type"] for one in others] == ["RUNNING", "PENDING", "CRASHED"]
    queue = server.ask("work_pools/cpu/get_scheduled_flow_runs", {})
    assert run_id in {one["flow_run"]["id"] for one in queue}
    assert take_up(server, {f"gone-{state}"}) == []


def test_of_a_worker_that_is_there_only_what_has_crashed_is_taken_up(server: PrefectServer) -> None:
    running, crashed, alive = (
        run_of(server, "mine", state, pid) for state, pid in (("RUNNING", 1), ("CRASHED", 2), ("CRASHED", 3))
    )
    take_up(server, set(), {"mine"}, {"3"})
    assert [server.run(one)["state_type"] for one in (running, crashed, alive)] == ["RUNNING", "SCHEDULED", "CRASHED"]


def test_what_a_person_cancelled_and_what_has_ended_is_not_taken_up(server: PrefectServer) -> None:
    ended = [run_of(server, "left", one) for one in ("COMPLETED", "FAILED", "CANCELLED")]
    cancelling = run_of(server, "left", "CANCELLING")
    take_up(server, {"left"})
    assert [server.run(one)["state_type"] for one in ended] == ["COMPLETED", "FAILED", "CANCELLED"]
    assert server.run(cancelling)["state_type"] == "CANCELLED"


def test_a_run_that_is_cut_short_again_and_again_is_left_at_last(server: PrefectServer) -> None:
    run_id = run_of(server, "weary", "CRASHED")
    attempts = 1
    while take_up(server, {"weary"}):
        attempts += 1
        assert attempts < 20
        for state in ("PENDING", "RUNNING", "CRASHED"):
            server.ask(f"flow_runs/{run_id}/set_state", {"state": {"type": state}, "force": True})
    assert attempts == server.run(run_id)["run_count"] == 10
    assert server.run(run_id)["state_type"] == "CRASHED"


def test_a_run_that_a_worker_took_and_never_labelled_is_taken_up_after_a_while(server: PrefectServer) -> None:
    run_id, fresh = (server.start_run("sweep/sweep-cpu", {"seeds": "0:3"}) for _ in range(2))
    for one in (run_id, fresh):
        server.ask(f"flow_runs/{one}/set_state", {"state": {"type": "PENDING"}, "force": True})
    backdate(
        server,
        "flow_run_state SET timestamp = strftime('%Y-%m-%d %H:%M:%f', timestamp, '-11 minutes')",
        "flow_run_id",
        run_id,
    )
    take_up(server, set())
    assert [server.run(one)["state_type"] for one in (run_id, fresh)] == ["SCHEDULED", "PENDING"]


def backdate(server: PrefectServer, what: str, column: str, value: str) -> None:
    """Let time have gone by, as far as the server's database tells."""
    with closing(sqlite3.connect(server.home / "prefect.db", timeout=60)) as database, database:
        where = f"replace({column}, '-', '') = replace(?, '-', '')"
        assert database.execute(f"UPDATE {what} WHERE {where}", [value]).rowcount >= 1


def test_a_worker_is_gone_after_minutes_of_silence_by_the_servers_clock(server: PrefectServer) -> None:
    for name in ("early", "late", "me"):
        server.ask("work_pools/cpu/workers/heartbeat", {"name": name})
    for name, minutes in (("early", 10), ("late", 1), ("me", 20)):
        earlier = f"worker SET last_heartbeat_time = datetime(last_heartbeat_time, '-{minutes} minutes')"
        backdate(server, earlier, "name", name)
    with temporary_settings({PREFECT_API_URL: server.url}), get_client(sync_client=True) as client:
        assert lost_workers(client, "cpu", {"me"}) == {"early"}
        assert lost_workers(client, "gpu", {"me"}) == set()


def test_a_gpu_worker_without_a_gpu_says_so_and_ends(
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


def test_without_an_address_of_prefect_a_worker_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--pool", "cpu"]) == 2
    assert capsys.readouterr().err.startswith("paramshare: a worker needs PREFECT_API_URL")


def test_a_worker_waits_for_prefect_is_not_well_meanwhile_and_still_ends_at_once(tmp_path: Path) -> None:
    environment = {**clean_environment(tmp_path / "home"), "PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api"}
    with worker(tmp_path / "w", environment) as waiting:
        wait_until(lambda: waiting.health() == 503, "it answers that it is not well")
        wait_until(lambda: "waiting for Prefect" in waiting.log.read_text(), "it says so")
        before = time.monotonic()
        waiting.process.terminate()
        assert waiting.process.wait(60) == 0
        assert time.monotonic() - before < 30
        assert waiting.log.read_text().count("\n") == 1


def test_a_gpu_worker_is_one_of_prefects_for_each_gpu_which_sees_that_one_and_a_dead_one_is_not_well(
    server: PrefectServer, tmp_path: Path
) -> None:
    arguments = ("--pool", "gpu", "--devices", "0,1", "--limit", "5")
    with worker(tmp_path / "w", server.environment, *arguments) as gpus:
        wait_until(lambda: gpus.health() == 200, gpus.log.read_text)
        shown, limits = [], []
        for pid in children(gpus.process.pid):
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            shown += [one for one in environment if one.startswith(b"CUDA_VISIBLE_DEVICES=")]
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            limits.append(command[command.index(b"--limit") + 1])
        assert sorted(shown) == [b"CUDA_VISIBLE_DEVICES=0", b"CUDA_VISIBLE_DEVICES=1"]
        assert limits == [b"1", b"1"]
        names = {file.read_text() for file in (tmp_path / "w" / "mlruns" / "workers").iterdir()}

        def known() -> set[str]:
            return {one["name"] for one in server.ask("work_pools/gpu/workers/filter", {})}

        wait_until(lambda: known() == names, "Prefect knows them")
        os.kill(min(children(gpus.process.pid)), signal.SIGSTOP)
        try:
            wait_until(lambda: gpus.health() == 503, "one of them does not answer")
        finally:
            for pid in children(gpus.process.pid):
                os.kill(pid, signal.SIGCONT)
        gpus.process.terminate()
        assert gpus.process.wait(90) == 0
