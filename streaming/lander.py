"""The loop that lands: take what has arrived, decide, commit, then tell whoever waits.

Batches grow with load: everything that arrived while the last commit was in flight is the next batch, so
latency stays at one commit when idle. Nothing is acknowledged before its commit; what was in doubt when the
connection went is decided and landed again, which the identities make harmless: REST callers' from here, the
streams' when their feeds have started again from the positions in Postgres.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from ledger import clocks
from ledger.db.errors import (
    LandingConflictError,
    LeaseLostError,
    LedgerRefusedError,
    LedgerUnavailableError,
)
from ledger.db.failures import explained
from ledger.db.instruments import load_instruments
from ledger.db.landing import Landing
from ledger.db.leases import LEASE_SECONDS, UNATTENDED_SECONDS
from ledger.db.reading import Reader
from ledger.domain.decide import with_instruments
from ledger.domain.errors import Defect
from ledger.faultpoints import at
from streaming.answers import discount_replays
from streaming.batches import Batch, answerable, comes_again, halves
from streaming.deciding import Decided, complete, decide_ahead, decide_now, is_said, leaves_all_in
from streaming.decoding import decode_arrival
from streaming.errors import StreamingError
from streaming.outcomes import outcomes_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    import asyncpg

    from ledger.domain.book import Book
    from ledger.domain.decide import Fact, Policy
    from ledger.domain.decision import Decision
    from ledger.domain.records import Overdue
    from streaming.arrivals import Arrival, Inbox
    from streaming.lease_keeping import LeaseKeeper
    from streaming.metrics import Metrics
    from streaming.venues.decoded import Decoder

_REFUSED = "ledger_refused"
_CONFLICT_TRIES = 3  # one reload is enough; what still conflicts after two does so whatever the book knows
_LANDED_OTHERWISE = "this identity is already landed for another order or under another reference"
_DECODE_SLICE = 64  # about a millisecond
_ANSWER_SECONDS = 3.0
_LEASE_RETRY_SECONDS = 0.25
_RECONNECT_SECONDS = 0.25
_GRACE_SECONDS = 1.0  # how often it is asked whose grace time is over: a probe of a small index

log = structlog.get_logger()


class Lander:
    """The one writer. ``ready`` is set while it holds the lease and its connection.

    ``on_lost`` is awaited after a session has ended and before the next begins; ``on_session`` is called before
    the first landing of each: what was in doubt of the one before has committed by now or never will, and nobody
    was told. ``keeper`` renews the lease;
    without one it is held for as long as a person's command takes.
    """

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
        keeper: LeaseKeeper | None = None,
        ahead_from: int = 100,
    ) -> None:
        self._connect = connect
        self._inbox = inbox
        self._decoders = decoders
        self._metrics = metrics
        self._writer = writer
        self._policy = policy
        self._batch_limit = batch_limit
        self._keeper = keeper
        self._ahead_from = ahead_from
        self._ahead: asyncio.Task[Decided] | None = None
        self._asked_at: float | None = None  # since when a landing, or the start, waits for the ledger
        self.token = 0  # of the lease, once taken
        self._unlanded: list[Batch] = []  # taken and not committed, the next one last
        self._decoded: asyncio.Queue[Batch | Exception] = asyncio.Queue(maxsize=1)
        self._decoding = False
        self._taken: list[Arrival] = []
        self._queued: Batch | None = None
        self._stir = asyncio.Event()  # a batch is there, or the session has ended
        self._generation = 0
        self._look_at = 0.0
        self.ready = asyncio.Event()
        self.on_lost: Callable[[], Awaitable[None]] | None = None
        self.on_session: list[Callable[[], None]] = []
        self.on_landed: list[Callable[[Decision], None]] = []

    def waiting(self) -> Iterator[Arrival]:
        """Give what was taken from the inbox and has not landed."""
        queued = self._queued
        yield from self._taken
        if queued is not None and all(batch is not queued for batch in self._unlanded):
            yield from queued.arrivals
        for batch in self._unlanded:
            yield from batch.arrivals

    @property
    def is_idle(self) -> bool:
        """Whether everything that was taken has landed."""
        return not (len(self._inbox) or self._decoding or self._unlanded or self._decoded.qsize())

    async def run(self) -> None:
        """Land until cancelled; a lost connection is made anew and what is kept of before is landed first."""
        decoding = asyncio.create_task(self._decode_all())
        try:
            while True:
                try:
                    await self._session()
                except (LedgerUnavailableError, LeaseLostError, OSError) as error:
                    self._metrics.count_restart("lander")
                    log.warning("ledger unavailable", error=str(error))
                finally:
                    self.ready.clear()
                at("lander.lost")
                if self.on_lost is not None:
                    await self.on_lost()
                at("lander.forgotten")
                await asyncio.sleep(_RECONNECT_SECONDS)
        finally:
            decoding.cancel()

    def forget_streams(self) -> None:
        """Drop what stream feeds handed over: started again, they bring it again from where Postgres stands.

        Landed after that, its positions would go back. To be called when they have stopped, and before the next
        session. What a caller waits for is kept.
        """
        self._generation += 1
        self._inbox.discard(comes_again)
        self._unlanded = [kept for batch in self._unlanded if (kept := answerable(batch)).arrivals]
        self._look_at = 0.0

    async def _decode_all(self) -> None:
        try:
            await self._decode()
        except Exception as error:  # noqa: BLE001  a bug in a decoder, handed over to fail loudly
            await self._decoded.put(error)
            self._stir.set()

    async def _decode(self) -> None:
        """Decode the next batch while the last one is being committed."""
        while True:
            self._decoding = False
            arrivals = await self._inbox.take(self._batch_limit)
            self._decoding = True
            self._taken = arrivals
            generation = self._generation
            facts: list[list[Fact]] = []
            ahead = self._ahead
            if ahead is not None and len(arrivals) >= self._ahead_from:
                await asyncio.wait({ahead})
            for number, arrival in enumerate(arrivals):
                if number % _DECODE_SLICE == _DECODE_SLICE - 1:
                    await asyncio.sleep(0)  # let the commit in flight go on: its server works meanwhile
                at("decode.before")
                decoding = decode_arrival(arrival, self._decoders)
                at("decode.after")
                facts.append(decoding.facts)
                if arrival.venue is not None:
                    self._metrics.count_received(arrival.venue, 1)
                    if decoding.others:
                        self._metrics.count_others(arrival.venue, decoding.others)
            batch = Batch(arrivals, facts, generation)
            await self._decoded.put(batch)
            self._taken, self._queued = [], batch
            self._stir.set()

    async def _session(self) -> None:
        try:
            connection = await self._connect()
        except Exception as error:  # a driver's connect can fail in many ways; all mean the same
            raise LedgerUnavailableError(f"cannot connect: {error}") from error
        keeping: asyncio.Task[None] | None = None
        try:
            connection.add_termination_listener(self._stirred)
            # reference data may have changed since the last session
            self._policy = with_instruments(self._policy, await load_instruments(connection))
            landing = Landing(connection)
            reader = Reader(connection, self._policy.tolerances, self._policy.slippage.instruments)
            await self._await_lease(landing)
            if self._keeper is not None:
                keeping = asyncio.create_task(self._keeper.keep(self.token, connection, lambda: self._asked_at))
            at("lease.taken")
            self._asked_at = clocks.monotonic()
            book = await reader.open_book(clocks.time_ns())
            self._metrics.start_open(*await reader.open_counts())
            self._asked_at = None
            at("lander.opened")
            log.info("landing", writer=self._writer)
            for listener in self.on_session:
                listener()
            self.ready.set()
            while True:
                if not self._unlanded:
                    self._unlanded.append(await self._next(connection, reader))
                self._asked_at = clocks.monotonic()
                book = await self._land(book, landing, reader)
                self._asked_at = None
        finally:
            self._asked_at = None
            self._drop_ahead()
            connection.terminate()
            if keeping is not None:
                keeping.cancel()

    async def _next(self, connection: asyncpg.Connection[Any], reader: Reader) -> Batch:
        """Wait for the next batch, for the end of a grace time, and for that of the session, which is an error."""
        while True:
            overdue = await self._look_overdue(reader)
            if overdue is not None:
                return Batch([], [[overdue]], self._generation)
            while self._decoded.empty():
                if connection.is_closed():
                    raise LedgerUnavailableError("the session has ended")
                self._stir.clear()
                try:
                    async with asyncio.timeout(max(0.0, self._look_at - clocks.monotonic())):
                        await self._stir.wait()
                except TimeoutError:
                    break
            if self._decoded.empty():
                continue
            decoded = self._decoded.get_nowait()
            self._queued = None
            if isinstance(decoded, Exception):
                raise StreamingError("a decoder failed on what it must make a dead letter of") from decoded
            if decoded.generation != self._generation:
                decoded = answerable(decoded)
            if decoded.arrivals:
                return decoded

    async def _look_overdue(self, reader: Reader) -> Overdue | None:
        """Ask every second what has waited too long; it also tells whether the session is still there."""
        if clocks.monotonic() < self._look_at:
            return None
        self._look_at = clocks.monotonic() + _GRACE_SECONDS
        with explained("asking whose grace time is over"):
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await reader.overdue(clocks.time_ns(), self._policy.grace)

    def _stirred(self, _: object) -> None:
        self._stir.set()

    async def _await_lease(self, landing: Landing) -> None:
        told = False
        while True:
            try:
                self.token = await landing.take_lease(
                    self._writer, LEASE_SECONDS if self._keeper is not None else UNATTENDED_SECONDS, self.token
                )
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
        decision, book = await self._commit(batch, book, landing, reader)
        if isinstance(decision, LedgerRefusedError):
            if not batch.arrivals:
                raise decision
            self._unlanded[-1:] = self._refuse(batch, decision) if len(batch.arrivals) == 1 else halves(batch)
            return book
        self._unlanded.pop()
        self._tell(batch, decision)
        return book

    async def _commit(
        self, batch: Batch, book: Book, landing: Landing, reader: Reader
    ) -> tuple[Decision | LedgerRefusedError, Book]:
        for attempt in range(_CONFLICT_TRIES):
            is_ahead = False
            try:
                decided = await self._decided(batch, book, reader, suspicious=attempt > 0)
                await reader.drop_known(decided.decision)
                discount_replays(batch.arrivals, batch.facts, decided.decision)
                is_ahead = await self._go_ahead(decided, book, reader)
                await landing.land(decided.decision, decided.positions, decided.answers)
            except LedgerRefusedError as error:
                self._drop_ahead()
                return error, await reader.open_book(clocks.time_ns()) if is_ahead else book
            except LandingConflictError as error:
                log.warning("the book was behind the database, loading again", attempt=attempt, error=str(error))
                self._metrics.count_restart("conflict")
                self._drop_ahead()
                at("landing.conflict")
                book = await reader.open_book(clocks.time_ns())
                at("landing.reloaded")
                continue
            if not is_ahead:
                book.apply(decided.decision)
            return decided.decision, book
        return LedgerRefusedError(_LANDED_OTHERWISE), book

    async def _decided(self, batch: Batch, book: Book, reader: Reader, *, suspicious: bool) -> Decided:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            return await ahead
        completed = await complete(batch, book, reader, suspicious=suspicious)
        return await decide_now(completed, book, self._policy)

    async def _go_ahead(self, decided: Decided, book: Book, reader: Reader) -> bool:
        """Begin to decide the next batch of a backlog before this one is committed; say whether the book knows it.

        The book has taken up this one then, and is of no use where its landing fails.
        """
        if len(self._unlanded) > 1 or len(decided.batch.arrivals) < self._ahead_from or book.has_large:
            return False
        await asyncio.sleep(0)  # a batch that waits for its place in the queue takes it now
        batch = self._queued
        if batch is None or batch.generation != self._generation or not is_said(batch):
            return False
        if await self._look_overdue(reader) is not None:
            self._look_at = 0.0  # asked again when this one is committed
            return False
        book.forget_most()  # of what is committed: the rows of what is taken up now cannot be read yet
        book.take_up(decided.decision)
        if not leaves_all_in(book, decided.decision):
            return True
        self._decoded.get_nowait()
        self._queued = None
        self._unlanded.insert(0, batch)
        completed = await complete(batch, book, reader)
        at("landing.ahead")
        if not book.has_large:
            self._ahead = asyncio.create_task(decide_ahead(completed, book, self._policy))
        return True

    def _drop_ahead(self) -> None:
        """Decide the next batch in its turn: what it was decided on is not what the ledger has."""
        if self._ahead is not None:
            self._ahead.cancel()
            self._ahead = None

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
        now = clocks.time_ns()
        latencies: dict[str, list[float]] = {}
        for captured in decision.fills:
            latencies.setdefault(captured.report.venue, []).append((now - captured.received_ns) / 1e9)
        for venue, seconds in latencies.items():
            self._metrics.count_landed(venue, seconds)
        self._metrics.count_duplicates(decision.duplicates)
        for letter in decision.dead_letters:
            self._metrics.count_dead_letter(letter.feed)
        self._metrics.move_open(
            len(decision.pending) - len(decision.pending_gone) - len(decision.wordings_gone),
            len(decision.breaks) - len(decision.breaks_ended),
        )
        for arrival, outcome in outcomes_of(batch.arrivals, batch.facts, decision):
            assert arrival.done is not None
            at("tell.before_answer")
            arrival.done(outcome)
            at("tell.after_answer")
        at("tell.before_publisher")
        for listener in self.on_landed:
            listener(decision)
        at("tell.after")
