"""One order within a batch: take up facts, settle, and say what changed against what was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ledger.domain.announcing import Announcer
from ledger.domain.claims import match_total
from ledger.domain.decision import Decision, Stood
from ledger.domain.events import (
    enriched_event,
    restated_event,
)
from ledger.domain.fees import needs_rate, rate_pair
from ledger.domain.holds import settle_breaks
from ledger.domain.records import (
    ACTIVE,
    FILL,
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
from ledger.domain.settling import settle_fill, settle_whole
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
from ledger.domain.verdicts import RefusedError, voids_of
from ledger.domain.waits import end_grace, settle_unresolved, wait_for_gap

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ledger.domain.order import OrderState
    from ledger.domain.tolerances import Grace, Tolerances


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
        alone = not (known or report.exec_id in order.referring or order.parts or report.trade_report_id)
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
        """End the grace time of what waits; a gap is a break from then on."""
        letter = end_grace(self.order, waiting, decision)
        if letter is not None and waiting.reason is PendingReason.GAP:
            self._causes.append(waiting.row_id)
            self._whole = True
        return letter

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
            wait_for_gap(order, self.before, self._received_ns, decision)
        if order.standing is not (self.before.standing if self.before is not None else UNREPORTED):
            self._note_standing(decision)
        if self._totals or order.claim.is_total:
            match_total(order, self.before, decision)
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
            settle_breaks(order, self.before, min(self._causes, default=""), self._resolved, decision)
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
        settle_unresolved(order, before, self._new, decision)
        settle_breaks(order, before, min(self._causes, default=""), self._resolved, decision)
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
