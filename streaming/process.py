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
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn

import asyncpg
import structlog

from ledger import clocks
from ledger.db.urls import plain_url
from ledger.faultpoints import at
from streaming.arrivals import Inbox
from streaming.backlog import tally
from streaming.checkpoints import Checkpointer
from streaming.delays import DelayWatch
from streaming.errors import StreamingError
from streaming.feeding import Feeding
from streaming.halt_flags import HaltFlags
from streaming.halting import Halting
from streaming.http import HttpServer
from streaming.in_flight import InFlight
from streaming.lander import Lander
from streaming.lease_keeping import LeaseKeeper
from streaming.look_back.making import auditing_of, look_backs_of
from streaming.metrics import Metrics
from streaming.policy import decoders_of, delay_policies_of, halt_policies_of, policy_of, venues_to_ask
from streaming.producing_process import ApartWriter
from streaming.publisher import Publisher
from streaming.questions import Questions
from streaming.redis_tls import redis_at
from streaming.secret_events import SecretEvents
from streaming.trusting import Trust

if TYPE_CHECKING:
    from pydantic import SecretStr

    from streaming.settings import Settings
    from streaming.steady_clock import SteadyClock

Connect = Callable[[], Awaitable["asyncpg.Connection[Any]"]]

# a server that hangs is a server that is away; a landing's session is watched (streaming.lease_keeping)
_CONNECT_SECONDS, _COMMAND_SECONDS, _LANDING_SECONDS = 3.0, 10.0, 30.0
_INTAKE_SECONDS, _DRAIN_SECONDS, _END_SECONDS = 2.5, 4.0, 0.4  # of the 5 s that a SIGTERM may take
_OBSERVE_SECONDS = 1.0
_SWITCH_SECONDS = 0.0005

log = structlog.get_logger()


class Process:
    """One streaming process. ``run`` returns after ``stop`` was set and everything taken has landed."""

    def __init__(self, settings: Settings, clock: SteadyClock | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self.metrics = Metrics()
        self.trust = Trust(settings, self.metrics.credentials)
        if self.trust.of("kafka"):
            shown = settings.kafka.showing(self.trust.kafka_options)
            settings = self._settings = settings.model_copy(update={"kafka": shown})
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
            self._connect_to_publish,
            settings.kafka,
            self.metrics,
            writer=settings.writer,
            source=settings.source,
            refill_seconds=settings.refill_hours * 3600,
            may_publish=self.lander.ready,
            make_writer=ApartWriter,
        )
        self._redis = redis_at(settings.redis_url.get_secret_value(), self.trust)
        self.in_flight = InFlight(
            self._redis,
            self.connect,
            deadline_seconds=settings.fill_deadline_seconds,
            may_write=self.lander.ready,
            token=lambda: self.lander.token,
        )
        decoders = decoders_of(settings)
        secrets = self.trust.credentials
        self.secret_events = SecretEvents(self.connect, self.lander.ready)
        secrets.tell = self.secret_events.tell
        self.look_backs = look_backs_of(settings, self.inbox, decoders, self.metrics, self.connect, secrets)
        self.auditing = auditing_of(
            settings, self.inbox, self.metrics, self.look_backs, self.connect, self.lander.ready
        )
        self.questions = Questions(venues_to_ask(settings))
        self.feeding = Feeding(
            settings, self.connect, self.inbox, self.metrics, self.look_backs, self.questions, secrets
        )
        self.flags = HaltFlags(
            self._redis, settings.venues, may_write=self.lander.ready, token=lambda: self.lander.token
        )
        self.halting = Halting(
            self.connect,
            self.inbox,
            self.metrics,
            halt_policies_of(settings),
            self.feeding.active,
            self.feeding.open_since,
            may_decide=self.lander.ready,
        )
        self.halting.on_change = self.flags.show
        self.lander.on_landed += [
            self.publisher.offer,
            self.in_flight.offer,
            self.halting.offer,
            self.feeding.offer,
            self.auditing.offer,
        ]
        self.delays: DelayWatch | None = None
        delay_policies = delay_policies_of(settings)
        if delay_policies:  # where no venue is watched, nothing is learned or kept either
            self.delays = DelayWatch(
                self.connect,
                self.inbox,
                self.metrics,
                delay_policies,
                self.feeding.active,
                may_decide=self.lander.ready,
                ask=self.questions.ask,
            )
            self.lander.on_landed.append(self.delays.offer)
        self.checkpointer: Checkpointer | None = None
        if settings.audit is not None:
            self.checkpointer = Checkpointer(
                self.connect,
                settings.audit,
                self.metrics.audit,
                self.lander.ready,
                self.trust,
                self.publisher.offer_event,
            )
        self.lander.on_lost = self._stop_feeds
        self.lander.on_session.append(self.publisher.catch_up)
        self._feeds: asyncio.Task[None] | None = None
        self.http = HttpServer(
            settings,
            self.feeding.taps,
            self.metrics,
            ready=self.lander.ready.is_set,
            status=self.status,
            credentials=secrets,
            tls=self.trust.server_tls if settings.http.tls else None,
        )

    async def connect(self) -> asyncpg.Connection[Any]:
        """Open a connection to the ledger."""
        return await self._open(_COMMAND_SECONDS)

    async def _connect_to_land(self) -> asyncpg.Connection[Any]:
        return await self._open(_LANDING_SECONDS)

    async def _connect_to_publish(self) -> asyncpg.Connection[Any]:
        return await self._open(_COMMAND_SECONDS, self._settings.publisher_postgres_url)

    async def _open(self, command_seconds: float, url: SecretStr | None = None) -> asyncpg.Connection[Any]:
        return await asyncpg.connect(
            plain_url((url or self._settings.postgres_url).get_secret_value()),
            timeout=_CONNECT_SECONDS,
            command_timeout=command_seconds,
            ssl=self.trust.client_tls(self.trust.of("postgres")),
            server_settings={
                "application_name": "execution-agent stream",
                "execution.process": self._settings.source,  # audit_events.recorded_by
            },
        )

    def status(self) -> dict[str, Any]:
        """Give what the live table and /readyz show."""
        metrics = self.metrics
        return {
            "ready": self.lander.ready.is_set(),
            "pid": os.getpid(),
            "backlog": len(self.inbox),
            "waiting": {
                source: {
                    "count": found.count,
                    "age_seconds": round(found.age, 3),
                    "at_source": found.at_source,
                }
                for source, found in metrics.waiting.items()
            },
            "publisher": self.publisher.state,
            "redis": self.in_flight.state,
            "audit": {"state": "off", "reason": ""} if self.checkpointer is None else self.checkpointer.status(),
            "identity": self.trust.status(),
            "secrets": self.trust.credentials.status(),
            "feeds": dict(metrics.feed_states),
            "failover": self.feeding.status(),
            "complete_to": self.auditing.status(),
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
        await self.trust.start()
        calm_interpreter()
        parts = {
            asyncio.create_task(self.lander.run(), name="lander"),
            asyncio.create_task(self.publisher.run(), name="publisher"),
            asyncio.create_task(self.in_flight.run(), name="redis"),
            asyncio.create_task(self.halting.run(), name="halting"),
            asyncio.create_task(self.flags.run(), name="halt flags"),
            asyncio.create_task(self.auditing.run(), name="completeness"),
            asyncio.create_task(self._observe(), name="observer"),
        }
        if self.trust.watches:
            parts.add(asyncio.create_task(self.trust.credentials.run(), name="secrets"))
            parts.add(asyncio.create_task(self.secret_events.run(), name="events of secrets"))
        if self.delays is not None:
            parts.add(asyncio.create_task(self.delays.run(), name="fill delays"))
        if self.checkpointer is None:
            log.warning("the audit log is off: audit events are not signed (setting audit, docs/audit.md)")
        else:
            parts.add(asyncio.create_task(self.checkpointer.run(), name="audit log"))
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
            at("drain.began")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    await _cancel(intake, _INTAKE_SECONDS)
                    at("drain.intake_over")
                    while not self._is_drained():  # noqa: ASYNC110  once, and soon over
                        await asyncio.sleep(0.02)
            at("drain.over")
        finally:
            await _cancel({stopping, *parts, *intake}, _END_SECONDS)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._redis.aclose(), _END_SECONDS)
            self.trust.close()
        at("drain.ended")
        log.info("stopped", backlog=len(self.inbox))

    def _is_drained(self) -> bool:
        """Whether waiting brings nothing more: what cannot land comes again, what is not published is swept."""
        if not self.lander.ready.is_set():
            return True
        return self.lander.is_idle and (self.publisher.is_idle or self.publisher.state != "live")

    async def _run_feeds(self) -> None:
        """Run the feeds while the lease is held."""
        held = 0
        try:
            while True:
                await self.lander.ready.wait()
                if not self.lander.ready.is_set():  # it came and went
                    continue
                is_regained = self.lander.token == held + 1 > 1  # it counts up with each taking
                held = self.lander.token
                feeding = self.feeding.run(is_regained=is_regained)
                self._feeds = asyncio.create_task(feeding, name="feeds of this lease")
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

    async def _observe(self) -> None:
        while True:
            arrivals = chain(self.lander.waiting(), self.inbox)
            held = {**dict.fromkeys(self._settings.venues, 0), **self.feeding.beyond()}
            self.metrics.observe_backlog(tally(arrivals, held, self.feeding.written_ns(), clocks.time_ns()))
            if self._clock is not None:
                self._clock.look(self.metrics)
            await asyncio.sleep(_OBSERVE_SECONDS)


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
    gc.set_threshold(400_000, 20, 50)
