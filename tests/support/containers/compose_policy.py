"""What every service of the stack must keep to, asked of what `docker compose config --format json` says.

A policy is a function that names what breaks it. `docker compose config` itself finds nothing wrong with any of it.
"""

import re
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any, Final

Config = dict[str, Any]
Policy = Callable[[Config], Iterator[str]]

_SECRET_NAME: Final = re.compile(r"PASS|SECRET|TOKEN|KEY|AUTH|CREDENTIAL")
_NO_SECRET: Final = re.compile(r"on|off|/run/secrets/\w+")
_PASSWORD_IN_URL: Final = re.compile(r"://[^/@\s]*:[^/@\s]*@")
_QUIET: Final = {"DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


def violations(config: Config) -> list[str]:
    """Return everything that violates a policy; each begins with the name of the policy."""
    return [f"{policy.__name__}: {found}" for policy in POLICIES for found in policy(config)]


def _services(config: Config) -> Iterator[tuple[str, Config]]:
    yield from config["services"].items()


def _ends_by_itself(service: Config) -> bool:
    return str(service.get("restart")).partition(":")[0] in ("no", "on-failure")


def _is_watched(service: Config) -> bool:
    check = service.get("healthcheck") or {}
    return bool(check.get("test")) and not check.get("disable") and check["test"][0] != "NONE"


def ports_are_on_loopback(config: Config) -> Iterator[str]:
    for name, service in _services(config):
        for port in service.get("ports", []):
            address = port.get("host_ip") or "0.0.0.0"
            if not ip_address(address).is_loopback:
                yield f"{name} publishes {port['target']} on {address}"


def what_stays_up_is_watched(config: Config) -> Iterator[str]:
    for name, service in _services(config):
        if not _ends_by_itself(service) and not _is_watched(service):
            yield f"{name} has no health check"


def the_order_of_start_is_by_health(config: Config) -> Iterator[str]:
    for name, service in _services(config):
        for other, how in service.get("depends_on", {}).items():
            needed = config["services"].get(other, {})
            if how["condition"] == "service_healthy":
                if not _is_watched(needed):
                    yield f"{name} waits for the health of {other}, which has no check"
            elif how["condition"] != "service_completed_successfully":
                yield f"{name} does not wait until {other} is well"
            elif not _ends_by_itself(needed):
                yield f"{name} waits for the end of {other}, which is started again"


def what_ends_is_waited_for(config: Config) -> Iterator[str]:
    """Check that another service waits for it: otherwise `up --wait` fails when it has ended."""
    waited = {
        other
        for _, service in _services(config)
        for other, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_completed_successfully"
    }
    for name, service in _services(config):
        if _ends_by_itself(service) and not service.get("profiles") and name not in waited:
            yield f"nothing waits for the end of {name}"


def what_dies_is_started_again(config: Config) -> Iterator[str]:
    for name, service in _services(config):
        if service.get("restart") != "unless-stopped" and not _ends_by_itself(service):
            yield f"{name} restarts {service.get('restart')}"


def memory_and_processes_are_limited(config: Config) -> Iterator[str]:
    for name, service in _services(config):
        for limit in ("mem_limit", "pids_limit"):
            if not int(service.get(limit) or 0) > 0:
                yield f"{name} has no {limit}"


def logs_are_rotated(config: Config) -> Iterator[str]:
    for name, service in _services(config):
        options = service.get("logging", {}).get("options", {})
        if not options.get("max-size") or not int(options.get("max-file", 0)) > 1:
            yield f"{name} writes logs without end"


def stopping_has_a_time(config: Config) -> Iterator[str]:
    for name, service in _services(config):
        if "stop_grace_period" not in service:
            yield f"{name} has no stop_grace_period"


def the_root_is_read_only(config: Config) -> Iterator[str]:
    for name, service in _services(config):
        if not service.get("read_only"):
            yield f"{name} can write to its root"


def nothing_of_the_host_is_open(config: Config) -> Iterator[str]:
    for name, service in _services(config):
        for kind in ("network_mode", "pid", "ipc", "userns_mode", "devices", "cgroup_parent"):
            if service.get(kind):
                yield f"{name} has {kind}: {service[kind]}"
        for mount in service.get("volumes", []):
            if mount["type"] == "bind" and not mount.get("read_only"):
                yield f"{name} can write to {mount['source']} of the host"


def privileges_are_dropped(config: Config) -> Iterator[str]:
    for name, service in _services(config):
        if service.get("cap_drop") != ["ALL"] or service.get("cap_add"):
            yield f"{name} keeps capabilities"
        if "no-new-privileges:true" not in service.get("security_opt", []) or service.get("privileged"):
            yield f"{name} can gain privileges"


def nobody_is_root(config: Config) -> Iterator[str]:
    for name, service in _services(config):
        if str(service.get("user") or "root").partition(":")[0] in ("root", "0"):
            yield f"{name} runs as root"


def secrets_are_files(config: Config) -> Iterator[str]:
    for name, secret in config.get("secrets", {}).items():
        if not secret.get("file"):
            yield f"the secret {name} is no file"
    for name, service in _services(config):
        for variable, value in (service.get("environment") or {}).items():
            if _SECRET_NAME.search(variable) and not _NO_SECRET.fullmatch(value or "off"):
                yield f"{name} has a secret in {variable}"
            if _PASSWORD_IN_URL.search(value or ""):
                yield f"{name} has a password in {variable}"
        if _PASSWORD_IN_URL.search(" ".join(service.get("command") or [])):
            yield f"{name} has a password in its command"


def nothing_is_sent_home(config: Config) -> Iterator[str]:
    for name, service in _services(config):
        environment = service.get("environment") or {}
        if service.get("build") and any(environment.get(key) != value for key, value in _QUIET.items()):
            yield f"{name} sends telemetry"


def images_are_pinned(config: Config) -> Iterator[str]:
    for name, service in _services(config):
        image = service.get("image", "")
        if not service.get("build") and not re.search(r":\d[\w.-]*$|@sha256:\w+$", image):
            yield f"{name} takes whatever {image} is"


def databases_are_out_of_reach(config: Config) -> Iterator[str]:
    for name, service in _services(config):
        networks = [config["networks"][network] for network in service.get("networks") or {}]
        if "postgres" in service.get("image", "") and not (networks and all(one.get("internal") for one in networks)):
            yield f"{name} can be reached from outside of the stack"


POLICIES: Final[tuple[Policy, ...]] = (
    ports_are_on_loopback,
    what_stays_up_is_watched,
    the_order_of_start_is_by_health,
    what_ends_is_waited_for,
    what_dies_is_started_again,
    memory_and_processes_are_limited,
    logs_are_rotated,
    stopping_has_a_time,
    the_root_is_read_only,
    nothing_of_the_host_is_open,
    privileges_are_dropped,
    nobody_is_root,
    secrets_are_files,
    nothing_is_sent_home,
    images_are_pinned,
    databases_are_out_of_reach,
)
