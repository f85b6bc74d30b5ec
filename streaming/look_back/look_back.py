"""Asks a venue for its list of fills, and hands in what is missing here: the same path as everything it says.

Page by page: the next one is asked for when the last one has landed, so memory holds one page, and a venue that
lists a million fills waits for the ledger.
"""

from __future__ import annotations

import asyncio
from datetime import date
from typing import TYPE_CHECKING, TypeVar

import msgspec
import structlog

from ledger import clocks
from ledger.domain.completeness import Audited, AuditReason, Listed
from ledger.domain.identity import identify
from ledger.domain.records import FillReport
from ledger.domain.times import NANOS
from ledger.faultpoints import at
from streaming.arrivals import Arrival, ArrivalKind, Outcome
from streaming.credentials import Credentials, NotHeldError
from streaming.feeds.names import look_back_feed
from streaming.look_back.asking import Access, Ask, AskedOrder, BusyError, LookBackError, StatesOrders, untold
from streaming.look_back.calling import Caller
from streaming.look_back.formats import LISTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence

    from ledger.domain.delay_events import StatusRequest
    from streaming.arrivals import Inbox
    from streaming.look_back.asking import Call, Lister, Page
    from streaming.metrics import Metrics
    from streaming.settings import LookBackSettings
    from streaming.venues.decoded import Decoder

    Known = Callable[[Collection[str], Collection[date]], Awaitable[set[str]]]

_NOTHING = Outcome(0, 0, 0, ())
_PATIENCE = 5  # answers to one request that ask for it
_PATIENCE_SECONDS = 15.0  # where the venue does not say for how long

T = TypeVar("T")

log = structlog.get_logger()


class Found(msgspec.Struct, frozen=True):
    """One item of the list: the reports that it holds (none: it cannot be read), and its bytes."""

    raw: bytes
    fills: tuple[Listed, ...]
    trade_dates: tuple[date, ...]


class LookBack:
    """One venue's list. Its arrivals are of the feed ``VENUE.look_back``.

    ``decoder`` reads the list's items, ``known`` says which reports have landed (None: all are handed in).
    ``account`` is the one that is listed, None where the list says whose each fill is.
    """

    def __init__(
        self,
        venue: str,
        settings: LookBackSettings,
        inbox: Inbox,
        *,
        format_name: str,
        decoder: Decoder,
        account: str = "",
        known: Known | None = None,
        metrics: Metrics | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self.venue = venue
        self.feed = look_back_feed(venue)
        self.lister: Lister = LISTS[settings.format or format_name]
        self.account = None if self.lister.names_account else account
        self._settings = settings
        self._inbox = inbox
        self._decoder = decoder
        self._known = known
        self.turn = asyncio.Lock()
        """Held by whoever finds out what is missing and hands it in."""
        self.write_down: Callable[[Audited], Awaitable[None]] | None = None
        """Lands the row of what a recovery came to."""
        self._caller = Caller(venue, settings, metrics)
        self._credentials = credentials or Credentials()

    @property
    def _access(self) -> Access:
        """How we ask now: key and secret may be replaced between two pages. Raises ``LookBackError``."""
        settings = self._settings
        try:
            key, secret = self._credentials.value(settings.key), self._credentials.value(settings.secret)
        except NotHeldError as error:
            raise LookBackError(str(error)) from None
        return Access(key, secret, settings.page_size, settings.pairs)

    async def recover(self, since_ns: int, until_ns: int, reason: str) -> int:
        """Hand in what the venue lists of ``[since_ns, until_ns)`` and is not here; how many reports have landed.

        It returns when all of them have, and the audit's row of what it came to. ``reason`` is for the log. Raises
        ``LookBackError`` when the list cannot be had, ``LedgerUnavailableError`` when the ledger cannot be asked
        what is here, ``NotLandedError`` where the row has not landed.
        """
        began_ns = clocks.time_ns()
        landed = listed = 0
        async for page in self.pages(since_ns, until_ns):
            listed += len(page)
            at("look_back.read")
            async with self.turn:
                absent = await self.absent(page)
                at("look_back.page")
                landed += (await self.hand_in(absent)).landed
                at("look_back.landed")
        at("look_back.done")
        if self.write_down is not None:
            audit_id = identify(
                "audit", self.venue, AuditReason.RECOVERY, *map(str, (since_ns, until_ns, began_ns))
            )
            counts = (listed, listed - landed, landed, landed, 0)
            now_ns = clocks.time_ns()
            token = identify("told", audit_id)
            said = (token, audit_id, self.venue, AuditReason.RECOVERY, since_ns, until_ns, now_ns)
            await self.write_down(Audited(*said, *counts, (), ()))
        log.info("looked back", venue=self.venue, reason=reason, listed=listed, landed=landed)
        return landed

    async def pages(
        self, since_ns: int, until_ns: int, order: AskedOrder | None = None
    ) -> AsyncIterator[list[Found]]:
        """Give what the venue lists of ``[since_ns, until_ns)``, page by page. Raises ``LookBackError``."""
        for ask in self._asks(since_ns, until_ns, order):
            following: Ask | None = ask
            while following is not None:
                page = await self._page(following)
                if page.items:
                    yield [self._found(raw) for raw in page.items]
                following = self._next(following, page)

    async def absent(self, page: Sequence[Found], known_here: Known | None = None) -> list[Found]:
        """Give what of a page has not landed here, and what cannot be read."""
        ask = known_here or self._known
        if ask is None or not page:
            return list(page)
        ids = {fill.report_id for found in page for fill in found.fills}
        known = await ask(ids, {day for found in page for day in found.trade_dates})
        return [found for found in page if not found.fills or any(f.report_id not in known for f in found.fills)]

    async def hand_in(self, items: Sequence[Found]) -> Outcome:
        """Hand items in as the venue's own reports, and wait until they have landed."""
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[Outcome]] = []
        arrivals: list[Arrival] = []
        now_ns = clocks.time_ns()
        for found in items:
            answer: asyncio.Future[Outcome] = loop.create_future()
            answers.append(answer)
            # an arrival that is answered is kept when the session with Postgres ends, and landed in the next one
            arrivals.append(
                Arrival(self.feed, self.venue, ArrivalKind.REPORT, found.raw, now_ns, done=_answering(answer))
            )
        if not arrivals:
            return _NOTHING
        await self._inbox.put(arrivals)
        outcomes = await asyncio.gather(*answers)
        return Outcome(
            sum(o.landed for o in outcomes),
            sum(o.duplicates for o in outcomes),
            sum(o.pending for o in outcomes),
            tuple(letter for o in outcomes for letter in o.dead_letters),
        )

    @property
    def states_orders(self) -> bool:
        """Whether the venue can be asked for one order."""
        return isinstance(self.lister, StatesOrders)

    async def state_of(self, order: StatusRequest) -> Found | None:
        """Ask for an order's state; None where the venue does not know it, or cannot be asked by what we know.

        Raises ``LookBackError``.
        """
        lister, access = self.lister, self._access
        if not isinstance(lister, StatesOrders) or lister.ask_state(order, access, 0) is None:
            return None

        def build(now_ns: int) -> Call:
            call = lister.ask_state(order, access, now_ns)
            assert call is not None, "its names are the same"
            return call

        found = await self._patiently(build, lambda raw: lister.state(raw, order))
        return None if found is None else Found(found, (), ())

    def covers(self, symbol: str) -> bool:
        """Whether the list is asked about a symbol of the stream at all."""
        return self.lister.covers(symbol, self._settings.symbols)

    async def aclose(self) -> None:
        """Let go of the connection to the venue."""
        await self._caller.aclose()

    def _asks(self, since_ns: int, until_ns: int, order: AskedOrder | None) -> Iterator[Ask]:
        if order is not None and (asked := self.lister.of_order(order)):
            yield from (Ask(since_ns, until_ns, one.symbol, one) for one in asked)
            return
        span_ns = int(self._settings.window_seconds * NANOS)
        for symbol in self._settings.symbols if self.lister.needs_symbols else [None]:
            for begin_ns in range(since_ns, until_ns, span_ns):
                yield Ask(begin_ns, min(begin_ns + span_ns, until_ns), symbol)

    async def _page(self, ask: Ask) -> Page:
        return await self._patiently(
            lambda now_ns: self.lister.call(ask, self._access, now_ns),
            lambda raw: self.lister.page(raw, ask, self._access),
        )

    async def _patiently(self, build: Callable[[int], Call], read: Callable[[bytes], T]) -> T:
        """Ask until there is an answer; what we have shown with it is in no error."""
        calls: list[Call] = []

        def built(now_ns: int) -> Call:
            calls.append(build(now_ns))
            return calls[-1]

        try:
            return await self._answered(built, read)
        except BusyError:
            raise
        except LookBackError as error:
            raise LookBackError(untold(str(error), calls)) from None

    async def _answered(self, build: Callable[[int], Call], read: Callable[[bytes], T]) -> T:
        """Ask again where the answer is the wish for patience, with status 200."""
        for _ in range(_PATIENCE):
            raw = await self._caller.ask(build)
            try:
                return read(raw)
            except BusyError as error:
                self._caller.hold(error.retry_after or _PATIENCE_SECONDS)
        raise LookBackError(
            f"{self.venue} asked for patience {_PATIENCE} times: lower look_back.requests_per_second"
        )

    def _next(self, ask: Ask, page: Page) -> Ask | None:
        if page.cursor is None:
            return None
        if page.cursor == ask.cursor:
            raise LookBackError(f"{self.venue} gives the page {page.cursor!r} again and again: ask the venue")
        return msgspec.structs.replace(ask, cursor=page.cursor)

    def _found(self, raw: bytes) -> Found:
        reports = [
            report
            for report, _ in self._decoder(self.venue, raw).reports
            if isinstance(report, FillReport) and report.kind in self.lister.kinds
        ]
        return Found(
            raw,
            tuple(Listed(r.report_id, r.exec_id, r.symbol, r.transact_ns, r.correlation_id) for r in reports),
            tuple(r.trade_date for r in reports),
        )


def _answering(answer: asyncio.Future[Outcome]) -> Callable[[Outcome], None]:
    def done(outcome: Outcome) -> None:
        if not answer.done():  # who waited may have been cancelled
            answer.set_result(outcome)

    return done
