"""Registering again changes nothing, schedules follow the user until the setting changes,
deployments that are no longer named are deleted, and errors are one line.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from paramshare.flows.operations.register import main
from paramshare.settings import StackSettings
from support import ROOT
from support.flows.flow_records import connected
from support.flows.prefect_server import PrefectServer
from support.ports import free_port

NIGHTLY = "sweep/sweep-nightly"


@pytest.fixture
def register(
    own_prefect_server: PrefectServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Return a function that registers in this process with options and settings, and returns the output."""
    monkeypatch.chdir(ROOT)

    def registered(*arguments: str, **settings: str) -> str:
        with connected(own_prefect_server), monkeypatch.context() as given:
            for name, value in settings.items():
                given.setenv(name, value)
            code = main(arguments)
        out, err = capsys.readouterr()
        assert (code, err) == (0, "")
        return out

    return registered


def everything(server: PrefectServer) -> dict[str, Any]:
    """Return everything that is registered, without the times."""
    limits = server.ask("v2/concurrency_limits/filter", {})
    found = {
        "deployments": server.deployments(),
        "pools": server.ask("work_pools/filter", {}),
        "automations": server.ask("automations/filter", {}),
        "limits": [(one["name"], one["limit"]) for one in limits],
    }
    dropped: dict[str, Any] = _without_times(found)
    return dropped


def _without_times(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: _without_times(one) for key, one in found.items() if key not in ("created", "updated")}
    return [_without_times(one) for one in found] if isinstance(found, list) else found


def active(server: PrefectServer) -> dict[str, bool]:
    """Return whether each schedule is active, by its deployment's name and its own."""
    return {
        f"{name}:{one['slug']}": one["active"]
        for name, deployment in server.deployments().items()
        for one in deployment["schedules"]
    }


def set_active(server: PrefectServer, to: bool) -> None:
    """Pause or resume a schedule as a user does."""
    deployment = server.ask(f"deployments/name/{NIGHTLY}")
    for schedule in deployment["schedules"]:
        if schedule["slug"] == "nightly":
            path = f"deployments/{deployment['id']}/schedules/{schedule['id']}"
            server.ask(path, {"active": to}, method="PATCH")


def test_registering_again_changes_nothing(own_prefect_server: PrefectServer, register: Callable[..., str]) -> None:
    before = everything(own_prefect_server)
    said = register()
    assert everything(own_prefect_server) == before
    assert "work pool cpu: exists\nwork pool gpu: exists\n" in said


def test_a_schedule_that_a_user_paused_or_resumed_is_kept_until_the_setting_changes(
    own_prefect_server: PrefectServer, register: Callable[..., str]
) -> None:
    """One long test, since each step begins where the former step ended."""
    set_active(own_prefect_server, True)
    deployment = own_prefect_server.ask(f"deployments/name/{NIGHTLY}")
    added = {"schedule": {"interval": 3600}, "active": False}
    own_prefect_server.ask(f"deployments/{deployment['id']}/schedules", [added])

    register()  # an upgrade: STACK_SCHEDULES is paused, as before
    now = active(own_prefect_server)
    (name,) = {one for one in now if one.startswith(f"{NIGHTLY}:added-")}
    assert now == {f"{NIGHTLY}:nightly": True, "verify/verify-nightly:nightly": False, name: False}

    register(STACK_SCHEDULES="active", STACK_TIMEZONE="Europe/Berlin")
    assert active(own_prefect_server) == {
        f"{NIGHTLY}:nightly": True,
        "verify/verify-nightly:nightly": True,
        name: False,
    }
    (schedule,) = own_prefect_server.deployments()["verify/verify-nightly"]["schedules"]
    assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == ("0 4 * * *", "Europe/Berlin")

    set_active(own_prefect_server, False)
    register(STACK_SCHEDULES="active")
    assert active(own_prefect_server) == {
        f"{NIGHTLY}:nightly": False,
        "verify/verify-nightly:nightly": True,
        name: False,
    }

    register()  # paused again
    assert active(own_prefect_server) == {
        f"{NIGHTLY}:nightly": False,
        "verify/verify-nightly:nightly": False,
        name: False,
    }
    own_prefect_server.ask(f"deployments/{deployment['id']}/schedules/{_id(own_prefect_server, name)}", method="DELETE")


def _id(server: PrefectServer, name: str) -> str:
    found = server.ask(f"deployments/name/{NIGHTLY}")["schedules"]
    return next(str(one["id"]) for one in found if name.endswith(one["slug"]))


def test_a_pool_without_a_worker_is_not_created_unless_it_is_named(
    own_prefect_server: PrefectServer, register: Callable[..., str]
) -> None:
    own_prefect_server.ask("work_pools/gpu", method="DELETE")
    assert "work pool gpu" not in register("--pool", "cpu")
    assert [pool["name"] for pool in own_prefect_server.ask("work_pools/filter", {})] == ["cpu"]
    assert "sweep/sweep-gpu" not in own_prefect_server.deployments()
    assert "work pool gpu: created\n" in register("--pool", "gpu")
    assert "work pool gpu: exists\n" in register("--pool", "cpu")
    assert own_prefect_server.deployments()["sweep/sweep-gpu"]["work_pool_name"] == "gpu"


def test_a_new_schedule_follows_the_setting_and_a_deployment_that_is_no_longer_named_is_deleted(
    own_prefect_server: PrefectServer, register: Callable[..., str], tmp_path: Path
) -> None:
    text = (ROOT / "prefect.yaml").read_text()
    assert text.count("  - name: sweep-gpu\n") == text.count('      - slug: nightly\n        cron: "0 4') == 1
    other = text.replace("  - name: sweep-gpu\n", "  - name: sweep-gpus\n").replace(
        '      - slug: nightly\n        cron: "0 4', '      - slug: weekly\n        cron: "0 4'
    )
    (tmp_path / "prefect.yaml").write_text(other)
    said = register("--file", str(tmp_path / "prefect.yaml"))
    assert "deployment sweep/sweep-gpu: deleted, prefect.yaml does not name it or" in said
    assert set(own_prefect_server.deployments()) == {
        "count/count-cpu",
        "study/study-cpu",
        "sweep/sweep-cpu",
        "sweep/sweep-gpus",
        NIGHTLY,
        "verify/verify-cpu",
        "verify/verify-nightly",
    }
    assert active(own_prefect_server)["verify/verify-nightly:weekly"] is False


def test_an_automation_marks_silent_runs_as_crashed(own_prefect_server: PrefectServer) -> None:
    (automation,) = own_prefect_server.ask("automations/filter", {})
    assert automation["enabled"]
    assert automation["trigger"]["after"] == ["prefect.flow-run.heartbeat"]
    assert automation["trigger"]["within"] == 300
    assert [action["state"] for action in automation["actions"]] == ["CRASHED"]


def test_registering_without_a_prefect_server_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        assert main(["--file", str(ROOT / "prefect.yaml")]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("paramshare: nothing was registered: http://127.0.0.1:")
    assert "does not answer" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("STACK_SCHEDULES", "on", "STACK_SCHEDULES: Input should be 'paused' or 'active'"),
        ("STACK_TIMEZONE", "Berlin", "STACK_TIMEZONE: Value error, 'Berlin' is not a time zone"),
        ("STACK_TIMEZONE", "../etc", "STACK_TIMEZONE: Value error, '../etc' is not a time zone"),
    ],
)
def test_an_invalid_stack_setting_is_refused_in_one_line(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err


def test_a_missing_file_of_deployments_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--file", "elsewhere.yaml"]) == 2
    assert capsys.readouterr().err.startswith("paramshare: there is no file elsewhere.yaml")


def test_without_a_setting_schedules_are_paused_and_in_utc(tmp_path: Path) -> None:
    assert (StackSettings.read().active, StackSettings.read().timezone) == (False, "UTC")
    (tmp_path / ".env").write_text("STACK_SCHEDULES=active\nSTACK_MLFLOW_PORT=5001\n")
    assert StackSettings.read().active
    shutil.rmtree(tmp_path)
