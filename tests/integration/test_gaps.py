"""The gaps that are asked for: of each venue its own, so that none crowds out another's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.db.completeness import Holdings
from tests.integration.arrivals import intent
from tests.integration.database import connected
from tests.integration.test_lander import World, world

if TYPE_CHECKING:
    import asyncpg

__all__ = ["world"]  # a fixture

_WAITS = (
    "INSERT INTO execution.fills_pending (report_id, content, trade_date, venue, reason, reference_kind,"
    " reference, since_ns, correlation_id, overdue_at) "
    "VALUES (gen_random_uuid(), gen_random_uuid(), current_date, $1,"
    " 'awaiting_gap', 'c', $2, $3, $4, CASE WHEN $5 THEN now() END)"
)


async def wait(connection: asyncpg.Connection, venue: str, name: str, since_ns: int, *, over: bool) -> None:
    await connection.execute(_WAITS, venue, f"M{name}", since_ns, name, over)


async def test_gaps_that_never_end_crowd_out_no_others(world: World) -> None:
    names = [f"C{n}" for n in range(1, 8)]
    async with world.landing() as lander:
        await world.land(lander, *(intent(name, f"M{name}") for name in names))
    async with connected(world.url) as connection:
        for number, name in enumerate(names[:5]):
            await wait(connection, "ALPHA", name, 1_000 + number, over=number < 3)
        for number, name in enumerate(names[5:]):
            await wait(connection, "BRAVO", name, 9_000 + number, over=False)
        found = [(gap.venue, gap.since_ns) for gap in await Holdings(connection).gaps(2)]
    alpha = [since for venue, since in found if venue == "ALPHA"]
    assert alpha == [1_000, 1_003, 1_004], "the longest, for how far all is known, and those that may still end"
    assert [since for venue, since in found if venue == "BRAVO"] == [9_000, 9_001]
