"""Free loopback ports for test servers that stop and start again."""

from __future__ import annotations

import os
import secrets
import socket

# Each process of pytest draws from its own part, because a port looks free until its server has begun to listen.
# Below Linux' range for outgoing connections (32768 and up). A port from that range could be taken while its server is
# down, and a client that keeps trying to connect to it could connect to itself.
_PARTS = 8
_PART = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PARTS
_PORTS = range(20000, 32768)[_PART::_PARTS]


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
