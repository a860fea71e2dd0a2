"""Import what every worker needs. The server that workers are forked from runs this once.

Nothing here may run an operation of torch or start a thread: neither survives a fork.
"""

import gc

import paramshare.sweep.worker
import paramshare.tracking.embedded  # noqa: F401 - loaded only when a run is written

gc.freeze()  # a collection in a worker would otherwise copy every page that it shares with the server
