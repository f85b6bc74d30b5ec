"""The average price of the market while an order worked, from its arrival to its last execution.

``vwap`` is the volume-weighted average of the market's trades (Berkowitz, Logue and Noser, "The Total Cost of
Transactions on the NYSE", 1988). Quotes have no volume: where no trades are known there is no VWAP, and the
time-weighted mid (TWAP) stands beside it under its own name, never in its place.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from ledger.domain.numbers import EXACT, ZERO, exact_ratio

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ledger.domain.shortfall import Dealt


def vwap(trades: Iterable[Dealt]) -> Decimal | None:
    """Give sum(quantity x price) / sum(quantity), rounded once to 12 places; None where nothing traded."""
    volume = notional = ZERO
    for trade in trades:
        volume = EXACT.add(volume, trade.qty)
        notional = EXACT.add(notional, EXACT.multiply(trade.qty, trade.price))
    return exact_ratio(notional, volume) if volume else None


def twap(mids: Sequence[tuple[int, Decimal]], from_ns: int, until_ns: int) -> Decimal | None:
    """Give the mid weighted by how long it stood in [from, until], rounded once to 12 places.

    ``mids`` are (time, mid) by time; the first is the one that stands at ``from_ns``, so at or before it, else the
    figure is None: the market at the beginning is not known. In no time at all it is the mid that stands there.
    """
    if not mids or mids[0][0] > from_ns or until_ns < from_ns:
        return None
    within = [(max(at_ns, from_ns), price) for at_ns, price in mids if at_ns <= until_ns]
    if until_ns == from_ns:
        return exact_ratio(within[-1][1], Decimal(1))
    weighted = ZERO
    for (start, price), (end, _) in zip(within, [*within[1:], (until_ns, ZERO)], strict=True):
        weighted = EXACT.add(weighted, EXACT.multiply(price, Decimal(end - start)))
    return exact_ratio(weighted, Decimal(until_ns - from_ns))
