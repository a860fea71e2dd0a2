"""A store that has been used, for tests that do to its files what nobody should."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from program import SIZES

from paramshare.sweep.run import run_sweep
from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.store import StoreAddress, relocate_store


@pytest.fixture(scope="session")
def used(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store with a sweep of one run, which no process has open."""
    folder = tmp_path_factory.mktemp("used") / "mlruns"
    shutil.copytree(migrated.parent, folder)
    spec = SweepSpec.model_validate({**SIZES, "seeds": "0:1", "devices": "cpu", "workers": 1})
    run_sweep(spec, StoreAddress(f"sqlite:///{folder / 'mlflow.db'}", "paramshare"), {})
    return _closed(folder)


def _closed(folder: Path) -> Path:
    """A copy of a store that this process has open, as it would be after the end of the process."""
    copy = folder.with_name("closed")
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("mlflow.db*"))
    with closing(sqlite3.connect(folder / "mlflow.db")) as source, closing(sqlite3.connect(copy / "mlflow.db")) as into:
        source.backup(into)
    return copy


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
