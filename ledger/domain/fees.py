"""Fees in bps of the notional, beside the slippage and never in it: fee / notional x 10,000.

Positive is a cost, negative a rebate (what the venues report, FIX's Commission(12) included). Rounded once, half
to even, to 12 places. A fee in the currency of the price, in the base currency or in what an inverse contract
settles in needs no rate: the execution's own price is the rate between base and quote. A fee in any other currency
(BNB, a token of the venue) needs one: the mid of a spot pair at the fill time, told with the figure like a
benchmark.
"""

from __future__ import annotations

from decimal import Decimal  # noqa: TC003
from typing import TYPE_CHECKING

from ledger.domain.instruments import WIDE, InstrumentKind
from ledger.domain.numbers import TEN_THOUSAND, ZERO, exact_ratio

if TYPE_CHECKING:
    from ledger.domain.instruments import Instrument, Instruments, RatePair
    from ledger.domain.records import Execution

_NOTHING = exact_ratio(ZERO, TEN_THOUSAND)


def fee_bps(execution: Execution, instruments: Instruments) -> Decimal | None:
    """Give the fee over the notional in bps, where that needs no rate.

    None without a fee, without its currency, in a third currency, and, for a symbol without reference data (taken
    for spot), in any other than the execution's.
    """
    if execution.fee is None:
        return None
    if not execution.fee:
        return _NOTHING
    currency = execution.fee_currency
    if currency is None:
        return None
    instrument = instruments.find(execution.venue, execution.symbol)
    if instrument is None:
        return _in_quote(execution, None, execution.fee) if currency == execution.currency else None
    # base before the execution's currency: for FX Currency(15) is the dealt currency, which is the base
    if currency == instrument.base and currency != instrument.quote:
        return _in_quote(execution, instrument, WIDE.multiply(execution.fee, execution.last_px))
    if currency in {instrument.quote, execution.currency}:
        return _in_quote(execution, instrument, execution.fee)
    return None


def needs_rate(execution: Execution, instruments: Instruments) -> bool:
    """Whether there is a fee whose bps only a rate can tell."""
    return bool(
        execution.fee
        and execution.fee_currency is not None
        # the common case first: this is asked of every fill
        and execution.fee_currency != execution.currency
        and fee_bps(execution, instruments) is None
    )


def rate_pair(execution: Execution, instruments: Instruments) -> RatePair | None:
    """Find the pair that turns the fee's currency into the notional's; None where none is known."""
    instrument = instruments.find(execution.venue, execution.symbol)
    if instrument is None or execution.fee_currency is None:
        return None
    return instruments.rate_pair(execution.venue, execution.fee_currency, instrument.notional_currency)


def fee_bps_at(execution: Execution, instrument: Instrument, pair: RatePair, rate: Decimal) -> Decimal:
    """Give the fee over the notional in bps at a rate of ``pair``; the execution must have a fee."""
    assert execution.fee is not None, "a rate is asked of an execution with a fee"
    above = WIDE.multiply(execution.fee, TEN_THOUSAND)
    below = WIDE.multiply(execution.last_qty, instrument.units)
    if instrument.kind is InstrumentKind.INVERSE:
        above = WIDE.multiply(above, execution.last_px)
    else:
        below = WIDE.multiply(below, execution.last_px)
    if pair.inverted:
        return exact_ratio(above, WIDE.multiply(below, rate))
    return exact_ratio(WIDE.multiply(above, rate), below)


def _in_quote(execution: Execution, instrument: Instrument | None, fee: Decimal) -> Decimal:
    """Divide a fee in quote by the notional in quote: of an inverse contract quantity x units, at any price."""
    notional = execution.last_qty
    if instrument is not None:
        notional = WIDE.multiply(notional, instrument.units)
    if instrument is None or instrument.kind is not InstrumentKind.INVERSE:
        notional = WIDE.multiply(notional, execution.last_px)
    return exact_ratio(WIDE.multiply(fee, TEN_THOUSAND), notional)
