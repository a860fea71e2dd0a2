"""Import what every worker needs, and map MLflow's tables. The server that workers are forked from runs it once.

Nothing here may run an operation of torch or start a thread: neither survives a fork.
"""

import gc

import paramshare.sweep.worker  # noqa: F401 - loads torch and MLflow
from paramshare.tracking.embedded import map_tables

map_tables()
gc.freeze()  # a collection in a worker would otherwise copy every page that it shares with the server
