"""The decision: (what is known, new facts) -> rows, events, new states. Pure; the book is only read.

Within a batch snapshots come first, then intents, then reports: the result does not depend on it, since what
an order amounts to is a function of the set of facts, but fewer rows are written twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from ledger.domain.book import (
    Book,
    Held,
    Reference,
    first_claim,
    key_of,
    learned_reference,
    names_of,
    reference_of,
    references_of,
    references_of_state,
)
from ledger.domain.breaks import unknown_order_break
from ledger.domain.completeness import Audited, CompletenessRows, Missing, OpenFindings, take_audited, take_missing
from ledger.domain.controls import Control, ControlRows, Controls
from ledger.domain.decision import Decision, Ended, Learned, Pending
from ledger.domain.delays import DelayPolicy, Late
from ledger.domain.errors import Defect
from ledger.domain.events import break_event, dead_letter_event, flag_event, pending_event
from ledger.domain.failover import Health
from ledger.domain.halts import ClockChange, Halt, Resume
from ledger.domain.identity import dead_letter_id
from ledger.domain.judging import judge_delays
from ledger.domain.order import OrderState
from ledger.domain.records import (
    Break,
    Captured,
    CapturedOrder,
    DeadLetter,
    FillReport,
    OrderIntent,
    OrderReport,
    Overdue,
    PendingReason,
    Resolution,
    Snapshot,
    Waiting,
)
from ledger.domain.sequence_gaps import GapFilled
from ledger.domain.settlement import Settlement
from ledger.domain.slippage import SlippagePolicy
from ledger.domain.snapshots import SnapshotWindow
from ledger.domain.tolerances import Grace, Tolerances, of_venue
from ledger.domain.venue_health import HealthRows, VenueHealth

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from ledger.domain.instruments import Instruments

ORDER_INTENTS = "order-intents"  # the feeds of the other agents, by name
MARKET_DATA = "market-data"
ORDER_STATES = ".states"  # a feed's repeated order reports are counted beside its fills: no quantity is in them

_STEP, _ORDERS_A_STEP = 256, 8  # facts to take up; orders to work out, of ten fills or so

Said = OrderIntent | Captured | CapturedOrder | Snapshot | DeadLetter
SAID = frozenset({OrderIntent, Captured, CapturedOrder, Snapshot, DeadLetter})
Judged = Resolution | Overdue | Control | Late | Health | GapFilled | Missing | Audited
Fact = Said | Judged


class Policy(msgspec.Struct, frozen=True):
    """The settings that the rules depend on."""

    slippage: SlippagePolicy = SlippagePolicy()
    tolerances: Mapping[str, Tolerances] = msgspec.field(default_factory=dict)
    grace: Grace = Grace()
    delays: Mapping[str, DelayPolicy] = msgspec.field(default_factory=dict)
    silent: bool = False  # no events of fills (``Decision.silent``)


def with_instruments(policy: Policy, instruments: Instruments) -> Policy:
    """Give the policy with reference data, which is read from the ledger itself."""
    slippage = msgspec.structs.replace(policy.slippage, instruments=instruments)
    return msgspec.structs.replace(policy, slippage=slippage)


class Batch:
    """A batch being decided: copies of the orders it touches over a book that stays as it is."""

    def __init__(self, book: Book, policy: Policy) -> None:
        self.book = book
        self.policy = policy
        self.decision = Decision(silent=policy.silent)
        self.settlements: dict[str, Settlement] = {}
        self._references: dict[Reference, str] = {}
        self._new_snapshots: dict[str, SnapshotWindow] = {}
        self._dead: set[str] = set()
        self._controls: Controls | None = None
        self._health: VenueHealth | None = None
        self._findings: OpenFindings | None = None
        self._lates: list[Late] = []

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
        if (
            owner is not None
            and owner != intent.correlation_id
            and intent.msg_id in self.settlement(owner).order.intents
        ):
            self._refuse_intent(intent, "msg_id_reused", f"msg_id names one order; it is {owner}'s")
            return
        settlement.add_intent(intent)
        self.decision.intents.append(intent)
        self._claim(references[0], settlement)
        for reference in references[1:]:
            self._learn(reference, intent, settlement)

    def take_report(self, captured: Captured) -> None:
        """Tie a report of a trade to its order, or let it wait for its intent."""
        report = captured.report
        owner = self._owner(reference_of(report))
        if owner is None:
            names = names_of(captured)
            owner = next((found for name in names if (found := self._owner(name)) is not None), None)
            if owner is None:
                self._let_wait(captured, names)
                return
        settlement = self.settlement(owner)
        self._learn_from(report, settlement)
        if settlement.order.has(report):
            self._count_duplicate(captured.feed)
            return
        self.decision.fills.append(captured)
        settlement.add_report(captured)

    def _let_wait(self, captured: Captured, names: tuple[Reference, ...]) -> None:
        """Keep a report of a trade under each of its names until one of them is an order's."""
        key = key_of(captured)
        if any(key in self._pending(name) for name in names):
            self._count_duplicate(captured.feed)
            return
        for name in names:
            self.decision.pending_by_reference[name] = {**self._pending(name), key: captured}
        self.decision.fills.append(captured)
        self.decision.pending.append(_waiting(captured, names))
        self.decision.events.append(pending_event(captured, PendingReason.INTENT, None))

    def take_order_report(self, captured: CapturedOrder) -> None:
        """Tie a report of an order's state by the first of its references that is known, or let it wait."""
        report = captured.report
        references = references_of_state(report)
        tied = next((r for r in references if self._owner(r) is not None), None)
        if tied is None:
            if any(key_of(captured) in self._pending(r) for r in references):
                self._count_duplicate(captured.feed + ORDER_STATES)
                return
            for reference in references:
                held = self._pending(reference)
                self.decision.pending_by_reference[reference] = {**held, key_of(captured): captured}
            self.decision.order_reports.append(captured)
            return
        settlement = self.settlement(self._owner(tied) or "")
        if report.report_id in settlement.order.order_reports:
            self._count_duplicate(captured.feed + ORDER_STATES)
            return
        self.decision.order_reports.append(captured)
        settlement.add_order_report(captured)
        self._learn_from_state(report, settlement)

    def take_resolution(self, resolution: Resolution) -> None:
        """Apply two persons' verdict, where the break is still open as they saw it."""
        if resolution.correlation_id not in self.settlements and resolution.correlation_id not in self.book.orders:
            self.decision.refused.append((resolution, "its order is not known: route the missing intent"))
            return
        refusal = self.settlement(resolution.correlation_id).resolve(resolution, self.decision)
        if refusal is not None:
            self.decision.refused.append((resolution, refusal))

    def take_overdue(self, waiting: Waiting) -> None:
        """End the grace time of something that waits."""
        if waiting.reason is not PendingReason.INTENT:
            if waiting.correlation_id is not None and waiting.correlation_id in self.book.orders:
                letter = self.settlement(waiting.correlation_id).end_grace(waiting, self.decision)
                if letter is not None:
                    self.take_dead_letter(letter)
            return
        if not isinstance(waiting.captured, Captured):
            return
        reference = reference_of(waiting.captured.report)
        reports = sorted(
            (h.report for h in self._pending(reference).values() if isinstance(h, Captured)),
            key=lambda report: (report.report_id, report.content),
        )
        if not reports:  # its intent has come meanwhile
            return
        self.decision.pending_overdue.append(waiting.row_id)
        if self._unknown(reference) is None:
            subject = ":".join(reference)
            found = unknown_order_break(subject, reference[2], reports[0])
            self.decision.unknown[reference] = found
            self.decision.breaks.append(found)
            opened = break_event("break_opened", found, reports[0].report_id)
            self.decision.events += [opened, flag_event("opened", found, reports[0], opened.event_id)]

    def take_dead_letter(self, letter: DeadLetter) -> None:
        """Keep what is not a fact."""
        if letter.dead_letter_id in self._dead:
            self._count_duplicate(letter.feed)
            return
        self._dead.add(letter.dead_letter_id)
        self.decision.dead_letters.append(letter)
        self.decision.events.append(dead_letter_event(letter))

    def take_other(self, fact: Fact) -> None:
        """Take up what a venue said."""
        if isinstance(fact, Captured):
            self.take_report(fact)
        elif isinstance(fact, CapturedOrder):
            self.take_order_report(fact)
        elif isinstance(fact, DeadLetter):
            self.take_dead_letter(fact)

    def take_judgement(self, fact: Fact) -> None:
        """Take up what people decided, and what the clock did, after everything that was said."""
        if isinstance(fact, Resolution):
            self.take_resolution(fact)
        elif isinstance(fact, Overdue):
            for waiting in fact.waiting:
                self.take_overdue(waiting)
        elif isinstance(fact, Halt | Resume | ClockChange):
            self.take_control(fact)
        elif isinstance(fact, Health):
            self.take_health(fact)
        elif isinstance(fact, GapFilled):
            self.decision.events.append(fact.event())
        elif isinstance(fact, Missing | Audited):
            self.take_completeness(fact)
        elif isinstance(fact, Late):
            self._lates.append(fact)

    def take_control(self, control: Control) -> None:
        """Halt or resume a venue, as it stands in the ledger and after what this batch changed before."""
        if self._controls is None:
            self._controls = self.book.controls.copy()
            self.decision.controls = ControlRows()
        assert self.decision.controls is not None
        self._controls.take(control, self.decision.controls, self.decision.events)

    def take_health(self, health: Health) -> None:
        """Take note of an outage, a switch or their end, where the ledger does not have it yet."""
        if self._health is None:
            self._health = self.book.health.copy()
            self.decision.health = HealthRows()
        assert self.decision.health is not None
        self._health.take(health, self.decision.health, self.decision.events)

    def take_completeness(self, found: Missing | Audited) -> None:
        """Take note of what a comparison with the venue's list found."""
        if self._findings is None:
            self._findings = dict(self.book.findings)
            self.decision.completeness = CompletenessRows()
        assert self.decision.completeness is not None
        if isinstance(found, Missing):
            take_missing(found, self._findings, self.decision.completeness, self.decision.events)
        else:
            take_audited(found, self._findings, self.decision.completeness, self.decision.events)

    def settle(self) -> Generator[None, None, Decision]:
        """Work out every touched order and say what changed; in steps."""
        if self.decision.wordings_gone and self.decision.pending:
            self._forget_brief_waits()
        for number, settlement in enumerate(self.settlements.values(), start=1):
            if not number % _ORDERS_A_STEP:
                yield
            root = settlement.order.root
            tolerances = of_venue(self.policy.tolerances, root.venue if root is not None else "")
            settlement.settle(self, self.policy.slippage, tolerances, self.policy.grace, self.decision)
        if self._lates or self.book.delays.open:
            instruments = self.policy.slippage.instruments
            judge_delays(self.book, self._lates, self, self.policy.delays, instruments, self.decision)
        return self.decision

    def _forget_brief_waits(self) -> None:
        """What began to wait in this batch and ended in it leaves no row."""
        decision = self.decision
        begun = {(p.row_id, p.content) for p in decision.pending}
        ended = set(decision.wordings_gone)
        decision.pending = [p for p in decision.pending if (p.row_id, p.content) not in ended]
        decision.wordings_gone = [key for key in decision.wordings_gone if key not in begun]

    def _owner(self, reference: Reference) -> str | None:
        return self._references.get(reference) or self.book.by_reference.get(reference)

    def _pending(self, reference: Reference) -> Held:
        changed = self.decision.pending_by_reference.get(reference)
        return changed if changed is not None else self.book.pending.get(reference, {})

    def _unknown(self, reference: Reference) -> Break | None:
        if reference in self.decision.unknown:
            return self.decision.unknown[reference]
        return self.book.unknown.get(reference)

    def _learn(self, reference: Reference, intent: OrderIntent, settlement: Settlement) -> None:
        """Note that a reference is the order's, since ``intent`` was routed, and take up what waited for it."""
        claim = (intent.routed_ns, intent.msg_id)
        known = settlement.order.learned.get(reference)
        if known is None:
            settlement.order.learned[reference] = claim
            self.decision.learned.append(
                Learned(*reference, intent.correlation_id, intent.msg_id, intent.routed_ns)
            )
        self._claim(reference, settlement)

    def _learn_from(self, report: FillReport, settlement: Settlement) -> None:
        """Take up the name that a report of a trade gives beside the one that tied it: OrderID or ClOrdID."""
        beside = learned_reference(report)
        if beside is None:
            return
        order = settlement.order
        intent = order.intents.get(report.cl_ord_id or "")
        if intent is None:
            named, intent = reference_of(report), order.root
            if intent is not None and self._owner(named) is None:
                self._learn(named, intent, settlement)
        if intent is not None and self._owner(beside) != order.correlation_id:
            self._learn(beside, intent, settlement)

    def _learn_from_state(self, report: OrderReport, settlement: Settlement) -> None:
        """Take up every name that a report of the order's state gives it and that is nobody's yet."""
        root = settlement.order.root
        for reference in references_of_state(report):
            if root is not None and self._owner(reference) is None:
                self._learn(reference, settlement.order.intents.get(reference[2], root), settlement)

    def _claim(self, reference: Reference, settlement: Settlement) -> None:
        """Make the reference the order's unless an earlier one has it, with the reports that wait for it."""
        ours = settlement.order.correlation_id
        rival = self._owner(reference)
        if rival is not None and rival != ours:
            theirs = first_claim(self.settlement(rival).order, reference)
            if theirs < first_claim(settlement.order, reference):
                return  # the venue's order id is the first order's; this one's own ClOrdIDs are not shared
        self._references[reference] = ours
        waiting = self._pending(reference)
        if not waiting:
            return
        self.decision.pending_by_reference[reference] = {}
        for held in waiting.values():
            for other in names_of(held):  # it waits under each of its names
                left = {key: h for key, h in self._pending(other).items() if key != key_of(held)}
                self.decision.pending_by_reference[other] = left
            if isinstance(held, Captured):
                self._end_unknown(reference_of(held.report))
                self.decision.wordings_gone.append(key_of(held))
                if not settlement.order.has(held.report):
                    settlement.add_report(held)
                self._learn_from(held.report, settlement)
                continue
            if held.report.report_id not in settlement.order.order_reports:
                settlement.add_order_report(held)
            self._learn_from_state(held.report, settlement)

    def _end_unknown(self, reference: Reference) -> None:
        found = self._unknown(reference)
        if found is not None:
            self.decision.unknown[reference] = None
            self.decision.breaks_ended.append(Ended(found.break_id, "facts"))
            ended = break_event("break_ended", found, ":".join(reference))
            self.decision.events += [ended, flag_event("ended", found, None, ended.event_id)]

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


def _waiting(captured: Captured, names: tuple[Reference, ...]) -> Pending:
    report = captured.report
    return Pending(
        report.report_id,
        report.content,
        report.trade_date,
        names[0],
        PendingReason.INTENT,
        None,
        captured.received_ns,
        names[1][2] if len(names) > 1 else None,
    )


def deciding(book: Book, facts: Sequence[Fact], policy: Policy) -> Generator[None, None, Decision]:
    """Decide a batch in steps of about a millisecond; its value is the decision, as that of ``decide``."""
    batch = Batch(book, policy)
    # newest first: each late snapshot then looks only at what lies before the next
    for snapshot in sorted((f for f in facts if isinstance(f, Snapshot)), key=lambda s: -s.at_ns):
        batch.take_snapshot(snapshot)
    for fact in facts:
        if isinstance(fact, OrderIntent):
            batch.take_intent(fact)
    for number, fact in enumerate(facts, start=1):
        batch.take_other(fact)
        if not number % _STEP:
            yield
    for fact in facts:
        if type(fact) not in SAID:
            batch.take_judgement(fact)
    return (yield from batch.settle())


def decide(book: Book, facts: Sequence[Fact], policy: Policy) -> Decision:
    """Decide a batch. ``book`` must hold what ``book.missing(facts)`` asks for; it is not changed."""
    steps = deciding(book, facts, policy)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            decision: Decision = end.value
            return decision
