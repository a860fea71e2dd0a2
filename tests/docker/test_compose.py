"""Test of the stack's compose files, without starting anything: they are valid with every profile and setting, every
service keeps to every policy of `compose_policy`, and each of those policies is broken by an example that breaks it.

What needs the docker command is skipped where there is none; no engine has to run.
"""

import atexit
import copy
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from support import ROOT
from support.containers.compose_policy import POLICIES, Config, violations

PROFILES = ("gpu", "cli")


@cache
def _has_compose() -> bool:
    return shutil.which("docker") is not None and not subprocess.run(["docker", "compose", "version"]).returncode


needs_compose = pytest.mark.skipif(not _has_compose(), reason="no `docker compose` here")


@cache
def _clone() -> Path:
    """Return a folder with the files that compose reads, those of `make secrets` too."""
    folder = Path(tempfile.mkdtemp(prefix="paramshare-test-"))
    atexit.register(shutil.rmtree, folder)
    shutil.copy(ROOT / "compose.yaml", folder)
    shutil.copytree(ROOT / "docker", folder / "docker", ignore=shutil.ignore_patterns("secrets"))
    own = {**os.environ, "COMPOSE_PROJECT_NAME": "paramshare-test-compose"}
    subprocess.run([folder / "docker" / "secrets.sh"], env=own, check=True, capture_output=True)
    return folder


def config_of(*files: str, profiles: tuple[str, ...] = (), **settings: str) -> Config:
    """What compose makes of the files, with no setting but these."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("STACK_", "COMPOSE_"))}
    command = ["docker", "compose", "--env-file", os.devnull]
    command += [word for file in files for word in ("-f", file)]
    command += [word for profile in profiles for word in ("--profile", profile)]
    done = subprocess.run(
        [*command, "config", "--format", "json"],
        cwd=_clone(),
        env={**environment, **settings},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # a variable that nobody sets is only warned of
    return dict(json.loads(done.stdout))


@needs_compose
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ("http://127.0.0.1:5000", "http://127.0.0.1:4200")),
        (
            {"STACK_MLFLOW_PORT": "5001", "STACK_PREFECT_PORT": "4201"},
            ("http://127.0.0.1:5001", "http://127.0.0.1:4201"),
        ),
        (
            {"STACK_MLFLOW_URL": "https://mlflow.example", "STACK_PREFECT_URL": "https://prefect.example"},
            ("https://mlflow.example", "https://prefect.example"),
        ),
    ],
)
def test_links_begin_with_the_address_that_browsers_use(settings: dict[str, str], expected: tuple[str, str]) -> None:
    environment = config_of(**settings)["services"]["worker"]["environment"]
    assert (environment["PARAMSHARE_PAGES_URL"], environment["PREFECT_UI_URL"]) == expected


@needs_compose
@pytest.mark.parametrize(
    "profiles", [taken for n in range(len(PROFILES) + 1) for taken in itertools.combinations(PROFILES, n)]
)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"STACK_TORCH": "cpu", "STACK_MLFLOW_PASSWORD": "on", "STACK_PREFECT_PASSWORD": "on"},
        {"STACK_TORCH": "cuda", "STACK_TORCH_INDEX": "https://wheels.example/cuda", "STACK_BIND": "127.0.0.2"},
        {"STACK_MLFLOW_PORT": "5001", "STACK_PREFECT_PORT": "4201", "STACK_HOSTS": "one.example,two.example:8443"},
        {"STACK_RECIPES": "/srv/recipes", "STACK_WHEELS": "/srv/wheels"},
        {"COMPOSE_PROJECT_NAME": "second", "STACK_IMAGES": "second"},
        {"STACK_SCHEDULES": "active", "STACK_TIMEZONE": "Europe/Berlin", "STACK_WORKER_MEMORY": "64g"},
    ],
    ids=lambda settings: ",".join(settings) or "nothing set",
)
def test_every_service_follows_every_policy_with_every_profile_and_setting(
    profiles: tuple[str, ...], settings: dict[str, str]
) -> None:
    config = config_of(profiles=profiles, **settings)
    assert violations(config) == []
    expected = {"postgres", "mlflow", "prefect", "init", "worker"}
    expected |= ({"worker-gpu", "init-gpu"} if "gpu" in profiles else set()) | ({"cli"} if "cli" in profiles else set())
    assert {name for name in config["services"] if not name.startswith("clone-")} == expected


@needs_compose
def test_the_compose_file_at_the_root_adds_the_check_of_the_clone_to_the_stack_and_nothing_else() -> None:
    alone, whole = config_of("docker/compose.yaml", profiles=PROFILES), config_of(profiles=PROFILES)
    (check,) = {*whole["services"]} - {*alone["services"]}
    assert whole["services"]["postgres"].pop("depends_on") == {
        check: {"condition": "service_completed_successfully", "required": True}
    }
    del whole["services"][check]
    assert whole == {key: value for key, value in alone.items() if not key.startswith("x-")}


@needs_compose
def test_every_service_waits_until_the_clone_is_checked() -> None:
    services = config_of(profiles=PROFILES)["services"]
    (check,) = (name for name in services if name.startswith("clone-"))

    def waits(name: str) -> bool:
        return name == check or any(waits(other) for other in services[name].get("depends_on", ()))

    assert [name for name in services if not waits(name)] == []


@needs_compose
def test_the_images_have_the_version_as_their_tag_and_the_commit_as_another() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    services = config_of(profiles=PROFILES, STACK_COMMIT="abc")["services"]
    assert services["mlflow"]["image"] == f"paramshare-mlflow:{version}"
    assert services["mlflow"]["build"]["tags"] == ["paramshare-mlflow:abc"]
    for name in ("worker", "worker-gpu", "prefect", "init", "cli"):
        assert services[name]["image"] == f"paramshare:{version}-cuda"
        assert services[name]["build"]["tags"] == ["paramshare:abc-cuda"]
        assert services[name]["build"]["args"]["VERSION"] == version
    assert config_of(STACK_VERSION="abc")["services"]["worker"]["image"] == "paramshare:abc-cuda"


@needs_compose
def test_each_setting_changes_its_value_in_the_configuration() -> None:
    usual, other = (
        config_of(profiles=("gpu",), **settings)["services"]
        for settings in (
            {},
            {
                "STACK_TORCH": "cpu",
                "STACK_MLFLOW_PORT": "5001",
                "STACK_PREFECT_PORT": "4201",
                "STACK_SCHEDULES": "active",
                "STACK_TIMEZONE": "Europe/Berlin",
                "STACK_MLFLOW_PASSWORD": "on",
                "STACK_PREFECT_PASSWORD": "on",
                "STACK_HOSTS": "one.example",
            },
        )
    )
    for name in ("worker", "worker-gpu", "prefect", "init"):  # one image, of the torch that pip's index has
        for services, torch in ((usual, "cuda"), (other, "cpu")):
            assert services[name]["image"].endswith(f"-{torch}")
            assert services[name]["build"]["args"]["TORCH_VARIANT"] == torch
    assert {usual[name]["ports"][0]["published"] for name in ("mlflow", "prefect")} == {"5000", "4200"}
    for name, port in (("mlflow", "5001"), ("prefect", "4201")):
        assert other[name]["ports"][0]["published"] == other[name]["environment"]["STACK_PORT"] == port
        assert other[name]["environment"]["STACK_HOSTS"] == "one.example"
    for of, names in (("MLFLOW", ("mlflow",)), ("PREFECT", ("prefect", "init", "init-gpu"))):
        for name in (*names, "worker", "worker-gpu"):
            assert usual[name]["environment"][f"STACK_{of}_PASSWORD"] == "off"
            assert other[name]["environment"][f"STACK_{of}_PASSWORD"] == "on"
    schedules = ("STACK_SCHEDULES", "STACK_TIMEZONE")
    assert [usual["init"]["environment"][name] for name in schedules] == ["paused", "UTC"]
    assert [other["init"]["environment"][name] for name in schedules] == ["active", "Europe/Berlin"]


@needs_compose
def test_the_gpu_worker_alone_requests_every_gpu() -> None:
    services = config_of(profiles=PROFILES)["services"]
    devices = {name: service["deploy"] for name, service in services.items() if service.get("deploy")}
    assert set(devices) == {"worker-gpu"}
    (device,) = devices["worker-gpu"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", -1, ["gpu"])


@pytest.mark.skipif(not shutil.which("check-jsonschema"), reason="no check-jsonschema here: pip install it")
@pytest.mark.parametrize("file", ["compose.yaml", "docker/compose.yaml", "docker/clone.template.yaml"])
def test_the_compose_files_match_the_schema_of_the_compose_specification(file: str) -> None:
    command = ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", file]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# One service that keeps to every policy, what it waits for, and a database.
SOUND: Config = {
    "services": {
        "server": {
            "build": {"context": "."},
            "image": "ours",
            "user": "10001:10001",
            "restart": "unless-stopped",
            "healthcheck": {"test": ["CMD", "true"]},
            "ports": [{"host_ip": "127.0.0.1", "target": 80, "published": "80"}],
            "depends_on": {
                "once": {"condition": "service_completed_successfully"},
                "database": {"condition": "service_healthy"},
            },
            "environment": {
                "DO_NOT_TRACK": "1",
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                "STACK_PASSWORD": "off",
            },
            "networks": {"open": None, "closed": None},
        },
        "once": {"image": "other:1.2", "user": "nobody", "restart": "no"},
        "database": {
            "image": "postgres:17",
            "user": "postgres",
            "restart": "unless-stopped",
            "healthcheck": {"test": ["CMD", "true"]},
            "environment": {"POSTGRES_PASSWORD_FILE": "/run/secrets/password"},
            "networks": {"closed": None},
        },
    },
    "networks": {"open": {}, "closed": {"internal": True}},
    "secrets": {"password": {"file": "secrets/password"}},
}
for _service in SOUND["services"].values():
    _service |= {
        "mem_limit": "1024",
        "pids_limit": 10,
        "stop_grace_period": "10s",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "logging": {"driver": "json-file", "options": {"max-size": "1m", "max-file": "2"}},
    }

GONE = object()
BROKEN: list[tuple[str, str, Any, str]] = [
    ("server", "ports", [{"target": 80, "published": "80"}], "ports_are_on_loopback"),
    ("server", "ports", [{"host_ip": "0.0.0.0", "target": 80}], "ports_are_on_loopback"),
    ("server", "ports", [{"host_ip": "::", "target": 80}], "ports_are_on_loopback"),
    ("server", "healthcheck", GONE, "what_stays_up_is_watched"),
    ("server", "healthcheck", {"disable": True}, "what_stays_up_is_watched"),
    ("server", "healthcheck", {"test": ["NONE"]}, "what_stays_up_is_watched"),
    ("database", "healthcheck", GONE, "the_order_of_start_is_by_health"),
    ("once", "restart", "unless-stopped", "the_order_of_start_is_by_health"),
    ("server", "depends_on", {"once": {"condition": "service_started"}}, "the_order_of_start_is_by_health"),
    ("server", "depends_on", GONE, "what_ends_is_waited_for"),
    ("server", "restart", GONE, "what_dies_is_started_again"),
    ("server", "restart", "always", "what_dies_is_started_again"),
    ("server", "mem_limit", GONE, "memory_and_processes_are_limited"),
    ("server", "mem_limit", "0", "memory_and_processes_are_limited"),
    ("server", "pids_limit", -1, "memory_and_processes_are_limited"),
    ("server", "logging", GONE, "logs_are_rotated"),
    ("server", "logging", {"options": {"max-size": "1m"}}, "logs_are_rotated"),
    ("server", "stop_grace_period", GONE, "stopping_has_a_time"),
    ("server", "read_only", False, "the_root_is_read_only"),
    ("server", "network_mode", "host", "nothing_of_the_host_is_open"),
    ("server", "volumes", [{"type": "bind", "source": "/run/docker.sock"}], "nothing_of_the_host_is_open"),
    ("server", "cap_drop", ["NET_RAW"], "privileges_are_dropped"),
    ("server", "cap_add", ["SYS_ADMIN"], "privileges_are_dropped"),
    ("server", "security_opt", ["no-new-privileges:false"], "privileges_are_dropped"),
    ("server", "privileged", True, "privileges_are_dropped"),
    ("server", "user", GONE, "nobody_is_root"),
    ("server", "user", "0:10001", "nobody_is_root"),
    ("database", "environment", {"POSTGRES_PASSWORD": "hunter2"}, "secrets_are_files"),
    ("database", "environment", {"URL": "postgresql://me:hunter2@database/it"}, "secrets_are_files"),
    ("database", "command", ["--store=postgresql://me:hunter2@database/it"], "secrets_are_files"),
    ("server", "environment", {"DO_NOT_TRACK": "1"}, "nothing_is_sent_home"),
    ("once", "image", "other", "images_are_pinned"),
    ("once", "image", "other:latest", "images_are_pinned"),
    ("database", "networks", {"closed": None, "open": None}, "databases_are_out_of_reach"),
    ("database", "networks", GONE, "databases_are_out_of_reach"),
]


def test_a_stack_that_follows_every_policy_has_no_violation() -> None:
    assert violations(SOUND) == []


@pytest.mark.parametrize(("service", "name", "value", "policy"), BROKEN)
def test_a_violated_policy_is_named_with_its_cause(service: str, name: str, value: Any, policy: str) -> None:
    config = copy.deepcopy(SOUND)
    if value is GONE:
        del config["services"][service][name]
    else:
        config["services"][service][name] = value
    assert policy in {found.partition(":")[0] for found in violations(config)}


def test_a_secret_from_the_environment_violates_a_policy() -> None:
    config = {**SOUND, "secrets": {"password": {"environment": "PASSWORD"}}}
    assert violations(config) == ["secrets_are_files: the secret password is no file"]


def test_every_policy_has_a_test_that_violates_it() -> None:
    assert {policy for *_, policy in BROKEN} == {policy.__name__ for policy in POLICIES}


@needs_compose
def test_a_second_stack_shares_no_name_with_the_first() -> None:
    first, second = config_of(), config_of(COMPOSE_PROJECT_NAME="second", STACK_IMAGES="second")
    for kind in ("volumes", "networks"):
        names = [{entry["name"] for entry in config[kind].values()} for config in (first, second)]
        assert names[0].isdisjoint(names[1])
    built = [
        {entry["image"] for entry in config["services"].values() if "build" in entry} for config in (first, second)
    ]
    assert built[0].isdisjoint(built[1])
