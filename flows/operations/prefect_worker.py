"""Prefect's own worker as a program that ends with whoever has started it, and its flows with it.

    python -m paramshare.flows.operations.prefect_worker worker start ...

The arguments are those of `prefect`. Its stdin is a pipe that nobody writes to: its end tells that the parent is gone.
"""

import os
from typing import Final

from paramshare.processes import children, end, end_with_parent

__all__ = ["GRACE", "main"]

GRACE: Final = 45.0  # seconds in which a flow that is told to end must have


def main() -> None:
    """Be the `prefect` command."""
    from prefect.cli import app

    end_with_parent(lambda: end(children(os.getpid()), GRACE), 0)
    app()


if __name__ == "__main__":
    main()
