"""Create an embedded store's database and a store's experiment, if they do not exist.

Several processes that migrate a new database together break it. So a file lock guards the creation. The tables are made
in a temporary file, which is then renamed: a killed process leaves no incomplete database.
"""

import glob
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Experiment, ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from sqlalchemy import create_engine

from paramshare.errors import StoreError
from paramshare.tracking.display.views import VIEWS, saved_view_tags
from paramshare.tracking.store.address import StoreAddress
from paramshare.tracking.store.database import extend_timeout
from paramshare.tracking.store.layout import ARTIFACTS
from paramshare.tracking.store.preflight import check_log
from paramshare.tracking.tags import NOTE

__all__ = ["create_database", "ensure_experiment"]

_DESCRIPTION: Final = """\
**What does sharing weights buy?** Each nested run is a net trained once, for one seed on one device; the runs above \
them are sweeps, with the curves of all their seeds together, and studies with a report. `train/loss` is logged at \
every step. Compare runs of DynamicNet by `final/loss_mean_depth` and `final/loss_depth_0` to `_3`, the trained net's \
loss: the last step's depends on the depth that it drew; runs on digits by `final/accuracy_unseen` and \
`final/accuracy`. Runs with `sharing/` metrics are counts: what a model's weights are, and would be if they were not \
shared.
"""
"""The note of a new experiment, in Markdown."""


def create_database(uri: str, database: Path) -> MlflowClient:
    """Create the database of an embedded store if it does not exist, and return MLflow's client of it."""
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(database.with_suffix(".lock")):
        if not database.exists() or not database.stat().st_size:
            _create_tables(database)
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(view_type=ViewType.ALL, max_results=1)  # creates MLflow's default experiment
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # persistent: readers do not wait for a writer
    extend_timeout(client)
    return client


def ensure_experiment(client: MlflowClient, address: StoreAddress) -> Experiment:
    """Return the experiment of `address`; create it if it does not exist.

    Raises:
        StoreError: the experiment was deleted.
    """
    experiment = client.get_experiment_by_name(address.experiment) or _create_experiment(client, address)
    if experiment.lifecycle_stage != "active":
        raise StoreError(
            f"the experiment {experiment.name!r} was deleted; restore it with "
            f"`mlflow experiments restore -x {experiment.experiment_id}`, or name another experiment"
        )
    return experiment


def _create_tables(database: Path) -> None:
    """Create MLflow's tables in a temporary file, then rename it: this takes seconds, and the process can be killed."""
    new = database.with_name(f"{database.name}.new")
    for abandoned in database.parent.glob(f"{glob.escape(new.name)}*"):
        abandoned.unlink()
    try:
        from mlflow.store.db.utils import _initialize_tables  # slow: imports MLflow's tables

        engine = create_engine(f"sqlite:///{new}")
        _initialize_tables(engine)
        engine.dispose()
        check_log(database)  # another process can have moved the database meanwhile
        new.replace(database)
    except Exception:
        new.unlink(missing_ok=True)
        raise


def _create_experiment(client: MlflowClient, address: StoreAddress) -> Experiment:
    location = (address.database.parent / ARTIFACTS).as_uri() if address.database else None
    tags = {NOTE: _DESCRIPTION, **saved_view_tags(*VIEWS)}
    try:
        client.create_experiment(address.experiment, location, tags=tags)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise  # otherwise another process was faster
    return client.get_experiment_by_name(address.experiment)
