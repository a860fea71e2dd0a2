"""Run Prefect's server so that it answers only requests to its own host names, and its pages call no other server.

Prefect checks neither the Host nor the Origin of a request. So any page in a user's browser could call the server: by a
host name that resolves to this machine, or across sites. Its own pages call an analytics server, and pages of other
sites can show them in a frame.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import uvicorn
from prefect.server.api.server import create_app
from prefect.settings import get_current_settings
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

PORT = 4200
POLICY = "connect-src 'self'; frame-ancestors 'none'"


class OwnNamesOnly:
    """An application that refuses requests and websockets with an unknown Host or with the Origin of another site."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self.app = app
        self.names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it to the application."""
        if scope["type"] in ("http", "websocket") and (reason := self.refusal(Headers(scope=scope))):
            await PlainTextResponse(f"{reason}\n", 403)(scope, receive, send)
        else:
            await self.app(scope, receive, _with_policy(send))

    def refusal(self, headers: Headers) -> str | None:
        """Return the reason to refuse a request with these headers; None if it is accepted."""
        if headers.get("host", "").lower() not in self.names:
            return "this server does not have that name; add the name to STACK_HOSTS"
        origin = headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] not in self.names:
            return "pages of other sites may not call this server"
        return None


def _with_policy(send: Send) -> Send:
    """Return a function that sends a response with the policy for browsers."""

    async def send_with_policy(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["Content-Security-Policy"] = POLICY
        await send(message)

    return send_with_policy


def own_names(environment: Mapping[str, str]) -> set[str]:
    """Return the accepted Host headers: the names of the stack, of this machine, and of STACK_HOSTS."""
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
