"""An order of thousands of fills that is restated as a whole: in one transaction, and others have their turns.

Figures for 50,000 fills are in docs/architecture.md.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from ledger.domain.decide import Policy
from ledger.domain.times import format_utc
from streaming.arrivals import Inbox
from streaming.lander import Lander
from streaming.metrics import Metrics
from streaming.venues import canonical
from tests.integration.arrivals import VENUE, fill_message, fills, intent, snapshot
from tests.integration.database import connected, until
from tests.unit.domain.facts import SECOND, T0

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FILLS, A_BODY = 12_000, 500


class World:
    def __init__(self, url: str, ledger: asyncpg.Connection[Any]) -> None:
        self.url = url
        self.ledger = ledger
        self.inbox = Inbox()
        self.longest = 0.0  # between two turns of a task beside the lander
        self.lander = Lander(
            self.connect, self.inbox, {VENUE: canonical.decode}, Metrics(),
            writer="writer", policy=Policy(), batch_limit=1000,
        )  # fmt: skip

    async def connect(self) -> asyncpg.Connection[Any]:
        return await asyncpg.connect(self.url, timeout=10)

    async def landed(self) -> None:
        await until(lambda: self.lander.is_idle)

    async def take_turns(self) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            await asyncio.sleep(0.005)
            now = loop.time()
            self.longest, last = max(self.longest, now - last), now

    async def restated(self) -> int:
        count: int = await self.ledger.fetchval(
            "SELECT count(*) FROM execution.audit_events WHERE event_type = 'slippage_restated'"
        )
        return count


@pytest.fixture
async def world(ledger_url: str) -> AsyncIterator[World]:
    """The order is landed with all its fills, against a snapshot from long before."""
    async with connected(ledger_url) as ledger:
        world = World(ledger_url, ledger)
        tasks = [asyncio.create_task(world.lander.run())]
        await world.inbox.put([snapshot("S0", T0 - 60 * SECOND), intent()])
        for first in range(0, FILLS, A_BODY):
            numbers = range(first, first + A_BODY)
            messages = [
                fill_message(f"E{n}", transact_time=format_utc(T0 + SECOND + n * 1_000_000)) for n in numbers
            ]
            await world.inbox.put([fills(*messages)])
        await world.landed()
        tasks.append(asyncio.create_task(world.take_turns()))
        yield world
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_a_late_snapshot_restates_all_fills_of_a_large_order_and_nobody_waits_for_it(world: World) -> None:
    began = asyncio.get_running_loop().time()
    await world.inbox.put([snapshot("S1", T0 - SECOND, bid="98", ask="100")])
    await world.landed()
    took = asyncio.get_running_loop().time() - began
    found = await world.ledger.fetch(
        "SELECT kind, snapshot_id, count(*) AS number, array_agg(DISTINCT round(bps, 6)) AS figures "
        "FROM execution.slippage_metrics WHERE kind IN ('arrival_mid', 'fill_mid') GROUP BY 1, 2 ORDER BY 1"
    )
    bought_at_100_against_99 = [Decimal("101.010101")]
    assert [tuple(row) for row in found] == [
        ("arrival_mid", "S1", FILLS, bought_at_100_against_99),
        ("fill_mid", "S1", FILLS, bought_at_100_against_99),
    ]
    assert await world.restated() == 2 * FILLS
    assert world.longest < took / 2, "the lease, say, is renewed while it is worked out and written"


async def test_a_bust_in_a_large_order_is_worked_out_aside_and_is_one_row(world: World) -> None:
    before = await world.ledger.fetchval("SELECT count(*) FROM execution.audit_events")
    began = asyncio.get_running_loop().time()
    await world.inbox.put([fills(fill_message("B1", type="bust", exec_ref_id="E7"))])
    await world.landed()
    took = asyncio.get_running_loop().time() - began
    found = await world.ledger.fetch(
        "SELECT status, count(*) AS number FROM execution.executions GROUP BY 1 ORDER BY 1"
    )
    assert [tuple(row) for row in found] == [("active", FILLS - 1), ("busted", 1)]
    assert await world.ledger.fetchval("SELECT count(*) FROM execution.audit_events") == before + 1
    assert world.longest < took / 2
