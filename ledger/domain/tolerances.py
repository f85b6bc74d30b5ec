"""How far reports and order may differ before it is a break: configuration, by venue and kind."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from ledger.domain.numbers import EXACT, TEN_THOUSAND, ZERO

if TYPE_CHECKING:
    from collections.abc import Mapping


class Tolerances(msgspec.Struct, frozen=True):
    """One venue's tolerances: quantities in units of the instrument, prices in bps of the order's own figure.

    AvgPx(6) is a rounded figure at every venue, so its default is not zero.
    """

    cum_qty: Decimal = ZERO
    avg_px_bps: Decimal = Decimal(1)
    overfill_qty: Decimal = ZERO
    limit_price_bps: Decimal = ZERO

    @staticmethod
    def allows_bps(difference: Decimal, of: Decimal, bps: Decimal) -> bool:
        """Whether a difference is at most so many bps of a figure."""
        return EXACT.multiply(difference, TEN_THOUSAND) <= EXACT.multiply(of, bps)


class Grace(msgspec.Struct, frozen=True):
    """How long (ns) something may be missing before it is said to be: the reports on their way come first.

    ``gap_ns``: a fill that the venue's CumQty counts. ``reference_ns``: what a bust or correct refers to.
    ``intent_ns``: the intent of a fill. Zero gap: at once, for a look at what is known.
    """

    gap_ns: int = 0
    reference_ns: int = 30_000_000_000
    intent_ns: int = 30_000_000_000


STRICT = Tolerances()


def of_venue(tolerances: Mapping[str, Tolerances], venue: str) -> Tolerances:
    """Give a venue's tolerances, or the strict ones."""
    return tolerances.get(venue, STRICT)
