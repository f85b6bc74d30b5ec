"""What an order cost against its decision, as of the end of a day: implementation shortfall by its parts.

``ledger.domain.shortfall`` has the arithmetic; this says what goes into it, and what is left out and why. Signs:
positive is a cost. Money is in the currency of the price, quantities are multiplied by the contract's units.

- decision price: the intent's; without it the arrival mid stands for it and there is no delay
  (``no_decision_price``).
- arrival price: the mid when the order was routed; without it delay and trading are one figure that only the total
  has (``no_arrival``).
- what never traded is valued at the closing price: the mid when the order ended, of one that still works that of
  the end of the day (``order_open``: provisional). Without it there is no opportunity cost and no total
  (``no_close``).
- fees: as charged, in a third currency at the rate of the fill; a fee that is not known leaves no explicit cost
  and no total (``no_fee``).
- an inverse contract is priced in what it is settled against: its shortfall is not money of one currency
  (``inverse_contract``), its slippage in bps is beside its executions.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from ledger.domain.instruments import InstrumentKind, notional
from ledger.domain.interval import vwap
from ledger.domain.numbers import EXACT, TEN_THOUSAND, ZERO, exact_ratio
from ledger.domain.records import OrderIntent, Snapshot
from ledger.domain.shortfall import Decided, shortfall_of
from ledger.domain.slippage import mid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ledger.domain.instruments import Instrument, Instruments
    from ledger.domain.records import Execution


class OrderState(StrEnum):
    """How an order stands at the end of the day."""

    FILLED = "filled"
    CLOSED = "closed"
    OPEN = "open"


class Filled(msgspec.Struct, frozen=True):
    """What traded: the sums of quantity, of quantity x price, and of the fees in the currency of the price.

    ``fees`` is None where one of them is not known.
    """

    qty: Decimal = ZERO
    paid: Decimal = ZERO
    fees: Decimal | None = ZERO

    def __add__(self, other: Filled) -> Filled:
        fees = None if self.fees is None or other.fees is None else EXACT.add(self.fees, other.fees)
        return Filled(EXACT.add(self.qty, other.qty), EXACT.add(self.paid, other.paid), fees)


class Worked(msgspec.Struct, frozen=True):
    """An order as of the end of a day: its root, how much it was for, what of it traded up to then.

    ``closing_ns`` is when the order ended, or the end of what is known of the day.
    """

    root: OrderIntent
    order_qty: Decimal
    filled: Filled
    is_closed: bool
    arrival: Snapshot | None
    closing: Snapshot | None
    closing_ns: int


class OrderCost(msgspec.Struct, frozen=True):
    """The shortfall; ``reason`` says, joined by commas, what is missing or only the best that was at hand."""

    state: OrderState
    order_qty: Decimal
    filled_qty: Decimal
    avg_px: Decimal | None
    arrival_price: Decimal | None
    closing_price: Decimal | None
    paper: Decimal | None
    explicit: Decimal | None
    delay: Decimal | None
    trading: Decimal | None
    opportunity: Decimal | None
    total: Decimal | None
    total_bps: Decimal | None
    reason: str | None


def order_cost(order: Worked, instruments: Instruments, stale_after_ns: int) -> OrderCost:
    """Work out an order's shortfall."""
    reasons: set[str] = set()
    filled, qty = order.filled.qty, order.order_qty
    if filled > qty:
        qty = filled
        reasons.add("overfill")
    left = EXACT.subtract(qty, filled)
    state = OrderState.OPEN if left and not order.is_closed else OrderState.CLOSED if left else OrderState.FILLED
    if state is OrderState.OPEN:
        reasons.add("order_open")
    arrival = _price(order.arrival, order.root.routed_ns, stale_after_ns, "arrival", reasons)
    closing = _price(order.closing, order.closing_ns, stale_after_ns, "close", reasons) if left else None
    average = vwap(filled, order.filled.paid)
    known = OrderCost(
        state, qty, filled, average, arrival, closing, None, None, None, None, None, None, None, None
    )
    instrument = instruments.find(order.root.venue, order.root.symbol)
    if instrument is not None and instrument.kind is InstrumentKind.INVERSE:
        return msgspec.structs.replace(known, reason="inverse_contract")
    paper_price = order.root.decision_price
    if paper_price is None:
        reasons.add("no_decision_price")
        paper_price = arrival
    fees = order.filled.fees
    if fees is None:
        reasons.add("no_fee")
    if paper_price is None:
        return msgspec.structs.replace(known, explicit=fees, reason=",".join(sorted(reasons)))
    units = instrument.units if instrument is not None else None
    return _split(known, order, paper_price, fees, units, reasons)


def _split(
    known: OrderCost,
    order: Worked,
    paper_price: Decimal,
    fees: Decimal | None,
    units: Decimal | None,
    reasons: set[str],
) -> OrderCost:
    """Split the shortfall against a paper price into the parts that are known."""
    left = EXACT.subtract(known.order_qty, known.filled_qty)
    has_close = not left or known.closing_price is not None
    found = shortfall_of(
        Decided(
            order.root.side,
            known.order_qty,
            paper_price,
            known.arrival_price if known.arrival_price is not None else paper_price,
            # at the paper price nothing is missed: of what has no close the figure is left out below
            known.closing_price if has_close else paper_price,
            fees if fees is not None else ZERO,
        ),
        order.filled.qty,
        order.filled.paid,
    )

    def money(part: Decimal, *, is_known: bool) -> Decimal | None:
        if not is_known:
            return None
        return part if units is None else EXACT.multiply(part, units)

    traded = EXACT.add(EXACT.add(found.realised, found.delay), found.missed)
    total = None
    if fees is not None and has_close:
        scaled = money(traded, is_known=True)
        assert scaled is not None
        total = EXACT.add(scaled, fees)
    paper = money(found.paper, is_known=True)
    has_arrival = known.arrival_price is not None
    return msgspec.structs.replace(
        known,
        paper=paper,
        explicit=fees,
        delay=money(found.delay, is_known=has_arrival and order.root.decision_price is not None),
        trading=money(found.realised, is_known=has_arrival),
        opportunity=money(found.missed, is_known=has_close),
        total=total,
        total_bps=None if total is None or not paper else exact_ratio(EXACT.multiply(total, TEN_THOUSAND), paper),
        reason=",".join(sorted(reasons)) or None,
    )


def _price(
    snapshot: Snapshot | None, wanted_ns: int, stale_after_ns: int, what: str, reasons: set[str]
) -> Decimal | None:
    if snapshot is None:
        reasons.add(f"no_{what}")
        return None
    if wanted_ns - snapshot.at_ns > stale_after_ns:
        reasons.add(f"stale_{what}")
    return mid(snapshot)


def filled_by(
    executions: Iterable[Execution], instruments: Instruments, fee_rates: Mapping[str, Decimal | None]
) -> Filled:
    """Sum executions up; ``fee_rates`` has the bps of fees in a third currency by execution."""
    total = Filled()
    for e in executions:
        fee = fee_money(e, instruments.find(e.venue, e.symbol), fee_rates.get(e.execution_id))
        total += Filled(e.last_qty, EXACT.multiply(e.last_qty, e.last_px), fee)
    return total


class FeeBasis(StrEnum):
    """How a fee becomes money of the price's currency."""

    AS_IS = "as it is"
    TIMES_PRICE = "times the price"
    AT_RATE = "at a rate"
    UNKNOWN = "unknown"


def fee_basis(instrument: Instrument | None, currency: str | None, fee_currency: str | None) -> FeeBasis:
    """Say how a fee that is not zero becomes money of the price's ``currency``."""
    if fee_currency is None:
        return FeeBasis.UNKNOWN
    if instrument is not None and fee_currency == instrument.base and fee_currency != instrument.quote:
        return FeeBasis.TIMES_PRICE
    if fee_currency == currency or (instrument is not None and fee_currency == instrument.quote):
        return FeeBasis.AS_IS
    return FeeBasis.AT_RATE


def fee_money(execution: Execution, instrument: Instrument | None, rate_bps: Decimal | None) -> Decimal | None:
    """Give a fee in the currency of the price; ``rate_bps`` is the measured fee where it is in a third currency.

    None where the venue does not say the fee or its currency, or no rate is known.
    """
    fee = execution.fee
    if not fee:
        return fee
    match fee_basis(instrument, execution.currency, execution.fee_currency):
        case FeeBasis.AS_IS:
            return fee
        case FeeBasis.TIMES_PRICE:
            return EXACT.multiply(fee, execution.last_px)
        case FeeBasis.UNKNOWN:
            return None
        case FeeBasis.AT_RATE:
            if rate_bps is None:
                return None
            return exact_ratio(EXACT.multiply(rate_bps, notional(execution, instrument)), TEN_THOUSAND)
