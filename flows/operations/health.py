"""The health page of a worker."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["health_page"]


@contextmanager
def health_page(port: int, is_healthy: Callable[[], bool], report: Callable[[str], object]) -> Iterator[None]:
    """Serve `/health` on this machine alone: status 200 if `is_healthy`, else 503."""

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/health"
            self.send_response((200 if is_healthy() else 503) if known else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Health)
    except OSError as error:
        report(f"no health page on port {port}: {error}; choose another with --health-port")
        yield
        return
    with server:
        threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
