"""One producer's life: what it published beyond the cursor, page by page, and the cursor."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from confluent_kafka import KafkaException

from ledger import clocks, faultpoints
from ledger.db.outbox import Cursor
from streaming.errors import PublishError
from streaming.topics import OUTBOUND, topics_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet

    from ledger.db.outbox import Outbox
    from ledger.db.outbox_event import OutboxEvent
    from streaming.metrics import Metrics
    from streaming.topics import Broker

_PAGE = 1_000
_SAVE_PAGES = 20  # of a long sweep: what it published is known from there on
_END_SECONDS = 1.0
_COMMIT_SECONDS = 0.5  # one that takes longer may wait for a broker that is not there: it is asked
LONGEST_SECONDS = 20.0  # a commit gives up after ten: a producer that has not answered by then does not any more
_TOLD_WITHIN_SECONDS = 30.0  # an event is handed over at most this long after its commit, or not at all

P = ParamSpec("P")
T = TypeVar("T")


class EventWriter(Protocol):
    """A transactional producer: ``TopicWriter``, or the one that has it in a process of its own."""

    tails: dict[str, int]

    def open(self) -> None:
        """Fence the predecessor."""
        ...

    def write(
        self,
        events: Sequence[OutboxEvent],
        found: AbstractSet[tuple[str, str]],
        wanted: AbstractSet[str] = frozenset(OUTBOUND),
    ) -> dict[str, int]:
        """Write events to the topics ``wanted``, less the (topic, id) ``found`` there; count messages by topic."""
        ...

    def abandon(self) -> None:
        """Drop the producer without waiting for it."""
        ...


class PublishingSession:
    """Publishes what is behind the cursor, what is beyond it, and what was handed over: each event once.

    ``found`` is what stood in the topics' tails at the start: (topic, event id).
    """

    def __init__(
        self,
        outbox: Outbox,
        writer: EventWriter,
        broker: Broker,
        cursor: Cursor,
        found: set[tuple[str, str]],
        metrics: Metrics,
        may_publish: asyncio.Event,
    ) -> None:
        self._may_publish = may_publish
        self._outbox = outbox
        self._writer = writer
        self._broker = broker
        self._cursor = cursor
        self._found = found
        self._found_below: int | None = None
        self._published: set[str] = set()
        self._swept: set[str] = set()
        self._swept_before: set[str] = set()
        self._swept_since = clocks.monotonic()
        self._metrics = metrics

    async def publish_offered(self, events: list[OutboxEvent]) -> None:
        """Publish what was handed over, less what a sweep saw first: a commit is seen before it is told of."""
        fresh = [e for e in events if e.event_id not in self._swept and e.event_id not in self._swept_before]
        await self._publish(fresh)
        self._published.update(event.event_id for event in fresh)

    async def refill(self, topics: AbstractSet[str], start: tuple[int, int]) -> None:
        """Fill topics that were made again with what the cursor is beyond, from ``start`` on.

        What a refill that was cut off has written was found there. The cursor is saved when all of it is done.
        """
        at, end = start, (self._cursor.xid, self._cursor.position)
        while at < end:
            self._check_lease()
            entries = [e for e in await self._outbox.page(at, end[0] + 1, _PAGE) if (e.xid, e.position) <= end]
            if not entries:
                break
            wanted = [e for e in entries if not topics.isdisjoint(topics_of(e.event_type))]
            if wanted:
                await self._publish(await self._outbox.events(wanted), topics)
            faultpoints.at("publisher.refilled")
            at = (entries[-1].xid, entries[-1].position)
        await self._save(end, self._cursor.tails)

    async def catch_up(self) -> None:
        """Publish what has committed beyond the cursor: what is handed over next must not overtake it.

        A transaction that runs for long holds the sweep back.
        """
        at = (self._cursor.xid, self._cursor.position)
        _, none_from = await self._outbox.horizon()
        while True:
            self._check_lease()
            entries = await self._outbox.page(at, none_from, _PAGE)
            fresh = [entry for entry in entries if entry.event_id not in self._published]
            if fresh:
                await self._publish(await self._outbox.events(fresh))
                self._swept.update(entry.event_id for entry in fresh)
                self._published.update(entry.event_id for entry in fresh)
            if len(entries) < _PAGE:
                break
            at = (entries[-1].xid, entries[-1].position)

    async def _publish(self, events: list[OutboxEvent], topics: AbstractSet[str] = frozenset(OUTBOUND)) -> None:
        if not events:
            return
        writing = asyncio.create_task(in_thread(self._writer.write, events, self._found, topics))
        deadline = clocks.monotonic() + LONGEST_SECONDS
        try:
            while not (await asyncio.wait({writing}, timeout=_COMMIT_SECONDS))[0]:
                await asyncio.to_thread(self._broker.incarnation)
                _check_answers(deadline)
        except asyncio.CancelledError:
            writing.cancel()
            await asyncio.wait({writing})
            raise
        except (KafkaException, PublishError):
            writing.cancel()  # not waited for: a producer that is left in a commit is fenced by the next one
            raise
        self._metrics.count_published(writing.result())

    async def sweep(self) -> None:
        """Publish every landed event behind the cursor, move it, and save it where a crash may rely on it."""
        tails = dict(self._writer.tails)
        earlier = set(self._published)
        all_before, none_from = await self._outbox.horizon()
        if self._found_below is None:
            self._found_below = none_from
        at = (self._cursor.xid, self._cursor.position)
        for page in count(1):
            self._check_lease()
            if page % _SAVE_PAGES == 0 and not self._published and not self._found:
                # nothing beyond stands below these tails: of a long refill that is cut off, the rest is left
                tails = dict(self._writer.tails)
                await self._save(at, tails)
            entries = await self._outbox.page(at, all_before, _PAGE)
            fresh = [entry for entry in entries if entry.event_id not in self._published]
            if fresh:
                await self._publish(await self._outbox.events(fresh))
                self._swept.update(entry.event_id for entry in fresh)
                faultpoints.at("publisher.swept")
            swept = {entry.event_id for entry in entries}
            self._published -= swept
            earlier -= swept
            if entries:
                at = (entries[-1].xid, entries[-1].position)
            if len(entries) < _PAGE:
                break
        if clocks.monotonic() - self._swept_since > _TOLD_WITHIN_SECONDS:
            self._swept_before, self._swept = self._swept, set()
            self._swept_since = clocks.monotonic()
        if all_before >= self._found_below:
            self._found.clear()  # every event that could have been found is behind the cursor now
        # an event published earlier and not swept yet may stand below these tails: keep the older ones
        if not earlier and not self._found and at != (self._cursor.xid, self._cursor.position):
            await self._save(at, tails)
        else:
            self._cursor = Cursor(self._cursor.incarnation, *at, self._cursor.tails)

    async def _save(self, at: tuple[int, int], tails: dict[str, int]) -> None:
        self._cursor = Cursor(self._cursor.incarnation, *at, tails)
        faultpoints.at("cursor.before")
        await self._outbox.save(self._cursor)
        faultpoints.at("cursor.after")

    def _check_lease(self) -> None:
        """A refill of a day's events takes minutes: another process must not wait for its end."""
        if not self._may_publish.is_set():
            raise PublishError("the lease is gone")


async def in_thread(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Run what writes to the broker in a thread; a stop waits a little for it.

    A transaction cut off is open until the broker's timeout, and hides what is behind it from those who read
    committed; a producer that is opened when its successor is already there fences it.
    """
    running = asyncio.ensure_future(asyncio.to_thread(function, *arguments, **named))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running], timeout=_END_SECONDS)
        running.add_done_callback(_looked_at)
        raise


def _check_answers(deadline: float) -> None:
    if clocks.monotonic() > deadline:
        raise PublishError(f"the producer has not answered for {LONGEST_SECONDS:g} s")


def _looked_at(ended: asyncio.Future[Any]) -> None:
    """Take note of how a thread ended that nobody waits for: its producer was abandoned."""
    if not ended.cancelled():
        ended.exception()
