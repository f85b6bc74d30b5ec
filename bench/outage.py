"""(d): Postgres is away, reports wait at the venue, intents and snapshots on Kafka: how long until all is well.

The whole streaming process as it is run in production, in a process of its own, against real servers. The clock
runs from the moment Postgres answers again; it stops when every report is landed, and again when every one is
published. What is then in Postgres and on the topic is counted.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

from bench.load import FILLS_PER_ORDER, VENUE, intent_message, order_facts, snapshot_message
from bench.machine import Others, cpu_seconds, family, peak_mb
from ledger.domain.records import OrderIntent
from operations.embedded import ServerName
from streaming.settings import KafkaSettings
from streaming.topics import FILL_EVENT, MARKET_DATA, ORDER_INTENT, Broker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from operations.embedded import EmbeddedStack, Endpoints

_LIVE_RATE, _LIVE_FILLS = 1_000, 6_000  # the status gives the percentiles of the last 5,000
_LOOK_SECONDS = 0.25
_READY_SECONDS = 60.0
_STUCK_SECONDS = 60.0
_ROOT = Path(__file__).parents[1]


class OutageError(RuntimeError):
    """The run did not come to its end."""


class Outage:
    """One run in a state folder of its own."""

    def __init__(self, stack: EmbeddedStack, endpoints: Endpoints, url: str, folder: Path) -> None:
        self._stack = stack
        self._url = url
        self._folder = folder
        self._kafka = KafkaSettings(
            bootstrap=endpoints.kafka_bootstrap, topic_prefix=f"outage{time.time_ns()}.", partitions=3
        )
        self._ports = stack.state.port("bench-venue"), stack.state.port("bench-stream")
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(_ROOT),
            "EXECUTION_AGENT_POSTGRES_URL": url,
            "EXECUTION_AGENT_REDIS_URL": endpoints.redis_url,
            "EXECUTION_AGENT_KAFKA__BOOTSTRAP": self._kafka.bootstrap,
            "EXECUTION_AGENT_KAFKA__TOPIC_PREFIX": self._kafka.topic_prefix,
            "EXECUTION_AGENT_HTTP__PORT": str(self._ports[1]),
            f"EXECUTION_AGENT_VENUES__{VENUE}__FORMAT": "canonical",
            f"EXECUTION_AGENT_VENUES__{VENUE}__FEED__KIND": "websocket",
            f"EXECUTION_AGENT_VENUES__{VENUE}__FEED__URL": f"ws://127.0.0.1:{self._ports[0]}",
            f"EXECUTION_AGENT_VENUES__{VENUE}__FEED__SILENCE_SECONDS": "600",
        }
        self._venue: asyncio.subprocess.Process | None = None
        self._stream: asyncio.subprocess.Process | None = None

    async def run(self, reports: int) -> dict[str, float]:
        """Give the figures."""
        log = (self._folder / "stream.log").open("wb")
        try:
            where = ("--port", str(self._ports[0]), "--folder", str(self._folder))
            self._venue = await self._start("bench.waiting", *where)
            await self._said("ready")
            self._stream = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "operations.cli", "stream",
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment, cwd=self._folder,
            )  # fmt: skip
            return await self._measure(reports)
        except OutageError:
            sys.stderr.write((self._folder / "stream.log").read_text("utf-8", "replace")[-2_000:])
            raise
        finally:
            for process in (self._stream, self._venue):
                if process is not None and process.returncode is None:
                    process.terminate()
                    await process.wait()
            log.close()

    async def _measure(self, reports: int) -> dict[str, float]:
        live, total = _LIVE_FILLS, _LIVE_FILLS + reports
        await self._until(_READY_SECONDS, lambda status: status.get("feeds", {}).get(f"{VENUE}.ws") == "live")
        await asyncio.to_thread(self._route, 0, live)
        before = await self._trade(0, live)
        self._stack.kill(ServerName.POSTGRES)
        await asyncio.to_thread(self._route, live, total)
        await self._tell(f"wait {live} {reports}")
        await asyncio.to_thread(self._stack.restart, ServerName.POSTGRES)
        began = time.monotonic()
        assert self._stream is not None
        others, used = Others(), cpu_seconds(self._stream.pid)
        landed, published = await self._cleared(began, total)
        share, used = others.share(), cpu_seconds(self._stream.pid) - used
        memory = sum(map(peak_mb, family(self._stream.pid)))
        await asyncio.to_thread(self._route, total, total + live)
        after = await self._trade(total, live)
        total += live
        found = await self._counted()
        on_topic = await asyncio.to_thread(_events, self._kafka)
        if found != (total, total, 0) or on_topic != (total, total):
            raise OutageError(f"of {total} Postgres has (fills, executions, waiting) {found}, Kafka {on_topic}")
        return {
            "outage_seconds_to_landed": round(landed, 1),
            "outage_seconds_to_published": round(published, 1),
            "outage_fills_per_second": round(reports / max(landed, published)),
            "outage_share_of_others": share,
            "outage_process_cpu_us_per_fill": round(used / reports * 1e6, 1),
            "outage_memory_mb": round(memory, 1),
            "outage_live_p50_ms_before": round(before, 2),
            "outage_live_p50_ms_after": round(after, 2),
        }

    def _route(self, first: int, end: int) -> None:
        """Put the snapshots and the intents of fills ``first`` up to ``end`` on Kafka, as the other agents do."""
        for topic in (MARKET_DATA, ORDER_INTENT):
            Broker(self._kafka).partitions(topic)
        producer = Producer({"bootstrap.servers": self._kafka.bootstrap, "acks": "all", "linger.ms": 5})
        for topic, key, value in _messages(first // FILLS_PER_ORDER, -(-end // FILLS_PER_ORDER)):
            while True:
                try:
                    name = self._kafka.topic_prefix + topic
                    producer.produce(name, value=value, key=key, headers=[("ce_type", topic.encode())])
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        if left := producer.flush(60):
            raise OutageError(f"{left} messages could not be put on Kafka")

    async def _trade(self, first: int, count: int) -> float:
        """Have the venue send at a rate that leaves the process idle; give the p50, received to committed."""
        await self._tell(f"send {first} {count} {_LIVE_RATE}")
        await self._until(_STUCK_SECONDS, lambda status: _published(status) >= first + count)
        return float((await self._status())["venues"][VENUE]["latency_ms"]["p50"])

    async def _cleared(self, began: float, total: int) -> tuple[float, float]:
        """Wait until all is landed, and all is published; give the seconds to both."""
        landed, seen, moved = 0.0, (0, 0), time.monotonic()
        while True:
            status = await self._status()
            now = (status.get("venues", {}).get(VENUE, {}).get("landed", 0), _published(status))
            if now != seen:
                seen, moved = now, time.monotonic()
            if now[0] >= total and not landed:
                landed = time.monotonic() - began
            if landed and now[1] >= total:
                return landed, time.monotonic() - began
            if time.monotonic() - moved > _STUCK_SECONDS:
                raise OutageError(f"landed and published {seen} of {total}, and nothing moves: {status}")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _counted(self) -> tuple[int, int, int]:
        connection = await asyncpg.connect(self._url)
        try:
            (row,) = await connection.fetch(
                "SELECT (SELECT count(*) FROM execution.fills), (SELECT count(*) FROM execution.executions), "
                "(SELECT count(*) FROM execution.fills_pending)"
            )
        finally:
            await connection.close()
        return row[0], row[1], row[2]

    async def _until(self, seconds: float, is_so: Any) -> None:
        deadline = time.monotonic() + seconds
        while not is_so(status := await self._status()):
            if time.monotonic() > deadline:
                raise OutageError(f"the streaming process did not get there in {seconds:g} s: {status}")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _status(self) -> dict[str, Any]:
        return await asyncio.to_thread(_get, f"http://127.0.0.1:{self._ports[1]}/status")

    async def _start(self, *module: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", *module, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=_ROOT
        )

    async def _tell(self, command: str) -> None:
        assert self._venue is not None
        assert self._venue.stdin is not None
        self._venue.stdin.write(f"{command}\n".encode())
        await self._said("done")

    async def _said(self, word: str) -> None:
        assert self._venue is not None
        assert self._venue.stdout is not None
        line = (await self._venue.stdout.readline()).decode().strip()
        if line != word:
            raise OutageError(f"the venue said {line!r} instead of {word!r}")


def _messages(first_order: int, end_order: int) -> Iterator[tuple[str, str, bytes]]:
    for fact in order_facts(end_order - first_order, time.time_ns(), first_order):
        if isinstance(fact, OrderIntent):
            yield ORDER_INTENT, fact.correlation_id, intent_message(fact)
        else:
            yield MARKET_DATA, fact.symbol, snapshot_message(fact)


def _published(status: dict[str, Any]) -> int:
    return int(status.get("published", {}).get(FILL_EVENT, 0))


def _get(url: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  our own process
            found: dict[str, Any] = json.load(answer)
            return found
    except OSError:
        return {}


def _events(kafka: KafkaSettings) -> tuple[int, int]:
    """Count the fill events, and the different ones, that a consumer that reads committed sees."""
    name, partitions = kafka.topic_prefix + FILL_EVENT, set(Broker(kafka).partitions(FILL_EVENT))
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": "bench",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    number, seen = 0, set()
    try:
        consumer.assign([TopicPartition(name, partition, OFFSET_BEGINNING) for partition in partitions])
        deadline = time.monotonic() + _STUCK_SECONDS
        while partitions:
            if time.monotonic() > deadline:
                raise OutageError(f"{name}: the ends of {partitions} were not reached")
            for message in consumer.consume(5_000, 0.5):
                error = message.error()
                if error is None:
                    number += 1
                    seen.add(dict(message.headers() or ())["ce_id"])
                    deadline = time.monotonic() + _STUCK_SECONDS
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  librdkafka's local codes
                    partitions.discard(message.partition() or 0)
                else:
                    raise OutageError(str(error))
    finally:
        consumer.close()
    return number, len(seen)
