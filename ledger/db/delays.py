"""Delays as they stand in the ledger, and what past orders say of how long a fill takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ledger.db.failures import explained
from ledger.db.sql import load_queries
from ledger.domain.delays import DelayOutcome, OpenDelay, OrderType, PastDelay

if TYPE_CHECKING:
    from collections.abc import Iterable

    import asyncpg

_SQL = load_queries("delays")


async def open_delays(connection: asyncpg.Connection[Any]) -> dict[str, OpenDelay]:
    """Give the delays that are open, by correlation id."""
    with explained("reading delays"):
        found = await connection.fetch(_SQL["open_delays"])
    return {
        row["correlation_id"]: OpenDelay(
            row["delay_id"].hex,
            row["correlation_id"],
            row["episode"],
            row["venue"],
            row["cum_qty"],
            row["began_ns"],
            None if row["hedge_id"] is None else row["hedge_id"].hex,
            row["quantity"],
        )
        for row in found
    }


async def past_delays(
    connection: asyncpg.Connection[Any], correlation_ids: Iterable[str]
) -> dict[str, PastDelay | None]:
    """Give the last delay that is over of each order; None for one that never had one."""
    wanted = sorted(correlation_ids)
    with explained("reading delays"):
        rows = await connection.fetch(_SQL["past_delays"], wanted)
    found = {
        row["correlation_id"]: PastDelay(row["episode"], row["ended_ns"], DelayOutcome(row["outcome"]))
        for row in rows
    }
    return {name: found.get(name) for name in wanted}


async def open_orders(connection: asyncpg.Connection[Any], seconds: float, limit: int) -> list[str]:
    """List the orders of the last ``seconds`` with something left, by correlation id, the newest first."""
    with explained("reading open orders"):
        found = await connection.fetch(_SQL["open_orders"], seconds, limit)
    return [row["correlation_id"] for row in found]


async def first_fills(
    connection: asyncpg.Connection[Any], after_ns: int, limit: int
) -> list[tuple[str, OrderType, int]]:
    """List the first-fill delays (ns) of the newest ``limit`` orders routed after a time: venue, type, delay."""
    with explained("reading first fills"):
        found = await connection.fetch(_SQL["first_fills"], after_ns, limit)
    return [
        (row["venue"], OrderType.MARKET if row["is_market"] else OrderType.LIMIT, row["delay_ns"]) for row in found
    ]
