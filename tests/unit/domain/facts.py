"""Facts for tests: small builders with everything defaulted."""

from __future__ import annotations

from decimal import Decimal

from ledger.domain.identity import identify, make_fill, make_order_report
from ledger.domain.records import (
    Action,
    Break,
    Captured,
    CapturedOrder,
    ExecType,
    OrderIntent,
    OrdStatus,
    ReportKind,
    Resolution,
    Side,
    Snapshot,
    Verdict,
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
    account: str = "ACC",
    currency: str | None = None,
    correlation_id: str | None = None,
) -> Captured:
    fill = make_fill(
        venue="ALPHA",
        account=account,
        symbol=symbol,
        trade_date=utc_date(at),
        exec_id=exec_id,
        kind=kind,
        correlation_id=correlation_id,
        currency=currency,
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


def bust(exec_id: str, ref: str, *, at: int = T0 + 2 * SECOND, **changes: object) -> Captured:
    """A trade cancel of the ExecID ``ref``."""
    return report(exec_id, kind=ReportKind.BUST, ref=ref, at=at, **changes)  # type: ignore[arg-type]


def correct(exec_id: str, ref: str, *, at: int = T0 + 2 * SECOND, **changes: object) -> Captured:
    """A trade correct of the ExecID ``ref``."""
    return report(exec_id, kind=ReportKind.CORRECT, ref=ref, at=at, **changes)  # type: ignore[arg-type]


def order_report(
    exec_type: ExecType = ExecType.NEW,
    *,
    status: OrdStatus | None = None,
    cl_ord_id: str | None = "M1",
    orig: str | None = None,
    venue_order_id: str | None = None,
    exec_id: str | None = None,
    qty: str | None = None,
    cum: str | None = None,
    leaves: str | None = None,
    avg: str | None = None,
    side: Side | None = None,
    at: int = T0 + SECOND,
    feed: str = "ALPHA.fix",
) -> CapturedOrder:
    """A report of an order's state."""
    said = make_order_report(
        venue="ALPHA",
        trade_date=utc_date(at),
        exec_type=exec_type,
        ord_status=status,
        exec_id=exec_id,
        cl_ord_id=cl_ord_id,
        orig_cl_ord_id=orig,
        venue_order_id=venue_order_id,
        side=side,
        order_qty=None if qty is None else Decimal(qty),
        cum_qty=None if cum is None else Decimal(cum),
        leaves_qty=None if leaves is None else Decimal(leaves),
        avg_px=None if avg is None else Decimal(avg),
        transact_ns=at,
    )
    return CapturedOrder(said, feed, b"raw", at)


def resolution(found: Break, verdict: Verdict = Verdict.RELEASE, *, at: int = T0 + 60 * SECOND) -> Resolution:
    """Two persons' verdict on a break as it stands."""
    return Resolution(
        identify("test", found.break_id, verdict, found.ours, found.theirs, str(at)),
        found.break_id,
        found.correlation_id,
        verdict,
        found.ours,
        found.theirs,
        "ann",
        "bob",
        "checked with the venue",
        at,
    )


def snapshot(snapshot_id: str, bid: str, ask: str, at: int = T0, symbol: str = "BTCUSDT") -> Snapshot:
    return Snapshot(snapshot_id, symbol, Decimal(bid), Decimal(ask), None, None, at)
