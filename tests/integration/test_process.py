"""The streaming process on real servers: what it is connected to with the lease, and what without it."""

from __future__ import annotations

import asyncio
import random
import urllib.error
import urllib.request
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from ledger.db.errors import LeaseLostError, LedgerUnavailableError
from ledger.db.failures import explained
from ledger.db.landing import Landing
from ledger.db.reading import Reader
from streaming.errors import SettingsError, StreamingError
from streaming.process import Process
from streaming.settings import (
    FixFeedSettings,
    HttpSettings,
    KafkaSettings,
    RestFeedSettings,
    Settings,
    VenueSettings,
)
from tests.integration.database import connected, terminate_sessions, until
from tests.integration.test_fix_feed import Acceptor, acceptor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ledger.domain.records import Position
    from operations.embedded import Endpoints

WRITER = "execution-agent"


class Stage:
    """A process's settings, and its ledger looked at from beside it."""

    def __init__(self, settings: Settings, watching: asyncpg.Connection[Any], url: str) -> None:
        self.settings = settings
        self.watching = watching
        self.url = url

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Process]:
        process = Process(self.settings)
        stop = asyncio.Event()
        task = asyncio.create_task(process.run(stop))
        try:
            yield process
        finally:
            stop.set()
            await task

    async def reports(self) -> list[str]:
        return [row[0] for row in await self.watching.fetch("SELECT exec_id FROM execution.fills ORDER BY 1")]

    async def reports_are(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(await self.reports()) < count:  # noqa: ASYNC110  Postgres has no event for it
                await asyncio.sleep(0.05)
        assert len(set(await self.reports())) == count


@pytest.fixture
async def venue(tmp_path: Path) -> AsyncIterator[Acceptor]:
    async with acceptor(tmp_path / "venue") as venue:
        yield venue


@pytest.fixture
async def stage(
    endpoints: Endpoints,
    ledger_url: str,
    urls: dict[str, str],
    redis_url: str,
    topic_prefix: str,
    tmp_path: Path,
    venue: Acceptor,
) -> AsyncIterator[Stage]:
    fix = FixFeedSettings(
        host="127.0.0.1", port=venue.port, sender_comp_id="AGENT", target_comp_id="VENUE", store=tmp_path / "store"
    )
    rest = RestFeedSettings(secrets=[SecretStr("whsec_" + "MDEyMzQ1Njc4OWFiY2RlZg==")])
    settings = Settings(
        postgres_url=SecretStr(urls["writer"]),
        publisher_postgres_url=SecretStr(urls["publisher"]),
        redis_url=SecretStr(redis_url),
        kafka=KafkaSettings(bootstrap=endpoints.kafka_bootstrap, topic_prefix=topic_prefix),
        http=HttpSettings(port=0),
        venues={
            "ALPHA": VenueSettings(format="fix44", feed=fix),
            "BETA": VenueSettings(format="canonical", feed=rest),
        },
    )
    async with connected(ledger_url) as watching:
        yield Stage(settings, watching, ledger_url)


def is_live(process: Process) -> bool:
    return process.metrics.feed_states == {"ALPHA.fix": "live", "kafka": "live", "BETA.rest": "live"}


async def readiness(process: Process) -> int:
    def ask() -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{process.http.port}/readyz") as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    return await asyncio.to_thread(ask)


async def take_the_lease(
    landing: Landing, watching: asyncpg.Connection[Any], keep: asyncpg.Connection[Any]
) -> None:
    """End the holder's session and be quicker than the holder."""
    others = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> ALL($1)"
    mine = [watching.get_server_pid(), keep.get_server_pid()]
    async with asyncio.timeout(20):
        while True:
            await terminate_sessions(watching, [row[0] for row in await watching.fetch(others, mine)])
            with suppress(LeaseLostError):
                await landing.take_lease(WRITER)
                return


async def test_feeds_run_while_the_lease_is_held_and_start_from_where_postgres_stands(
    stage: Stage, venue: Acceptor
) -> None:
    async with stage.running() as process, connected(stage.url) as other:
        await until(lambda: is_live(process), 60)
        await venue.say("burst 1 100")
        await stage.reports_are(100)
        assert await readiness(process) == 200
        await take_the_lease(Landing(other), stage.watching, other)
        await until(lambda: not process.lander.ready.is_set(), 2)
        assert await readiness(process) == 503
        await until(lambda: process.metrics.feed_states == {"BETA.rest": "live"}, 5)
        await venue.say("burst 101 100")
        await asyncio.sleep(1)
        assert len(await stage.reports()) == 100
        assert 'feed="ALPHA.fix"' not in str(list(process.metrics.feed_up.collect()))
        await other.close()
        await stage.reports_are(200)
        await until(lambda: is_live(process), 60)


async def test_nothing_is_lost_and_no_position_goes_back_while_sessions_end_under_load(
    stage: Stage, venue: Acceptor
) -> None:
    rng = random.Random(5)
    async with stage.running() as process:
        await until(lambda: is_live(process), 60)
        ended = 0
        for first in range(1, 2401, 300):
            await venue.say(f"burst {first} 300")
            await asyncio.sleep(rng.uniform(0, 0.6))
            ended += await terminate_sessions(stage.watching)
        await stage.reports_are(2400)
    assert ended > 5


async def test_a_feed_that_cannot_go_on_ends_the_process_with_its_own_error(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(13, "no", "/store")

    process = Process(stage.settings)
    monkeypatch.setattr(process.feeding, "_feed", fail)
    with pytest.raises(StreamingError, match="/store"):
        async with asyncio.timeout(20):
            await process.run(asyncio.Event())


async def test_a_ledger_that_is_away_when_the_feeds_start_is_waited_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[Exception] = [
        LedgerUnavailableError("no"),
        asyncpg.InternalClientError("no"),
        asyncpg.ConnectionDoesNotExistError("no"),
        TimeoutError(),
        ConnectionResetError(),
    ]
    genuine = Reader.positions

    async def positions(reader: Reader) -> dict[tuple[str, str], Position]:
        if failures:
            with explained("reading"):
                raise failures.pop()
        return await genuine(reader)

    monkeypatch.setattr(Reader, "positions", positions)
    async with stage.running() as process:
        await until(lambda: is_live(process), 60)
    assert not failures


async def test_a_standby_is_connected_to_postgres_alone(stage: Stage, redis_url: str) -> None:
    async with connected(stage.url) as other:
        await Landing(other).take_lease(WRITER)
        redis = Redis.from_url(redis_url)
        async with stage.running() as process:
            await until(process.http.started.is_set)
            await asyncio.sleep(1.5)
            assert process.metrics.feed_states == {}
            assert not await redis.dbsize()
            await other.close()
            await until(lambda: is_live(process), 60)
            await until(lambda: process.in_flight.state == "live")
            assert await redis.dbsize()
        await redis.aclose()


async def test_a_port_that_is_taken_stops_the_start_before_anything_is_connected(
    stage: Stage,
) -> None:
    async with stage.running() as process:
        await until(process.http.started.is_set)
        taken = stage.settings.http.model_copy(update={"port": process.http.port})
        with pytest.raises(SettingsError, match=r"http\.port"):
            await Process(stage.settings.model_copy(update={"http": taken})).run(asyncio.Event())
