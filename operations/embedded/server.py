"""What the stack knows about a server, whichever it is."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from operations.embedded.endpoints import Endpoints
    from operations.embedded.process import ServerProcess


class ServerName(enum.StrEnum):
    """The servers of the stack."""

    POSTGRES = "postgres"
    VALKEY = "valkey"
    BROKER = "broker"
    S3 = "s3"
    VAULT = "vault"


class Server(Protocol):
    """One server: how it is started, and what its users need to know."""

    process: ServerProcess

    def start(self) -> None:
        """Start it and return when it has answered."""

    def describe(self, endpoints: Endpoints) -> Endpoints:
        """Add this server's address and credentials."""
