"""`make secrets` makes every secret that the stack asks for, each once and each another, where nobody but
their owner gets at them; and git knows none of them.
"""

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker" / "compose.yaml").read_text()
NAMES = set(re.findall(r"file: \./secrets/(\w+)", COMPOSE))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a copy of the program has made them."""
    (tmp_path / "docker").mkdir()
    for name in ("secrets.sh", "clone.template.yaml"):
        shutil.copy(ROOT / "docker" / name, tmp_path / "docker")
    made(tmp_path / "docker" / "secrets")
    return tmp_path / "docker" / "secrets"


def made(folder: Path) -> str:
    own = {**os.environ, "COMPOSE_PROJECT_NAME": "paramshare-test-secrets"}  # no stack of this machine has this name
    done = subprocess.run(["sh", folder.parent / "secrets.sh"], check=True, capture_output=True, text=True, env=own)
    return done.stdout


def test_exactly_the_secrets_that_compose_names_are_created(folder: Path) -> None:
    assert NAMES
    assert {file.name for file in folder.iterdir()} == {*NAMES, "clone.yaml"}


def test_the_folder_of_secrets_is_private_and_its_files_are_read_only_for_others(
    folder: Path,
) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o644}


def test_secrets_are_different_and_long_enough(folder: Path) -> None:
    secrets = {name: (folder / name).read_text() for name in NAMES}
    assert secrets["prefect_auth"].startswith("admin:")
    parts = [secret.removeprefix("admin:") for secret in secrets.values()]
    assert len(set(parts)) == len(parts)
    assert all(re.fullmatch(r"[0-9a-f]{48}", part) for part in parts)


def test_existing_secrets_are_kept_and_missing_ones_are_created(folder: Path) -> None:
    before = {file.name: file.read_text() for file in folder.iterdir()}
    assert made(folder) == ""
    (folder / "mlflow_flask_key").unlink()
    assert "mlflow_flask_key" in made(folder)
    after = {file.name: file.read_text() for file in folder.iterdir()}
    assert after.pop("mlflow_flask_key") != before.pop("mlflow_flask_key")
    assert after == before


def test_each_clone_has_a_name_of_its_own_and_keeps_it(folder: Path) -> None:
    file = folder / "clone.yaml"
    name = re.findall(r"^  (clone-[0-9a-f]{12}):$", file.read_text(), re.MULTILINE)
    assert len(name) == 1
    assert file.read_text().count(name[0]) == 2
    before = file.read_text()
    file.write_text(before.replace("mem_limit: 64m", "mem_limit: 32m"))  # as an older version may have written it
    made(folder)
    assert file.read_text() == before
    file.unlink()
    made(folder)
    assert name[0] not in file.read_text()


def test_git_and_the_build_context_exclude_the_secrets() -> None:
    assert "/docker/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    allowed = {line for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert not {line for line in allowed if line in ("!docker", "!docker/", "!docker/secrets")}
