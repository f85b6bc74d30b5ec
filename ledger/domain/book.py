"""What the process knows of orders, pending reports and snapshots: the state that ``decide`` reads.

What is in memory is complete or absent: an order is here with all its facts or not at all, and the pending
reports of a reference likewise. ``missing`` says what must be loaded before a batch can be decided, so the
book may forget anything at any time.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from ledger.domain.completeness import OpenFindings, apply_findings
from ledger.domain.controls import Controls
from ledger.domain.delay_rows import Delays
from ledger.domain.delays import Late
from ledger.domain.fees import needs_rate, rate_pair
from ledger.domain.instruments import Instruments
from ledger.domain.rates import questions_of_order
from ledger.domain.records import (
    Break,
    Captured,
    CapturedOrder,
    FillReport,
    OrderIntent,
    OrderReport,
    Overdue,
    Resolution,
    Snapshot,
)
from ledger.domain.snapshots import SnapshotBook
from ledger.domain.venue_health import VenueHealth

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ledger.domain.decision import Decision
    from ledger.domain.order import OrderState

_NEVER = 1 << 63
Reference = tuple[str, str, str]  # venue, "c" (ClOrdID) or "v" (venue order id), the id
Mark = tuple[int, str, str]  # wanted time (ns), correlation id, execution id
# reports that wait for an intent, by (report id, content); of an order report the content is ""
Held = dict[tuple[str, str], Captured | CapturedOrder]


def reference_of(report: FillReport) -> Reference:
    """What ties the report to its order: its ClOrdID, or the venue's order id where it has none."""
    if report.cl_ord_id is not None:
        return (report.venue, "c", report.cl_ord_id)
    return (report.venue, "v", report.venue_order_id or "")


def learned_reference(report: FillReport) -> Reference | None:
    """Give what a report says of its order beside the reference that ties it: the venue's order id."""
    if report.venue_order_id is None or report.cl_ord_id is None:
        return None
    return (report.venue, "v", report.venue_order_id)


def references_of_state(report: OrderReport) -> tuple[Reference, ...]:
    """What may tie a report of an order's state, in this order: its ClOrdID, OrigClOrdID, the venue's order id."""
    named = (
        ("c", report.cl_ord_id),
        ("c", report.orig_cl_ord_id),
        ("v", report.venue_order_id),
    )
    return tuple(dict.fromkeys((report.venue, kind, name) for kind, name in named if name is not None))


def names_of(held: Captured | CapturedOrder) -> tuple[Reference, ...]:
    """Every reference that a report gives its order."""
    if isinstance(held, CapturedOrder):
        return references_of_state(held.report)
    beside = learned_reference(held.report)
    return (reference_of(held.report),) if beside is None else (reference_of(held.report), beside)


def references_of(intent: OrderIntent) -> tuple[Reference, ...]:
    """What reports of this intent may name."""
    by_message = (intent.venue, "c", intent.msg_id)
    if intent.venue_order_id is None:
        return (by_message,)
    return (by_message, (intent.venue, "v", intent.venue_order_id))


def first_claim(order: OrderState, reference: Reference) -> tuple[int, str]:
    """When an order first named a reference: two orders with one venue order id are told apart by it."""
    claims = [(i.routed_ns, i.msg_id) for i in order.intents.values() if reference in references_of(i)]
    if reference in order.learned:
        claims.append(order.learned[reference])
    return min(claims, default=(_NEVER, ""))


def all_references(order: OrderState) -> Iterator[Reference]:
    """Everything that reports of this order may name."""
    for intent in order.intents.values():
        yield from references_of(intent)
    yield from order.learned


def key_of(held: Captured | CapturedOrder) -> tuple[str, str]:
    """The key of a report among those that wait."""
    return held.report.report_id, held.report.content if isinstance(held, Captured) else ""


def _delay_asked(fact: object) -> tuple[tuple[str, int], ...]:
    """List the (symbol, time) questions that a late order is judged by."""
    if not isinstance(fact, Late):
        return ()
    return (fact.symbol, fact.at_ns), (fact.symbol, fact.at_ns - fact.expected.wait_ns)


def _weight(order: OrderState) -> int:
    return len(order.reports) + len(order.intents) + len(order.order_reports)


class Missing(msgspec.Struct):
    """What must be loaded: orders by id or reference (with the pending reports of each), snapshots by id.

    ``delays`` are the orders whose last fill delay is asked for. ``second_names`` has what a reference that nobody
    owns is called, too: looked up only then.
    """

    correlation_ids: set[str] = msgspec.field(default_factory=set)
    references: set[Reference] = msgspec.field(default_factory=set)
    snapshots: set[tuple[str, str, int]] = msgspec.field(default_factory=set)
    delays: set[str] = msgspec.field(default_factory=set)
    second_names: dict[Reference, set[Reference]] = msgspec.field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.correlation_ids or self.references or self.snapshots or self.delays)


class Book:
    """Orders by use, newest last; bounded by the number of reports it holds. Filled orders are forgotten first.

    The largest open order of more than ``large`` reports stays and does not count: its next fill would have it
    loaded again, with all that it has.
    """

    def __init__(
        self,
        snapshots: SnapshotBook | None = None,
        *,
        instruments: Instruments | None = None,
        report_limit: int = 30_000,
        mark_limit: int = 10_000,
        large: int = 3_000,
    ) -> None:
        self.snapshots = snapshots or SnapshotBook()
        self.instruments = instruments or Instruments()
        self.orders: dict[str, OrderState] = {}
        self.by_reference: dict[Reference, str] = {}
        self.pending: dict[Reference, Held] = {}
        self.unknown: dict[Reference, Break] = {}
        self.holds_all_waiting = False  # whether a name that is not in ``pending`` has nothing that waits for it
        self.controls = Controls()
        self.findings: OpenFindings = {}
        self.health = VenueHealth()
        self.delays = Delays()
        self._done: dict[str, None] = {}
        self._large: set[str] = set()
        self._large_from = large
        self._marks: dict[str, list[Mark]] = {}
        self._reports = 0
        self._report_limit = report_limit
        self._mark_limit = mark_limit

    @property
    def has_large(self) -> bool:
        """Whether deciding may take so long that others should have their turn meanwhile."""
        return bool(self._large)

    def missing(self, facts: Iterable[OrderIntent | Captured | Snapshot | object]) -> Missing:
        """Say what a batch needs that is not in memory."""
        wanted = Missing()
        for fact in facts:
            if isinstance(fact, Captured):
                reference, beside = reference_of(fact.report), learned_reference(fact.report)
                if reference not in self.by_reference and reference not in self.pending:
                    wanted.references.add(reference)
                if beside is None or beside in self.by_reference or beside in self.pending:
                    continue
                if not self.holds_all_waiting:
                    wanted.references.add(beside)
                elif reference not in self.by_reference:
                    wanted.second_names.setdefault(reference, set()).add(beside)
            elif isinstance(fact, OrderIntent):
                if fact.correlation_id not in self.orders:
                    wanted.correlation_ids.add(fact.correlation_id)
                wanted.references.update(self._absent(references_of(fact)))
            elif isinstance(fact, Snapshot) and not self.snapshots.covers(fact.symbol, fact.at_ns):
                wanted.snapshots.add((fact.snapshot_id, fact.symbol, fact.at_ns))
            else:
                self._miss_other(fact, wanted)
        return wanted

    def _absent(self, references: Iterable[Reference]) -> Iterator[Reference]:
        return (r for r in references if r not in self.by_reference and r not in self.pending)

    def _miss_other(self, fact: object, wanted: Missing) -> None:
        if isinstance(fact, CapturedOrder):
            wanted.references.update(self._absent(references_of_state(fact.report)))
        elif isinstance(fact, Resolution | Late) and fact.correlation_id not in self.orders:
            wanted.correlation_ids.add(fact.correlation_id)
        if isinstance(fact, Late) and not self.delays.knows(fact.correlation_id):
            wanted.delays.add(fact.correlation_id)
        for waiting in fact.waiting if isinstance(fact, Overdue) else ():
            if waiting.correlation_id is not None:
                if waiting.correlation_id not in self.orders:
                    wanted.correlation_ids.add(waiting.correlation_id)
            elif isinstance(waiting.captured, Captured):
                wanted.references.update(self._absent([reference_of(waiting.captured.report)]))

    def uncovered(self, facts: Iterable[object]) -> set[tuple[str, int]]:
        """List the (symbol, time) questions of a batch that are older than the snapshot window."""
        asked: set[tuple[str, int]] = set()
        references: set[Reference] = set()
        for fact in facts:
            if isinstance(fact, Captured):
                report = fact.report
                if not self.snapshots.covers(report.symbol, report.transact_ns):
                    asked.add((report.symbol, report.transact_ns))
                references.add(reference_of(report))
                if self.pending:
                    asked.update((held.symbol, held.transact_ns) for held in self._reached_by(report))
            elif isinstance(fact, CapturedOrder):
                named = references_of_state(fact.report)
                references.update(named)
                asked.update((held.symbol, held.transact_ns) for held in self._reached(named))
            elif isinstance(fact, OrderIntent):
                asked.add((fact.symbol, fact.routed_ns))
                asked.update((held.symbol, held.transact_ns) for held in self._reached(references_of(fact)))
            else:
                asked.update(_delay_asked(fact))
        for reference in references:
            order = self.orders.get(self.by_reference.get(reference, ""))
            if order is not None and order.root is not None:
                asked.add((order.root.symbol, order.root.routed_ns))
                if len(order.metrics) < len(order.executions):
                    # a bust of a repeated ExecID may turn out to mean another fill: this one counts again
                    asked.update(
                        (e.symbol, e.transact_ns)
                        for e in order.executions.values()
                        if e.execution_id not in order.metrics
                    )
        asked.update(self._rates_asked(facts))
        return {(symbol, at_ns) for symbol, at_ns in asked if not self.snapshots.covers(symbol, at_ns)}

    def _rates_asked(self, facts: Iterable[object]) -> Iterator[tuple[str, int]]:
        fresh: dict[str, list[FillReport]] = {}
        for fact in facts:
            if isinstance(fact, Captured):
                report = fact.report
                refers = report.exec_ref_id is not None
                if refers or (report.fee_currency is not None and report.fee_currency != report.currency):
                    owner = self.by_reference.get(reference_of(report), "")
                    fresh.setdefault(owner, []).append(report)
                if self.pending and (reached := self._reached_by(report)):
                    owner = self.by_reference.get(reference_of(report), "")
                    fresh.setdefault(owner, []).extend(reached)
            elif isinstance(fact, OrderIntent):
                fresh.setdefault(fact.correlation_id, []).extend(self._reached(references_of(fact)))
            elif isinstance(fact, CapturedOrder):
                named = references_of_state(fact.report)
                owner = next((o for r in named if (o := self.by_reference.get(r)) is not None), "")
                fresh.setdefault(owner, []).extend(self._reached(named))
        for owner, reports in fresh.items():
            yield from questions_of_order(self.orders.get(owner), reports, self.instruments)

    def _reached_by(self, report: FillReport) -> list[FillReport]:
        """List the fills that wait for a name that a report of a trade gives."""
        beside = learned_reference(report)
        return self._reached([reference_of(report)] if beside is None else [reference_of(report), beside])

    def _reached(self, references: Iterable[Reference]) -> list[FillReport]:
        """List the fills that wait for these references, or for another name that what waits for them gives."""
        todo = [reference for reference in references if reference in self.pending]
        if not todo:
            return []
        found: list[FillReport] = []
        seen = set(todo)
        while todo:
            for held in self.pending.get(todo.pop(), {}).values():
                if isinstance(held, Captured):
                    found.append(held.report)
                fresh = [name for name in names_of(held) if name not in seen]
                seen.update(fresh)
                todo += fresh
        return found

    def marks_from(self, symbol: str, at_ns: int, before_ns: int | None = None) -> list[Mark]:
        """List the executions measured at a time from ``at_ns`` on, before ``before_ns``.

        A late snapshot may be their better benchmark; from the next known snapshot on it cannot be.
        """
        marks = self._marks.get(symbol)
        if not marks:
            return []
        end = len(marks) if before_ns is None else bisect_left(marks, (before_ns, "", ""))
        return marks[bisect_left(marks, (at_ns, "", "")) : end]

    def put_order(self, order: OrderState) -> None:
        """Take up an order with all its facts (loaded, or decided and committed)."""
        before = self.orders.pop(order.correlation_id, None)
        self._reports += _weight(order) - (_weight(before) if before is not None else 0)
        self.orders[order.correlation_id] = order
        if _weight(order) > self._large_from:
            self._large.add(order.correlation_id)
        self._done.pop(order.correlation_id, None)
        if order.is_done:
            self._done[order.correlation_id] = None
        for reference in all_references(order):
            known = self.by_reference.get(reference)
            if known == order.correlation_id:
                continue
            owner = self.orders.get(known or "")
            if owner is None or first_claim(order, reference) <= first_claim(owner, reference):
                self.by_reference[reference] = order.correlation_id

    def load_order(self, order: OrderState) -> None:
        """Take up an order from the database, with its marks: a snapshot that comes late restates it, too."""
        self.put_order(order)
        root = order.root
        for execution in order.executions.values():
            mark = (execution.transact_ns, order.correlation_id, execution.execution_id)
            self._mark(execution.symbol, mark)
            pair = rate_pair(execution, self.instruments) if needs_rate(execution, self.instruments) else None
            if pair is not None and pair.symbol != execution.symbol:
                self._mark(pair.symbol, mark)
        if root is not None:
            for symbol in {execution.symbol for execution in order.executions.values()}:
                self._mark(symbol, (root.routed_ns, order.correlation_id, ""))

    def put_pending(self, reference: Reference, held: Iterable[Captured | CapturedOrder]) -> None:
        """Take up all pending reports of a reference; none is an answer too, and is not kept."""
        found: Held = {key_of(h): h for h in held}
        if found:
            self.pending[reference] = found

    def apply(self, decision: Decision) -> None:
        """Make a committed decision the state, and forget what is too much."""
        self.take_up(decision)
        self.forget_most()

    def take_up(self, decision: Decision) -> None:
        """Make a decision the state; all orders it touches are held from then on."""
        self.snapshots.add(decision.snapshots)
        self._apply_standing(decision)
        for reference, held in decision.pending_by_reference.items():
            if held:
                self.pending[reference] = held
            else:
                self.pending.pop(reference, None)
        for reference, found in decision.unknown.items():
            if found is not None:
                self.unknown[reference] = found
            else:
                self.unknown.pop(reference, None)
        for order in decision.orders.values():
            self.put_order(order)
        for symbol, mark in decision.marks:
            self._mark(symbol, mark)

    def _apply_standing(self, decision: Decision) -> None:
        """Take up what is about venues and not about facts."""
        if decision.controls is not None:
            self.controls.apply(decision.controls)
        if decision.completeness is not None:
            apply_findings(self.findings, decision.completeness)
        if decision.health is not None:
            self.health.apply(decision.health)
        if decision.delays is not None:
            self.delays.apply(decision.delays)

    def forget_most(self) -> None:
        """Drop what was used longest ago and is more than memory is to hold; all of it must be committed."""
        over, gone = self._reports - self._report_limit, list[str]()
        kept = max(self._large - self._done.keys(), key=self._weight_of, default=None) if self._large else None
        if kept is not None:
            over -= self._weight_of(kept)
        if over > 0:
            # found in one go: what is looked up first in a dict again and again is behind all that is gone
            for correlation_id in chain(self._done, (name for name in self.orders if name not in self._done)):
                if over <= 0 or len(gone) == len(self.orders) - 1:
                    break
                if correlation_id == kept:
                    continue
                gone.append(correlation_id)
                over -= _weight(self.orders[correlation_id])
        for correlation_id in gone:
            self.forget(correlation_id)
        while len(self.pending) > self._report_limit:
            oldest = next(iter(self.pending))
            del self.pending[oldest]
            self.holds_all_waiting = False
            self.unknown.pop(oldest, None)

    def _weight_of(self, correlation_id: str) -> int:
        return _weight(self.orders[correlation_id])

    def forget(self, correlation_id: str) -> None:
        """Drop an order from memory; it is loaded again when something is said of it."""
        order = self.orders.pop(correlation_id)
        self._done.pop(correlation_id, None)
        self._large.discard(correlation_id)
        self._reports -= _weight(order)
        for reference in all_references(order):
            if self.by_reference.get(reference) == correlation_id:
                del self.by_reference[reference]

    def _mark(self, symbol: str, mark: Mark) -> None:
        marks = self._marks.setdefault(symbol, [])
        if not marks or marks[-1] < mark:
            marks.append(mark)
        else:
            at = bisect_left(marks, mark)
            if marks[at] != mark:  # an order that was forgotten and is loaded again has its marks still
                marks.insert(at, mark)
        if len(marks) > 2 * self._mark_limit:
            del marks[: -self._mark_limit]
