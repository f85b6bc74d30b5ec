"""Looking at a test's ledger from beside it, and being the live process as far as landing goes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from ledger.db import rows
from ledger.domain.digest import digest_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from ledger.domain.records import Captured, Execution, SlippageMetric

TABLES = (
    "order_reports",
    "order_references",
    "order_standings",
    "order_totals",
    "break_resolutions",
    "orders", "fills", "executions", "slippage_metrics", "fills_pending", "benchmark_snapshots", "breaks",
    "dead_letters", "audit_events", "feed_positions", "feed_counts",
)  # fmt: skip


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        connection.terminate()


async def emptied(connection: asyncpg.Connection[Any]) -> None:
    """Empty the ledger; only the superuser of a test can, past what keeps the audit trail append-only."""
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(f"TRUNCATE {', '.join(f'execution.{name}' for name in TABLES)}")


async def row_counts(connection: asyncpg.Connection[Any]) -> dict[str, int]:
    query = " UNION ALL ".join(f"SELECT '{name}' AS name, count(*) FROM execution.{name}" for name in TABLES)  # noqa: S608
    return {row["name"]: row["count"] for row in await connection.fetch(query)}


async def stored_fills(connection: asyncpg.Connection[Any]) -> list[Captured]:
    found = await connection.fetch("SELECT * FROM execution.fills ORDER BY received_ns, exec_id, kind, content")
    return [rows.read_captured(row) for row in found]


async def stored_executions(connection: asyncpg.Connection[Any]) -> list[Execution]:
    return [rows.read_execution(row) for row in await connection.fetch("SELECT * FROM execution.executions")]


async def stored_metrics(connection: asyncpg.Connection[Any]) -> list[SlippageMetric]:
    return [rows.read_metric(row) for row in await connection.fetch("SELECT * FROM execution.slippage_metrics")]


async def stored_digest(connection: asyncpg.Connection[Any]) -> str:
    return digest_of(await stored_executions(connection), await stored_metrics(connection))


async def terminate_sessions(connection: asyncpg.Connection[Any], pids: Iterable[int] | None = None) -> int:
    """End the other sessions of this database, as a failover does."""
    return int(
        await connection.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND ($1::int[] IS NULL OR pid = ANY($1))",
            None if pids is None else list(pids),
        )
    )


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something to come true; the timeout is generous and no measurement."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  many things are waited for, few have an event
            await asyncio.sleep(0.01)
