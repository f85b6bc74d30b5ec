"""A venue that confirms late is halted, told, flagged, and goes on: on real servers, through restarts."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from structlog.testing import capture_logs
from typer.testing import CliRunner

from ledger.db.errors import LandingConflictError
from ledger.db.landing import Landing
from ledger.db.reading import Reader
from ledger.domain.book import Book
from ledger.domain.controls import StandingHalt
from ledger.domain.decide import Fact, Policy, decide
from ledger.domain.halts import AGENT, Halt, HaltCause, Resume
from ledger.domain.times import format_utc
from operations.cli import app
from streaming.arrivals import Arrival, ArrivalKind, Inbox
from streaming.decoding import decode_intent
from streaming.feeds.desk import control_arrival
from streaming.halt_flags import FLAG, MARKER, HaltFlags
from streaming.process import Process
from streaming.settings import (
    HaltSettings,
    HttpSettings,
    KafkaSettings,
    RestFeedSettings,
    Settings,
    VenueSettings,
    WebSocketFeedSettings,
)
from streaming.topics import AUDIT_EVENT, HALTS
from tests.integration.arrivals import VENUE, fill_message, fills, intent
from tests.integration.database import connected, terminate_sessions, until
from tests.integration.topics import read_topic
from tests.unit.domain.facts import SECOND, T0

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import asyncpg
    from typer.testing import Result

    from operations.embedded import Endpoints
    from tests.integration.people import Person

NARROW = HaltSettings.model_validate(
    {
        "sla_ms": 300, "window_seconds": "5", "reports": 10, "in_a_row": 0, "resume_seconds": "0.5",
        "resume_reports": 3, "max_clock_skew_ms": 100,
    }
)  # fmt: skip
LATE, EARLY = 0.5, 0.01


class Stage:
    """A process whose one venue is whatever the test says, and its servers looked at from beside it."""

    def __init__(self, settings: Settings, watching: asyncpg.Connection[Any], redis: Redis) -> None:
        self.settings = settings
        self.watching = watching
        self.redis = redis
        self.said = 0

    def narrowed(self, **changes: Any) -> None:
        halt = HaltSettings.model_validate(NARROW.model_dump() | changes)
        venue = self.settings.venues[VENUE].model_copy(update={"halt": halt})
        self.settings = self.settings.model_copy(update={"venues": {VENUE: venue}})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Process]:
        process, stop = Process(self.settings), asyncio.Event()
        task = asyncio.create_task(process.run(stop))
        try:
            await until(lambda: process.flags.state == "live" and process.publisher.state == "live", 60)
            await asyncio.sleep(1.1 * LATE)  # what happened before it listened is not measured
            yield process
        finally:
            stop.set()
            await task

    async def say(self, process: Process, number: int, seconds: float) -> None:
        """Confirm fills that happened so long ago, each in a message of its own."""
        for _ in range(number):
            self.said += 1
            then = format_utc(time.time_ns() - int(seconds * 1e9))
            await process.inbox.put([fills(fill_message(f"E{self.said}", transact_time=then))])
        await until(lambda: process.lander.is_idle)

    async def rows(self) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.watching.fetch("SELECT * FROM execution.halts ORDER BY halted_ns")]

    async def flag(self) -> dict[str, str]:
        found: dict[Any, Any] = await self.redis.hgetall(FLAG + VENUE)
        return {key.decode(): value.decode() for key, value in found.items()}

    async def flagged(self, cause: str | None, seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while (await self.flag()).get("cause") != cause:  # noqa: ASYNC110  Redis has no event for it
                await asyncio.sleep(0.01)

    async def told(self, topic: str = HALTS, number: int = 1) -> list[dict[str, Any]]:
        async with asyncio.timeout(20):
            while True:
                found = await asyncio.to_thread(read_topic, self.settings.kafka, topic)
                bodies = [(m.key, m.event_id, json.loads(m.value)) for m in found]
                controls = [b for b in bodies if b[2]["event"].startswith(("venue_", "clock_"))]
                if len(controls) >= number:
                    assert all(key == VENUE and event_id == body["event_id"] for key, event_id, body in controls)
                    return [body for _, _, body in controls]


@pytest.fixture
async def stage(
    endpoints: Endpoints, ledger_url: str, urls: dict[str, str], redis_url: str, topic_prefix: str
) -> AsyncIterator[Stage]:
    rest = RestFeedSettings(secrets=[SecretStr("whsec_" + "MDEyMzQ1Njc4OWFiY2RlZg==")])
    settings = Settings(
        postgres_url=SecretStr(urls["writer"]),
        publisher_postgres_url=SecretStr(urls["publisher"]),
        redis_url=SecretStr(redis_url),
        kafka=KafkaSettings(bootstrap=endpoints.kafka_bootstrap, topic_prefix=topic_prefix),
        http=HttpSettings(port=0),
        venues={VENUE: VenueSettings(format="canonical", feed=rest, halt=NARROW)},
    )
    redis = Redis.from_url(redis_url)
    async with connected(ledger_url) as watching:
        yield Stage(settings, watching, redis)
    await redis.aclose()


# --- by itself ---------------------------------------------------------------------------------------------


async def test_a_venue_that_confirms_late_is_halted_within_a_second(stage: Stage) -> None:
    with capture_logs() as logs:
        async with stage.running() as process:
            await process.inbox.put([intent()])
            await stage.say(process, 9, LATE)
            await asyncio.sleep(0.3)
            assert await stage.rows() == []
            await stage.say(process, 1, LATE)
            await stage.flagged("latency_p95", 1.0)
            (row,) = await stage.rows()
            (body,) = await stage.told()
            assert process.status()["halted"] == {VENUE: row["reason"]}
            assert process.metrics.halted.labels(VENUE)._value.get() == 1
    assert (row["venue"], row["halted_by"], row["limit_value"]) == (VENUE, AGENT, 300_000_000)
    assert 500_000_000 <= row["figure"] < 5_000_000_000
    assert (body["event"], body["subject"]) == ("venue_halted", row["halt_id"].hex)
    assert body["detail"]["cause"] == "latency_p95"
    (line,) = [entry for entry in logs if entry["event"] == "venue halted"]
    assert {"venue", "what", "figure", "limit", "since", "to_do"} <= line.keys()
    assert body in await stage.told(AUDIT_EVENT, 2)


async def test_orders_that_are_first_heard_of_late_halt_whatever_the_venues_clock_says(stage: Stage) -> None:
    """An order that was heard of before its intent came, or fills again, says nothing."""
    stage.narrowed(routed_sla_ms=200, reports=5, in_a_row=0)
    async with stage.running() as process:
        for n in range(5):
            routed = format_utc(time.time_ns() - int(LATE * 1e9))
            await process.inbox.put([intent(f"C{n}", f"M{n}", routed_at=routed)])
        for n in range(5):
            assert await stage.rows() == []
            now = format_utc(time.time_ns())
            await process.inbox.put([fills(fill_message(f"R{n}", f"M{n}", transact_time=now))])
            await until(lambda: process.lander.is_idle)
        await stage.flagged("latency_p95", 5.0)
        (row,) = await stage.rows()
    assert "from the routed order to its first confirmation" in row["reason"]
    assert row["limit_value"] == 200_000_000


async def test_a_flag_that_redis_forgot_is_there_again(stage: Stage) -> None:
    async with stage.running() as process:
        await stage.say(process, 10, LATE)
        await stage.flagged("latency_p95")
        await stage.redis.set(FLAG + "GONE", "x")
        await stage.redis.flushdb()
        await stage.flagged("latency_p95", 3.0)
        assert await stage.redis.get(MARKER) is not None


async def test_after_a_restart_it_is_still_halted(stage: Stage) -> None:
    async with stage.running() as process:
        await stage.say(process, 10, LATE)
        await stage.flagged("latency_p95")
    await stage.redis.flushdb()
    await stage.redis.hset(FLAG + "GONE", "cause", "of a venue that is none of ours any more")
    async with stage.running() as process:
        await stage.flagged("latency_p95")
        assert process.halting.standing.keys() == {VENUE}
        assert not await stage.redis.exists(FLAG + "GONE")
        await stage.say(process, 10, LATE)
        await asyncio.sleep(0.3)
    assert len(await stage.rows()) == 1
    assert len(await stage.told()) == 1


async def test_it_resumes_by_itself_when_it_has_been_well(stage: Stage) -> None:
    async with stage.running() as process:
        await stage.say(process, 10, LATE)
        await stage.flagged("latency_p95")
        await stage.say(process, 2, EARLY)
        await asyncio.sleep(1)
        assert (await stage.rows())[0]["resumed_at"] is None
        await stage.say(process, 1, EARLY)
        await stage.flagged(None)
        bodies = await stage.told(number=2)
    (row,) = await stage.rows()
    assert row["resumed_by"] == AGENT
    assert row["resumed_ns"] - row["halted_ns"] >= 500_000_000
    assert [body["event"] for body in bodies] == ["venue_halted", "venue_resumed"]
    assert bodies[0]["subject"] == bodies[1]["subject"]


async def test_silence_halts_while_an_order_is_open_and_a_message_ends_it(stage: Stage) -> None:
    stage.narrowed(silence_seconds="1")
    async with stage.running() as process:
        await asyncio.sleep(1.5)
        assert await stage.rows() == []
        await process.inbox.put([intent(routed_at=format_utc(time.time_ns()))])
        await stage.flagged("silence", 3.0)
        await stage.say(process, 1, EARLY)
        await stage.flagged(None)
    (row,) = await stage.rows()
    assert (row["cause"], row["resumed_by"]) == ("silence", AGENT)


async def test_a_venue_without_a_feed_that_is_up_is_halted_while_an_order_is_open(stage: Stage) -> None:
    stage.narrowed(deaf_seconds="1")
    venue = stage.settings.venues[VENUE].model_copy(
        update={"format": "canonical", "feed": WebSocketFeedSettings(url="ws://127.0.0.1:1/")}
    )
    stage.settings = stage.settings.model_copy(update={"venues": {VENUE: venue}})
    async with stage.running() as process:
        await until(lambda: f"{VENUE}.ws" in process.metrics.feed_states, 30)
        await asyncio.sleep(2)
        assert await stage.rows() == [], "no order waits for a word"
        await process.inbox.put([intent(routed_at=format_utc(time.time_ns()))])
        await stage.flagged("silence", 5.0)
    (row,) = await stage.rows()
    assert (row["cause"], row["limit_value"]) == ("silence", SECOND)
    assert row["reason"].startswith("no feed of the venue stays up")


async def test_orders_that_were_open_before_the_start_are_waited_for(stage: Stage) -> None:
    stage.narrowed(silence_seconds="1")
    opened: Fact = decode_intent(intent(routed_at=format_utc(time.time_ns())).raw)
    await Landing(stage.watching).land(decide(Book(), [opened], Policy()))
    async with stage.running():
        await stage.flagged("silence", 3.0)


async def test_a_clock_that_is_ahead_is_alerted_once_and_hides_no_lateness(stage: Stage) -> None:
    async with stage.running() as process:
        await stage.say(process, 3, -2.0)
        await stage.say(process, 12, -2.0 + LATE)
        await stage.flagged("latency_p95")
        (off,) = [b for b in await stage.told(AUDIT_EVENT, 2) if b["event"].startswith("clock")]
        await asyncio.sleep(0.3)
        assert process.metrics.clock_off.labels(VENUE)._value.get() == 1
    alerts = await stage.watching.fetch("SELECT * FROM execution.clock_alerts")
    assert [(a["venue"], a["ended_ns"]) for a in alerts] == [(VENUE, None)]
    assert off["detail"]["offset_seconds"].startswith("-")
    async with stage.running() as process:  # its clock is right again
        await stage.say(process, 3, EARLY)
        async with asyncio.timeout(10):
            while await stage.watching.fetchval("SELECT ended_ns FROM execution.clock_alerts") is None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_sessions_that_end_around_a_decision_leave_one_halt(stage: Stage) -> None:
    async with stage.running() as process:
        for _ in range(4):
            await stage.say(process, 10, LATE)
            await terminate_sessions(stage.watching)
            await asyncio.sleep(1.5)
        await stage.say(process, 10, LATE)
        await stage.flagged("latency_p95", 20.0)
        bodies = await stage.told()
    rows = await stage.rows()
    assert len(rows) == 1
    assert [body["subject"] for body in bodies] == [rows[0]["halt_id"].hex]


async def test_flags_wait_for_redis_and_for_the_lease(redis_url: str) -> None:
    standing = {VENUE: StandingHalt("h", VENUE, HaltCause.PERSON, T0, "alice", "x")}
    lease = asyncio.Event()
    async with AsyncExitStack() as stack:
        running: list[HaltFlags] = []
        for url in ("redis://127.0.0.1:1/0", redis_url):
            redis = await stack.enter_async_context(Redis.from_url(url))
            running.append(HaltFlags(redis, [VENUE], may_write=lease))
            task = asyncio.create_task(running[-1].run())
            stack.callback(task.cancel)
        await asyncio.sleep(0.2)
        assert not await redis.dbsize(), "without the lease Redis is another's"
        lease.set()
        for flags in running:
            flags.show(standing)
        await until(lambda: [flags.state for flags in running] == ["down", "live"])
        async with asyncio.timeout(10):
            while await redis.hget(FLAG + VENUE, "by") != b"alice":  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        running[1].show({})
        async with asyncio.timeout(10):
            while await redis.exists(FLAG + VENUE):  # noqa: ASYNC110
                await asyncio.sleep(0.02)


# --- landing -----------------------------------------------------------------------------------------------


async def test_what_was_decided_on_an_old_book_is_decided_again(ledger_url: str) -> None:
    """Another session halted the venue meanwhile: the database refuses a second open halt, and says so."""
    halt = Halt(VENUE, HaltCause.LATENCY, T0, T0, AGENT, "late", SECOND, 1)
    async with connected(ledger_url) as connection:
        landing, reader = Landing(connection), Reader(connection)
        await landing.land(decide(Book(), [halt], Policy()))
        later = msgspec.structs.replace(halt, at_ns=T0 + 1)
        with pytest.raises(LandingConflictError):
            await landing.land(decide(Book(), [later], Policy()))
        book = await reader.open_book(time.time_ns())
        again = decide(book, [later], Policy())
        assert again.events == []
        by_hand = Halt(VENUE, HaltCause.PERSON, T0 + 2, T0 + 2, "alice", "x", request_id=1)
        both: list[Fact] = [by_hand, Resume(VENUE, T0 + 3, "bob", "y", request_id=2)]
        await landing.land(decide(book, both, Policy()))
        rows = await connection.fetch("SELECT halted_by, resumed_by FROM execution.halts ORDER BY halted_ns")
        assert [tuple(row) for row in rows] == [(AGENT, "alice"), ("alice", "bob")]
        assert (await reader.controls()).halts == {}


async def test_a_halt_goes_before_all_that_waits_and_after_the_halts_before_it() -> None:
    inbox = Inbox()
    waiting = Arrival("ALPHA.rest", VENUE, ArrivalKind.REPORT, b"x", 1)
    controls = [control_arrival(Halt(VENUE, HaltCause.PERSON, n, n, "alice", "x", request_id=n)) for n in range(3)]
    await inbox.put([waiting, waiting])
    for arrival in controls:
        inbox.put_first(arrival)
    assert await inbox.take(10) == [*controls, waiting, waiting]


# --- by hand -----------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EXECUTION_AGENT_CONFIG", "EXECUTION_AGENT_POSTGRES_URL", "EXECUTION_AGENT_STATE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def state(ledger_url: str, tmp_path: Path) -> Path:
    """A state folder with the settings of a streaming process that does not run."""
    (tmp_path / "stream").mkdir()
    (tmp_path / "stream" / "stream.toml").write_text(
        f'postgres_url = "{ledger_url}"\nredis_url = "redis://127.0.0.1:1/0"\n'
        '[kafka]\nbootstrap = "127.0.0.1:1"\n'
        '[venues.ALPHA]\nformat = "canonical"\n'
        '[venues.ALPHA.feed]\nkind = "rest"\nsecrets = ["whsec_MDEyMzQ1Njc4OWFiY2RlZg=="]\n'
    )
    return tmp_path


async def run(*arguments: str, who: Person | None = None, state: Path) -> Result:
    options = [*(["--url", who.url] if who is not None else []), "--state", str(state)]
    return await asyncio.to_thread(lambda: CliRunner().invoke(app, ["halts", *arguments, *options]))


async def test_a_person_halts_and_resumes_a_running_venue(stage: Stage, alice: Person, state: Path) -> None:
    async with stage.running() as process:
        halted = await run("halt", VENUE, "--reason", "prices look wrong", who=alice, state=state)
        assert halted.stdout.splitlines()[-1] == f"{VENUE} halted, by {alice.name}"  # after the process's log
        await stage.flagged("person")
        assert (await stage.flag())["by"] == alice.name
        await stage.say(process, 20, EARLY)
        await asyncio.sleep(1.2)
        assert (await stage.rows())[0]["resumed_at"] is None, "only a person resumes it"
        again = await run("halt", VENUE, "--reason", "once more", who=alice, state=state)
        assert f"{VENUE} unchanged: halted by {alice.name} since " in again.stdout
        resumed = await run("resume", VENUE, "--reason", "mended", who=alice, state=state)
        assert resumed.stdout.splitlines()[-1] == f"{VENUE} resumed, by {alice.name}"
        await stage.flagged(None)
    (row,) = await stage.rows()
    assert (row["reason"], row["resume_reason"], row["resumed_by"]) == ("prices look wrong", "mended", alice.name)
    assert [body["detail"]["by"] for body in await stage.told(number=2)] == [alice.name] * 2


async def test_a_person_resumes_what_we_halted_and_the_windows_begin_anew(
    stage: Stage, alice: Person, state: Path
) -> None:
    async with stage.running() as process:
        await stage.say(process, 10, LATE)
        await stage.flagged("latency_p95")
        await run("resume", VENUE, "--reason", "known", who=alice, state=state)
        await stage.flagged(None)
        await stage.say(process, 9, LATE)
        await asyncio.sleep(0.5)
        assert await stage.flag() == {}
        await stage.say(process, 1, LATE)
        await stage.flagged("latency_p95")


async def test_without_a_process_the_command_lands_it_itself(ledger_url: str, alice: Person, state: Path) -> None:
    assert (await run("list", state=state)).stdout == "no venue is halted\n"
    halted = await run("halt", VENUE, "--reason", "maintenance", who=alice, state=state)
    assert halted.stdout == f"{VENUE} halted, by {alice.name}\n"
    table = (await run("list", state=state)).stdout.splitlines()
    assert table[0].split() == ["venue", "cause", "since", "by", "reason", "resumed"]
    assert table[1].split()[:2] == [VENUE, "person"]
    assert (await run("resume", VENUE, "--reason", "over", who=alice, state=state)).exit_code == 0
    assert json.loads((await run("list", "--json", state=state)).stdout) == []
    (row,) = json.loads((await run("list", "--all", "--json", state=state)).stdout)
    assert (row["venue"], row["resumed_by"], row["figure"]) == (VENUE, alice.name, None)
    async with connected(ledger_url) as other:  # the lease was given back
        await Landing(other).take_lease("execution-agent")


async def test_what_may_not_be_is_refused_in_one_line(ledger_url: str, alice: Person, state: Path) -> None:
    service = await run("halt", VENUE, "--reason", "x", state=state)
    assert service.exit_code == 1
    assert "a halt is a person's" in service.stderr
    unknown = await run("halt", "ALPAH", "--reason", "x", who=alice, state=state)
    assert unknown.exit_code == 1
    assert unknown.stderr == "execution-agent: refused: ALPAH is no venue of the settings, they have ALPHA\n"
    blank = await run("halt", VENUE, "--reason", " ", who=alice, state=state)
    assert blank.exit_code == 1
    assert "--reason" in blank.stderr
    with psycopg.connect(alice.url, autocommit=True) as connection:
        for statement in (
            "INSERT INTO execution.halt_requests (venue, action, reason, person) VALUES ('A', 'halt', 'x', 'bob')",
            "UPDATE execution.halts SET resumed_ns = 1",
            "UPDATE execution.halt_requests SET person = 'bob'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
