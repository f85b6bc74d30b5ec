"""One order within a batch: take up facts, settle, and say what changed against what was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.domain.decision import Decision, PendingFill
from ledger.domain.events import break_event, fill_event, pending_event, restated_event, withheld_event
from ledger.domain.order import OrderState, settle_fill, settle_whole
from ledger.domain.records import (
    BenchmarkKind,
    Captured,
    Execution,
    ExecutionStatus,
    FillReport,
    OrderIntent,
    PendingReason,
    ReportKind,
    SlippageMetric,
    Snapshot,
)
from ledger.domain.slippage import (
    SlippagePolicy,
    SnapshotLookup,
    against_snapshot,
    measure,
    reprice,
    supersedes,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet


class Settlement:
    """The working copy of an order; ``before`` is the committed one (None when the order is new)."""

    __slots__ = ("_announced", "_causes", "_fast", "_new", "_restated", "_whole", "before", "order")

    def __init__(self, order: OrderState, before: OrderState | None) -> None:
        self.order = order
        self.before = before
        self._causes: list[str] = []  # the facts of this batch: each is in one landed batch only
        self._fast: list[FillReport] = []
        self._new: dict[str, Captured] = {}
        self._whole = False
        self._announced: set[str] = set()
        self._restated: list[SlippageMetric] = []

    def add_intent(self, intent: OrderIntent) -> None:
        """Take up an intent; an order that already has reports is worked out again."""
        self.order.add_intent(intent)
        self._causes.append(intent.msg_id)
        self._whole = self._whole or bool(self.order.reports)

    def add_report(self, captured: Captured) -> None:
        """Take up a report: a fill that nothing refers to is the fast case."""
        report = captured.report
        known = report.report_id in self.order.reports
        self.order.add_report(report)
        self._new[report.report_id] = captured
        self._causes.append(report.report_id + report.content)
        alone = not known and report.exec_id not in self.order.referring
        if report.kind is not ReportKind.FILL or not alone:
            self._whole = True
        else:
            self._fast.append(report)

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
            if execution is None or metrics is None or execution.symbol != snapshot.symbol:
                continue
            fresh = []
            for metric in metrics:
                wanted = _wanted_ns(metric, execution, root)
                if supersedes(snapshot, metric, wanted):
                    fresh.append(against_snapshot(execution, metric.kind, wanted, snapshot, policy))
                    self._restated.append(fresh[-1])
                else:
                    fresh.append(metric)
            self.order.metrics[known_id] = tuple(fresh)

    def settle(self, snapshots: SnapshotLookup, policy: SlippagePolicy, decision: Decision) -> None:
        """Work the order out and write the differences down."""
        order = self.order
        if order.root is None:  # its only intents were refused
            return
        if self._whole:
            self._settle_whole(snapshots, policy, decision)
        else:
            self._settle_fast(snapshots, policy, decision)
        self._mark_arrival(decision)
        decision.orders[order.correlation_id] = order

    def _settle_fast(self, snapshots: SnapshotLookup, policy: SlippagePolicy, decision: Decision) -> None:
        order = self.order
        root = order.root
        assert root is not None
        for metric in _latest(self._restated):
            decision.metrics_changed.append(metric)
            decision.events.append(restated_event(metric, order.correlation_id))
        arrival = snapshots.at_or_before(root.symbol, root.routed_ns) if self._fast else None
        for fill in self._fast:
            settle_fill(order, fill)
            execution = order.executions[fill.report_id]
            known = arrival if execution.symbol == root.symbol else None
            metrics = measure(execution, root, snapshots, policy, known)
            order.metrics[fill.report_id] = metrics
            decision.executions.append(execution)
            decision.metrics += metrics
            self._mark(execution, decision)
            if not order.breaks:
                decision.events.append(fill_event(fill, execution, order, metrics))
                self._announced.add(fill.report_id)
        if order.breaks:
            self._settle_breaks(decision)
            self._announce(decision, (order.executions[fill.report_id] for fill in self._fast))

    def _settle_whole(self, snapshots: SnapshotLookup, policy: SlippagePolicy, decision: Decision) -> None:
        order, before = self.order, self.before
        root = order.root
        assert root is not None
        old_executions = before.executions if before is not None else {}
        old_metrics = before.metrics if before is not None else {}
        old_unresolved = before.unresolved if before is not None else frozenset()
        same_root = before is not None and before.root == root
        settle_whole(order)
        touched: list[Execution] = []
        for execution in order.executions.values():
            metrics = self._measured(execution, same_root, snapshots, policy)
            if metrics is None:
                order.metrics.pop(execution.execution_id, None)
            else:
                order.metrics[execution.execution_id] = metrics
            old = old_executions.get(execution.execution_id)
            if old is None:
                decision.executions.append(execution)
            elif old != execution:
                decision.executions_changed.append(execution)
            if old is None:
                self._mark(execution, decision)
            _write_metrics(execution.execution_id, metrics, old_metrics, decision)
            chain = order.chain(order.reports[execution.execution_id])
            if len(chain) > 1:
                decision.chains[execution.execution_id] = tuple(r.report_id for r in chain[1:])
            touched.append(execution)
        for metric in _latest(self._restated):
            for final in order.metrics.get(metric.execution_id, ()):
                if final.kind is metric.kind:
                    decision.events.append(restated_event(final, order.correlation_id))
        self._settle_unresolved(old_unresolved, decision)
        self._settle_breaks(decision)
        self._announce(decision, touched)

    def _measured(
        self, execution: Execution, same_root: bool, snapshots: SnapshotLookup, policy: SlippagePolicy
    ) -> tuple[SlippageMetric, ...] | None:
        """Measure, keeping a benchmark that was already found; None for a busted execution."""
        if execution.status is ExecutionStatus.BUSTED:
            return None
        root = self.order.root
        assert root is not None
        known = self.order.metrics.get(execution.execution_id)
        if known is not None and same_root:
            return tuple(reprice(metric, execution) for metric in known)
        fresh = measure(execution, root, snapshots, policy)
        if known is None:
            return fresh
        at_fill = [reprice(metric, execution) for metric in known if metric.kind is BenchmarkKind.FILL_MID]
        return (*(metric for metric in fresh if metric.kind is not BenchmarkKind.FILL_MID), *at_fill)

    def _settle_unresolved(self, before: frozenset[str], decision: Decision) -> None:
        order = self.order
        decision.pending_gone += sorted(before - order.unresolved)
        for report_id in sorted(order.unresolved - before):
            captured = self._new.get(report_id)
            if captured is not None:
                waiting = PendingFill(captured, PendingReason.REFERENCE, order.correlation_id)
                decision.pending.append(waiting)
                decision.events.append(pending_event(captured, PendingReason.REFERENCE, order.correlation_id))

    def _settle_breaks(self, decision: Decision) -> None:
        old = self.before.breaks if self.before is not None else {}
        if old == self.order.breaks:
            return
        cause = min(self._causes, default="")
        for break_id, found in self.order.breaks.items():
            if break_id not in old:
                decision.breaks.append(found)
                decision.events.append(break_event("break_opened", found, cause))
            elif old[break_id] != found:
                decision.breaks_changed.append(found)
                decision.events.append(break_event("break_changed", found, cause))
        for break_id, found in old.items():
            if break_id not in self.order.breaks:
                decision.breaks_ended.append(break_id)
                decision.events.append(break_event("break_ended", found, cause))

    def _announce(self, decision: Decision, executions: Iterable[Execution]) -> None:
        """Publish the reports not yet announced, in the order of their chains; on hold they wait."""
        order = self.order
        held = order.withheld
        announced = self._announced_before() | self._announced
        busted = self._busts_announced(announced)
        waiting: set[str] = set()
        for execution in executions:
            execution_id = execution.execution_id
            chain = order.chain(order.reports[execution_id])
            still: list[str] = []
            for report in chain:
                if report.report_id in announced or (report.kind is ReportKind.BUST and execution_id in busted):
                    continue
                announced.add(report.report_id)
                if order.breaks:
                    still.append(report.report_id)
                    if report.report_id not in held:
                        decision.events.append(withheld_event(report, order.correlation_id))
                else:
                    metrics = order.metrics.get(execution_id, ())
                    decision.events.append(fill_event(report, execution, order, metrics))
            if still or any(r.report_id in held for r in chain):
                decision.withheld[execution_id] = tuple(still)
            waiting.update(still)
        order.withheld = (held | waiting) if order.breaks else frozenset()

    def _announced_before(self) -> set[str]:
        """The reports whose events went out before: those that were settled, less the withheld."""
        if self.before is None:
            return set()
        known = self.before
        announced: set[str] = set()
        for execution_id in known.executions:
            announced.update(r.report_id for r in known.chain(known.reports[execution_id]))
        return announced - known.withheld

    def _busts_announced(self, announced: AbstractSet[str]) -> set[str]:
        """List the executions whose bust was told: a second bust, even an earlier one, is no second event."""
        known = self.before
        if known is None:
            return set()
        return {
            execution_id
            for execution_id, execution in known.executions.items()
            if execution.status is ExecutionStatus.BUSTED
            and known.chain(known.reports[execution_id])[-1].report_id in announced
        }

    @staticmethod
    def _mark(execution: Execution, decision: Decision) -> None:
        """Note the fill time: a snapshot that comes late may be the better benchmark of it."""
        mark = (execution.transact_ns, execution.correlation_id, execution.execution_id)
        decision.marks.append((execution.symbol, mark))

    def _mark_arrival(self, decision: Decision) -> None:
        """Note the arrival time, once an order and root: all its executions are measured against it."""
        root = self.order.root
        before = self.before
        assert root is not None
        if self.order.executions and (before is None or before.root != root or not before.executions):
            symbols = {execution.symbol for execution in self.order.executions.values()}
            mark = (root.routed_ns, root.correlation_id, "")
            decision.marks += [(symbol, mark) for symbol in sorted(symbols)]


def _wanted_ns(metric: SlippageMetric, execution: Execution, root: OrderIntent) -> int:
    """Give the time a metric's snapshot must be at or before; -1 for the decision price, which has none."""
    if metric.kind is BenchmarkKind.ARRIVAL_MID:
        return root.routed_ns
    if metric.kind is BenchmarkKind.FILL_MID:
        return execution.transact_ns
    return -1


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
