"""One canonical report (docs/events/canonical.report.schema.json): its JSON object -> ``FillReport``.

Pure: no clock, no I/O. Numbers are read exactly (JSON strings and numbers alike), never as floats. The fast
path decodes with types; only a report that it refuses is looked at field by field, to name what is wrong.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

import msgspec

from ledger.domain.errors import DefectError, defect_error
from ledger.domain.identity import make_fill
from ledger.domain.numbers import (
    EXACT,
    FRACTION_DIGITS,
    INTEGER_DIGITS,
    ZERO,
    canonical,
    parse_decimal,
    parse_positive,
    text,
)
from ledger.domain.records import FillReport, Liquidity, ReportKind, Side
from ledger.domain.times import NANOS, parse_utc, utc_date
from streaming.venues.canonical_defects import (
    MAX_TEXT,
    RESEND,
    UNREADABLE,
    is_control,
    missing,
    storable,
    unknown_value,
    unreadable,
    wrong_type,
)
from streaming.venues.spelling import check_spelling, may_be_odd, text_of

MAX_REPORT_BYTES = 64 << 10  # every field at its longest, escaped, is 30 kB; the rest is a field not ours
_EARLIEST_NS = 946_684_800 * NANOS  # 2000-01-01: an older time is a clock that was never set
_LATEST_NS = 9_214_646_400 * NANOS  # 2262-01-01: nanoseconds in 64 bits end that April
_LONGEST_TIME = len("2026-11-23T09:30:00.123456789Z")
_BOUND = Decimal(1).scaleb(INTEGER_DIGITS)
_LOWEST = -_BOUND
_FINEST = Decimal(1).scaleb(-FRACTION_DIGITS)
_quantize, _normalize = EXACT.quantize, EXACT.normalize
_KINDS = {kind.value: kind for kind in ReportKind}
_SIDES = {side.value: side for side in Side}
_LIQUIDITIES = {liquidity.value: liquidity for liquidity in Liquidity}


class _Report(msgspec.Struct):
    """The JSON as it comes: everything may be missing, so that what is wrong is named by our own rules."""

    type: str | None = None
    exec_id: str | None = None
    exec_ref_id: str | None = None
    cl_ord_id: str | None = None
    venue_order_id: str | None = None
    correlation_id: str | None = None
    account: str | None = None
    symbol: str | None = None
    side: str | None = None
    last_qty: Decimal | None = None
    last_px: Decimal | None = None
    cum_qty: Decimal | None = None
    leaves_qty: Decimal | None = None
    avg_px: Decimal | None = None
    currency: str | None = None
    fee: Decimal | None = None
    fee_currency: str | None = None
    liquidity: str | None = None
    transact_time: str | None = None


_DECIMALS = ("last_qty", "last_px", "cum_qty", "leaves_qty", "avg_px", "fee")
_TEXTS = tuple(name for name in _Report.__struct_fields__ if name not in _DECIMALS)
_report_decoder = msgspec.json.Decoder(_Report)
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def decode_report(venue: str, raw_object: bytes | msgspec.Raw) -> FillReport:
    """Read one report. Raises ``DefectError`` that names field, value, rule and remedy."""
    raw = raw_object if isinstance(raw_object, bytes) else bytes(raw_object)
    if len(raw) > MAX_REPORT_BYTES:
        raise defect_error(
            "out_of_range", "report", len(raw), f"a report has at most {MAX_REPORT_BYTES} bytes", RESEND
        )
    try:
        if not raw.isascii():
            raw.decode()  # msgspec does not look into the strings of fields that it skips
        fields = _report_decoder.decode(raw)
        if may_be_odd(raw):
            check_spelling(raw, _DECIMALS)
        return _checked(venue, fields)
    except DefectError as found:
        raise storable(found) from None
    except (*UNREADABLE, ArithmeticError) as error:
        raise storable(_explained(raw, error)) from None


def _checked(venue: str, fields: _Report) -> FillReport:
    kind = _KINDS.get(fields.type or "")
    if kind is None:
        raise missing("type") if not fields.type else unknown_value("type", fields.type, _KINDS)
    exec_id = _required("exec_id", fields.exec_id)
    exec_ref_id = None
    if kind is not ReportKind.FILL:
        exec_ref_id = _required("exec_ref_id", fields.exec_ref_id)
    cl_ord_id = _optional("cl_ord_id", fields.cl_ord_id)
    venue_order_id = _optional("venue_order_id", fields.venue_order_id)
    if cl_ord_id is None and venue_order_id is None:
        raise missing("cl_ord_id or venue_order_id")
    account = _required("account", fields.account)
    symbol = _required("symbol", fields.symbol)
    side = _SIDES.get(fields.side or "")
    if side is None:
        raise missing("side") if not fields.side else unknown_value("side", fields.side, _SIDES)
    last_qty = _traded(kind, "last_qty", fields.last_qty)
    last_px = _traded(kind, "last_px", fields.last_px)
    liquidity = None
    if fields.liquidity:
        liquidity = _LIQUIDITIES.get(fields.liquidity)
        if liquidity is None:
            raise unknown_value("liquidity", fields.liquidity, _LIQUIDITIES)
    transact_ns = _transact_ns(fields.transact_time)
    trade_date = utc_date(transact_ns)
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
        correlation_id=_optional("correlation_id", fields.correlation_id),
        side=side,
        last_qty=last_qty,
        last_px=last_px,
        cum_qty=_claimed("cum_qty", fields.cum_qty),
        leaves_qty=_claimed("leaves_qty", fields.leaves_qty),
        avg_px=_claimed("avg_px", fields.avg_px),
        currency=_optional("currency", fields.currency),
        fee=_claimed("fee", fields.fee),
        fee_currency=_optional("fee_currency", fields.fee_currency),
        liquidity=liquidity,
        transact_ns=transact_ns,
    )


def _required(field: str, value: str | None) -> str:
    if not value or value.isspace():
        raise missing(field)
    return _optional(field, value) or ""


def _optional(field: str, value: str | None) -> str | None:
    """An empty text says nothing: Bybit's fast fills have an empty client order id."""
    if not value:
        return None
    if len(value) > MAX_TEXT:
        raise defect_error("out_of_range", field, value, f"at most {MAX_TEXT} characters are kept", RESEND)
    # isprintable() is the cheap test; what it refuses beyond controls (no-break space, …) is let through
    if not value.isprintable() and any(is_control(character) for character in value):
        raise defect_error("control_character", field, value, "control characters are not allowed", RESEND)
    return value


def _traded(kind: ReportKind, field: str, value: Decimal | None) -> Decimal:
    if kind is ReportKind.BUST:  # it takes back its execution whole: what it repeats of it moves nothing
        number = ZERO if value is None else _number(field, value)
        if number < ZERO:
            rule = "a bust gives zero, nothing or what it takes back"
            raise defect_error("not_positive", field, text(number), rule, RESEND)
        return number
    if value is None:
        raise missing(field)
    number = _number(field, value)
    return number if number > ZERO else parse_positive(field, number)


def _claimed(field: str, value: Decimal | None) -> Decimal | None:
    return None if value is None else _number(field, value)


def _number(field: str, value: Decimal) -> Decimal:
    """``parse_decimal`` at a quarter of its cost for what it accepts; what it refuses is left to it."""
    try:
        if value and _LOWEST < value < _BOUND:
            _quantize(value, _FINEST)  # traps Inexact: more than 18 places
            number = _normalize(value)
            return canonical(number) if "E+" in str(number) else number
    except ArithmeticError:
        pass
    return parse_decimal(field, value)


def _transact_ns(value: str | None) -> int:
    if not value:
        raise missing("transact_time")
    nanos = _parse_time(value)
    if not _EARLIEST_NS <= nanos < _LATEST_NS:
        rule = "a time from 2000 to 2261 is required"
        raise defect_error("not_a_time", "transact_time", value, rule, "Check the venue's clock.")
    return nanos


def _parse_time(value: str) -> int:
    """``parse_utc``; a burst's times share their second, so that only the fraction is read anew."""
    fraction = value[20:-1]
    plain = len(value) <= _LONGEST_TIME and value[19:20] == "." and value[-1] == "Z"
    if not (plain and fraction.isdigit() and fraction.isascii()) or value[17:19] == "60":
        return parse_utc("transact_time", value)
    try:
        return _second_ns(value[:19]) + int(fraction.ljust(9, "0"))
    except DefectError:
        return parse_utc("transact_time", value)  # raises with the whole value


@lru_cache(maxsize=4096)
def _second_ns(text_of_second: str) -> int:
    return parse_utc("transact_time", text_of_second + "Z")


def _explained(raw: bytes, error: Exception) -> DefectError:
    """Find which field made the decoder refuse the report; off the fast path."""
    try:
        raw.decode()
        fields = _fields_decoder.decode(raw)
    except UNREADABLE as not_json:
        return unreadable(raw, "report", not_json)
    try:
        for name in _TEXTS:
            _require_text(name, fields.get(name))
        for name in _DECIMALS:
            _require_decimal(name, fields.get(name))
    except DefectError as found:
        return found
    return unreadable(raw, "report", error)


def _require_text(field: str, value: msgspec.Raw | None) -> None:
    raw = b"null" if value is None else bytes(value)
    if raw[:1] != b'"' and raw != b"null":
        raise wrong_type(field, raw, "a string")
    if raw != b"null":
        text_of(field, raw)


def _require_decimal(field: str, value: msgspec.Raw | None) -> None:
    raw = b"null" if value is None else bytes(value)
    if raw == b"null":
        return
    if raw[:1] == b'"':
        value_text = text_of(field, raw)
    elif raw[:1] in b"-0123456789":
        value_text = raw.decode("ascii", "replace")
    else:
        raise wrong_type(field, raw, "a decimal as a string")
    try:
        parse_decimal(field, value_text)
    except ArithmeticError:  # beyond the exponents that the context has: 1e-9999999
        rule = f"at most {FRACTION_DIGITS} digits after the point are kept"
        raise defect_error("out_of_range", field, value_text, rule, RESEND) from None
