"""Watches the orders in flight for fills that are late, and asks the ledger to decide.

It learns from what has landed how long a first fill takes at each venue, by order type, and looks four times a
second at the orders whose time is up. An order that may be late goes into the inbox as a fact, behind all that was
received before it: the decision is taken in the landing transaction, on the order as it then stands, and what is
decided here is only whom to ask about. At the start the ledger says which orders are in flight, which delays are
open and how long past orders took; nothing counts as waiting from before that.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from ledger import clocks
from ledger.db.delays import first_fills, open_delays, open_orders
from ledger.db.reading import Reader
from ledger.domain.delay_events import STATUS_REQUESTED, status_request, status_requested
from ledger.domain.delay_rows import open_delay
from ledger.domain.delays import Late, OrderType, is_marketable, terms_of
from ledger.domain.records import Action, BenchmarkKind, Side
from ledger.domain.times import NANOS
from ledger.faultpoints import at
from streaming.arrivals import Arrival, ArrivalKind
from streaming.delay_lines import Learned, Line, Waiting
from streaming.watching import LandedWatch

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping

    import asyncpg

    from ledger.domain.decision import Decision
    from ledger.domain.delay_events import StatusRequest
    from ledger.domain.delay_rows import DelayRows
    from ledger.domain.delays import DelayPolicy, OpenDelay
    from ledger.domain.order import OrderState
    from ledger.domain.records import Snapshot
    from streaming.arrivals import Inbox
    from streaming.metrics import Metrics

CLOCK = "clock"
# an order that was not late after all, or whose fact went with a session, is asked about again
_AGAIN_NS = 5 * NANOS
_OPEN_SECONDS, _OPEN_LIMIT = 86_400.0, 20_000
_ORDERS_AT_ONCE = 250
_LEARN_ORDERS = 5_000

log = structlog.get_logger()


class DelayWatch(LandedWatch):
    """Watches the venues of ``policies`` while this process holds the lease; ``feeds`` names each venue's feed.

    ``ask`` is called for an order that is found late, once that has landed, and at the start for those that are.
    """

    look_seconds = 0.25
    what = "orders in flight"

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection[Any]]],
        inbox: Inbox,
        metrics: Metrics,
        policies: Mapping[str, DelayPolicy],
        feeds: Mapping[str, str],
        *,
        may_decide: asyncio.Event,
        ask: Callable[[StatusRequest], object],
    ) -> None:
        super().__init__(connect, may_decide)
        self._inbox = inbox
        self._metrics = metrics
        self._policies = policies
        self._feeds = feeds
        self._ask_venue = ask
        self._listening_ns = 0
        self._learned = Learned()
        self._waiting: dict[str, Waiting] = {}
        self._late: dict[str, OpenDelay] = {}
        self._snapshots: dict[str, Snapshot] = {}
        self._lines: dict[tuple[str, OrderType], Line] = defaultdict(Line)

    def offer(self, decision: Decision) -> None:
        """Say what a landed decision begins and ends, also while this does not watch; look at the rest later."""
        super().offer(decision)
        if decision.delays is not None:
            self._metrics.delays.count(decision.delays)
            _tell(decision.delays)

    def _is_behind(self) -> bool:
        return self._inbox.is_behind()

    async def _begin(self, connection: asyncpg.Connection[Any]) -> bool:
        """Read what stands, and ask anew for the orders that are late: a crash may have swallowed the question."""
        self._waiting.clear()
        self._snapshots.clear()
        self._lines.clear()
        self._learned = Learned()
        now_ns = clocks.time_ns()
        after_ns = now_ns - int(_OPEN_SECONDS) * NANOS
        for venue, kind, delay_ns in await first_fills(connection, after_ns, _LEARN_ORDERS):
            self._learned.add(venue, kind, delay_ns)
        self._late = await open_delays(connection)
        reader = Reader(connection)
        names = await open_orders(connection, _OPEN_SECONDS, _OPEN_LIMIT)
        names += sorted(self._late.keys() - set(names))
        self._listening_ns = clocks.time_ns()
        for start in range(0, len(names), _ORDERS_AT_ONCE):
            if self._is_behind():  # in tens of thousands of orders the landing would have to be waited for, too
                return False
            for order in await reader.orders(names[start : start + _ORDERS_AT_ONCE]):
                self._note(order.correlation_id, order)
                delay = self._late.get(order.correlation_id)
                if delay is not None and order.intents:
                    self._ask_venue(status_request(delay.delay_id, order))
        symbols = sorted({waiting.terms.symbol for waiting in self._waiting.values()})
        self._snapshots = {s.symbol: s for s in await reader.last_snapshots(symbols, now_ns)}
        self._measure()
        return True

    async def _look(self) -> None:
        """Ask about the orders whose time is up."""
        now_ns = clocks.time_ns()
        self._measure()
        if self._inbox.is_behind():  # the truth may be in it
            return
        found = [late for place in list(self._lines) for late in self._ask(*place, now_ns)]
        if found:
            at("delays.found")
            await self._inbox.put([late_arrival(late) for late in found])

    def _ask(self, venue: str, kind: OrderType, now_ns: int) -> list[Late]:
        """Give the orders of a line that may be late: those whose time is up, and that rest nowhere."""
        expected = self._learned.expected(venue, kind, self._policies[venue])
        line, before_ns = self._lines[venue, kind], now_ns - expected.wait_ns
        if self._listening_ns >= before_ns:
            return []
        feed, found = self._metrics.feed_states.get(self._feeds[venue], "down"), []
        for name, waiting in line.due(before_ns, now_ns).items():
            line.put_back(name, waiting, now_ns + max(expected.wait_ns, _AGAIN_NS))
            symbol = waiting.terms.symbol
            if is_marketable(waiting.terms, self._snapshots.get(symbol)):
                found.append(Late(name, venue, symbol, now_ns, expected, self._listening_ns, feed))
        return found

    def _measure(self) -> None:
        by_venue: dict[str, list[OpenDelay]] = {venue: [] for venue in self._policies}
        for delay in self._late.values():
            by_venue.setdefault(delay.venue, []).append(delay)
        now_ns = clocks.time_ns()
        for venue, delays in by_venue.items():
            self._metrics.delays.show(venue, delays, now_ns)

    def _take(self, decision: Decision) -> None:
        for snapshot in decision.snapshots:
            known = self._snapshots.get(snapshot.symbol)
            if known is None or known.at_ns <= snapshot.at_ns:
                self._snapshots[snapshot.symbol] = snapshot
        if decision.fills:
            self._learn(decision)
        ended: dict[str, int] = {}
        if decision.delays is not None:
            if decision.delays.delays_ended:
                at("delays.ended")
            ended = self._take_delays(decision.delays)
            for event in decision.events:
                if event.event_type == STATUS_REQUESTED:
                    at("delays.landed")
                    self._ask_venue(status_requested(event))
        for name, order in decision.orders.items():
            self._note(name, order, ended.get(name, 0))

    def _learn(self, decision: Decision) -> None:
        """Take up the first fills of the orders that were in flight, or were routed in the same batch."""
        new = {i.correlation_id for i in decision.intents if i.action is Action.NEW}
        received: dict[str, int] | None = None
        learned: set[str] = set()
        for execution in decision.executions:
            name = execution.correlation_id
            waiting = self._waiting.get(name)
            if name in learned or not (name in new if waiting is None else not waiting.terms.cum_qty):
                continue
            learned.add(name)
            if received is None:
                received = {c.report.report_id: c.received_ns for c in decision.fills}
            order = decision.orders.get(name)
            root = order.root if order is not None else None
            at_ns = received.get(execution.execution_id)
            if order is None or root is None or at_ns is None or at_ns < root.routed_ns:
                continue
            if root.limit_price is None:
                self._learned.add(root.venue, OrderType.MARKET, at_ns - root.routed_ns)
            elif _was_marketable(order, execution.execution_id):
                self._learned.add(root.venue, OrderType.LIMIT, at_ns - root.routed_ns)

    def _take_delays(self, rows: DelayRows) -> dict[str, int]:
        """Take up what began and ended; give when the ended ones did, by correlation id."""
        for ended in rows.delays_ended:
            self._late.pop(ended.correlation_id, None)
        hedges = {hedge.delay_id: hedge for hedge in rows.hedges}
        for row in rows.delays:
            self._late[row.correlation_id] = open_delay(row, hedges.get(row.delay_id))
            self._remove(row.correlation_id)
        return {ended.correlation_id: ended.ended_ns for ended in rows.delays_ended}

    def _note(self, name: str, order: OrderState, since_ns: int = 0) -> None:
        """Keep an order while something of it may be late; it waits since ``since_ns`` at the earliest."""
        terms = terms_of(order) if name not in self._late else None
        if terms is None or terms.venue not in self._policies:
            self._remove(name)
            return
        # a time that lies ahead of ours, an intent's or a venue's, must not hold up all that come after it
        since_ns = min(max(since_ns, terms.since_ns), clocks.time_ns())
        known = self._waiting.get(name)
        if known is not None and known.since_ns >= since_ns and known.terms.order_type is terms.order_type:
            known.terms = terms
            return
        self._remove(name)
        waiting = self._waiting[name] = Waiting(terms, since_ns)
        self._lines[terms.venue, terms.order_type].fresh[name] = waiting

    def _remove(self, name: str) -> None:
        known = self._waiting.pop(name, None)
        if known is not None:
            self._lines[known.terms.venue, known.terms.order_type].remove(name)


def _tell(rows: DelayRows) -> None:
    """Write one line of the log for each change."""
    for ended in rows.delays_ended:
        log.info(
            "fill delay ended",
            order=ended.correlation_id,
            what=ended.outcome.value,
            filled=str(ended.filled_qty),
        )
    for row in rows.delays:
        log.warning(
            "a fill is late",
            order=row.correlation_id,
            venue=row.venue,
            expected_seconds=row.expected_ns / NANOS,
            waited_seconds=(row.began_ns - row.since_ns) / NANOS,
            feed=row.feed,
            to_do="ask the venue what has become of the order; look at its feed",
        )


def _was_marketable(order: OrderState, execution_id: str) -> bool:
    """Whether a limit order's limit was at or beyond the mid when it arrived: the touch of then is not kept."""
    root = order.root
    if root is None or root.limit_price is None:
        return False
    for metric in order.metrics.get(execution_id, ()):
        if metric.kind is BenchmarkKind.ARRIVAL_MID and metric.benchmark is not None:
            beyond = root.limit_price >= metric.benchmark
            return beyond if root.side is Side.BUY else root.limit_price <= metric.benchmark
    return False


def late_arrival(late: Late) -> Arrival:
    """Give the arrival of an order that may be late."""
    return Arrival(CLOCK, None, ArrivalKind.CONTROL, msgspec.json.encode(late), clocks.time_ns())
