"""The loop that lands: take what has arrived, decide, commit, then tell whoever waits.

Batches grow with load: everything that arrived while the last commit was in flight is the next batch, so
latency stays at one commit when idle. Nothing is acknowledged before its commit; a batch whose commit is in
doubt is decided and landed again, which the identities make harmless.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from ledger.db.errors import (
    LandingConflictError,
    LeaseLostError,
    LedgerRefusedError,
    LedgerUnavailableError,
)
from ledger.db.landing import Landing
from ledger.db.reading import Reader
from ledger.domain.decide import Fact, Policy, decide
from ledger.domain.errors import Defect
from streaming.arrivals import Arrival
from streaming.decoding import decode_arrival
from streaming.errors import StreamingError
from streaming.outcomes import outcomes_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    import asyncpg

    from ledger.domain.book import Book
    from ledger.domain.decision import Decision
    from streaming.arrivals import Inbox
    from streaming.metrics import Metrics
    from streaming.venues.decoded import Decoder

_REFUSED = "ledger_refused"
_CONFLICT_TRIES = 5  # one reload is enough with one writer; more would mean there are two
_DECODE_SLICE = 32
_LEASE_RETRY_SECONDS = 0.5
_RECONNECT_SECONDS = 0.25

log = structlog.get_logger()


class Batch(msgspec.Struct):
    """Arrivals with the facts each holds."""

    arrivals: list[Arrival]
    facts: list[list[Fact]]


class Lander:
    """The one writer. ``ready`` is set while it holds the lease and its connection."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection[Any]]],
        inbox: Inbox,
        decoders: Mapping[str, Decoder],
        metrics: Metrics,
        *,
        writer: str,
        policy: Policy,
        batch_limit: int,
    ) -> None:
        self._connect = connect
        self._inbox = inbox
        self._decoders = decoders
        self._metrics = metrics
        self._writer = writer
        self._policy = policy
        self._batch_limit = batch_limit
        self._unlanded: list[Batch] = []  # taken and not committed, the next one last
        self._decoded: asyncio.Queue[Batch | Exception] = asyncio.Queue(maxsize=1)
        self._decoding = False
        self.ready = asyncio.Event()
        self.on_landed: list[Callable[[Decision], None]] = []

    @property
    def is_idle(self) -> bool:
        """Whether everything that was taken has landed."""
        return not (len(self._inbox) or self._decoding or self._unlanded or self._decoded.qsize())

    async def run(self) -> None:
        """Land until cancelled; a lost connection is made anew and the batch in doubt is landed first."""
        decoding = asyncio.create_task(self._decode_all())
        try:
            while True:
                try:
                    await self._session()
                except (LedgerUnavailableError, OSError) as error:
                    self._metrics.count_restart("lander")
                    log.warning("ledger unavailable", error=str(error))
                finally:
                    self.ready.clear()
                await asyncio.sleep(_RECONNECT_SECONDS)
        finally:
            decoding.cancel()

    async def _decode_all(self) -> None:
        try:
            await self._decode()
        except Exception as error:  # noqa: BLE001  a bug in a decoder, handed over to fail loudly
            await self._decoded.put(error)

    async def _decode(self) -> None:
        """Decode the next batch while the last one is being committed."""
        while True:
            self._decoding = False
            arrivals = await self._inbox.take(self._batch_limit)
            self._decoding = True
            facts: list[list[Fact]] = []
            for number, arrival in enumerate(arrivals):
                if number % _DECODE_SLICE == _DECODE_SLICE - 1:
                    await asyncio.sleep(0)  # let the commit in flight go on: its server works meanwhile
                decoding = decode_arrival(arrival, self._decoders)
                facts.append(decoding.facts)
                if arrival.venue is not None:
                    self._metrics.count_received(arrival.venue, 1)
                    if decoding.others:
                        self._metrics.count_others(arrival.venue, decoding.others)
            await self._decoded.put(Batch(arrivals, facts))

    async def _session(self) -> None:
        try:
            connection = await self._connect()
        except Exception as error:  # a driver's connect can fail in many ways; all mean the same
            raise LedgerUnavailableError(f"cannot connect: {error}") from error
        try:
            landing, reader = Landing(connection), Reader(connection)
            await self._await_lease(landing)
            book = await reader.open_book(time.time_ns())
            log.info("landing", writer=self._writer)
            self.ready.set()
            while True:
                if not self._unlanded:
                    decoded = await self._decoded.get()
                    if isinstance(decoded, Exception):
                        raise StreamingError("a decoder failed on what it must make a dead letter of") from decoded
                    self._unlanded.append(decoded)
                book = await self._land(book, landing, reader)
        finally:
            connection.terminate()

    async def _await_lease(self, landing: Landing) -> None:
        told = False
        while True:
            try:
                await landing.take_lease(self._writer)
            except LeaseLostError as error:
                if not told:
                    log.warning("waiting for the lease", reason=str(error))
                    told = True
                await asyncio.sleep(_LEASE_RETRY_SECONDS)
            else:
                return

    async def _land(self, book: Book, landing: Landing, reader: Reader) -> Book:
        """Land the next batch, or, where Postgres refuses a value, halve it, down to the one that is refused.

        What is committed is told and taken off at once: after a lost connection only the rest is landed again.
        Give the book to go on with: a conflict shows that the one at hand is behind.
        """
        batch = self._unlanded[-1]
        try:
            decision, book = await self._commit(batch, book, landing, reader)
        except LedgerRefusedError as error:
            self._unlanded[-1:] = self._refuse(batch, error) if len(batch.arrivals) == 1 else _halves(batch)
            return book
        self._unlanded.pop()
        self._tell(batch, decision)
        return book

    async def _commit(self, batch: Batch, book: Book, landing: Landing, reader: Reader) -> tuple[Decision, Book]:
        facts: Sequence[Fact] = [fact for facts in batch.facts for fact in facts]
        positions = [a.position for a in batch.arrivals if a.position is not None]
        for attempt in range(_CONFLICT_TRIES):
            wanted, duplicates = await reader.complete(book, facts, suspicious=attempt > 0)
            decision = decide(book, wanted, self._policy)
            for feed, number in duplicates.items():
                decision.duplicates[feed] = decision.duplicates.get(feed, 0) + number
            await reader.drop_known(decision)
            try:
                await landing.land(decision, positions)
            except LandingConflictError as error:
                log.warning("the book was behind the database, loading again", attempt=attempt, error=str(error))
                self._metrics.count_restart("conflict")
                book = await reader.open_book(time.time_ns())
                continue
            book.apply(decision)
            return decision, book
        raise LeaseLostError(f"a batch still conflicts after {_CONFLICT_TRIES} reloads: is there a second writer?")

    def _refuse(self, batch: Batch, error: LedgerRefusedError) -> list[Batch]:
        """Make the arrival a dead letter; one that is refused as such is a bug of ours."""
        arrival = batch.arrivals[0]
        if arrival.defect is not None and arrival.defect.reason == _REFUSED:
            raise error
        defect = Defect(
            _REFUSED,
            "message",
            arrival.raw[:80].decode("utf-8", "replace"),
            str(error).replace("\x00", "\\0"),
            "Mend the value at its source and send it again.",
        )
        refused = msgspec.structs.replace(arrival, defect=defect)
        return [Batch([refused], [decode_arrival(refused, self._decoders).facts])]

    def _tell(self, batch: Batch, decision: Decision) -> None:
        """After the commit, and never before: measure, answer, publish."""
        now = time.time_ns()
        latencies: dict[str, list[float]] = {}
        for captured in decision.fills:
            latencies.setdefault(captured.report.venue, []).append((now - captured.received_ns) / 1e9)
        for venue, seconds in latencies.items():
            self._metrics.count_landed(venue, seconds)
        self._metrics.count_duplicates(decision.duplicates)
        for letter in decision.dead_letters:
            self._metrics.count_dead_letter(letter.feed)
        self._metrics.pending.inc(len(decision.pending) - len(decision.pending_gone))
        self._metrics.breaks.inc(len(decision.breaks) - len(decision.breaks_ended))
        for arrival, outcome in outcomes_of(batch.arrivals, batch.facts, decision):
            assert arrival.done is not None
            arrival.done(outcome)
        for listener in self.on_landed:
            listener(decision)


def _halves(batch: Batch) -> list[Batch]:
    """Split a batch; the first half comes last, where the next batch is taken from."""
    middle = len(batch.arrivals) // 2
    return [Batch(batch.arrivals[part], batch.facts[part]) for part in (slice(middle, None), slice(None, middle))]
