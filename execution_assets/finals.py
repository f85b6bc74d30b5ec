"""The final figures of a share of a day: markouts of its executions, shortfalls of its orders.

What it reads is the day's executions as derived, the orders they belong to, and the market up to five minutes
after the day. Orders that began on the day and never traded on it have their opportunity cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from execution_assets.day_orders import Known, Order, known_market, orders_of_share
from execution_assets.facts import rows_of
from execution_assets.market import DayMarket
from execution_assets.marks import Averages, mark
from execution_assets.sheets import Changes, Compared, Row, Sheet
from ledger.domain.breaks import largest_qty
from ledger.domain.digest import plain
from ledger.domain.instruments import InstrumentKind
from ledger.domain.interval import interval_vwap, twap
from ledger.domain.order import root_intent
from ledger.domain.order_costs import OrderCost, Worked, order_cost
from ledger.domain.records import OrderIntent, Quality, Snapshot
from ledger.domain.slippage import mid, slippage_bps
from ledger.domain.times import utc_date

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from decimal import Decimal
    from pathlib import Path

    from sqlalchemy import Connection

    from ledger.domain.decide import Policy
    from ledger.domain.instruments import Instruments
    from ledger.domain.slippage import SlippagePolicy

FINALS, COSTS = Sheet("slippage_finals", "execution_id"), Sheet("order_costs", "correlation_id")
NO_TRADES = "no_market_trades"  # the market's snapshots tell no volume between the interval's ends


class Interval(msgspec.Struct, frozen=True):
    """An order's averages from its arrival to its last execution of the day, or why there are none."""

    averages: Averages = Averages(None, None)
    twap_reason: str | None = None
    vwap_reason: str | None = None


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
    for orders in orders_of_share(connection, known, share, shares, policy.slippage.instruments):
        fills = [part for order in orders.values() for part in order.fills]
        intervals, rows = _costs(orders, market, known, policy.slippage, connection)
        costs.put(rows)
        if fills:
            averages = {name: interval.averages for name, interval in intervals.items()}
            finals.put_columns(mark(fills, averages, market, known, policy.slippage))
        tell(sum(part.number for part in fills))
    finals.close()
    costs.close()
    return FinalsResult(
        finals.changes, costs.changes, finals.entries, costs.entries, finals.matched, costs.matched
    )


def _costs(
    orders: dict[str, Order], market: DayMarket, known: Known, policy: SlippagePolicy, connection: Connection
) -> tuple[dict[str, Interval], list[Row]]:
    roots = {name: root_intent(order.intents) for name, order in orders.items()}
    closings = {name: _closing(order, known) for name, order in orders.items()}
    asked = {(root.symbol, root.routed_ns) for root in roots.values()}
    asked |= {(roots[name].symbol, closed_ns) for name, (closed_ns, _) in closings.items()}
    found = market.answers(asked)
    intervals: dict[str, Interval] = {}
    rows: list[Row] = []
    for name, order in orders.items():
        root, (closing_ns, is_closed) = roots[name], closings[name]
        interval = intervals[name] = _interval(order, root, market, known, connection)
        quantity = order.standing.order_qty
        worked = Worked(
            root,
            quantity if quantity is not None else largest_qty(order.intents),
            order.filled,
            is_closed,
            found.get((root.symbol, root.routed_ns)),
            found.get((root.symbol, closing_ns)),
            closing_ns,
        )
        cost = order_cost(worked, policy.instruments, policy.stale_after_ns)
        rows.append(_cost_row(worked, cost, root.currency or order.currency, known, interval, policy.instruments))
    return intervals, rows


def _closing(order: Order, known: Known) -> tuple[int, bool]:
    """Say when what never traded is valued, and whether the order had ended by the end of the day."""
    standing = order.standing
    if standing.closed is not None and not standing.leaves:
        return standing.closed_ns, True
    return min(known.end_ns - 1, known.known_until_ns), False


def _interval(
    order: Order, root: OrderIntent, market: DayMarket, known: Known, connection: Connection
) -> Interval:
    """Average the market from the order's arrival to its last execution of the day."""
    why, until = None, order.last_ns
    if until is None:
        why = "not_executed"
    elif root.routed_ns < known.start_ns:
        why = "began_earlier"
    elif until < root.routed_ns:
        why = "executed_before_arrival"
    elif until >= known.end_ns:
        why = "ends_later"
    if why is not None or until is None:
        return Interval(twap_reason=why, vwap_reason=why)
    span = root.symbol, root.routed_ns, until
    averages = Averages(market.average(*span), market.traded_average(*span))
    if averages.twap is None:
        averages = _averages_by_rows(connection, *span, market)
    return Interval(
        averages,
        "no_arrival" if averages.twap is None else None,
        NO_TRADES if averages.vwap is None else None,
    )


def _averages_by_rows(
    connection: Connection, symbol: str, from_ns: int, until_ns: int, market: DayMarket
) -> Averages:
    """Average snapshot by snapshot, where the symbol's day is not in columns or begins too late."""
    bounds = {
        "symbol": symbol, "from_ns": from_ns, "until_ns": until_ns, "first": utc_date(from_ns),
        "last": utc_date(until_ns),
    }  # fmt: skip
    later = [
        Snapshot("", symbol, r["bid"], r["ask"], None, None, r["at_ns"], r["traded_qty"], r["traded_notional"])
        for r in rows_of(connection, "snapshots_within", bounds, stream=True)
    ]
    first = market.answers([(symbol, from_ns)])[symbol, from_ns]
    standing = [] if first is None else [(from_ns, mid(first)), *((s.at_ns, mid(s)) for s in later)]
    return Averages(twap(standing, from_ns, until_ns), interval_vwap(later, from_ns, until_ns))


def _cost_row(
    worked: Worked,
    cost: OrderCost,
    currency: str | None,
    known: Known,
    interval: Interval,
    instruments: Instruments,
) -> Row:
    root, arrival, closing = worked.root, worked.arrival, worked.closing
    has_close = closing is not None and cost.closing_price is not None
    average = interval.averages
    instrument = instruments.find(root.venue, root.symbol)
    inverse = instrument is not None and instrument.kind is InstrumentKind.INVERSE

    def against(benchmark: Decimal | None) -> str | None:
        if benchmark is None or cost.avg_px is None:
            return None
        return plain(slippage_bps(root.side, cost.avg_px, benchmark, inverse=inverse))

    return [
        root.correlation_id, known.day.isoformat(), root.venue, root.account, root.symbol, root.side, currency,
        cost.state, _number(cost.order_qty), _number(cost.filled_qty), _number(cost.avg_px),
        _number(root.decision_price), _number(cost.arrival_price),
        None if arrival is None else arrival.snapshot_id, _number(cost.closing_price),
        closing.snapshot_id if has_close and closing is not None else None,
        _number(cost.paper), _number(cost.explicit), _number(cost.delay), _number(cost.trading),
        _number(cost.opportunity), _number(cost.total), _number(cost.total_bps),
        Quality.EXACT if cost.reason is None else Quality.BEST_EFFORT, cost.reason,
        _number(average.vwap), interval.vwap_reason, _number(average.twap), interval.twap_reason,
        against(average.vwap), against(average.twap),
    ]  # fmt: skip


def _number(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)
