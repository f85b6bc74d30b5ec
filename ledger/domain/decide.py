"""The decision: (what is known, new facts) -> rows, events, new states. Pure; the book is only read.

Within a batch snapshots come first, then intents, then reports: the result does not depend on it, since what
an order amounts to is a function of the set of facts, but fewer rows are written twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ledger.domain.book import Book, Reference, first_claim, reference_of, references_of
from ledger.domain.decision import Decision, PendingFill
from ledger.domain.errors import Defect
from ledger.domain.events import dead_letter_event, pending_event
from ledger.domain.identity import dead_letter_id
from ledger.domain.order import OrderState
from ledger.domain.records import (
    Captured,
    CapturedOrder,
    DeadLetter,
    OrderIntent,
    Overdue,
    PendingReason,
    Resolution,
    Snapshot,
)
from ledger.domain.settlement import Settlement
from ledger.domain.slippage import SlippagePolicy
from ledger.domain.snapshots import SnapshotWindow

if TYPE_CHECKING:
    from collections.abc import Sequence

ORDER_INTENTS = "order-intents"  # the feeds of the other agents, by name
MARKET_DATA = "market-data"

Fact = OrderIntent | Captured | CapturedOrder | Snapshot | DeadLetter | Resolution | Overdue


class Policy(msgspec.Struct, frozen=True):
    """The settings that the rules depend on."""

    slippage: SlippagePolicy = SlippagePolicy()


class Batch:
    """A batch being decided: copies of the orders it touches over a book that stays as it is."""

    def __init__(self, book: Book, policy: Policy) -> None:
        self.book = book
        self.policy = policy
        self.decision = Decision()
        self.settlements: dict[str, Settlement] = {}
        self._references: dict[Reference, str] = {}
        self._new_snapshots: dict[str, SnapshotWindow] = {}
        self._dead: set[str] = set()

    def at_or_before(self, symbol: str, at_ns: int) -> Snapshot | None:
        """Find the benchmark of a time among what the book holds and what this batch brought."""
        found = self.book.snapshots.at_or_before(symbol, at_ns)
        window = self._new_snapshots.get(symbol)
        fresh = window.at_or_before(at_ns) if window is not None else None
        if found is None or fresh is None:
            return found or fresh
        return max(found, fresh, key=lambda snapshot: (snapshot.at_ns, snapshot.snapshot_id))

    def settlement(self, correlation_id: str) -> Settlement:
        """Give the order's working copy, made when first asked for."""
        found = self.settlements.get(correlation_id)
        if found is None:
            before = self.book.orders.get(correlation_id)
            order = before.copy() if before is not None else OrderState(correlation_id)
            found = self.settlements[correlation_id] = Settlement(order, before)
        return found

    def take_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot that is new, and restate what it is the better benchmark of."""
        window = self._new_snapshots.get(snapshot.symbol)
        if window is None:
            window = self._new_snapshots[snapshot.symbol] = SnapshotWindow()
        known = self.book.snapshots.window(snapshot.symbol)
        if window.has(snapshot.snapshot_id) or known.has(snapshot.snapshot_id):
            self._count_duplicate(MARKET_DATA)
            return
        window.add(snapshot)
        self.decision.snapshots.append(snapshot)
        later = [at for at in (known.next_after(snapshot), window.next_after(snapshot)) if at is not None]
        for _, correlation_id, execution_id in self.book.marks_from(
            snapshot.symbol, snapshot.at_ns, min(later, default=None)
        ):
            if correlation_id in self.book.orders:
                self.settlement(correlation_id).restate(execution_id, snapshot, self.policy.slippage)

    def take_intent(self, intent: OrderIntent) -> None:
        """Tie a routed message to its order, and the reports that waited for it."""
        settlement = self.settlement(intent.correlation_id)
        known = settlement.order.intents.get(intent.msg_id)
        references = references_of(intent)
        if known is not None:
            if known == intent:
                self._count_duplicate(ORDER_INTENTS)
            else:
                self._refuse_intent(intent, "conflicting_intent", "an intent is sent once, or again unchanged")
            return
        owner = self._owner(references[0])
        if owner is not None and owner != intent.correlation_id:
            self._refuse_intent(intent, "msg_id_reused", f"msg_id names one order; it is {owner}'s")
            return
        settlement.add_intent(intent)
        self.decision.intents.append(intent)
        for reference in references:
            rival = self._owner(reference)
            if rival is not None and rival != intent.correlation_id:
                theirs = first_claim(self.settlement(rival).order, reference)
                if theirs < first_claim(settlement.order, reference):
                    continue  # the venue's order id is the first order's; this one's own ClOrdIDs are not shared
            self._references[reference] = intent.correlation_id
            for held in self._pending(reference).values():
                self.decision.pending_gone.append(held.report.report_id)
                settlement.add_report(held)
            if self._pending(reference):
                self.decision.pending_by_reference[reference] = {}

    def take_report(self, captured: Captured) -> None:
        """Tie a report to its order, or let it wait for its intent."""
        report = captured.report
        reference = reference_of(report)
        owner = self._owner(reference)
        if owner is None:
            held = self._pending(reference)
            if (report.report_id, report.content) in held:
                self._count_duplicate(captured.feed)
                return
            self.decision.pending_by_reference[reference] = {
                **held,
                (report.report_id, report.content): captured,
            }
            self.decision.fills.append(captured)
            self.decision.pending.append(PendingFill(captured, PendingReason.INTENT, None))
            self.decision.events.append(pending_event(captured, PendingReason.INTENT, None))
            return
        settlement = self.settlement(owner)
        if settlement.order.has(report):
            self._count_duplicate(captured.feed)
            return
        self.decision.fills.append(captured)
        settlement.add_report(captured)

    def take_dead_letter(self, letter: DeadLetter) -> None:
        """Keep what is not a fact."""
        if letter.dead_letter_id in self._dead:
            self._count_duplicate(letter.feed)
            return
        self._dead.add(letter.dead_letter_id)
        self.decision.dead_letters.append(letter)
        self.decision.events.append(dead_letter_event(letter))

    def settle(self) -> Decision:
        """Work out every touched order and say what changed."""
        for settlement in self.settlements.values():
            settlement.settle(self, self.policy.slippage, self.decision)
        return self.decision

    def _owner(self, reference: Reference) -> str | None:
        return self._references.get(reference) or self.book.by_reference.get(reference)

    def _pending(self, reference: Reference) -> dict[tuple[str, str], Captured]:
        changed = self.decision.pending_by_reference.get(reference)
        return changed if changed is not None else self.book.pending.get(reference, {})

    def _count_duplicate(self, feed: str) -> None:
        self.decision.duplicates[feed] = self.decision.duplicates.get(feed, 0) + 1

    def _refuse_intent(self, intent: OrderIntent, reason: str, rule: str) -> None:
        raw = msgspec.json.encode(intent)
        defect = Defect(reason, "msg_id", intent.msg_id, rule, "Route the order again under a new msg_id.")
        self.take_dead_letter(
            DeadLetter(
                dead_letter_id(ORDER_INTENTS, raw),
                ORDER_INTENTS,
                ORDER_INTENTS,
                defect,
                raw,
                intent.routed_ns,
            )
        )


def decide(book: Book, facts: Sequence[Fact], policy: Policy) -> Decision:
    """Decide a batch. ``book`` must hold what ``book.missing(facts)`` asks for; it is not changed."""
    batch = Batch(book, policy)
    # newest first: each late snapshot then looks only at what lies before the next
    for snapshot in sorted((f for f in facts if isinstance(f, Snapshot)), key=lambda s: -s.at_ns):
        batch.take_snapshot(snapshot)
    for fact in facts:
        if isinstance(fact, OrderIntent):
            batch.take_intent(fact)
    for fact in facts:
        if isinstance(fact, Captured):
            batch.take_report(fact)
        elif isinstance(fact, DeadLetter):
            batch.take_dead_letter(fact)
    return batch.settle()
