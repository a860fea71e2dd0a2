"""The store of runs, an SQLite file or an MLflow server: its address, and how to open it."""

from paramshare.tracking.store.opening import (
    Store,
    StoreAddress,
    analyse,
    check_kind,
    check_store,
    open_store,
    reason_of,
    redacted,
    relocate_store,
    sign_in,
    store_failures,
)

__all__ = [
    "Store",
    "StoreAddress",
    "analyse",
    "check_kind",
    "check_store",
    "open_store",
    "reason_of",
    "redacted",
    "relocate_store",
    "sign_in",
    "store_failures",
]
