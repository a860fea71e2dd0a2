"""A store that has been used, for tests that do to its files what nobody should."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from program import PROGRAM, SMALL, clean_environment

from paramshare.tracking.store import StoreAddress, relocate_store


@pytest.fixture(scope="session")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store with a sweep of one run, which no process has open."""
    folder = tmp_path_factory.mktemp("used")
    command = [*PROGRAM, "train", *SMALL, "--seeds", "0:1", "--workers", "1"]
    subprocess.run(command, cwd=folder, env=clean_environment(folder), check=True, capture_output=True)
    return folder / "mlruns"


@pytest.fixture
def placed(used: Path) -> Callable[[Path], Path]:
    """Puts such a store into a folder, as if it had been made there."""

    def place(folder: Path) -> Path:
        shutil.copytree(used, folder)
        done = relocate_store(StoreAddress(f"sqlite:///{folder / 'mlflow.db'}", "paramshare"))
        assert done is not None
        done.copy.unlink()
        return folder

    return place
