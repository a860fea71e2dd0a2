"""A headless Chromium, spoken to through its DevTools protocol: no driver and no test framework in between.

Nothing outside 127.0.0.1 is looked up. The browser has a profile of its own and ends, with every process that it
started, when its block is left.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

__all__ = ["Chromium", "Page", "find_chromium", "running_chromium", "sees"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync --disable-extensions "
    "--remote-debugging-port=0"
).split()
_LOOPBACK_ONLY = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
_HARMLESS = "ResizeObserver loop"  # layout went on in the next frame: the browser says so where nothing is wrong
_STARTUP = 30.0  # seconds
_ANSWER = 30.0  # seconds


def find_chromium() -> str | None:
    """Return the program; None if it is not installed."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


def sees(page: Page, *texts: str) -> None:
    """Wait until a person sees all of `texts`."""
    page.wait_until(f"{json.dumps(texts)}.every(text => document.body.innerText.includes(text))")


@dataclass
class Page:
    """One tab.

    Args:
        connection: to the tab's DevTools.
        errors: what its scripts threw and what they wrote to the console as an error, in order.
    """

    connection: ClientConnection
    errors: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def open(self, url: str) -> None:
        """Load `url` from its beginning, even where only what follows its # is new."""
        self.ask("Page.navigate", url="about:blank")
        self.ask("Page.navigate", url=url)
        self.wait_until("document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression as plain data; wait for a promise."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_until(self, expression: str, seconds: float = 60.0) -> None:
        """Evaluate a JavaScript expression repeatedly until it is true.

        Raises:
            AssertionError: it is not within `seconds`; what the page shows then stands in the message.
        """
        deadline = time.monotonic() + seconds
        while not self.evaluate(expression):
            if time.monotonic() > deadline:
                raise AssertionError(f"not true in {seconds} s: {expression}\nerrors: {self.errors}\n{self.text()}")
            time.sleep(0.1)

    def resize(self, width: int, height: int) -> None:
        """Make the window that large, in CSS pixels; a telephone's below 500 in width."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.ask("Emulation.setDeviceMetricsOverride", **screen)

    def text(self) -> str:
        """Return the visible text."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def screenshot(self, path: Path) -> None:
        """Write what the window shows as a PNG."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a DevTools method and return its answer; events that come before it are taken note of."""
        number = next(self._numbers)
        self.connection.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self.connection.recv(timeout=_ANSWER))
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                return dict(message["result"])
            self._note(message.get("method"), message.get("params", {}))

    def _note(self, event: str | None, params: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self._note_error(details.get("exception", {}).get("description") or details["text"])
        elif event == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            values = (argument.get("value") or argument.get("description", "") for argument in params["args"])
            self._note_error(" ".join(str(value) for value in values))

    def _note_error(self, text: str) -> None:
        if _HARMLESS not in text:
            self.errors.append(text)


@dataclass(frozen=True)
class Chromium:
    """A running browser, known by the port of its DevTools."""

    port: int

    @contextmanager
    def page(self, width: int = 1600, height: int = 1000) -> Iterator[Page]:
        """Open a tab of `width` × `height` CSS pixels until the end of the block."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(request, timeout=_ANSWER) as answer:
            target = json.load(answer)
        with connect(target["webSocketDebuggerUrl"], max_size=None, proxy=None) as connection:
            page = Page(connection)
            for domain in ("Page", "Runtime"):
                page.ask(f"{domain}.enable")
            page.resize(width, height)
            yield page
            connection.send(json.dumps({"id": -1, "method": "Page.close"}))


@contextmanager
def running_chromium(program: str) -> Iterator[Chromium]:
    """Start the browser with a fresh profile, and end it with all its processes when the block is left."""
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [program, *_OPTIONS, _LOOPBACK_ONLY, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield Chromium(_port(process, Path(profile, "DevToolsActivePort")))
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _port(process: subprocess.Popen[bytes], file: Path) -> int:
    deadline = time.monotonic() + _STARTUP
    while time.monotonic() < deadline:
        assert process.poll() is None, f"Chromium ended with exit code {process.returncode}"
        with suppress(FileNotFoundError):
            first, _, rest = file.read_text().partition("\n")
            if rest:
                return int(first)
        time.sleep(0.05)
    raise AssertionError(f"Chromium opened no DevTools port within {_STARTUP:.0f} seconds")
