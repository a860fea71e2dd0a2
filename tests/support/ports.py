"""Free ports of this machine."""

import random
import socket
from contextlib import suppress


def free_port() -> int:
    """Return a port of 127.0.0.1 on which no server listens, below the ports of outgoing connections.

    So the port stays free after its server has ended: no client can connect to itself there.
    """
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
