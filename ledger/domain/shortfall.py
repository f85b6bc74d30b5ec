"""Shortfall of an order and of a trade against what might have been: pure figures, exact or rounded once.

Signs: positive is a cost, for a buy and for a sell.

Sources: Perold, "The Implementation Shortfall: Paper versus Reality" (1988): shortfall is the return of the paper
portfolio, dealt whole and at once at the decision price, less the real one's; its parts as in CFA Institute's
curriculum (Level III). The effective spread is that of SEC Rule 605. Ratios are fractions of the paper investment
(0.0015 is 15 bps), rounded once, half to even, to 12 places.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from ledger.domain.numbers import EXACT, ZERO, exact_ratio
from ledger.domain.records import Side

if TYPE_CHECKING:
    from collections.abc import Iterable

_TWO = Decimal(2)


class Dealt(msgspec.Struct, frozen=True):
    """Some of an order that traded: quantity, price."""

    qty: Decimal
    price: Decimal


class Decided(msgspec.Struct, frozen=True):
    """A decision to trade and what became of its market.

    ``decision_price`` is the paper price, ``arrival_price`` the revised benchmark: the price when the order, or
    what was left of it, was released. ``closing_price`` is the price at which what never traded is valued; it may
    be None where everything did. ``fees`` are explicit costs in the price's currency, a rebate is negative.
    """

    side: Side
    qty: Decimal
    decision_price: Decimal
    arrival_price: Decimal
    closing_price: Decimal | None = None
    fees: Decimal = ZERO


class Shortfall(msgspec.Struct, frozen=True):
    """Implementation shortfall in the price's currency by its parts; ``paper`` is quantity x decision price.

    ``explicit``: fees. ``realised``: dealt price against arrival price, on what traded. ``delay``: arrival price
    against decision price, on what traded. ``missed``: closing price against decision price, on what did not.
    """

    paper: Decimal
    explicit: Decimal
    realised: Decimal
    delay: Decimal
    missed: Decimal

    @property
    def total(self) -> Decimal:
        """The sum of the parts."""
        return _sum((self.explicit, self.realised, self.delay, self.missed))

    def ratio(self, part: Decimal) -> Decimal:
        """Give a part, or the total, as a fraction of the paper investment."""
        return exact_ratio(part, self.paper)

    def market_adjusted(self, side: Side, beta: Decimal, market_return: Decimal) -> Decimal:
        """Give the total as a fraction, less what the market itself moved: side x beta x the market's return.

        ``market_return`` is a fraction over the life of the order. A rising market costs a buyer and favours a
        seller; what is left is the trader's own.
        """
        moved = _toward(side, EXACT.multiply(beta, market_return), ZERO)
        return EXACT.subtract(self.ratio(self.total), moved)


def implementation_shortfall(decided: Decided, dealt: Iterable[Dealt]) -> Shortfall:
    """Split the shortfall of a decision into its parts, each exact.

    Raises ``ValueError`` where more was dealt than decided, or something never traded and has no closing price.
    """
    filled = paid = ZERO
    for trade in dealt:
        filled = EXACT.add(filled, trade.qty)
        paid = EXACT.add(paid, EXACT.multiply(trade.qty, trade.price))
    return shortfall_of(decided, filled, paid)


def shortfall_of(decided: Decided, filled: Decimal, paid: Decimal) -> Shortfall:
    """Split the shortfall of a decision of which ``filled`` was dealt for ``paid``, the sum of quantity x price.

    Raises ``ValueError`` as ``implementation_shortfall`` does.
    """
    side = decided.side
    left = EXACT.subtract(decided.qty, filled)
    if left < ZERO:
        raise ValueError(f"dealt={filled}: no more than the decided quantity {decided.qty}. Leave out overfills.")
    missed = ZERO
    if left:
        if decided.closing_price is None:
            raise ValueError(f"closing_price=None: {left} never traded. Give the price at which it is valued.")
        missed = EXACT.multiply(left, _toward(side, decided.closing_price, decided.decision_price))
    return Shortfall(
        paper=EXACT.multiply(decided.qty, decided.decision_price),
        explicit=decided.fees,
        realised=_toward(side, paid, EXACT.multiply(filled, decided.arrival_price)),
        delay=EXACT.multiply(filled, _toward(side, decided.arrival_price, decided.decision_price)),
        missed=missed,
    )


def shortfall_per_unit(side: Side, price: Decimal, decision_price: Decimal) -> Decimal:
    """Give what a unit cost more than on paper: side x (price - decision price), exact."""
    return _toward(side, price, decision_price)


def quoted_spread(bid: Decimal, ask: Decimal) -> Decimal:
    """Give ask - bid, exact."""
    return EXACT.subtract(ask, bid)


def effective_spread(side: Side, price: Decimal, bid: Decimal, ask: Decimal) -> Decimal:
    """Give 2 x side x (price - mid), exact, in the price's unit: what a round trip at such prices costs.

    It is below the quoted spread by twice the price improvement, and negative beyond the mid.
    """
    # 2 x (price - (bid + ask) / 2) without the division
    return _toward(side, EXACT.multiply(_TWO, price), EXACT.add(bid, ask))


def average(values: Iterable[Decimal]) -> Decimal:
    """Give the mean of spreads, rounded once, half to even, to 12 places. Raises ``ValueError`` for none."""
    found = tuple(values)
    if not found:
        raise ValueError("values=(): a mean is of at least one value. Leave the group out.")
    return exact_ratio(_sum(found), Decimal(len(found)))


def _toward(side: Side, price: Decimal, benchmark: Decimal) -> Decimal:
    return EXACT.subtract(price, benchmark) if side is Side.BUY else EXACT.subtract(benchmark, price)


def _sum(values: Iterable[Decimal]) -> Decimal:
    total = ZERO
    for value in values:
        total = EXACT.add(total, value)
    return total
