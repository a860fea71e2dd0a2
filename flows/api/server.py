"""The Prefect API that a flow uses: the configured one, or a server that this process starts and that ends with it.

Covered: a port without a race, a fresh `$PREFECT_HOME`, several processes on one `$PREFECT_HOME`, and every
end of this process (return, exception, SIGINT, SIGTERM, `kill -9`): the server never outlives it. The history
stays in `$PREFECT_HOME/prefect.db`; a later `prefect server start` shows it.
Not covered: schedules, workers and the UI need a server that stays: start one and set `PREFECT_API_URL`.

This file is also that server's program, so Prefect is imported only where it is used.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING

from paramshare.errors import ServerError
from paramshare.processes import HOST, Program, Server, end_with_parent, started

if TYPE_CHECKING:
    from fastapi import FastAPI
    from filelock import FileLock

__all__ = ["check_api", "prefect_api", "require_api", "server_starting"]

_CATCH_UP_SECONDS = 10.0  # the most a stopping server takes to record what it holds; 300 tasks need 2
_STOP_SECONDS = _CATCH_UP_SECONDS + 5.0
_START_SECONDS = 120.0
_GARBAGE = (50_000, 20, 50)  # Python's 700 objects between two collections cost a fifth of the server's start

# Offline, quiet, and batched: SQLite records a run's tasks three times as fast. Settings of the user take precedence.
_DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "100",
}


@contextmanager
def prefect_api(*, startup_timeout: float = _START_SECONDS) -> Iterator[str]:
    """Yield the URL of the Prefect API that flows in this block, and in processes started from it, use.

    If Prefect's settings (environment, profile, `.env`) name an API, it is used and nothing is started;
    an empty `PREFECT_API_URL` names none. Otherwise one server runs on a free local port until the block ends,
    and in the main thread SIGTERM ends the block as SystemExit(143). For synchronous code.

    Args:
        startup_timeout: maximum number of seconds until the server answers; 5 are usual, 20 on a fresh database.

    Raises:
        ServerError: the server ended or did not answer (the message contains the end of its output), or another
            process was still starting a server on the same `$PREFECT_HOME`.
        SettingsError: `$PREFECT_HOME` cannot be written.
    """
    from prefect.settings import get_current_settings

    if configured := get_current_settings().api.url:
        yield configured
        return
    with _sigterm_raises(), ExitStack() as running:
        starting = _starting.get() or running.enter_context(_start(startup_timeout))
        url = starting.wait()
        running.enter_context(_in_effect(url))
        yield url


@contextmanager
def server_starting() -> Iterator[None]:
    """Start the server that `prefect_api` needs in this block now, so that it starts while this process imports.

    Nothing is started if an API is configured, or while another process starts a server: `prefect_api` waits then.

    Raises:
        SettingsError: `$PREFECT_HOME` cannot be written.
    """
    from prefect.settings import get_current_settings

    with ExitStack() as running:
        if not get_current_settings().api.url:
            with suppress(ServerError):
                token = _starting.set(running.enter_context(_start(lock_timeout=0)))
                running.callback(_starting.reset, token)
        yield


def require_api() -> None:
    """Check that the API answers, if one is configured.

    Raises:
        ServerError: the API does not answer.
    """
    from prefect.settings import get_current_settings

    if get_current_settings().api.url:
        status, works = check_api()
        if not works:
            raise ServerError(status)


def check_api() -> tuple[str, bool]:
    """Return a line about the API that flows will use, and whether it works."""
    from prefect.settings import get_current_settings

    from paramshare.flows.api.home import home_trouble

    url = get_current_settings().api.url
    if not url and (trouble := home_trouble()):
        return f"no API configured, and no flow can start a server: {trouble}", False
    if not url:
        return (
            f"no API configured: a flow starts a server of its own, history in {get_current_settings().home}",
            True,
        )
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=5):  # noqa: S310 - the address is a setting of the user
            return f"{url} answers", True
    except (ValueError, HTTPException) as error:
        return (
            f"PREFECT_API_URL is {url!r}, not an address ({error}); expected such as http://127.0.0.1:4200/api",
            False,
        )
    except OSError as error:
        return (
            f"{url} does not answer ({getattr(error, 'reason', error)}); start it, or unset PREFECT_API_URL",
            False,
        )


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Raise SystemExit for SIGTERM, so that open blocks are left. Python allows this in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(signum: int, _frame: object) -> None:
        raise SystemExit(128 + signum)

    former = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former or signal.SIG_DFL)


@dataclass(frozen=True, slots=True)
class _Starting:
    """A server that may not answer yet, and the lock that keeps other servers from starting."""

    server: Server
    lock: FileLock

    def wait(self) -> str:
        """Wait until the server answers, and return its API's URL."""
        self.server.wait_until_healthy()
        self.lock.release()
        return f"http://{HOST}:{self.server.port}/api"


_starting: ContextVar[_Starting | None] = ContextVar("starting", default=None)


@contextmanager
def _start(timeout: float = _START_SECONDS, lock_timeout: float | None = None) -> Iterator[_Starting]:
    """Start a server and end it with the block.

    One server starts at a time: servers that migrate the same fresh database together break each other.

    Args:
        lock_timeout: seconds to wait for a server of another process to start. Defaults to `timeout`.
    """
    from filelock import FileLock, Timeout

    from paramshare.flows.api.home import make_home

    home = make_home()
    lock = FileLock(home / "paramshare.lock", timeout=timeout if lock_timeout is None else lock_timeout)
    with ExitStack() as running:
        try:
            running.enter_context(lock)
        except Timeout as error:
            raise ServerError(
                f"another process has been starting its Prefect server in {home} for {timeout:g} s; "
                "wait for it, or set PREFECT_API_URL to a server that runs"
            ) from error
        yield _Starting(running.enter_context(started(_program(timeout))), lock)


def _program(timeout: float) -> Program:
    from prefect.settings import get_current_settings

    configured = get_current_settings().to_environment_variables(exclude_unset=True)
    return Program(
        name="the Prefect server that this process started",
        command=(sys.executable, "-P", __file__),
        health="/api/health",
        startup=timeout,
        grace=_STOP_SECONDS,
        environment={**_DEFAULTS, **os.environ, **configured},
        advice="to use one of your own, run `prefect server start` and set PREFECT_API_URL",
    )


@contextmanager
def _in_effect(url: str) -> Iterator[None]:
    """Point this process, its threads and the processes it starts at the API; at the end, send what is still queued.

    Prefect's temporary settings hold for the calling thread alone. Its process pool forwards events in a thread of
    its own, which would start a second server: so the settings of the whole process are refreshed, too.
    """
    from prefect.context import refresh_global_settings_context
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_UI_URL,
        get_current_settings,
        temporary_settings,
    )

    former, pages = os.environ.get("PREFECT_API_URL"), get_current_settings().ui_url
    # Heartbeats tell a server that a flow has died. This one dies with its flow: they only cost 0.9 s.
    # This server has no pages: without this, Prefect logs "View at" with an address that answers 404.
    changed = {PREFECT_API_URL: url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_UI_URL: pages or ""}
    os.environ["PREFECT_API_URL"] = url
    refresh_global_settings_context()
    try:
        with temporary_settings(changed):
            try:
                yield
            finally:
                logging.getLogger("EventsWorker").setLevel(logging.ERROR)  # it warns that it is draining
                APILogWorker.drain_all(timeout=_CATCH_UP_SECONDS)
                EventsWorker.drain_all(timeout=_CATCH_UP_SECONDS)
    finally:
        if former is None:
            del os.environ["PREFECT_API_URL"]
        else:
            os.environ["PREFECT_API_URL"] = former
        refresh_global_settings_context()


def main() -> None:
    """Serve the listening socket whose descriptor is the argument, until stdin ends."""
    end_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM), _STOP_SECONDS)
    gc.set_threshold(*_GARBAGE)

    import uvicorn
    from prefect.server.api.server import create_app

    app = create_app(ephemeral=True, final=True)  # ephemeral: no UI, no schedules
    prefects = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with prefects(app):
            yield
            await _catch_up()

    app.router.lifespan_context = lifespan
    config = uvicorn.Config(app, log_level="error", lifespan="on", timeout_graceful_shutdown=2)
    uvicorn.Server(config).run([socket.socket(fileno=int(sys.argv[1]))])


async def _catch_up() -> None:
    """Wait until all received events are recorded: a Prefect server that stops drops those that are not."""
    from prefect.server.utilities.messaging.memory import METRICS

    deadline = time.monotonic() + _CATCH_UP_SECONDS
    while time.monotonic() < deadline and any(m["published"] > m["consumed"] for m in METRICS.values()):
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    main()
