"""An HTTP proxy before a real server on 127.0.0.1, which forwards requests or rejects them."""

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen


@contextmanager
def gate_before(port: int, refusal: Callable[[http.server.BaseHTTPRequestHandler], int | None]) -> Iterator[str]:
    """Start a proxy before the server on `port`, and yield its address as `host:port`.

    Args:
        refusal: the status with which a request is refused, by its method, path and headers; None to pass it on.
    """

    class Gate(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_request(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if status := refusal(self):
                return self.answer(status, b"refused")
            headers = {"Content-Type": self.headers.get("Content-Type", "application/json")}
            request = Request(f"http://127.0.0.1:{port}{self.path}", body or None, headers, method=self.command)
            try:
                with urlopen(request) as answer:
                    return self.answer(answer.status, answer.read())
            except OSError as error:
                return self.answer(getattr(error, "code", 502), getattr(error, "read", bytes)())

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gate) as gate:
        threading.Thread(target=gate.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{gate.server_address[1]}"
        finally:
            gate.shutdown()
