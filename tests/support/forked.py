"""Processes that call a function and can be killed, forked from the server of the sweeps' workers.

The server has imported what the command line needs, which takes a new interpreter seconds.
"""

import gc
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from paramshare.sweep.workers.forkserver import start_server, starting_processes


@contextmanager
def forked(call: Callable[..., object], *arguments: Any) -> Iterator[BaseProcess]:
    """Yield a process that calls a function of a module in this folder and environment. Kill it at the end.

    What the function prints is lost.
    """
    process = start_server().Process(target=_call, args=(Path.cwd(), dict(os.environ), pickle.dumps(call), arguments))
    with starting_processes():
        process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def _call(folder: Path, environment: dict[str, str], call: bytes, arguments: tuple[Any, ...]) -> None:
    gc.enable()  # the server collects no garbage
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    with Path(os.devnull).open("w") as nowhere:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere.fileno(), stream.fileno())
        sys.exit(pickle.loads(call)(*arguments))  # its module is imported in this environment
