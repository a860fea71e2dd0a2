"""Prefect's own worker as a program that ends with its parent, and its flows with it.

    python -m paramshare.flows.operations.prefect_worker worker start ...

The arguments are those of `prefect`. Its stdin is a pipe without content: the end of the pipe tells that the parent has
ended.
"""

import os
from typing import Final

from paramshare.processes import children, end, end_with_parent

__all__ = ["GRACE", "main"]

GRACE: Final = 45.0  # seconds until a flow that is told to end is killed


def main() -> None:
    """Run the `prefect` command."""
    from prefect.cli import app

    end_with_parent(lambda: end(children(os.getpid()), GRACE), 0)
    app()


if __name__ == "__main__":
    main()
