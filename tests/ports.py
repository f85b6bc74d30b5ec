"""Ports for servers of tests that must know theirs before they listen."""

from __future__ import annotations

import secrets
import socket

# below those that the system gives to outgoing connections, and beside those of the embedded servers
_PORTS = range(10_000, 20_000)


def free_port() -> int:
    """Give a port of 127.0.0.1 that nothing listens on, and that no connection of others is given meanwhile."""
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
