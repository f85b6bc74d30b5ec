"""A streaming process in the simulation: the real parts, put together as Process does.

What is left out: Redis, halting, fill delays, failover between feeds, and HTTP itself; a REST body is handed to
the real ``RestFeed`` behind its signature check.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import msgspec
from pydantic import SecretStr

from ledger.db.errors import LedgerUnavailableError
from ledger.db.reading import Reader
from ledger.domain.decide import Policy
from ledger.domain.tolerances import Grace
from simulation.threads import wait
from streaming.arrivals import Inbox
from streaming.feeds.fix import FixFeed
from streaming.feeds.kafka import KafkaFeed
from streaming.feeds.rest import RestFeed
from streaming.feeds.websocket import WebSocketFeed
from streaming.lander import Lander
from streaming.lease_keeping import LeaseKeeper
from streaming.metrics import Metrics
from streaming.publisher import Publisher
from streaming.venues import canonical
from streaming.venues.decoded import Decoder

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from ledger.domain.records import Position
    from simulation.loop import Fate, VirtualLoop
    from simulation.postgres import Postgres
    from streaming.arrivals import Arrival
    from streaming.settings import FixFeedSettings, HttpSettings, KafkaSettings, RestFeedSettings
    from streaming.settings import WebSocketFeedSettings as WsSettings

WEBSOCKET, FIX, REST = "ALPHA", "BRAVO", "CHARLIE"
WRITER = "execution-agent"
_SECOND = 1_000_000_000
POLICY = Policy(grace=Grace(10 * _SECOND, 30 * _SECOND, 30 * _SECOND))


class Store:
    """A folder of the FIX engine's store in which nothing is kept."""

    def __truediv__(self, name: str) -> Store:
        return self

    def read_text(self, encoding: str) -> str:
        """Find no file."""
        raise FileNotFoundError(encoding)


class FixSettings(msgspec.Struct):
    """Of the session that the engine is not really asked for."""

    begin_string: str = "FIX.4.4"
    sender_comp_id: str = "US"
    target_comp_id: str = "VENUE"
    store: Any = msgspec.field(default_factory=Store)
    password: SecretStr = SecretStr("")
    tls_certificate: None = None
    tls_key: None = None


class WebSocketSettings(msgspec.Struct):
    """Of the venue's WebSocket."""

    url: str = "ws://venue"
    silence_seconds: float = 5.0
    reconnect_max_seconds: float = 5.0
    token: SecretStr = SecretStr("")


class BrokerSettings(msgspec.Struct):
    """Of the broker."""

    bootstrap: str = "broker"
    topic_prefix: str = ""
    partitions: int = 2
    transactional_id: str = "publisher"
    options: dict[str, str] = msgspec.field(default_factory=dict)

    def client_options(self) -> dict[str, str]:
        """Give the options; they stay as they are."""
        return self.options


class CalledSettings(msgspec.Struct):
    """Of the HTTP edge and its one REST feed."""

    secrets: list[Any] = msgspec.field(default_factory=list)
    peers: tuple[str, ...] = ()
    timestamp_tolerance_seconds: int = 300
    body_limit: int = 1 << 20


class _Url(msgspec.Struct):
    path: str


class _Request(msgspec.Struct):
    url: _Url


_REQUEST: Any = _Request(_Url(f"/v1/venues/{REST}/fills"))


class WaitingKafkaFeed(KafkaFeed):
    """The Kafka feed; its thread waits for the inbox as threads wait here."""

    def _hand_over(self, arrivals: list[Arrival], loop: Any) -> None:
        handing = loop.create_task(self._put(arrivals))
        while not handing.done() and not self._stopping:
            waiting: list[Callable[[], None]] = []
            handing.add_done_callback(lambda _, waiting=waiting: [wake() for wake in waiting])
            wait(loop, 0.2, waiting)
        if handing.done():
            handing.result()
        else:
            handing.cancel()


class Parts(msgspec.Struct):
    """The classes that a process is made of; a test of the simulation swaps a faulty one in."""

    lander: type[Lander] = Lander
    websocket: type[WebSocketFeed] = WebSocketFeed
    publisher: type[Publisher] = Publisher
    decoder: Callable[[], Decoder] = lambda: canonical.decode


class Process:
    """One process; started by ``start`` in the context of its fate."""

    def __init__(
        self, fate: Fate, loop: VirtualLoop, server: Postgres, parts: Parts, broker: BrokerSettings
    ) -> None:
        self.fate = fate
        self.loop = loop
        self._server = server
        self._parts = parts
        self._broker = cast("KafkaSettings", broker)
        decode = parts.decoder()
        self.metrics = Metrics()
        self.inbox = Inbox(max_arrivals=200)
        self.lander = parts.lander(
            server.connect,  # type: ignore[arg-type]
            self.inbox,
            dict.fromkeys((WEBSOCKET, FIX, REST), decode),
            self.metrics,
            writer=WRITER,
            policy=POLICY,
            batch_limit=1000,
            keeper=LeaseKeeper(server.connect, WRITER),  # type: ignore[arg-type]
            ahead_from=1,  # its batches are small
        )
        self.publisher = parts.publisher(
            server.connect,  # type: ignore[arg-type]
            self._broker,
            self.metrics,
            writer=WRITER,
            source="simulation",
            refill_seconds=86_400.0,
            may_publish=self.lander.ready,
        )
        self.lander.on_landed.append(self.publisher.offer)
        self.lander.on_lost = self._stop_feeds
        self.lander.on_session.append(self.publisher.catch_up)
        settings = CalledSettings()
        self._rest = RestFeed(
            REST,
            cast("RestFeedSettings", settings),
            cast("HttpSettings", settings),
            self.inbox,
            self.lander.ready.is_set,
        )
        self._feeds: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.on_failure: Callable[[str], None] = lambda _: None

    def start(self) -> None:
        """Start every part; called in the context of the process's fate."""
        for part in (self.lander.run(), self.publisher.run(), self._run_feeds()):
            self._tasks.append(self.loop.create_task(self._watched(part)))

    async def _watched(self, part: Coroutine[Any, Any, None]) -> None:
        """A part that ends by itself ends the process: its supervisor starts another."""
        try:
            await part
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  whatever it is
            if self.loop.over:  # it is only being cleared away
                return
            self.on_failure(f"{type(error).__name__}: {error}")
            self.loop.kill(self.fate)

    def post(self, raw: bytes, answered: Callable[[int], None]) -> None:
        """Take a REST body; called in the context of the process's fate."""
        if not self.lander.ready.is_set():
            answered(503)
            return
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks.append(self.loop.create_task(self._land(raw, answered)))

    async def _land(self, raw: bytes, answered: Callable[[int], None]) -> None:
        response = await self._rest._land(_REQUEST, raw, self.loop.time_ns())  # noqa: SLF001  behind HTTP
        answered(response.status_code)

    async def _run_feeds(self) -> None:
        while True:
            await self.lander.ready.wait()
            if not self.lander.ready.is_set():
                continue
            self._feeds = self.loop.create_task(self._feed_all())
            await asyncio.wait({self._feeds})
            if self.lander.ready.is_set() and not self._feeds.cancelled():
                self._feeds.result()

    async def _stop_feeds(self) -> None:
        if self._feeds is not None and not self._feeds.done():
            self._feeds.cancel()
            await asyncio.wait({self._feeds})
        self.lander.forget_streams()

    async def _feed_all(self) -> None:
        """Run the feeds from where Postgres stands until one fails or all are cancelled, in their order."""
        positions = await self._positions()
        feeds = (
            self._parts.websocket(
                WEBSOCKET,
                cast("WsSettings", WebSocketSettings()),
                self.inbox,
                _of(f"{WEBSOCKET}.ws", positions),
                _quiet,
            ),
            FixFeed(FIX, cast("FixFeedSettings", FixSettings()), self.inbox, _of(f"{FIX}.fix", positions), _quiet),
            WaitingKafkaFeed(self._broker, self.inbox, self._positions, _quiet),
        )
        running = [self.loop.create_task(feed.run()) for feed in feeds]
        ended = self.loop.create_future()
        for task in running:
            task.add_done_callback(lambda _: None if ended.done() else ended.set_result(None))
        try:
            await ended
        finally:
            for task in running:
                task.cancel()
            for task in running:
                await asyncio.wait({task})
        for task in running:
            if not task.cancelled():
                task.result()

    async def _positions(self) -> Mapping[tuple[str, str], Position]:
        while True:
            try:
                connection = await self._server.connect()
                try:
                    return await Reader(cast("Any", connection)).positions()
                finally:
                    connection.terminate()
            except (LedgerUnavailableError, OSError):
                await asyncio.sleep(0.5)


def _of(feed: str, positions: Mapping[tuple[str, str], Position]) -> Position | None:
    return next((position for (name, _), position in positions.items() if name == feed), None)


def _quiet(state: str) -> None:
    pass
