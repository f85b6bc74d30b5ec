"""Order intents and market data from Kafka: partitions assigned by hand, positions in Postgres.

No consumer group: the positions are written with the rows, and a group's first join takes seconds. Another
cluster id is another incarnation: its offsets start over, and landing again what was landed is harmless.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from ledger import clocks
from ledger.db.errors import LedgerUnavailableError
from ledger.domain.decide import MARKET_DATA as MARKET_DATA_FEED
from ledger.domain.decide import ORDER_INTENTS
from ledger.domain.errors import Defect
from ledger.domain.records import Position
from ledger.faultpoints import at
from streaming.arrivals import Arrival, ArrivalKind, Inbox
from streaming.errors import FeedError
from streaming.topics import MARKET_DATA, ORDER_INTENT, Broker, client_config

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from streaming.settings import KafkaSettings

_FEEDS = {ORDER_INTENT: (ORDER_INTENTS, ArrivalKind.INTENT), MARKET_DATA: (MARKET_DATA_FEED, ArrivalKind.SNAPSHOT)}
_POLL_SECONDS = 0.05
_POLL_MESSAGES = 500
_CHECK_SECONDS = 2.0
_RETRY_SECONDS = 0.5
_ANSWER_SECONDS = 5.0

log = structlog.get_logger()


class KafkaFeed:
    """Reads both inbound topics in one thread."""

    def __init__(
        self,
        kafka: KafkaSettings,
        inbox: Inbox,
        positions: Callable[[], Awaitable[Mapping[tuple[str, str], Position]]],
        on_state: Callable[[str], None],
    ) -> None:
        self._kafka = kafka
        self._inbox = inbox
        self._positions = positions
        self._on_state = on_state
        self._stopping = False
        self._handed_over: dict[tuple[str, str], Position] = {}

    async def run(self) -> None:
        """Read until cancelled; a broker or ledger that is away is tried again, and a broker that was rebuilt."""
        try:
            while True:
                self._on_state("connecting")
                try:
                    await self._session()
                except (KafkaException, FeedError, LedgerUnavailableError, OSError) as error:
                    self._on_state("down")
                    log.warning("kafka feed starts over", error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
        finally:
            self._stopping = True

    async def _session(self) -> None:
        broker = await asyncio.to_thread(Broker, self._kafka)
        incarnation = await asyncio.to_thread(broker.incarnation)
        known = await self._positions()
        assignment: list[TopicPartition] = []
        for topic, (feed, _) in _FEEDS.items():
            name = self._kafka.topic_prefix + topic
            for partition in await asyncio.to_thread(broker.partitions, topic):
                stream = (feed, f"{name}/{partition}")
                # what this feed handed over before is in the inbox, landed or not
                behind = [
                    p.value
                    for p in (known.get(stream), self._handed_over.get(stream))
                    if p is not None and p.incarnation == incarnation
                ]
                assignment.append(TopicPartition(name, partition, max(behind) + 1 if behind else OFFSET_BEGINNING))
        at("kafka.assign")
        self._stopping = False
        loop = asyncio.get_running_loop()
        reading = asyncio.create_task(asyncio.to_thread(self._read, assignment, incarnation, loop))
        try:
            while not reading.done():
                await asyncio.wait([reading], timeout=_CHECK_SECONDS)
                if reading.done():
                    break
                if await asyncio.to_thread(broker.incarnation) != incarnation:
                    raise FeedError("the broker is another incarnation: its offsets start over")
                if added := await self._added(broker, assignment):
                    log.info("partitions were added", partitions=added)
                    return
            await reading
        finally:
            self._stopping = True
            await asyncio.shield(asyncio.wait([reading]))

    async def _added(self, broker: Broker, assignment: list[TopicPartition]) -> list[str]:
        read = {(place.topic, place.partition) for place in assignment}
        return [
            f"{self._kafka.topic_prefix + topic}/{partition}"
            for topic in _FEEDS
            for partition in await asyncio.to_thread(broker.partitions, topic)
            if (self._kafka.topic_prefix + topic, partition) not in read
        ]

    def _read(self, assignment: list[TopicPartition], incarnation: str, loop: asyncio.AbstractEventLoop) -> None:
        consumer = Consumer(
            {
                **client_config(self._kafka),
                "group.id": "execution-agent",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 10,
            }
        )
        try:
            for place in assignment:
                _skip_what_is_gone(consumer, place)
            consumer.assign(assignment)
            loop.call_soon_threadsafe(self._on_state, "live")
            while not self._stopping:
                messages = consumer.consume(_POLL_MESSAGES, _POLL_SECONDS)
                if messages:
                    received_ns = clocks.time_ns()
                    at("kafka.hand_over")
                    self._hand_over([self._arrival(m, incarnation, received_ns) for m in messages], loop)
        finally:
            consumer.close()

    def _hand_over(self, arrivals: list[Arrival], loop: asyncio.AbstractEventLoop) -> None:
        """Wait for room in the inbox: a partition is not read on meanwhile."""
        handing = asyncio.run_coroutine_threadsafe(self._put(arrivals), loop)
        while not self._stopping:
            try:
                handing.result(timeout=0.2)
            except FutureTimeoutError:
                continue
            return
        handing.cancel()

    async def _put(self, arrivals: list[Arrival]) -> None:
        await self._inbox.put(arrivals)
        for arrival in arrivals:
            if arrival.position is not None:
                self._handed_over[arrival.position.feed, arrival.position.stream] = arrival.position

    def _arrival(self, message: Any, incarnation: str, received_ns: int) -> Arrival:
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001  librdkafka's local codes are named so
                raise FeedError(f"{message.topic()}/{message.partition()}: the offset is gone, {error.str()}")
            raise KafkaException(error)
        topic = message.topic().removeprefix(self._kafka.topic_prefix)
        feed, kind = _FEEDS[topic]
        position = Position(feed, f"{message.topic()}/{message.partition()}", incarnation, message.offset())
        headers = dict(message.headers() or ())
        given = headers.get("ce_type", b"").decode("utf-8", "replace")
        raw = message.value() or b""
        if given != topic:
            defect = Defect(
                "unknown_version",
                "ce_type",
                given,
                f"messages of this topic have ce_type {topic}",
                "Send another version or event on the topic of its name.",
            )
            return Arrival(feed, None, kind, raw, received_ns, position, defect)
        return Arrival(feed, None, kind, raw, received_ns, position)


def _skip_what_is_gone(consumer: Consumer, place: TopicPartition) -> None:
    """Begin at the earliest offset that is there: what retention deleted unread cannot be had, the rest can."""
    if place.offset == OFFSET_BEGINNING:
        return
    earliest, _ = consumer.get_watermark_offsets(place, timeout=_ANSWER_SECONDS)
    if place.offset < earliest:
        log.error(
            "messages are gone by retention before they were read: the topic's retention is too short",
            partition=f"{place.topic}/{place.partition}",
            first_gone=place.offset,
            last_gone=earliest - 1,
        )
        place.offset = earliest
