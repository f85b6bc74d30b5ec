"""Order intents and market data from Kafka: partitions assigned by hand, positions in Postgres.

No consumer group: the positions are written with the rows, and a group's first join takes seconds. Another
cluster id or topic id is another incarnation: its offsets start over, and landing again what was landed is
harmless. So does a partition that ends before the position: it was cut off, or made again by a broker that gives
no topic ids.
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
from streaming.feeds.kafka_lag import Lag
from streaming.topics import FETCH_MS, MARKET_DATA, ORDER_INTENT, Broker, client_config

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from streaming.feeds.kafka_lag import Waiting
    from streaming.settings import KafkaSettings

_FEEDS = {ORDER_INTENT: (ORDER_INTENTS, ArrivalKind.INTENT), MARKET_DATA: (MARKET_DATA_FEED, ArrivalKind.SNAPSHOT)}
_POLL_SECONDS = 0.05
_POLL_MESSAGES = 500
_CHECK_SECONDS = 1.0  # a lost connection shows here first: the client's own requests wait for a minute
_RETRY_SECONDS = 0.5
_ANSWER_SECONDS = 5.0
_CONNECT_SECONDS = 2.0  # a broker that has not answered by then is away, and keeps no fill out
_OVER = "~"  # before the time at which a partition started over

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
        self._cut_off: dict[tuple[str, str], str] = {}  # the incarnation under which each starts over
        self._live, self._at_ends = asyncio.Event(), asyncio.Event()
        self.waiting: dict[str, Waiting] = {}
        """What the topics still hold, by feed; what the broker has not said yet is not in it."""

    async def caught_up(self, seconds: float) -> bool:
        """Wait until all that was there has been handed over; not for long where the broker is away.

        Fills that are landed before the intents and snapshots of their time wait for them, or are restated.
        """
        try:
            async with asyncio.timeout(seconds):
                async with asyncio.timeout(min(seconds, _CONNECT_SECONDS)):
                    await self._live.wait()
                await self._at_ends.wait()
        except TimeoutError:
            return False
        return True

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
        shown = self._kafka.client_options()
        broker = await asyncio.to_thread(Broker, self._kafka)
        partitions = {topic: await asyncio.to_thread(broker.partitions, topic) for topic in _FEEDS}
        incarnations = await asyncio.to_thread(broker.incarnations, tuple(_FEEDS))
        known = await self._positions()
        places = [
            self._place(topic, partition, incarnations[topic], known)
            for topic, numbers in partitions.items()
            for partition in numbers
        ]
        at("kafka.assign")
        self._stopping = False
        loop = asyncio.get_running_loop()
        reading = asyncio.create_task(asyncio.to_thread(self._read, places, loop))
        try:
            while not reading.done():
                await asyncio.wait([reading], timeout=_CHECK_SECONDS)
                if reading.done():
                    break
                if await asyncio.to_thread(broker.incarnations, tuple(_FEEDS)) != incarnations:
                    raise FeedError("the broker or a topic is another incarnation: its offsets start over")
                if self._kafka.client_options() != shown:
                    log.info("kafka feed connects anew: our identity was replaced")
                    return
                if added := await self._added(broker, [place for place, _ in places]):
                    log.info("partitions were added", partitions=added)
                    return
            await reading
        finally:
            self._stopping = True
            self.waiting = {}
            await asyncio.shield(asyncio.wait([reading]))

    def _place(
        self, topic: str, partition: int, incarnation: str, known: Mapping[tuple[str, str], Position]
    ) -> tuple[TopicPartition, str]:
        """Say where to read a partition from, and its incarnation."""
        name = self._kafka.topic_prefix + topic
        stream = (_FEEDS[topic][0], f"{name}/{partition}")
        # what this feed handed over before is in the inbox, landed or not
        for last in (self._handed_over.get(stream), known.get(stream)):
            if last is None or last.incarnation.partition(_OVER)[0] != incarnation:
                continue
            if last.incarnation != self._cut_off.get(stream, last.incarnation):
                return TopicPartition(name, partition, OFFSET_BEGINNING), self._cut_off[stream]
            return TopicPartition(name, partition, last.value + 1), last.incarnation
        return TopicPartition(name, partition, OFFSET_BEGINNING), incarnation

    async def _added(self, broker: Broker, assignment: list[TopicPartition]) -> list[str]:
        read = {(place.topic, place.partition) for place in assignment}
        return [
            f"{self._kafka.topic_prefix + topic}/{partition}"
            for topic in _FEEDS
            for partition in await asyncio.to_thread(broker.partitions, topic)
            if (self._kafka.topic_prefix + topic, partition) not in read
        ]

    def _read(self, places: list[tuple[TopicPartition, str]], loop: asyncio.AbstractEventLoop) -> None:
        consumer = Consumer(
            {
                **client_config(self._kafka),
                "group.id": "execution-agent",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": FETCH_MS,
            }
        )
        try:
            for place, _ in places:
                _skip_what_is_gone(consumer, place)
            consumer.assign([place for place, _ in places])
            loop.call_soon_threadsafe(self._note_live)
            incarnations = {(place.topic, place.partition): incarnation for place, incarnation in places}
            lag = Lag(
                {place: _FEEDS[place[0].removeprefix(self._kafka.topic_prefix)][0] for place in incarnations}
            )
            while not self._stopping:
                messages = consumer.consume(_POLL_MESSAGES, _POLL_SECONDS)
                arrivals = self._arrivals(messages, incarnations, lag)
                self.waiting = lag.waiting(consumer)
                if arrivals:
                    at("kafka.hand_over")
                    self._hand_over(arrivals, loop)
                if not lag.behind and not self._at_ends.is_set():
                    loop.call_soon_threadsafe(self._at_ends.set)
        finally:
            consumer.close()

    def _note_live(self) -> None:
        self._on_state("live")
        self._live.set()

    def _arrivals(
        self, messages: Sequence[Any], incarnations: Mapping[tuple[str, int], str], lag: Lag
    ) -> list[Arrival]:
        received_ns = clocks.time_ns()
        arrivals: list[Arrival] = []
        for message in messages:
            place = (message.topic(), message.partition())
            error = message.error()
            if error is None:
                lag.note(place, message)
                arrivals.append(self._arrival(message, incarnations[place], received_ns))
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  librdkafka's local codes are named so
                lag.note_end(place)
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
                feed = _FEEDS[place[0].removeprefix(self._kafka.topic_prefix)][0]
                started = f"{incarnations[place].partition(_OVER)[0]}{_OVER}{clocks.time_ns()}"
                self._cut_off[feed, f"{place[0]}/{place[1]}"] = started
                raise FeedError(f"{place[0]}/{place[1]} starts over: {error.str()}")
            else:
                raise KafkaException(error)
        return arrivals

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
