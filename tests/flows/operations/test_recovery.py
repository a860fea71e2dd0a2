"""Test which flow runs are scheduled again, and which are left alone. On a real Prefect server."""

import sqlite3
from contextlib import closing
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from paramshare.flows.operations.recovery import lost_workers, reschedule_interrupted
from support.flows.prefect_server import PrefectServer


def run_of(server: PrefectServer, owner: str, state: str, pid: int = 0) -> str:
    """Start a flow run and give it the labels and the state that a worker of this name would."""
    run_id = server.start_run("sweep/sweep-cpu", {"seeds": "0:3"})
    server.ask(f"flow_runs/{run_id}/labels", {"prefect.worker.name": owner}, method="PATCH")
    server.ask(f"flow_runs/{run_id}", {"infrastructure_pid": str(pid)}, method="PATCH")
    path = ["PENDING"] if state == "PENDING" else ["PENDING", "RUNNING", *([state] if state != "RUNNING" else [])]
    for step in path:
        server.ask(f"flow_runs/{run_id}/set_state", {"state": {"type": step}, "force": True})
    return run_id


def reschedule(server: PrefectServer, *arguments: Any) -> list[str]:
    with temporary_settings({PREFECT_API_URL: server.url}), get_client(sync_client=True) as client:
        return reschedule_interrupted(client, "cpu", *arguments)


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "CRASHED"])
def test_the_runs_of_a_lost_worker_are_scheduled_again_and_due_at_once(
    state: str, prefect_server: PrefectServer
) -> None:
    run_id = run_of(prefect_server, f"gone-{state}", state)
    others = [run_of(prefect_server, "there", one) for one in ("RUNNING", "PENDING", "CRASHED")]
    (line,) = reschedule(prefect_server, {f"gone-{state}"})
    assert line.endswith("is scheduled again")
    run = prefect_server.run(run_id)
    assert (run["state_type"], run["state_name"]) == ("SCHEDULED", "AwaitingRetry")
    assert "it will be resumed" in run["state"]["message"]
    assert [prefect_server.run(one)["state_type"] for one in others] == ["RUNNING", "PENDING", "CRASHED"]
    queue = prefect_server.ask("work_pools/cpu/get_scheduled_flow_runs", {})
    assert run_id in {one["flow_run"]["id"] for one in queue}
    assert reschedule(prefect_server, {f"gone-{state}"}) == []


@pytest.mark.parametrize("state", ["RUNNING", "CANCELLING"])
def test_the_task_runs_of_an_interrupted_run_end_with_it(state: str, prefect_server: PrefectServer) -> None:
    interrupted, other = run_of(prefect_server, f"gone {state}", state), run_of(prefect_server, "there", "RUNNING")
    states = {
        run_id: [
            task_of(prefect_server, run_id, name, one) for name, one in enumerate(("RUNNING", "PENDING", "COMPLETED"))
        ]
        for run_id in (interrupted, other)
    }
    reschedule(prefect_server, {f"gone {state}"})
    assert [prefect_server.ask(f"task_runs/{task}")["state_type"] for task in states[interrupted]] == [
        "CRASHED",
        "CRASHED",
        "COMPLETED",
    ]
    assert [prefect_server.ask(f"task_runs/{task}")["state_type"] for task in states[other]] == [
        "RUNNING",
        "PENDING",
        "COMPLETED",
    ]
    for task in states[other]:
        prefect_server.ask(f"task_runs/{task}/set_state", {"state": {"type": "COMPLETED"}, "force": True})


def task_of(server: PrefectServer, run_id: str, name: int, state: str) -> str:
    """Create a task run of a flow run in this state, and return its id."""
    body = {"flow_run_id": run_id, "task_key": "train", "dynamic_key": str(name), "name": f"seed {name}"}
    task = str(server.ask("task_runs/", body)["id"])
    server.ask(f"task_runs/{task}/set_state", {"state": {"type": state}, "force": True})
    return task


def test_only_the_crashed_runs_of_a_running_worker_are_scheduled_again(prefect_server: PrefectServer) -> None:
    running, crashed, alive = (
        run_of(prefect_server, "mine", state, pid) for state, pid in (("RUNNING", 1), ("CRASHED", 2), ("CRASHED", 3))
    )
    reschedule(prefect_server, set(), {"mine"}, {"3"})
    assert [prefect_server.run(one)["state_type"] for one in (running, crashed, alive)] == [
        "RUNNING",
        "SCHEDULED",
        "CRASHED",
    ]


def test_cancelled_and_ended_runs_are_not_scheduled_again(prefect_server: PrefectServer) -> None:
    ended = [run_of(prefect_server, "left", one) for one in ("COMPLETED", "FAILED", "CANCELLED")]
    cancelling = run_of(prefect_server, "left", "CANCELLING")
    reschedule(prefect_server, {"left"})
    assert [prefect_server.run(one)["state_type"] for one in ended] == ["COMPLETED", "FAILED", "CANCELLED"]
    assert prefect_server.run(cancelling)["state_type"] == "CANCELLED"


def test_a_run_that_was_interrupted_ten_times_is_not_scheduled_again(prefect_server: PrefectServer) -> None:
    run_id = run_of(prefect_server, "weary", "CRASHED")
    attempts = 1
    while reschedule(prefect_server, {"weary"}):
        attempts += 1
        assert attempts < 20
        for state in ("PENDING", "RUNNING", "CRASHED"):
            prefect_server.ask(f"flow_runs/{run_id}/set_state", {"state": {"type": state}, "force": True})
    assert attempts == prefect_server.run(run_id)["run_count"] == 10
    assert prefect_server.run(run_id)["state_type"] == "CRASHED"


def test_a_pending_run_without_a_label_is_scheduled_again_after_minutes(prefect_server: PrefectServer) -> None:
    run_id, fresh = (prefect_server.start_run("sweep/sweep-cpu", {"seeds": "0:3"}) for _ in range(2))
    for one in (run_id, fresh):
        prefect_server.ask(f"flow_runs/{one}/set_state", {"state": {"type": "PENDING"}, "force": True})
    backdate(
        prefect_server,
        "flow_run_state SET timestamp = strftime('%Y-%m-%d %H:%M:%f', timestamp, '-11 minutes')",
        "flow_run_id",
        run_id,
    )
    reschedule(prefect_server, set())
    assert [prefect_server.run(one)["state_type"] for one in (run_id, fresh)] == ["SCHEDULED", "PENDING"]


def backdate(server: PrefectServer, what: str, column: str, value: str) -> None:
    """Move a time in the server's database into the past."""
    with closing(sqlite3.connect(server.home / "prefect.db", timeout=60)) as database, database:
        where = f"replace({column}, '-', '') = replace(?, '-', '')"
        assert database.execute(f"UPDATE {what} WHERE {where}", [value]).rowcount >= 1


def test_a_worker_counts_as_lost_after_minutes_of_silence_by_the_servers_clock(prefect_server: PrefectServer) -> None:
    for name in ("early", "late", "me"):
        prefect_server.ask("work_pools/cpu/workers/heartbeat", {"name": name})
    for name, minutes in (("early", 10), ("late", 1), ("me", 20)):
        earlier = f"worker SET last_heartbeat_time = datetime(last_heartbeat_time, '-{minutes} minutes')"
        backdate(prefect_server, earlier, "name", name)
    with temporary_settings({PREFECT_API_URL: prefect_server.url}), get_client(sync_client=True) as client:
        assert lost_workers(client, "cpu", {"me"}) == {"early"}
        assert lost_workers(client, "gpu", {"me"}) == set()
