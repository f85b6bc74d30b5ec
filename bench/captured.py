"""A captured market (Binance's ``bookTicker`` and ``trade``) as what would arrive: snapshots, orders, fills.

Nothing of the prices, sizes and times of quotes and trades is changed. Each order takes the next trades of the
takers' side; the orders take turns in three kinds of instrument, so that every sort of figure is met.
"""

from __future__ import annotations

import gzip
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from ledger.domain.identity import make_fill
from ledger.domain.instruments import Instrument, InstrumentKind, Instruments
from ledger.domain.numbers import EXACT, canonical, exact_ratio
from ledger.domain.records import Action, Captured, OrderIntent, ReportKind, Side, Snapshot
from ledger.domain.slippage import mid
from ledger.domain.times import utc_date

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SYMBOL = "BTCUSDT"
TRADES_AN_ORDER = 5
ROUTED_BEFORE_NS = 50_000_000
MILLIS = 1_000_000
FEE_RATE = Decimal("0.0005")
# venue -> the currency of its fees: in quote, in what an inverse contract settles in, and one that needs a rate
FEES = {"SPOT": "USDT", "COIN": "BTC", "INDEX": "BTC"}


def instruments() -> Instruments:
    """Give the reference data of the three venues; the captured symbol itself is the rate of BTC."""
    return Instruments(
        [
            Instrument("*", SYMBOL, InstrumentKind.SPOT, "BTC", "USDT", "USDT"),
            Instrument("COIN", SYMBOL, InstrumentKind.INVERSE, "BTC", "USDT", "BTC", Decimal(100)),
            Instrument("INDEX", SYMBOL, InstrumentKind.LINEAR, "IDX", "USDT", "USDT", multiplier=Decimal(50)),
        ]
    )


class Arrived(msgspec.Struct, frozen=True):
    """A fact and when it came, in nanoseconds of the exchange's clock."""

    at_ns: int
    fact: OrderIntent | Captured | Snapshot


class _Data(msgspec.Struct):
    s: str
    u: int = 0
    t: int = 0
    T: int = 0
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


_decode = msgspec.json.Decoder(_Line, strict=False).decode


def read_market(path: Path) -> list[Arrived]:
    """Read a capture: all facts in order of arrival.

    The capturing machine's clock was apart from the exchange's. The message that took least is taken to have
    taken no time, so arrivals are on the exchange's clock and at most some milliseconds too early.
    """
    with gzip.open(path, "rb") as lines:
        read = [_parse(line) for line in lines]
    fastest = min((received - data.T * MILLIS for received, data in read if data.T), default=0)
    arrived: list[Arrived] = []
    orders = _Orders()
    for received, data in read:
        at_ns = received - fastest
        if data.b is not None:
            arrived.append(Arrived(at_ns, _snapshot(data, at_ns)))
            orders.quoted(arrived[-1].fact)
        elif data.p and data.q and data.X == "MARKET":
            arrived += orders.traded(data, at_ns)
    arrived.sort(key=lambda one: one.at_ns)
    return arrived


def _parse(line: bytes) -> tuple[int, _Data]:
    received, _, content = line.partition(b" ")
    return int(received), _decode(content).data


def _snapshot(data: _Data, at_ns: int) -> Snapshot:
    assert data.b is not None
    assert data.a is not None
    sizes = [None if size is None else canonical(size) for size in (data.B, data.A)]
    when = data.T * MILLIS or at_ns
    # update ids grow, and of two snapshots of one time the greater id is the later one
    return Snapshot(f"{data.u:020d}", SYMBOL, canonical(data.b), canonical(data.a), sizes[0], sizes[1], when)


class _Orders:
    """Makes the orders that the trades are fills of: one a side at a time."""

    def __init__(self) -> None:
        self._open: dict[Side, tuple[OrderIntent, int]] = {}
        self._made = 0
        self._mid: Decimal | None = None

    def quoted(self, snapshot: object) -> None:
        """Note the price at which the next order is decided."""
        if isinstance(snapshot, Snapshot):
            self._mid = mid(snapshot)

    def traded(self, data: _Data, at_ns: int) -> Iterator[Arrived]:
        """Make a fill of a trade, and the order before it where none is open."""
        side = Side.SELL if data.m else Side.BUY  # m: the buyer was the maker
        intent, filled = self._open.get(side, (None, TRADES_AN_ORDER))
        if intent is None or filled == TRADES_AN_ORDER:
            intent, filled = self._route(side, data.T * MILLIS), 0
            yield Arrived(at_ns - ROUTED_BEFORE_NS, intent)
        self._open[side] = intent, filled + 1
        yield Arrived(at_ns, _fill(data, intent, at_ns))

    def _route(self, side: Side, traded_ns: int) -> OrderIntent:
        self._made += 1
        venue = tuple(FEES)[self._made % len(FEES)]
        return OrderIntent(
            f"C{self._made}", f"M{self._made}", Action.NEW, None, venue, "ACC", SYMBOL, side, Decimal(10**9), None,
            self._mid, None, traded_ns - ROUTED_BEFORE_NS, None,
        )  # fmt: skip


def _fill(data: _Data, intent: OrderIntent, at_ns: int) -> Captured:
    assert data.p is not None
    assert data.q is not None
    price, qty = canonical(data.p), canonical(data.q)
    fee = EXACT.multiply(EXACT.multiply(qty, price), FEE_RATE)
    if FEES[intent.venue] == "BTC":
        fee = exact_ratio(fee, price)
    report = make_fill(
        venue=intent.venue, account="ACC", symbol=SYMBOL, trade_date=utc_date(data.T * MILLIS),
        exec_id=str(data.t), kind=ReportKind.FILL, cl_ord_id=intent.msg_id, side=intent.side, last_qty=qty,
        last_px=price, fee=canonical(fee), fee_currency=FEES[intent.venue], transact_ns=data.T * MILLIS,
    )  # fmt: skip
    return Captured(report, f"{intent.venue}.capture", b"", at_ns)
