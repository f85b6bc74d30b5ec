"""How far checkpoints are apart for who reads ``audit.event.execution``, while the whole process lands fills."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING

from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from bench.latency import Stream, orders_for
from bench.machine import Others
from streaming.topics import AUDIT_EVENT, Broker

if TYPE_CHECKING:
    from operations.embedded import Endpoints
    from streaming.settings import AuditSettings, KafkaSettings

RATE = 2_000  # fills a second: two events each, for the topic has fills and what is decided of them
_WARM, _WARM_RATE = 1_000, 500
_PORT = 19_872
_CHECKPOINT = b'"event":"checkpoint"'


class _Reader(threading.Thread):
    """Reads what is committed of the topic, and keeps when each checkpoint came."""

    def __init__(self, kafka: KafkaSettings) -> None:
        super().__init__(name="topic-reader", daemon=True)
        self.times: list[float] = []
        self.over = threading.Event()
        self._kafka = kafka

    def run(self) -> None:
        config = {
            "bootstrap.servers": self._kafka.bootstrap,
            "group.id": "bench",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
        name = self._kafka.topic_prefix + AUDIT_EVENT
        consumer = Consumer(config)
        consumer.assign([TopicPartition(name, p, OFFSET_END) for p in Broker(self._kafka).partitions(AUDIT_EVENT)])
        while not self.over.is_set():
            for message in consumer.consume(5_000, 0.05):
                if message.error() is None and _CHECKPOINT in (message.value() or b""):
                    self.times.append(time.perf_counter())
        consumer.close()


async def told(endpoints: Endpoints, url: str, audit: AuditSettings, seconds: float) -> dict[str, float]:
    """Land fills at a steady rate; give how far the checkpoints on the topic were apart meanwhile."""
    fills = int(RATE * seconds)
    stream = Stream(endpoints, url, _PORT, audit=audit)
    async with stream.running(orders_for(_WARM + fills), url):
        await stream.send(0, _WARM, _WARM_RATE)
        reader = _Reader(stream.kafka)
        reader.start()
        others, began = Others(), time.perf_counter()
        await stream.send(_WARM, fills, RATE)
        ended = time.perf_counter()
        share = others.share()
        reader.over.set()
        reader.join()
    times = [began, *(at for at in reader.times if at <= ended), ended]
    apart = sorted(later - earlier for earlier, later in pairwise(times))
    return {
        "topic_fills_per_second": round(fills / (ended - began)),
        "topic_checkpoints": len(times) - 2,
        "topic_p50_seconds": round(apart[len(apart) // 2], 3),
        "topic_most_seconds": round(apart[-1], 3),
        "topic_share_of_others": share,
    }
