"""(b): from the time a fill was due on the socket to its commit, in the whole streaming process, open loop."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from bench.backlog import seed_orders
from bench.load import FILLS_PER_ORDER, VENUE, intent_message, order_facts
from ledger.domain.decide import ORDER_INTENTS
from ledger.domain.records import OrderIntent
from streaming.arrivals import Arrival, ArrivalKind
from streaming.process import Process
from streaming.settings import HttpSettings, KafkaSettings, Settings, VenueSettings, WebSocketFeedSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ledger.domain.decision import Decision
    from operations.embedded import Endpoints
    from streaming.settings import AuditSettings

_LATE_SECONDS = 60.0


class Stream:
    """A streaming process in this one, its only venue in another; latencies by fill."""

    def __init__(self, endpoints: Endpoints, url: str, port: int, audit: AuditSettings | None = None) -> None:
        self.kafka = KafkaSettings(bootstrap=endpoints.kafka_bootstrap, topic_prefix=f"bench{time.time_ns()}.")
        settings = Settings(
            postgres_url=SecretStr(url),
            redis_url=SecretStr(endpoints.redis_url),
            kafka=self.kafka,
            http=HttpSettings(port=0),
            audit=audit,
            venues={
                VENUE: VenueSettings(
                    format="canonical",
                    feed=WebSocketFeedSettings(url=f"ws://127.0.0.1:{port}", silence_seconds=600),
                )
            },
        )
        self._port = port
        self.process = Process(settings)
        self.process.lander.on_landed.insert(0, self._note)
        self.latencies: list[float] = []
        self.landed = 0
        self._venue: asyncio.subprocess.Process | None = None

    def _note(self, decision: Decision) -> None:
        now = time.time_ns()
        self.landed += len(decision.executions)
        self.latencies += [(now - e.transact_ns) / 1e6 for e in decision.executions]

    @contextlib.asynccontextmanager
    async def running(self, orders: int, url: str) -> AsyncIterator[None]:
        """Run both while the body runs."""
        await seed_orders(url, 0, time.time_ns())
        self._venue = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.venue", "--port", str(self._port),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[1],
        )  # fmt: skip
        await self._said("ready")
        stop = asyncio.Event()
        task = asyncio.create_task(self.process.run(stop))
        deadline = time.monotonic() + _LATE_SECONDS
        while self.process.metrics.feed_states.get(f"{VENUE}.ws") != "live":
            if time.monotonic() > deadline or task.done():
                raise TimeoutError(f"the feed is not live: {self.process.status()}")
            await asyncio.sleep(0.05)
        await self._route(orders)
        try:
            yield
        finally:
            self._venue.terminate()
            await self._venue.wait()
            stop.set()
            await task

    async def _route(self, orders: int) -> None:
        """Hand the orders' intents in as the Kafka feed does, before their fills come."""
        intents = [fact for fact in order_facts(orders, time.time_ns()) if isinstance(fact, OrderIntent)]
        for start in range(0, len(intents), 500):
            await self.process.inbox.put(
                [
                    Arrival(ORDER_INTENTS, None, ArrivalKind.INTENT, intent_message(intent), time.time_ns())
                    for intent in intents[start : start + 500]
                ]
            )
        while not self.process.lander.is_idle:  # noqa: ASYNC110  once, at the start
            await asyncio.sleep(0.02)

    async def send(self, first: int, count: int, rate: float) -> None:
        """Have the venue send, and wait until all has landed."""
        assert self._venue is not None
        assert self._venue.stdin is not None
        self.latencies.clear()
        wanted = self.landed + count
        self._venue.stdin.write(f"{first} {count} {rate}\n".encode())
        await self._said("sent")
        deadline = time.monotonic() + _LATE_SECONDS
        while self.landed < wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{wanted - self.landed} fills have not landed after {_LATE_SECONDS:g} s")
            await asyncio.sleep(0.02)

    async def _said(self, word: str) -> None:
        assert self._venue is not None
        assert self._venue.stdout is not None
        line = (await self._venue.stdout.readline()).decode().strip()
        if line != word:
            raise RuntimeError(f"the venue said {line!r} instead of {word!r}")


def orders_for(fills: int) -> int:
    """Orders needed for so many fills."""
    return -(-fills // FILLS_PER_ORDER)
