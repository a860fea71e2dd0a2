"""The stack does what a user of a server gets: after `docker compose up` the deployments are there, what
one of them trains stands in MLflow whole and is shown by both servers' pages, a sweep from a laptop does the same, and
a schedule fires. Nothing listens beyond loopback, no container can gain privileges, no secret is in an environment, a
foreign Host or Origin is refused.

Real containers from the images that are there, a real browser; tests that hurt the stack are in the files beside this.
"""

import json
import os
import re
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import CronSchedule

from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.display.urls import run_url
from support.chromium import Page, find_chromium, running_chromium, sees
from support.command_line import PROGRAM, SMALL, clean_environment
from support.containers.compose_stack import MLFLOW_IMAGE, PATIENCE, SERVICES, Stack, check_sweep, request
from support.toy_recipe import NEIGHBOUR, RECIPE
from support.tracking.sweep_checks import runs_of
from support.waiting import wait_until

MLFLOW_SEARCH = "/api/2.0/mlflow/experiments/search"
DEPLOYMENTS = {
    "sweep/sweep-cpu", "sweep/sweep-nightly",
    "study/study-cpu", "count/count-cpu", "verify/verify-cpu", "verify/verify-nightly",
}  # fmt: skip


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """Open a tab of a browser that can reach loopback only."""
    program = find_chromium()
    if program is None:
        pytest.skip("no chromium on the PATH: apt-get install chromium")
    with running_chromium(program) as browser, browser.page(height=2000) as tab:
        yield tab


def test_every_deployment_without_a_gpu_is_registered_with_its_pool_and_schedules_are_paused(stack: Stack) -> None:
    with stack.client() as client:
        found = client.read_deployments()
        names = {f"{client.read_flow(one.flow_id).name}/{one.name}": one for one in found}
    assert set(names) == DEPLOYMENTS
    assert {one.work_pool_name for one in found} == {"cpu"}
    assert all(one.description and one.tags for one in found)
    schedules = [schedule for one in found for schedule in one.schedules]
    assert schedules
    assert not any(schedule.active for schedule in schedules)


def test_a_deployment_started_through_the_api_finishes_with_complete_runs_in_mlflow(
    stack: Stack, swept: FlowRun
) -> None:
    assert swept.state is not None
    assert (swept.state.name, swept.state.message) == ("Completed", "6 of 6 runs finished")
    check_sweep(stack, "swept", 6)
    (parent,) = runs_of(stack.store("swept"), "sweep")
    assert parent.data.tags["prefect.flow_run_id"] == str(swept.id)


def test_invalid_parameters_of_a_flow_run_are_refused_before_a_run_starts(stack: Stack) -> None:
    with stack.client() as client:
        deployment = client.read_deployment_by_name("sweep/sweep-cpu")
        with pytest.raises(Exception, match=r"409|422"):
            client.create_flow_run_from_deployment(deployment.id, parameters={"spec": {"steps": -1}})


@pytest.mark.browser
def test_the_mlflow_pages_show_a_run_with_loss_model_and_plot(stack: Stack, swept: FlowRun, page: Page) -> None:
    store = stack.store("swept")
    run = runs_of(store, "seed")[0]
    page.open(run_url(f"{stack.mlflow}/", store.experiment_id, run.info.run_id))
    sees(page, run.info.run_name, "final/loss_mean_depth", "batch_size", "Logged models")
    page.open(run_url(f"{stack.mlflow}/", store.experiment_id, f"{run.info.run_id}/artifacts/loss.png"))
    page.wait_until("[...document.images].some(image => image.complete && image.naturalWidth >= 600)")


@pytest.mark.browser
def test_the_bare_address_of_mlflow_opens_for_trainings(stack: Stack, page: Page) -> None:
    page.open(f"{stack.mlflow}/")
    sees(page, "Model registry")  # it is in the menu of this mode alone
    assert "usage data" not in page.text()


@pytest.mark.browser
def test_the_prefect_pages_show_the_flow_run_and_its_report(stack: Stack, swept: FlowRun, page: Page) -> None:
    page.open(f"{stack.prefect}/runs/flow-run/{swept.id}")
    sees(page, swept.name, "Completed")


@pytest.mark.browser
def test_the_prefect_form_of_a_run_has_every_field_with_a_description(stack: Stack, page: Page) -> None:
    with stack.client() as client:
        deployment = client.read_deployment_by_name("sweep/sweep-cpu").id
    page.open(f"{stack.prefect}/deployments/deployment/{deployment}/run")
    fields = SweepSpec.model_fields
    described = [field.description.split(";")[0].split(":")[0] for field in fields.values() if field.description]
    assert len(described) == len(fields)
    shown = json.dumps([one.lower() for one in described])
    page.wait_until(f"{shown}.every(text => document.body.innerText.toLowerCase().includes(text))")
    assert page.evaluate("document.querySelectorAll('input, textarea, select').length") >= 10


def test_a_recipe_in_the_mounted_folder_is_trained_by_a_deployment_and_the_command_line(stack: Stack) -> None:
    folder = stack.folder / "recipes"
    (folder / "noise.py").write_text(NEIGHBOUR)
    (folder / "toy.py").write_text(RECIPE)
    spec = {
        "target": "recipes/toy.py:Toy", "options": {"steps": 3}, "variant": "local", "seeds": "0:2", "devices": "cpu",
        "experiment": "recipe",
    }  # fmt: skip
    run = stack.ended(stack.start_flow("sweep/sweep-cpu", spec))
    assert run.state is not None
    assert (run.state.name, run.state.message) == ("Completed", "2 of 2 runs finished")
    command = ["train", "recipes/toy.py:Toy", "--steps", "3", "--variant", "local", "--seeds", "0:3", "--json"]
    printed = stack.compose(
        "run", "--rm", "-T", "cli", *command, "--experiment", "recipe", "--devices", "cpu", "--json"
    )
    assert [row["reused"] for row in json.loads(printed)["runs"]] == [True, True, False]


def test_a_client_outside_the_stack_trains_into_it_with_one_setting(stack: Stack, tmp_path: Path) -> None:
    done = subprocess.run(
        [*PROGRAM, "train", "--json", "--seeds", "0:4", "--experiment", "by-laptop", *SMALL],
        env={**clean_environment(tmp_path), "PARAMSHARE_TRACKING_URI": stack.mlflow},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    check_sweep(stack, "by-laptop", 4)


def test_a_schedule_starts_a_flow_run_that_finishes(stack: Stack) -> None:
    with stack.client() as client:
        deployment = client.read_deployment_by_name("count/count-cpu")
        every_minute = CronSchedule(cron="* * * * *", timezone="UTC")
        (schedule,) = client.create_deployment_schedules(deployment.id, [(every_minute, True)])
    try:

        def fired() -> FlowRun | None:
            with stack.client() as client:
                runs = client.read_flow_runs()
            ended = [run for run in runs if run.auto_scheduled and run.state and run.state.is_final()]
            return ended[0] if ended else None

        run = wait_until(fired, "a scheduled run has ended", every=2)
        assert run.deployment_id == deployment.id
        assert run.state is not None
        assert run.state.name == "Completed"
    finally:
        with stack.client() as client:
            client.delete_deployment_schedule(deployment.id, schedule.id)


def test_the_gpu_worker_sees_every_gpu_and_serves_its_pool(stack: Stack) -> None:
    """Where there is no GPU, a stub on the engine's PATH lets it accept the request: see its README."""
    asked = ["docker", "run", "--rm", "--gpus=all", "--network=none", "--entrypoint=true", MLFLOW_IMAGE]
    if subprocess.run(asked, capture_output=True).returncode:
        pytest.skip("this engine has no GPUs to hand out, and no stub that says so")
    override = stack.folder / "gpu.json"
    command = ["python", "-m", "paramshare.flows.worker", "--pool", "gpu", "--devices", "0,1"]
    override.write_text(json.dumps({"services": {"worker-gpu": {"command": command}}}))
    files = ("docker/compose.yaml", "docker/secrets/clone.yaml", str(override))
    settings = {"COMPOSE_PROFILES": "gpu", "COMPOSE_FILE": os.pathsep.join(files)}
    try:
        stack.up("worker-gpu", **settings)
        (device,) = stack.container("worker-gpu")["HostConfig"]["DeviceRequests"]
        assert (device["Driver"], device["Count"], device["Capabilities"]) == ("nvidia", -1, [["gpu"]])

        def both_online() -> bool | None:  # they are well a moment before Prefect has heard of them
            with stack.client() as client:
                workers = client.read_workers_for_work_pool("gpu")
            return [one.status for one in workers] == ["ONLINE"] * 2 or None

        wait_until(both_online, "a worker for each of the two GPUs is online")
        with stack.client() as client:
            assert client.read_deployment_by_name("sweep/sweep-gpu").work_pool_name == "gpu"
    finally:
        stack.compose("rm", "--stop", "--force", "worker-gpu", **settings)


@pytest.mark.parametrize("service", SERVICES)
def test_no_process_of_a_container_has_or_can_gain_a_privilege(stack: Stack, service: str) -> None:
    said = stack.inside(service, "sh", "-c", "cat /proc/[0-9]*/status")
    for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"):
        assert set(re.findall(rf"^{name}:\s*(\w+)", said, re.MULTILINE)) == {"0" * 16}, name
    assert set(re.findall(r"^NoNewPrivs:\s*(\d)", said, re.MULTILINE)) == {"1"}
    assert "0" not in set(re.findall(r"^Uid:\s*(\d+)", said, re.MULTILINE))
    root = stack.inside(service, "cat", "/proc/mounts").splitlines()[0].split()
    assert root[1] == "/"
    assert "ro" in root[3].split(",")


def test_every_published_port_listens_on_loopback_only(stack: Stack) -> None:
    published = {service: stack.container(service)["NetworkSettings"]["Ports"] for service in SERVICES}
    addresses = [binding for ports in published.values() for bound in ports.values() for binding in bound or []]
    assert Counter(binding["HostIp"] for binding in addresses) == {"127.0.0.1": 2}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it tells which address of ours leads outside
        except OSError:
            pytest.skip("this machine has no other address than loopback")
        outside = probe.getsockname()[0]
    for port in (stack.mlflow_port, stack.prefect_port):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        with pytest.raises(OSError, match=r"refused|timed out"):
            socket.create_connection((outside, port), timeout=5)


def test_a_worker_cannot_reach_the_database(stack: Stack) -> None:
    reach = "import socket\ntry: socket.create_connection(('postgres', 5432), timeout=5)\nexcept OSError: print('no')"
    assert stack.inside("worker", "python", "-c", reach) == "no\n"


def test_no_configuration_of_a_container_contains_a_secret(stack: Stack) -> None:
    folder = stack.folder / "docker" / "secrets"
    names = [file.name for file in folder.iterdir() if file.suffix != ".yaml"]  # of the clone: no secret
    secrets = [stack.secret(name).removeprefix("admin:") for name in names]
    assert len(secrets) == 6
    for service in (*SERVICES, "init"):
        known = json.dumps(stack.container(service))
        assert not [name for name, secret in zip(names, secrets, strict=True) if secret in known], service
    assert not [name for name, secret in zip(names, secrets, strict=True) if secret in stack.compose("logs")]


def test_mlflow_refuses_a_foreign_host_and_a_foreign_origin(stack: Stack) -> None:
    own = f"127.0.0.1:{stack.mlflow_port}"
    body = json.dumps({"max_results": 1})
    kind = {"Content-Type": "application/json"}
    assert request(stack.mlflow_port, "POST", MLFLOW_SEARCH, {"Host": own, **kind}, body)[0] == 200
    assert request(stack.mlflow_port, "POST", MLFLOW_SEARCH, {"Host": "evil.example", **kind}, body)[0] == 403
    assert request(stack.mlflow_port, "GET", "/", {"Host": f"evil.example:{stack.mlflow_port}"})[0] == 403
    origin = {"Host": own, "Origin": "http://evil.example", **kind}
    assert request(stack.mlflow_port, "POST", MLFLOW_SEARCH, origin, body)[0] == 403


def test_prefect_refuses_a_foreign_host_and_a_foreign_origin(stack: Stack) -> None:
    own = f"127.0.0.1:{stack.prefect_port}"
    assert request(stack.prefect_port, "GET", "/api/admin/version", {"Host": own})[0] == 200
    for path in ("/api/admin/version", "/api/health", "/", "/ui-settings"):
        assert request(stack.prefect_port, "GET", path, {"Host": "evil.example"})[0] == 403
        assert request(stack.prefect_port, "GET", path, {"Host": own, "Origin": "http://evil.example"})[0] == 403
    kind = {"Content-Type": "application/json"}
    assert request(stack.prefect_port, "POST", "/api/flow_runs/filter", {"Host": own, **kind}, "{}")[0] == 403
