"""Faulty parts: each is a mistake that somebody could make, to show that a simulation finds it.

They are swapped in by ``Parts``; nothing of the program knows of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ledger import clocks
from ledger.domain.identity import identify
from ledger.domain.records import Position
from simulation.process import Parts
from streaming.arrivals import Outcome
from streaming.feeds.websocket import STREAM, WebSocketFeed
from streaming.lander import Lander
from streaming.publisher import Publisher
from streaming.venues import canonical

if TYPE_CHECKING:
    from collections.abc import Callable

    from streaming.arrivals import Arrival
    from streaming.venues.decoded import Decoded, Decoder

_WINDOW_NS = 60 * 1_000_000_000


class AcknowledgingLander(Lander):
    """Answers a REST caller when its body is taken, before the transaction that holds it."""

    async def _commit(self, batch: Any, *parts: Any) -> Any:
        for arrival in batch.arrivals:
            if arrival.done is not None:
                arrival.done(Outcome(1, 0, 0, ()))
        return await super()._commit(batch, *parts)


class HastyWebSocketFeed(WebSocketFeed):
    """Takes the highest sequence for its position, over the holes before it."""

    def _arrival(self, raw: bytes, received_ns: int) -> Arrival | None:
        arrival = super()._arrival(raw, received_ns)
        if arrival is None:
            return None
        ahead = Position(self.feed, STREAM, self._incarnation, self._sequences.highest)
        return msgspec.structs.replace(arrival, position=ahead)


class WindowedDecoder:
    """Knows a report again for a minute, and gives it another identity after that."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, str]] = {}

    def __call__(self, venue: str, raw: bytes, account: str = "") -> Decoded:
        """Read a message as the canonical format."""
        decoded = canonical.decode(venue, raw, account)
        now_ns = clocks.time_ns()
        for number, (report, its_raw) in enumerate(decoded.reports):
            seen_ns, known_as = self._seen.get(report.report_id, (0, ""))
            if now_ns - seen_ns > _WINDOW_NS:
                known_as = identify(report.report_id, str(now_ns))
            self._seen[report.report_id] = (now_ns, known_as)
            decoded.reports[number] = (msgspec.structs.replace(report, report_id=known_as), its_raw)
        return decoded


class TrustingPublisher(Publisher):
    """Believes that all that was committed was handed over: as it was, until a simulation found this."""

    def catch_up(self) -> None:
        """Do nothing."""


def _windowed() -> Decoder:
    return WindowedDecoder()


PLANTED: dict[str, Callable[[], Parts]] = {
    "ack-before-commit": lambda: Parts(lander=AcknowledgingLander),
    "position-ahead-of-rows": lambda: Parts(websocket=HastyWebSocketFeed),
    "duplicate-window": lambda: Parts(decoder=_windowed),
    "no-catch-up": lambda: Parts(publisher=TrustingPublisher),
}
