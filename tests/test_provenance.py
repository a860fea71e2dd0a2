"""Provenance says what is true of this process and leaves out what is not known."""

import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from paramshare.provenance import _commit_of, provenance, provenance_tags

ROOT = Path(__file__).parents[1]


def test_the_recorded_versions_are_the_installed_versions() -> None:
    found = provenance()
    assert found["version.python"] == platform.python_version()
    assert found["version.torch"] == version("torch")


@pytest.mark.skipif(not (shutil.which("git") and (ROOT / ".git").exists()), reason="no git, or no checkout")
def test_the_recorded_commit_is_that_of_the_checkout() -> None:
    head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert provenance()["git.commit"] == head.stdout.strip()


@pytest.mark.parametrize(("ending", "dirty"), [("", "false"), ("-dirty", "true")])
def test_an_installed_package_records_the_commit_of_its_build(tmp_path: Path, ending: str, dirty: str) -> None:
    noted = tmp_path / "installed" / "paramshare" / "COMMIT"
    shutil.copytree(ROOT / "paramshare", noted.parent, ignore=shutil.ignore_patterns("__pycache__", "COMMIT"))
    noted.write_text("1234567890" * 4 + ending + "\n")
    program = "from paramshare.provenance import provenance as p; print(p()['git.commit'], p()['git.dirty'])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=noted.parents[1], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1234567890" * 4, dirty]


@pytest.mark.parametrize("text", ["", "main\n", "1234567\n"])
def test_an_incomplete_commit_in_the_build_file_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / "COMMIT").write_text(text)
    assert _commit_of(tmp_path / "COMMIT") == {}
    assert _commit_of(tmp_path / "nothing") == {}


def test_the_recorded_hardware_has_a_processor_and_a_core_count() -> None:
    found = provenance()
    assert found["hardware.cpu"]
    assert int(found["hardware.cores"]) >= 1
    assert all(found.values())


def test_provenance_tags_have_the_names_that_mlflow_shows() -> None:
    found, tags = provenance(), provenance_tags()
    assert tags["mlflow.user"] == found["user"]
    assert tags["paramshare.version.torch"] == found["version.torch"]
    assert sorted(tags.values()) == sorted(found.values())
    assert all(name.startswith(("mlflow.", "paramshare.")) for name in tags)
