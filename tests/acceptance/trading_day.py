"""A trading day with what a day has: three venues, a market with a hole, late and doubtful reports, breaks.

It is the same day every time: pictures of it can be compared.
"""

from __future__ import annotations

import random
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import asyncpg
import msgspec
import psycopg

from execution_assets.daily import derive_breaks, derive_quality
from execution_assets.derivation import derive_day
from execution_assets.final_day import derive_finals
from execution_assets.resources import LedgerResource
from ledger.db import rows
from ledger.db.landing import Landing
from ledger.db.rows import SNAPSHOT_COLUMNS
from ledger.domain.book import Book
from ledger.domain.decide import Policy, decide
from ledger.domain.identity import make_fill
from ledger.domain.records import Action, Captured, Liquidity, OrderIntent, ReportKind, Side, Snapshot
from ledger.domain.snapshots import SnapshotBook
from ledger.domain.times import NANOS, day_start

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = date(2025, 6, 18)
SLO_US = 150_000
START = day_start(DAY.year, DAY.month, DAY.day)
OPEN, CLOSE = 7 * 3600, 17 * 3600  # seconds of the day
SHORT = {77, 201, 310}  # orders of which the venue counts a fill that never came
HOLE = (12 * 3600, 12 * 3600 + 1500)  # in which nobody gave prices of SOLUSDT
MARKETS = {  # venue, currency, price, spread in bps, how dear its fills are in bps
    "BTCUSDT": ("ALPHA", "USDT", 105_000, 1.0, 0.8),
    "ETHUSDT": ("ALPHA", "USDT", 2_520, 1.6, 1.1),
    "SOLUSDT": ("ALPHA", "USDT", 146, 3.0, 2.2),
    "BTC-USD": ("BRAVO", "USD", 105_040, 1.4, 0.3),
    "ETH-USD": ("BRAVO", "USD", 2_521, 2.0, 0.6),
    "BTC-EUR": ("CHARLIE", "EUR", 91_300, 5.0, 3.1),
}
_LANDED = """
UPDATE execution.fills f SET landed_at = to_timestamp(received_ns / 1e9) + interval '1 millisecond' * (
    (CASE venue WHEN 'CHARLIE' THEN 30 WHEN 'BRAVO' THEN 6 ELSE 4 END)
    * exp(2.2 * ('x' || substr(md5(exec_id), 1, 6))::bit(24)::int / 16777216.0))
"""
_OPENED = """
UPDATE execution.breaks SET opened_at = to_timestamp(%(open)s) + interval '1 minute'
    * (('x' || substr(md5(break_id::text), 1, 4))::bit(16)::int %% 900)
    - CASE kind WHEN 'price_beyond_limit' THEN interval '40 hours' ELSE interval '0' END,
    ended_at = NULL, ended_how = NULL
"""
_ENDED = """
UPDATE execution.breaks SET ended_at = opened_at + interval '1 second'
    * (30 + ('x' || substr(md5(break_id::text), 5, 4))::bit(16)::int %% 5000), ended_how = 'facts'
WHERE ('x' || substr(md5(break_id::text), 1, 2))::bit(8)::int %% 3 > 0 AND kind <> 'price_beyond_limit'
"""


def market(rng: random.Random) -> dict[str, list[Snapshot]]:
    """A random walk of each symbol, a price every four seconds."""
    found: dict[str, list[Snapshot]] = {}
    for symbol, (_, _, price, spread, _) in MARKETS.items():
        mid, told = float(price), []
        for second in range(OPEN - 60, CLOSE + 900, 4):
            mid *= 1 + rng.gauss(0, 0.00006)
            if symbol == "SOLUSDT" and HOLE[0] <= second < HOLE[1]:
                continue
            half = Decimal(str(round(mid * spread / 20_000, 6)))
            middle = Decimal(str(round(mid, 4)))
            at = START + second * NANOS
            told.append(
                Snapshot(f"{symbol}-{second}", symbol, middle - half, middle + half, Decimal(3), Decimal(4), at)
            )
        found[symbol] = told
    return found


def orders(rng: random.Random, prices: dict[str, list[Snapshot]], count: int) -> Iterator[OrderIntent | Captured]:
    """Orders of some fills each, more in the morning and before the close, in the order in which they came."""
    facts: list[tuple[int, OrderIntent | Captured]] = []
    for n in range(count):
        symbol = rng.choice(list(MARKETS))
        venue, currency, price, spread, dear = MARKETS[symbol]
        second = OPEN + int((CLOSE - OPEN) * (rng.betavariate(1, 2.5) if n % 3 else rng.betavariate(4, 1)))
        at = START + second * NANOS + rng.randrange(NANOS)
        side = rng.choice([Side.BUY, Side.SELL])
        sign = 1 if side is Side.BUY else -1
        parts = rng.randrange(1, 9)
        each = Decimal(str(round(rng.lognormvariate(9.5, 0.8) / price, 4))) or Decimal("0.0001")
        book = [s for s in prices[symbol] if s.at_ns <= at][-1]
        arrival = (book.bid + book.ask) / 2
        decision = arrival * Decimal(str(round(1 - sign * abs(rng.gauss(0, 0.00008)), 7)))
        limit = arrival * (1 + sign * Decimal("0.004"))
        quantity = each * (parts + (n % 7 == 0))
        facts.append((at, OrderIntent(
            f"C{n:05d}", f"M{n:05d}", Action.NEW, None, venue, f"{venue}-1", symbol, side, quantity,
            round(limit, 4), round(decision, 4), currency, at, f"O{n:05d}",
        )))  # fmt: skip
        cumulated, filled = Decimal(0), at
        for part in range(parts):
            filled += rng.randrange(200_000_000, 9 * NANOS)
            drift = sign * (spread / 2 + dear * (1 + part / 3) + rng.gauss(0, 2.4)) / 10_000
            px = round(arrival * Decimal(str(round(1 + drift, 8))), 4)
            cumulated += each
            is_short = n in SHORT and part == parts - 1
            if n == 40 and part == 0:
                px = round(limit * (1 + sign * Decimal("0.002")), 4)  # beyond the limit
            facts.append((filled, _fill(
                f"E{n:05d}-{part}", f"M{n:05d}", venue, symbol, currency, side, each, px,
                cumulated + each if is_short else cumulated, filled,
                None if n % 50 == 3 else px * each * Decimal("0.0004"), rng.lognormvariate(0, 0.6),
            )))  # fmt: skip
            if n % 61 == 7 and part == 0:
                facts.append((filled + 5 * NANOS, _amended(facts[-1][1], ReportKind.BUST)))
        if n % 97 == 11:  # one more than was ordered
            facts.append((at + 60 * NANOS, _fill(
                f"E{n:05d}-x", f"M{n:05d}", venue, symbol, currency, side, quantity, round(arrival, 4), None,
                at + 60 * NANOS, None, 1.0,
            )))  # fmt: skip
        if n % 193 == 17:  # of an order that nobody sent
            facts.append((at, _fill(
                f"E{n:05d}-u", f"stranger-{n}", venue, symbol, currency, side, each, round(arrival, 4), None, at,
                None, 1.0,
            )))  # fmt: skip
    yield from (fact for _, fact in sorted(facts, key=lambda f: f[0]))


def _fill(
    exec_id: str, order: str, venue: str, symbol: str, currency: str, side: Side, qty: Decimal, px: Decimal,
    cum: Decimal | None, at: int, fee: Decimal | None, slow: float,
) -> Captured:  # fmt: skip
    fill = make_fill(
        venue=venue, account=f"{venue}-1", symbol=symbol, trade_date=DAY, exec_id=exec_id, kind=ReportKind.FILL,
        cl_ord_id=order, side=side, last_qty=qty, last_px=px, cum_qty=cum, currency=currency, fee=fee,
        fee_currency=None if fee is None else currency, liquidity=Liquidity.TAKER, transact_ns=at,
    )  # fmt: skip
    return Captured(fill, f"{venue}.ws", b"{}", at + int(slow * 9_000_000))


def _amended(fact: OrderIntent | Captured, kind: ReportKind) -> Captured:
    assert isinstance(fact, Captured)
    told = fact.report
    fill = make_fill(
        venue=told.venue, account=told.account, symbol=told.symbol, trade_date=DAY,
        exec_id=f"{told.exec_id}-{kind}", kind=kind, exec_ref_id=told.exec_id, cl_ord_id=told.cl_ord_id,
        side=told.side, last_qty=told.last_qty, last_px=told.last_px, currency=told.currency,
        transact_ns=told.transact_ns + 5 * NANOS,
    )  # fmt: skip
    return msgspec.structs.replace(fact, report=fill, received_ns=fact.received_ns + 5 * NANOS)


async def land_day(url: str, count: int = 420) -> None:
    """Land the day as the live process does, then give it the times of that day."""
    rng = random.Random(20250618)
    prices = market(rng)
    everything = sorted((s for told in prices.values() for s in told), key=lambda s: s.at_ns)
    connection = await asyncpg.connect(url)
    await connection.execute("SELECT execution.ensure_partitions($1)", DAY)
    await connection.copy_records_to_table(
        "benchmark_snapshots", schema_name="execution", columns=SNAPSHOT_COLUMNS,
        records=[rows.snapshot_row(s) for s in everything],
    )  # fmt: skip
    known = SnapshotBook(limit=1 << 60)
    known.add(everything)
    book, landing = Book(known), Landing(connection)
    facts = list(orders(rng, prices, count))
    for start in range(0, len(facts), 500):
        decision = decide(book, facts[start : start + 500], Policy())
        await landing.land(decision)
        book.apply(decision)
    await connection.close()
    with psycopg.connect(url, autocommit=True) as ledger:
        ledger.execute(_LANDED.encode())
        ledger.execute(_OPENED.encode(), {"open": START // NANOS + OPEN})
        ledger.execute(_ENDED.replace("%%", "%").encode())
        ledger.execute(b"INSERT INTO execution.feed_counts VALUES ('BRAVO.ws', %s, 1)", [DAY])


def derive_all(url: str) -> LedgerResource:
    """Derive the day as Dagster's assets do."""
    ledger = LedgerResource(url=url)
    engine = ledger.engine()
    derive_day(engine, DAY, Policy())
    derive_finals(engine, DAY, Policy())
    derive_breaks(engine, DAY)
    derive_quality(engine, DAY, SLO_US)
    return ledger
