"""(a) and (c): a backlog landed through the real decoder, rules and transaction, and the yardsticks."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import asyncpg

from bench.load import FILLS_PER_ORDER, VENUE, frame, order_facts
from ledger.db import rows
from ledger.db.landing import Landing
from ledger.db.tables import SCHEMA
from ledger.domain.book import Book
from ledger.domain.decide import Policy, decide
from ledger.domain.records import Position
from streaming.arrivals import Arrival, ArrivalKind, Inbox
from streaming.lander import Lander
from streaming.metrics import Metrics
from streaming.process import calm_interpreter
from streaming.venues import DECODERS

if TYPE_CHECKING:
    from ledger.domain.decision import Decision

_TABLES = {
    "fills": rows.FILL_COLUMNS,
    "executions": rows.EXECUTION_COLUMNS,
    "slippage_metrics": rows.METRIC_COLUMNS,
    "audit_events": rows.EVENT_COLUMNS,
}
_ROWS_OF_A_FILL = {"slippage_metrics": 2}
_CHUNK = 50_000


async def seed_orders(url: str, orders: int, now_ns: int) -> None:
    """Land the intents and snapshots that the fills need."""
    connection = await asyncpg.connect(url)
    landing, facts = Landing(connection), list(order_facts(orders, now_ns))
    for start in range(0, len(facts), 5_000):
        await landing.land(decide(Book(), facts[start : start + 5_000], Policy()))
    await connection.close()


async def land_backlog(url: str, count: int) -> float:
    """Land ``count`` reports that wait in memory as raw frames; give the seconds from first to last commit."""
    now_ns = time.time_ns()
    await seed_orders(url, -(-count // FILLS_PER_ORDER), now_ns)
    arrivals = [
        Arrival(
            f"{VENUE}.ws",
            VENUE,
            ArrivalKind.REPORT,
            frame(n, now_ns + n),
            now_ns,
            Position(f"{VENUE}.ws", "executions", "", n + 1),
        )
        for n in range(count)
    ]
    inbox = Inbox()
    landed, done = 0, asyncio.Event()

    def count_landed(decision: Decision) -> None:
        nonlocal landed
        landed += len(decision.executions)
        if landed >= count:
            done.set()

    lander = Lander(
        lambda: asyncpg.connect(url),
        inbox,
        {VENUE: DECODERS["canonical"]},
        Metrics(),
        writer="bench",
        policy=Policy(),
        batch_limit=1000,
    )
    lander.on_landed.append(count_landed)
    calm_interpreter()
    running = asyncio.create_task(lander.run())
    await lander.ready.wait()
    began = time.perf_counter()
    for start in range(0, count, 1000):
        await inbox.put(arrivals[start : start + 1000])
    await done.wait()
    seconds = time.perf_counter() - began
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return seconds


async def plain_copy(source: str, target: str, fills: int | None = None) -> float:
    """COPY the rows that a landing wrote into the same empty tables of another database: the least it can cost.

    ``fills`` bounds it: so many fills, with as many rows of each other table as go with them.
    """
    reading, writing = await asyncpg.connect(source), await asyncpg.connect(target)
    day = await reading.fetchval("SELECT max(trade_date) FROM execution.fills")
    await writing.execute("SELECT execution.ensure_partitions($1)", day)
    await writing.execute("SELECT execution.ensure_partitions((now() AT TIME ZONE 'UTC')::date)")
    seconds = 0.0
    for table, columns in _TABLES.items():
        limit = "" if fills is None else f" LIMIT {fills * _ROWS_OF_A_FILL.get(table, 1)}"
        query = f"SELECT {', '.join(columns)} FROM {SCHEMA}.{table}{limit}"  # noqa: S608  our own names
        async with reading.transaction():
            cursor = await reading.cursor(query)
            while records := await cursor.fetch(_CHUNK):
                chunk: list[Any] = [tuple(record) for record in records]
                began = time.perf_counter()
                await writing.copy_records_to_table(table, schema_name=SCHEMA, columns=columns, records=chunk)
                seconds += time.perf_counter() - began
    await reading.close()
    await writing.close()
    return seconds


async def single_commits(url: str, count: int = 500) -> list[float]:
    """Time ``count`` commits of one small row each."""
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE public.single (n bigint PRIMARY KEY, t text)")
    timings = []
    for n in range(count):
        began = time.perf_counter()
        await connection.execute("INSERT INTO public.single VALUES ($1, $2)", n, "x" * 100)
        timings.append(time.perf_counter() - began)
    await connection.close()
    return timings
