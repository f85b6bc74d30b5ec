"""The process: feeds, inbox, lander, publisher and Redis put together; it starts, drains and stops here.

Feeds run only while this process holds the writer's lease, each time from the positions that Postgres then
holds: a standby is connected to nothing but Postgres, and no two processes use one FIX session.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn, assert_never

import asyncpg
import structlog
from redis.asyncio import Redis

from ledger.db.errors import LedgerUnavailableError
from ledger.db.reading import Reader
from ledger.db.urls import plain_url
from streaming.arrivals import Inbox
from streaming.delays import DelayWatch
from streaming.errors import StreamingError
from streaming.feeds.desk import DeskFeed
from streaming.feeds.fix import FixFeed
from streaming.feeds.kafka import KafkaFeed
from streaming.feeds.websocket import WebSocketFeed
from streaming.halt_flags import HaltFlags
from streaming.halting import Halting
from streaming.http import HttpServer
from streaming.in_flight import InFlight
from streaming.lander import Lander
from streaming.lease_keeping import LeaseKeeper
from streaming.metrics import Metrics
from streaming.policy import decoders_of, delay_policies_of, halt_policies_of, policy_of
from streaming.publisher import Publisher
from streaming.settings import FixFeedSettings, RestFeedSettings, WebSocketFeedSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ledger.domain.records import Position
    from streaming.settings import Settings, VenueSettings

Connect = Callable[[], Awaitable["asyncpg.Connection[Any]"]]

# a server that hangs is a server that is away; a landing's session is watched (streaming.lease_keeping)
_CONNECT_SECONDS, _COMMAND_SECONDS, _LANDING_SECONDS = 3.0, 10.0, 30.0
_INTAKE_SECONDS, _DRAIN_SECONDS, _END_SECONDS = 2.5, 4.0, 0.4  # of the 5 s that a SIGTERM may take
_OBSERVE_SECONDS = 0.5
_SWITCH_SECONDS = 0.0005
_SUFFIX = {"fix": "fix", "websocket": "ws", "rest": "rest"}

log = structlog.get_logger()


class Process:
    """One streaming process. ``run`` returns after ``stop`` was set and everything taken has landed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.metrics = Metrics()
        self.inbox = Inbox(settings.inbox_limit)
        self.lander = Lander(
            self._connect_to_land,
            self.inbox,
            decoders_of(settings),
            self.metrics,
            writer=settings.writer,
            policy=policy_of(settings),
            batch_limit=settings.batch_limit,
            keeper=LeaseKeeper(self.connect, settings.writer),
        )
        self.publisher = Publisher(
            self.connect,
            settings.kafka,
            self.metrics,
            writer=settings.writer,
            source=settings.source,
            refill_seconds=settings.refill_hours * 3600,
            may_publish=self.lander.ready,
        )
        self._redis = Redis.from_url(
            settings.redis_url.get_secret_value(), socket_timeout=2.0, socket_connect_timeout=2.0
        )
        self.in_flight = InFlight(
            self._redis,
            self.connect,
            deadline_seconds=settings.fill_deadline_seconds,
            may_write=self.lander.ready,
        )
        self.flags = HaltFlags(self._redis, settings.venues, may_write=self.lander.ready)
        self.halting = Halting(
            self.connect,
            self.inbox,
            self.metrics,
            halt_policies_of(settings),
            {name: _feed_name(name, venue) for name, venue in settings.venues.items()},
            may_decide=self.lander.ready,
        )
        self.halting.on_change = self.flags.show
        self.lander.on_landed += [self.publisher.offer, self.in_flight.offer, self.halting.offer]
        self.delays: DelayWatch | None = None
        delay_policies = delay_policies_of(settings)
        if delay_policies:  # where no venue is watched, nothing is learned or kept either
            self.delays = DelayWatch(
                self.connect,
                self.inbox,
                self.metrics,
                delay_policies,
                {name: _feed_name(name, venue) for name, venue in settings.venues.items()},
                may_decide=self.lander.ready,
            )
            self.lander.on_landed.append(self.delays.offer)
        self.lander.on_lost = self._stop_feeds
        self._feeds: asyncio.Task[None] | None = None
        self.http = HttpServer(
            settings, self.inbox, self.metrics, ready=self.lander.ready.is_set, status=self.status
        )

    async def connect(self) -> asyncpg.Connection[Any]:
        """Open a connection to the ledger."""
        return await self._open(_COMMAND_SECONDS)

    async def _connect_to_land(self) -> asyncpg.Connection[Any]:
        return await self._open(_LANDING_SECONDS)

    async def _open(self, command_seconds: float) -> asyncpg.Connection[Any]:
        return await asyncpg.connect(
            plain_url(self._settings.postgres_url.get_secret_value()),
            timeout=_CONNECT_SECONDS,
            command_timeout=command_seconds,
            server_settings={"application_name": "execution-agent stream"},
        )

    def status(self) -> dict[str, Any]:
        """Give what the live table and /readyz show."""
        metrics = self.metrics
        return {
            "ready": self.lander.ready.is_set(),
            "pid": os.getpid(),
            "backlog": len(self.inbox),
            "publisher": self.publisher.state,
            "redis": self.in_flight.state,
            "feeds": dict(metrics.feed_states),
            "halted": {venue: standing.reason for venue, standing in self.halting.standing.items()},
            "duplicates": dict(metrics.duplicates),
            "dead_letters": dict(metrics.dead_letters),
            "published": dict(metrics.published),
            "venues": {
                name: {
                    "received": metrics.received[name],
                    "landed": metrics.landed[name],
                    "latency_ms": metrics.percentiles(name),
                }
                for name in self._settings.venues
            },
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set; raises when a part fails in a way that starting over cannot mend."""
        self.http.bind()  # nothing is started when its port cannot be had
        calm_interpreter()
        parts = {
            asyncio.create_task(self.lander.run(), name="lander"),
            asyncio.create_task(self.publisher.run(), name="publisher"),
            asyncio.create_task(self.in_flight.run(), name="redis"),
            asyncio.create_task(self.halting.run(), name="halting"),
            asyncio.create_task(self.flags.run(), name="halt flags"),
            asyncio.create_task(self._observe(), name="observer"),
        }
        if self.delays is not None:
            parts.add(asyncio.create_task(self.delays.run(), name="fill delays"))
        intake = {
            asyncio.create_task(self.http.run(), name="http"),
            asyncio.create_task(self._run_feeds(), name="feeds"),
        }
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            done, _ = await asyncio.wait({stopping, *parts, *intake}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()
                raise StreamingError(f"the {task.get_name()} ended by itself")
            log.info("draining")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    await _cancel(intake, _INTAKE_SECONDS)
                    while not self._is_drained():  # noqa: ASYNC110  once, and soon over
                        await asyncio.sleep(0.02)
        finally:
            await _cancel({stopping, *parts, *intake}, _END_SECONDS)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._redis.aclose(), _END_SECONDS)
        log.info("stopped", backlog=len(self.inbox))

    def _is_drained(self) -> bool:
        """Whether waiting brings nothing more: what cannot land comes again, what is not published is swept."""
        if not self.lander.ready.is_set():
            return True
        return self.lander.is_idle and (self.publisher.is_idle or self.publisher.state != "live")

    async def _run_feeds(self) -> None:
        """Run the feeds while the lease is held."""
        try:
            while True:
                await self.lander.ready.wait()
                if not self.lander.ready.is_set():  # it came and went
                    continue
                self._feeds = asyncio.create_task(self._feed_all(), name="feeds of this lease")
                await asyncio.wait({self._feeds})
                if self.lander.ready.is_set():
                    _raise_first(self._feeds)
        finally:
            await self._end_feeds()

    async def _end_feeds(self) -> None:
        if self._feeds is not None and not self._feeds.done():
            self._feeds.cancel()
            await asyncio.wait({self._feeds})

    async def _stop_feeds(self) -> None:
        """After the lease is lost: another process may have it, and use the sessions."""
        await self._end_feeds()
        self.lander.forget_streams()

    async def _feed_all(self) -> None:
        try:
            positions = await self._positions()
            async with asyncio.TaskGroup() as group:
                for name, venue in self._settings.venues.items():
                    feed = self._feed(name, venue, positions)
                    if feed is not None:
                        group.create_task(feed.run(), name=f"feed {name}")
                kafka = KafkaFeed(self._settings.kafka, self.inbox, self._positions, self._on_state("kafka"))
                group.create_task(kafka.run(), name="feed kafka")
                desk = DeskFeed(self.connect, self.inbox, self._settings.venues)
                group.create_task(desk.run(), name="feed desk")
        finally:
            for name in list(self.metrics.feed_states):
                if not name.endswith(".rest"):  # they are called, whatever we hold
                    self.metrics.forget_feed(name)

    def _feed(
        self, name: str, venue: VenueSettings, positions: Mapping[tuple[str, str], Position]
    ) -> FixFeed | WebSocketFeed | None:
        feed = venue.feed
        if isinstance(feed, RestFeedSettings):
            self.metrics.set_feed_state(_feed_name(name, venue), "live")  # it is called, it does not call
            return None
        if isinstance(feed, FixFeedSettings):
            start = _position_of(_feed_name(name, venue), positions)
            return FixFeed(name, feed, self.inbox, start, self._on_state(_feed_name(name, venue)))
        if isinstance(feed, WebSocketFeedSettings):
            start = _position_of(_feed_name(name, venue), positions)
            return WebSocketFeed(name, feed, self.inbox, start, self._on_state(_feed_name(name, venue)))
        assert_never(feed)

    def _on_state(self, feed: str) -> Callable[[str], None]:
        def note(state: str) -> None:
            if self.metrics.feed_states.get(feed) != state:
                log.info("feed", feed=feed, state=state)
            self.metrics.set_feed_state(feed, state)

        return note

    async def _positions(self) -> dict[tuple[str, str], Position]:
        """Read every feed's position; a ledger that is away is waited for."""
        while True:
            try:
                return await self._positions_once()
            except LedgerUnavailableError as error:
                log.warning("ledger unavailable", error=str(error))
                await asyncio.sleep(_OBSERVE_SECONDS)

    async def _positions_once(self) -> dict[tuple[str, str], Position]:
        try:
            connection = await self.connect()
        except Exception as error:  # a driver's connect can fail in many ways; all mean the same
            raise LedgerUnavailableError(f"cannot connect: {error}") from error
        try:
            return await Reader(connection).positions()
        finally:
            connection.terminate()

    async def _observe(self) -> None:
        while True:
            oldest = self.inbox.oldest_ns()
            self.metrics.observe_backlog(len(self.inbox), oldest)
            await asyncio.sleep(_OBSERVE_SECONDS)


def _feed_name(name: str, venue: VenueSettings) -> str:
    return f"{name}.{_SUFFIX[venue.feed.kind]}"


def _position_of(feed: str, positions: Mapping[tuple[str, str], Position]) -> Position | None:
    return next((position for (name, _), position in positions.items() if name == feed), None)


def _raise_first(feeds: asyncio.Task[None]) -> NoReturn:
    """Raise what ended the feeds, as itself and not as a group."""
    error: BaseException | None = None if feeds.cancelled() else feeds.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, OSError):  # a store that cannot be written, say
        raise StreamingError(f"a feed cannot go on: {error}") from error
    raise error or StreamingError("the feeds ended by themselves")


async def _cancel(tasks: set[asyncio.Task[Any]], seconds: float) -> None:
    """Cancel tasks and wait for them, not for ever: the end of the process ends what is left."""
    for task in tasks:
        task.cancel()
    done, left = await asyncio.wait(tasks, timeout=seconds)
    for task in done:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("a part failed while stopping", part=task.get_name(), error=str(error))
    for task in left:
        log.warning("a part does not stop in time", part=task.get_name())


def calm_interpreter() -> None:
    """Keep pauses out of the latency's tail.

    What is loaded now stays for good, so it need not be collected; and the event loop takes the interpreter
    back from the Kafka threads after half a millisecond instead of five.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
