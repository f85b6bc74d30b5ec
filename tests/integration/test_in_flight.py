"""Open orders in Redis: a cache that may be flushed, away or out of date, and is made whole from Postgres."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from redis.asyncio import Redis

from ledger.db.landing import Landing
from ledger.domain.book import Book
from ledger.domain.decide import Fact, Policy, decide
from streaming.in_flight import MARKER, InFlight
from tests.integration.database import connected, terminate_sessions, until
from tests.unit.domain.facts import intent, report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DEADLINES = "execution:deadlines:ALPHA"
NOW = time.time_ns()
ELSEWHERE = "redis://127.0.0.1:1/0"  # nobody listens there


class World:
    def __init__(self, url: str, redis: Redis, connection: asyncpg.Connection[Any]) -> None:
        self.url = url
        self.redis = redis
        self.connection = connection
        self.book = Book()
        self.away = False
        self.may_write = asyncio.Event()
        self.may_write.set()

    async def connect(self) -> asyncpg.Connection[Any]:
        if self.away:
            raise OSError("Postgres is away")
        return await asyncpg.connect(self.url, timeout=10)

    @asynccontextmanager
    async def running(self, redis: Redis | None = None) -> AsyncIterator[InFlight]:
        in_flight = InFlight(redis or self.redis, self.connect, deadline_seconds=30.0, may_write=self.may_write)
        task = asyncio.create_task(in_flight.run())
        try:
            yield in_flight
            assert not task.done()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def land(self, *facts: Fact, to: InFlight | None = None) -> None:
        decision = decide(self.book, facts, Policy())
        await Landing(self.connection).land(decision)
        self.book.apply(decision)
        if to is not None:
            to.offer(decision)

    async def open_orders(self) -> dict[str, str]:
        """Give what is left of each order that is in flight, by both structures."""
        waiting: list[bytes] = await self.redis.zrange(DEADLINES, 0, -1)  # type: ignore[assignment]
        keys = [key async for key in self.redis.scan_iter("execution:order:*")]
        assert sorted(keys) == sorted(b"execution:order:" + name for name in waiting)
        names = [name.decode() for name in waiting]
        left: list[Any] = [await self.redis.hget(f"execution:order:{name}", "leaves_qty") for name in names]
        return dict(zip(names, [(qty or b"").decode() for qty in left], strict=True))

    async def shows(self, wanted: dict[str, str], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while True:
                with suppress(AssertionError):
                    if await self.open_orders() == wanted:
                        return
                await asyncio.sleep(0.02)


@pytest.fixture
async def world(ledger_url: str, redis_url: str) -> AsyncIterator[World]:
    redis = Redis.from_url(redis_url)
    async with connected(ledger_url) as connection:
        yield World(ledger_url, redis, connection)
    await redis.aclose()


def order(number: int, qty: str = "2") -> Fact:
    return intent(f"C{number}", f"M{number}", qty=qty, at=NOW)


async def test_open_orders_and_their_deadlines_are_in_redis_until_they_are_filled(world: World) -> None:
    async with world.running() as in_flight:
        await world.land(order(1), order(2), to=in_flight)
        await world.shows({"C1": "2", "C2": "2"})
        await world.land(
            report("E1", cl_ord_id="M1", at=NOW), report("E2", cl_ord_id="M2", qty="2", at=NOW), to=in_flight
        )
        await world.shows({"C1": "1"})
        fields = await world.redis.hgetall("execution:order:C1")
        assert {key: value for key, value in fields.items() if key != b"deadline"} == {
            b"venue": b"ALPHA", b"symbol": b"BTCUSDT", b"side": b"buy", b"order_qty": b"2", b"cum_qty": b"1",
            b"leaves_qty": b"1",
        }  # fmt: skip
        score = await world.redis.zscore(DEADLINES, "C1")
        assert score == pytest.approx(NOW / 1e9 + 30)
        assert float(fields[b"deadline"]) == pytest.approx(score, abs=0.001)


async def test_a_flush_in_mid_run_is_made_good_within_two_seconds(world: World) -> None:
    async with world.running() as in_flight:
        await world.land(*(order(n) for n in range(50)), to=in_flight)
        wanted = {f"C{n}": "2" for n in range(50)}
        await world.shows(wanted)
        await world.redis.flushdb()
        await world.shows(wanted, seconds=2.0)
        await world.land(report("E1", cl_ord_id="M7", at=NOW), to=in_flight)
        await world.shows({**wanted, "C7": "1"})


async def test_a_rebuild_writes_what_the_live_updates_wrote(world: World) -> None:
    async with world.running() as in_flight:
        await world.land(order(1, qty="12.5"), report("E1", cl_ord_id="M1", qty="0.25", at=NOW), to=in_flight)
        await world.shows({"C1": "12.25"})
        live = await world.redis.hgetall("execution:order:C1")
        await world.redis.flushdb()
        await until(lambda: in_flight.state == "live")
        await world.shows({"C1": "12.25"})
        assert await world.redis.hgetall("execution:order:C1") == live


async def test_redis_away_at_the_start_is_survived(world: World) -> None:
    await world.land(order(1))
    away = Redis.from_url(ELSEWHERE, socket_connect_timeout=1)
    async with world.running(away) as in_flight:
        await until(lambda: in_flight.state == "down")
        await world.land(order(2), to=in_flight)
        pool, away.connection_pool = away.connection_pool, world.redis.connection_pool  # it comes up
        await world.shows({"C1": "2", "C2": "2"})
        await until(lambda: in_flight.state == "live")
        away.connection_pool = pool
    await away.aclose()


async def test_orders_that_were_filled_while_redis_was_away_are_not_in_flight(world: World) -> None:
    """It kept its data and missed the fills: what is no longer open must go, or it is late for ever."""
    async with world.running() as in_flight:
        await world.land(order(1), order(2), to=in_flight)
        await world.shows({"C1": "2", "C2": "2"})
    await world.land(report("E1", cl_ord_id="M1", qty="2", at=NOW))
    await world.redis.delete(MARKER)
    async with world.running():
        await world.shows({"C2": "2"})


async def test_a_restart_does_not_trust_what_it_finds(world: World) -> None:
    async with world.running() as in_flight:
        await world.land(order(1), order(2), to=in_flight)
        await world.shows({"C1": "2", "C2": "2"})
    await world.land(report("E1", cl_ord_id="M1", qty="2", at=NOW), order(3))
    async with world.running():
        await world.shows({"C2": "2", "C3": "2"})


async def test_postgres_away_during_a_rebuild_is_survived(world: World) -> None:
    await world.land(order(1))
    world.away = True
    async with world.running() as in_flight:
        await until(lambda: in_flight.state == "down")
        world.away = False
        await world.shows({"C1": "2"})


async def test_a_session_that_is_terminated_during_a_rebuild_is_survived(world: World) -> None:
    await world.land(order(1))
    lock = world.connection.transaction()
    await lock.start()
    await world.connection.execute("LOCK execution.orders IN ACCESS EXCLUSIVE MODE")
    async with connected(world.url) as other, world.running() as in_flight:
        waiting = (
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        async with asyncio.timeout(20):
            while not await terminate_sessions(other, [row[0] for row in await other.fetch(waiting)]):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await until(lambda: in_flight.state == "down")
        await lock.rollback()
        await world.shows({"C1": "2"})
