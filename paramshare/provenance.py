"""The provenance of numbers: source, libraries and hardware. It is read once per process and stored with every run."""

import getpass
import os
import platform
import re
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from paramshare.training.environment.devices import cpu_cores, cpu_model, find_devices

__all__ = ["provenance", "provenance_tags"]

_COMMIT_FILE = Path(__file__).with_name("COMMIT")  # written by docker/Dockerfile, since an image has no checkout
_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
)
"""Variables that libraries read once, when they are loaded, and that change the rounding of products."""

_LIBRARIES = ("paramshare", "torch", "numpy", "mlflow", "prefect")


@cache
def provenance() -> dict[str, str]:
    """Return the provenance by name.

    The names are `git.commit`, `git.dirty`, `version.<library>`, `hardware.<part>`, `environment.<variable>`, `host`
    and `user`. A value that cannot be found is omitted.
    """
    return {**(_git() or _commit_of(_COMMIT_FILE)), **_versions(), **_hardware(), **_environment()}


def provenance_tags() -> dict[str, str]:
    """Return the provenance as tags of an MLflow run: with MLflow's name of a tag if there is one."""
    origin = provenance()
    tags = {f"paramshare.{name}": value for name, value in origin.items()}
    for name, mlflow_name in (("user", "mlflow.user"), ("git.commit", "mlflow.source.git.commit")):
        if name in origin:
            tags[mlflow_name] = tags.pop(f"paramshare.{name}")
    return tags


def _git() -> dict[str, str]:
    if _git_output("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return {}  # not a checkout, or installed inside a checkout of another project
    commit = _git_output("rev-parse", "HEAD")
    if commit is None:
        return {}
    changed = _git_output("status", "--porcelain", "--untracked-files=no")
    return {"git.commit": commit, "git.dirty": str(bool(changed)).lower()}


def _commit_of(file: Path) -> dict[str, str]:
    """Read the commit that a build wrote, in the form of `git describe --always --abbrev=40 --dirty`.

    The result is empty if there is no such file.
    """
    try:
        match = re.fullmatch(r"([0-9a-f]{40})(-dirty)?\s*", file.read_text())
    except OSError:
        return {}
    return {"git.commit": match[1], "git.dirty": str(bool(match[2])).lower()} if match else {}


def _git_output(*arguments: str) -> str | None:
    """Run git in the checkout of this file and return its output; None if it fails, as without a checkout."""
    source = Path(__file__).parent
    try:
        process = subprocess.run(
            ["git", "-C", str(source), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout.strip()


def _versions() -> dict[str, str]:
    versions = {"version.python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            versions[f"version.{library}"] = version(library)
        except PackageNotFoundError:
            continue
    return versions


def _environment() -> dict[str, str]:
    """Return the variables that change roundings. A running process cannot change their effect."""
    return {f"environment.{name}": os.environ[name] for name in _VARIABLES if os.environ.get(name)}


def _hardware() -> dict[str, str]:
    hardware = {
        "hardware.cpu": cpu_model(),
        "hardware.cores": str(cpu_cores()),
        "hardware.platform": platform.platform(),
        "host": platform.node(),
    }
    accelerators = [device.model for device in find_devices() if device.name != "cpu"]
    if accelerators:
        hardware["hardware.accelerators"] = ", ".join(accelerators)
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        hardware["hardware.memory_gib"] = f"{memory / 2**30:.0f}"
    try:
        hardware["user"] = getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in a container
        hardware["user"] = str(os.getuid())
    return hardware
