"""What the book must know before a batch can be decided, read from Postgres in a few set-wise queries."""

from __future__ import annotations

from collections import defaultdict
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from ledger.db import rows
from ledger.db.failures import explained
from ledger.db.sql import load_queries
from ledger.domain.book import Book, Missing, Reference, reference_of, references_of
from ledger.domain.decide import MARKET_DATA
from ledger.domain.events import DEAD_LETTER
from ledger.domain.order import OrderState, settle_whole
from ledger.domain.records import OrderIntent, Position, ReportKind, SlippageMetric, Snapshot
from ledger.domain.snapshots import SnapshotBook
from ledger.domain.times import utc_date

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import asyncpg

    from ledger.domain.decide import Fact
    from ledger.domain.decision import Decision

_SQL = load_queries("reading")
_METRIC_ORDER = attrgetter("kind")
_WINDOW_NS = 120 * 1_000_000_000  # two minutes of snapshots are enough for fills that come in time
_LANDED_LATELY_SECONDS = 60.0  # what landed before a restart, and a snapshot after it may still restate
_LANDED_LATELY_FILLS, _LANDED_LATELY_ORDERS = 20_000, 3_000
_ORDERS_AT_ONCE = 250


class Reader:
    """Reads on the connection it is given; one task at a time."""

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self._connection = connection

    async def open_book(self, now_ns: int) -> Book:
        """Give a book with the last two minutes of snapshots, and the last of each symbol before them.

        What is older is fetched when asked for. A symbol without an older one is known from its beginning. The
        orders that something was landed for in the last minute are in it: a late snapshot restates them.
        """
        since = now_ns - _WINDOW_NS
        snapshots = SnapshotBook()
        for row in await self._fetch("snapshots_before", since):
            snapshots.window(row["symbol"]).covered_from = row["at_ns"]
            snapshots.add([rows.read_snapshot(row)])
        found = await self._fetch("recent_snapshots", since, utc_date(since))
        snapshots.add(rows.read_snapshot(row) for row in found)
        book = Book(snapshots)
        lately = await self._fetch(
            "landed_lately", _LANDED_LATELY_SECONDS, _LANDED_LATELY_FILLS, _LANDED_LATELY_ORDERS
        )
        names = [row["correlation_id"] for row in reversed(lately)]  # the newest last: it is forgotten last
        for start in range(0, len(names), _ORDERS_AT_ONCE):  # the event loop gets its turn in between
            part = names[start : start + _ORDERS_AT_ONCE]
            orders = {order.correlation_id: order for order in await self._orders(part)}
            for name in part:
                book.load_order(orders[name])
        return book

    async def positions(self) -> dict[tuple[str, str], Position]:
        """Give every feed's position by (feed, stream)."""
        found = await self._fetch("positions")
        return {
            (r["feed"], r["stream"]): Position(r["feed"], r["stream"], r["incarnation"], r["position"])
            for r in found
        }

    async def open_counts(self) -> tuple[int, int]:
        """Give how many reports wait, and how many breaks are open."""
        (row,) = await self._fetch("open_counts")
        return row["pending"], row["breaks"]

    async def complete(
        self, book: Book, facts: Sequence[Fact], *, suspicious: bool = False
    ) -> tuple[Sequence[Fact], dict[str, int]]:
        """Load into the book what deciding ``facts`` needs; ``suspicious`` trusts no snapshot to be new.

        Give the facts less the old snapshots that only the database remembers, and the number of those by feed.
        """
        missing = book.missing(facts)
        if missing.correlation_ids or missing.references:
            await self._load(book, missing)
        uncovered = book.uncovered(facts) | _arrivals(book, facts)
        if uncovered:
            await self._anchor(book, sorted(uncovered))
        known: set[str] = set()
        asked = [s[0] for s in missing.snapshots]
        if suspicious:
            asked = [fact.snapshot_id for fact in facts if isinstance(fact, Snapshot)]
        if asked:
            known.update(row["snapshot_id"] for row in await self._fetch("known_snapshots", asked))
        return _without(facts, known) if known else (facts, {})

    async def drop_known(self, decision: Decision) -> None:
        """Take the dead letters that landed before out of a decision: it made some itself, of intents."""
        if not decision.dead_letters:
            return
        found = await self._fetch("known_dead_letters", [d.dead_letter_id for d in decision.dead_letters])
        known = {row["dead_letter_id"].hex for row in found}
        if not known:
            return
        for letter in decision.dead_letters:
            if letter.dead_letter_id in known:
                decision.duplicates[letter.feed] = decision.duplicates.get(letter.feed, 0) + 1
        decision.dead_letters = [d for d in decision.dead_letters if d.dead_letter_id not in known]
        decision.events = [e for e in decision.events if e.event_type != DEAD_LETTER or e.event_id not in known]

    async def _load(self, book: Book, missing: Missing) -> None:
        references = sorted(missing.references)
        columns = [list(column) for column in zip(*references, strict=True)] or [[], [], []]
        wanted = set(missing.correlation_ids)
        if references:
            wanted.update(row[0] for row in await self._fetch("owners", *columns))
        wanted -= book.orders.keys()
        if wanted:
            for order in await self._orders(sorted(wanted)):
                book.load_order(order)
        if references:
            waiting: dict[Reference, list[Any]] = defaultdict(list)
            for row in await self._fetch("pending", *columns):
                captured = rows.read_captured(row)
                waiting[reference_of(captured.report)].append(captured)
            for reference, held in waiting.items():
                book.put_pending(reference, held)

    async def _orders(self, correlation_ids: Sequence[str]) -> list[OrderState]:
        orders: dict[str, OrderState] = {}
        for row in await self._fetch("orders", correlation_ids):
            intent = rows.read_intent(row)
            orders.setdefault(intent.correlation_id, OrderState(intent.correlation_id)).add_intent(intent)
        owner: dict[str, OrderState] = {}
        withheld: dict[str, list[str]] = defaultdict(list)
        for row in await self._fetch("executions", list(orders)):
            for report_id in (row["execution_id"], *(row["chain"] or ())):
                owner[report_id.hex] = orders[row["correlation_id"]]
            withheld[row["correlation_id"]] += [report_id.hex for report_id in row["withheld"] or ()]
        for row in await self._fetch("waiting_references", list(orders)):
            owner[row["report_id"].hex] = orders[row["correlation_id"]]
        if owner:
            await self._add_reports(owner)
            await self._add_busts(orders.values())
        for order in orders.values():
            settle_whole(order)
            order.withheld = frozenset(withheld[order.correlation_id])
        return list(orders.values())

    async def _add_reports(self, owner: dict[str, OrderState]) -> None:
        for row in await self._fetch("reports", list(owner)):
            report = rows.read_report(row)
            order = owner[report.report_id]
            if not order.has(report):
                order.add_report(report)
        metrics: dict[str, list[SlippageMetric]] = defaultdict(list)
        for row in await self._fetch("metrics", list(owner)):
            metrics[row["execution_id"].hex].append(rows.read_metric(row))
        for execution_id, found in metrics.items():
            owner[execution_id].metrics[execution_id] = tuple(sorted(found, key=_METRIC_ORDER))

    async def _add_busts(self, orders: Iterable[OrderState]) -> None:
        """Add the busts beside the first of each fill, told from other orders' by what they name."""
        busted = [o for o in orders if any(r.kind is ReportKind.BUST for r in o.reports.values())]
        wanted = sorted({(report.venue, report.exec_id) for order in busted for report in order.reports.values()})
        if not wanted:
            return
        owner = {ref: order for order in busted for i in order.intents.values() for ref in references_of(i)}
        for row in await self._fetch("busts_of", *map(list, zip(*wanted, strict=True))):
            report = rows.read_report(row)
            order = owner.get(reference_of(report))
            if order is not None and not order.has(report):
                order.add_report(report)

    async def _anchor(self, book: Book, wanted: Sequence[tuple[str, int]]) -> None:
        symbols, times = [w[0] for w in wanted], [w[1] for w in wanted]
        for row in await self._fetch("snapshots_at", symbols, times):
            snapshot = rows.read_snapshot(row) if row["snapshot_id"] is not None else None
            book.snapshots.anchor(row["wanted_symbol"], row["wanted_ns"], snapshot)

    async def _fetch(self, query: str, *arguments: object) -> list[Any]:
        with explained("reading"):
            found: list[Any] = await self._connection.fetch(_SQL[query], *arguments)
        return found


def _arrivals(book: Book, facts: Sequence[Fact]) -> set[tuple[str, int]]:
    """List when the known orders of a batch's intents arrived: reports that waited are measured against it."""
    asked = {
        (order.root.symbol, order.root.routed_ns)
        for fact in facts
        if type(fact) is OrderIntent
        and (order := book.orders.get(fact.correlation_id)) is not None
        and order.root is not None
    }
    return {(symbol, at_ns) for symbol, at_ns in asked if not book.snapshots.covers(symbol, at_ns)}


def _without(facts: Sequence[Fact], known: set[str]) -> tuple[Sequence[Fact], dict[str, int]]:
    fresh: list[Fact] = []
    duplicates: dict[str, int] = defaultdict(int)
    for fact in facts:
        if isinstance(fact, Snapshot) and fact.snapshot_id in known:
            duplicates[MARKET_DATA] += 1
        else:
            fresh.append(fact)
    return fresh, duplicates
