"""The rows of delays and provisional hedges, and the delays that are open."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from ledger.domain.delays import DelayOutcome, OpenDelay, OrderType, PastDelay
from ledger.domain.hedges import Confidence, HedgeStatus
from ledger.domain.records import Side

_PAST_LIMIT = 10_000  # of the delays that are over, in memory: they are read again when asked for


class NewDelay(msgspec.Struct, frozen=True):
    """A row of ``fill_delays`` that begins."""

    delay_id: str
    correlation_id: str
    episode: int
    venue: str
    symbol: str
    side: Side
    order_type: OrderType
    leaves_qty: Decimal
    cum_qty: Decimal
    feed: str
    samples: int
    expected_ns: int
    since_ns: int
    began_ns: int


class EndedDelay(msgspec.Struct, frozen=True):
    """A row of ``fill_delays`` that ends."""

    delay_id: str
    correlation_id: str
    episode: int
    outcome: DelayOutcome
    filled_qty: Decimal
    ended_ns: int


class NewHedge(msgspec.Struct, frozen=True):
    """A row of ``provisional_hedges`` that begins."""

    hedge_id: str
    delay_id: str
    correlation_id: str
    venue: str
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    exposure: Decimal
    currency: str
    limit_value: Decimal
    snapshot_id: str
    snapshot_age_ns: int
    confidence: Confidence
    basis: str
    status: HedgeStatus
    requested_ns: int


class EndedHedge(msgspec.Struct, frozen=True):
    """A row of ``provisional_hedges`` that ends."""

    hedge_id: str
    status: HedgeStatus
    filled_qty: Decimal
    difference: Decimal
    settled_ns: int


class DelayRows(msgspec.Struct):
    """What a batch changes about delays and provisional hedges."""

    delays: list[NewDelay] = msgspec.field(default_factory=list)
    delays_ended: list[EndedDelay] = msgspec.field(default_factory=list)
    hedges: list[NewHedge] = msgspec.field(default_factory=list)
    hedges_ended: list[EndedHedge] = msgspec.field(default_factory=list)


class Delays:
    """The open delays by correlation id, and the last one that is over of those that were asked for.

    ``past`` may forget: what it holds of an order is right, and None says that the order never had one.
    """

    def __init__(self) -> None:
        self.open: dict[str, OpenDelay] = {}
        self.past: dict[str, PastDelay | None] = {}

    def knows(self, correlation_id: str) -> bool:
        """Whether nothing needs to be read to tell an order's next delay."""
        return correlation_id in self.open or correlation_id in self.past

    def apply(self, rows: DelayRows) -> None:
        """Make landed rows the state; doing it again changes nothing."""
        for ended in rows.delays_ended:
            self.open.pop(ended.correlation_id, None)
            self.past.pop(ended.correlation_id, None)
            self.past[ended.correlation_id] = PastDelay(ended.episode, ended.ended_ns, ended.outcome)
        hedges = {hedge.delay_id: hedge for hedge in rows.hedges}
        for row in rows.delays:
            self.open[row.correlation_id] = open_delay(row, hedges.get(row.delay_id))
            self.past.pop(row.correlation_id, None)
        while len(self.past) > _PAST_LIMIT:
            del self.past[next(iter(self.past))]


def open_delay(row: NewDelay, hedge: NewHedge | None) -> OpenDelay:
    """Give the delay that a row stands for while it is open."""
    held = (hedge.hedge_id, hedge.quantity) if hedge is not None else (None, None)
    return OpenDelay(row.delay_id, row.correlation_id, row.episode, row.venue, row.cum_qty, row.began_ns, *held)
