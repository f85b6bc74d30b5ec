"""FIX 4.4 drop copy: one message to a report, a defect, or a name in the count of the others.

Pure: the engine in ``streaming.feeds.fix_engine`` has checked BodyLength, CheckSum and MsgSeqNum; here is what
the fields mean. A message that may move a quantity and is not understood is a defect, never a count.
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING

from ledger.domain.errors import DefectError, defect_error
from ledger.domain.identity import make_fill
from ledger.domain.numbers import ZERO, parse_decimal, parse_positive
from ledger.domain.records import FillReport, Liquidity, ReportKind, Side
from ledger.domain.times import clock_nanos, day_start, utc_date
from streaming.venues.decoded import Decoded
from streaming.venues.fix_fields import Fields, label, split

if TYPE_CHECKING:
    from decimal import Decimal

# ExecType(150): what moves quantity. 1 and 2 are FIX 4.2's fills: unknown here, hence a defect
_REPORTS = {"F": ReportKind.FILL, "H": ReportKind.BUST, "G": ReportKind.CORRECT}
# and what moves none; L is FIX 5.0's, sent by 4.4 venues, too. J and K (held from and released to clearing)
# may stand in the place of a Trade and are left unknown
_STATES = {
    "0": "new",
    "3": "done_for_day",
    "4": "canceled",
    "5": "replaced",
    "6": "pending_cancel",
    "7": "stopped",
    "8": "rejected",
    "9": "suspended",
    "A": "pending_new",
    "B": "calculated",
    "C": "expired",
    "D": "restated",
    "E": "pending_replace",
    "I": "order_status",
    "L": "triggered",
}
# MsgType(35) of what a drop copy may carry beside reports and cannot hold a trade. TradeCaptureReport (AE)
# can, and is therefore unknown
_MESSAGES = {
    "0": "heartbeat",
    "1": "test_request",
    "2": "resend_request",
    "3": "session_reject",
    "4": "sequence_reset",
    "5": "logout",
    "9": "order_cancel_reject",
    "A": "logon",
    "AR": "trade_capture_report_ack",
    "B": "news",
    "C": "email",
    "D": "order_single",
    "F": "cancel_request",
    "G": "replace_request",
    "H": "status_request",
    "Q": "dont_know_trade",
    "d": "security_definition",
    "f": "security_status",
    "h": "trading_session_status",
    "j": "business_reject",
    "q": "order_mass_cancel_request",
    "r": "order_mass_cancel_report",
}
# Side(54): sell short (5) and sell short exempt (6) sell
_SIDES = {"1": Side.BUY, "2": Side.SELL, "5": Side.SELL, "6": Side.SELL}
_LIQUIDITY = {"1": Liquidity.MAKER, "2": Liquidity.TAKER}  # LastLiquidityInd(851): added, removed
_ABSOLUTE = "3"  # CommType(13): Commission(12) is an amount of money
_NO_ID = frozenset({"", "0", "NONE"})  # FIX 4.4 on OrderID(37): "NONE" where there is no order id
_TEXT_LIMIT = 256
_FIRST_YEAR, _LAST_YEAR = 2000, 2261  # a 64-bit count of nanoseconds ends in 2262
_SECOND = re.compile(r"(\d{4})(\d\d)(\d\d)-(\d\d):(\d\d):(\d\d)\Z", re.ASCII)
_SECOND_CHARS = 17
_FRACTION = re.compile(r"\.\d{1,9}\Z", re.ASCII)
_DATE = re.compile(r"\d{8}\Z", re.ASCII)
# FIX float, and the exponent that engines print for small numbers; Decimal alone would take "1_0" and " 1"
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?\Z", re.ASCII)


def decode(venue: str, raw: bytes, account: str = "") -> Decoded:
    """Read one FIX 4.4 message. Never raises: what is wrong is in ``defects``."""
    decoded = Decoded()
    try:
        fields = split(raw)
        kind = _kind(fields)
        if isinstance(kind, ReportKind):
            decoded.reports.append((_report(venue, fields, kind, account), raw))
        else:
            decoded.others[kind] = 1
    except DefectError as error:
        decoded.defects.append((error.defect, raw))
    return decoded


def _kind(fields: Fields) -> ReportKind | str:
    message = fields.get("35", "")
    if message != "8":
        name = _MESSAGES.get(message)
        if name is None:
            raise _unknown("35", message, "an ExecutionReport (8) or a message that holds no trade is understood")
        return name
    exec_type = fields.get("150", "")
    kind = _REPORTS.get(exec_type) or _STATES.get(exec_type)
    if kind is None:
        raise _unknown("150", exec_type, "an ExecType of FIX 4.4 is required")
    return kind


def _report(venue: str, fields: Fields, kind: ReportKind, default_account: str) -> FillReport:
    exec_id = _id(fields, "17")
    if exec_id is None:
        raise _missing("17", fields, "an execution is known by its ExecID")
    exec_ref_id = None
    if kind is not ReportKind.FILL:
        exec_ref_id = _id(fields, "19")
        if exec_ref_id is None:  # FIX 4.4: "required for Trade Cancel and Trade Correct"
            raise _missing("19", fields, "a Trade Cancel or Trade Correct names the execution it acts on")
    cl_ord_id, venue_order_id = _id(fields, "11"), _id(fields, "37")
    if cl_ord_id is None and venue_order_id is None:
        raise _missing("11", fields, "ClOrdID(11) or OrderID(37) ties an execution to its order")
    side = _side(fields)
    symbol = _text(fields, "55")
    if symbol is None:
        raise _missing("55", fields, "an execution is of an instrument")
    account = _text(fields, "1") or default_account
    last_qty = _traded(fields, "32", kind)
    last_px = _traded(fields, "31", kind)
    transact_ns = _transact_time(fields)
    trade_date = _trade_date(fields["75"]) if fields.get("75") else utc_date(transact_ns)
    currency = _text(fields, "15")
    fee = _fee(fields)
    return make_fill(
        venue=venue,
        account=account,
        symbol=symbol,
        trade_date=trade_date,
        exec_id=exec_id,
        kind=kind,
        exec_ref_id=exec_ref_id,
        cl_ord_id=cl_ord_id,
        venue_order_id=venue_order_id,
        correlation_id=None,
        side=side,
        last_qty=last_qty,
        last_px=last_px,
        cum_qty=_claim(fields, "14"),
        leaves_qty=_claim(fields, "151"),
        avg_px=_claim(fields, "6"),
        currency=currency,
        fee=fee,
        # FIX 4.4 on CommCurrency(479): given if it differs from the deal's Currency(15)
        fee_currency=None if fee is None else _text(fields, "479") or currency,
        liquidity=_LIQUIDITY.get(fields.get("851", "")),
        transact_ns=transact_ns,
    )


def _side(fields: Fields) -> Side:
    value = fields.get("54", "")
    side = _SIDES.get(value)
    if side is None:
        if not value:
            raise _missing("54", fields, "an execution buys or sells")
        raise _unknown("54", value, "1 (buy), 2 (sell), 5 or 6 (sell short) is required")
    return side


def _id(fields: Fields, tag: str) -> str | None:
    value = _text(fields, tag)
    return None if value in _NO_ID else value


def _text(fields: Fields, tag: str) -> str | None:
    value = fields.get(tag)
    if not value:
        return None
    if len(value) > _TEXT_LIMIT or not value.isprintable():
        rule = f"at most {_TEXT_LIMIT} printable characters are kept"
        raise _defect("bad_text", tag, value, rule, "Ask the venue to resend it.")
    return value


@lru_cache(maxsize=16_384)  # claims and round lots repeat: 0.1 us where reading costs 1.3 us
def _number(tag: str, value: str) -> Decimal:
    if _NUMBER.match(value) is None:
        raise _defect("not_a_number", tag, value, "a decimal number is required", "Ask the venue to resend it.")
    return parse_decimal(label(tag), value)


@lru_cache(maxsize=16_384)
def _positive(tag: str, value: str) -> Decimal:
    return parse_positive(label(tag), _number(tag, value))


def _claim(fields: Fields, tag: str) -> Decimal | None:
    value = fields.get(tag)
    return _number(tag, value) if value else None


def _traded(fields: Fields, tag: str, kind: ReportKind) -> Decimal:
    value = fields.get(tag)
    if kind is ReportKind.BUST:  # it takes back its execution whole: venues leave its figures out or zero
        number = _number(tag, value) if value else ZERO
        if number < ZERO:
            rule = "the figures of a Trade Cancel are zero or more"
            raise _defect("not_positive", tag, str(number), rule, "Ask the venue to resend it.")
        return number
    if not value:
        raise _missing(tag, fields, "a trade has a quantity and a price")
    return _positive(tag, value)


def _fee(fields: Fields) -> Decimal | None:
    # a rate (CommType 1, 2, 4, 5) is not an amount: no fee is better than a wrong one
    return _claim(fields, "12") if fields.get("13", _ABSOLUTE) == _ABSOLUTE else None


def _transact_time(fields: Fields) -> int:
    value = fields.get("60")
    if not value:
        raise _missing("60", fields, "an execution has its time")
    second = _second(value[:_SECOND_CHARS])
    fraction = value[_SECOND_CHARS:]
    if second is None or (fraction and _FRACTION.match(fraction) is None):
        rule = "UTCTimestamp YYYYMMDD-HH:MM:SS[.fraction], 2000 to 2261, is required"
        raise _defect("not_a_time", "60", value, rule, "Check the venue's clock format.")
    if not fraction or value[_SECOND_CHARS - 2 : _SECOND_CHARS] == "60":  # of a leap second: the last instant
        return second
    return second + int(fraction[1:].ljust(9, "0"))


@lru_cache(maxsize=4096)
def _second(value: str) -> int | None:
    match = _SECOND.match(value)
    if match is None:
        return None
    year, month, day, hour, minute, second = match.groups()
    try:
        if not _FIRST_YEAR <= int(year) <= _LAST_YEAR:
            return None
        start = day_start(int(year), int(month), int(day))
        return start + clock_nanos(label("60"), value, hour, minute, second, None)
    except (ValueError, DefectError):
        return None


@lru_cache(maxsize=4096)
def _trade_date(value: str) -> date:
    """TradeDate(75), LocalMktDate YYYYMMDD: the day that the venue counts its ExecIDs by."""
    if _DATE.match(value) and _FIRST_YEAR <= int(value[:4]) <= _LAST_YEAR:
        try:
            return date(int(value[:4]), int(value[4:6]), int(value[6:]))
        except ValueError:
            pass
    rule = "LocalMktDate YYYYMMDD, 2000 to 2261, is required"
    raise _defect("not_a_time", "75", value, rule, "Check the venue's clock format.")


def _missing(tag: str, fields: Fields, rule: str) -> DefectError:
    return _defect("missing_field", tag, fields.get(tag, ""), rule, "Ask the venue to resend it.")


def _unknown(tag: str, value: str, rule: str) -> DefectError:
    return _defect("unknown_value", tag, value, rule, "Ask the venue what it means; book it by hand if it trades.")


def _defect(reason: str, tag: str, value: str, rule: str, remedy: str) -> DefectError:
    # the value is stored as text, and Postgres keeps no NUL
    return defect_error(reason, label(tag), value if value.isprintable() else ascii(value), rule, remedy)
