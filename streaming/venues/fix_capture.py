"""TradeCaptureReport (35=AE): a trade with its sides, each the fill of an order, or its cancel, or its correct."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from ledger.domain.errors import DefectError
from ledger.domain.identity import make_fill
from ledger.domain.records import ExecType, FillReport, ReportKind
from streaming.venues.fix_fees import read_fee
from streaming.venues.fix_fields import Fields, Pairs, entries_of, once, pairs_of
from streaming.venues.fix_values import (
    LIQUIDITY,
    missing,
    read_id,
    read_side,
    read_text,
    read_time,
    read_trade_date,
    read_traded,
    unknown,
)

if TYPE_CHECKING:
    from streaming.venues.decoded import Decoded

# TradeReportTransType(487). Release (3) and reverse (4) are not understood: they may move a quantity
_KINDS = {"0": ReportKind.FILL, "1": ReportKind.BUST, "2": ReportKind.CORRECT}
# TradeReportType(856) that says of a trade what is not, or not yet, one of ours
_NO_TRADES = {
    "1": "alleged",
    "3": "declined",
    "4": "addendum",
    "8": "defaulted",
    "10": "pended",
    "11": "alleged",
    "12": "alleged",
    "13": "alleged",
    "14": "alleged",
    "15": "alleged",
}
_TRADES = frozenset({"", "0", "2"})  # submitted, accepted
_BREAKS = {"6": ReportKind.BUST, "7": ReportKind.BUST, "5": ReportKind.CORRECT}  # cancel, trade break; no/was
# of NoSides(552), Side first; with its groups NoPartyIDs(453) and NoMiscFees(136)
_PARTY = ("448", "452")
_FIELDS = ("54", "1", "11", "12", "13", "15", "37", "136", "453", "479", "1444")
_SIDE = (*_FIELDS, *_PARTY, "137", "138", "139", "891")
_OTHER_PARTY = "trade_capture_other_party"
_ACCOUNT_ROLES = ("24", "38", "83")  # PartyRole(452): customer account, position account, clearing account


def capture(
    venue: str, fields: Fields, raw: bytes, account: str, kinds: dict[str, ReportKind | ExecType], into: Decoded
) -> None:
    """Read the sides into ``into``. Raises ``DefectError`` for what concerns all of them.

    The trade's ExecID is ExecID(17), else TradeReportID(571); a cancel or a correct names with
    TradeReportRefID(572) what it acts on. A side without order ids and account beside one that has them is the
    other party's, and counted. AvgPx(6) here is of an average price trade, not of the order: no claim.
    ``kinds`` is ExecType(150).
    """
    kind = _kind(fields, kinds)
    if isinstance(kind, str) and not isinstance(kind, ReportKind):
        into.others[kind] = 1
        return
    if not fields.get("552"):
        raise missing("552", fields, "a trade has its sides")
    pairs = pairs_of(raw)
    sides = entries_of(pairs, "552", _SIDE)
    if not sides:
        raise missing("54", fields, "a trade has its sides")
    # of the trade (FIX 5.0SP2), where a side (FIX 4.3, 4.4) does not say
    shared = [pair for pair in takewhile(lambda pair: pair[0] != "552", pairs) if pair[0] == "15"]
    others = [_is_other_party(side) for side in sides]
    found: set[str] = set()
    # one side of ours under an ExecID is the fill that the venue's ExecutionReport tells, too: one identity
    alone = bool(read_id(fields, "17")) and (others.count(False) or len(others)) == 1
    for side, is_other in zip(sides, others, strict=True):
        try:
            if is_other and not all(others):
                into.others[_OTHER_PARTY] = into.others.get(_OTHER_PARTY, 0) + 1
                continue
            own = side if any(tag == "15" for tag, _ in side) else [*side, *shared]
            report = _report(venue, fields, own, kind, account, within_order=not alone)
            if report.report_id in found:
                rule = "two sides of one account are told apart by their OrderID"
                raise missing("37", dict(side), rule)
        except DefectError as error:
            into.defects.append((error.defect, raw))
        else:
            found.add(report.report_id)
            into.reports.append((report, raw))


def _kind(fields: Fields, kinds: dict[str, ReportKind | ExecType]) -> ReportKind | str:
    trans_type = fields.get("487") or "0"
    kind = _KINDS.get(trans_type)
    if kind is None:
        raise unknown("487", trans_type, "0 (new), 1 (cancel) or 2 (replace) is required")
    report_type = fields.get("856", "")
    name = _NO_TRADES.get(report_type)
    if name is not None:
        return f"trade_capture_{name}"
    exec_type = fields.get("150")
    if exec_type:
        executed = kinds.get(exec_type)
        if executed is None:
            raise unknown("150", exec_type, "an ExecType of FIX 4.0 to 5.0SP2 is required")
        if isinstance(executed, ExecType):
            return f"trade_capture_{executed.name.lower()}"
        if kind is ReportKind.FILL:
            kind = executed
    if kind is ReportKind.FILL and report_type not in _TRADES:
        broken = _BREAKS.get(report_type)
        if broken is None:
            raise unknown("856", report_type, "a TradeReportType of FIX 4.4 is required")
        return broken
    return kind


def _is_other_party(side: Pairs) -> bool:
    fields = dict(side)
    return read_id(fields, "11") is None and read_id(fields, "37") is None and _account(fields, side) is None


def _account(fields: Fields, side: Pairs) -> str | None:
    account = read_text(fields, "1")
    if account is not None or "453" not in fields:
        return account
    parties = [dict(entry) for entry in entries_of(side, "453", _PARTY)]
    for role in _ACCOUNT_ROLES:
        for party in parties:
            if party.get("452") == role:
                return read_text(party, "448")
    return None


def _report(
    venue: str, fields: Fields, side: Pairs, kind: ReportKind, default_account: str, *, within_order: bool
) -> FillReport:
    tag = "17" if read_id(fields, "17") else "571"
    exec_id = read_id(fields, tag)
    if exec_id is None:
        raise missing("571", fields, "a trade is known by its ExecID(17) or TradeReportID(571)")
    exec_ref_id = None
    if kind is not ReportKind.FILL:
        exec_ref_id = read_id(fields, "572")
        if exec_ref_id is None:
            raise missing("572", fields, "a cancel or a replacement names the trade it acts on")
    own = once(side, _FIELDS)
    cl_ord_id, venue_order_id = read_id(own, "11"), read_id(own, "37")
    if cl_ord_id is None and venue_order_id is None:
        raise missing("37", own, "OrderID(37) or ClOrdID(11) ties a side to its order")
    symbol = read_text(fields, "55")
    if symbol is None:
        raise missing("55", fields, "a trade is of an instrument")
    transact_ns = read_time(fields, or_sent=True)
    fee, fee_currency = read_fee(own, side if "136" in own else ())
    return make_fill(
        venue=venue,
        account=_account(own, side) or default_account,
        symbol=symbol,
        trade_date=read_trade_date(fields, transact_ns),
        exec_id=exec_id,
        kind=kind,
        exec_ref_id=exec_ref_id,
        cl_ord_id=cl_ord_id,
        venue_order_id=venue_order_id,
        side=read_side(own),
        last_qty=read_traded(fields, "32", kind),
        last_px=read_traded(fields, "31", kind),
        currency=read_text(own, "15"),
        fee=fee,
        fee_currency=fee_currency,
        liquidity=LIQUIDITY.get(own.get("1444") or fields.get("851", "")),
        transact_ns=transact_ns,
        within_order=within_order,
        trade_report_id=read_id(fields, "571") if tag == "17" else None,
    )
