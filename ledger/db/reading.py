"""What the book must know before a batch can be decided, read from Postgres in a few set-wise queries."""

from __future__ import annotations

from collections import defaultdict
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from ledger.db import rows
from ledger.db.completeness import Holdings
from ledger.db.delays import open_delays, past_delays
from ledger.db.failures import explained
from ledger.db.sql import load_queries
from ledger.domain.book import (
    Book,
    Missing,
    Reference,
    all_references,
    names_of,
    reference_of,
    references_of_state,
)
from ledger.domain.breaks import unknown_order_break
from ledger.domain.controls import Controls
from ledger.domain.decide import MARKET_DATA
from ledger.domain.events import DEAD_LETTER
from ledger.domain.instruments import Instruments
from ledger.domain.order import OrderState
from ledger.domain.records import (
    Captured,
    CapturedOrder,
    OrderIntent,
    Overdue,
    PendingReason,
    Position,
    ReportKind,
    SlippageMetric,
    Snapshot,
    Waiting,
)
from ledger.domain.settling import settle_whole
from ledger.domain.snapshots import SnapshotBook
from ledger.domain.times import utc_date
from ledger.domain.tolerances import Grace, Tolerances, of_venue
from ledger.domain.venue_health import Stretch, VenueHealth

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import asyncpg

    from ledger.domain.decide import Fact
    from ledger.domain.decision import Decision

_SQL = load_queries("reading")
_METRIC_ORDER = attrgetter("kind")
_WINDOW_NS = 120 * 1_000_000_000  # two minutes of snapshots are enough for fills that come in time
_LANDED_LATELY_SECONDS = 60.0  # what landed before a restart, and a snapshot after it may still restate
_LANDED_LATELY_FILLS, _LANDED_LATELY_ORDERS = 20_000, 3_000
_ORDERS_AT_ONCE = 250
_WAITING_LIMIT = 5_000  # reports that wait for an intent: more are looked up when their names are said


class Reader:
    """Reads on the connection it is given; one task at a time."""

    def __init__(
        self,
        connection: asyncpg.Connection[Any],
        tolerances: Mapping[str, Tolerances] | None = None,
        instruments: Instruments | None = None,
    ) -> None:
        self._connection = connection
        self._has_order_reports = True  # until open_book has looked
        self._tolerances = tolerances or {}
        self._instruments = instruments or Instruments()

    async def open_book(self, now_ns: int) -> Book:
        """Give a book with the last two minutes of snapshots, and the last of each symbol before them.

        What is older is fetched when asked for. A symbol without an older one is known from its beginning. The
        orders that something was landed for in the last minute are in it: a late snapshot restates them.
        """
        since = now_ns - _WINDOW_NS
        (row,) = await self._fetch("has_order_reports")
        self._has_order_reports = row["has_order_reports"]
        snapshots = SnapshotBook()
        for row in await self._fetch("snapshots_before", since):
            snapshots.window(row["symbol"]).covered_from = row["at_ns"]
            snapshots.add([rows.read_snapshot(row)])
        found = await self._fetch("recent_snapshots", since, utc_date(since))
        snapshots.add(rows.read_snapshot(row) for row in found)
        book = Book(snapshots, instruments=self._instruments)
        book.controls = await self.controls()
        book.findings = await Holdings(self._connection).open_findings()
        book.health = await self.health()
        book.delays.open = await open_delays(self._connection)
        await self._load_waiting(book)
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

    async def controls(self) -> Controls:
        """Give the halts and clock alerts that stand."""
        controls = Controls()
        for row in await self._fetch("open_halts"):
            controls.halts[row["venue"]] = rows.read_standing_halt(row)
        for row in await self._fetch("open_clock_alerts"):
            controls.alerts[row["venue"]] = row["alert_id"].hex
        return controls

    async def health(self) -> VenueHealth:
        """Give the outages and switches that stand."""
        health = VenueHealth()
        for row in await self._fetch("open_outages"):
            outage = rows.read_standing_outage(row)
            health.outages[outage.venue, outage.feed] = outage
        for row in await self._fetch("open_switches"):
            health.switches[row["venue"]] = rows.read_standing_switch(row)
        return health

    async def orders_in_flight(self, seconds: float, limit: int) -> list[tuple[str, str, str, int]]:
        """List orders of the last ``seconds`` with something left: venue, correlation id, symbol, when routed.

        The newest come first.
        """
        found = await self._fetch("open_orders", seconds, limit)
        return [(row["venue"], row["correlation_id"], row["symbol"], row["routed_ns"]) for row in found]

    async def last_received(self, venue: str, feed: str, before_ns: int) -> int | None:
        """Say when a feed's newest report before a time was received; None where there is none since yesterday."""
        (row,) = await self._fetch("last_received", venue, feed, before_ns)
        return int(row["received_ns"]) if row["received_ns"] is not None else None

    async def unrecovered(self, seconds: float) -> list[Stretch]:
        """List what feeds may have missed in the last ``seconds`` and no look-back has been over."""
        found = await self._fetch("unrecovered", seconds)
        return [Stretch(r["venue"], r["since_ns"], r["until_ns"], r["why"], r["feed"]) for r in found]

    async def orders(self, correlation_ids: Sequence[str]) -> list[OrderState]:
        """Give orders with all their facts."""
        return await self._orders(correlation_ids)

    async def last_snapshots(self, symbols: Sequence[str], at_ns: int) -> list[Snapshot]:
        """Give the last snapshot of each symbol at or before a time, where there is one."""
        found = await self._fetch("snapshots_at", symbols, [at_ns] * len(symbols))
        return [rows.read_snapshot(row) for row in found if row["snapshot_id"] is not None]

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
        if not self._has_order_reports:
            self._has_order_reports = any(type(fact) is CapturedOrder for fact in facts)
        missing = book.missing(facts)
        if missing.correlation_ids or missing.references:
            await self._load(book, missing)
        if missing.delays:
            book.delays.past |= await past_delays(self._connection, missing.delays)
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
        """Load orders, and what waits for these references or for a name that what waits for them gives."""
        ids, wanted = set(missing.correlation_ids), set(missing.references)
        waiting: dict[Reference, list[Captured | CapturedOrder]] = {}
        overdue: set[Reference] = set()
        while ids or wanted:
            columns = [list(column) for column in zip(*sorted(wanted), strict=True)] or [[], [], []]
            await self._load_orders(book, ids, columns)
            found = await self._waiting(columns, overdue) if wanted and not book.holds_all_waiting else {}
            waiting.update((reference, found.get(reference, [])) for reference in wanted)
            names = {name for held in found.values() for h in held for name in names_of(h)}
            # name by name: a set less a dict's keys goes through all the keys of the book
            for reference in wanted:
                if reference not in book.by_reference:
                    names |= missing.second_names.get(reference, set())
            ids, wanted = set(), {n for n in names if n not in waiting and n not in book.by_reference}
        for reference, held in waiting.items():
            if reference not in book.by_reference:
                free = [h for h in held if not any(name in book.by_reference for name in names_of(h))]
                self._put_pending(book, reference, free, is_overdue=reference in overdue)

    async def _load_waiting(self, book: Book) -> None:
        """Load all that waits for its intent, where that is little: nothing else does, and need not be asked."""
        found = await self._fetch("all_pending", _WAITING_LIMIT + 1)
        if len(found) > _WAITING_LIMIT or self._has_order_reports:
            return
        waiting: dict[Reference, list[Captured]] = defaultdict(list)
        overdue: set[Reference] = set()
        for row in found:
            captured = rows.read_captured(row)
            for name in names_of(captured):
                waiting[name].append(captured)
            if row["is_overdue"]:
                overdue.add(reference_of(captured.report))
        for reference, held in waiting.items():
            self._put_pending(book, reference, held, is_overdue=reference in overdue)
        book.holds_all_waiting = True

    async def _load_orders(self, book: Book, ids: set[str], columns: Sequence[Sequence[str]]) -> None:
        wanted = set(ids)
        if columns[0]:
            wanted.update(row[0] for row in await self._fetch("owners", *columns))
        wanted = {correlation_id for correlation_id in wanted if correlation_id not in book.orders}
        if wanted:
            for order in await self._orders(sorted(wanted)):
                book.load_order(order)

    async def _waiting(
        self, columns: Sequence[Sequence[str]], overdue: set[Reference]
    ) -> dict[Reference, list[Captured | CapturedOrder]]:
        """Read what names these references and may wait for them; note those whose grace time is over."""
        waiting: dict[Reference, list[Captured | CapturedOrder]] = defaultdict(list)
        wanted = set(zip(*columns, strict=True))
        for row in await self._fetch("pending", *columns):
            captured = rows.read_captured(row)
            for reference in wanted.intersection(names_of(captured)):
                waiting[reference].append(captured)
            if row["is_overdue"]:
                overdue.add(reference_of(captured.report))
        for row in await self._order_reports_of(columns):
            order_report = rows.read_captured_order(row)
            for reference in wanted.intersection(references_of_state(order_report.report)):
                waiting[reference].append(order_report)
        return waiting

    @staticmethod
    def _put_pending(
        book: Book, reference: Reference, held: Sequence[Captured | CapturedOrder], *, is_overdue: bool
    ) -> None:
        book.put_pending(reference, held)
        reports = [h.report for h in held if isinstance(h, Captured)]
        if is_overdue and reports:
            first = min(reports, key=lambda report: (report.report_id, report.content))
            book.unknown[reference] = unknown_order_break(":".join(reference), reference[2], first)

    async def overdue(self, now_ns: int, grace: Grace, limit: int = 500) -> Overdue | None:
        """Give what has waited longer than its grace time at ``now_ns``; None where nothing has."""
        limits = (now_ns - grace.intent_ns, now_ns - grace.reference_ns, now_ns - grace.gap_ns)
        found = await self._fetch("overdue", *limits[:2], limit)
        gaps = [
            Waiting(
                row["row_id"].hex,
                PendingReason.GAP,
                row["order_id"],
                rows.read_captured_order(row) if row["is_total"] else rows.read_captured(row),
            )
            for query in ("overdue_gaps", "overdue_totals")
            for row in await self._fetch(query, limits[2], limit)
        ]
        if not found and not gaps:
            return None
        return Overdue(
            now_ns,
            tuple(gaps)
            + tuple(
                Waiting(
                    row["row_id"].hex,
                    PendingReason(row["reason"]),
                    row["order_id"],
                    rows.read_captured(row),
                )
                for row in found
            ),
        )

    async def _orders(self, correlation_ids: Sequence[str]) -> list[OrderState]:
        orders: dict[str, OrderState] = {}
        for row in await self._fetch("orders", correlation_ids):
            intent = rows.read_intent(row)
            orders.setdefault(intent.correlation_id, OrderState(intent.correlation_id)).add_intent(intent)
        names = list(orders)
        owner: dict[str, OrderState] = {}
        withheld: dict[str, list[str]] = defaultdict(list)
        for row in await self._fetch("executions", names):
            for report_id in (row["execution_id"], *(row["chain"] or ())):
                owner[report_id.hex] = orders[row["correlation_id"]]
            withheld[row["correlation_id"]] += [report_id.hex for report_id in row["withheld"] or ()]
        for row in await self._fetch("waiting_references", names):
            order = owner[row["report_id"].hex] = orders[row["correlation_id"]]
            if row["is_overdue"]:
                order.lettered |= {row["report_id"].hex}
        if orders:
            await self._add_order_reports(orders)
        if owner:
            await self._add_reports(owner)
            await self._add_busts(orders.values())
        if owner or any(order.order_reports for order in orders.values()):
            await self._add_verdicts(orders)
        for order in orders.values():
            tolerances = of_venue(self._tolerances, order.root.venue if order.root is not None else "")
            settle_whole(order, tolerances, self._instruments)
            order.withheld = frozenset(withheld[order.correlation_id])
        return list(orders.values())

    async def _add_order_reports(self, orders: Mapping[str, OrderState]) -> None:
        """Add the reports of the orders' states: each is the first one's of its references that has an order."""
        for row in await self._fetch("learned", list(orders)):
            reference = (row["venue"], row["kind"], row["reference"])
            orders[row["correlation_id"]].learned[reference] = (row["routed_ns"], row["msg_id"])
        owner = {reference: order for order in orders.values() for reference in all_references(order)}
        columns = [list(column) for column in zip(*sorted(owner), strict=True)]
        for row in await self._order_reports_of(columns):
            report = rows.read_order_report(row)
            tied = next((owner[r] for r in references_of_state(report) if r in owner), None)
            if tied is not None:
                tied.order_reports[report.report_id] = report
        for order in orders.values():
            if order.order_reports:
                order.restand()

    async def _order_reports_of(self, columns: Sequence[Sequence[str]]) -> list[Any]:
        # a probe costs an index a day and name: none of it where no venue of ours gives order reports
        return await self._fetch("order_reports_of", *columns) if self._has_order_reports else []

    async def _add_verdicts(self, orders: Mapping[str, OrderState]) -> None:
        """Add what two persons decided, and what waits for a fill that the venue counts."""
        for row in await self._fetch("resolutions", list(orders)):
            orders[row["correlation_id"]].void(rows.read_resolution(row))
        for row in await self._fetch("gaps", list(orders)):
            order = orders[row["correlation_id"]]
            order.waits_since = row["since_ns"]
            order.is_overdue = row["is_overdue"] or row["is_break"]
            if row["is_overdue"]:
                order.lettered |= {row["report_id"].hex}

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
        """Add the busts that are in no chain, told from other orders' by what they name.

        They are the ones beside the first of a fill, and of a split report that never came whole.
        """
        busted = [o for o in orders if o.parts or any(r.kind is ReportKind.BUST for r in o.reports.values())]
        wanted = sorted(
            {(report.venue, report.exec_id) for order in busted for report in order.reports.values()}
            | {(r.venue, r.trade_report_id) for o in busted for r in o.reports.values() if r.trade_report_id}
            | {(r.venue, r.part_of) for o in busted for r in o.reports.values() if r.part_of is not None}
        )
        if not wanted:
            return
        owner = {reference: order for order in busted for reference in all_references(order)}
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
