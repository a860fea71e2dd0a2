"""Synchronous calls of Prefect from a thread in which an event loop runs, such as a cell of a notebook.

Functions of Prefect that are synchronous and asynchronous return coroutines there, in place of results.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["no_event_loop"]


@contextmanager
def no_event_loop() -> Iterator[None]:
    """Hide the event loop that runs in this thread until the block ends. The block occupies the thread in any case."""
    running = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(running)
