"""Postgres's binary numeric, both ways, as numeric_send and numeric_recv of its numeric.c have it.

asyncpg's own encoder takes a Decimal apart into a tuple of its digits: with 13 numbers a fill that was 10 of the
16 us that its rows' COPY cost. Quantities, prices and fees come again and again: their bytes are kept.
"""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ledger.domain.numbers import EXACT, text

if TYPE_CHECKING:
    import asyncpg

_BASE_DIGITS = 4  # digits of base 10,000
_HEADER = struct.Struct(">hhHH")  # number of digits, weight of the first, sign, scale shown
_POSITIVE, _NEGATIVE = 0x0000, 0x4000
_KEPT = 50_000  # of some 150 bytes each
_kept: dict[str, bytes] = {}


async def use_numerics(connection: asyncpg.Connection[Any]) -> None:
    """Have a connection write and read numbers by these rules."""
    await connection.set_type_codec(
        "numeric", schema="pg_catalog", encoder=encode_numeric, decoder=decode_numeric, format="binary"
    )


def encode_numeric(value: Decimal) -> bytes:
    """Give the binary form of a finite number; its scale is kept (``1.50`` has two places)."""
    shown = str(value)
    found = _kept.get(shown)
    if found is None:
        found = _encoded(value)
        if len(_kept) >= _KEPT:
            _kept.clear()
        _kept[shown] = found
    return found


def _encoded(value: Decimal) -> bytes:
    if not value.is_finite():
        raise ValueError(f"{value} cannot be stored: amounts are finite numbers")
    shown = text(value)
    sign = _POSITIVE
    if shown[0] == "-":
        shown, sign = shown[1:], _NEGATIVE
    whole, _, places = shown.partition(".")
    scale = len(places)
    whole = whole.lstrip("0")
    whole = "0" * (-len(whole) % _BASE_DIGITS) + whole
    digits = whole + places + "0" * (-scale % _BASE_DIGITS)
    groups = [int(digits[n : n + _BASE_DIGITS]) for n in range(0, len(digits), _BASE_DIGITS)]
    weight = len(whole) // _BASE_DIGITS - 1
    first = next((n for n, group in enumerate(groups) if group), len(groups))
    last = next((n for n in range(len(groups), first, -1) if groups[n - 1]), first)
    groups = groups[first:last]
    if not groups:
        return _HEADER.pack(0, 0, _POSITIVE, scale)
    return _HEADER.pack(len(groups), weight - first, sign, scale) + struct.pack(f">{len(groups)}H", *groups)


def decode_numeric(data: bytes) -> Decimal:
    """Read the binary form of a finite number."""
    count, weight, sign, scale = _HEADER.unpack_from(data)
    if sign not in (_POSITIVE, _NEGATIVE):
        raise ValueError("not a finite number: amounts are finite numbers")
    number = 0
    for group in struct.unpack_from(f">{count}H", data, _HEADER.size):
        number = number * 10_000 + group
    shift = scale - (count - weight - 1) * _BASE_DIGITS  # what is beyond the scale is zeros
    number = number * 10**shift if shift >= 0 else number // 10**-shift
    return EXACT.scaleb(Decimal(-number if sign == _NEGATIVE else number), -scale)
