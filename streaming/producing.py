"""The transactional producer, and reading back what its predecessor wrote. All of it blocks: use a thread.

The streaming process has its producer in a process of its own (``streaming.producing_process``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from ledger import clocks
from ledger.faultpoints import at
from streaming.errors import PublishError
from streaming.topics import DEAD_LETTERS, FETCH_MS, OUTBOUND, client_config, topics_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from ledger.db.outbox_event import OutboxEvent
    from streaming.settings import KafkaSettings
    from streaming.topics import BrokerClient

_TRANSACTION_SECONDS = 10.0
# Brokers refuse a message over 1,000,000 bytes by default, and one that is refused would hold up all behind it:
# of a larger dead letter the event goes out, and the bytes stay where they are whole, in Postgres.
_RAW_LIMIT = 900_000
_TAIL_SECONDS = 30.0
# Of a large transaction not every message's offset is noted: a tail that lies a little too low is read a little
# longer, and is never wrong. A prime: a fill goes to two topics in turn, an order's to one partition.
_NOTE_ALL, _NOTE_EVERY = 100, 61


class TopicWriter:
    """One producer with the fixed transactional id: opening it fences any other."""

    def __init__(self, kafka: BrokerClient, source: str) -> None:
        self._prefix = kafka.topic_prefix
        self._failed: str | None = None
        self._always: dict[str, list[tuple[str, str | bytes | None]]] = {
            topic: [("ce_specversion", b"1.0"), ("ce_source", source.encode()), ("ce_type", topic.encode())]
            for topic in OUTBOUND
        }
        self.tails: dict[str, int] = {}
        self._producer = Producer(
            {
                **client_config(kafka),
                "transactional.id": kafka.topic_prefix + kafka.transactional_id,
                "transaction.timeout.ms": int(_TRANSACTION_SECONDS * 3000),
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 5,  # of a large transaction fewer requests; committing sends what waits at once
                "partitioner": "murmur2_random",  # the Java clients' choice: one key, one partition, for all
                "queue.buffering.max.messages": 100_000,
                "log_level": 2,
            }
        )

    def open(self) -> None:
        """Fence the predecessor; its open transaction is aborted."""
        self._producer.init_transactions(_TRANSACTION_SECONDS)

    def write(
        self,
        events: Sequence[OutboxEvent],
        found: AbstractSet[tuple[str, str]],
        wanted: AbstractSet[str] = frozenset(OUTBOUND),
    ) -> dict[str, int]:
        """Write events in one transaction, less the (topic, id) ``found`` there; count the messages by topic.

        Of each event's topics to those ``wanted`` alone. After an error, abandon.
        """
        self._producer.poll(0)  # delivery reports of the last transaction that commit did not serve
        at("publisher.before_begin")
        self._producer.begin_transaction()
        at("publisher.after_begin")
        written, published = 0, dict[str, int]()
        every = 1 if len(events) <= _NOTE_ALL else _NOTE_EVERY
        for event in events:
            for topic in topics_of(event.event_type):
                if topic in wanted and (topic, event.event_id) not in found:
                    self._produce(topic, event, is_noted=written % every == 0)
                    written += 1
                    published[topic] = published.get(topic, 0) + 1
                    at("publisher.produced")
        at("publisher.before_commit")
        try:
            self._producer.commit_transaction(_TRANSACTION_SECONDS)
        except SystemError as error:  # the driver's own slip when a broker goes away in the middle of a commit
            raise PublishError(f"the transaction may have been committed or not: {error}") from error
        at("publisher.after_commit")
        if self._failed is not None:
            raise PublishError(f"a message was not delivered: {self._failed}")
        return published

    def _produce(self, topic: str, event: OutboxEvent, *, is_noted: bool) -> None:
        value, content_type = event.body, b"application/json"
        headers = [*self._always[topic], ("ce_id", event.event_id)]
        if topic == DEAD_LETTERS and event.raw is not None:
            headers.append(("ce_reason", event.body))
            if len(event.raw) > _RAW_LIMIT:
                headers.append(("ce_omitted", str(len(event.raw)).encode()))
            else:
                value, content_type = event.raw, b"application/octet-stream"
        headers.append(("content-type", content_type))
        name = self._prefix + topic
        if is_noted:
            self._producer.produce(name, value, event.key, headers=headers, on_delivery=self._delivered)
        else:  # one that is not delivered fails the transaction's commit all the same
            self._producer.produce(name, value, event.key, headers=headers)

    def _delivered(self, error: KafkaError | None, message: Any) -> None:
        if error is not None:
            self._failed = str(error)
            return
        key = f"{message.topic()}/{message.partition()}"
        self.tails[key] = max(self.tails.get(key, 0), message.offset() + 1)

    def abandon(self) -> None:
        """Drop the producer without waiting for it: whatever it was doing, its successor finds out."""
        self._producer.purge()


def read_tails(
    kafka: KafkaSettings, partitions: Mapping[str, Sequence[int]], tails: Mapping[str, int]
) -> set[tuple[str, str]]:
    """Collect (topic, event id) of what stands at or after ``tails``, up to each partition's end."""
    wanted = [
        TopicPartition(kafka.topic_prefix + topic, p, tails.get(f"{kafka.topic_prefix}{topic}/{p}", 0))
        for topic, numbers in partitions.items()
        for p in numbers
    ]
    consumer = Consumer(
        {
            **client_config(kafka),
            "group.id": "execution-agent.tails",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": FETCH_MS,
        }
    )
    try:
        consumer.assign(wanted)
        names = _read_to_the_end(consumer, {(w.topic, w.partition) for w in wanted})
        return {(name.removeprefix(kafka.topic_prefix), event_id) for name, event_id in names}
    finally:
        consumer.close()


def _read_to_the_end(consumer: Consumer, open_ends: set[tuple[str, int]]) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    deadline = clocks.monotonic() + _TAIL_SECONDS
    while open_ends:
        if clocks.monotonic() > deadline:
            raise PublishError(f"the ends of {sorted(open_ends)} were not reached in {_TAIL_SECONDS:g} s")
        for message in consumer.consume(500, 0.1):
            error = message.error()
            if error is None:
                found.add((message.topic() or "", _text(dict(message.headers() or ()).get("ce_id"))))
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  librdkafka's local codes are named so
                open_ends.discard((message.topic(), message.partition()))
            else:
                raise PublishError(f"a topic's tail cannot be read: {error}")
    return found


def _text(value: str | bytes | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""
