"""Reference data: what one unit of quantity at a venue stands for, and in which currency it is paid.

A price is in ``quote`` for one unit of ``base``. With ``units`` = contract_size x multiplier, the notional is

- spot and linear: quantity x units x price, in ``quote`` (units: base units a contract; 1 where the quantity is in
  base units itself, 50 for a future of 50 dollars a point);
- inverse: quantity x units / price, in ``base``, which is also what it settles in (units: quote units a contract;
  1 where the quantity is in quote units itself).

The size cancels in bps of a price; fees and notionals need it.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from ledger.domain.errors import defect_error
from ledger.domain.numbers import EXACT, exact_ratio, parse_positive

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ledger.domain.records import Execution

ANY_VENUE = "*"
_ONE = Decimal(1)
# quantity x units x price x 10,000 x a rate: five numbers of at most 37 digits are multiplied and never rounded
WIDE = EXACT.copy()
WIDE.prec = 200


class InstrumentKind(StrEnum):
    """How a contract pays: spot and linear in quote, inverse in base."""

    SPOT = "spot"
    LINEAR = "linear"
    INVERSE = "inverse"


class Instrument(msgspec.Struct, frozen=True):
    """One symbol of a venue (``venue`` "*": of any venue that does not list it itself).

    ``multiplier`` is FIX's ContractMultiplier(231). ``tick`` and ``lot`` are the steps of price and quantity where
    known. Raises ``DefectError`` where a number is not positive or an inverse contract does not settle in base.
    """

    venue: str
    symbol: str
    kind: InstrumentKind
    base: str
    quote: str
    settlement: str
    contract_size: Decimal = _ONE
    multiplier: Decimal = _ONE
    tick: Decimal | None = None
    lot: Decimal | None = None

    def __post_init__(self) -> None:
        """Refuse reference data that would make wrong figures."""
        where = f"instruments[{self.venue} {self.symbol}]"
        for name in ("contract_size", "multiplier", "tick", "lot"):
            value = getattr(self, name)
            if value is not None or name in {"contract_size", "multiplier"}:
                parse_positive(f"{where}.{name}", value)
        parse_positive(f"{where}.contract_size x multiplier", self.units)
        if self.kind is InstrumentKind.INVERSE and self.settlement != self.base:
            raise defect_error(
                "wrong_settlement",
                f"{where}.settlement",
                self.settlement,
                f"an inverse contract settles in its base currency, {self.base}",
                "Correct the row of execution.instruments.",
            )

    @property
    def units(self) -> Decimal:
        """What a quantity of one stands for: base units (spot, linear) or quote units (inverse)."""
        return EXACT.multiply(self.contract_size, self.multiplier)

    @property
    def notional_currency(self) -> str:
        """The currency of the notional: quote, or base of an inverse contract."""
        return self.base if self.kind is InstrumentKind.INVERSE else self.quote


class RatePair(msgspec.Struct, frozen=True):
    """The symbol whose mid turns one currency into another: by multiplying, or by dividing where ``inverted``."""

    symbol: str
    inverted: bool


class Instruments:
    """All reference data, looked up by (venue, symbol): the venue's own entry first, then that of any venue."""

    __slots__ = ("_by_name", "_spots")

    def __init__(self, instruments: Iterable[Instrument] = ()) -> None:
        self._by_name = {(i.venue, i.symbol): i for i in instruments}
        self._spots: dict[tuple[str, str], list[Instrument]] = {}
        for name in sorted(self._by_name):
            found = self._by_name[name]
            if found.kind is InstrumentKind.SPOT:
                self._spots.setdefault((found.base, found.quote), []).append(found)

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def find(self, venue: str, symbol: str) -> Instrument | None:
        """Give the entry of a venue's symbol, None where there is none."""
        if not self._by_name:
            return None
        return self._by_name.get((venue, symbol)) or self._by_name.get((ANY_VENUE, symbol))

    def rate_pair(self, venue: str, currency: str, wanted: str) -> RatePair | None:
        """Find the spot pair that turns ``currency`` into ``wanted``.

        One quoted that way round is taken before one quoted the other way; of several the venue's own, then any
        venue's, then the first by name: snapshots are of a symbol, whoever trades it.
        """
        for pair, inverted in (((currency, wanted), False), ((wanted, currency), True)):
            found = self._spots.get(pair)
            if found:
                nearest = min(found, key=lambda i: (i.venue != venue, i.venue != ANY_VENUE))
                return RatePair(nearest.symbol, inverted)
        return None


def notional(execution: Execution, instrument: Instrument | None) -> Decimal:
    """The execution's worth: in quote (exact), or in base for an inverse contract (rounded once to 12 places).

    Without reference data it is taken for spot.
    """
    if instrument is None:
        return EXACT.multiply(execution.last_qty, execution.last_px)
    size = EXACT.multiply(execution.last_qty, instrument.units)
    if instrument.kind is InstrumentKind.INVERSE:
        return exact_ratio(size, execution.last_px)
    return EXACT.multiply(size, execution.last_px)
