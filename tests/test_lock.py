"""What is installed is what the lock files say, and these keep to the ranges of pyproject.toml."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
LOCKS = (
    "requirements.lock", "requirements-dask.lock", "requirements-dev.lock", "requirements-bench.lock",
    "requirements-mlflow.lock", "requirements-sbom.lock", "requirements-uv.lock", "requirements-torch-cpu.lock",
    "requirements-torch-cuda.lock",
)  # fmt: skip
PIN = re.compile(r"^([\w.-]+)==([^\s;\\]+)(?: ;([^\\]*))?")


def pins(lock: str) -> dict[str, str]:
    """Return the versions that a lock pins on this platform, by name."""
    found = {}
    for line in (ROOT / lock).read_text().splitlines():
        match = PIN.match(line)
        if match and (not match[3] or Marker(match[3].strip()).evaluate()):
            found[match[1].lower()] = match[2]
    return found


def declared() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    return [Requirement(text) for text in [*project["dependencies"], *chain.from_iterable(extras)]]


def torch_pin() -> dict[str, str]:
    return {"torch": pins("requirements-torch-cuda.lock")["torch"]}


def test_the_installed_versions_are_the_locked_versions() -> None:
    wrong = {}
    for name, pinned in {**pins("requirements-dev.lock"), **torch_pin()}.items():
        try:
            installed = Version(version(name)).public
        except PackageNotFoundError:
            installed = "missing"
        if installed != pinned:
            wrong[name] = (installed, pinned)
    assert not wrong, "run `make install-dev`: (installed, locked) differ"


def test_every_declared_dependency_is_locked_within_its_range() -> None:
    locked = {**pins("requirements-dev.lock"), **pins("requirements-bench.lock"), **torch_pin()}
    for requirement in declared():
        assert requirement.specifier.contains(locked[requirement.name.lower()]), str(requirement)


def test_the_lock_of_the_tools_contains_the_lock_of_the_product_unchanged() -> None:
    assert pins("requirements.lock").items() <= pins("requirements-dev.lock").items()


def test_the_lock_of_dask_extends_that_of_the_product_and_is_part_of_that_of_the_tools() -> None:
    assert not pins("requirements.lock").keys() & pins("requirements-dask.lock").keys()
    assert pins("requirements-dask.lock").items() <= pins("requirements-dev.lock").items()


def test_the_lock_of_the_benchmarks_changes_no_version_of_the_lock_of_the_tools() -> None:
    assert not pins("requirements-dev.lock").keys() & pins("requirements-bench.lock").keys()


def test_the_lock_of_the_mlflow_server_has_the_versions_of_its_clients_and_no_torch() -> None:
    server, known = pins("requirements-mlflow.lock"), {**pins("requirements.lock"), **pins("requirements-bench.lock")}
    assert {name for name in server if server[name] != known.get(name)} == {"flask-wtf", "wtforms"}
    assert {"mlflow", "psycopg", "psycopg-binary", "gunicorn"} <= server.keys()
    assert not {"torch", "prefect"} & server.keys()


def test_both_builds_of_torch_are_locked_in_one_version() -> None:
    cpu = pins("requirements-torch-cpu.lock")
    assert cpu == {"torch": f"{torch_pin()['torch']}+cpu"}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes_and_no_address_of_an_index(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    blocks = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in block for block in blocks)
