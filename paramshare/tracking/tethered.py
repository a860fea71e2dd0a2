"""A program that runs a command, and ends it with all that it has started when the process that started this one ends.

Run as `python tethered.py COMMAND...` in a session of its own; stdin is the tether: a pipe whose other end the starter
holds and never writes to. However the starter ends, by `kill -9` or with its terminal, the pipe does too.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Final

__all__ = ["main"]

_STOP: Final = 10.0  # seconds


def main() -> None:
    """Run the command of the arguments and exit as it does."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # the whole group gets it, and this process outlasts the command
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    torn = threading.Event()
    threading.Thread(target=_end_with_starter, args=[torn], daemon=True).start()
    code = command.wait()
    if torn.is_set():
        os.killpg(0, signal.SIGKILL)  # what it has started and not ended
    sys.exit(code if code >= 0 else 128 - code)


def _end_with_starter(torn: threading.Event) -> None:
    """Wait for the end of stdin, then end this process's group."""
    os.read(0, 1)
    torn.set()
    os.killpg(0, signal.SIGTERM)
    time.sleep(_STOP)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
