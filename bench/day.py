"""A trading day of many fills on a real Postgres, made for the bench of Dagster's derivation.

A share of it is decided by the domain's rules and landed as streaming lands it; the rest is that share again under
other names, copied by SQL, so that the day's live rows are what the rules say without landing a million fills.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from hashlib import md5
from typing import TYPE_CHECKING

import asyncpg
import msgspec
import psycopg

from ledger.db import rows
from ledger.db.landing import Landing
from ledger.db.rows import SNAPSHOT_COLUMNS
from ledger.domain.book import Book
from ledger.domain.decide import Policy, decide
from ledger.domain.records import Action, Captured, FillReport, Liquidity, OrderIntent, ReportKind, Side, Snapshot
from ledger.domain.snapshots import SnapshotBook
from ledger.domain.times import NANOS, day_start, utc_date

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

FILLS_PER_ORDER = 10
VENUES = 4
SYMBOLS = [f"S{n:02d}USDT" for n in range(20)]
_SESSION_SECONDS = 80_000
_BASE = 20_000  # fills that are decided; the others are copies of them
_DAY_COPIES = (
    """INSERT INTO execution.orders (correlation_id, msg_id, action, orig_msg_id, venue, account, symbol, side,
         order_qty, limit_price, decision_price, currency, routed_ns, venue_order_id)
       SELECT correlation_id || '-' || k, msg_id || '-' || k, action, orig_msg_id, venue, account, symbol, side,
         order_qty, limit_price, decision_price, currency, routed_ns, venue_order_id || '-' || k
       FROM execution.orders, generate_series(1, %(copies)s) k""",
    """INSERT INTO execution.fills (report_id, content, venue, account, symbol, trade_date, exec_id, kind,
         exec_ref_id, cl_ord_id, venue_order_id, correlation_id, side, last_qty, last_px, cum_qty, leaves_qty,
         avg_px, currency, fee, fee_currency, liquidity, transact_ns, feed, raw, received_ns)
       SELECT md5(report_id::text || k)::uuid, content, venue, account, symbol, trade_date, exec_id || '-' || k,
         kind, exec_ref_id || '-' || k, cl_ord_id || '-' || k, venue_order_id || '-' || k, correlation_id, side,
         last_qty, last_px, cum_qty, leaves_qty, avg_px, currency, fee, fee_currency, liquidity, transact_ns, feed,
         raw, received_ns
       FROM execution.fills, generate_series(1, %(copies)s) k""",
    """INSERT INTO execution.executions (execution_id, correlation_id, msg_id, venue, account, symbol, side,
         trade_date, exec_id, last_exec_id, status, last_qty, last_px, currency, fee, fee_currency, liquidity,
         transact_ns, match_rule, fee_bps, chain)
       SELECT md5(execution_id::text || k)::uuid, correlation_id || '-' || k, msg_id || '-' || k, venue, account,
         symbol, side, trade_date, exec_id || '-' || k, last_exec_id || '-' || k, status, last_qty, last_px,
         currency, fee, fee_currency, liquidity, transact_ns, match_rule, fee_bps,
         (SELECT array_agg(md5(c::text || k)::uuid ORDER BY n) FROM unnest(chain) WITH ORDINALITY AS u(c, n))
       FROM execution.executions, generate_series(1, %(copies)s) k""",
    """INSERT INTO execution.slippage_metrics (execution_id, trade_date, kind, bps, benchmark, benchmark_ns,
         snapshot_id, quality, quality_reason)
       SELECT md5(execution_id::text || k)::uuid, trade_date, kind, bps, benchmark, benchmark_ns, snapshot_id,
         quality, quality_reason
       FROM execution.slippage_metrics, generate_series(1, %(copies)s) k""",
    "ANALYZE execution.fills, execution.orders, execution.executions, execution.slippage_metrics",
)


def snapshots(day: date, every_seconds: int) -> Iterator[Snapshot]:
    """Give the day's market: each symbol once in some seconds, prices on a slow wave."""
    start = day_start(day.year, day.month, day.day)
    for second in range(0, _SESSION_SECONDS + 3_600, every_seconds):
        for n, symbol in enumerate(SYMBOLS):
            bid = Decimal(10_000 + 500 * n + (second // 7 + 13 * n) % 400) / 100
            at = start + second * NANOS + n * 1_000_000
            yield Snapshot(f"{symbol}-{second}", symbol, bid, bid + Decimal("0.02"), Decimal(3), Decimal(4), at)


def orders(day: date, fills: int, venues: int = VENUES) -> Iterator[OrderIntent | Captured]:
    """Give orders over the day, each with ten fills; one in a hundred fills is corrected, one in 200 busted."""
    start = day_start(day.year, day.month, day.day)
    count = -(-fills // FILLS_PER_ORDER)
    for n in range(count):
        symbol, side = SYMBOLS[n % len(SYMBOLS)], (Side.BUY, Side.SELL)[n // 3 % 2]
        routed = start + _SESSION_SECONDS * NANOS // count * n
        price = Decimal(10_000 + 500 * (n % len(SYMBOLS)) + n % 400) / 100
        yield OrderIntent(
            f"C{n:07d}", f"M{n:07d}", Action.NEW, None, f"V{n % venues}", "ACC-1", symbol, side,
            Decimal(12 if n % 4 else 10), None, price, "USDT", routed, f"O{n:07d}",
        )  # fmt: skip
        for fill in range(FILLS_PER_ORDER):
            number = n * FILLS_PER_ORDER + fill
            told = _report(number, n, f"V{n % venues}", symbol, side, price, routed + (fill + 1) * 2_345_000_000)
            yield _captured(told)
            if number % 100 == 0:
                yield _captured(_amending(told, ReportKind.CORRECT, price + Decimal("0.01")))
            elif number % 200 == 1:
                yield _captured(_amending(told, ReportKind.BUST, told.last_px))


def _report(number: int, n: int, venue: str, symbol: str, side: Side, price: Decimal, at: int) -> FillReport:
    exec_id = f"E{number:08d}"
    return FillReport(
        report_id=_identity(exec_id), content=_identity(exec_id + "c"), venue=venue, account="ACC-1",
        symbol=symbol, trade_date=utc_date(at), exec_id=exec_id, kind=ReportKind.FILL, exec_ref_id=None,
        cl_ord_id=f"M{n:07d}", venue_order_id=f"O{n:07d}", correlation_id=None, side=side, last_qty=Decimal(1),
        last_px=price + Decimal(number % 7) / 100, cum_qty=None, leaves_qty=None, avg_px=None, currency="USDT",
        fee=Decimal("0.05"), fee_currency="USDT", liquidity=Liquidity.TAKER, transact_ns=at,
    )  # fmt: skip


def _amending(told: FillReport, kind: ReportKind, price: Decimal) -> FillReport:
    exec_id = f"{told.exec_id}-{kind}"
    return msgspec.structs.replace(
        told, report_id=_identity(exec_id), content=_identity(exec_id + "c"), exec_id=exec_id, kind=kind,
        exec_ref_id=told.exec_id, last_px=price, transact_ns=told.transact_ns + 1,
    )  # fmt: skip


def _captured(told: FillReport) -> Captured:
    return Captured(told, f"{told.venue}.ws", b"{}" * 150, told.transact_ns + 4_000_000)


def _identity(name: str) -> str:
    return md5(name.encode(), usedforsecurity=False).hexdigest()


async def _land(url: str, day: date, fills: int, every_seconds: int, venues: int) -> None:
    connection = await asyncpg.connect(url)
    market = list(snapshots(day, every_seconds))
    await connection.execute("SELECT execution.ensure_partitions($1)", day)
    await connection.copy_records_to_table(
        "benchmark_snapshots", schema_name="execution", columns=SNAPSHOT_COLUMNS,
        records=[rows.snapshot_row(s) for s in market],
    )  # fmt: skip
    known = SnapshotBook(limit=1 << 60)
    known.add(market)
    book, landing, facts = Book(known), Landing(connection), list(orders(day, fills, venues))
    for start in range(0, len(facts), 2_000):
        decision = decide(book, facts[start : start + 2_000], Policy())
        await landing.land(decision)
        book.apply(decision)
    await connection.close()


def land_day(url: str, day: date, fills: int, *, every_seconds: int = 5, venues: int = VENUES) -> None:
    """Make the ledger of a day with about so many fills: a whole number of copies of what is decided."""
    base = min(fills, _BASE)
    asyncio.run(_land(url, day, base, every_seconds, venues))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for statement in _DAY_COPIES:
            connection.execute(statement.encode(), {"copies": fills // base - 1})
