"""A Docker engine for the tests: a running one, or the one whose script is beside the checkout."""

import os
import shutil
import subprocess
from functools import cache

from support import ROOT

SCRIPT = ROOT.parent / "shared" / "container-engine" / "engine.sh"


@cache
def why_no_engine() -> str | None:
    """Return why there is no engine here; None if one answers to `docker`."""
    if _answers():
        return None
    if not SCRIPT.exists():
        return "no Docker engine answers (`docker version`)"
    started = subprocess.run([SCRIPT, "up"], capture_output=True, text=True)
    if started.returncode:
        return f"no Docker engine answers, and none could be started: {started.stderr.strip()[-300:]}"
    os.environ["DOCKER_HOST"] = started.stdout.strip().removeprefix("export DOCKER_HOST=")
    subprocess.run([SCRIPT, "bases"], capture_output=True, check=True)
    return None


def docker(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a docker command, and return the result of a success or failure."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, env=os.environ | settings)


def _answers() -> bool:
    return bool(shutil.which("docker")) and docker("version").returncode == 0
