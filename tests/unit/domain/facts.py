"""Facts for tests: small builders with everything defaulted."""

from __future__ import annotations

from decimal import Decimal

from ledger.domain.identity import make_fill
from ledger.domain.records import (
    Action,
    Captured,
    OrderIntent,
    ReportKind,
    Side,
    Snapshot,
)
from ledger.domain.times import utc_date

T0 = 1_795_000_000_000_000_000
SECOND = 1_000_000_000


def intent(
    correlation_id: str = "C1",
    msg_id: str = "M1",
    *,
    action: Action = Action.NEW,
    orig: str | None = None,
    qty: str = "10",
    limit: str | None = None,
    decision: str | None = None,
    side: Side = Side.BUY,
    at: int = T0,
    venue_order_id: str | None = None,
    symbol: str = "BTCUSDT",
) -> OrderIntent:
    return OrderIntent(
        correlation_id,
        msg_id,
        action,
        orig,
        "ALPHA",
        "ACC",
        symbol,
        side,
        Decimal(qty),
        None if limit is None else Decimal(limit),
        None if decision is None else Decimal(decision),
        None,
        at,
        venue_order_id,
    )


def report(
    exec_id: str = "E1",
    *,
    kind: ReportKind = ReportKind.FILL,
    ref: str | None = None,
    cl_ord_id: str | None = "M1",
    qty: str = "1",
    px: str = "100",
    side: Side = Side.BUY,
    at: int = T0 + SECOND,
    symbol: str = "BTCUSDT",
    feed: str = "ALPHA.fix",
    venue_order_id: str | None = None,
    cum: str | None = None,
    avg: str | None = None,
    fee: str | None = None,
    part_of: str | None = None,
) -> Captured:
    fill = make_fill(
        venue="ALPHA",
        account="ACC",
        symbol=symbol,
        trade_date=utc_date(at),
        exec_id=exec_id,
        kind=kind,
        exec_ref_id=ref,
        cl_ord_id=cl_ord_id,
        venue_order_id=venue_order_id,
        side=side,
        last_qty=Decimal(qty),
        last_px=Decimal(px),
        cum_qty=None if cum is None else Decimal(cum),
        avg_px=None if avg is None else Decimal(avg),
        fee=None if fee is None else Decimal(fee),
        part_of=part_of,
        transact_ns=at,
    )
    return Captured(fill, feed, b"raw", at)


def snapshot(snapshot_id: str, bid: str, ask: str, at: int = T0, symbol: str = "BTCUSDT") -> Snapshot:
    return Snapshot(snapshot_id, symbol, Decimal(bid), Decimal(ask), None, None, at)
