"""What is published of a landed event. A module of its own: a producer's process imports nothing else of ours."""

from __future__ import annotations

import msgspec


class OutboxEvent(msgspec.Struct, frozen=True):
    """One event to publish; ``raw`` holds the bytes of a dead letter."""

    event_id: str
    event_type: str
    key: str
    body: bytes
    raw: bytes | None
