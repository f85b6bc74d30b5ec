"""Landed events on a real broker: each once, in order per key, whatever happens to the publisher."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from ledger.db.landing import Landing
from ledger.domain.book import Book
from ledger.domain.decide import Fact, Policy, decide
from ledger.domain.errors import Defect
from ledger.domain.identity import dead_letter_id
from ledger.domain.records import DeadLetter, ReportKind
from streaming import publisher as publishing
from streaming import publishing_session
from streaming.metrics import Metrics
from streaming.producing import TopicWriter
from streaming.publisher import Publisher
from streaming.topics import AUDIT_EVENT, DEAD_LETTERS, FILL_EVENT
from tests.integration.database import connected, terminate_sessions, until
from tests.integration.topics import Message, kafka_settings, make_again, read_topic
from tests.unit.domain.facts import SECOND, T0, intent, report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from ledger.domain.decision import Decision
    from operations.embedded import Endpoints
    from streaming.publishing_session import EventWriter
    from streaming.settings import KafkaSettings

RAW = b"8=FIX\x00\xff"
DEFECT = Defect("malformed", "message", "8=FIX", "a message begins with BeginString(8)", "Send it again.")
LETTER = DeadLetter(dead_letter_id("ALPHA", RAW), "ALPHA", "ALPHA.fix", DEFECT, RAW, T0)


class World:
    def __init__(self, url: str, kafka: KafkaSettings, connection: asyncpg.Connection[Any]) -> None:
        self.url = url
        self.kafka = kafka
        self.connection = connection
        self.landing = Landing(connection)
        self.book = Book()
        self.refill_seconds = 86_400.0
        self.may_publish = asyncio.Event()
        self.may_publish.set()
        self.publisher: Publisher | None = None
        self.make_writer: Callable[[KafkaSettings, str], EventWriter] = TopicWriter

    async def connect(self) -> asyncpg.Connection[Any]:
        return await asyncpg.connect(self.url, timeout=10, server_settings={"application_name": "publisher"})

    @asynccontextmanager
    async def publishing(self) -> AsyncIterator[Publisher]:
        publisher = self.publisher = Publisher(
            self.connect, self.kafka, Metrics(), writer="writer", source="spiffe://test/agent",
            refill_seconds=self.refill_seconds, may_publish=self.may_publish, make_writer=self.make_writer,
        )  # fmt: skip
        task = asyncio.create_task(publisher.run())
        try:
            yield publisher
        finally:
            self.publisher = None
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def land(self, *facts: Fact, offered: bool = True) -> Decision:
        decision = decide(self.book, facts, Policy())
        await self.landing.land(decision)
        self.book.apply(decision)
        if offered and self.publisher is not None:
            self.publisher.offer(decision)
        return decision

    async def live(self, publisher: Publisher) -> None:
        await until(lambda: publisher.state == "live" and publisher.is_idle)

    async def outbox(self) -> list[tuple[str, str, str]]:
        found = await self.connection.fetch(
            "SELECT event_id, event_type, key FROM execution.audit_events ORDER BY xid, position"
        )
        return [(row["event_id"].hex, row["event_type"], row["key"]) for row in found]

    async def read(self, topic: str) -> list[Message]:
        return await asyncio.to_thread(read_topic, self.kafka, topic)

    async def published(self, wanted: set[str]) -> list[Message]:
        """Read the audit topic until all are there: what was fenced in between is published again."""
        found: list[Message] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(20):
                while not wanted <= {m.event_id for m in found}:
                    await asyncio.sleep(0.1)
                    found = await self.read(AUDIT_EVENT)
        assert not wanted - {m.event_id for m in found}, f"missing among {len(found)}"
        return found

    async def cursor_is_saved(self) -> None:
        """Transactions of other tests hold the sweep back: the horizon is the server's, not the database's."""
        query = "SELECT count(*) FROM execution.publish_cursors"
        async with asyncio.timeout(20):
            while not await self.connection.fetchval(query):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def cursor_is_saved_beyond(self, decision: Decision) -> None:
        query = """
        SELECT EXISTS (SELECT 1 FROM execution.publish_cursors c JOIN execution.audit_events e
            ON (e.xid, e.position) <= (c.xid, c.position) WHERE e.event_id = $1::uuid)
        """
        async with asyncio.timeout(20):
            while not await self.connection.fetchval(query, decision.events[-1].event_id):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def check(self) -> None:
        """Every landed event is on its topics once, in the order of its key."""
        landed = await self.outbox()
        audit = await self.published({event_id for event_id, _, _ in landed})
        assert sorted(m.event_id for m in audit) == sorted(event_id for event_id, _, _ in landed)
        assert per_key([(m.key, m.event_id) for m in audit]) == per_key([(key, i) for i, _, key in landed])
        fills = await self.read(FILL_EVENT)
        wanted = [(key, i) for i, kind, key in landed if kind in {"fill", "bust", "correct"}]
        assert per_key([(m.key, m.event_id) for m in fills]) == per_key(wanted)
        letters = await self.read(DEAD_LETTERS)
        assert sorted(m.event_id for m in letters) == sorted(i for i, kind, _ in landed if kind == "dead_letter")


def per_key(events: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    ordered: dict[str, list[str]] = {}
    for key, event_id in events:
        ordered.setdefault(key, []).append(event_id)
    return ordered


@pytest.fixture
async def world(ledger_url: str, endpoints: Endpoints, topic_prefix: str) -> AsyncIterator[World]:
    async with connected(ledger_url) as connection:
        yield World(ledger_url, kafka_settings(endpoints, topic_prefix), connection)


def orders(number: int) -> list[Fact]:
    return [intent(f"C{n}", f"M{n}", qty="100000") for n in range(number)]


async def test_fill_audit_and_dead_letter_events_carry_cloudevents_headers_and_their_order_as_key(
    world: World,
) -> None:
    async with world.publishing() as publisher:
        await world.live(publisher)
        await world.land(*orders(3))
        for number in range(5):
            await world.land(*(report(f"E{n}-{number}", cl_ord_id=f"M{n}") for n in range(3)))
        bust = await world.land(report("B", kind=ReportKind.BUST, ref="E1-0", cl_ord_id="M1", at=T0 + 2 * SECOND))
        await world.land(LETTER)
        await world.live(publisher)
    await world.check()
    message = next(m for m in await world.read(FILL_EVENT) if m.event_id == bust.events[0].event_id)
    assert message.headers == {
        "ce_specversion": b"1.0", "ce_id": bust.events[0].event_id.encode(), "ce_source": b"spiffe://test/agent",
        "ce_type": FILL_EVENT.encode(), "content-type": b"application/json",
    }  # fmt: skip
    assert message.value == bust.events[0].body
    assert message.key == "C1"
    (letter,) = await world.read(DEAD_LETTERS)
    assert (letter.value, letter.headers["content-type"]) == (RAW, b"application/octet-stream")
    assert json.loads(letter.headers["ce_reason"])["detail"]["reason"] == "malformed"


async def test_a_publisher_killed_at_random_points_publishes_each_event_once(world: World) -> None:
    rng = random.Random(11)
    await world.land(*orders(5))
    number, stop = 0, asyncio.Event()

    async def load() -> None:
        nonlocal number
        while not stop.is_set():
            batch = [report(f"E{number + n}", cl_ord_id=f"M{rng.randrange(5)}") for n in range(rng.randint(1, 20))]
            number += len(batch)
            await world.land(*batch)
            await asyncio.sleep(rng.uniform(0, 0.01))

    loading = asyncio.create_task(load())
    for _ in range(6):
        async with world.publishing():
            await asyncio.sleep(rng.uniform(0.1, 1.2))
    async with world.publishing() as publisher:
        await asyncio.sleep(0.5)
        stop.set()
        await loading
        await world.live(publisher)
        await world.check()
    assert number > 500


async def test_a_publisher_whose_session_is_terminated_goes_on_without_duplicates(world: World) -> None:
    await world.land(*orders(2))
    async with world.publishing() as publisher:
        for number in range(60):
            await world.land(report(f"E{number}", cl_ord_id=f"M{number % 2}"))
            if number % 20 == 10:
                pids = await world.connection.fetch(
                    "SELECT pid FROM pg_stat_activity "
                    "WHERE application_name = 'publisher' AND datname = current_database()"
                )
                await terminate_sessions(world.connection, [row[0] for row in pids])
            await asyncio.sleep(0.03)
        await world.live(publisher)
        await world.check()


async def test_a_question_that_nobody_answers_ends_with_the_landings_session(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.db.outbox._SECONDS", 600.0)
    await world.land(*orders(1))
    async with world.publishing() as publisher:
        await world.live(publisher)
        pid = await world.connection.fetchval(
            "SELECT pid FROM pg_stat_activity "
            "WHERE application_name = 'publisher' AND datname = current_database()"
        )
        os.kill(pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(30):
                while publisher.state == "live":
                    await asyncio.sleep(0.1)
                    publisher.catch_up()  # as a new session of the landing does, once it has given the old one up
        finally:
            os.kill(pid, signal.SIGCONT)
        await world.land(report("E0", cl_ord_id="M0"))
        await world.live(publisher)
        await world.check()


async def test_an_event_that_another_session_committed_is_swept(world: World) -> None:
    async with world.publishing() as publisher:
        await world.live(publisher)
        await world.land(*orders(1), report("E0", cl_ord_id="M0"), offered=False)
        await world.check()


async def test_a_transaction_that_runs_for_long_neither_stalls_nor_loses_events(
    world: World, ledger_url: str
) -> None:
    async with connected(ledger_url) as other, world.publishing() as publisher:
        await world.live(publisher)
        await world.land(*orders(1), report("E", cl_ord_id="M0"))  # the days' partitions are made
        transaction = other.transaction()
        await transaction.start()
        await Landing(other).land(decide(Book(), [report("LATE", cl_ord_id="nobody")], Policy()))
        await world.land(report("E0", cl_ord_id="M0"))
        await world.check()  # offered: published although the sweep must wait
        await world.land(report("E1", cl_ord_id="M0"), offered=False)
        await asyncio.sleep(1.5)
        await transaction.commit()
        await world.check()


async def test_a_publisher_that_starts_during_a_long_transaction_keeps_the_order_of_each_key(
    world: World, ledger_url: str
) -> None:
    async with connected(ledger_url) as other:
        transaction = other.transaction()
        await transaction.start()
        await other.fetchval("SELECT pg_current_xact_id()")
        await world.land(*orders(1), report("E0", cl_ord_id="M0"))
        for number in range(1, 4):
            async with world.publishing() as publisher:
                await world.live(publisher)
                await world.land(report(f"E{number}", cl_ord_id="M0"))
                await world.live(publisher)
            await world.land(report(f"F{number}", cl_ord_id="M0"))
        async with world.publishing():
            await world.check()
            await transaction.rollback()
            await asyncio.sleep(1.5)
            await world.check()


async def test_more_than_can_be_handed_over_is_left_to_the_sweep_in_order(
    world: World, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "_HANDED_OVER_LIMIT", 3)
    await world.land(*orders(1))
    async with connected(ledger_url) as other, world.publishing() as publisher:
        await world.live(publisher)
        transaction = other.transaction()
        await transaction.start()
        await other.fetchval("SELECT pg_current_xact_id()")
        for number in range(60):
            await world.land(*(report(f"E{number}-{n}", cl_ord_id="M0") for n in range(number % 7)))
        await world.check()
        await transaction.rollback()
        await world.live(publisher)
        await world.check()


async def test_a_lost_cursor_costs_no_duplicates(world: World) -> None:
    await world.land(*orders(2), *(report(f"E{n}", cl_ord_id=f"M{n % 2}") for n in range(50)), LETTER)
    async with world.publishing() as publisher:
        await world.live(publisher)
        await world.check()
        await world.cursor_is_saved()
    await world.connection.execute("DELETE FROM execution.publish_cursors")
    await world.land(report("E50", cl_ord_id="M0"))
    async with world.publishing() as publisher:
        await world.live(publisher)
        await world.check()
        await world.cursor_is_saved()


async def test_a_broker_of_another_incarnation_is_filled_again(
    world: World, endpoints: Endpoints, topic_prefix: str
) -> None:
    await world.land(*orders(2), *(report(f"E{n}", cl_ord_id=f"M{n % 2}") for n in range(50)))
    async with world.publishing() as publisher:
        await world.live(publisher)
        await world.check()
        await world.cursor_is_saved()
    # a rebuilt broker: another cluster id, and the topics are empty
    world.kafka = kafka_settings(endpoints, f"{topic_prefix}rebuilt.")
    changed = "UPDATE execution.publish_cursors SET incarnation = 'the one before', tails = '{}'"
    assert await world.connection.execute(changed) == "UPDATE 1"
    async with world.publishing() as publisher:
        await world.live(publisher)
        await world.check()


async def test_what_was_never_published_is_published_to_a_new_broker_however_old_it_is(world: World) -> None:
    async with world.publishing() as publisher:
        await world.live(publisher)
        await world.cursor_is_saved_beyond(await world.land(*orders(1), report("E0", cl_ord_id="M0")))
    await world.land(report("E1", cl_ord_id="M0"))
    changed = "UPDATE execution.publish_cursors SET incarnation = 'the one before', tails = '{}'"
    assert await world.connection.execute(changed) == "UPDATE 1"
    world.kafka = world.kafka.model_copy(update={"topic_prefix": f"{world.kafka.topic_prefix}rebuilt."})
    world.refill_seconds = -10 * 86_400  # a refill begins after all that there is: the publisher was away for days
    async with world.publishing() as publisher:
        await world.live(publisher)
        assert [m.key for m in await world.read(FILL_EVENT)] == ["C0"]


@pytest.mark.parametrize("topic", [FILL_EVENT, AUDIT_EVENT])
async def test_a_topic_that_is_deleted_and_made_again_is_filled_again_and_no_other(
    world: World, topic: str
) -> None:
    async with world.publishing() as publisher:
        await world.live(publisher)
        await world.land(*orders(2), *(report(f"E{n}", cl_ord_id=f"M{n % 2}") for n in range(30)), LETTER)
        await world.live(publisher)
        await world.check()
        for number in range(2):
            await asyncio.to_thread(make_again, world.kafka, topic)
            await until(lambda: publisher.state == "down")
            await world.live(publisher)
            await world.check()
            await world.land(report(f"F{number}", cl_ord_id="M0"))
            await world.live(publisher)
            await world.check()


async def test_a_topic_that_was_made_again_while_nobody_published_is_filled_once(world: World) -> None:
    async with world.publishing() as publisher:
        await world.live(publisher)
        await world.cursor_is_saved_beyond(
            await world.land(*orders(2), *(report(f"E{n}", cl_ord_id=f"M{n % 2}") for n in range(30)))
        )
    await asyncio.to_thread(make_again, world.kafka, FILL_EVENT)
    await world.land(report("F", cl_ord_id="M0"))
    for _ in range(2):
        async with world.publishing() as publisher:
            await world.live(publisher)
            await world.check()


async def test_a_refill_that_is_cut_off_begins_again_and_doubles_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing_session, "_PAGE", 4)
    async with world.publishing() as publisher:
        await world.live(publisher)
        await world.land(*orders(1))
        for number in range(30):
            await world.land(report(f"E{number}", cl_ord_id="M0"))
        await world.live(publisher)
        await world.cursor_is_saved_beyond(await world.land(report("E", cl_ord_id="M0")))
    await asyncio.to_thread(make_again, world.kafka, FILL_EVENT)
    genuine, written = TopicWriter.write, 0

    def write(writer: TopicWriter, *of: Any) -> dict[str, int]:
        nonlocal written
        written += 1
        if written == 4:
            loop.call_soon_threadsafe(world.may_publish.clear)
        return genuine(writer, *of)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(TopicWriter, "write", write)
    async with world.publishing() as publisher:
        await until(lambda: publisher.state == "down")
        assert 0 < len(await world.read(FILL_EVENT)) < 31, "it did not go on to its end"
        world.may_publish.set()
        await world.live(publisher)
        await world.check()


async def test_a_standby_publishes_nothing_until_it_may(world: World) -> None:
    world.may_publish.clear()
    await world.land(*orders(1), report("E0", cl_ord_id="M0"))
    async with world.publishing() as publisher:
        await asyncio.sleep(0.3)
        assert publisher.state == "connecting"
        assert not publisher.is_idle
        world.may_publish.set()
        await world.live(publisher)
        await world.check()


async def test_what_is_on_its_way_to_the_broker_is_not_idle(world: World) -> None:
    """A stop waits for it: an event cut off would be seen only after the next start."""
    async with world.publishing() as publisher:
        await world.live(publisher)
        await world.land(*orders(1), *(report(f"E{n}", cl_ord_id="M0") for n in range(500)))
        await until(lambda: publisher.is_idle)
    assert len(await world.read(FILL_EVENT)) == 500


async def test_a_refill_ends_with_the_lease_and_goes_on_from_where_it_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing_session, "_PAGE", 4)
    monkeypatch.setattr(publishing_session, "_SAVE_PAGES", 2)
    genuine, written = TopicWriter.write, 0

    def write(writer: TopicWriter, *of: Any) -> dict[str, int]:
        nonlocal written
        written += 1
        if written == 6:
            loop.call_soon_threadsafe(world.may_publish.clear)
        return genuine(writer, *of)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(TopicWriter, "write", write)
    await world.land(intent())
    for n in range(60):
        await world.land(report(f"E{n}"), offered=False)
    async with world.publishing() as publisher:
        await until(lambda: publisher.state == "down")
        assert written < 12, "it did not go on to its end"
        row = await world.connection.fetchrow("SELECT position FROM execution.publish_cursors")
        assert row is not None
        assert row["position"] > 0, "how far it got is known"
        world.may_publish.set()
        await world.live(publisher)
    wanted = {event_id for event_id, _, _ in await world.outbox()}
    found = [message.event_id for message in await world.read(AUDIT_EVENT)]
    assert len(found) == len(set(found))
    assert set(found) == wanted
