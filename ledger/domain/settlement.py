"""One order within a batch: take up facts, settle, and say what changed against what was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ledger.domain.announcing import Announcer
from ledger.domain.book import reference_of
from ledger.domain.decision import Decision, Ended, Pending, Stood, TotalMatch
from ledger.domain.errors import Defect
from ledger.domain.events import (
    break_event,
    enriched_event,
    flag_event,
    letter_ended_event,
    pending_event,
    restated_event,
    verdict_event,
)
from ledger.domain.fees import needs_rate, rate_pair
from ledger.domain.identity import identify, out_of_order_id
from ledger.domain.records import (
    ACTIVE,
    FILL,
    AuditEvent,
    Break,
    Captured,
    CapturedOrder,
    DeadLetter,
    Execution,
    FillReport,
    OrderIntent,
    PendingReason,
    Resolution,
    SlippageMetric,
    Snapshot,
    Verdict,
    Waiting,
)
from ledger.domain.settling import MANY_TO_ONE, settle_fill, settle_whole
from ledger.domain.slippage import (
    SlippagePolicy,
    SnapshotLookup,
    against_snapshot,
    measure,
    question,
    remeasure,
    supersedes,
)
from ledger.domain.standing import UNREPORTED
from ledger.domain.times import utc_date
from ledger.domain.verdicts import RefusedError, voids_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ledger.domain.order import OrderState
    from ledger.domain.tolerances import Grace, Tolerances

ONE_TO_ONE = "one_to_one"


class Settlement:
    """The working copy of an order; ``before`` is the committed one (None when the order is new)."""

    __slots__ = (
        "_causes",
        "_fast",
        "_new",
        "_received_ns",
        "_resolved",
        "_restated",
        "_totals",
        "_whole",
        "before",
        "order",
    )

    def __init__(self, order: OrderState, before: OrderState | None) -> None:
        self.order = order
        self.before = before
        self._causes: list[str] = []  # the facts of this batch: each is in one landed batch only
        self._fast: list[FillReport] = []
        self._new: dict[str, Captured] = {}
        self._received_ns = 0
        self._whole = bool(order.voided or order.parts)
        self._totals = False
        self._restated: list[SlippageMetric] = []
        self._resolved: dict[str, Resolution] = {}

    def add_intent(self, intent: OrderIntent) -> None:
        """Take up an intent; an order that already has reports is worked out again."""
        self.order.add_intent(intent)
        self._causes.append(intent.msg_id)
        self._whole = self._whole or bool(self.order.reports or self.order.order_reports)

    def add_report(self, captured: Captured) -> None:
        """Take up a report: a fill that nothing refers to is the fast case."""
        report, order = captured.report, self.order
        known = report.report_id in order.reports
        order.add_report(report)
        self._new[report.report_id] = captured
        self._received_ns = max(self._received_ns, captured.received_ns)
        self._causes.append(report.report_id + report.content)
        alone = not (known or report.exec_id in order.referring or order.parts)
        if report.kind is not FILL or not alone:
            self._whole = True
        else:
            self._fast.append(report)

    def add_order_report(self, captured: CapturedOrder) -> None:
        """Take up a report of the order's state."""
        self.order.add_order_report(captured.report)
        self._received_ns = max(self._received_ns, captured.received_ns)
        self._causes.append(captured.report.report_id)
        self._totals = True
        self._whole = self._whole or bool(self.order.reports or captured.report.cum_qty)

    def resolve(self, resolution: Resolution, decision: Decision) -> str | None:
        """Apply a verdict; give the reason where it does not apply any more."""
        order = self.order
        if any(
            r.resolution_id == resolution.resolution_id for r in order.resolutions.get(resolution.break_id, ())
        ):
            return None
        if resolution.voids:  # decided before: it is a fact
            order.void(resolution)
            self._whole = True
            return None
        found = self.before.breaks.get(resolution.break_id) if self.before is not None else None
        if found is None:
            return "the break is not open any more"
        if (found.ours, found.theirs) != (resolution.ours, resolution.theirs):
            return f"the break has changed since: ours {found.ours}, theirs {found.theirs}"
        if resolution.verdict is Verdict.REJECT:
            try:
                resolution = msgspec.structs.replace(resolution, voids=voids_of(order, found))
            except RefusedError as error:
                return str(error)
        order.void(resolution)
        self._resolved[resolution.break_id] = resolution
        self._causes.append(resolution.resolution_id)
        decision.resolutions.append(resolution)
        self._whole = True
        return None

    def end_grace(self, waiting: Waiting, decision: Decision) -> DeadLetter | None:
        """End the grace time of a gap, which is a break then, or of a reference, whose dead letter is given."""
        if waiting.reason is PendingReason.GAP:
            return self._end_gap(waiting, decision)
        order = self.order
        if waiting.row_id not in order.unresolved or waiting.row_id in order.lettered:
            return None
        order.lettered |= {waiting.row_id}
        decision.pending_overdue.append(waiting.row_id)
        report = waiting.captured.report
        assert isinstance(report, FillReport), "what refers to a report is a report of a trade"
        rule = f"what a {report.kind} refers to comes in time"
        letter_id = out_of_order_id(waiting.row_id)
        return _letter(letter_id, waiting, "exec_ref_id", report.exec_ref_id or "", rule)

    def _end_gap(self, waiting: Waiting, decision: Decision) -> DeadLetter | None:
        order = self.order
        if not order.suspects:
            decision.pending_gone.append(waiting.row_id)
            return None
        if waiting.row_id in order.lettered:
            return None
        order.is_overdue = self._whole = True
        order.lettered |= {waiting.row_id}
        self._causes.append(waiting.row_id)
        decision.pending_overdue.append(waiting.row_id)
        suspect = next(iter(order.suspects.values()))
        rule = f"the fills that make up the venue's total come in time (ours: {suspect.ours})"
        letter_id = _gap_letter_id(waiting.row_id, order.waits_since)
        return _letter(letter_id, waiting, suspect.kind.removesuffix("_differs"), suspect.theirs, rule)

    def restate(self, execution_id: str, snapshot: Snapshot, policy: SlippagePolicy) -> None:
        """Measure against a snapshot that came late, where it is the better benchmark.

        An empty ``execution_id`` stands for all executions of the order: their arrival is the same.
        """
        root = self.order.root
        if root is None:
            return
        for known_id in (execution_id,) if execution_id else tuple(self.order.metrics):
            execution = self.order.executions.get(known_id)
            metrics = self.order.metrics.get(known_id)
            if execution is None or metrics is None:
                continue
            fresh = []
            for metric in metrics:
                asked = question(metric.kind, execution, root, policy)
                if asked is not None and asked[0] == snapshot.symbol and supersedes(snapshot, metric, asked[1]):
                    fresh.append(against_snapshot(execution, metric.kind, asked[1], snapshot, policy))
                    self._restated.append(fresh[-1])
                else:
                    fresh.append(metric)
            self.order.metrics[known_id] = tuple(fresh)

    def settle(
        self,
        snapshots: SnapshotLookup,
        policy: SlippagePolicy,
        tolerances: Tolerances,
        grace: Grace,
        decision: Decision,
    ) -> None:
        """Work the order out and write the differences down."""
        order = self.order
        if order.root is None:  # its only intents were refused
            return
        if not grace.gap_ns:
            order.is_overdue = True
        if self._whole:
            self._settle_whole(snapshots, policy, tolerances, decision)
        else:
            self._settle_fast(snapshots, policy, tolerances, decision)
        if not order.suspects:
            order.is_overdue = False
        if order.suspects or (self.before is not None and self.before.suspects):
            self._wait_for_gap(decision)
        if order.standing is not (self.before.standing if self.before is not None else UNREPORTED):
            self._note_standing(decision)
        if self._totals or order.claim.is_total:
            self._match_total(decision)
        self._mark_arrival(decision)
        decision.orders[order.correlation_id] = order

    def _settle_fast(
        self, snapshots: SnapshotLookup, policy: SlippagePolicy, tolerances: Tolerances, decision: Decision
    ) -> None:
        order = self.order
        root = order.root
        assert root is not None
        for metric in _latest(self._restated):
            decision.metrics_changed.append(metric)
            decision.events.append(restated_event(metric, order.correlation_id))
        arrival = snapshots.at_or_before(root.symbol, root.routed_ns) if self._fast else None
        announcer = Announcer(order, self.before)
        on_hold = self.before is not None and bool(self.before.breaks)
        for fill in self._fast:
            settle_fill(order, fill, tolerances, policy.instruments)
            execution = order.executions[fill.report_id]
            known = arrival if execution.symbol == root.symbol else None
            metrics = measure(execution, root, snapshots, policy, known)
            order.metrics[fill.report_id] = metrics
            decision.executions.append(execution)
            decision.metrics += metrics
            self._mark(execution, policy, decision)
            if not (order.breaks or on_hold):
                announcer.tell(fill, execution, decision)
            else:
                on_hold = True
        if on_hold:
            self._settle_breaks(decision)
            announcer.announce(decision, order.executions.values())

    def _settle_whole(
        self, snapshots: SnapshotLookup, policy: SlippagePolicy, tolerances: Tolerances, decision: Decision
    ) -> None:
        order, before = self.order, self.before
        root = order.root
        assert root is not None
        old_executions = before.executions if before is not None else {}
        old_metrics = before.metrics if before is not None else {}
        same_root = before is not None and before.root == root
        settle_whole(order, tolerances, policy.instruments)
        for execution in order.executions.values():
            metrics = self._measured(execution, same_root, snapshots, policy)
            if metrics is None:
                order.metrics.pop(execution.execution_id, None)
            else:
                order.metrics[execution.execution_id] = metrics
            self._write_execution(execution, old_executions.get(execution.execution_id), policy, decision)
            _write_metrics(execution.execution_id, metrics, old_metrics, decision)
        for metric in _latest(self._restated):
            for final in order.metrics.get(metric.execution_id, ()):
                if final.kind is metric.kind and final.snapshot_id == metric.snapshot_id:  # not by a new root
                    decision.events.append(restated_event(final, order.correlation_id))
        self._settle_unresolved(decision)
        self._settle_breaks(decision)
        Announcer(order, before).announce(decision, order.executions.values())

    def _write_execution(
        self, execution: Execution, old: Execution | None, policy: SlippagePolicy, decision: Decision
    ) -> None:
        order, before = self.order, self.before
        if old is None:
            decision.executions.append(execution)
            self._mark(execution, policy, decision)
        elif old != execution:
            decision.executions_changed.append(execution)
            if (old.fee_currency, old.transact_ns) != (execution.fee_currency, execution.transact_ns):
                self._mark(execution, policy, decision)
            if execution.execution_id in self._new and execution.last_exec_id == old.last_exec_id:
                decision.events.append(enriched_event(old, execution))
        chain = order.chain(order.reports[execution.execution_id])[1:]
        known = before.chain(before.reports[execution.execution_id])[1:] if before is not None and old else ()
        if [r.report_id for r in chain] != [r.report_id for r in known]:
            decision.chains[execution.execution_id] = tuple(r.report_id for r in chain)

    def _measured(
        self, execution: Execution, same_root: bool, snapshots: SnapshotLookup, policy: SlippagePolicy
    ) -> tuple[SlippageMetric, ...] | None:
        """Measure, keeping a benchmark that was already found; None for an execution that does not count."""
        if execution.status is not ACTIVE:
            return None
        root = self.order.root
        assert root is not None
        known = self.order.metrics.get(execution.execution_id)
        if known is None:
            return measure(execution, root, snapshots, policy)
        old = self.before.executions.get(execution.execution_id) if self.before is not None else None
        return remeasure(known, execution, old, root, snapshots, policy, same_root=same_root)

    def _settle_unresolved(self, decision: Decision) -> None:
        order = self.order
        before = self.before.unresolved if self.before is not None else frozenset()
        gone = sorted(before - order.unresolved)
        decision.pending_gone += gone
        for report_id in gone:
            self._end_letter(report_id, out_of_order_id(report_id), decision)
        for report_id in sorted(order.unresolved - before):
            captured = self._new.get(report_id)
            if captured is not None:
                report = captured.report
                decision.pending.append(
                    Pending(
                        report_id,
                        report.content,
                        report.trade_date,
                        reference_of(report),
                        PendingReason.REFERENCE,
                        order.correlation_id,
                        captured.received_ns,
                    )
                )
                decision.events.append(pending_event(captured, PendingReason.REFERENCE, order.correlation_id))

    def _end_letter(self, row_id: str, letter_id: str, decision: Decision) -> None:
        """Mark the dead letter of something that waited too long: what was missing has come."""
        if row_id in self.order.lettered:
            self.order.lettered -= {row_id}
            decision.letters_ended.append((letter_id, "landed: what was missing has come"))
            decision.events.append(letter_ended_event(letter_id, self.order.correlation_id, "landed"))

    def _wait_for_gap(self, decision: Decision) -> None:
        """Keep one row while the venue's totals are not ours: it ends by itself, or with its grace time."""
        order, before = self.order, self.before
        root = order.root
        assert root is not None
        row_id = identify("gap", order.correlation_id)
        had = before is not None and before.waits_since is not None
        if order.suspects and not had:
            order.waits_since = self._received_ns or root.routed_ns
            decision.pending.append(
                Pending(
                    row_id,
                    order.claim.source,
                    utc_date(root.routed_ns),
                    (root.venue, "c", root.msg_id),
                    PendingReason.GAP,
                    order.correlation_id,
                    order.waits_since,
                )
            )
        elif had and not order.suspects:
            decision.pending_gone.append(row_id)
            self._end_letter(row_id, _gap_letter_id(row_id, order.waits_since), decision)
            order.waits_since = None

    def _note_standing(self, decision: Decision) -> None:
        order, now = self.order, self.order.standing
        decision.standings.append(
            Stood(
                order.correlation_id,
                now.order_qty,
                now.closed,
                now.closed_ns,
                now.leaves,
                now.pending,
                now.held,
                now.base,
            )
        )

    def _match_total(self, decision: Decision) -> None:
        """Match the venue's total with the executions it is the sum of, where the two agree."""
        order, claim = self.order, self.order.claim
        if not claim.is_total or not claim.sound or order.suspects or order.unresolved or not order.cum_qty:
            return
        same = self.before is not None and self.before.claim == claim and not self.before.suspects
        if same:
            return
        parts = tuple(sorted(i for i, e in order.executions.items() if e.status is ACTIVE))
        rule = ONE_TO_ONE if len(parts) == 1 else MANY_TO_ONE
        decision.totals.append(
            TotalMatch(claim.source, order.correlation_id, rule, order.cum_qty, order.avg_px, parts)
        )

    def _settle_breaks(self, decision: Decision) -> None:
        old = self.before.breaks if self.before is not None else {}
        if old == self.order.breaks:
            return
        cause = min(self._causes, default="")
        for break_id, found in self.order.breaks.items():
            if break_id not in old:
                decision.breaks.append(found)
                self._tell_break("opened", found, cause, decision)
            elif old[break_id] != found:
                decision.breaks_changed.append(found)
                self._tell_break("changed", found, cause, decision)
        for break_id, found in old.items():
            if break_id in self.order.breaks:
                continue
            resolution = self._resolved.get(break_id)
            if resolution is None:
                decision.breaks_ended.append(Ended(break_id, "facts"))
                self._tell_break("ended", found, cause, decision)
            else:
                decision.breaks_ended.append(Ended(break_id, resolution.verdict))
                told = verdict_event(found, resolution)
                decision.events += [told, self._flag(told.event_type.removeprefix("break_"), found, told.event_id)]

    def _tell_break(self, state: str, found: Break, cause: str, decision: Decision) -> None:
        told = break_event(f"break_{state}", found, cause)
        decision.events += [told, self._flag(state, found, told.event_id)]

    def _flag(self, state: str, found: Break, told_id: str) -> AuditEvent:
        report = self.order.reports.get(found.report_id or "")
        return flag_event(state, found, report or self.order.root, told_id)

    @staticmethod
    def _mark(execution: Execution, policy: SlippagePolicy, decision: Decision) -> None:
        """Note the fill time: a late snapshot may be the better benchmark of it, or of its fee's rate."""
        mark = (execution.transact_ns, execution.correlation_id, execution.execution_id)
        decision.marks.append((execution.symbol, mark))
        if needs_rate(execution, policy.instruments):
            pair = rate_pair(execution, policy.instruments)
            if pair is not None and pair.symbol != execution.symbol:
                decision.marks.append((pair.symbol, mark))

    def _mark_arrival(self, decision: Decision) -> None:
        """Note the arrival time, once an order and root: all its executions are measured against it."""
        root = self.order.root
        before = self.before
        assert root is not None
        if self.order.executions and (before is None or before.root != root or not before.executions):
            symbols = {execution.symbol for execution in self.order.executions.values()}
            mark = (root.routed_ns, root.correlation_id, "")
            decision.marks += [(symbol, mark) for symbol in sorted(symbols)]


def _write_metrics(
    execution_id: str,
    metrics: tuple[SlippageMetric, ...] | None,
    old_metrics: dict[str, tuple[SlippageMetric, ...]],
    decision: Decision,
) -> None:
    old = {m.kind: m for m in old_metrics.get(execution_id, ())}
    kinds = {metric.kind for metric in metrics or ()}
    decision.metrics_gone += [(execution_id, kind) for kind in old if kind not in kinds]
    for metric in metrics or ():
        if metric.kind not in old:
            decision.metrics.append(metric)
        elif old[metric.kind] != metric:
            decision.metrics_changed.append(metric)


def _latest(restated: Iterable[SlippageMetric]) -> Iterable[SlippageMetric]:
    """Two late snapshots in one batch: only the better one is written."""
    return {(m.execution_id, m.kind): m for m in restated}.values()


def _gap_letter_id(row_id: str, since_ns: int | None) -> str:
    """Id of a gap's dead letter: an order may wait more than once."""
    return out_of_order_id(f"{row_id} {since_ns}")


def _letter(letter_id: str, waiting: Waiting, field: str, value: str, rule: str) -> DeadLetter:
    captured = waiting.captured
    defect = Defect(
        "out_of_order",
        field,
        value,
        rule,
        "Ask the venue to resend what is missing: when it comes this is replayed by itself.",
    )
    return DeadLetter(
        letter_id,
        captured.report.venue,
        captured.feed,
        defect,
        captured.raw,
        captured.received_ns,
    )
