"""Captured market data played as a day: quotes become snapshots, real trades become fills of our orders.

A file is gzipped JSON lines: local receive time in ns, a space, ``{"stream": …, "data": {…}}`` with Binance's
``bookTicker`` and ``trade`` (spot and USD-M futures). Each of our orders takes the side of the takers and the
next few trades of that side; nothing of the trades' prices and sizes is changed.
"""

from __future__ import annotations

import gzip
import heapq
import itertools
import random
import zlib
from collections import defaultdict
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from simulator.market import SECOND, Restatements
from simulator.orders import Event, Identifiers, Intent, Order, Side, Snapshot, Tape, Trade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulator.config import Config

TRADES_AN_ORDER = (1, 7)
ORDER_SPANS = 3 * SECOND  # an order takes trades for so long at most; we read so far ahead
ROUTED_BEFORE = SECOND // 20
FILES_APART = SECOND


class CaptureError(Exception):
    """A file is not such a capture; the message names file, line and what was expected."""


class _Data(msgspec.Struct):
    s: str
    b: Decimal | None = None
    a: Decimal | None = None
    B: Decimal | None = None
    A: Decimal | None = None
    p: Decimal | None = None
    q: Decimal | None = None
    m: bool = False
    X: str = "MARKET"


class _Line(msgspec.Struct):
    stream: str
    data: _Data


class Captured(msgspec.Struct, frozen=True):
    """One captured event, ns since the first of its file."""

    at: int
    stream: str
    data: _Data


_decode = msgspec.json.Decoder(_Line, strict=False).decode


def read(path: Path) -> Iterator[Captured]:
    """The events of a file in order."""
    number, first = 0, None
    try:
        with gzip.open(path, "rb") as lines:
            for line in lines:
                number += 1
                received, event = _parsed(line)
                first = received if first is None else first
                yield Captured(received - first, event.stream.rpartition("@")[2], event.data)
    except (OSError, EOFError, zlib.error, ValueError, msgspec.DecodeError) as error:
        raise CaptureError(
            f"{path}, line {number or 1}: expected gzipped lines of"
            f' `receive_time_ns {{"stream": "<symbol>@bookTicker|trade", "data": {{…}}}}`: {error}'
        ) from error


def _parsed(line: bytes) -> tuple[int, _Line]:
    received, _, content = line.partition(b" ")
    event = _decode(content)
    data = event.data
    kind = event.stream.rpartition("@")[2]
    needed = {"bookTicker": (data.b, data.a, data.B, data.A), "trade": (data.p, data.q)}.get(kind, ())
    if None in needed:
        raise ValueError(f"a {kind} without its prices and sizes")
    return int(received), event


class _Fill(msgspec.Struct, frozen=True):
    at: int
    px: Decimal
    qty: Decimal


class _Gathering:
    """Trades of one symbol and side that will be one order's fills."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.trades: list[_Fill] = []
        self.decision_price = Decimal(0)


class Replay:
    """The captured day. Same face as ``Market``."""

    def __init__(self, config: Config, identifiers: Identifiers) -> None:
        self._config = config
        self._ids = identifiers
        self._rng = random.Random(f"{config.seed}/capture")
        self._restate = Restatements(config.faults, random.Random(f"{config.seed}/restatements"))
        self._venues = itertools.cycle(config.trading)
        self._orders_open = True
        self._ready: list[tuple[int, int, Callable[[int], Iterator[Event]]]] = []
        self._tie = itertools.count()

    def stop_orders(self) -> None:
        """Stop reading; orders that were made go to their end."""
        self._orders_open = False

    def events(self) -> Iterator[Event]:
        """Everything that happens, in order of time."""
        offset = 0
        for path in self._config.captures:
            last = offset
            for event in self._file(Path(path), offset + ROUTED_BEFORE):
                last = event.at
                yield event
            offset = last + FILES_APART

    def _file(self, path: Path, offset: int) -> Iterator[Event]:
        gathering: dict[tuple[str, Side], _Gathering] = {}
        mids: dict[str, Decimal] = {}
        tapes: defaultdict[str, Tape] = defaultdict(Tape)  # of this file: between two nobody listened
        now = offset
        for captured in read(path):
            if not self._orders_open:
                break
            now, data = offset + captured.at, captured.data
            if captured.stream == "bookTicker":
                self._quote(now, data, mids, tapes[data.s])
            elif captured.stream == "trade" and data.X == "MARKET" and data.p and data.q:
                tapes[data.s].count(data.q, data.q * data.p)
                self._trade(data, _Fill(captured.at, data.p, data.q), gathering, mids)
            for key, gathered in list(gathering.items()):
                if captured.at - gathered.trades[0].at >= ORDER_SPANS or len(gathered.trades) == gathered.size:
                    self._route(offset, *key, gathering.pop(key))
            yield from self._due(now - ORDER_SPANS - ROUTED_BEFORE)
        for key, gathered in gathering.items():
            self._route(offset, *key, gathered)
        while self._ready:
            yield from self._due(self._ready[0][0])

    def _later(self, at: int, happen: Callable[[int], Iterator[Event]]) -> None:
        heapq.heappush(self._ready, (at, next(self._tie), happen))

    def _say(self, at: int, event: Event) -> None:
        self._later(at, lambda _: iter((event,)))

    def _quote(self, now: int, data: _Data, mids: dict[str, Decimal], tape: Tape) -> None:
        assert data.b is not None
        assert data.a is not None
        assert data.B is not None
        assert data.A is not None
        mids[data.s] = (data.b + data.a) / 2
        traded_qty, traded_notional = tape.take()
        snapshot = Snapshot(
            at=now,
            snapshot_id=self._ids.next("S"),
            symbol=data.s,
            bid=data.b,
            ask=data.a,
            bid_size=data.B,
            ask_size=data.A,
            traded_qty=traded_qty,
            traded_notional=traded_notional,
        )
        self._say(now, snapshot)

    def _trade(
        self,
        data: _Data,
        fill: _Fill,
        gathering: dict[tuple[str, Side], _Gathering],
        mids: dict[str, Decimal],
    ) -> None:
        side: Side = "sell" if data.m else "buy"  # m: the buyer was the maker
        gathered = gathering.get((data.s, side))
        if gathered is None:
            gathered = gathering[data.s, side] = _Gathering(self._rng.randint(*TRADES_AN_ORDER))
            gathered.decision_price = mids.get(data.s, fill.px)
        gathered.trades.append(fill)

    def _route(self, offset: int, symbol: str, side: Side, gathered: _Gathering) -> None:
        venue = next(self._venues)
        fills = [(trade.at + offset, trade.px, trade.qty) for trade in gathered.trades]
        prices = [px for _, px, _ in fills]
        at = fills[0][0] - ROUTED_BEFORE
        intent = Intent(
            at=at,
            correlation_id=self._ids.next("C"),
            msg_id=self._ids.next("M"),
            action="new",
            orig_msg_id=None,
            venue=venue.name,
            account=venue.account,
            symbol=symbol,
            side=side,
            order_qty=sum((qty for _, _, qty in fills), Decimal(0)),
            limit_price=max(prices) if side == "buy" else min(prices),
            decision_price=gathered.decision_price,
            currency=self._currency(symbol),
            venue_order_id=self._ids.next(f"{venue.name}-O"),
        )
        order = Order(intent, self._ids)
        self._say(at, intent)
        if venue.kind == "fix":
            self._say(at, order.acknowledge(at))
        for number, (when, px, qty) in enumerate(fills, 1):
            more = number < len(fills)
            self._later(when, partial(self._fill, order=order, qty=qty, px=px, more=more))

    def _fill(self, at: int, *, order: Order, qty: Decimal, px: Decimal, more: bool) -> Iterator[Event]:
        report, trade = order.fill(at, qty, px, "taker", more=more)
        yield report
        restatement = self._restate.after_fill()
        if restatement:
            kind, delay = restatement
            happen = self._bust if kind == "bust" else self._correct
            self._later(at + delay, partial(happen, order=order, trade=trade))

    def _bust(self, at: int, *, order: Order, trade: Trade) -> Iterator[Event]:
        yield order.bust(at, trade)

    def _correct(self, at: int, *, order: Order, trade: Trade) -> Iterator[Event]:
        # the grid of a captured symbol is that of its own decimals
        tick, lot = (Decimal(1).scaleb(int(value.as_tuple().exponent)) for value in (trade.px, trade.qty))
        yield order.correct(at, trade, *self._restate.corrected(order, trade, tick, lot))
        delay = self._restate.after_correct()
        if delay is not None:
            self._later(at + delay, partial(self._correct, order=order, trade=trade))

    def _currency(self, symbol: str) -> str:
        known = {one.symbol: one.currency for one in self._config.symbols}
        return known.get(symbol, "USDT")

    def _due(self, until: int) -> Iterator[Event]:
        while self._ready and self._ready[0][0] <= until:
            at, _, happen = heapq.heappop(self._ready)
            yield from happen(at)
