"""ExecutionReport (35=8) of a trade, its cancel or its correct, and the parts that FIX 5.0SP2 splits one into."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.domain.identity import make_fill
from ledger.domain.numbers import EXACT, ZERO, text
from ledger.domain.records import FillReport, ReportKind
from streaming.venues.fix_fees import read_fee
from streaming.venues.fix_fields import Fields, entries_of, once, pairs_of
from streaming.venues.fix_values import (
    LIQUIDITY,
    defect,
    missing,
    read_id,
    read_number,
    read_side,
    read_text,
    read_time,
    read_trade_date,
    read_traded,
)

if TYPE_CHECKING:
    from decimal import Decimal

_TIME_OPTIONAL = frozenset({"FIX.4.0", "FIX.4.1", "FIX.4.2"})
_NO_PARTS = frozenset({"", "0"})
_PART = ("1363", "1364", "1365", "1443")  # of NoFills(1362)


def fill_reports(venue: str, fields: Fields, kind: ReportKind, raw: bytes, account: str) -> list[FillReport]:
    """Read a trade, its cancel or its correct: one report, or one a part of it. Raises ``DefectError``.

    A split trade (NoFills(1362)) has an ExecID a part, FillExecID(1363), and its own ExecID as ``part_of``. What
    is said of the order and the fee of the whole stand on the last part alone: only then are they true, and once.
    """
    whole = _fill_report(venue, fields, kind, raw, account)
    if kind is not ReportKind.FILL or fields.get("1362", "0") in _NO_PARTS:
        return [whole]
    parts = [once(entry, _PART) for entry in entries_of(pairs_of(raw), "1362", _PART)]
    sizes = [read_traded(part, "1365", kind) for part in parts]
    total = ZERO
    for size in sizes:
        total = EXACT.add(total, size)
    if total != whole.last_qty:
        rule = f"the parts of NoFills(1362) sum to LastQty(32)={text(whole.last_qty)}"
        raise defect("parts_differ", "1365", text(total), rule, "Ask the venue to resend it.")
    return [
        _part(whole, part, size, is_last=number == len(parts))
        for number, (part, size) in enumerate(zip(parts, sizes, strict=True), 1)
    ]


def _fill_report(venue: str, fields: Fields, kind: ReportKind, raw: bytes, default_account: str) -> FillReport:
    exec_id = read_id(fields, "17")
    if exec_id is None:
        raise missing("17", fields, "an execution is known by its ExecID")
    exec_ref_id = None
    if kind is not ReportKind.FILL:
        exec_ref_id = read_id(fields, "19")
        if exec_ref_id is None:  # FIX 4.4: "required for Trade Cancel and Trade Correct"
            raise missing("19", fields, "a Trade Cancel or Trade Correct names the execution it acts on")
    cl_ord_id, venue_order_id = read_id(fields, "11"), read_id(fields, "37")
    if cl_ord_id is None and venue_order_id is None:
        raise missing("11", fields, "ClOrdID(11) or OrderID(37) ties an execution to its order")
    side = read_side(fields)
    symbol = read_text(fields, "55")
    if symbol is None:
        raise missing("55", fields, "an execution is of an instrument")
    account = read_text(fields, "1") or default_account
    last_qty = read_traded(fields, "32", kind)
    last_px = read_traded(fields, "31", kind)
    transact_ns = read_time(fields, or_sent=fields["8"] in _TIME_OPTIONAL)
    fee, fee_currency = read_fee(fields, pairs_of(raw) if "136" in fields else ())
    return make_fill(
        venue=venue,
        account=account,
        symbol=symbol,
        trade_date=read_trade_date(fields, transact_ns),
        exec_id=exec_id,
        kind=kind,
        exec_ref_id=exec_ref_id,
        cl_ord_id=cl_ord_id,
        venue_order_id=venue_order_id,
        side=side,
        last_qty=last_qty,
        last_px=last_px,
        cum_qty=read_number(fields, "14"),
        leaves_qty=read_number(fields, "151"),
        avg_px=read_number(fields, "6"),
        currency=read_text(fields, "15"),
        fee=fee,
        fee_currency=fee_currency,
        liquidity=LIQUIDITY.get(fields.get("851", "")),
        transact_ns=transact_ns,
    )


def _part(whole: FillReport, part: Fields, size: Decimal, *, is_last: bool) -> FillReport:
    exec_id = read_id(part, "1363")
    if exec_id is None:
        raise missing("1363", part, "a part of a trade is known by its FillExecID")
    return make_fill(
        venue=whole.venue,
        account=whole.account,
        symbol=whole.symbol,
        trade_date=whole.trade_date,
        exec_id=exec_id,
        kind=whole.kind,
        cl_ord_id=whole.cl_ord_id,
        venue_order_id=whole.venue_order_id,
        side=whole.side,
        last_qty=size,
        last_px=read_traded(part, "1364", whole.kind),
        cum_qty=whole.cum_qty if is_last else None,
        leaves_qty=whole.leaves_qty if is_last else None,
        avg_px=whole.avg_px if is_last else None,
        currency=whole.currency,
        fee=whole.fee if is_last else None,
        fee_currency=whole.fee_currency if is_last else None,
        liquidity=LIQUIDITY.get(part.get("1443", "")) or whole.liquidity,
        transact_ns=whole.transact_ns,
        part_of=whole.exec_id,
    )
