"""An empty store, the result of a training, and a used store for tests that damage its files."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from paramshare.recipes.spec import Spec
from paramshare.sweep.run import run_sweep
from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.store import Store, StoreAddress, open_store, relocate_store
from paramshare.training.engines import train
from paramshare.training.result import Result
from support.command_line import SIZES
from support.made_once import copy_database


@pytest.fixture
def store(address: StoreAddress) -> Store:
    """Open the store of this test."""
    return open_store(address)


@pytest.fixture
def result(small: Spec) -> Result:
    """Train the small spec."""
    return train(small)


@pytest.fixture(scope="session")
def used(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a store with a sweep of one run, which no process has open."""
    folder = tmp_path_factory.mktemp("used") / "mlruns"
    shutil.copytree(migrated.parent, folder)
    spec = SweepSpec.model_validate({**SIZES, "seeds": "0:1", "devices": "cpu", "workers": 1})
    run_sweep(spec, StoreAddress(f"sqlite:///{folder / 'mlflow.db'}", "paramshare"), {})
    return _closed(folder)


def _closed(folder: Path) -> Path:
    """Copy a store that this process has open to the state after the end of the process."""
    copy = folder.with_name("closed")
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("mlflow.db*"))
    copy_database(folder / "mlflow.db", copy / "mlflow.db")
    return copy


@pytest.fixture
def placed(used: Path) -> Callable[[Path], Path]:
    """Return a function that copies such a store to a folder, as if it had been created there."""

    def place(folder: Path) -> Path:
        shutil.copytree(used, folder)
        done = relocate_store(StoreAddress(f"sqlite:///{folder / 'mlflow.db'}", "paramshare"))
        assert done is not None
        done.copy.unlink()
        return folder

    return place
