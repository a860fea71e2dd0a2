"""Run a worker of this machine: python -m paramshare.flows.worker --pool cpu. See `operations.worker`."""

import sys

from paramshare.flows.operations.worker import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
