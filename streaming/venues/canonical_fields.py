"""The fields of a canonical report: texts, exact numbers and times as ``docs/formats.md`` says. Pure.

Each reader takes what msgspec made of the field, and raises ``DefectError`` that names it. They are the landing
path's: a burst of reports costs what these cost.
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal, Overflow
from functools import lru_cache
from typing import TYPE_CHECKING

from ledger.domain.errors import DefectError, defect_error
from ledger.domain.numbers import EXACT, FRACTION_DIGITS, INTEGER_DIGITS, ZERO, canonical, parse_decimal, text
from ledger.domain.times import parse_utc
from streaming.venues.canonical_defects import MAX_TEXT, RESEND, in_age, is_control, missing, wrong_type
from streaming.venues.spelling import text_of

if TYPE_CHECKING:
    import msgspec

_LONGEST_TIME = len("2026-11-23T09:30:00.123456789Z")
_BOUND = Decimal(1).scaleb(INTEGER_DIGITS)
_LOWEST = -_BOUND
_FINEST = Decimal(1).scaleb(-FRACTION_DIGITS)
_quantize, _normalize = EXACT.quantize, EXACT.normalize
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def required(field: str, value: str | None) -> str:
    """Read a text that must be there; blanks are none."""
    if not value or value.isspace():
        raise missing(field)
    return optional(field, value) or ""


def optional(field: str, value: str | None) -> str | None:
    """Read a text; an empty one says nothing: Bybit's fast fills have an empty client order id."""
    if not value:
        return None
    if len(value) > MAX_TEXT:
        raise defect_error("out_of_range", field, value, f"at most {MAX_TEXT} characters are kept", RESEND)
    # isprintable() is the cheap test; what it refuses beyond controls (no-break space, …) is let through
    if not value.isprintable() and any(is_control(character) for character in value):
        raise defect_error("control_character", field, value, "control characters are not allowed", RESEND)
    return value


def claimed(field: str, value: Decimal | None) -> Decimal | None:
    """Read what the venue claims: any number, or none."""
    return None if value is None else number(field, value)


def not_negative(field: str, value: Decimal | None, rule: str) -> Decimal | None:
    """Read a number of zero or more, or none; ``rule`` says why it is so."""
    found = claimed(field, value)
    if found is not None and found < ZERO:
        raise defect_error("not_positive", field, text(found), rule, RESEND)
    return found


def number(field: str, value: Decimal) -> Decimal:
    """``parse_decimal`` at a tenth of its cost for what it accepts; what it refuses is left to it."""
    try:
        if value:
            return _number(value)
    except (ArithmeticError, TypeError):  # a TypeError: a signaling NaN has no hash
        pass
    return parse_decimal(field, value)


@lru_cache(maxsize=16_384)  # quantities, prices and fees come again and again; equal numbers are one number
def _number(value: Decimal) -> Decimal:
    if not _LOWEST < value < _BOUND:
        raise Overflow
    _quantize(value, _FINEST)  # traps Inexact: more than 18 places
    found = _normalize(value)
    return canonical(found) if "E+" in str(found) else found


def moment(field: str, value: str | None) -> int:
    """Read an RFC 3339 time, in nanoseconds."""
    if not value:
        raise missing(field)
    return in_age(field, _parse_time(field, value), value)


def _parse_time(field: str, value: str) -> int:
    """``parse_utc``; a burst's times share their second, so that only the fraction is read anew."""
    fraction = value[20:-1]
    plain = len(value) <= _LONGEST_TIME and value[19:20] == "." and value[-1] == "Z"
    if not (plain and fraction.isdigit() and fraction.isascii()) or value[17:19] == "60":
        return parse_utc(field, value)
    try:
        return _second_ns(value[:19]) + int(fraction.ljust(9, "0"))
    except DefectError:
        return parse_utc(field, value)  # raises with the whole value


@lru_cache(maxsize=4096)
def _second_ns(text_of_second: str) -> int:
    return parse_utc("second", text_of_second + "Z")


def day(field: str, value: str) -> date:
    """Read a calendar day, ``YYYY-MM-DD``."""
    try:
        found = date.fromisoformat(value) if _DAY.fullmatch(value) else None
    except ValueError:
        found = None
    if found is None:
        rule = "a day such as 2026-11-23 is required"
        raise defect_error("not_a_time", field, value, rule, RESEND)
    in_age(field, parse_utc(field, f"{value}T00:00:00Z"), value)
    return found


def require_text(field: str, value: msgspec.Raw | None) -> None:
    """Say what is wrong with the raw bytes of a text, if anything is."""
    raw = b"null" if value is None else bytes(value)
    if raw[:1] != b'"' and raw != b"null":
        raise wrong_type(field, raw, "a string")
    if raw != b"null":
        text_of(field, raw)


def require_decimal(field: str, value: msgspec.Raw | None) -> None:
    """Say what is wrong with the raw bytes of a number, if anything is."""
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
