"""Provisional hedges: what is asked for while a fill is only estimated, and what becomes of it when it is known.

A hedge covers the fills that an order is expected to have had and that nobody has reported. It is asked for once a
delay, and trued up by the first fact that says what filled since the delay began: the quantity asked for plus the
difference told with its end is what filled, always.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from ledger.domain.instruments import InstrumentKind
from ledger.domain.numbers import EXACT, ZERO, canonical, exact_ratio
from ledger.domain.records import Side
from ledger.domain.slippage import mid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ledger.domain.instruments import Instrument
    from ledger.domain.records import Snapshot


class HedgeStatus(StrEnum):
    """What became of a provisional hedge."""

    REQUESTED = "requested"
    CONFIRMED = "confirmed"
    ADJUSTED = "adjusted"
    WITHDRAWN = "withdrawn"


class Confidence(StrEnum):
    """How sure the estimated fill is."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


_BY_DOUBTS = (Confidence.HIGH, Confidence.MEDIUM, Confidence.LOW)


class Exposure(msgspec.Struct, frozen=True):
    """What an unreported fill would be worth: LeavesQty at the mid, in the notional's currency."""

    amount: Decimal
    currency: str


class Hedge(msgspec.Struct, frozen=True):
    """What is asked for: ``side`` and ``quantity`` of the hedge, ``price`` of the fill that is estimated."""

    side: Side
    quantity: Decimal
    price: Decimal
    exposure: Exposure
    limit_value: Decimal
    snapshot_id: str
    snapshot_age_ns: int
    confidence: Confidence


class NoHedge(msgspec.Struct, frozen=True):
    """No hedge is asked for, and why."""

    reason: str


class TrueUp(msgspec.Struct, frozen=True):
    """The end of a hedge: ``filled`` is the quantity that the order filled, ``difference`` that less the hedge."""

    status: HedgeStatus
    filled: Decimal
    difference: Decimal


def exposure_of(
    leaves_qty: Decimal, snapshot: Snapshot, instrument: Instrument | None, currency: str | None
) -> Exposure | None:
    """Give the worth of ``leaves_qty`` at the mid; None where its currency is not known.

    Exact for spot and linear, rounded once to 12 places for inverse contracts. Without reference data it is taken
    for spot, in the order's ``currency``.
    """
    price = canonical(mid(snapshot))
    if instrument is None:
        return None if currency is None else Exposure(EXACT.multiply(leaves_qty, price), currency)
    size = EXACT.multiply(leaves_qty, instrument.units)
    if instrument.kind is InstrumentKind.INVERSE:
        return Exposure(exact_ratio(size, price), instrument.notional_currency)
    return Exposure(EXACT.multiply(size, price), instrument.notional_currency)


def estimated_price(side: Side, snapshot: Snapshot) -> Decimal:
    """Give the price at which the order would have taken: the ask for a buy, the bid for a sell."""
    return snapshot.ask if side is Side.BUY else snapshot.bid


def confidence_of(*, is_market: bool, is_learned: bool, is_fresh: bool) -> Confidence:
    """Say how sure a fill is: high for a market order, a learned delay and a fresh snapshot.

    One of the three missing is medium, two or more low.
    """
    doubts = (is_market, is_learned, is_fresh).count(False)
    return _BY_DOUBTS[min(doubts, 2)]


def hedge_of(
    side: Side,
    leaves_qty: Decimal,
    exposure: Exposure | None,
    limits: Mapping[str, Decimal],
    snapshot: Snapshot,
    snapshot_age_ns: int,
    confidence: Confidence,
) -> Hedge | NoHedge:
    """Decide whether an exposure is to be hedged: when it passes the venue's limit in its currency."""
    if exposure is None:
        return NoHedge("the currency of the exposure is not known")
    limit = limits.get(exposure.currency)
    if limit is None:
        return NoHedge(f"the venue has no limit in {exposure.currency}")
    if exposure.amount <= limit:
        return NoHedge("the exposure is within the venue's limit")
    return Hedge(
        Side.SELL if side is Side.BUY else Side.BUY,
        leaves_qty,
        estimated_price(side, snapshot),
        exposure,
        limit,
        snapshot.snapshot_id,
        snapshot_age_ns,
        confidence,
    )


def true_up(quantity: Decimal, filled: Decimal) -> TrueUp:
    """End a hedge of ``quantity`` with what filled since the delay began; a fill that was taken back is none."""
    filled = max(ZERO, filled)
    difference = EXACT.subtract(filled, quantity)
    if not filled:
        return TrueUp(HedgeStatus.WITHDRAWN, filled, difference)
    return TrueUp(HedgeStatus.ADJUSTED if difference else HedgeStatus.CONFIRMED, filled, difference)
