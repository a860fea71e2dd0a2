"""Test on a real Prefect server that a renamed deployment keeps its properties, that a kill between any two requests
loses nothing and leaves no schedule active twice, and that no run is dropped.
"""

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.client.base import PrefectHttpxSyncClient
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.variables import Variable

from paramshare.flows.operations.register import _ours, main
from paramshare.flows.operations.renaming import copy_former, delete_former, former_name, transfer_schedules
from support import ROOT
from support.flows.flow_records import connected
from support.flows.prefect_server import PrefectServer

FORMER, NAME = "study/old", "study/study-old"
SCHEDULES = {"nightly": True, "weekly": False, "added-1": True}
SET_BY_HAND = {
    "parameters": {"spec": {"seeds": "0:7"}},
    "tags": ["paramshare", "mine"],
    "paused": True,
    "concurrency_limit": 3,
    "concurrency_options": {"collision_strategy": "ENQUEUE"},
    "work_pool_name": "cpu",
    "description": "changed by hand",
    "job_variables": {"env": {"MINE": "1"}},
}


@pytest.fixture
def client(own_prefect_server: PrefectServer) -> Iterator[SyncPrefectClient]:
    with connected(own_prefect_server), get_client(sync_client=True) as opened:
        yield opened


@pytest.fixture
def former(own_prefect_server: PrefectServer) -> Iterator[dict[str, Any]]:
    yield make_former(own_prefect_server)
    remove(own_prefect_server)


def make_former(server: PrefectServer) -> dict[str, Any]:
    """Create a deployment under its former name, with all values that a user can set."""
    flow = next(one for one in server.ask("flows/filter", {}) if one["name"] == "study")
    schedules = [
        {
            "slug": slug,
            "active": is_active,
            "schedule": {"cron": "0 3 * * *", "timezone": "Asia/Kolkata"},
            "parameters": {"spec": {"seeds": slug[-1:]}},
        }
        for slug, is_active in SCHEDULES.items()
    ]
    body = {"flow_id": flow["id"], "name": "old", "schedules": schedules, "entrypoint": "flows.study.study"}
    made: dict[str, Any] = server.ask("deployments/", {**body, **SET_BY_HAND})
    return made


def remove(server: PrefectServer) -> None:
    there = server.deployments()
    for name in {FORMER, NAME} & there.keys():
        server.ask(f"deployments/{there[name]['id']}", method="DELETE")


def rename(client: SyncPrefectClient) -> None:
    """Rename as a registration does, without deploying the file."""
    list(copy_former(client, dict(_ours(client)), [NAME]))
    transfer_schedules(client, dict(_ours(client)), [NAME])
    ours = dict(_ours(client))
    if FORMER in ours:
        delete_former(client, ours[FORMER], FORMER, ours[NAME])


def active(server: PrefectServer, name: str) -> set[str]:
    deployment = server.deployments().get(name, {"schedules": []})
    return {schedule["slug"] for schedule in deployment["schedules"] if schedule["active"]}


@pytest.mark.parametrize(
    ("name", "former"),
    [("sweep/sweep-cpu", "sweep/cpu"), ("verify/verify-nightly", "verify/nightly"), ("sweep/mine", "sweep/mine")],
)
def test_the_former_name_of_a_deployment_lacks_the_name_of_its_flow(name: str, former: str) -> None:
    assert former_name(name) == former


def test_a_renamed_deployment_keeps_the_values_that_a_user_has_set(
    own_prefect_server: PrefectServer, client: SyncPrefectClient, former: dict[str, Any]
) -> None:
    rename(client)
    there = own_prefect_server.deployments()
    assert FORMER not in there
    new = there[NAME]
    assert {name: new[name] for name in SET_BY_HAND if not name.startswith("concurrency")} == {
        name: value for name, value in SET_BY_HAND.items() if not name.startswith("concurrency")
    }
    assert new["global_concurrency_limit"]["limit"] == 3
    assert new["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    assert {schedule["slug"]: schedule["active"] for schedule in new["schedules"]} == SCHEDULES
    for schedule in new["schedules"]:
        assert schedule["parameters"] == {"spec": {"seeds": schedule["slug"][-1:]}}
        assert schedule["schedule"]["timezone"] == "Asia/Kolkata"


class Killed(BaseException):
    """The end of a process, before a request."""


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """End the process at every change of the server after the first ones."""
    send, changes = PrefectHttpxSyncClient.send, count(1)

    def send_or_die(self: Any, request: httpx.Request, *arguments: Any, **options: Any) -> httpx.Response:
        if request.method != "GET" and not request.url.path.endswith("/filter") and next(changes) > after:
            raise Killed
        return send(self, request, *arguments, **options)

    monkeypatch.setattr(PrefectHttpxSyncClient, "send", send_or_die)


@pytest.mark.parametrize("after", range(8))
def test_a_kill_between_two_changes_loses_nothing_and_leaves_no_schedule_active_twice(
    after: int,
    own_prefect_server: PrefectServer,
    client: SyncPrefectClient,
    former: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = {slug for slug, is_active in SCHEDULES.items() if is_active}
    with monkeypatch.context() as patched:
        interrupt(patched, after)
        with pytest.raises(Killed):
            rename(client)
    to_resume = Variable.get("paramshare_schedules_to_resume", default=None) or {}
    before, now = active(own_prefect_server, FORMER), active(own_prefect_server, NAME)
    assert not before & now
    assert before | now | set(to_resume.get(NAME, ())) == wanted
    rename(client)  # the next registration
    assert FORMER not in own_prefect_server.deployments()
    assert active(own_prefect_server, NAME) == wanted
    assert Variable.get("paramshare_schedules_to_resume", default=None) is None


def test_a_former_deployment_is_kept_until_its_runs_have_ended(
    own_prefect_server: PrefectServer, client: SyncPrefectClient, former: dict[str, Any]
) -> None:
    run = own_prefect_server.ask(
        f"deployments/{former['id']}/create_flow_run", {"parameters": {"spec": {"seeds": "0:2"}}}
    )
    rename(client)
    assert FORMER in own_prefect_server.deployments()
    assert (active(own_prefect_server, FORMER), active(own_prefect_server, NAME)) == (set(), {"nightly", "added-1"})
    assert own_prefect_server.run(run["id"])["deployment_id"] == former["id"]
    own_prefect_server.ask(f"flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLED"}, "force": True})
    rename(client)
    assert FORMER not in own_prefect_server.deployments()
    assert own_prefect_server.state(run["id"]) == "Cancelled"


def test_registering_after_an_upgrade_renames_deployments_and_keeps_schedules(
    own_prefect_server: PrefectServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The former version's file is registered, a schedule resumed, another added, and other values set by a user."""
    by_hand = {"parameters": {"spec": {"seeds": "0:7"}}, "tags": ["mine", "paramshare"], "paused": True}
    monkeypatch.chdir(ROOT)
    former = re.sub(r"(?m)^  - name: [a-z]+-", "  - name: ", (ROOT / "prefect.yaml").read_text())
    (tmp_path / "prefect.yaml").write_text(former)
    with connected(own_prefect_server):
        assert main(["--file", str(tmp_path / "prefect.yaml")]) == 0
        assert "verify/nightly" in own_prefect_server.deployments()
        old = own_prefect_server.ask("deployments/name/sweep/nightly")
        own_prefect_server.ask(
            f"deployments/{old['id']}/schedules/{old['schedules'][0]['id']}", {"active": True}, method="PATCH"
        )
        own_prefect_server.ask(
            f"deployments/{old['id']}/schedules", [{"schedule": {"interval": 3600}, "active": False}]
        )
        own_prefect_server.ask(f"deployments/{old['id']}", {**by_hand, "concurrency_limit": 2}, method="PATCH")
        capsys.readouterr()
        assert main([]) == 0
    said = capsys.readouterr().out
    assert "deployment sweep/nightly: deleted, sweep-nightly replaces it\n" in said
    there = own_prefect_server.deployments()
    assert sorted(there) == [
        "count/count-cpu", "study/study-cpu", "sweep/sweep-cpu", "sweep/sweep-gpu", "sweep/sweep-nightly",
        "verify/verify-cpu", "verify/verify-nightly",
    ]  # fmt: skip
    assert active(own_prefect_server, "sweep/sweep-nightly") == {"nightly"}
    assert len(there["sweep/sweep-nightly"]["schedules"]) == 2
    assert {name: there["sweep/sweep-nightly"][name] for name in by_hand} == by_hand
    assert there["sweep/sweep-nightly"]["global_concurrency_limit"]["limit"] == 2
    assert there["sweep/sweep-nightly"]["description"].startswith("Every night")
    assert "sweep/sweep-nightly: parameters, tags, paused, concurrency_limit kept as set on the server" in said
    assert active(own_prefect_server, "verify/verify-nightly") == set()
