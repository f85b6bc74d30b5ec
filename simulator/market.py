"""A believable market, generated: quotes, orders and what becomes of them. Seeded and without a clock.

docs/simulator.md has the price process and the life of an order. Prices are whole ticks and quantities whole
lots until they are said, so everything that is said lies on the grid exactly.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque
from decimal import Decimal
from typing import TYPE_CHECKING

from simulator.orders import Event, Identifiers, Intent, Liquidity, Order, Side, Snapshot, Tape, Trade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulator.config import Config, FaultRates, SymbolConfig, VenueConfig

SECOND = 1_000_000_000
SECONDS_A_YEAR = 365 * 86_400
SPREAD_REVERSION = 0.8  # a second: half of a disturbance is gone after 0.9 s
SPREAD_NOISE = 1.5  # ticks per square root of a second
LIMIT_BAND = 0.004  # of the mid: wide enough that the walk rarely leaves it within an order's life
PARTS_AT_MOST = 12
MAKER_SHARE = 0.4
QUANTITY_SHARE = 0.5  # of corrects; the others change the price
CANCEL_SHARE = 0.05
REPLACE_SHARE = 0.05
TRADES_OF_OTHERS = 30.0  # a second and symbol: Binance's spot BTCUSDT, captured 2024-08-09, has 33
SIZE_OF_OTHERS = 0.1  # of the typical order


class Book:
    """The touch of one symbol: mid as a geometric random walk, spread mean-reverting, both in ticks."""

    def __init__(self, config: SymbolConfig) -> None:
        self.config = config
        self.tick = Decimal(config.tick)
        self.lot = Decimal(config.lot)
        self.mid = float(Decimal(config.price) / self.tick)
        self.spread = config.spread_ticks
        self.bid = self.ask = 0
        self.tape = Tape()
        self._touch()

    def step(self, rng: random.Random, seconds: float) -> None:
        """Move on by a time."""
        sigma = self.config.volatility / math.sqrt(SECONDS_A_YEAR)
        self.mid *= math.exp(sigma * math.sqrt(seconds) * rng.gauss(0, 1))
        pull = SPREAD_REVERSION * (self.config.spread_ticks - self.spread) * seconds
        self.spread = max(1.0, self.spread + pull + SPREAD_NOISE * math.sqrt(seconds) * rng.gauss(0, 1))
        self._touch()

    def _touch(self) -> None:
        self.bid = max(1, math.floor(self.mid - self.spread / 2))
        self.ask = max(self.bid + 1, math.ceil(self.mid + self.spread / 2))

    def trade(self, rng: random.Random, seconds: float) -> None:
        """Let the others trade at the touch for a time."""
        lots = at_touch = 0
        gone = rng.expovariate(TRADES_OF_OTHERS)
        while gone < seconds:
            size = self.lots(rng, SIZE_OF_OTHERS)
            lots += size
            at_touch += size * (self.ask if rng.random() < 0.5 else self.bid)  # noqa: PLR2004  either side
            gone += rng.expovariate(TRADES_OF_OTHERS)
        self.tape.count(lots * self.lot, at_touch * self.tick * self.lot)

    def mid_price(self) -> Decimal:
        """The mid, exact (it may lie between two ticks)."""
        return (self.bid + self.ask) * self.tick / 2

    def lots(self, rng: random.Random, scale: float = 1.0) -> int:
        """A log-normal quantity around the typical one, in lots."""
        typical = float(Decimal(self.config.typical_qty) / self.lot)
        return max(1, round(typical * scale * rng.lognormvariate(0, 0.8)))


class Plan:
    """What is still to happen to an order."""

    def __init__(self, order: Order, book: Book, parts: list[int]) -> None:
        self.order = order
        self.book = book
        self.parts = deque(parts)
        self.filled_lots = 0
        self.cancel_after = self.replace_after = -1
        self.fills = 0


class Restatements:
    """When a venue takes a trade back or restates it. Shared by the generated and the captured market."""

    def __init__(self, rates: FaultRates, rng: random.Random) -> None:
        self._rates = rates
        self._rng = rng

    def after_fill(self) -> tuple[str, int] | None:
        """``bust`` or ``correct`` and the delay until then, or neither."""
        draw, delay = self._rng.random(), round(self._rng.uniform(0.4, 4.0) * SECOND)
        if draw < self._rates.bust:
            return "bust", delay
        return ("correct", delay) if draw < self._rates.bust + self._rates.correct else None

    def after_correct(self) -> int | None:
        """The delay until the correction itself is corrected, if it is."""
        draw, delay = self._rng.random(), round(self._rng.uniform(0.4, 3.0) * SECOND)
        return delay if draw < self._rates.correct_again else None

    def corrected(self, order: Order, trade: Trade, tick: Decimal, lot: Decimal) -> tuple[Decimal, Decimal]:
        """New quantity and price: never more and never beyond the limit, so any arrival order stays legal."""
        lots = int(trade.qty / lot)
        if lots > 1 and self._rng.random() < QUANTITY_SHARE:
            return lot * self._rng.randint(max(1, lots // 2), lots - 1), trade.px
        better = -tick if order.intent.side == "buy" else tick
        return trade.qty, max(tick, trade.px + better * self._rng.randint(1, 5))


class Market:
    """The generated day. ``events`` is in order of time; ``stop_orders`` lets the open orders play out."""

    def __init__(self, config: Config, identifiers: Identifiers) -> None:
        self._config = config
        self._ids = identifiers
        self._rng = random.Random(f"{config.seed}/market")
        self._restate = Restatements(config.faults, random.Random(f"{config.seed}/restatements"))
        self._others = random.Random(f"{config.seed}/others")
        self._books = [Book(symbol) for symbol in config.symbols]
        self._venues = itertools.cycle(config.trading)
        self.orders_per_second = config.orders_per_second
        """May be changed on the way: from the next order on."""
        self._agenda: list[tuple[int, int, Callable[[int], Iterator[Event]]]] = []
        self._tie = itertools.count()
        self._orders_open = True
        self._open_business = 0  # agenda entries that are neither quotes nor new orders

    def stop_orders(self) -> None:
        """No order is made from now on; what was routed goes to its end."""
        self._orders_open = False

    def events(self) -> Iterator[Event]:
        """Everything that happens, until stopped and played out."""
        for book in self._books:
            self._later(0, lambda at, book=book: self._quote(at, book, 0))  # type: ignore[misc]
        self._later(SECOND // 2, self._arrive)
        while self._agenda:
            at, _, happen = heapq.heappop(self._agenda)
            yield from happen(at)

    def _later(self, at: int, happen: Callable[[int], Iterator[Event]]) -> None:
        heapq.heappush(self._agenda, (at, next(self._tie), happen))

    def _schedule(self, at: int, happen: Callable[[int], Iterator[Event]]) -> None:
        def run(now: int) -> Iterator[Event]:
            self._open_business -= 1
            yield from happen(now)

        self._open_business += 1
        self._later(at, run)

    def _wait(self, rate: float) -> int:
        return max(1, round(self._rng.expovariate(rate) * SECOND))

    def _quote(self, at: int, book: Book, since: int) -> Iterator[Event]:
        if not self._orders_open and not self._open_business:
            return
        if since:
            book.trade(self._others, (at - since) / SECOND)
            book.step(self._rng, (at - since) / SECOND)
        traded_qty, traded_notional = book.tape.take()
        yield Snapshot(
            at=at,
            snapshot_id=self._ids.next("S"),
            symbol=book.config.symbol,
            bid=book.bid * book.tick,
            ask=book.ask * book.tick,
            bid_size=book.lots(self._rng, 4.0) * book.lot,
            ask_size=book.lots(self._rng, 4.0) * book.lot,
            traded_qty=traded_qty,
            traded_notional=traded_notional,
        )
        again = at + self._wait(self._config.snapshots_per_second)
        self._later(again, lambda now: self._quote(now, book, at))

    def _arrive(self, at: int) -> Iterator[Event]:
        if not self._orders_open:
            return
        self._later(at + self._wait(self.orders_per_second), self._arrive)
        book, venue = self._rng.choice(self._books), next(self._venues)
        side: Side = self._rng.choice(("buy", "sell"))
        parts = self._parts(book.lots(self._rng))
        band = max(10, round(book.mid * LIMIT_BAND))
        limit = book.ask + band if side == "buy" else max(1, book.bid - band)
        intent = Intent(
            at=at,
            correlation_id=self._ids.next("C"),
            msg_id=self._ids.next("M"),
            action="new",
            orig_msg_id=None,
            venue=venue.name,
            account=venue.account,
            symbol=book.config.symbol,
            side=side,
            order_qty=sum(parts) * book.lot,
            limit_price=limit * book.tick,
            decision_price=book.mid_price(),
            currency=book.config.currency,
            venue_order_id=self._ids.next(f"{venue.name}-O"),
        )
        order = Order(intent, self._ids)
        plan = Plan(order, book, parts)
        fate = self._rng.random()
        if len(parts) > 1 and fate < CANCEL_SHARE:
            plan.cancel_after = self._rng.randint(1, len(parts) - 1)
        elif len(parts) > 1 and fate < CANCEL_SHARE + REPLACE_SHARE:
            plan.replace_after = self._rng.randint(1, len(parts) - 1)
        yield intent
        if venue.kind == "fix":
            yield order.acknowledge(at)
        self._schedule(at + self._latency(venue), lambda now: self._fill(now, plan, venue))

    def _parts(self, lots: int) -> list[int]:
        # a geometric number of fills, cut at random places
        count = 1
        more = 1 - 1 / self._config.fills_per_order
        while count < min(PARTS_AT_MOST, lots) and self._rng.random() < more:
            count += 1
        cuts = sorted(self._rng.sample(range(1, lots), count - 1)) if count > 1 else []
        return [high - low for low, high in itertools.pairwise([0, *cuts, lots])]

    def _latency(self, venue: VenueConfig) -> int:
        return max(1, round(venue.latency_ms * 1e6 * self._rng.lognormvariate(0, 0.5)))

    def _price(self, plan: Plan) -> tuple[Decimal, Liquidity]:
        book, buying = plan.book, plan.order.intent.side == "buy"
        liquidity: Liquidity = "maker" if self._rng.random() < MAKER_SHARE else "taker"
        if liquidity == "maker":
            ticks = book.bid if buying else book.ask
        else:  # the touch, sometimes walked through
            through = int(self._rng.expovariate(1.0))
            ticks = book.ask + through if buying else book.bid - through
        price, limit = max(1, ticks) * book.tick, plan.order.intent.limit_price
        return (min(price, limit) if buying else max(price, limit)), liquidity

    def _fill(self, at: int, plan: Plan, venue: VenueConfig) -> Iterator[Event]:
        order, lot = plan.order, plan.book.lot
        if plan.fills == plan.cancel_after:
            report = order.cancel(at)
            if venue.kind == "fix":
                yield report
            return
        if plan.fills == plan.replace_after:
            plan.replace_after = -1
            yield from self._replace(at, plan, venue)
            self._schedule(at + self._latency(venue), lambda now: self._fill(now, plan, venue))
            return
        lots = plan.parts.popleft()
        price, liquidity = self._price(plan)
        more = bool(plan.parts) and plan.fills + 1 != plan.cancel_after
        report, trade = order.fill(at, lots * lot, price, liquidity, more=more)
        plan.fills += 1
        plan.filled_lots += lots
        plan.book.tape.count(trade.qty, trade.qty * trade.px)
        if plan.parts:
            gap = self._wait(1 / self._config.fill_gap_seconds)
            self._schedule(at + gap, lambda now: self._fill(now, plan, venue))
        yield report
        restatement = self._restate.after_fill()
        if restatement:
            kind, delay = restatement
            happen = self._bust if kind == "bust" else self._correct
            self._schedule(at + delay, lambda now: happen(now, plan, trade))

    def _replace(self, at: int, plan: Plan, venue: VenueConfig) -> Iterator[Event]:
        # the rest grows or shrinks; what was ever filled stays covered even where it was busted since
        rest = max(len(plan.parts), round(sum(plan.parts) * self._rng.uniform(0.5, 1.5)))
        plan.parts = deque(self._parts(rest))
        before = plan.order.intent
        further = plan.book.tick * self._rng.randint(1, 20)
        limit = before.limit_price + (further if before.side == "buy" else -further)
        quantity = (plan.filled_lots + rest) * plan.book.lot
        intent, report = plan.order.replace(at, quantity, max(plan.book.tick, limit))
        yield intent
        if venue.kind == "fix":
            yield report

    def _bust(self, at: int, plan: Plan, trade: Trade) -> Iterator[Event]:
        yield plan.order.bust(at, trade)

    def _correct(self, at: int, plan: Plan, trade: Trade) -> Iterator[Event]:
        qty, px = self._restate.corrected(plan.order, trade, plan.book.tick, plan.book.lot)
        yield plan.order.correct(at, trade, qty, px)
        delay = self._restate.after_correct()
        if delay is not None:
            self._schedule(at + delay, lambda now: self._correct(now, plan, trade))
