"""What a trade cost beside its price: an amount of money in one currency, or nothing; never mixed or guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.domain.numbers import EXACT, ZERO, parse_decimal
from streaming.venues.fix_fields import Fields, Pairs, entries_of, label
from streaming.venues.fix_values import read_number, read_text

if TYPE_CHECKING:
    from decimal import Decimal

_ABSOLUTE = "3"  # CommType(13): Commission(12) is an amount of money
_ABSOLUTE_BASIS = "0"  # MiscFeeBasis(891): MiscFeeAmt(137) is an amount of money
_MISC_FEE = ("137", "138", "139", "891")


def read_fee(fields: Fields, pairs: Pairs = ()) -> tuple[Decimal | None, str | None]:
    """Give the fee, positive = cost, and its currency.

    Commission(12) where it is given as an amount, in CommCurrency(479), else the deal's Currency(15) (FIX 4.4 on
    CommCurrency). Without a Commission the sum of the entries of NoMiscFees(136) among ``pairs``, if all are
    amounts of one currency.
    """
    commission = fields.get("12")
    if commission:
        # a rate (CommType 1, 2, 4, 5) is not an amount: no fee is better than a wrong one
        if fields.get("13", _ABSOLUTE) != _ABSOLUTE:
            return None, None
        return read_number(fields, "12"), read_text(fields, "479") or read_text(fields, "15")
    return _misc_fees(fields, pairs) if pairs else (None, None)


def _misc_fees(fields: Fields, pairs: Pairs) -> tuple[Decimal | None, str | None]:
    total, currencies = ZERO, set[str | None]()
    for entry in map(dict, entries_of(pairs, "136", _MISC_FEE)):
        amount = read_number(entry, "137")
        if amount is None or entry.get("891", _ABSOLUTE_BASIS) != _ABSOLUTE_BASIS:
            return None, None
        total = EXACT.add(total, amount)
        currencies.add(read_text(entry, "138") or read_text(fields, "15"))
    if len(currencies) != 1:
        return None, None
    return parse_decimal(label("137"), total), currencies.pop()
