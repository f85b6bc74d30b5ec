"""The values of a FIX message: texts, numbers, times, sides. What is wrong with one is raised as its defect."""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING

from ledger.domain.errors import DefectError, defect_error
from ledger.domain.numbers import ZERO, parse_decimal, parse_positive
from ledger.domain.records import Liquidity, ReportKind, Side
from ledger.domain.times import clock_nanos, day_start, utc_date
from streaming.venues.fix_fields import Fields, label

if TYPE_CHECKING:
    from decimal import Decimal

# Side(54): buy minus (3) buys; sell plus (4), sell short (5), sell short exempt (6) sell
_SIDES = {
    "1": Side.BUY,
    "2": Side.SELL,
    "3": Side.BUY,
    "4": Side.SELL,
    "5": Side.SELL,
    "6": Side.SELL,
}
# LastLiquidityInd(851), FillLiquidityInd(1443), SideLiquidityInd(1444): added, removed
LIQUIDITY = {"1": Liquidity.MAKER, "2": Liquidity.TAKER}
_NO_ID = frozenset({"", "0", "NONE"})  # FIX 4.4 on OrderID(37): "NONE" where there is no order id
_TEXT_LIMIT = 256
_FIRST_YEAR, _LAST_YEAR = 2000, 2261  # a 64-bit count of nanoseconds ends in 2262
_SECOND = re.compile(r"(\d{4})(\d\d)(\d\d)-(\d\d):(\d\d):(\d\d)\Z", re.ASCII)
_SECOND_CHARS = 17
_FRACTION = re.compile(r"\.\d{1,9}\Z", re.ASCII)
_DATE = re.compile(r"\d{8}\Z", re.ASCII)
# FIX float, and the exponent that engines print for small numbers; Decimal alone would take "1_0" and " 1"
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?\Z", re.ASCII)


def read_side(fields: Fields) -> Side:
    """Side(54)."""
    value = fields.get("54", "")
    side = _SIDES.get(value)
    if side is None:
        if not value:
            raise missing("54", fields, "an execution buys or sells")
        raise unknown(
            "54", value, "1 (buy), 2 (sell), 3 (buy minus), 4 (sell plus), 5 or 6 (sell short) is required"
        )
    return side


def read_id(fields: Fields, tag: str) -> str | None:
    """Give an identifier; ``0``, ``NONE`` and nothing are none."""
    value = read_text(fields, tag)
    return None if value in _NO_ID else value


def read_text(fields: Fields, tag: str) -> str | None:
    """Give a text that is kept as it is; an empty one is none."""
    value = fields.get(tag)
    if not value:
        return None
    if len(value) > _TEXT_LIMIT or not value.isprintable():
        rule = f"at most {_TEXT_LIMIT} printable characters are kept"
        raise defect("bad_text", tag, value, rule, "Ask the venue to resend it.")
    return value


def shown_text(value: str) -> str:
    """Give a text for people: cut to what is kept, and a sign for each character that cannot be printed."""
    shown = value if value.isprintable() else "".join(each if each.isprintable() else "�" for each in value)
    return shown if len(shown) <= _TEXT_LIMIT else shown[: _TEXT_LIMIT - 1] + "…"


@lru_cache(maxsize=16_384)  # claims and round lots repeat: 0.1 us where reading costs 1.3 us
def _number(tag: str, value: str) -> Decimal:
    if _NUMBER.match(value) is None:
        raise defect("not_a_number", tag, value, "a decimal number is required", "Ask the venue to resend it.")
    return parse_decimal(label(tag), value)


@lru_cache(maxsize=16_384)
def _positive(tag: str, value: str) -> Decimal:
    return parse_positive(label(tag), _number(tag, value))


def read_number(fields: Fields, tag: str) -> Decimal | None:
    """Give a number of any sign; an empty field is none."""
    value = fields.get(tag)
    return _number(tag, value) if value else None


def read_traded(fields: Fields, tag: str, kind: ReportKind) -> Decimal:
    """Give a quantity or price of a trade: positive, but for a bust's, which may be zero or left out."""
    value = fields.get(tag)
    if kind is ReportKind.BUST:  # it takes back its execution whole: venues leave its figures out or zero
        number = _number(tag, value) if value else ZERO
        if number < ZERO:
            rule = "the figures of a Trade Cancel are zero or more"
            raise defect("not_positive", tag, str(number), rule, "Ask the venue to resend it.")
        return number
    if not value:
        raise missing(tag, fields, "a trade has a quantity and a price")
    return _positive(tag, value)


def read_time(fields: Fields, *, or_sent: bool) -> int:
    """TransactTime(60); with ``or_sent`` the time it was first sent where that is left out.

    OrigSendingTime(122) before SendingTime(52): a resend (PossDup) has another SendingTime, and must not become
    another report.
    """
    value = fields.get("60")
    if value:
        return _time("60", value)
    for tag in ("122", "52") if or_sent else ():
        value = fields.get(tag)
        if value:
            return _time(tag, value)
    raise missing("60", fields, "an execution has its time")


def _time(tag: str, value: str) -> int:
    second = _second(value[:_SECOND_CHARS])
    fraction = value[_SECOND_CHARS:]
    if second is None or (fraction and _FRACTION.match(fraction) is None):
        rule = "UTCTimestamp YYYYMMDD-HH:MM:SS[.fraction], 2000 to 2261, is required"
        raise defect("not_a_time", tag, value, rule, "Check the venue's clock format.")
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
        return start + clock_nanos("", value, hour, minute, second, None)
    except (ValueError, DefectError):
        return None


def read_trade_date(fields: Fields, transact_ns: int) -> date:
    """TradeDate(75), the day that the venue counts its ExecIDs by, else the UTC day of the time."""
    value = fields.get("75")
    return _date(value) if value else utc_date(transact_ns)


@lru_cache(maxsize=4096)
def _date(value: str) -> date:
    if _DATE.match(value) and _FIRST_YEAR <= int(value[:4]) <= _LAST_YEAR:
        try:
            return date(int(value[:4]), int(value[4:6]), int(value[6:]))
        except ValueError:
            pass
    rule = "LocalMktDate YYYYMMDD, 2000 to 2261, is required"
    raise defect("not_a_time", "75", value, rule, "Check the venue's clock format.")


def missing(tag: str, fields: Fields, rule: str) -> DefectError:
    """Build the error of a field that is left out, empty or a placeholder."""
    return defect("missing_field", tag, fields.get(tag, ""), rule, "Ask the venue to resend it.")


def unknown(tag: str, value: str, rule: str) -> DefectError:
    """Build the error of a value that is not understood."""
    return defect("unknown_value", tag, value, rule, "Ask the venue what it means; book it by hand if it trades.")


def defect(reason: str, tag: str, value: str, rule: str, remedy: str) -> DefectError:
    """Build the error of one field."""
    # the value is stored as text, and Postgres keeps no NUL
    return defect_error(reason, label(tag), value if value.isprintable() else ascii(value), rule, remedy)
