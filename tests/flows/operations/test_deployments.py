"""Test on a real Prefect server that the deployments of `prefect.yaml` have forms with descriptions, refuse invalid
parameters, have limits, and are scheduled at the hour of their time zone.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from paramshare.errors import SettingsError
from paramshare.flows.operations.deployments import check_versions, find_file, names_in, read_file
from support import ROOT
from support.flows.flow_records import connected
from support.flows.prefect_server import PrefectServer
from support.waiting import wait_until

DEPLOYMENTS = (
    "count/count-cpu", "study/study-cpu", "sweep/sweep-cpu", "sweep/sweep-gpu", "sweep/sweep-nightly",
    "verify/verify-cpu", "verify/verify-nightly",
)  # fmt: skip
SCHEDULED = ("sweep/sweep-nightly", "verify/verify-nightly")
MODEL = {"model": "torch.nn:Conv2d", "input": "3,8,8"}


@pytest.fixture(scope="module")
def deployments(prefect_server: PrefectServer) -> dict[str, Any]:
    return prefect_server.deployments()


def properties(deployment: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every field of a deployment's form, with the name of its model."""
    for model, schema in deployment["parameter_openapi_schema"]["definitions"].items():
        for name, field in schema["properties"].items():
            yield f"{model}.{name}", field


def test_every_deployment_of_the_file_is_registered_with_a_description(deployments: dict[str, Any]) -> None:
    assert tuple(sorted(deployments)) == DEPLOYMENTS
    for name, one in deployments.items():
        flow, _, pool = name.partition("/")
        assert len(one["description"]) > 50
        assert {"paramshare", flow} <= set(one["tags"])
        assert one["version"] == "0.1.0"
        assert one["work_pool_name"] == ("gpu" if pool.endswith("gpu") else "cpu")
        assert one["enforce_parameter_schema"]


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_every_field_of_a_form_has_a_description(name: str, deployments: dict[str, Any]) -> None:
    fields = dict(properties(deployments[name]))
    assert len(fields) >= 5
    assert [field for field, schema in fields.items() if len(schema.get("description", "")) < 5] == []


def test_the_form_of_a_deployment_has_defaults_limits_and_choices(deployments: dict[str, Any]) -> None:
    fields = dict(properties(deployments["sweep/sweep-cpu"]))
    assert fields["SweepSpec.seeds"]["default"] == "0:10"
    assert "0:100" in fields["SweepSpec.seeds"]["examples"]
    assert fields["SweepSpec.steps"]["minimum"] == 1
    assert fields["SweepSpec.momentum"]["exclusiveMaximum"] == 1
    assert set(fields["SweepSpec.engine"]["enum"]) == {"auto", "reference", "exact", "gram"}


@pytest.mark.parametrize(
    ("deployment", "spec"),
    [
        ("sweep/sweep-cpu", {"seeds": "1-5"}),
        ("sweep/sweep-cpu", {"seeds": ""}),
        ("sweep/sweep-cpu", {"seeds": 3}),
        ("sweep/sweep-cpu", {"devices": "gpu"}),
        ("sweep/sweep-gpu", {"devices": "cuda:x"}),
        ("sweep/sweep-cpu", {"variant": "tied"}),
        ("sweep/sweep-cpu", {"steps": 0}),
        ("sweep/sweep-cpu", {"target": "letters"}),
        ("study/study-cpu", {"level": 1.0}),
        ("study/study-cpu", {"placement": "somewhere"}),
        ("sweep/sweep-cpu", {"momentum": 1}),
        ("sweep/sweep-cpu", {"engine": "fast"}),
        ("sweep/sweep-cpu", {"experiment": " "}),
        ("sweep/sweep-cpu", {"seedz": "0:3"}),
        ("count/count-cpu", {}),
        ("count/count-cpu", {"models": []}),
        ("count/count-cpu", {"models": [{**MODEL, "input": "3 by 8"}]}),
        ("count/count-cpu", {"models": [{"model": "torch.nn:Conv2d"}]}),
        ("verify/verify-cpu", {"sample": 0}),
        ("verify/verify-cpu", {"parent_run_id": "newest"}),
    ],
)
def test_invalid_parameters_of_a_deployment_are_refused_before_a_run_is_created(
    deployment: str, spec: dict[str, Any], prefect_server: PrefectServer, deployments: dict[str, Any]
) -> None:
    found = deployments[deployment]["id"]
    of_it = {"deployments": {"id": {"any_": [found]}}, "flow_runs": {"state": {"type": {"not_any_": ["SCHEDULED"]}}}}
    before = [one["id"] for one in prefect_server.ask("flow_runs/filter", of_it)]
    status, said = prefect_server.refused(f"deployments/{found}/create_flow_run", {"parameters": {"spec": spec}})
    assert status in (409, 422), said
    assert "alidation failed" in said
    assert [one["id"] for one in prefect_server.ask("flow_runs/filter", of_it)] == before


@pytest.mark.parametrize(
    ("deployment", "spec"),
    [
        ("sweep/sweep-cpu", {"seeds": " 0:3, 7 ", "devices": "cpu, cuda:1", "variant": "shared,untied"}),
        ("count/count-cpu", {"models": [{**MODEL, "input": "3x8x8;7"}]}),
        ("count/count-cpu", {"models": [{**MODEL, "input": None, "kwargs": {"input": {"size": "3x8x8"}}}]}),
        ("verify/verify-cpu", {"parent_run_id": "209d02a9", "experiment": "mine and yours"}),
        ("verify/verify-cpu", {"parent_run_id": None}),
    ],
)
def test_valid_parameters_of_a_deployment_create_a_run(
    deployment: str, spec: dict[str, Any], prefect_server: PrefectServer
) -> None:
    run_id = prefect_server.start_run(deployment, spec)
    assert prefect_server.run(run_id)["parameters"] == {"spec": spec}
    prefect_server.ask(f"flow_runs/{run_id}", method="DELETE")


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_registered_parameters_of_a_deployment_are_valid(name: str, prefect_server: PrefectServer) -> None:
    deployment = prefect_server.ask(f"deployments/name/{name}")
    run_id = prefect_server.start_run(name, deployment["parameters"]["spec"])
    prefect_server.ask(f"flow_runs/{run_id}", method="DELETE")


def test_a_scheduled_deployment_runs_once_at_a_time_and_queues_further_runs(deployments: dict[str, Any]) -> None:
    assert tuple(name for name in DEPLOYMENTS if deployments[name]["schedules"]) == SCHEDULED
    for name, one in deployments.items():
        limit = one["global_concurrency_limit"]
        assert (limit and limit["limit"]) == (1 if name in SCHEDULED else None)
        if name in SCHEDULED:
            assert one["concurrency_options"]["collision_strategy"] == "ENQUEUE"


@pytest.mark.parametrize(("name", "hour"), [("sweep/sweep-nightly", 2), ("verify/verify-nightly", 4)])
def test_a_schedule_that_is_resumed_gets_runs_at_the_hour_of_its_time_zone(
    name: str, hour: int, prefect_server: PrefectServer
) -> None:
    deployment = prefect_server.ask(f"deployments/name/{name}")
    (schedule,) = deployment["schedules"]
    path = f"deployments/{deployment['id']}/schedules/{schedule['id']}"
    elsewhere = {**schedule["schedule"], "timezone": "Asia/Kolkata"}
    of_it = {"deployments": {"id": {"any_": [deployment["id"]]}}}

    def scheduled() -> list[Any]:
        return [one for one in prefect_server.ask("flow_runs/filter", of_it) if one["auto_scheduled"]]

    prefect_server.ask(path, {"active": True, "schedule": elsewhere}, method="PATCH")
    try:
        runs = wait_until(scheduled, "the scheduler makes runs")
    finally:
        prefect_server.ask(path, {"active": False, "schedule": schedule["schedule"]}, method="PATCH")
    for run in runs:
        due = datetime.fromisoformat(run["expected_start_time"]).astimezone(ZoneInfo("Asia/Kolkata"))
        assert (due.hour, due.minute) == (hour, 0)
        assert run["parameters"] == deployment["parameters"]


def test_deployments_of_an_earlier_version_are_refused_until_they_are_registered_again(
    prefect_server: PrefectServer,
) -> None:
    path = f"deployments/{prefect_server.ask('deployments/name/verify/verify-cpu')['id']}"
    with connected(prefect_server):
        check_versions()
        prefect_server.ask(path, {"entrypoint": "flows.verify.verify"}, method="PATCH")
        try:
            with pytest.raises(SettingsError, match=r"run `python -m paramshare\.flows\.register`"):
                check_versions()
        finally:
            prefect_server.ask(path, {"entrypoint": "paramshare.flows.verify.verify"}, method="PATCH")


def test_the_installed_file_is_found_from_any_folder() -> None:
    file = find_file(None)
    assert file.is_absolute()
    assert file.read_text() == (ROOT / "prefect.yaml").read_text()
    assert set(names_in(read_file(file))) == set(DEPLOYMENTS)


@pytest.mark.parametrize("text", ["name: theirs\ndeployments: []\n", "deployments: []\n", "a: [", "- 1\n"])
def test_a_prefect_yaml_of_another_project_is_not_used(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("prefect.yaml").write_text(text)
    assert find_file(None).read_text() == (ROOT / "prefect.yaml").read_text()
    told = capsys.readouterr().err
    assert (told.count("\n"), "--file prefect.yaml" in told) == (1, True)


def test_a_changed_copy_of_our_prefect_yaml_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    copy = Path("prefect.yaml")
    copy.write_text((ROOT / "prefect.yaml").read_text().replace("- name: sweep-gpu\n", "- name: sweep-gpus\n"))
    assert find_file(None) == copy
    assert "sweep/sweep-gpus" in names_in(read_file(copy))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("text", ["", "3", "deployments: 3", "deployments: [{name: a}]", "deployments: [a]", "a: ["])
def test_a_file_that_holds_no_deployments_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"other\.yaml .*expected `deployments:`"):
        read_file(file)
