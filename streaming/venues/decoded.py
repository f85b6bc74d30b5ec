"""What a venue module gives back for one message."""

from __future__ import annotations

from typing import Protocol

import msgspec

from ledger.domain.errors import Defect
from ledger.domain.records import Report


class Decoded(msgspec.Struct):
    """Reports with the bytes each came in, defects with theirs, and what is recognised and concerns no order.

    Reports of trades and of order states stand in the order of the message. ``others`` counts messages that are
    valid and concern no order (heartbeat, balance …) by their name: nothing is silently ignored.
    """

    reports: list[tuple[Report, bytes]] = msgspec.field(default_factory=list)
    defects: list[tuple[Defect, bytes]] = msgspec.field(default_factory=list)
    others: dict[str, int] = msgspec.field(default_factory=dict)


class Decoder(Protocol):
    """A venue module's ``decode``: pure, never raises."""

    def __call__(self, venue: str, raw: bytes, account: str = "") -> Decoded:
        """Read one raw message of ``venue``; ``account`` is whose it is where the message does not say."""
        ...
