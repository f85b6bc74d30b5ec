"""Fill delays: when an order that is in flight is late, and what ends that.

An order is late when it has waited longer than is expected of its venue and order type since it was routed, was
last filled, or was last found out about. A market order can be late at any time. A limit order can only be late
where it should have filled: its limit is at or beyond the touch (a buy's at the ask or above, a sell's at the
bid or below) in the last snapshot now, and was so an expected time ago. A limit away from that rests, and is
never late. Nor is an order that is closed, done for the day or suspended.

A delay is an episode of an order, numbered from 1; one is open at a time. The clock comes in as a fact (``Late``).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from ledger.domain.hedges import Hedge, NoHedge, confidence_of, exposure_of, hedge_of
from ledger.domain.identity import identify
from ledger.domain.records import Action, ExecType, OrdStatus, Side
from ledger.domain.times import NANOS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ledger.domain.instruments import Instruments
    from ledger.domain.order import OrderState
    from ledger.domain.records import CapturedOrder, Snapshot

_SUSPENDED = OrdStatus.SUSPENDED


class OrderType(StrEnum):
    """OrdType(40), as far as waiting is concerned: with or without a limit price."""

    MARKET = "market"
    LIMIT = "limit"


class DelayOutcome(StrEnum):
    """What ended a delay. ``WORKING``: the venue said that the order is there and nothing filled."""

    FILLED = "filled"
    PARTIALLY_FILLED = "partially_filled"
    CLOSED = "closed"
    WORKING = "working"


class DelayPolicy(msgspec.Struct, frozen=True):
    """One venue's limits; times in ns.

    The time that is expected is the 99th percentile of the first-fill delays of at least ``samples`` past orders
    of the type, no less than ``floor_ns`` and no more than ``ceiling_ns``; ``ceiling_ns`` while there are fewer.
    ``market_ns`` and ``limit_ns`` are used instead where they are set. ``hedge_limits`` is the exposure that may
    go without a hedge, by currency; a currency that is not there is never hedged. A snapshot older than
    ``snapshot_age_ns`` is as good as none.
    """

    floor_ns: int = 2 * NANOS
    ceiling_ns: int = 30 * NANOS
    market_ns: int | None = None
    limit_ns: int | None = None
    samples: int = 200
    snapshot_age_ns: int = 30 * NANOS
    hedge_limits: Mapping[str, Decimal] = msgspec.field(default_factory=dict)


class Expected(msgspec.Struct, frozen=True):
    """How long an order may take: ``samples`` past orders say so, 0 where it is configured."""

    wait_ns: int
    samples: int = 0


def expected_of(policy: DelayPolicy, kind: OrderType, p99_ns: int | None, samples: int) -> Expected:
    """Give what is expected of an order type; ``p99_ns`` is of ``samples`` past orders."""
    outright = policy.market_ns if kind is OrderType.MARKET else policy.limit_ns
    if outright is not None:
        return Expected(outright)
    if p99_ns is None or samples < policy.samples:
        return Expected(policy.ceiling_ns)
    return Expected(min(max(p99_ns, policy.floor_ns), policy.ceiling_ns), samples)


class Late(msgspec.Struct, frozen=True, tag="late"):
    """The clock as a fact: at ``at_ns`` an order had waited longer than ``expected``.

    ``listening_ns`` is since when we could have heard of it; ``feed`` the state of the venue's feed.
    """

    correlation_id: str
    venue: str
    symbol: str
    at_ns: int
    expected: Expected
    listening_ns: int
    feed: str


class Terms(msgspec.Struct, frozen=True):
    """What matters of an order that is in flight. ``since_ns``: it was routed, replaced or last filled then."""

    venue: str
    symbol: str
    side: Side
    order_type: OrderType
    limit: Decimal | None
    currency: str | None
    since_ns: int
    leaves_qty: Decimal
    cum_qty: Decimal


def terms_of(order: OrderState) -> Terms | None:
    """Give the terms of an order that may be late; None where nothing of it can be.

    Of several limits (a replace) the one that is hardest to fill counts: which of them is in force is not known.
    """
    root, standing = order.root, order.standing
    if root is None or standing.closed is not None or standing.held is _SUSPENDED:
        return None
    leaves_qty = order.leaves_qty
    if not leaves_qty:
        return None
    routed = [i for i in order.intents.values() if i.action is not Action.CANCEL] or [root]
    limits = [i.limit_price for i in routed if i.limit_price is not None]
    hardest = (min(limits) if root.side is Side.BUY else max(limits)) if limits else None
    return Terms(
        root.venue,
        root.symbol,
        root.side,
        OrderType.LIMIT if limits else OrderType.MARKET,
        hardest,
        root.currency,
        max(order.last_fill_ns, *(i.routed_ns for i in routed)),
        leaves_qty,
        order.cum_qty,
    )


def is_marketable(terms: Terms, snapshot: Snapshot | None) -> bool:
    """Whether the order would trade at once: it has no limit, or one at or beyond the touch."""
    if terms.limit is None:
        return True
    if snapshot is None:
        return False
    return terms.limit >= snapshot.ask if terms.side is Side.BUY else terms.limit <= snapshot.bid


class OpenDelay(msgspec.Struct, frozen=True):
    """A delay that is open, with its hedge's id and quantity where one was asked for."""

    delay_id: str
    correlation_id: str
    episode: int
    venue: str
    cum_qty: Decimal
    began_ns: int
    hedge_id: str | None = None
    hedge_quantity: Decimal | None = None


class PastDelay(msgspec.Struct, frozen=True):
    """An order's last delay that is over."""

    episode: int
    ended_ns: int
    outcome: DelayOutcome


class Began(msgspec.Struct, frozen=True):
    """The decision that an order is late, and whether its estimated fill is hedged."""

    delay_id: str
    episode: int
    since_ns: int
    hedge: Hedge | NoHedge


def delay_decision(
    terms: Terms | None,
    past: PastDelay | None,
    late: Late,
    then: Snapshot | None,
    now: Snapshot | None,
    policy: DelayPolicy,
    instruments: Instruments,
) -> Began | None:
    """Decide whether an order without an open delay is late at ``late.at_ns``.

    ``then`` and ``now`` are the last snapshots of its symbol an expected time ago and now. A venue that has said
    that the order is working is believed: there is no hedge in later delays of it.
    """
    if terms is None:
        return None
    since_ns = max(terms.since_ns, late.listening_ns, past.ended_ns if past is not None else 0)
    if late.at_ns - since_ns <= late.expected.wait_ns:
        return None
    then_ns = late.at_ns - late.expected.wait_ns
    fresh = _recent(now, late.at_ns, policy)
    if not (is_marketable(terms, fresh) and is_marketable(terms, _recent(then, then_ns, policy))):
        return None
    episode = past.episode + 1 if past is not None else 1
    hedge = _hedge(terms, past, late, fresh, policy, instruments)
    return Began(identify("fill_delay", late.correlation_id, str(episode)), episode, since_ns, hedge)


def _recent(snapshot: Snapshot | None, at_ns: int, policy: DelayPolicy) -> Snapshot | None:
    return snapshot if snapshot is not None and at_ns - snapshot.at_ns <= policy.snapshot_age_ns else None


def _hedge(
    terms: Terms,
    past: PastDelay | None,
    late: Late,
    snapshot: Snapshot | None,
    policy: DelayPolicy,
    instruments: Instruments,
) -> Hedge | NoHedge:
    if past is not None and past.outcome is DelayOutcome.WORKING:
        return NoHedge("the venue has said that the order is working and nothing filled")
    if snapshot is None:
        return NoHedge(f"there is no snapshot of {terms.symbol} that is recent enough")
    instrument = instruments.find(terms.venue, terms.symbol)
    age_ns = late.at_ns - snapshot.at_ns
    confidence = confidence_of(
        is_market=terms.order_type is OrderType.MARKET,
        is_learned=late.expected.samples > 0,
        is_fresh=age_ns <= late.expected.wait_ns,
    )
    exposure = exposure_of(terms.leaves_qty, snapshot, instrument, terms.currency)
    return hedge_of(terms.side, terms.leaves_qty, exposure, policy.hedge_limits, snapshot, age_ns, confidence)


def outcome_of(delay: OpenDelay, order: OrderState, said: Iterable[CapturedOrder]) -> DelayOutcome | None:
    """Say what ends a delay now: a fill, the order's end, or the venue's word; None while nothing does.

    ``said`` are the reports of the order's state that are new. One from after the delay began that counts no more
    than we do says that nothing filled. An OrderStatus is said when it comes: it answers, with the time of what
    happened last.
    """
    if order.cum_qty > delay.cum_qty:
        return DelayOutcome.PARTIALLY_FILLED if order.leaves_qty else DelayOutcome.FILLED
    if not order.leaves_qty:
        return DelayOutcome.CLOSED
    for captured in said:
        report = captured.report
        is_answer = report.exec_type is ExecType.ORDER_STATUS
        said_ns = captured.received_ns if is_answer else report.transact_ns
        is_word = report.exec_type is not ExecType.CANCEL_REJECT and said_ns >= delay.began_ns
        if is_word and report.cum_qty is not None and report.cum_qty <= order.cum_qty:
            return DelayOutcome.WORKING
    return None
