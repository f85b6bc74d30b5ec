"""A ledger with a lander and the desk's feed, and persons beside it."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg
from psycopg.rows import dict_row

from ledger.domain.decide import Policy
from streaming.arrivals import Inbox
from streaming.feeds.desk import DeskFeed
from streaming.lander import Lander
from streaming.metrics import Metrics
from streaming.venues import canonical
from tests.integration.arrivals import VENUE, fill, intent
from tests.integration.database import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ledger.domain.decision import Decision
    from streaming.arrivals import Arrival
    from streaming.venues.decoded import Decoder
    from tests.integration.people import Person


class Floor:
    """A ledger with a lander and the desk's feed, and persons beside it."""

    def __init__(self, url: str, watching: asyncpg.Connection[Any]) -> None:
        self.url = url
        self.watching = watching
        self.inbox = Inbox()
        self.decisions: list[Decision] = []
        self.policy = Policy()
        self.writer = "writer"
        self.decode: Decoder = canonical.decode

    async def connect(self) -> asyncpg.Connection[Any]:
        return await asyncpg.connect(self.url, timeout=10)

    @asynccontextmanager
    async def landing(self, *, desk: bool = True) -> AsyncIterator[Lander]:
        lander = Lander(
            self.connect, self.inbox, {VENUE: self.decode}, Metrics(),
            writer=self.writer, policy=self.policy, batch_limit=1000,
        )  # fmt: skip
        lander.on_landed.append(self.decisions.append)
        tasks = [asyncio.create_task(lander.run())]
        if desk:
            feed = DeskFeed(self.connect, self.inbox, [VENUE], look_seconds=0.02)
            tasks.append(asyncio.create_task(feed.run()))
        try:
            yield lander
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def land(self, *arrivals: Arrival) -> None:
        async with self.landing(desk=False) as lander:
            await self.inbox.put(arrivals)
            await until(lambda: lander.is_idle)

    async def overfill(self) -> str:
        """An order of 1 with two fills of 1: a break, and its events on hold."""
        await self.land(intent(order_qty="1"), fill("E1"), fill("E2"))
        return await self.open_break()

    async def open_break(self) -> str:
        found = await self.watching.fetchval("SELECT break_id FROM execution.breaks WHERE ended_at IS NULL")
        return str(found)

    async def told(self) -> list[tuple[str, str]]:
        rows = await self.watching.fetch(
            "SELECT event_type, body FROM execution.audit_events ORDER BY xid, position"
        )
        bodies = [(row["event_type"], json.loads(row["body"])) for row in rows]
        return [(kind, body["exec_id"]) for kind, body in bodies if kind in {"fill", "bust", "correct"}]

    async def events(self, kind: str) -> list[dict[str, Any]]:
        rows = await self.watching.fetch(
            "SELECT body FROM execution.audit_events WHERE event_type = $1 ORDER BY xid, position", kind
        )
        return [json.loads(row["body"]) for row in rows]

    async def value(self, query: str, *arguments: object) -> Any:
        return await self.watching.fetchval(query, *arguments)

    async def answered(self, number: int = 1) -> list[dict[str, Any]]:
        async with asyncio.timeout(20):
            while True:
                rows = await self.watching.fetch("SELECT * FROM execution.desk_outcomes ORDER BY answered_at")
                if len(rows) >= number:
                    return [dict(row) for row in rows]
                await asyncio.sleep(0.02)

    async def done(self, request_id: int) -> str:
        async with asyncio.timeout(20):
            while True:
                found = await self.value(
                    "SELECT outcome FROM execution.replay_requests WHERE request_id = $1 AND done_at IS NOT NULL",
                    request_id,
                )
                if found is not None:
                    return str(found)
                await asyncio.sleep(0.02)


def vote(who: Person, break_id: str, verdict: str = "release", **changed: str) -> int:
    """Vote as the database lets a person: with the values that the break has, unless changed."""
    with psycopg.connect(who.url, row_factory=dict_row) as connection:
        row = connection.execute(
            "SELECT break_id, ours, theirs FROM execution.breaks WHERE break_id = %s", [break_id]
        ).fetchone()
        assert row is not None
        values = {**row, "verdict": verdict, "reason": f"{who.name} looked", **changed}
        cast = connection.execute(
            "INSERT INTO execution.break_votes (break_id, verdict, reason, ours, theirs) "
            "VALUES (%(break_id)s, %(verdict)s, %(reason)s, %(ours)s, %(theirs)s) RETURNING vote_id",
            values,
        ).fetchone()
        assert cast is not None
        return int(cast["vote_id"])


def request(who: Person, dead_letter_id: str, *, again: bool = False) -> int:
    with psycopg.connect(who.url) as connection:
        row = connection.execute(
            "INSERT INTO execution.replay_requests (dead_letter_id, again) VALUES (%s, %s) RETURNING request_id",
            [dead_letter_id, again],
        ).fetchone()
        assert row is not None
        return int(row[0])
