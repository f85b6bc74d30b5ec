"""What an execution looks like a while later: its price against the mid after a horizon, once that is known.

Markout at h = Side x (price - mid(t + h)) / mid(t + h) x 10,000: the slippage against a later benchmark, positive
= cost as everywhere (of an inverse contract the price divides, see ``ledger.domain.slippage``). Twice of it is SEC
Rule 605's realized spread in bps; its difference to the figure at the fill's own time is the price impact. What
the market did for us after the fill makes it negative.

The mid is that of the last snapshot at or before t + h. Without one there is no figure: ``no_snapshot``; where the
market is not known up to t + h yet: ``not_known_yet``. One older than the policy allows gives a figure of
``best_effort``, ``stale_snapshot``.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from ledger.domain.slippage import mid, slippage_bps
from ledger.domain.times import NANOS

if TYPE_CHECKING:
    from ledger.domain.records import Side, Snapshot


class Horizon(StrEnum):
    """How long after the fill."""

    SECOND = "1s"
    TEN_SECONDS = "10s"
    MINUTE = "60s"
    FIVE_MINUTES = "5min"


HORIZONS: dict[Horizon, int] = {
    Horizon.SECOND: NANOS,
    Horizon.TEN_SECONDS: 10 * NANOS,
    Horizon.MINUTE: 60 * NANOS,
    Horizon.FIVE_MINUTES: 300 * NANOS,
}


class Markout(msgspec.Struct, frozen=True):
    """A figure with its benchmark; ``reason`` says why there is none, or why it is ``best_effort``."""

    bps: Decimal | None
    benchmark: Decimal | None
    snapshot_id: str | None
    reason: str | None


NO_SNAPSHOT = Markout(None, None, None, "no_snapshot")
NOT_KNOWN_YET = Markout(None, None, None, "not_known_yet")


def markout(
    side: Side,
    price: Decimal,
    wanted_ns: int,
    snapshot: Snapshot | None,
    *,
    known_until_ns: int,
    stale_after_ns: int,
    inverse: bool = False,
) -> Markout:
    """Measure against ``snapshot``, the last one at or before ``wanted_ns`` = t + h.

    ``known_until_ns`` is the time of the newest snapshot of any symbol: later than that the market is not known.
    """
    if wanted_ns > known_until_ns:
        return NOT_KNOWN_YET
    if snapshot is None:
        return NO_SNAPSHOT
    benchmark = mid(snapshot)
    return Markout(
        slippage_bps(side, price, benchmark, inverse=inverse),
        benchmark,
        snapshot.snapshot_id,
        "stale_snapshot" if wanted_ns - snapshot.at_ns > stale_after_ns else None,
    )
