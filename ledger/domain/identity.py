"""Identity: which two messages are the same report. A key in the database, never a time window.

An id is BLAKE2b-128 over the parts, framed so that no choice of texts lets two different tuples meet. Two
reports with one id are compared by their content, the digest of all that they say.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from ledger.domain.records import ExecType, FillReport, Liquidity, OrderReport, OrdStatus, ReportKind, Side

if TYPE_CHECKING:
    from datetime import date
    from decimal import Decimal

_ID_BYTES = 16
_SEPARATOR = "\x1f"  # unit separator: no venue's id holds it, and one that did would still be unambiguous
_encode = msgspec.json.Encoder().encode


def identify(*parts: str) -> str:
    """32 hex digits for a tuple of texts."""
    framed = _SEPARATOR.join(parts)
    if framed.count(_SEPARATOR) >= len(parts):  # a part holds the separator: say where each ends
        framed = _SEPARATOR.join(f"{len(part)}:{part}" for part in ("", *parts))
    return blake2b(framed.encode("utf-8", "surrogatepass"), digest_size=_ID_BYTES).hexdigest()


def make_fill(
    *,
    venue: str,
    symbol: str,
    trade_date: date,
    exec_id: str,
    kind: ReportKind,
    side: Side,
    last_qty: Decimal,
    last_px: Decimal,
    transact_ns: int,
    account: str = "",
    exec_ref_id: str | None = None,
    cl_ord_id: str | None = None,
    venue_order_id: str | None = None,
    correlation_id: str | None = None,
    cum_qty: Decimal | None = None,
    leaves_qty: Decimal | None = None,
    avg_px: Decimal | None = None,
    currency: str | None = None,
    fee: Decimal | None = None,
    fee_currency: str | None = None,
    liquidity: Liquidity | None = None,
    part_of: str | None = None,
    trade_report_id: str | None = None,
    within_order: bool = False,
) -> FillReport:
    """Make a report of a trade with its identity: venue, account, symbol, trade date, ExecID, kind.

    ``within_order`` adds the venue's order id, for venues whose trade ids both sides of a trade share: an account
    that trades with itself has one on both of its orders, and both are fills. The content is the digest of
    everything else: two wordings of one report are told apart, and merged (``ledger.domain.variants``).
    """
    identity = (venue, account, symbol, trade_date.isoformat(), exec_id, kind)
    content = (
        exec_ref_id, cl_ord_id, venue_order_id, correlation_id, side, last_qty, last_px, cum_qty, leaves_qty,
        avg_px, currency, fee, fee_currency, liquidity, transact_ns, part_of,
        trade_report_id,
    )  # fmt: skip
    return FillReport(
        report_id=identify(*identity, venue_order_id or "") if within_order else identify(*identity),
        content=_digest(content),
        venue=venue,
        account=account,
        symbol=symbol,
        trade_date=trade_date,
        exec_id=exec_id,
        kind=kind,
        exec_ref_id=exec_ref_id,
        cl_ord_id=cl_ord_id,
        venue_order_id=venue_order_id,
        correlation_id=correlation_id,
        side=side,
        last_qty=last_qty,
        last_px=last_px,
        cum_qty=cum_qty,
        leaves_qty=leaves_qty,
        avg_px=avg_px,
        currency=currency,
        fee=fee,
        fee_currency=fee_currency,
        liquidity=liquidity,
        transact_ns=transact_ns,
        part_of=part_of,
        trade_report_id=trade_report_id,
    )


def make_order_report(
    *,
    venue: str,
    trade_date: date,
    exec_type: ExecType,
    transact_ns: int,
    account: str = "",
    symbol: str = "",
    exec_id: str | None = None,
    ord_status: OrdStatus | None = None,
    cl_ord_id: str | None = None,
    orig_cl_ord_id: str | None = None,
    venue_order_id: str | None = None,
    correlation_id: str | None = None,
    side: Side | None = None,
    order_qty: Decimal | None = None,
    limit_price: Decimal | None = None,
    cum_qty: Decimal | None = None,
    leaves_qty: Decimal | None = None,
    avg_px: Decimal | None = None,
    reason: str | None = None,
) -> OrderReport:
    """Make a report of an order's state; its identity is the digest of all it says.

    ExecID does not tell such reports apart: an order status (150=I) has 0 there, or the ExecID of the report it
    repeats (FIX 4.4 on ExecID; Kraken).
    """
    said = (
        "order", venue, account, symbol, trade_date, exec_id, exec_type, ord_status, cl_ord_id, orig_cl_ord_id,
        venue_order_id, correlation_id, side, order_qty, limit_price, cum_qty, leaves_qty, avg_px, reason,
        transact_ns,
    )  # fmt: skip
    return OrderReport(
        report_id=_digest(said),
        venue=venue,
        account=account,
        symbol=symbol,
        trade_date=trade_date,
        exec_id=exec_id,
        exec_type=exec_type,
        ord_status=ord_status,
        cl_ord_id=cl_ord_id,
        orig_cl_ord_id=orig_cl_ord_id,
        venue_order_id=venue_order_id,
        correlation_id=correlation_id,
        side=side,
        order_qty=order_qty,
        limit_price=limit_price,
        cum_qty=cum_qty,
        leaves_qty=leaves_qty,
        avg_px=avg_px,
        reason=reason,
        transact_ns=transact_ns,
    )


def _digest(said: tuple[object, ...]) -> str:
    # JSON frames the values, and its encoder costs a third of joining their texts
    return blake2b(_encode(said), digest_size=_ID_BYTES).hexdigest()


def dead_letter_id(source: str, raw: bytes) -> str:
    """Id of bytes that are no fact: the same bytes from the same source are the same dead letter."""
    return blake2b(raw, digest_size=_ID_BYTES, key=source.encode()[:64]).hexdigest()


def out_of_order_id(report_id: str) -> str:
    """Id of the dead letter of a report whose grace time ended before what it refers to came."""
    return identify("out_of_order", report_id)
