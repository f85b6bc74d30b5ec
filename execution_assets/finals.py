"""The final figures of a share of a day: markouts of its executions, shortfalls of its orders.

What it reads is the day's executions as derived, the orders they belong to, and the market up to five minutes
after the day. Orders that began on the day and never traded on it have their opportunity cost.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec

from execution_assets.facts import rows_of, tuples_of
from execution_assets.market import DayMarket
from execution_assets.sheets import Changes, Compared, Row, Sheet
from ledger.db.rows import read_execution, read_intent
from ledger.domain.breaks import largest_qty
from ledger.domain.digest import plain
from ledger.domain.fees import needs_rate
from ledger.domain.instruments import InstrumentKind
from ledger.domain.interval import twap
from ledger.domain.markouts import HORIZONS, markout
from ledger.domain.order import root_intent
from ledger.domain.order_costs import OrderCost, Worked, order_cost
from ledger.domain.records import Execution, ExecutionStatus, Liquidity, OrderIntent, Quality, Side, Snapshot
from ledger.domain.slippage import mid, slippage_bps
from ledger.domain.times import NANOS, day_start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date
    from pathlib import Path

    from sqlalchemy import Connection

    from ledger.domain.decide import Policy
    from ledger.domain.slippage import SlippagePolicy

FINALS, COSTS = Sheet("slippage_finals", "execution_id"), Sheet("order_costs", "correlation_id")
CHUNK_EXECUTIONS = 5_000
NO_TAPE = "no_market_trades"  # market.data.snapshot.v1 has quotes: nobody tells what the market traded
_DAY_NS = 86_400 * NANOS
_SIDES = {str(side): side for side in Side}
_LIQUIDITIES = {str(liquidity): liquidity for liquidity in Liquidity}


class Known(msgspec.Struct, frozen=True):
    """The day, and up to when its market is known (ns)."""

    day: Any  # a date: msgspec would check it again
    start_ns: int
    known_until_ns: int

    @property
    def end_ns(self) -> int:
        """When the day ends."""
        return self.start_ns + _DAY_NS


class FinalsResult(msgspec.Struct):
    """What a share amounts to: the changes of both tables, their entries, and the live rows that were compared."""

    finals: Changes
    costs: Changes
    final_entries: bytearray
    cost_entries: bytearray
    finals_matched: int
    costs_matched: int

    def take(self, other: FinalsResult) -> None:
        """Add another share."""
        for ours, theirs in ((self.finals, other.finals), (self.costs, other.costs)):
            ours.rows += theirs.rows
            ours.added += theirs.added
            ours.changed += theirs.changed
            for what, keys in theirs.sample.items():
                for key in keys:
                    ours.note(what, key)
        self.final_entries += other.final_entries
        self.cost_entries += other.cost_entries
        self.finals_matched += other.finals_matched
        self.costs_matched += other.costs_matched


class Order(msgspec.Struct):
    """An order of the day with what it is measured by."""

    intents: list[OrderIntent] = []
    executions: list[Execution] = []
    earlier: list[Execution] = []
    standing: Any = None  # a row of order_standings
    fee_rates: dict[str, Decimal | None] = {}


def known_market(connection: Connection, day: date) -> Known:
    """Ask up to when the market of a day is known; up to its beginning where nothing is."""
    start = day_start(day.year, day.month, day.day)
    bounds = {"day": day, "start_ns": start, "end_ns": start + _DAY_NS}
    newest = next(rows_of(connection, "newest_snapshot", bounds))["known_until"]
    return Known(day, start, newest if newest is not None else start)


def derive_finals_share(
    connection: Connection,
    day: date,
    policy: Policy,
    folder: Path,
    *,
    share: int = 0,
    shares: int = 1,
    tell: Callable[[int], None] = lambda _: None,
) -> FinalsResult:
    """Work out the figures of a share, compare them with the live rows, and collect those that differ."""
    known = known_market(connection, day)
    market = DayMarket(connection, day)
    finals = Compared(FINALS, connection, day, folder / f"share-{share}.{FINALS.name}")
    costs = Compared(COSTS, connection, day, folder / f"share-{share}.{COSTS.name}")
    for orders in _orders(connection, known, share, shares, policy.slippage):
        rows, cost_rows = _measure(orders, market, known, policy.slippage, connection)
        finals.put(rows)
        costs.put(cost_rows)
        tell(len(rows))
    finals.close()
    costs.close()
    return FinalsResult(
        finals.changes, costs.changes, finals.entries, costs.entries, finals.matched, costs.matched
    )


def _orders(
    connection: Connection, known: Known, share: int, shares: int, policy: SlippagePolicy
) -> Iterator[dict[str, Order]]:
    """Give the day's orders with all they are measured by, some at a time."""
    asked = {"day": known.day, "share": share, "shares": shares}
    chunk: dict[str, Order] = {}
    size = 0
    rows = tuples_of(connection, "executions_of_share", asked)
    for name, group in groupby(rows, key=lambda row: row[0]):
        chunk[name] = Order(executions=[_execution(row) for row in group])
        size += len(chunk[name].executions)
        if size >= CHUNK_EXECUTIONS:
            yield _completed(connection, known, chunk, policy)
            chunk, size = {}, 0
    idle = {**asked, "start_ns": known.start_ns, "end_ns": known.end_ns}
    for (name,) in tuples_of(connection, "orders_without_executions", idle):
        chunk[name] = Order()
        if len(chunk) >= CHUNK_EXECUTIONS:
            yield _completed(connection, known, chunk, policy)
            chunk = {}
    if chunk:
        yield _completed(connection, known, chunk, policy)


def _execution(row: tuple[Any, ...]) -> Execution:
    (
        correlation_id, execution_id, msg_id, venue, account, symbol, side, trade_date, exec_id, last_exec_id, _,
        last_qty, last_px, currency, fee, fee_currency, liquidity, transact_ns, match_rule, fee_bps,
    ) = row  # fmt: skip
    return Execution(
        execution_id, correlation_id, msg_id, venue, account, symbol, _SIDES[side], trade_date, exec_id,
        last_exec_id, ExecutionStatus.ACTIVE, last_qty, last_px, currency, fee, fee_currency,
        None if liquidity is None else _LIQUIDITIES[liquidity], transact_ns, match_rule, fee_bps,
    )  # fmt: skip


def _completed(
    connection: Connection, known: Known, orders: dict[str, Order], policy: SlippagePolicy
) -> dict[str, Order]:
    ids = list(orders)
    for order in orders.values():
        order.intents = []
    for row in rows_of(connection, "intents", {"ids": ids}):
        intent = read_intent(row)
        if intent.routed_ns < known.end_ns:
            orders[intent.correlation_id].intents.append(intent)
    for row in rows_of(connection, "standings", {"ids": ids}):
        orders[row["correlation_id"]].standing = row
    old = [n for n, o in orders.items() if o.intents and root_intent(o.intents).routed_ns < known.start_ns]
    if old:
        for row in rows_of(connection, "earlier_executions", {"ids": old, "day": known.day}):
            execution = read_execution(row)
            order = orders[execution.correlation_id]
            order.earlier = [*order.earlier, execution]
    rated = {
        e.execution_id: e.correlation_id
        for o in orders.values()
        for e in o.executions
        if needs_rate(e, policy.instruments)
    }
    if rated:
        for row in rows_of(connection, "fee_rates", {"day": known.day, "ids": list(rated)}):
            order = orders[rated[row["execution_id"]]]
            order.fee_rates = {**order.fee_rates, row["execution_id"]: row["bps"]}
    return {name: order for name, order in orders.items() if order.intents}


def _measure(
    orders: dict[str, Order], market: DayMarket, known: Known, policy: SlippagePolicy, connection: Connection
) -> tuple[list[Row], list[Row]]:
    roots = {name: root_intent(order.intents) for name, order in orders.items()}
    closings = {name: _closing(order, known) for name, order in orders.items()}
    asked = {
        (e.symbol, e.transact_ns + ahead)
        for order in orders.values()
        for e in order.executions
        for ahead in HORIZONS.values()
        if e.transact_ns + ahead <= known.known_until_ns
    }
    asked |= {(root.symbol, root.routed_ns) for root in roots.values()}
    asked |= {(roots[name].symbol, closed_ns) for name, (closed_ns, _) in closings.items()}
    found = market.answers(asked)
    finals: list[Row] = []
    costs: list[Row] = []
    for name, order in orders.items():
        root, (closing_ns, is_closed) = roots[name], closings[name]
        average, why = _interval(order, root, market, known, connection)
        finals += [_final_row(execution, average, found, known, policy) for execution in order.executions]
        standing = order.standing
        quantity = None if standing is None else standing["order_qty"]
        worked = Worked(
            root,
            quantity if quantity is not None else largest_qty(order.intents),
            [*order.earlier, *order.executions],
            order.fee_rates,
            is_closed,
            found.get((root.symbol, root.routed_ns)),
            found.get((root.symbol, closing_ns)),
            closing_ns,
        )
        cost = order_cost(worked, policy.instruments, policy.stale_after_ns)
        costs.append(_cost_row(worked, cost, known.day, average, why))
    return finals, costs


def _closing(order: Order, known: Known) -> tuple[int, bool]:
    """Say when what never traded is valued, and whether the order had ended by the end of the day."""
    standing = order.standing
    if standing is not None and standing["closed"] is not None and not standing["leaves"]:
        closed_ns = standing["closed_ns"]
        if closed_ns < known.end_ns:
            return closed_ns, True
    return min(known.end_ns - 1, known.known_until_ns), False


def _interval(
    order: Order, root: OrderIntent, market: DayMarket, known: Known, connection: Connection
) -> tuple[Decimal | None, str | None]:
    """Give the order's interval TWAP, from arrival to its last execution of the day, or why there is none."""
    if not order.executions:
        return None, "not_executed"
    until = max(e.transact_ns for e in order.executions)
    if root.routed_ns < known.start_ns:
        return None, "began_earlier"
    if until < root.routed_ns:
        return None, "executed_before_arrival"
    if until >= known.end_ns:
        return None, "ends_later"
    average = market.average(root.symbol, root.routed_ns, until)
    if average is None:
        average = _average_by_rows(connection, root.symbol, root.routed_ns, until, market)
    return (average, None) if average is not None else (None, "no_arrival")


def _average_by_rows(
    connection: Connection, symbol: str, from_ns: int, until_ns: int, market: DayMarket
) -> Decimal | None:
    """Work the TWAP out snapshot by snapshot, where the symbol's day is not in columns or begins too late."""
    first = market.answers([(symbol, from_ns)])[symbol, from_ns]
    if first is None:
        return None
    bounds = {"symbol": symbol, "from_ns": from_ns, "until_ns": until_ns}
    rows = rows_of(connection, "snapshots_within", bounds, stream=True)
    later = [(r["at_ns"], mid(Snapshot("", symbol, r["bid"], r["ask"], None, None, 0))) for r in rows]
    return twap([(from_ns, mid(first)), *later], from_ns, until_ns)


def _final_row(
    e: Execution,
    average: Decimal | None,
    found: dict[tuple[str, int], Snapshot | None],
    known: Known,
    policy: SlippagePolicy,
) -> Row:
    instrument = policy.instruments.find(e.venue, e.symbol)
    inverse = instrument is not None and instrument.kind is InstrumentKind.INVERSE
    row: Row = [e.execution_id, e.trade_date.isoformat(), e.correlation_id]
    for ahead in HORIZONS.values():
        wanted_ns = e.transact_ns + ahead
        figure = markout(
            e.side,
            e.last_px,
            wanted_ns,
            found.get((e.symbol, wanted_ns)),
            known_until_ns=known.known_until_ns,
            stale_after_ns=policy.stale_after_ns,
            inverse=inverse,
        )
        row += (_number(figure.bps), _number(figure.benchmark), figure.snapshot_id, figure.reason)
    row.append(None if average is None else _number(slippage_bps(e.side, e.last_px, average, inverse=inverse)))
    return row


def _cost_row(worked: Worked, cost: OrderCost, day: date, average: Decimal | None, why: str | None) -> Row:
    root, arrival, closing = worked.root, worked.arrival, worked.closing
    has_close = closing is not None and cost.closing_price is not None
    return [
        root.correlation_id, day.isoformat(), root.venue, root.account, root.symbol, root.side,
        root.currency or next((e.currency for e in worked.executions if e.currency is not None), None),
        cost.state, _number(cost.order_qty), _number(cost.filled_qty), _number(cost.avg_px),
        _number(root.decision_price), _number(cost.arrival_price),
        None if arrival is None else arrival.snapshot_id, _number(cost.closing_price),
        closing.snapshot_id if has_close and closing is not None else None,
        _number(cost.paper), _number(cost.explicit), _number(cost.delay), _number(cost.trading),
        _number(cost.opportunity), _number(cost.total), _number(cost.total_bps),
        Quality.EXACT if cost.reason is None else Quality.BEST_EFFORT, cost.reason,
        None, NO_TAPE, _number(average), why,
    ]  # fmt: skip


def _number(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)
