"""Prefect's pool of processes, forked from the same server as the library's own pools."""

from concurrent.futures import ProcessPoolExecutor
from typing import Any, Self

from prefect.task_runners import ProcessPoolTaskRunner

from paramshare.sweep.pools import start_server, starting_processes

__all__ = ["PoolRunner"]


class PoolRunner(ProcessPoolTaskRunner):
    """Prefect's task runner of processes, which Prefect 3.8 can only spawn.

    A pool starts its processes with the first task: so the pool that Prefect has made is replaced before it has any.
    """

    def __enter__(self) -> Self:
        super().__enter__()
        spawning: Any = self._executor
        processes = start_server("paramshare.flows.sweep")
        self._executor = ProcessPoolExecutor(self._max_workers, processes, spawning._initializer, spawning._initargs)
        return self

    def submit(self, *arguments: Any, **options: Any) -> Any:
        """Submit a task as Prefect does; a signal that arrives while its process starts is delivered after that."""
        with starting_processes():
            return super().submit(*arguments, **options)
