"""Lands what comparisons find, and says when it has: a finding is written down before its fill is handed in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from ledger import clocks
from streaming.arrivals import Arrival, ArrivalKind
from streaming.errors import StreamingError
from streaming.feeds.desk import CONTROLS

if TYPE_CHECKING:
    from ledger.domain.completeness import Audited, Missing
    from ledger.domain.decision import Decision
    from streaming.arrivals import Inbox

LANDS_WITHIN_SECONDS = 15.0


class NotLandedError(StreamingError):
    """What was told has not landed in time: the ledger is away or behind, and what was begun is begun again."""


class Teller:
    """Hands findings in behind all that waits, so that whatever was said before them has landed when they have."""

    def __init__(self, inbox: Inbox, *, seconds: float = LANDS_WITHIN_SECONDS) -> None:
        self._inbox = inbox
        self._seconds = seconds
        self._waiting: dict[str, asyncio.Future[None]] = {}

    def offer(self, decision: Decision) -> None:
        """Take note of a landed decision."""
        if decision.completeness is not None:
            for token in decision.completeness.noted:
                landed = self._waiting.get(token)
                if landed is not None and not landed.done():
                    landed.set_result(None)

    async def tell(self, found: Missing | Audited) -> None:
        """Hand in and wait until it has landed. Raises ``NotLandedError``."""
        landed = asyncio.get_running_loop().create_future()
        self._waiting[found.token] = landed
        arrival = Arrival(CONTROLS, None, ArrivalKind.CONTROL, msgspec.json.encode(found), clocks.time_ns())
        try:
            async with asyncio.timeout(self._seconds):
                await self._inbox.put([arrival])
                await landed
        except TimeoutError:
            raise NotLandedError(f"what {found.venue} lists did not land within {self._seconds:g} s") from None
        finally:
            del self._waiting[found.token]
