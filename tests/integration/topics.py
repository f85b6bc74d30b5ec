"""Topics read and written beside the process."""

from __future__ import annotations

import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import msgspec
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streaming.settings import KafkaSettings
from streaming.topics import Broker

if TYPE_CHECKING:
    from operations.embedded import Endpoints

_READ_SECONDS = 30


class Message(msgspec.Struct, frozen=True):
    partition: int
    key: str
    value: bytes
    headers: dict[str, bytes]

    @property
    def event_id(self) -> str:
        return self.headers["ce_id"].decode()


def kafka_settings(endpoints: Endpoints, topic_prefix: str) -> KafkaSettings:
    return KafkaSettings(bootstrap=endpoints.kafka_bootstrap, topic_prefix=topic_prefix)


def read_topic(kafka: KafkaSettings, topic: str) -> list[Message]:
    """Read a topic to its ends as a consumer that reads committed sees it."""
    name = kafka.topic_prefix + topic
    config = {
        "bootstrap.servers": kafka.bootstrap, "group.id": "test", "enable.auto.commit": False,
        "enable.partition.eof": True, "isolation.level": "read_committed", "fetch.wait.max.ms": 10,
    }  # fmt: skip
    found: list[Message] = []
    with closing(Consumer(config)) as consumer:
        partitions = Broker(kafka).partitions(topic)
        consumer.assign([TopicPartition(name, partition, OFFSET_BEGINNING) for partition in partitions])
        deadline = time.monotonic() + _READ_SECONDS
        while partitions:
            assert time.monotonic() < deadline, f"{name}: the ends of {partitions} were not reached"
            for message in consumer.consume(500, 0.1):
                error = message.error()
                if error is None:
                    key, headers = message.key() or b"", dict[str, Any](message.headers() or ())
                    place = message.partition() or 0
                    found.append(Message(place, bytes(key).decode(), message.value() or b"", headers))  # type: ignore[arg-type]
                else:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    partitions = [p for p in partitions if p != message.partition()]
    return found


def make_again(kafka: KafkaSettings, topic: str) -> None:
    """Delete a topic and make it again, empty: under its name, with another id."""
    admin, name = AdminClient({"bootstrap.servers": kafka.bootstrap}), kafka.topic_prefix + topic
    number = len(Broker(kafka).partitions(topic))
    for future in admin.delete_topics([name]).values():
        future.result(10)
    deadline = time.monotonic() + _READ_SECONDS
    while name in admin.list_topics(timeout=5).topics:
        assert time.monotonic() < deadline, f"{name} is still there"
        time.sleep(0.05)
    for future in admin.create_topics([NewTopic(name, number, 1)]).values():
        with suppress(KafkaException):  # somebody was quicker
            future.result(10)


def produce(kafka: KafkaSettings, topic: str, values: list[bytes], *, ce_type: str | None = None) -> None:
    """Write events as another agent does; one value a key, spread over the partitions."""
    Broker(kafka).partitions(topic)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "acks": "all", "linger.ms": 5})
    for number, value in enumerate(values):
        producer.produce(
            kafka.topic_prefix + topic,
            value=value,
            key=f"key-{number}",
            headers=[("ce_specversion", b"1.0"), ("ce_type", (topic if ce_type is None else ce_type).encode())],
        )
        producer.poll(0)
    assert producer.flush(20) == 0
