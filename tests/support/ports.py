"""Free loopback ports for test servers that stop and start again."""

from __future__ import annotations

import secrets
import socket

# Below Linux' range for outgoing connections (32768 and up). A port from that range could be taken while its server is
# down, and a client that keeps trying to connect to it could connect to itself.
_PORTS = range(20000, 32768)


def find_free_port() -> int:
    """Return a port that nothing listens on and that no outgoing connection will get."""
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
