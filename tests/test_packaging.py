"""A wheel holds paramshare and nothing beside it, with all that it needs outside a checkout."""

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
BUILD = "import os, sys; from setuptools import build_meta; os.chdir(sys.argv[1]); build_meta.build_wheel(sys.argv[2])"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> ZipFile:
    sources, built = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("built")
    without = shutil.ignore_patterns("__pycache__")
    for folder in ("flows", "paramshare"):
        shutil.copytree(ROOT / folder, sources / folder, symlinks=True, ignore=without)
    for file in ("LICENSE", "README.md", "prefect.yaml", "pyproject.toml"):
        shutil.copy(ROOT / file, sources)
    done = subprocess.run([sys.executable, "-c", BUILD, sources, built], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return ZipFile(next(built.glob("*.whl")))


def test_a_wheel_has_no_top_level_package_except_paramshare(wheel: ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"paramshare"}


def test_a_wheel_contains_every_module_and_deployment(wheel: ZipFile) -> None:
    files = [*(ROOT / "paramshare").rglob("*.py"), *(ROOT / "paramshare" / "flows").rglob("*.py")]
    assert {str(path.relative_to(ROOT)) for path in files} <= set(wheel.namelist())
    assert wheel.read("paramshare/flows/prefect.yaml") == (ROOT / "prefect.yaml").read_bytes()
