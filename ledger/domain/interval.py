"""The average price of the market while an order worked, from its arrival to its last execution.

``interval_vwap`` is the volume-weighted average of the market's trades (Berkowitz, Logue and Noser, "The Total
Cost of Transactions on the NYSE", 1988): the sum of what was paid over the sum of what changed hands. A snapshot
carries what the market traded since the snapshot before it, so those count that were taken after the interval
began, up to and including its end. At the edges it is as coarse as the snapshots are: the first may carry trades
from before the beginning, and trades after the last snapshot are not in it. Where nothing is known to have traded
there is no VWAP, and the time-weighted mid (TWAP) stands beside it under its own name, never in its place.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from ledger.domain.numbers import EXACT, ZERO, exact_ratio

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ledger.domain.records import Snapshot


def vwap(qty: Decimal, notional: Decimal) -> Decimal | None:
    """Give sum(quantity x price) / sum(quantity), rounded once to 12 places; None where nothing traded."""
    return exact_ratio(notional, qty) if qty else None


def interval_vwap(snapshots: Iterable[Snapshot], from_ns: int, until_ns: int) -> Decimal | None:
    """Give the VWAP of what a symbol's snapshots in (from, until] say was traded; None where that is nothing."""
    qty = notional = ZERO
    for snapshot in snapshots:
        if not from_ns < snapshot.at_ns <= until_ns:
            continue
        if snapshot.traded_qty is not None and snapshot.traded_notional is not None:
            qty = EXACT.add(qty, snapshot.traded_qty)
            notional = EXACT.add(notional, snapshot.traded_notional)
    return vwap(qty, notional)


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
