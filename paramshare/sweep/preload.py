"""What every worker imports, and MLflow's tables mapped: run once, in the server that workers are forked from.

Nothing here may run an operation of torch or start a thread: neither survives a fork.
"""

import gc

import paramshare.sweep.worker  # noqa: F401 - this is what takes seconds
from paramshare.tracking.embedded import map_tables

map_tables()
gc.freeze()  # a collection in a worker would otherwise copy every page that it shares with the server
