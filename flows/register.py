"""Register the deployments on a Prefect server: python -m paramshare.flows.register. See `operations.register`."""

import sys

from paramshare.flows.operations.register import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
