"""Prefect's own worker as a program that ends with whoever has started it, and its flows with it.

    python -m paramshare.flows.prefect_worker worker start ...

The arguments are those of `prefect`. Its stdin is a pipe that nobody writes to: its end tells that the parent is gone.
"""

import os
import threading
from typing import Final

from paramshare.flows.processes import children, end

__all__ = ["GRACE", "main"]

GRACE: Final = 45.0  # seconds in which a flow that is told to end must have


def main() -> None:
    """Be the `prefect` command."""
    from prefect.cli import app

    threading.Thread(target=_end_with_parent, daemon=True).start()
    app()


def _end_with_parent() -> None:
    os.read(0, 1)
    end(children(os.getpid()), GRACE)
    os._exit(1)


if __name__ == "__main__":
    main()
