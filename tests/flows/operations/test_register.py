"""Registering again changes nothing, schedules follow the user until the setting changes,
deployments that are no longer named are deleted, and errors are one line.
"""

import shutil
from contextlib import redirect_stderr, redirect_stdout
from copy import deepcopy
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, Self

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from paramshare.flows.operations.register import main
from paramshare.settings import StackSettings
from support import ROOT
from support.flows.flow_records import connected
from support.flows.prefect_server import PrefectServer
from support.ports import free_port

NIGHTLY = "sweep/sweep-nightly"


def register(server: PrefectServer, *arguments: str, **settings: str) -> str:
    """Register in this process with options and settings, and return the output."""
    with pytest.MonkeyPatch.context() as given, connected(server):
        given.chdir(ROOT)
        for name, value in settings.items():
            given.setenv(name, value)
        with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as error:
            code = main(arguments)
    assert (code, error.getvalue()) == (0, "")
    return out.getvalue()


def without_times(found: Any) -> Any:
    if isinstance(found, dict):
        return {key: without_times(one) for key, one in found.items() if key not in ("created", "updated")}
    return [without_times(one) for one in found] if isinstance(found, list) else found


@dataclass(frozen=True)
class Registered:
    """The deployments, pools, automations and limits of a server, without times, and the output of the registration."""

    deployments: dict[str, Any]
    pools: list[Any]
    automations: list[Any]
    limits: list[tuple[str, int]]
    output: str = field(default="", compare=False)

    @classmethod
    def on(cls, server: PrefectServer, output: str = "") -> Self:
        limits = server.ask("v2/concurrency_limits/filter", {})
        deployments = without_times(server.deployments())
        for deployment in deployments.values():
            deployment["schedules"].sort(key=lambda schedule: schedule["id"])  # they come in any order
        return cls(
            deployments,
            without_times(server.ask("work_pools/filter", {})),
            without_times(server.ask("automations/filter", {})),
            [(one["name"], one["limit"]) for one in limits],
            output,
        )

    @property
    def active(self) -> dict[str, bool]:
        """Return whether each schedule is active, by its deployment's name and its own."""
        return {
            f"{name}:{one['slug']}": one["active"]
            for name, deployment in self.deployments.items()
            for one in deployment["schedules"]
        }


def set_active(server: PrefectServer, to: bool) -> None:
    """Pause or resume a schedule as a user does."""
    deployment = server.ask(f"deployments/name/{NIGHTLY}")
    for schedule in deployment["schedules"]:
        if schedule["slug"] == "nightly":
            path = f"deployments/{deployment['id']}/schedules/{schedule['id']}"
            server.ask(path, {"active": to}, method="PATCH")


def other_file(folder: Path) -> Path:
    """Write a `prefect.yaml` in which a deployment and a schedule have other names."""
    text = (ROOT / "prefect.yaml").read_text()
    assert text.count("  - name: study-cpu\n") == text.count('      - slug: nightly\n        cron: "0 4') == 1
    other = text.replace("  - name: study-cpu\n", "  - name: study-cpus\n").replace(
        '      - slug: nightly\n        cron: "0 4', '      - slug: weekly\n        cron: "0 4'
    )
    file = folder / "prefect.yaml"
    file.write_text(other)
    return file


@pytest.fixture(scope="module")
def steps(own_prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Registered]:
    """Register again and again, as upgrades and users do, and return what was registered after each step.

    A registration takes seconds, so each begins where the former ended.
    """
    server, found = own_prefect_server, {}

    def step(name: str, *arguments: str, **settings: str) -> None:
        found[name] = Registered.on(server, register(server, *arguments, **settings))

    active = {"STACK_SCHEDULES": "active", "STACK_TIMEZONE": "Europe/Berlin"}
    step("active", "--pool", "cpu", **active)  # STACK_SCHEDULES was paused
    set_active(server, False)
    deployment = server.ask(f"deployments/name/{NIGHTLY}")
    added = {"schedule": {"interval": 3600}, "active": False}
    server.ask(f"deployments/{deployment['id']}/schedules", [added])
    found["changed by a user"] = Registered.on(server)
    step("active again", **active)
    server.ask("work_pools/gpu", method="DELETE")
    step("paused, without GPU", "--pool", "cpu")
    set_active(server, True)
    step("paused again, other file", "--file", str(other_file(tmp_path_factory.mktemp("other"))), "--pool", "gpu")
    return found


@pytest.fixture
def added(steps: dict[str, Registered]) -> str:
    """Return the name of the schedule that a user added without one."""
    (name,) = {one for one in steps["active again"].active if one.startswith(f"{NIGHTLY}:added-")}
    return name


def test_registering_again_changes_nothing_and_names_a_schedule_that_a_user_added(
    steps: dict[str, Registered], added: str
) -> None:
    before, now = deepcopy(steps["changed by a user"]), steps["active again"]
    (unnamed,) = (one for one in before.deployments[NIGHTLY]["schedules"] if one["slug"] is None)
    unnamed["slug"] = added.partition(":")[2]
    assert now == before
    assert "work pool cpu: exists\nwork pool gpu: exists\n" in now.output


def test_a_schedule_that_a_user_paused_or_resumed_is_kept_until_the_setting_changes(
    steps: dict[str, Registered], added: str
) -> None:
    nightly, verified = f"{NIGHTLY}:nightly", "verify/verify-nightly:nightly"
    assert steps["active"].active == {nightly: True, verified: True}
    assert steps["active again"].active == {nightly: False, verified: True, added: False}
    assert steps["paused, without GPU"].active == {nightly: False, verified: False, added: False}
    weekly = verified.replace(":nightly", ":weekly")
    assert steps["paused again, other file"].active == {nightly: True, verified: False, weekly: False, added: False}


def test_a_schedule_follows_the_time_zone_of_the_setting(steps: dict[str, Registered]) -> None:
    (schedule,) = steps["active"].deployments["verify/verify-nightly"]["schedules"]
    assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == ("0 4 * * *", "Europe/Berlin")


def test_a_pool_without_a_worker_is_not_created_unless_it_is_named(steps: dict[str, Registered]) -> None:
    there, without, created = (steps[name] for name in ("active", "paused, without GPU", "paused again, other file"))
    assert "work pool gpu: exists\n" in there.output
    assert there.deployments["sweep/sweep-gpu"]["work_pool_name"] == "gpu"
    assert "work pool gpu" not in without.output
    assert [pool["name"] for pool in without.pools] == ["cpu"]
    assert "sweep/sweep-gpu" not in without.deployments
    assert "work pool gpu: created\n" in created.output
    assert created.deployments["sweep/sweep-gpu"]["work_pool_name"] == "gpu"


def test_a_new_schedule_follows_the_setting_and_a_deployment_that_is_no_longer_named_is_deleted(
    steps: dict[str, Registered],
) -> None:
    now = steps["paused again, other file"]
    assert "deployment study/study-cpu: deleted, prefect.yaml does not name it or" in now.output
    assert set(now.deployments) == {
        "count/count-cpu",
        "study/study-cpus",
        "sweep/sweep-cpu",
        "sweep/sweep-gpu",
        NIGHTLY,
        "verify/verify-cpu",
        "verify/verify-nightly",
    }
    assert now.active["verify/verify-nightly:weekly"] is False


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
