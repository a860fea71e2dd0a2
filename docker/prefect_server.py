"""Prefect's server as the stack runs it: it answers only under the names that are its own.

Prefect itself asks neither which Host a request names nor from which Origin it comes. So any page that a person opens
could reach the server through that person's browser: by a name of its own that points here, or across sites.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import uvicorn
from prefect.server.api.server import create_app
from prefect.settings import get_current_settings
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

PORT = 4200


class OwnNamesOnly:
    """Refuse a request, or a websocket, whose Host is none of ours or whose Origin is another's."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self.app = app
        self.names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is not refused."""
        if scope["type"] in ("http", "websocket") and (reason := self.refusal(Headers(scope=scope))):
            await PlainTextResponse(f"{reason}\n", 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def refusal(self, headers: Headers) -> str | None:
        """Why a request with these headers is refused, if it is."""
        if headers.get("host", "").lower() not in self.names:
            return "this server is not called by that name: add it to STACK_HOSTS"
        origin = headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] not in self.names:
            return "no page of another site may call this server"
        return None


def own_names(environment: Mapping[str, str]) -> set[str]:
    """The Host headers that are answered: the stack's, this machine's, and those of STACK_HOSTS."""
    published = environment.get("STACK_PORT") or str(PORT)
    extra = [name.strip().lower() for name in environment.get("STACK_HOSTS", "").split(",") if name.strip()]
    within = {f"{host}:{PORT}" for host in ("prefect", "localhost", "127.0.0.1")}
    hosts = {"localhost", "127.0.0.1", *extra}
    return within | hosts | {f"{host}:{published}" for host in hosts if ":" not in host}


def main() -> None:
    """Serve until SIGTERM."""
    api = get_current_settings().server.api
    uvicorn.run(
        OwnNamesOnly(create_app(final=True), own_names(os.environ)),
        host="0.0.0.0",  # noqa: S104 - of the container; compose publishes it on loopback
        port=PORT,
        timeout_keep_alive=api.keepalive_timeout,
        ws_ping_interval=api.websocket_ping_interval,
        ws_ping_timeout=api.websocket_ping_timeout,
        log_level="warning",
        server_header=False,
    )


if __name__ == "__main__":
    main()
