"""A day's orders with what their final figures are worked out of, some at a time.

An order's executions come as sums and as lines of text, which ``execution_assets.marks`` reads in columns: a
million executions never are a million objects. Only where a fee is in a third currency, so that each fee has a
rate of its own, are an order's executions read one by one.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from execution_assets.facts import rows_of, tuples_of
from execution_assets.standings import standings_at
from ledger.db.rows import read_execution, read_intent
from ledger.domain.fees import needs_rate
from ledger.domain.numbers import ZERO
from ledger.domain.order import root_intent
from ledger.domain.order_costs import FeeBasis, Filled, fee_basis, filled_by
from ledger.domain.records import Execution, OrderIntent
from ledger.domain.standing import UNREPORTED
from ledger.domain.times import NANOS, day_start

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date
    from decimal import Decimal

    from sqlalchemy import Connection

    from ledger.domain.instruments import Instruments

CHUNK_EXECUTIONS = 20_000  # worked on at once: about 60 MB in columns and texts
CHUNK_ORDERS = 5_000
_DAY_NS = 86_400 * NANOS


class Known(msgspec.Struct, frozen=True):
    """The day, and up to when its market is known (ns)."""

    day: Any  # a date: msgspec would check it again
    start_ns: int
    known_until_ns: int

    @property
    def end_ns(self) -> int:
        """When the day ends."""
        return self.start_ns + _DAY_NS


class Fills(NamedTuple):
    """Active executions of an order in one symbol with fees of one currency: a row of ``fills_of_share``.

    ``fee_paid`` is the sum of fee x price; ``charged`` counts fees that are not zero, ``unsaid`` those that the
    venue did not say. ``lines`` are CSV: execution id, side, price, time.
    """

    correlation_id: str
    venue: str
    symbol: str
    currency: str | None
    fee_currency: str | None
    number: int
    qty: Decimal
    paid: Decimal
    fee: Decimal | None
    fee_paid: Decimal | None
    charged: int
    unsaid: int
    last_ns: int
    lines: str


class Order(msgspec.Struct):
    """An order of the day with what it is measured by; ``filled`` has what traded on the day and before it."""

    fills: list[Fills] = []
    intents: list[OrderIntent] = []
    filled: Filled = Filled()
    standing: Any = UNREPORTED  # a Standing, as of the day's end: msgspec would check it again

    @property
    def last_ns(self) -> int | None:
        """When it traded last on the day; None where it did not."""
        return max((fills.last_ns for fills in self.fills), default=None)

    @property
    def currency(self) -> str | None:
        """The currency of its prices."""
        return next((fills.currency for fills in self.fills if fills.currency is not None), None)


def known_market(connection: Connection, day: date) -> Known:
    """Ask up to when the market of a day is known; up to its beginning where nothing is."""
    start = day_start(day.year, day.month, day.day)
    bounds = {"day": day, "start_ns": start, "end_ns": start + _DAY_NS}
    newest = next(rows_of(connection, "newest_snapshot", bounds))["known_until"]
    return Known(day, start, newest if newest is not None else start)


def orders_of_share(
    connection: Connection, known: Known, share: int, shares: int, instruments: Instruments
) -> Iterator[dict[str, Order]]:
    """Give the orders of a share that traded or began on the day, some at a time."""
    asked = {"day": known.day, "share": share, "shares": shares}
    chunk: dict[str, Order] = {}
    size = 0
    rows = map(Fills._make, tuples_of(connection, "fills_of_share", asked))
    for name, group in groupby(rows, key=lambda fills: fills.correlation_id):
        chunk[name] = Order(list(group))
        size += sum(fills.number for fills in chunk[name].fills)
        if size >= CHUNK_EXECUTIONS or len(chunk) >= CHUNK_ORDERS:
            yield _completed(connection, known, chunk, instruments)
            chunk, size = {}, 0
    idle = {**asked, "start_ns": known.start_ns, "end_ns": known.end_ns}
    for (name,) in tuples_of(connection, "orders_without_executions", idle):
        chunk[name] = Order()
        if len(chunk) >= CHUNK_ORDERS:
            yield _completed(connection, known, chunk, instruments)
            chunk = {}
    if chunk:
        yield _completed(connection, known, chunk, instruments)


def _completed(
    connection: Connection, known: Known, orders: dict[str, Order], instruments: Instruments
) -> dict[str, Order]:
    ids = {"ids": list(orders)}
    for order in orders.values():
        order.intents = []
    for row in rows_of(connection, "intents", ids):
        intent = read_intent(row)
        if intent.routed_ns < known.end_ns:
            orders[intent.correlation_id].intents.append(intent)
    found = standings_at(connection, known.day, known.end_ns, {n: o.intents for n, o in orders.items()})
    for name, standing in found.items():
        orders[name].standing = standing
    apart = []
    for name, order in orders.items():
        total = sum_of(order.fills, instruments)
        if total is None:
            apart.append(name)
        else:
            order.filled = total
    if apart:
        _one_by_one(connection, known, orders, apart, instruments)
    old = [n for n, o in orders.items() if o.intents and root_intent(o.intents).routed_ns < known.start_ns]
    if old:
        for name, executions in _executions(connection, "earlier_executions", known, old):
            rates = _rates(connection, executions, instruments)
            orders[name].filled += filled_by(executions, instruments, rates)
    return {name: order for name, order in orders.items() if order.intents}


def sum_of(fills: Iterable[Fills], instruments: Instruments) -> Filled | None:
    """Sum an order's fills up; None where a fee is in a third currency."""
    total = Filled()
    for part in fills:
        fees: Decimal | None = None
        if not part.unsaid:
            basis = fee_basis(instruments.find(part.venue, part.symbol), part.currency, part.fee_currency)
            if not part.charged:
                fees = ZERO
            elif basis is FeeBasis.AT_RATE:
                return None
            elif basis is not FeeBasis.UNKNOWN:
                fees = part.fee if basis is FeeBasis.AS_IS else part.fee_paid
        total += Filled(part.qty, part.paid, fees)
    return total


def _one_by_one(
    connection: Connection, known: Known, orders: dict[str, Order], names: list[str], instruments: Instruments
) -> None:
    found = list(_executions(connection, "executions_of_orders", known, names))
    rates = _rates(connection, (e for _, executions in found for e in executions), instruments)
    for name, executions in found:
        orders[name].filled = filled_by(executions, instruments, rates)


def _rates(
    connection: Connection, executions: Iterable[Execution], instruments: Instruments
) -> dict[str, Decimal | None]:
    """Give the stored bps of the fees in a third currency, of whatever day."""
    rated = [e for e in executions if needs_rate(e, instruments)]
    if not rated:
        return {}
    asked = {"ids": [e.execution_id for e in rated], "days": sorted({e.trade_date for e in rated})}
    return {row["execution_id"]: row["bps"] for row in rows_of(connection, "fee_rates", asked)}


def _executions(
    connection: Connection, query: str, known: Known, names: list[str]
) -> Iterator[tuple[str, list[Execution]]]:
    by_order: dict[str, list[Execution]] = {}
    for row in rows_of(connection, query, {"ids": names, "day": known.day}):
        execution = read_execution(row)
        by_order.setdefault(execution.correlation_id, []).append(execution)
    yield from by_order.items()
