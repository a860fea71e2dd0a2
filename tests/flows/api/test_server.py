"""Test of `prefect_api`: the history of a flow outlives its server; a server is started only if no API is configured;
two processes can share one `$PREFECT_HOME`, even a fresh one; the process is left unchanged; and the server ends with
its parent, `kill -9` included.

Every parent is a real process that is observed from outside.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from paramshare.processes import children
from support import ROOT
from support.processes import command_line, is_running

TASKS = 40
EVENTS = 300  # emitted last: a third of them was lost when the server did not catch up before it stopped

# Runs one flow and prints what this process saw before, during and after, as its only line of output.
OBSERVE = f"""
import json, os, signal, subprocess, sys
from paramshare.flows.api.server import prefect_api
from prefect import flow, get_run_logger, task
from prefect.events import emit_event
from prefect.settings import get_current_settings

@task
def double(i):
    return 2 * i

@flow
def add():
    get_run_logger().info("adding")
    return sum(future.result() for future in double.map(range({TASKS})))

def state():
    settings = get_current_settings()
    return [
        os.environ.get("PREFECT_API_URL"),
        settings.api.url,
        settings.flows.heartbeat_frequency,
        str(signal.getsignal(signal.SIGTERM)),
    ]

seen = {{"before": state()}}
with prefect_api() as url:
    ask_child = [sys.executable, "-c", "import os; print(os.environ['PREFECT_API_URL'], end='')"]
    with prefect_api() as inner:
        seen |= {{"url": url, "inner": inner, "during": state()}}
    seen["child"] = subprocess.check_output(ask_child, text=True)
    seen["sum"] = add()
    for i in range({EVENTS}):
        emit_event("late", resource={{"prefect.resource.id": f"late.{{i}}"}})
seen["after"] = state()
print(json.dumps(seen))
"""

# Says that its flow runs and stays in it until a line arrives, and fails then. Its server starts early, as a command's.
STAY = """
import sys
from paramshare.flows.api.server import prefect_api, server_starting
with server_starting():
    from prefect import flow

    @flow
    def stay():
        print("running", flush=True)
        sys.stdin.readline()
        raise ValueError("no more")

    with prefect_api():
        stay()
"""

# Prints how many servers there are in and after blocks that start one early, and the addresses of the last one's API.
EARLY = """
import os
from pathlib import Path
from filelock import FileLock
from paramshare.flows.api.server import prefect_api, server_starting
from paramshare.processes import children

def servers():
    return str(len(children(os.getpid())))

home = Path(os.environ["PREFECT_HOME"])
with FileLock(home / "paramshare.lock"), server_starting():
    print("while another starts", servers())
with server_starting():
    print("unused", servers())
print("after", servers())
with server_starting():
    with prefect_api() as url:
        print("used", servers(), url)
    with FileLock(home / "paramshare.lock", timeout=0), prefect_api() as url:
        print("used", servers(), url)
print("after", servers())
"""

SHOW = """
from paramshare.flows.api.server import prefect_api
from prefect.utilities.urls import url_for

with prefect_api() as url:
    print(url)
    print(url_for("flow-run", "7"))
"""


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return the environment without Prefect's settings, for a process with `home` as its `$PREFECT_HOME`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return clean | {"PREFECT_HOME": str(home), "PYTHONPATH": str(ROOT)} | more


def start(script: str, home: Path, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env=environment(home, **more),
        cwd=home.parent,  # Prefect reads `.env` in the working directory
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows(home: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(home / "prefect.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


@dataclass(frozen=True)
class Fresh:
    """Two processes that ran OBSERVE at once on one `$PREFECT_HOME` that did not exist before."""

    home: Path
    codes: list[int]
    seen: list[dict[str, Any]]
    logs: list[str]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    home = tmp_path_factory.mktemp("fresh") / "home"
    parents = [start(OBSERVE, home), start(OBSERVE, home)]
    outputs = [parent.communicate(timeout=180) for parent in parents]
    assert all(out for out, _ in outputs), [error for _, error in outputs]
    logs = [error for _, error in outputs]
    return Fresh(home, [parent.returncode for parent in parents], [json.loads(out) for out, _ in outputs], logs)


@pytest.fixture
def home(fresh: Fresh, tmp_path: Path) -> Path:
    """Return a `$PREFECT_HOME` whose database is already migrated, which saves ten seconds a test."""
    return Path(shutil.copytree(fresh.home, tmp_path / "home"))


def test_two_processes_can_start_a_server_on_one_new_home_at_once(fresh: Fresh) -> None:
    assert fresh.codes == [0, 0]
    assert len({seen["url"] for seen in fresh.seen}) == 2


def test_a_flow_on_the_started_server_returns_its_value(fresh: Fresh) -> None:
    assert [seen["sum"] for seen in fresh.seen] == [TASKS * (TASKS - 1)] * 2


def test_flow_runs_are_kept_after_the_end_of_the_server(fresh: Fresh) -> None:
    assert rows(fresh.home, "select state_type from flow_run") == [("COMPLETED",)] * 2


def test_every_task_run_is_recorded_with_its_final_state(fresh: Fresh) -> None:
    recorded = rows(fresh.home, "select state_type, count(*) from task_run group by state_type")
    assert recorded == [("COMPLETED", 2 * TASKS)]


def test_events_emitted_at_the_end_of_the_block_are_recorded(fresh: Fresh) -> None:
    assert rows(fresh.home, "select count(*) from events where event = 'late'") == [(2 * EVENTS,)]


def test_the_log_of_a_flow_is_kept_after_the_end_of_the_server(fresh: Fresh) -> None:
    assert rows(fresh.home, "select count(*) from log where message = 'adding'") == [(2,)]


def test_no_page_address_is_printed_for_a_server_without_pages(fresh: Fresh) -> None:
    for log in fresh.logs:
        assert "Beginning flow run" in log
        assert "View at" not in log


def test_a_nested_block_uses_the_server_of_the_outer_block(fresh: Fresh) -> None:
    assert all(seen["inner"] == seen["url"] for seen in fresh.seen)


def test_child_processes_inherit_the_url_of_the_server(fresh: Fresh) -> None:
    assert all(seen["child"] == seen["url"] for seen in fresh.seen)


def test_flows_on_the_started_server_send_no_heartbeats(fresh: Fresh) -> None:
    assert all(seen["during"][:3] == [seen["url"], seen["url"], None] for seen in fresh.seen)


def test_the_settings_of_the_process_are_restored_after_the_block(fresh: Fresh) -> None:
    assert all(seen["after"] == seen["before"] for seen in fresh.seen)


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Return a home, and the output of SHOW in it if the user has configured a server."""
    home = tmp_path_factory.mktemp("configured") / "home"
    out, error = start(SHOW, home, PREFECT_API_URL="http://127.0.0.1:9/api").communicate(timeout=60)
    assert out, error
    return home, out.splitlines()


@pytest.fixture(scope="module")
def empty(fresh: Fresh, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the output of SHOW if the environment has an empty API URL, `.env` another, and pages an address."""
    home = Path(shutil.copytree(fresh.home, tmp_path_factory.mktemp("empty") / "home"))
    (home.parent / ".env").write_text("PREFECT_API_URL=http://127.0.0.1:9/api\n")
    out, error = start(SHOW, home, PREFECT_API_URL="", PREFECT_UI_URL="http://127.0.0.1:8").communicate(timeout=60)
    assert out, error
    return out.splitlines()


def test_a_configured_api_is_used_and_no_server_is_started(configured: tuple[Path, list[str]]) -> None:
    home, (url, _) = configured
    assert url == "http://127.0.0.1:9/api"
    assert not list(home.glob("*.db")) + list(home.glob("*.lock"))


def test_the_page_of_a_flow_run_on_a_configured_server_is_printed(configured: tuple[Path, list[str]]) -> None:
    assert configured[1][1] == "http://127.0.0.1:9/runs/flow-run/7"


def test_an_empty_api_url_counts_as_unset_even_if_a_dotenv_file_sets_it(empty: list[str]) -> None:
    assert empty[0].startswith("http://127.0.0.1:")
    assert not empty[0].startswith("http://127.0.0.1:9/")


def test_page_addresses_set_by_the_user_are_printed_for_the_started_server(empty: list[str]) -> None:
    assert empty[1] == "http://127.0.0.1:8/runs/flow-run/7"


def test_a_server_that_fails_to_start_is_reported_with_its_output(tmp_path: Path) -> None:
    nowhere = f"sqlite+aiosqlite:///{tmp_path}/missing/prefect.db"
    parent = start(SHOW, tmp_path / "home", PREFECT_SERVER_DATABASE_CONNECTION_URL=nowhere)
    _, error = parent.communicate(timeout=60)
    assert "before it answered" in error
    assert "unable to open database file" in error


def test_a_server_that_does_not_answer_is_stopped_after_the_time_limit(home: Path) -> None:
    silent = SHOW.replace("prefect_api()", "prefect_api(startup_timeout=0.2)")
    _, error = start(silent, home).communicate(timeout=60)
    assert "did not answer within 0.2 s" in error


def test_a_server_that_is_started_early_is_used_and_ends_with_its_block(home: Path) -> None:
    out, error = start(EARLY, home).communicate(timeout=120)
    lines = [line.rpartition(" http") for line in out.splitlines()]
    assert [words or last for words, _, last in lines] == [
        "while another starts 0", "unused 1", "after 0", "used 1", "used 1", "after 0",
    ], error  # fmt: skip
    assert lines[3] == lines[4]


def test_no_server_is_started_early_if_an_api_is_configured(home: Path) -> None:
    show = EARLY.partition("with FileLock")[0] + "with server_starting(): print(servers())"
    out, error = start(show, home, PREFECT_API_URL="http://127.0.0.1:9/api").communicate(timeout=60)
    assert out == "0\n", error


ENDS = ["exception", "SIGTERM", "SIGINT", "SIGKILL"]


@dataclass(frozen=True)
class Ended:
    """A parent that ended inside its flow, and whether its server did within ten seconds."""

    how: str
    code: int
    server_is_gone: bool
    home: Path


@pytest.fixture(scope="module")
def staying(fresh: Fresh, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[subprocess.Popen[str], Path]]:
    """Start one parent for each end, all at once to save time."""
    homes = {how: shutil.copytree(fresh.home, tmp_path_factory.mktemp(how) / "home") for how in ENDS}
    return {how: (start(STAY, home), home) for how, home in homes.items()}


@pytest.fixture(scope="module", params=ENDS)
def ended(request: pytest.FixtureRequest, staying: dict[str, tuple[subprocess.Popen[str], Path]]) -> Ended:
    how: str = request.param
    parent, home = staying[how]
    assert parent.stdout is not None
    assert parent.stdout.readline() == "running\n", parent.communicate()
    servers = {pid for pid in children(parent.pid) if "server.py" in command_line(pid)}
    if how == "exception":
        parent.communicate("\n", timeout=60)
    else:
        parent.send_signal(signal.Signals[how])
        parent.wait(60)
        parent.communicate()
    deadline = time.monotonic() + 10
    while (left := {pid for pid in servers if is_running(pid)}) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return Ended(how, parent.returncode, len(servers) == 1 and not left, home)


def test_the_server_ends_within_seconds_of_its_parent(ended: Ended) -> None:
    assert ended.server_is_gone


def test_the_parent_ends_with_the_exit_status_of_its_own_end(ended: Ended) -> None:
    codes = {"exception": 1, "SIGTERM": 128 + 15, "SIGINT": -signal.SIGINT, "SIGKILL": -signal.SIGKILL}
    assert ended.code == codes[ended.how]


def test_the_end_of_a_flow_is_recorded_before_the_server_stops(ended: Ended) -> None:
    states = {"exception": "FAILED", "SIGTERM": "CRASHED", "SIGINT": "CRASHED", "SIGKILL": "RUNNING"}
    query = "select flow_run.state_type from flow_run join flow on flow.id = flow_id where flow.name = 'stay'"
    assert rows(ended.home, query) == [(states[ended.how],)]
