"""Import what every worker needs. The server that workers are forked from runs this first.

Nothing here may run an operation of torch or start a thread: neither survives a fork. The server collects no garbage:
collections cost a fifth of the time of its imports. Its workers do (`pools.start_worker`).
"""

import gc

gc.disable()

import paramshare.sweep.worker  # noqa: E402 - after the line above
import paramshare.tracking.embedded  # noqa: E402, F401 - loaded only when a run is written
