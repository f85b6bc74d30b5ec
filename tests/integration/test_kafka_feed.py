"""Intents and snapshots from a real broker: with their positions, none lost, none twice without need."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from structlog.testing import capture_logs

from ledger.db.errors import LedgerUnavailableError
from ledger.domain.records import Position
from streaming.arrivals import Arrival, ArrivalKind, Inbox
from streaming.decoding import decode_arrival
from streaming.feeds.kafka import KafkaFeed
from streaming.topics import INBOUND, MARKET_DATA, ORDER_INTENT, Broker
from tests.integration.arrivals import intent_value, snapshot_value
from tests.integration.database import until
from tests.integration.topics import kafka_settings, produce

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from operations.embedded import Endpoints
    from streaming.settings import KafkaSettings


class World:
    def __init__(self, kafka: KafkaSettings, inbox: Inbox | None = None) -> None:
        self.kafka = kafka
        self.inbox = Inbox() if inbox is None else inbox  # an empty one is false
        self.stored: dict[tuple[str, str], Position] = {}
        self.states: list[str] = []
        self.arrivals: list[Arrival] = []

    @property
    def incarnations(self) -> dict[str, str]:
        found = Broker(self.kafka).incarnations(INBOUND)
        return {self.kafka.topic_prefix + topic: incarnation for topic, incarnation in found.items()}

    async def positions(self) -> Mapping[tuple[str, str], Position]:
        return self.stored

    @asynccontextmanager
    async def feed(self) -> AsyncIterator[KafkaFeed]:
        self.states.clear()
        feed = KafkaFeed(self.kafka, self.inbox, self.positions, self.states.append)
        task = asyncio.create_task(feed.run())
        try:
            await until(lambda: "live" in self.states)
            yield feed
            assert not task.done()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def take(self, number: int, limit: int = 1000) -> list[Arrival]:
        """Take as the lander does, and land: the positions are stored."""
        taken: list[Arrival] = []
        async with asyncio.timeout(20):
            while len(taken) < number:
                taken += await self.inbox.take(limit)
        self.arrivals += taken
        for arrival in taken:
            assert arrival.position is not None
            self.stored[arrival.position.feed, arrival.position.stream] = arrival.position
        return taken

    async def produce(self, topic: str, *values: bytes, ce_type: str | None = None) -> None:
        await asyncio.to_thread(produce, self.kafka, topic, list(values), ce_type=ce_type)

    async def is_quiet(self) -> bool:
        await asyncio.sleep(0.5)
        return not len(self.inbox)


@pytest.fixture
def world(endpoints: Endpoints, topic_prefix: str) -> World:
    return World(kafka_settings(endpoints, topic_prefix))


class AfterRetention(Consumer):
    """Its broker has deleted what is before offset 4; the embedded one cannot."""

    def get_watermark_offsets(self, partition: TopicPartition, **options: Any) -> tuple[int, int]:  # type: ignore[override]
        _, end = super().get_watermark_offsets(partition, **options)
        return 4, end

    def assign(self, partitions: list[TopicPartition]) -> None:
        assert all(place.offset == OFFSET_BEGINNING or place.offset >= 4 for place in partitions)
        super().assign(partitions)


class _OutOfRange:
    def __init__(self, place: TopicPartition) -> None:
        self._place = place

    def topic(self) -> str:
        return self._place.topic

    def partition(self) -> int:
        return self._place.partition

    def error(self) -> KafkaError:
        return KafkaError(KafkaError._AUTO_OFFSET_RESET)


class AfterTruncation(Consumer):
    """Its broker's partitions end before offset 5,000, and it says so; the embedded one says there is no more."""

    def assign(self, partitions: list[TopicPartition]) -> None:
        super().assign(partitions)
        self.beyond = [_OutOfRange(place) for place in partitions if place.offset >= 5_000]

    def consume(self, *of: Any) -> list[Any]:
        beyond, self.beyond = self.beyond, []
        return beyond or super().consume(*of)


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [intent_value(f"C{n}", f"M{n}") for n in range(start, start + count)]


def msg_ids(arrivals: list[Arrival]) -> list[str]:
    return sorted(json.loads(arrival.raw)["msg_id"] for arrival in arrivals)


async def test_intents_and_snapshots_arrive_with_their_positions(world: World) -> None:
    async with world.feed():
        await world.produce(ORDER_INTENT, *numbered(30))
        await world.produce(MARKET_DATA, *(snapshot_value(f"S{n}") for n in range(30)))
        arrivals = await world.take(60)
    assert {(a.feed, a.kind, a.venue, a.defect) for a in arrivals} == {
        ("order-intents", ArrivalKind.INTENT, None, None), ("market-data", ArrivalKind.SNAPSHOT, None, None),
    }  # fmt: skip
    places: dict[tuple[str, str], list[int]] = {}
    for arrival in arrivals:
        assert arrival.position is not None
        assert arrival.position.incarnation == world.incarnations[arrival.position.stream.rpartition("/")[0]]
        assert arrival.position.feed == arrival.feed
        places.setdefault((arrival.feed, arrival.position.stream), []).append(arrival.position.value)
    assert all(offsets == list(range(len(offsets))) for offsets in places.values()), "in order, from 0"
    assert {stream.rpartition("/")[0] for _, stream in places} == {
        world.kafka.topic_prefix + ORDER_INTENT, world.kafka.topic_prefix + MARKET_DATA,
    }  # fmt: skip
    assert not any(decode_arrival(a, {}).others for a in arrivals)


@pytest.mark.parametrize("ce_type", ["order.intent.route.v2", "", "bad\x00type"])
async def test_another_version_on_the_topic_is_a_defect(world: World, ce_type: str) -> None:
    async with world.feed():
        await world.produce(ORDER_INTENT, b"whatever v2 is", ce_type=ce_type)
        (arrival,) = await world.take(1)
    assert arrival.defect is not None
    assert (arrival.defect.reason, arrival.defect.value) == ("unknown_version", ce_type)
    (letter,) = decode_arrival(arrival, {}).facts
    assert letter.raw == b"whatever v2 is"  # type: ignore[union-attr]
    assert arrival.position is not None


async def test_it_goes_on_after_the_stored_positions(world: World) -> None:
    async with world.feed():
        await world.produce(ORDER_INTENT, *numbered(20))
        await world.take(20)
    await world.produce(ORDER_INTENT, *numbered(20, start=20))
    async with world.feed():
        assert msg_ids(await world.take(20)) == sorted(f"M{n}" for n in range(20, 40))
        assert await world.is_quiet()


async def test_positions_of_another_incarnation_start_over(world: World) -> None:
    async with world.feed():
        await world.produce(ORDER_INTENT, *numbered(10))
        await world.take(10)
    world.stored = {key: Position(p.feed, p.stream, "the broker before", 1_000) for key, p in world.stored.items()}
    async with world.feed():
        assert msg_ids(await world.take(10)) == msg_ids(world.arrivals[:10])


async def test_a_topic_that_was_made_again_starts_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same cluster, and the same name: only the topic's id tells it."""
    async with world.feed():
        await world.produce(ORDER_INTENT, *numbered(10))
        await world.take(10)
        genuine = Broker.incarnations
        monkeypatch.setattr(Broker, "incarnations", lambda *of: {t: f"{i} again" for t, i in genuine(*of).items()})
        assert msg_ids(await world.take(10)) == msg_ids(world.arrivals[:10])
    assert {p.incarnation.rpartition(" ")[2] for p in world.stored.values()} == {"again"}


async def test_a_partition_that_ends_before_the_position_starts_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.feeds.kafka.Consumer", AfterTruncation)
    async with world.feed():
        await world.produce(ORDER_INTENT, *numbered(10))
        first = msg_ids(await world.take(10))
    world.stored = {key: msgspec.structs.replace(p, value=5_000) for key, p in world.stored.items()}
    async with world.feed():
        assert msg_ids(await world.take(10)) == first
        assert await world.is_quiet()
    async with world.feed():
        assert await world.is_quiet(), "where it stands since then is known"
        await world.produce(ORDER_INTENT, *numbered(10, start=10))
        assert msg_ids(await world.take(10)) == sorted(f"M{n}" for n in range(10, 20))


async def test_it_tells_when_all_that_waited_is_handed_over(world: World) -> None:
    await world.produce(ORDER_INTENT, *numbered(1200))
    await world.produce(MARKET_DATA, snapshot_value("S1"))
    async with world.feed() as feed:
        assert await feed.caught_up(20.0)
        assert len(world.inbox) == 1201


async def test_what_the_topics_still_hold_is_counted(endpoints: Endpoints, topic_prefix: str) -> None:
    world = World(kafka_settings(endpoints, topic_prefix), Inbox(max_arrivals=600))
    await world.produce(ORDER_INTENT, *numbered(3000))
    async with world.feed() as feed:
        await until(lambda: world.inbox.is_full)
        assert not await feed.caught_up(0.5), "it waits for room"
        await until(
            lambda: feed.waiting.get("order-intents") is not None and feed.waiting["order-intents"].count > 0
        )
        assert feed.waiting["order-intents"].count < 3000
        assert feed.waiting["order-intents"].since_ns is not None
        await world.take(3000)
        await until(lambda: feed.waiting["order-intents"].count == 0)


async def test_a_broker_that_is_away_keeps_nobody_waiting(world: World) -> None:
    kafka = world.kafka.model_copy(update={"bootstrap": "127.0.0.1:1"})
    feed = KafkaFeed(kafka, world.inbox, world.positions, world.states.append)
    task = asyncio.create_task(feed.run())
    try:
        assert not await feed.caught_up(3.0)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_tiny_inbox_holds_the_feed_back_and_loses_nothing(endpoints: Endpoints, topic_prefix: str) -> None:
    world = World(kafka_settings(endpoints, topic_prefix), Inbox(max_arrivals=5))
    await world.produce(ORDER_INTENT, *numbered(3000))
    async with world.feed():
        await until(lambda: world.inbox.is_full)
        held = len(world.inbox)
        assert held < 3000
        await asyncio.sleep(0.5)
        assert len(world.inbox) == held, "nothing more is read while the inbox is full"
        assert msg_ids(await world.take(3000, limit=7)) == sorted(f"M{n}" for n in range(3000))
        assert await world.is_quiet()


async def test_a_feed_that_starts_over_with_a_backlog_hands_nothing_over_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits in the inbox is not landed: read again, its positions would go back behind the landed ones."""
    async with world.feed():
        await world.produce(ORDER_INTENT, *numbered(30))
        await until(lambda: len(world.inbox) == 30)
        genuine = Broker.incarnations
        monkeypatch.setattr(Broker, "incarnations", lambda *_: dict.fromkeys(INBOUND, "unreachable for a moment"))
        await until(lambda: "down" in world.states)
        monkeypatch.setattr(Broker, "incarnations", genuine)
        await until(lambda: world.states[-1] == "live" and world.states.count("live") > 1)
        await world.produce(ORDER_INTENT, *numbered(10, start=30))
        await until(lambda: len(world.inbox) >= 40)
        arrivals = await world.take(40)
        assert await world.is_quiet()
    assert msg_ids(arrivals) == sorted(f"M{n}" for n in range(40))


async def test_a_ledger_that_is_away_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = 2

    async def positions() -> Mapping[tuple[str, str], Position]:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise LedgerUnavailableError("no")
        return world.stored

    monkeypatch.setattr(world, "positions", positions)
    async with world.feed():
        assert world.states == ["connecting", "down"] * 2 + ["connecting", "live"]


async def test_what_retention_deleted_is_skipped_loudly_and_the_rest_is_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.feed():
        await world.produce(ORDER_INTENT, *numbered(60))
        await world.take(60)
    last = {stream: position.value for (_, stream), position in world.stored.items()}
    world.stored = {key: msgspec.structs.replace(p, value=1) for key, p in world.stored.items()}
    monkeypatch.setattr("streaming.feeds.kafka.Consumer", AfterRetention)
    with capture_logs() as logs:
        async with world.feed():
            await world.take(sum(value - 3 for value in last.values()))
            assert await world.is_quiet()
    gone = [entry for entry in logs if "retention" in entry["event"]]
    assert {entry["partition"] for entry in gone} == set(last)
    assert {(entry["log_level"], entry["first_gone"], entry["last_gone"]) for entry in gone} == {("error", 2, 3)}


async def test_partitions_that_are_added_are_read_soon(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = Broker.partitions
    await world.produce(ORDER_INTENT, *numbered(30))
    monkeypatch.setattr(Broker, "partitions", lambda *of: genuine(*of)[:1])
    async with world.feed():
        await until(lambda: len(world.inbox) > 0)
        await asyncio.sleep(0.5)
        assert len(world.inbox) < 30
        monkeypatch.setattr(Broker, "partitions", genuine)
        assert msg_ids(await world.take(30)) == sorted(f"M{n}" for n in range(30))
        assert await world.is_quiet()
        assert "down" not in world.states
