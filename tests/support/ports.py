"""Ports on loopback for servers of tests that go away and come back."""

from __future__ import annotations

import secrets
import socket

# Below the range that Linux gives to outgoing connections (32768 up). In that range a server that is down for a while
# may find its port taken, and a client that keeps on trying it may, by chance, connect to itself.
_PORTS = range(20000, 32768)


def find_free_port() -> int:
    """Returns a port that nothing listens on at the moment, one that no outgoing connection will be given."""
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
