"""Columns of exact numbers as whole numbers of one scale, and the two steps of the domain's rules on them.

``ledger.domain.numbers`` says what is right: a ratio is rounded once, half to even, to 12 places, and a number is
written without trailing zeros. Here the same is done for a column at once. 64 bits carry what markets quote; a
column that needs more is one of Python's whole numbers, slower and as exact. Tests hold both to the domain's.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ledger.domain.digest import plain
from ledger.domain.numbers import EXACT, STORED_PLACES

if TYPE_CHECKING:
    from collections.abc import Sequence

Whole = np.ndarray[Any, Any]  # of int64, or of Python's int where 64 bits are too few

BPS_PLACES = 4  # bps are a fraction times 10^4
_DIGITS = 18  # any number of so many digits fits 64 bits
_LARGEST = 2**63 - 1


class Column(NamedTuple):
    """Numbers as ``values`` x 10^-``places``."""

    values: Whole
    places: int

    def at(self, places: int) -> Whole:
        """Give the numbers in a finer unit, 10^-``places``."""
        return times(self.values, 10 ** (places - self.places))


def times(values: Whole, factor: int) -> Whole:
    """Multiply, with more than 64 bits where that needs them."""
    if factor == 1:
        return values
    if values.dtype == object or max(largest(values), 1) * factor > _LARGEST:
        return values.astype(object) * factor
    return cast("Whole", values * factor)


def added(ours: Whole, theirs: Whole) -> Whole:
    """Add, with more than 64 bits where that needs them."""
    if largest(ours) + largest(theirs) > _LARGEST:
        return cast("Whole", ours.astype(object) + theirs.astype(object))
    return cast("Whole", ours + theirs)


def largest(values: Whole) -> int:
    """Give the largest magnitude of a column, 0 of an empty one."""
    return max(abs(int(values.max())), abs(int(values.min()))) if len(values) else 0


def read_column(texts: pa.Array) -> Column:
    """Read plain decimal texts, none of them null."""
    if not len(texts):
        return Column(np.zeros(0, np.int64), 0)
    points = pc.find_substring(texts, ".").to_numpy()
    fractions = np.where(points < 0, 0, pc.binary_length(texts).to_numpy() - points - 1)
    places = int(fractions.max())
    digits = pc.replace_substring(texts, ".", "", max_replacements=1)
    if int((pc.binary_length(digits).to_numpy() + places - fractions).max()) <= _DIGITS:
        scales = 10 ** np.arange(places, -1, -1, dtype=np.int64)
        return Column(digits.cast(pa.int64()).to_numpy() * scales[fractions], places)
    values = [int(d) * 10 ** (places - f) for d, f in zip(digits.to_pylist(), fractions.tolist(), strict=True)]
    return Column(_objects(values), places)


def decimals(values: Sequence[Decimal], places: int = STORED_PLACES) -> Column:
    """Take up numbers that have at most so many places."""
    whole = [int(EXACT.scaleb(v, places)) for v in values]
    if all(-_LARGEST <= w <= _LARGEST for w in whole):
        return Column(np.array(whole, np.int64), places)
    return Column(_objects(whole), places)


def _objects(values: Sequence[int]) -> Whole:
    column = np.empty(len(values), object)
    column[:] = values
    return column


def rounded_bps(above: Whole, below: Whole) -> Whole:
    """Give ``above / below`` in bps, rounded once, half to even, in units of 10^-12; ``below`` is positive."""
    places = BPS_PLACES + STORED_PLACES
    if not len(above):
        return above
    steep = largest(above) * 10**places // int(below.min()) if int(below.min()) else _LARGEST
    step = _step(largest(below)) if steep < _LARGEST // 2 else 0
    if any(column.dtype == object for column in (above, below)) or not step:
        above, below, step = above.astype(object), below.astype(object), places
    size = np.abs(above)
    found, left = size // below, size % below
    for _ in range(places // step):  # long division, some places at a time
        left = left * 10**step
        found = found * 10**step + left // below
        left = left % below
    twice = 2 * left
    up = (twice > below) | ((twice == below) & (found % 2 == 1))
    found = found + up.astype(bool)
    return cast("Whole", np.where(above < 0, -found, found))


def _step(divisor: int) -> int:
    """Say how many places of a division by so large a number 64 bits carry at a time."""
    return next((step for step in (4, 2, 1) if divisor <= _LARGEST // 2 // 10**step), 0)


def texts_of(values: Whole, places: int) -> pa.Array:
    """Write numbers as ``ledger.domain.digest.plain`` does."""
    if values.dtype == object:
        return pa.array([plain(EXACT.scaleb(Decimal(v), -places)) for v in values], pa.string())
    size = np.abs(values)
    whole = pa.array(size // 10**places).cast(pa.string())
    whole = pc.if_else(pa.array(values < 0), pc.binary_join_element_wise("-", whole, ""), whole)
    if not places:
        return whole
    fraction = pc.utf8_lpad(pa.array(size % 10**places).cast(pa.string()), places, "0")
    return pc.utf8_rtrim(pc.utf8_rtrim(pc.binary_join_element_wise(whole, fraction, "."), "0"), ".")
