"""Which reports of an order are told, and in which order: once each, and not while the order is on hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.domain.events import fill_event, retract_event, reworded_event, withheld_event
from ledger.domain.records import ACTIVE, BUST, BUSTED, Execution, FillReport

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ledger.domain.decision import Decision
    from ledger.domain.order import OrderState


class Announcer:
    """Compares what an order amounts to now with what was told of it before."""

    def __init__(self, order: OrderState, before: OrderState | None) -> None:
        self._order = order
        self._before = before
        self._told: set[str] = set()

    def tell(self, fill: FillReport, execution: Execution, decision: Decision) -> None:
        """Publish a new fill of an order that is not on hold."""
        if not decision.silent:
            metrics = self._order.metrics[fill.report_id]
            decision.events.append(fill_event(fill, execution, self._order, metrics))
        self._told.add(fill.report_id)

    def announce(self, decision: Decision, executions: Collection[Execution]) -> None:
        """Publish the reports not yet told, execution by execution in the order of their times; on hold they wait.

        What does not count any more, and not by a bust of its own, is taken back once if it was told.
        """
        order = self._order
        before = self._told_before()
        told = before | self._told
        waiting: set[str] = set()
        for execution in sorted(executions, key=lambda e: (e.transact_ns, e.exec_id, e.execution_id)):
            chain = order.chain(order.reports[execution.execution_id])
            if _is_retracted(execution, chain):
                self._retract(execution, chain, before, decision)
            else:
                self._reword(execution, chain, before, decision)
                waiting.update(self._announce_chain(execution, chain, told, decision))
        order.withheld = (order.withheld | waiting) - told if order.breaks else frozenset()

    def _announce_chain(
        self, execution: Execution, chain: Sequence[FillReport], told: set[str], decision: Decision
    ) -> list[str]:
        order, execution_id = self._order, execution.execution_id
        held = order.withheld
        still: list[str] = []
        for report in chain:
            if report.report_id in told or (report.kind is BUST and self._bust_told(execution_id, told)):
                continue
            if order.breaks:
                still.append(report.report_id)
                if report.report_id not in held:
                    decision.events.append(withheld_event(report, order.correlation_id))
            else:
                told.add(report.report_id)
                if decision.silent:
                    continue
                metrics = order.metrics.get(execution_id, ())
                decision.events.append(fill_event(report, execution, order, metrics))
        if still or any(r.report_id in held for r in chain):
            decision.withheld[execution_id] = tuple(still)
        return still

    def _reword(
        self, execution: Execution, chain: Sequence[FillReport], before: set[str], decision: Decision
    ) -> None:
        """Correct what was told where another wording counts now; on hold, too: what is told must not be wrong."""
        known, execution_id = self._before, execution.execution_id
        was = known.executions.get(execution_id) if known is not None else None
        if known is None or was is None or execution_id not in before or execution.status is not ACTIVE:
            return
        same = [r.report_id for r in known.chain(known.reports[execution_id])] == [r.report_id for r in chain]
        if same and was.status is ACTIVE and _money(was) != _money(execution):
            metrics = self._order.metrics.get(execution_id, ())
            decision.events.append(reworded_event(chain[-1], execution, self._order, metrics))

    def _retract(
        self, execution: Execution, chain: Sequence[FillReport], before: set[str], decision: Decision
    ) -> None:
        order, execution_id = self._order, execution.execution_id
        if any(r.report_id in order.withheld for r in chain):
            decision.withheld[execution_id] = ()
            order.withheld = order.withheld - {r.report_id for r in chain}
        known = self._before
        if known is None or execution_id not in known.executions or execution_id not in before:
            return
        was = known.executions[execution_id]
        old_chain = known.chain(known.reports[execution_id])
        over = _is_retracted(was, old_chain) or (was.status is BUSTED and old_chain[-1].report_id in before)
        if not over:
            decision.events.append(retract_event(order.reports[execution_id], execution, order))

    def _told_before(self) -> set[str]:
        """The reports whose events went out before: those that were settled, less the withheld."""
        known = self._before
        if known is None:
            return set()
        told: set[str] = set()
        for execution_id in known.executions:
            told.update(r.report_id for r in known.chain(known.reports[execution_id]))
        return told - known.withheld

    def _bust_told(self, execution_id: str, told: set[str]) -> bool:
        """Whether a bust of the execution was told: a second bust, even an earlier one, is no second event."""
        known = self._before
        if known is None:
            return False
        was = known.executions.get(execution_id)
        if was is None or was.status is not BUSTED:
            return False
        return known.chain(known.reports[execution_id])[-1].report_id in told


def _money(execution: Execution) -> tuple[object, ...]:
    return execution.last_qty, execution.last_px, execution.side, execution.symbol


def _is_retracted(execution: Execution, chain: Sequence[FillReport]) -> bool:
    """Whether it does not count for another reason than a bust that names it."""
    if execution.status is BUSTED:
        return chain[-1].kind is not BUST
    return execution.status is not ACTIVE
