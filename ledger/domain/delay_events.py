"""What is told of delays and provisional hedges: the OrderAgent, the venues' gateway and the Hedger read it.

The key is the correlation id: the events of one order stay in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ledger.domain.events import DecisionBody, order_event
from ledger.domain.halts import seconds
from ledger.domain.hedges import Hedge, HedgeStatus
from ledger.domain.identity import identify
from ledger.domain.numbers import text
from ledger.domain.records import Side
from ledger.domain.times import format_utc

if TYPE_CHECKING:
    from ledger.domain.delay_rows import EndedDelay, NewDelay, NewHedge
    from ledger.domain.delays import Began, OpenDelay
    from ledger.domain.hedges import TrueUp
    from ledger.domain.order import OrderState
    from ledger.domain.records import AuditEvent, OrderIntent

DELAY_BEGAN, DELAY_ENDED = "fill_delay_began", "fill_delay_ended"
STATUS_REQUESTED = "venue_status_requested"
HEDGE_REQUESTED = "hedge_requested"
HEDGE_ENDS = frozenset(f"hedge_{status}" for status in HedgeStatus if status is not HedgeStatus.REQUESTED)


def began_event(row: NewDelay, began: Began) -> AuditEvent:
    """Tell the OrderAgent that an order is late, and whether its estimated fill is hedged."""
    hedged = isinstance(began.hedge, Hedge)
    detail: dict[str, str | None] = {
        "venue": row.venue,
        "symbol": row.symbol,
        "side": row.side.value,
        "order_type": row.order_type.value,
        "episode": str(row.episode),
        "leaves_qty": text(row.leaves_qty),
        "cum_qty": text(row.cum_qty),
        "waited_seconds": seconds(row.began_ns - row.since_ns),
        "expected_seconds": seconds(row.expected_ns),
        "samples": str(row.samples),
        "feed": row.feed,
        "hedge": "requested" if hedged else "none",
        "no_hedge_reason": None if isinstance(began.hedge, Hedge) else began.hedge.reason,
        "since": format_utc(row.since_ns),
        "began_at": format_utc(row.began_ns),
    }
    return order_event(DELAY_BEGAN, row.delay_id, row.correlation_id, row.delay_id, detail)


def ended_event(delay: OpenDelay, ended: EndedDelay, order: OrderState) -> AuditEvent:
    """Tell what ended a delay."""
    root = order.root
    detail: dict[str, str | None] = {
        "venue": delay.venue,
        "symbol": root.symbol if root is not None else None,
        "episode": str(delay.episode),
        "outcome": ended.outcome.value,
        "filled_qty": text(ended.filled_qty),
        "leaves_qty": text(order.leaves_qty),
        "cum_qty": text(order.cum_qty),
        "ord_status": order.ord_status.value,
        "began_at": format_utc(delay.began_ns),
        "ended_at": format_utc(ended.ended_ns),
    }
    event_id = identify("fill_delay_ended", delay.delay_id)
    return order_event(DELAY_ENDED, event_id, delay.correlation_id, delay.delay_id, detail)


class StatusRequest(msgspec.Struct, frozen=True):
    """The question what has become of a late order, by the names that its venue knows it by.

    ``request_id`` is the delay's id: the same delay asks under the same name.
    """

    request_id: str
    venue: str
    account: str
    symbol: str
    side: Side
    cl_ord_id: str
    venue_order_id: str | None


def status_request(delay_id: str, order: OrderState) -> StatusRequest:
    """Ask what has become of an order that has an intent (OrderStatusRequest, 35=H)."""
    newest = max(order.intents.values(), key=_routed)
    known = [i.venue_order_id for i in order.intents.values() if i.venue_order_id is not None]
    known += sorted(name for _, kind, name in order.learned if kind == "v")
    return StatusRequest(
        delay_id,
        newest.venue,
        newest.account,
        newest.symbol,
        newest.side,
        newest.msg_id,
        known[0] if known else None,
    )


def status_event(row: NewDelay, order: OrderState) -> AuditEvent:
    """Tell that the venue is to be asked."""
    asked = status_request(row.delay_id, order)
    detail: dict[str, str | None] = {
        "venue": row.venue,
        "account": asked.account,
        "symbol": row.symbol,
        "side": row.side.value,
        "cl_ord_id": asked.cl_ord_id,
        "venue_order_id": asked.venue_order_id,
        "requested_at": format_utc(row.began_ns),
    }
    event_id = identify("venue_status", row.delay_id)
    return order_event(STATUS_REQUESTED, event_id, row.correlation_id, row.delay_id, detail)


def status_requested(event: AuditEvent) -> StatusRequest:
    """Read the question back from its event."""
    body = msgspec.json.decode(event.body, type=DecisionBody)
    return msgspec.convert({"request_id": body.subject, **body.detail}, StatusRequest)


def _routed(intent: OrderIntent) -> tuple[int, str]:
    return intent.routed_ns, intent.msg_id


def hedge_event(hedge: NewHedge, row: NewDelay) -> AuditEvent:
    """Ask for a hedge, and say on what basis."""
    detail: dict[str, str | None] = {
        "venue": hedge.venue,
        "symbol": hedge.symbol,
        "side": hedge.side.value,
        "quantity": text(hedge.quantity),
        "price": text(hedge.price),
        "exposure": text(hedge.exposure),
        "currency": hedge.currency,
        "limit": text(hedge.limit_value),
        "confidence": hedge.confidence.value,
        "basis": hedge.basis,
        "snapshot_id": hedge.snapshot_id,
        "snapshot_age_seconds": seconds(hedge.snapshot_age_ns),
        "waited_seconds": seconds(row.began_ns - row.since_ns),
        "expected_seconds": seconds(row.expected_ns),
        "samples": str(row.samples),
        "requested_at": format_utc(hedge.requested_ns),
    }
    return order_event(HEDGE_REQUESTED, hedge.hedge_id, hedge.correlation_id, hedge.hedge_id, detail)


def trued_event(delay: OpenDelay, ended: EndedDelay, told: TrueUp, order: OrderState) -> AuditEvent:
    """Say what became of a hedge, and by how much it differs from what filled."""
    assert delay.hedge_id is not None, "only a hedge is trued up"
    assert delay.hedge_quantity is not None, "a hedge has a quantity"
    root = order.root
    detail: dict[str, str | None] = {
        "venue": delay.venue,
        "symbol": root.symbol if root is not None else None,
        "quantity": text(delay.hedge_quantity),
        "filled_qty": text(told.filled),
        "difference": text(told.difference),
        "outcome": ended.outcome.value,
        "avg_px": text(order.avg_px) if told.filled else None,
        "settled_at": format_utc(ended.ended_ns),
    }
    event_id = identify("hedge_settled", delay.hedge_id)
    return order_event(f"hedge_{told.status.value}", event_id, delay.correlation_id, delay.hedge_id, detail)
