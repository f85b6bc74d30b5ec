"""The Kafka side: order intents and market data snapshots as CloudEvents in binary mode."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from simulator.clock import rfc3339

INTENTS = "order.intent.route.v1"
SNAPSHOTS = "market.data.snapshot.v1"
PARTITIONS = 3
POLL_EVERY = 0.02
TRY_TOPICS_EVERY = 1.0
NEVER_EXPIRES = 0  # message.timeout.ms: the simulator's grace bounds the waiting, not librdkafka


class Event(msgspec.Struct, frozen=True):
    """One CloudEvent to produce; ``done`` is called when the broker has it."""

    type: str
    id: str
    source: str
    time: int
    key: str
    value: bytes
    done: Callable[[], None] | None = None


class Topics:
    """Produces events; keeps trying until the broker has them."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self._bootstrap = bootstrap
        self._prefix = prefix
        self._outstanding = 0
        self._waiting: list[Event] = []
        self._ready = False
        self._tasks: list[asyncio.Task[None]] = []
        self._producer: Any = None

    @property
    def outstanding(self) -> int:
        """Events that the broker has not acknowledged."""
        return self._outstanding

    async def start(self) -> None:
        """Connect in the background; what is published meanwhile waits."""
        if self._bootstrap:
            self._tasks = [asyncio.create_task(self._prepare()), asyncio.create_task(self._poll())]

    def publish(self, event: Event) -> None:
        """Produce an event. Without a broker it counts as done."""
        if not self._bootstrap:
            if event.done:
                event.done()
            return
        self._outstanding += 1
        self._send(event)

    async def stop(self) -> None:
        """Let go; what the broker has not taken is in the journal (intents) or lost (snapshots)."""
        for task in self._tasks:
            task.cancel()
        if self._producer is not None:
            await asyncio.to_thread(self._producer.flush, 1.0)

    def _send(self, event: Event) -> None:
        if not self._ready:
            self._waiting.append(event)
            return
        headers = {
            "ce_specversion": "1.0",
            "ce_id": event.id,
            "ce_source": event.source,
            "ce_type": event.type,
            "ce_time": rfc3339(event.time),
            "content-type": "application/json",
        }
        try:
            self._producer.produce(
                self._prefix + event.type,
                key=event.key,
                value=event.value,
                headers=headers,
                on_delivery=partial(self._delivered, event),
            )
        except BufferError:  # librdkafka's queue is full
            self._waiting.append(event)

    def _delivered(self, event: Event, error: Any, _: Any) -> None:
        if error is not None:  # a broker that came back without our topics
            self._waiting.append(event)
            self._ready = False
            return
        self._outstanding -= 1
        if event.done:
            event.done()

    async def _prepare(self) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": self._bootstrap,
                "linger.ms": 2,
                "acks": "all",
                # one request in flight keeps an order's intents in order through retries
                "max.in.flight.requests.per.connection": 1,
                "message.timeout.ms": NEVER_EXPIRES,
                "reconnect.backoff.max.ms": 1000,
                "socket.timeout.ms": 5_000,  # of a connection that leads nowhere it waits no minute for an answer
                "log_level": 2,
            }
        )
        while True:
            if not self._ready:
                with suppress(KafkaException):
                    await asyncio.to_thread(self._create_topics)
                    self._ready = True
            if self._ready and self._waiting:
                waiting, self._waiting = self._waiting, []
                for event in waiting:
                    self._send(event)
            await asyncio.sleep(POLL_EVERY if self._ready else TRY_TOPICS_EVERY)

    def _create_topics(self) -> None:
        admin = AdminClient({"bootstrap.servers": self._bootstrap, "log_level": 2})
        names = {self._prefix + INTENTS, self._prefix + SNAPSHOTS}
        missing = names - set(admin.list_topics(timeout=5).topics)
        if missing:
            created = admin.create_topics(
                [NewTopic(name, num_partitions=PARTITIONS, replication_factor=1) for name in missing]
            )
            for future in created.values():
                with suppress(KafkaException):  # someone else created it in between
                    future.result(timeout=10)
            absent = names - set(admin.list_topics(timeout=5).topics)
            if absent:
                raise KafkaException(f"topics could not be created: {sorted(absent)}")

    async def _poll(self) -> None:
        while True:
            if self._producer is not None:
                while self._producer.poll(0):
                    pass
            await asyncio.sleep(POLL_EVERY)
