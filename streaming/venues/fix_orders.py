"""What a FIX venue says of an order that moves no quantity: ExecutionReport's states, and OrderCancelReject."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.domain.identity import make_order_report
from ledger.domain.numbers import ZERO, text
from ledger.domain.records import ExecType, OrderReport, OrdStatus
from streaming.venues.fix_fields import Fields, name_of
from streaming.venues.fix_values import (
    defect,
    missing,
    read_id,
    read_number,
    read_side,
    read_text,
    read_time,
    read_trade_date,
    shown_text,
    unknown,
)

if TYPE_CHECKING:
    from decimal import Decimal

_STATUSES = {  # OrdStatus(39)
    "0": OrdStatus.NEW,
    "1": OrdStatus.PARTIALLY_FILLED,
    "2": OrdStatus.FILLED,
    "3": OrdStatus.DONE_FOR_DAY,
    "4": OrdStatus.CANCELED,
    "5": OrdStatus.REPLACED,
    "6": OrdStatus.PENDING_CANCEL,
    "7": OrdStatus.STOPPED,
    "8": OrdStatus.REJECTED,
    "9": OrdStatus.SUSPENDED,
    "A": OrdStatus.PENDING_NEW,
    "B": OrdStatus.CALCULATED,
    "C": OrdStatus.EXPIRED,
    "D": OrdStatus.ACCEPTED_FOR_BIDDING,
    "E": OrdStatus.PENDING_REPLACE,
}
_REASONS = ("378", "103", "102", "434")  # codes, said as "OrdRejReason=3"
_TEXT = "58"
_WITHOUT_LIMIT = frozenset({"1", "3"})  # OrdType(40) market and stop: what stands in Price(44) is no limit


def order_report(venue: str, fields: Fields, exec_type: ExecType, account: str) -> OrderReport:
    """Read a report of an order's state. Raises ``DefectError``.

    ExecID may be left out (cTrader's New has none), as may ExecRestatementReason of a restatement (ASX). The time
    is TransactTime(60), else that of sending.
    """
    cl_ord_id, venue_order_id = read_id(fields, "11"), read_id(fields, "37")
    if cl_ord_id is None and venue_order_id is None:
        raise missing("11", fields, "ClOrdID(11) or OrderID(37) ties a report to its order")
    transact_ns = read_time(fields, or_sent=True)
    return make_order_report(
        venue=venue,
        account=read_text(fields, "1") or account,
        symbol=read_text(fields, "55") or "",
        trade_date=read_trade_date(fields, transact_ns),
        exec_id=read_id(fields, "17"),
        exec_type=exec_type,
        ord_status=_status(fields),
        cl_ord_id=cl_ord_id,
        orig_cl_ord_id=read_id(fields, "41"),
        venue_order_id=venue_order_id,
        side=read_side(fields) if fields.get("54") else None,
        order_qty=_order_qty(fields),
        limit_price=_limit(fields),
        cum_qty=read_number(fields, "14"),
        leaves_qty=read_number(fields, "151"),
        avg_px=read_number(fields, "6"),
        reason=_reason(fields),
        transact_ns=transact_ns,
    )


def _status(fields: Fields) -> OrdStatus | None:
    value = fields.get("39")
    if not value:
        return None
    status = _STATUSES.get(value)
    if status is None:
        raise unknown("39", value, "an OrdStatus of FIX 4.0 to 5.0SP2 is required")
    return status


def _order_qty(fields: Fields) -> Decimal | None:
    number = read_number(fields, "38")
    if number is not None and number < ZERO:
        rule = "a quantity of zero or more is required"
        raise defect("not_positive", "38", text(number), rule, "Ask the venue to resend it.")
    return number


def _limit(fields: Fields) -> Decimal | None:
    return None if fields.get("40") in _WITHOUT_LIMIT else read_number(fields, "44")


def _reason(fields: Fields) -> str | None:
    """Give the codes by their names, then the text: ``OrdRejReason=3: over the limit``."""
    codes = ", ".join(f"{name_of(tag)}={fields[tag]}" for tag in _REASONS if fields.get(tag))
    said = ": ".join(part for part in (codes, fields.get(_TEXT)) if part)
    return shown_text(said) if said else None
