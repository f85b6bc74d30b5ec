"""A topic as a consumer that reads committed messages sees it, from its beginning to its end."""

from __future__ import annotations

import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from chaos.comparing import Message
from operations.main_job.balance import FETCH_MS

_QUIET_SECONDS = 60.0  # no message for so long, and not at the end: something holds the committed ones back
_LONGEST_SECONDS = 600.0  # messages that come one by one are no end either


def read_topic(bootstrap: str, topic: str) -> list[Message]:
    """Read a topic whole; per partition in the order of the offsets. Raises ``KafkaException``."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "execution-agent.chaos",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": FETCH_MS,
        }
    )
    found: list[Message] = []
    try:
        open_ends = set(consumer.list_topics(topic, timeout=5.0).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in open_ends])
        began = heard = time.monotonic()
        while open_ends:
            if time.monotonic() > min(heard + _QUIET_SECONDS, began + _LONGEST_SECONDS):
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001  librdkafka's local codes
            for message in consumer.consume(1000, 0.5):
                error, heard = message.error(), time.monotonic()
                if error is not None:
                    if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                        raise KafkaException(error)
                    open_ends.discard(message.partition())
                    continue
                partition, offset = message.partition(), message.offset()
                assert partition is not None, "a message that was read has a place"
                assert offset is not None, "a message that was read has a place"
                event_id = _text(dict(message.headers() or ()).get("ce_id"))
                found.append(Message(partition, offset, _text(message.key()), event_id))
    finally:
        consumer.close()
    return found


def _text(value: bytes | str | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""
