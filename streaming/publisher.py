"""Landed events onto Kafka, each once, in order per key.

The way in normal times: what was landed is handed over in process (``offer``) and published in one Kafka
transaction a batch. The way that is always right: a sweep over the landed rows behind a cursor, each second
and after any trouble; it skips what is known to be published. After a crash the topics' tails, read from
where the cursor was saved, say what the cursor does not yet know. Event ids are deterministic, so whatever
a consumer might see again has the same id.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

import structlog
from confluent_kafka import KafkaException

from ledger import clocks, faultpoints
from ledger.db.errors import LedgerUnavailableError
from ledger.db.outbox import Cursor, Outbox
from ledger.db.outbox_event import OutboxEvent
from streaming.errors import PublishError
from streaming.producing import TopicWriter, read_tails
from streaming.publishing_session import LONGEST_SECONDS, PublishingSession, in_thread
from streaming.topics import OUTBOUND, Broker, made_again, written

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg

    from ledger.domain.decision import Decision
    from streaming.metrics import Metrics
    from streaming.publishing_session import EventWriter
    from streaming.settings import KafkaSettings

_HANDED_OVER_LIMIT = 20_000  # beyond this the sweep reads them from Postgres: memory stays bounded
_TRANSACTION_EVENTS = 4_000  # of a backlog: a commit takes the broker as long for one event
_PACE_SECONDS = 0.005
_SWEEP_SECONDS = 1.0
_RETRY_SECONDS = 0.5
_OWED_SECONDS = 0.5  # probes of indexes: of a session that has just been ended for silence, this one is like it

log = structlog.get_logger()


class Publisher:
    """The one publisher of a writer; runs while the writer holds its lease."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection[Any]]],
        kafka: KafkaSettings,
        metrics: Metrics,
        *,
        writer: str,
        source: str,
        refill_seconds: float,
        may_publish: asyncio.Event,
        make_writer: Callable[[KafkaSettings, str], EventWriter] = TopicWriter,
    ) -> None:
        self._connect = connect
        self._kafka = kafka
        self._make_writer = make_writer
        self._metrics = metrics
        self._writer = writer
        self._source = source
        self._refill_seconds = refill_seconds
        self._may_publish = may_publish
        self._offered: deque[OutboxEvent] = deque()
        self._overflowed = False
        self._live = False
        self._busy = False
        self._wake = asyncio.Event()
        self._ledger: tuple[asyncpg.Connection[Any], Outbox] | None = None
        self.state = "connecting"

    def offer(self, decision: Decision) -> None:
        """Hand over the events of a landed decision; too many at once are left to the sweep."""
        if not self._takes(len(decision.events)):
            return
        raws = {letter.dead_letter_id: letter.raw for letter in decision.dead_letters}
        self._offered.extend(
            OutboxEvent(e.event_id, e.event_type, e.key, e.body, raws.get(e.event_id)) for e in decision.events
        )
        self._wake.set()

    def offer_event(self, event: OutboxEvent) -> None:
        """Hand over one event that was committed beside the landing."""
        if self._takes(1):
            self._offered.append(event)
            self._wake.set()

    def _takes(self, number: int) -> bool:
        """Whether so many events are handed over; else the sweep brings them."""
        if self._live and len(self._offered) + number > _HANDED_OVER_LIMIT:
            self._overflowed = True
            self._offered.clear()
        return self._live and not self._overflowed

    def catch_up(self) -> None:
        """Have a sweep go first: what the last session committed without an answer was never handed over.

        The landing's connection is a new one. One of ours that still waits for an answer was lost with the old.
        """
        if self._ledger is not None and self._ledger[1].waits_seconds > _OWED_SECONDS:
            self._ledger[0].terminate()
        self._overflowed = self._live
        self._offered.clear()
        self._wake.set()

    @property
    def is_idle(self) -> bool:
        """Whether everything handed over is published."""
        return self._live and not (self._busy or self._offered or self._overflowed)

    async def run(self) -> None:
        """Publish until cancelled; after any trouble the producer is thrown away and the tails decide."""
        while True:
            await self._may_publish.wait()
            try:
                await self._session()
            except (KafkaException, PublishError, LedgerUnavailableError, OSError) as error:
                self.state = "down"
                self._metrics.count_restart("publisher")
                log.warning("publishing starts over", error=str(error))
            finally:
                self._live = False
                self._offered.clear()
                self._overflowed = False
            await asyncio.sleep(_RETRY_SECONDS)

    async def _session(self) -> None:
        try:
            connection = await self._connect()
        except Exception as error:  # a driver's connect can fail in many ways; all mean the same
            raise LedgerUnavailableError(f"cannot connect: {error}") from error
        writer: EventWriter | None = None
        try:
            outbox = Outbox(connection, self._writer)
            self._ledger = connection, outbox
            shown = self._kafka.client_options()
            broker = await asyncio.to_thread(Broker, self._kafka)
            partitions = {t: await asyncio.to_thread(broker.partitions, t) for t in OUTBOUND}
            incarnations = await asyncio.to_thread(broker.incarnations, OUTBOUND)
            writer = self._make_writer(self._kafka, self._source)
            faultpoints.at("publisher.connected")
            await self._opened(writer)
            faultpoints.at("publisher.opened")
            cursor, again = await self._where_it_stands(outbox, incarnations)
            found = await asyncio.to_thread(read_tails, self._kafka, partitions, cursor.tails)
            faultpoints.at("publisher.tails_read")
            writer.tails.update(cursor.tails)
            session = PublishingSession(outbox, writer, broker, cursor, found, self._metrics, self._may_publish)
            self._busy = self._live = True  # from now on what lands is handed over, and waits
            if again:
                await session.refill(again, await outbox.refill_start(self._refill_seconds))
            await session.sweep()
            await session.catch_up()
            faultpoints.at("publisher.caught_up")
            self.state = "live"
            await self._follow(session, broker, incarnations, shown)
        finally:
            self._ledger = None
            if writer is not None:
                writer.abandon()
            connection.terminate()

    async def _opened(self, writer: EventWriter) -> None:
        """Fence a publisher that is still out there."""
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                await in_thread(writer.open)
        except TimeoutError as error:
            raise PublishError(f"the producer has not been opened for {LONGEST_SECONDS:g} s") from error

    async def _where_it_stands(
        self, outbox: Outbox, incarnations: dict[str, str]
    ) -> tuple[Cursor, frozenset[str]]:
        """Give the cursor to go on from, and the topics that were made again since: they are filled up to it.

        Where all were, on a new broker say, the cursor goes back instead. What it had not come to is published,
        however old it is.
        """
        named = written(incarnations)
        cursor = await outbox.cursor()
        again = frozenset(incarnations) if cursor is None else made_again(cursor.incarnation, incarnations)
        if cursor is not None and len(again) < len(incarnations):
            if again:
                log.warning("topics were made again: they are filled from the ledger", topics=sorted(again))
            names = tuple(f"{self._kafka.topic_prefix}{topic}/" for topic in again)
            tails = {place: tail for place, tail in cursor.tails.items() if not place.startswith(names)}
            return Cursor(named, cursor.xid, cursor.position, tails), again
        start = await outbox.refill_start(self._refill_seconds)
        if cursor is not None:
            start = min(start, (cursor.xid, cursor.position))
        cluster = min(incarnations.values(), default="").partition("/")[0]
        log.info("topics are filled from the ledger", incarnation=cluster)
        return Cursor(named, *start, {}), frozenset()

    async def _follow(
        self, session: PublishingSession, broker: Broker, incarnations: dict[str, str], shown: dict[str, str]
    ) -> None:
        swept = clocks.monotonic()
        while self._may_publish.is_set():
            self._busy = bool(self._offered)
            if self._offered:
                batch = [self._offered.popleft() for _ in range(min(len(self._offered), _TRANSACTION_EVENTS))]
                await session.publish_offered(batch)
                await asyncio.sleep(_PACE_SECONDS)  # what lands meanwhile shares the next transaction
            else:
                self._wake.clear()
                rest = _SWEEP_SECONDS - (clocks.monotonic() - swept)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, rest)):  # wait_for loses a cancellation in 3.11
                        await self._wake.wait()
            if clocks.monotonic() - swept >= _SWEEP_SECONDS or self._overflowed:
                if await asyncio.to_thread(broker.incarnations, OUTBOUND) != incarnations:
                    raise PublishError("the broker or a topic is another incarnation: it is filled again")
                if self._kafka.client_options() != shown:
                    raise PublishError("our identity was replaced: another producer shows the new one")
                overflowed, self._overflowed = self._overflowed, False  # what lands from here on is kept again
                await session.sweep()
                if overflowed:
                    await session.catch_up()
                swept = clocks.monotonic()
        raise PublishError("the lease is gone")
