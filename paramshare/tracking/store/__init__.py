"""The store of runs, an SQLite file or an MLflow server: its address, how to open it, its errors."""

from paramshare.tracking.store.address import LOCAL_FOLDER, StoreAddress, check_kind, redacted
from paramshare.tracking.store.failures import reason_of, store_errors, store_failures
from paramshare.tracking.store.opening import (
    Store,
    check_store,
    connect_server,
    experiment_tags,
    open_existing_store,
    open_store,
    relocate_store,
    tag_experiment,
    update_statistics,
)

__all__ = [
    "LOCAL_FOLDER",
    "Store",
    "StoreAddress",
    "check_kind",
    "check_store",
    "connect_server",
    "experiment_tags",
    "open_existing_store",
    "open_store",
    "reason_of",
    "redacted",
    "relocate_store",
    "store_errors",
    "store_failures",
    "tag_experiment",
    "update_statistics",
]
