"""Exact decimal arithmetic: what may come in, and the two divisions whose results are stored.

A price or quantity has at most 18 digits on either side of the point, so a product has at most 72 and any
sum that fits in memory stays under ``EXACT.prec``: adding and multiplying never round (the trap proves it).
Only bps and averages divide; both are rounded once, half to even, to ``STORED_PLACES``.
"""

from __future__ import annotations

from decimal import ROUND_05UP, ROUND_HALF_EVEN, Context, Decimal, Inexact, InvalidOperation, Overflow

from ledger.domain.errors import defect_error

INTEGER_DIGITS = 18
FRACTION_DIGITS = 18
STORED_PLACES = 12
ZERO = Decimal(0)
_ONE = Decimal(1)
TEN_THOUSAND = Decimal(10_000)

EXACT = Context(prec=120, traps=[Inexact, InvalidOperation, Overflow])
# ROUND_05UP keeps a "sticky" last digit, so that the second rounding below cannot double-round
# (General Decimal Arithmetic, round-05up).
_DIVIDE = Context(prec=120, rounding=ROUND_05UP, traps=[InvalidOperation, Overflow])
_STORE = Context(prec=120, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, Overflow])
_STORED_QUANTUM = Decimal(1).scaleb(-STORED_PLACES)
_FINEST = Decimal(1).scaleb(-FRACTION_DIGITS)
_BOUND = Decimal(10) ** INTEGER_DIGITS
_MAX_TEXT = 64


def exact_ratio(numerator: Decimal, denominator: Decimal) -> Decimal:
    """``numerator / denominator`` rounded once, half to even, to 12 decimal places.

    Raises ``decimal.InvalidOperation`` on a zero denominator: the caller has a rule for that case.
    """
    return _STORE.quantize(_DIVIDE.divide(numerator, denominator), _STORED_QUANTUM)


def canonical(value: Decimal) -> Decimal:
    """Return the one representation of a number: no trailing zeros, no exponent, as Postgres gives it back."""
    if not value:
        return ZERO  # one zero: no sign
    number = EXACT.normalize(value)
    return EXACT.quantize(number, _ONE) if "E+" in str(number) else number


def text(value: Decimal) -> str:
    """Plain decimal notation (``100``, never ``1E+2``)."""
    shown = str(value)  # three times as fast as formatting, and the same unless there is an exponent
    return shown if "E" not in shown else f"{value:f}"


def parse_decimal(field: str, value: object) -> Decimal:
    """Read a number exactly.

    ``value`` is text, an int or a Decimal (a float would already have lost digits and is refused).
    Text is ASCII, in plain or exponent notation: ``12.50``, ``-.5``, ``12.``, ``1e-3``. Raises ``DefectError``:
    not a number, NaN or infinite, or beyond 18 digits on either side of the point.
    """
    if isinstance(value, Decimal):
        number = value
    elif isinstance(value, (str, int)) and not isinstance(value, bool):
        raw = str(value)
        if len(raw) > _MAX_TEXT:
            raise _out_of_range(field, raw)
        try:
            number = _read(raw)
        except InvalidOperation:
            raise defect_error(
                "not_a_number", field, raw, "a decimal number is required", "Ask the venue to resend it."
            ) from None
    else:
        raise defect_error(
            "not_a_number", field, value, "a decimal number is required", "Send a string such as '12.50'."
        )
    if not number.is_finite():
        raise defect_error(
            "not_a_number", field, str(number), "a finite number is required", "Ask the venue to resend it."
        )
    try:
        if -_BOUND < number < _BOUND:
            EXACT.quantize(number, _FINEST)  # traps Inexact: more than 18 places
            return canonical(number)
    except (Inexact, InvalidOperation):
        pass
    raise _out_of_range(field, str(number))


def _read(raw: str) -> Decimal:
    # Python's Decimal also reads 1_000, digits of other scripts and blanks around: a typing slip, not a number
    if not raw.isascii() or "_" in raw or raw != raw.strip():
        raise InvalidOperation
    return Decimal(raw)


def parse_positive(field: str, value: object) -> Decimal:
    """Like ``parse_decimal``, and greater than zero."""
    number = parse_decimal(field, value)
    if number <= ZERO:
        raise defect_error(
            "not_positive",
            field,
            text(number),
            "a value greater than zero is required",
            "Ask the venue to resend it.",
        )
    return number


def _out_of_range(field: str, value: str) -> Exception:
    return defect_error(
        "out_of_range",
        field,
        value,
        f"at most {INTEGER_DIGITS} digits before and {FRACTION_DIGITS} after the point are kept",
        "Check the venue's number format.",
    )
