"""What the venues' JSON modules share: exact numbers, texts, times, and one fill out of one object. Pure.

Numbers with a point or an exponent become ``Decimal`` from their very digits, never a float. Every object of a
list keeps its own bytes, so that a bad one costs only itself and its dead letter is its own.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from ledger.domain.errors import DefectError, defect_error
from ledger.domain.identity import make_fill
from ledger.domain.numbers import parse_decimal, parse_positive
from ledger.domain.records import FillReport, Liquidity, ReportKind, Side
from ledger.domain.times import NANOS, parse_utc, utc_date
from streaming.venues.canonical import MAX_DEFECTS
from streaming.venues.canonical_defects import (
    MAX_TEXT,
    RESEND,
    UNREADABLE,
    is_control,
    missing,
    shown,
    storable,
    unknown_value,
    unreadable,
)
from streaming.venues.decoded import Decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Fields: TypeAlias = dict[str, Any]
Members: TypeAlias = dict[str, msgspec.Raw]

_EARLIEST_NS = 946_684_800 * NANOS  # 2000-01-01: an older time is a clock that was never set
_LATEST_NS = 9_214_646_400 * NANOS  # 2262-01-01: nanoseconds in 64 bits end that April
_MILLI, _MICRO = NANOS // 1000, NANOS // 1_000_000


def _exact(digits: str) -> Decimal | str:
    try:
        return Decimal(digits)
    except ArithmeticError:  # an exponent that no Decimal has; refused where the field is read, if it is
        return digits


_members = msgspec.json.Decoder(Members)
_items = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(Fields, float_hook=_exact)
_any = msgspec.json.Decoder(msgspec.Raw)


def decode_with(read: Callable[[bytes, Decoded], None], raw: bytes) -> Decoded:
    """Run a module's reading of a whole message; what it refuses is one defect with the message's bytes."""
    decoded = Decoded()
    try:
        read(raw, decoded)
    except DefectError as error:
        decoded.defects.append((storable(error).defect, raw))
    return decoded


def is_list(raw: bytes) -> bool:
    """Whether the JSON begins as a list."""
    return raw.lstrip()[:1] == b"["


def members(raw: bytes, what: str = "message") -> Members:
    """Split an object into its members, each with its bytes. Raises ``DefectError``."""
    found: Members = _structure(_members, raw, what, "an object")
    return found


def items(raw: bytes, what: str = "message") -> list[msgspec.Raw]:
    """Split a list into its items, each with its bytes. Raises ``DefectError``."""
    found: list[msgspec.Raw] = _structure(_items, raw, what, "a list")
    return found


def fields_of(raw: bytes, what: str = "message") -> Fields:
    """Read an object whole. Raises ``DefectError``."""
    found: Fields = _structure(_object, raw, what, "an object")
    return found


def _structure(decoder: msgspec.json.Decoder[Any], raw: bytes, what: str, wanted: str) -> Any:
    try:
        if not raw.isascii():
            raw.decode()  # msgspec does not look into the strings of what it keeps raw
        return decoder.decode(raw)
    except UNREADABLE as error:
        try:
            _any.decode(raw)
        except UNREADABLE as not_json:
            raise unreadable(raw, what, not_json) from None
        if not isinstance(error, msgspec.ValidationError):
            raise unreadable(raw, what, error) from None
        raise defect_error("wrong_type", what, shown(raw), f"{wanted} is required ({error})", RESEND) from None


def count(decoded: Decoded, name: str, times: int = 1) -> None:
    """Count what is recognised and moves no quantity; names are the modules' own, since they label a metric."""
    if times:
        decoded.others[name] = decoded.others.get(name, 0) + times


def each(
    decoded: Decoded, message: bytes, found: bytes, what: str, read: Callable[[bytes, Decoded], None]
) -> None:
    """Read every object of a list; a bad one is a defect with its own bytes. Raises if it is no list."""
    uncounted = 0
    for view in items(found, what):
        raw = bytes(view)
        try:
            read(raw, decoded)
        except DefectError as error:
            if len(decoded.defects) < MAX_DEFECTS:
                decoded.defects.append((storable(error).defect, raw))
            else:
                uncounted += 1
    if uncounted:
        rule = f"a message has at most {MAX_DEFECTS} bad reports; the rest is kept as the whole message"
        decoded.defects.append((defect_error("out_of_range", what, uncounted, rule, RESEND).defect, message))


def word(members_of: Mapping[str, Any], name: str) -> str | None:
    """A member as text where it is one (of raw members or of fields); else None."""
    value = members_of.get(name)
    if isinstance(value, msgspec.Raw):
        raw = bytes(value)
        value = fields_of(b'{"v":%b}' % raw, name)["v"] if raw[:1] == b'"' else None
    return value if isinstance(value, str) else None


def text(fields: Fields, name: str) -> str | None:
    """Read a text, or a whole number used as an id; an empty one says nothing."""
    value = fields.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise defect_error("wrong_type", name, repr(value), "a text is required", RESEND)
    if len(value) > MAX_TEXT:
        raise defect_error("out_of_range", name, value, f"at most {MAX_TEXT} characters are kept", RESEND)
    if not value.isprintable() and any(is_control(character) for character in value):
        raise defect_error("control_character", name, value, "control characters are not allowed", RESEND)
    return None if value.isspace() else value


def required(fields: Fields, name: str) -> str:
    """Like ``text``, and it must be there."""
    value = text(fields, name)
    if value is None:
        raise missing(name)
    return value


def flag(fields: Fields, name: str) -> bool:
    """Read true or false; it must be there."""
    value = fields.get(name)
    if value is None:
        raise missing(name)
    if not isinstance(value, bool):
        raise defect_error("wrong_type", name, repr(value), "true or false is required", RESEND)
    return value


def number(fields: Fields, name: str) -> Decimal | None:
    """Read a number, in a text or bare; null and "" say nothing."""
    value = fields.get(name)
    if value is None or value == "":
        return None
    try:
        return parse_decimal(name, value)
    except ArithmeticError:
        rule = "a number has an exponent that a price, a quantity or a fee can have"
        raise defect_error("out_of_range", name, str(value), rule, RESEND) from None


def positive(fields: Fields, name: str) -> Decimal:
    """Read what a trade must have: a number greater than zero."""
    value = number(fields, name)
    if value is None:
        raise missing(name)
    return parse_positive(name, value)


def one_of(fields: Fields, name: str, known: Mapping[str, Any]) -> Any:
    """Look a word up; one that is not known is a defect, since it may change what the message means."""
    value = required(fields, name)
    if value not in known:
        raise unknown_value(name, value, known)
    return known[value]


def utc(fields: Fields, name: str) -> int:
    """Read an RFC 3339 time."""
    return _in_range(name, parse_utc(name, required(fields, name)), fields[name])


def epoch(fields: Fields, name: str, units: Iterable[Literal["ms", "us"]] = ("ms",)) -> int:
    """Read a count since 1970. Milliseconds and microseconds of the years 2000 to 2261 cannot be confused."""
    value = fields.get(name)
    if value is None:
        raise missing(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise defect_error("wrong_type", name, repr(value), "a whole number of milliseconds is required", RESEND)
    if "us" in units and value * _MICRO >= _EARLIEST_NS:
        return _in_range(name, value * _MICRO, value)
    return _in_range(name, value * _MILLI, value)


def _in_range(name: str, nanos: int, value: object) -> int:
    if not _EARLIEST_NS <= nanos < _LATEST_NS:
        raise defect_error("not_a_time", name, value, "a time from 2000 to 2261 is required", "Check the clock.")
    return nanos


class Of(msgspec.Struct, frozen=True):
    """Whose message is read: the venue, and the account where the message does not say."""

    venue: str
    account: str


def fill(
    of: Of,
    *,
    symbol: str,
    exec_id: str,
    order_id: str,
    side: Side,
    qty: Decimal,
    px: Decimal,
    transact_ns: int,
    account: str | None = None,
    cl_ord_id: str | None = None,
    cum_qty: Decimal | None = None,
    avg_px: Decimal | None = None,
    currency: str | None = None,
    fee: Decimal | None = None,
    fee_currency: str | None = None,
    liquidity: Liquidity | None = None,
) -> FillReport:
    """Make a fill, with the order in its identity.

    An account that trades with itself has one trade id on both of its orders, and both are fills.
    """
    return make_fill(
        venue=of.venue,
        account=account or of.account,
        symbol=symbol,
        trade_date=utc_date(transact_ns),
        exec_id=exec_id,
        kind=ReportKind.FILL,
        cl_ord_id=cl_ord_id,
        venue_order_id=order_id,
        side=side,
        last_qty=qty,
        last_px=px,
        cum_qty=cum_qty,
        avg_px=avg_px,
        currency=currency,
        fee=fee,
        fee_currency=fee_currency,
        liquidity=liquidity,
        transact_ns=transact_ns,
        within_order=True,
    )
