"""What the venues' JSON modules read fields with: exact numbers, texts, words, times; how they make a fill. Pure.

Numbers with a point or an exponent became ``Decimal`` from their very digits, never a float. Each reader raises
``DefectError`` that names the field.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from ledger.domain.errors import defect_error
from ledger.domain.identity import make_fill
from ledger.domain.numbers import parse_decimal, parse_positive
from ledger.domain.records import ReportKind
from ledger.domain.times import NANOS, parse_utc
from streaming.venues.canonical_defects import RESEND, in_age, missing, unknown_value
from streaming.venues.canonical_fields import optional
from streaming.venues.json_messages import Fields, fields_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

_MILLI, _MICRO = NANOS // 1000, NANOS // 1_000_000
_EARLIEST_MICROS = 946_684_800_000_000  # 2000-01-01; as milliseconds it is the year 31969

# An account that trades with itself has one trade id on both of its orders, and both are fills: the order is part
# of the identity.
fill = partial(make_fill, kind=ReportKind.FILL, within_order=True)


def word(members_of: Mapping[str, Any], name: str) -> str | None:
    """A member as text where it is one (of raw members or of fields); else None."""
    value = members_of.get(name)
    if isinstance(value, msgspec.Raw):
        raw = bytes(value)
        value = fields_of(b'{"v":%b}' % raw, name)["v"] if raw[:1] == b'"' else None
    return value if isinstance(value, str) else None


def known(field: str, value: str | None, names: Mapping[str, str]) -> str:
    """Look the name up that a message is counted by; an unknown one is a defect, since it may carry facts."""
    if value is None:
        raise missing(field)
    if value not in names:
        raise unknown_value(field, value, names)
    return names[value]


def text(fields: Fields, name: str) -> str | None:
    """Read a text, or a whole number used as an id; an empty one says nothing."""
    value = fields.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise defect_error("wrong_type", name, repr(value), "a text is required", RESEND)
    value = optional(name, value)
    return None if value is None or value.isspace() else value


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


def nonzero(fields: Fields, name: str) -> Decimal | None:
    """Read a number of which the venue says 0 for none: the price of a market order, the average of no fills."""
    return number(fields, name) or None


def positive(fields: Fields, name: str) -> Decimal:
    """Read what a trade must have: a number greater than zero."""
    value = number(fields, name)
    if value is None:
        raise missing(name)
    return parse_positive(name, value)


def quantity(fields: Fields, name: str) -> Decimal | None:
    """Read what an order asks for; 0 is none, and less than that no quantity."""
    value = nonzero(fields, name)
    return value if value is None else parse_positive(name, value)


def one_of(fields: Fields, name: str, words: Mapping[str, Any]) -> Any:
    """Look a word up; one that is not known is a defect, since it may change what the message means."""
    value = required(fields, name)
    if value not in words:
        raise unknown_value(name, value, words)
    return words[value]


def maybe(fields: Fields, name: str, words: Mapping[str, Any]) -> Any:
    """Like ``one_of``, and None where the message does not say."""
    return None if text(fields, name) is None else one_of(fields, name, words)


def utc(fields: Fields, name: str) -> int:
    """Read an RFC 3339 time."""
    return in_age(name, parse_utc(name, required(fields, name)), fields[name])


def epoch(fields: Fields, name: str, *, micros: bool = False) -> int:
    """Read milliseconds since 1970; with ``micros`` microseconds too: of 2000 to 2261 they cannot be confused."""
    value = fields.get(name)
    if value is None:
        raise missing(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise defect_error("wrong_type", name, repr(value), "a whole number of milliseconds is required", RESEND)
    return in_age(name, value * (_MICRO if micros and value >= _EARLIEST_MICROS else _MILLI), value)
