"""Where a number came from: source, libraries, hardware. Read once a process, carried by every run."""

import getpass
import os
import platform
import re
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from paramshare.training.devices import cpu_cores, cpu_model, find_devices

__all__ = ["provenance", "provenance_tags"]

_BUILT_FROM = Path(__file__).with_name("COMMIT")  # written by docker/Dockerfile: an image holds no checkout
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
"""Variables that libraries read once, when they are loaded, and that change how products are rounded."""

_LIBRARIES = ("paramshare", "torch", "numpy", "mlflow", "prefect")


@cache
def provenance() -> dict[str, str]:
    """Tags by name: `git.commit`, `version.<library>`, `hardware.<what>`, `environment.<variable>`, `host`, `user`.

    What cannot be found is left out: a value is true or not there.
    """
    return {**(_git() or _built_from(_BUILT_FROM)), **_versions(), **_hardware(), **_environment()}


def provenance_tags() -> dict[str, str]:
    """The same as tags of an MLflow run: under MLflow's own names where it has them, else under ours."""
    found = provenance()
    tags = {f"paramshare.{name}": value for name, value in found.items()}
    for name, mlflows in (("user", "mlflow.user"), ("git.commit", "mlflow.source.git.commit")):
        if name in found:
            tags[mlflows] = tags.pop(f"paramshare.{name}")
    return tags


def _git() -> dict[str, str]:
    if _git_answer("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return {}  # not a checkout, or installed inside somebody else's
    commit = _git_answer("rev-parse", "HEAD")
    if commit is None:
        return {}
    changed = _git_answer("status", "--porcelain", "--untracked-files=no")
    return {"git.commit": commit, "git.dirty": str(bool(changed)).lower()}


def _built_from(file: Path) -> dict[str, str]:
    """The commit that a build noted, as `git describe --always --abbrev=40 --dirty` writes it; nothing without one."""
    try:
        noted = re.fullmatch(r"([0-9a-f]{40})(-dirty)?\s*", file.read_text())
    except OSError:
        return {}
    return {"git.commit": noted[1], "git.dirty": str(bool(noted[2])).lower()} if noted else {}


def _git_answer(*arguments: str) -> str | None:
    """What git says of the checkout that this file lies in; None where it lies in none."""
    source = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "-C", str(source), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _versions() -> dict[str, str]:
    found = {"version.python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[f"version.{library}"] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _environment() -> dict[str, str]:
    """Return the variables that change roundings and that nothing can set in a process that runs."""
    return {f"environment.{name}": os.environ[name] for name in _VARIABLES if os.environ.get(name)}


def _hardware() -> dict[str, str]:
    found = {
        "hardware.cpu": cpu_model(),
        "hardware.cores": str(cpu_cores()),
        "hardware.platform": platform.platform(),
        "host": platform.node(),
    }
    accelerators = [device.model for device in find_devices() if device.name != "cpu"]
    if accelerators:
        found["hardware.accelerators"] = ", ".join(accelerators)
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        found["hardware.memory_gib"] = f"{memory / 2**30:.0f}"
    try:
        found["user"] = getpass.getuser()
    except (OSError, KeyError):  # a container's uid without a name
        found["user"] = str(os.getuid())
    return found
